import { Option } from 'commander';

/** `--log-level`, the same of every command that goes on. */
export function logLevelOption(): Option {
  const option = new Option('-l, --log-level <level>', 'the least that is logged');
  return option.choices(['debug', 'info', 'warn', 'error']).default('info');
}
