/** Puts good and bad lines through ESLint with the project's own configuration. */
import { join } from 'node:path';
import { ESLint } from 'eslint';
import { expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');

const RULES = [
  'skein/import-boundary',
  'no-restricted-globals',
  'no-restricted-properties',
  'no-restricted-exports',
  'no-restricted-syntax',
];

const eslint = new ESLint({
  cwd: ROOT,
  // The files of this test do not exist, so they have no types, and no rule here needs any.
  overrideConfig: { languageOptions: { parserOptions: { projectService: false } } },
  ruleFilter: ({ ruleId }) => RULES.includes(ruleId),
});

async function lint(file: string, code: string): Promise<string> {
  const results = await eslint.lintText(code, { filePath: join(ROOT, file) });
  return results.flatMap(({ messages }) => messages.map(({ message }) => message)).join('\n');
}

const value = (from: string): string => `import { x } from '${from}';\nx();`;
const type = (from: string): string => `import type { X } from '${from}';\nlet x: X;`;

test.each<[string, string, string]>([
  // Dependency direction.
  ['src/lib/a.ts', value('../model/flow.ts'), 'lib does not import model'],
  ['src/model/a.ts', type('../config/types.ts'), 'model does not import config'],
  ['src/config/load.ts', value('../vip/verdict.ts'), 'config does not import vip'],
  ['src/health/http.ts', value('../bgp/announcer.ts'), 'health does not import bgp'],
  ['src/bgp/client.ts', value('../config/load.ts'), "use 'import type'"],
  ['src/dataplane/kernel.ts', value('../desired.ts'), 'dataplane does not import desired'],
  ['src/desired.ts', value('./supervisor.ts'), 'desired does not import supervisor'],
  ['src/supervisor.ts', value('./dataplane/kernel.ts'), "use 'import type'"],
  ['src/supervisor.ts', value('./console/app.ts'), 'supervisor does not import console'],
  ['src/supervisor.ts', value('./main.ts'), "does not import 'src/main.ts'"],
  ['src/console/routes/a.ts', type('../../supervisor.ts'), 'console does not import supervisor'],
  ['src/console/app.ts', value('../vip/verdict.ts'), 'console does not import vip'],
  ['src/snapshot.ts', value('./dataplane/kernel.ts'), "use 'import type'"],
  ['src/lib/a.ts', value('../../testbed/netns.ts'), 'only tests may'],
  ['src/vip/a.ts', `export * from '../bgp/announcer.ts';`, 'vip does not import bgp'],
  ['src/vip/a.ts', `export { x } from '../bgp/announcer.ts';`, 'vip does not import bgp'],
  ['src/peers/a.ts', `await import('../bgp/announcer.ts');`, 'peers does not import bgp'],
  // One door for each foreign thing.
  ['src/dataplane/kernel.ts', value('koffi'), 'src/dataplane/libbpf.ts'],
  ['src/bgp/gobgp.ts', type('@grpc/grpc-js'), 'src/bgp/client.ts'],
  ['src/console/app.ts', value('zod'), 'src/config/**'],
  ['src/main.ts', value('yaml'), 'src/config/**'],
  ['src/main.ts', value('pino'), 'src/lib/logger.ts'],
  ['src/main.ts', value('prom-client'), 'src/console/**'],
  ['src/main.ts', value('hono/etag'), 'src/console/**'],
  ['src/main.ts', value('@hono/node-server/serve-static'), 'src/console/**'],
  ['src/config/load.ts', value('commander'), 'src/main.ts'],
  ['src/config/values.ts', value('ipaddr.js'), 'src/model/address.ts'],
  ['src/main.ts', value('./abi/abi.generated.ts'), 'src/dataplane/**'],
  ['src/bgp/paths.test.ts', value('../abi/abi.generated.ts'), 'src/dataplane/**'],
  ['src/main.ts', value('fast-check'), '**/*.test.ts'],
  ['src/peers/wire.ts', value('@msgpack/msgpack'), 'src/peers/wire-msgpack.ts'],
  ['src/peers/sync.ts', value('node:crypto'), 'src/peers/{seal,keys}*.ts'],
  // Pure files.
  ['src/model/a.ts', value('node:net'), "a pure file does not import 'node:net'"],
  ['src/vip/a.ts', value('node:timers/promises'), 'a pure file does not import'],
  ['src/vip/a.ts', value('../lib/logger.ts'), 'which is not pure'],
  ['src/dataplane/plan.ts', value('./kernel.ts'), 'which is not pure'],
  ['src/peers/sync.ts', value('node:dgram'), "a pure file does not import 'node:dgram'"],
  ['src/peers/sync.ts', value('./multicast.ts'), 'which is not pure'],
  ['src/peers/seal.ts', value('./keys.ts'), 'which is not pure'],
  ['src/config/schema.ts', value('node:fs'), 'a pure file does not import'],
  ['src/health/window.ts', 'Date.now();', 'lib/clock.ts'],
  ['src/bgp/peers.ts', 'Math.random();', 'lib/clock.ts'],
  ['src/vip/a.ts', 'performance.now();', 'lib/clock.ts'],
  ['src/vip/a.ts', 'new Date();', 'lib/clock.ts'],
  ['src/desired.ts', 'setTimeout(() => 1, 2);', 'lib/clock.ts'],
  ['src/dataplane/maglev.ts', 'process.hrtime();', 'lib/clock.ts'],
  // Everywhere.
  ['src/lib/a.ts', 'export default 1;', 'default'],
  ['src/lib/a.ts', 'enum A { B }', 'union of string literals'],
  ['src/vip/a.ts', 'enum A { B }', 'union of string literals'],
])('%s may not say %j', async (file, code, message) => {
  expect(await lint(file, code)).toContain(message);
});

test.each<[string, string]>([
  ['src/model/a.ts', value('../lib/errors.ts')],
  ['src/model/address.ts', value('ipaddr.js')],
  ['src/health/http.ts', value('node:http')],
  ['src/health/http.ts', type('../config/types.ts')],
  ['src/desired.ts', type('./dataplane/dataplane.ts')],
  ['src/desired.ts', value('./vip/verdict.ts')],
  ['src/supervisor.ts', type('./bgp/announcer.ts')],
  ['src/supervisor.ts', `import { type A, type B } from './bgp/announcer.ts';\nlet x: A | B;`],
  ['src/supervisor.ts', value('./desired.ts')],
  ['src/dataplane/libbpf.ts', value('koffi')],
  ['src/dataplane/kernel.ts', value('../abi/abi.generated.ts')],
  ['src/config/schema.ts', value('zod')],
  ['src/peers/wire-msgpack.ts', value('@msgpack/msgpack')],
  ['src/peers/seal.ts', value('node:crypto')],
  ['src/peers/keys.ts', value('node:fs/promises')],
  ['src/config/load.ts', value('node:fs')],
  ['src/console/app.ts', value('hono/etag')],
  ['src/main.ts', value('./dataplane/kernel.ts')],
  ['src/cli/check.ts', value('commander')],
  ['src/vip/verdict.test.ts', value('fast-check')],
  ['src/bgp/a.daemon.test.ts', value('../../testbed/netns.ts')],
  ['src/lib/clock.ts', 'Date.now();'],
  ['src/vip/a.ts', 'new Date(0);'],
  ['src/vip/a.test.ts', 'Date.now();'],
  ['vitest.config.ts', 'export default 1;'],
])('%s may say %j', async (file, code) => {
  expect(await lint(file, code)).toBe('');
});
