import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { build } from '../src/bpf/build.ts';
import { BpfObject } from '../src/dataplane/libbpf.ts';

let object: BpfObject;

beforeAll(() => {
  build();
  object = new BpfObject(join(import.meta.dirname, '../build/lb.bpf.o'));
  object.load();
});
afterAll(() => {
  object.close();
});

/** Functions that the program calls, by name, as the kernel has rewritten it. */
function calls(program: string): string[] {
  const info = readFileSync(`/proc/self/fdinfo/${object.program(program)}`, 'utf8');
  const id = /^prog_id:\s*(\d+)$/m.exec(info)?.[1] ?? '';
  const text = execFileSync('bpftool', ['prog', 'dump', 'xlated', 'id', id], {
    encoding: 'utf8',
    maxBuffer: 1 << 24,
  });
  return [...text.matchAll(/\bcall (\w+)/g)].map(([, name]) => name ?? '');
}

// The general helpers find the operation of a map by an indirect call, which costs 20 ns.
test.each(['skein_lb', 'skein_probe'])('%s calls the operations of its maps directly', (name) => {
  const called = calls(name);
  expect(called).toContain('__htab_map_lookup_elem');
  expect(called.filter((each) => /^bpf_map_\w+_elem$/.test(each))).toEqual([]);
});
