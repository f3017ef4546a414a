/** Compiles the BPF objects into build/, when a source is newer than its object. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { machine } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../..');
const buildDir = join(root, 'build');

interface BpfObject {
  readonly source: string;
  readonly output: string;
}

const objects: readonly BpfObject[] = [
  { source: 'src/bpf/lb.bpf.c', output: 'lb.bpf.o' },
  { source: 'src/bpf/backend.bpf.c', output: 'backend.bpf.o' },
  { source: 'src/bpf/abi.btf.c', output: 'abi.btf.o' },
  { source: 'bench/floor.bpf.c', output: 'floor.bpf.o' },
  { source: 'bench/replay.bpf.c', output: 'replay.bpf.o' },
  { source: 'testbed/pass.bpf.c', output: 'pass.bpf.o' },
];

const flags = [
  '-O2',
  '-g',
  '-target',
  'bpf',
  '-mcpu=v3',
  // Headers are read and written in words of several sizes.
  '-fno-strict-aliasing',
  '-Wall',
  '-Wextra',
  '-Werror',
  // The arguments of an entry point are given, not chosen.
  '-Wno-unused-parameter',
  // Debian keeps asm/types.h in the folder of the architecture.
  `-I/usr/include/${machine()}-linux-gnu`,
];

function modifiedMs(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** Newest change among the sources that lie beside `source`: a header counts for every object. */
function newestSourceMs(source: string): number {
  const folder = join(root, source, '..');
  const names = readdirSync(folder).filter((name) => /\.[ch]$/.test(name));
  return Math.max(...names.map((name) => modifiedMs(join(folder, name))));
}

/** Builds what is out of date and returns the names of the objects that were built. */
export function build(): string[] {
  mkdirSync(buildDir, { recursive: true });
  const built: string[] = [];
  for (const { source, output } of objects) {
    const target = join(buildDir, output);
    if (modifiedMs(target) >= newestSourceMs(source)) continue;
    execFileSync('clang', [...flags, '-c', source, '-o', target], { cwd: root, stdio: 'inherit' });
    built.push(output);
  }
  return built;
}

if (import.meta.main) {
  const built = build();
  if (built.length > 0) console.log(`built ${built.join(', ')}`);
}
