import { expect, test } from 'vitest';
import { tidyProblems } from './tidy.ts';

// Put together here, so that this file is tidy itself.
const disable = (rest: string): string => `// ${['eslint', 'disable'].join('-')}${rest}`;
const path = (folder: string): string => `cp x '/${folder}/someone/x'`;
const todo = (rest: string): string => `// ${['TO', 'DO'].join('')}${rest}`;

function cFunction(lines: number): string {
  return `static int f(void)\n{\n${'\tx();\n'.repeat(lines)}}\n`;
}

test.each<[string, string, string, string]>([
  ['a rule disabled without a reason', 'src/a.ts', disable('-line eqeqeq'), 'a reason'],
  ['all rules disabled', 'src/a.ts', disable(' -- because'), 'without naming it'],
  ['a note without an issue', 'src/a.ts', todo(': later'), 'without its issue'],
  ['a home folder', 'README.md', path('home'), 'path of one machine'],
  [
    'a registry',
    'setup/a.sh',
    `curl https://${['deb', 'debian', 'org'].join('.')}/x`,
    'package registry',
  ],
  ['a merge mark', 'src/a.ts', `${'<'.repeat(7)} HEAD`, 'merge'],
  ['a download host', 'package-lock.json', '"resolved": "https://host/x.tgz",', 'download host'],
  ['a long C function', 'src/bpf/a.h', cFunction(71), 'a function of 71 lines'],
  ['a long file', 'src/a.ts', 'x();\n'.repeat(501), 'has 501 lines'],
])('%s is a problem', (_name, file, text, message) => {
  expect(tidyProblems(file, text)).toEqual([expect.stringContaining(message)]);
});

test.each<[string, string, string]>([
  ['a reason', 'src/a.ts', disable('-next-line @typescript-eslint/no-x, eqeqeq -- as RFC 1 says')],
  ['an issue', 'src/a.ts', todo('(#12): later')],
  ['a system path', 'src/a.ts', "read('/sys/kernel/btf/vmlinux', '/usr/share/x')"],
  ['a folder of ours', 'src/a.ts', "import x from './home/a.ts'"],
  ['a C function at the bound', 'src/bpf/a.h', cFunction(70)],
  ['short C functions in a row', 'src/bpf/a.h', cFunction(60).repeat(2)],
  ['a file at the bound', 'src/a.ts', 'x();\n'.repeat(500)],
  ['a long test', 'src/a.test.ts', 'x();\n'.repeat(600)],
  ['a long generated file', 'src/abi/abi.generated.ts', 'x();\n'.repeat(600)],
])('%s is no problem', (_name, file, text) => {
  expect(tidyProblems(file, text)).toEqual([]);
});

test('a problem says where it is', () => {
  expect(tidyProblems('src/a.ts', `x();\n${todo('')}`)[0]).toMatch(/^src\/a\.ts:2: /);
});
