/**
 * Who may import what, as tables, and the one decision over them. Must never read a file or know
 * ESLint: `rule.ts` asks here for each import. Paths are relative to the repository, with `/`.
 */
import { matchesGlob } from 'node:path';

export interface FileSet {
  readonly files: readonly string[];
  readonly except?: readonly string[];
}

interface Zone extends FileSet {
  readonly name: string;
  /** Zones besides itself that it may import. */
  readonly values: readonly string[];
  /** Zones of which it may import types, and the values of pure files. */
  readonly types: readonly string[];
}

const TESTS = '**/*.test.ts';
const DRIVEN = ['health', 'vip', 'peers', 'reports', 'bgp', 'dataplane'];

/** The dependency direction of src/, innermost first. The first zone that has a file owns it. */
const ZONES: readonly Zone[] = [
  zone('lib', ['src/lib/**'], [], []),
  zone('model', ['src/model/**'], ['lib'], []),
  zone('abi', ['src/abi/**'], ['lib', 'bpf'], []),
  // Support of the kernel tests, which no other file imports.
  zone(
    'bpf fixture',
    ['src/bpf/fixture*.ts'],
    ['lib', 'model', 'abi', 'bpf', 'dataplane'],
    ['peers'],
  ),
  zone('bpf', ['src/bpf/**'], ['lib', 'abi'], []),
  zone('config', ['src/config/**'], ['lib', 'model'], []),
  zone('vip', ['src/vip/**'], ['lib', 'model'], ['config']),
  zone('health', ['src/health/**'], ['lib', 'model'], ['config']),
  zone('peers', ['src/peers/**'], ['lib', 'model'], ['config']),
  // Signs with what flow sync seals with, and sends through the same sockets.
  zone('reports', ['src/reports/**'], ['lib', 'model', 'peers'], ['config']),
  zone('bgp', ['src/bgp/**'], ['lib', 'model'], ['config']),
  zone('dataplane', ['src/dataplane/**'], ['lib', 'model', 'abi'], ['config', 'peers']),
  // What runs on a real server: no part of a node.
  zone('backend', ['src/backend/**'], ['lib', 'model', 'abi', 'dataplane'], ['config']),
  zone('desired', ['src/desired.ts'], ['lib', 'model'], ['config', ...DRIVEN]),
  zone('snapshot', ['src/snapshot.ts'], ['lib', 'model'], ['config', ...DRIVEN]),
  zone(
    'take-snapshot',
    ['src/take-snapshot.ts'],
    ['lib', 'model', 'snapshot', 'desired'],
    ['config', ...DRIVEN],
  ),
  zone(
    'supervisor',
    ['src/supervisor*.ts', 'src/supervisor/**'],
    ['lib', 'model', 'desired', 'snapshot', 'take-snapshot'],
    ['config', ...DRIVEN],
  ),
  zone('console', ['src/console/**'], ['lib', 'model', 'snapshot'], []),
];

interface Door {
  /** Globs over package names and repository paths. */
  readonly to: readonly string[];
  /** The rooms that have this door. */
  readonly from: readonly string[];
}

/** One door for each foreign thing, so that replacing it, or distrusting it, is one file's work. */
const DOORS: readonly Door[] = [
  door(['koffi'], ['src/dataplane/libbpf.ts', 'src/dataplane/frame-runner.ts']),
  door(['@grpc/*'], ['src/bgp/client.ts', 'src/bgp/*.test.ts', 'src/health/grpc{,.test}.ts']),
  door(['@msgpack/*'], ['src/peers/wire-msgpack.ts']),
  door(
    ['node:crypto'],
    [
      'src/peers/{seal,keys}*.ts',
      'src/reports/seal.ts',
      'src/{abi/emit,config/digest,console/routes/page,dataplane/maglev}.ts',
      TESTS,
      'testbed/**',
      'bench/**',
    ],
  ),
  door(['zod'], ['src/config/**']),
  door(['yaml'], ['src/config/**', 'testbed/**', 'bench/**', TESTS]),
  door(['pino', 'pino-pretty'], ['src/lib/logger.ts']),
  door(['prom-client', 'hono', '@hono/*'], ['src/console/**']),
  door(['commander'], ['src/main.ts', 'src/cli/**', 'testbed/**', 'bench/**']),
  door(['ipaddr.js'], ['src/model/address.ts']),
  door(
    ['src/abi/**'],
    [
      'src/abi/**',
      'src/dataplane/**',
      'src/backend/**',
      'src/bpf/**',
      'bench/**',
      'testbed/{flows,by-hand}.ts',
    ],
  ),
  door(
    ['ajv', 'fast-check', 'vitest', 'playwright-core'],
    [TESTS, 'testbed/**', 'setup/**', '*.config.ts'],
  ),
];

/** Files that decide and do nothing else: values in, values out, time as an argument. */
export const PURE: FileSet = {
  files: [
    'src/model/**',
    'src/vip/**',
    'src/config/**',
    'src/desired.ts',
    'src/take-snapshot.ts',
    'src/dataplane/{plan,maglev}*.ts',
    'src/backend/{duties,document,plan}*.ts',
    'src/health/{window,service-state,backend-health}*.ts',
    'src/peers/**',
    'src/reports/**',
    'src/backend/doctor*.ts',
    'src/bgp/{communities,messages,paths,peers,reconcile}*.ts',
  ],
  except: [
    // The rooms of config/ that read files.
    'src/config/{load,watch,json-schema}*.ts',
    // The edges of peers/: sockets and files.
    'src/peers/{udp,multicast,unicast,frame-stream,snapshot-tcp,keys,incarnation}*.ts',
    // The edge of reports/: its socket.
    'src/reports/report-link*.ts',
    // The doctor's eyes.
    'src/backend/doctor-read.ts',
    TESTS,
  ],
};

const IMPURE_BUILTINS =
  /^(node:)?(net|dgram|fs|timers|child_process|http|https|http2|tls|dns|worker_threads|cluster)(\/|$)/;
const IMPURE_OWN = ['src/lib/logger.ts'];

export interface ImportFact {
  /** The importing file. */
  readonly file: string;
  /** Path of the imported file within the repository, or a package's specifier. */
  readonly target: string;
  readonly typeOnly: boolean;
}

/** Why the import is not allowed, and what to do instead; undefined when it is allowed. */
export function importProblem(fact: ImportFact): string | undefined {
  return doorProblem(fact) ?? directionProblem(fact) ?? pureProblem(fact);
}

function doorProblem({ file, target }: ImportFact): string | undefined {
  const closed = DOORS.find(
    ({ to, from }) => matchesAny(packageOrPath(target), to) && !matchesAny(file, from),
  );
  if (closed === undefined) return undefined;
  return `'${target}' has its door in ${closed.from.join(', ')}: go through that, or pass its result in`;
}

function pureProblem({ file, target, typeOnly }: ImportFact): string | undefined {
  if (!isIn(file, PURE)) return undefined;
  const remedy = 'take the value as an argument, or leave it to an adapter';
  if (IMPURE_BUILTINS.test(target)) return `a pure file does not import '${target}': ${remedy}`;
  if (typeOnly || !target.startsWith('src/')) return undefined;
  const impure = target.startsWith('src/lib/')
    ? matchesAny(target, IMPURE_OWN)
    : !isIn(target, PURE);
  return impure
    ? `a pure file does not import '${target}', which is not pure: ${remedy}`
    : undefined;
}

function directionProblem({ file, target, typeOnly }: ImportFact): string | undefined {
  if (matchesAny(file, [TESTS])) return undefined;
  if (file.startsWith('src/') && /^(testbed|bench|setup)\//.test(target)) {
    return `src/ does not import '${target}': only tests may`;
  }
  const from = zoneOf(file);
  const to = zoneOf(target);
  // src/main.ts, src/cli/ and what is outside src/ put the parts together, so they see them all.
  if (from === undefined || from === to) return undefined;
  if (to === undefined) {
    return target.startsWith('src/')
      ? `${from.name} does not import '${target}': only main.ts and cli/ put parts together`
      : undefined;
  }
  if (from.values.includes(to.name)) return undefined;
  if (!from.types.includes(to.name)) {
    const allowed = [...from.values, ...from.types].join(', ') || 'nothing else';
    return `${from.name} does not import ${to.name} (it may import ${allowed}): share through src/model, or let main.ts pass it in`;
  }
  if (typeOnly || isIn(target, PURE)) return undefined;
  return `${from.name} sees ${to.name} as types: use 'import type', and let main.ts pass the implementation in`;
}

function zone(
  name: string,
  files: readonly string[],
  values: readonly string[],
  types: readonly string[],
): Zone {
  return { name, files, values, types };
}

function door(to: readonly string[], from: readonly string[]): Door {
  return { to, from };
}

function zoneOf(path: string): Zone | undefined {
  return ZONES.find((candidate) => isIn(path, candidate));
}

function isIn(path: string, set: FileSet): boolean {
  return matchesAny(path, set.files) && !matchesAny(path, set.except ?? []);
}

function matchesAny(path: string, globs: readonly string[]): boolean {
  return globs.some((glob) => matchesGlob(path, glob));
}

/** `@hono/node-server/serve-static` is the package `@hono/node-server`. */
function packageOrPath(target: string): string {
  if (/^(src|testbed|bench|setup)\//.test(target)) return target;
  return target
    .split('/')
    .slice(0, target.startsWith('@') ? 2 : 1)
    .join('/');
}
