/** `skein backend status`: what a running `skein backend` does, in a few lines or as JSON. */
import { askBackend } from '../backend/lock.ts';
import type { BackendStatus } from '../backend/server.ts';
import { SkeinError } from '../lib/errors.ts';

export interface BackendStatusOptions {
  readonly stateDir: string;
  readonly json: boolean;
}

export async function showBackend({ stateDir, json }: BackendStatusOptions): Promise<void> {
  const status = await askBackend(stateDir);
  if (status === undefined) {
    throw new SkeinError('BACKEND_DOWN', `no skein backend runs with the state folder ${stateDir}`);
  }
  const text = json
    ? JSON.stringify(status, undefined, 2)
    : describeBackendServer(status as BackendStatus).join('\n');
  console.log(text);
}

/** Pure. */
export function describeBackendServer(status: BackendStatus): string[] {
  const attached = status.interfaces.map(({ name, xdpMode }) => `${name} (${xdpMode})`);
  return [
    `process ${status.pid}; XDP on ${attached.join(', ') || 'no interface: no mode needs it'}`,
    ...status.vips.map((vip) => {
      const clamp = status.clamps.find((each) => each.vip === vip);
      return `vip ${vip}${clamp === undefined ? '' : `  segments up to ${clamp.mss} bytes`}`;
    }),
    ...status.counters
      .filter(({ value }) => value > 0)
      .map(({ name, drop, help, value }) => `${drop ? 'dropped ' : ''}${value} ${name}: ${help}`),
  ];
}
