/**
 * abi.h -> abi.generated.ts, by way of the BTF of build/abi.btf.o. With --check nothing is written
 * and the exit code is 1 when the committed file is not what would be generated.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from '../bpf/build.ts';
import { structsOf, type BtfType } from './btf.ts';
import {
  emitCounters,
  emitEnum,
  emitStruct,
  layoutDigest,
  PRELUDE,
  type CounterDoc,
  type EnumValues,
} from './emit.ts';

const root = join(import.meta.dirname, '../..');
const target = join(import.meta.dirname, 'abi.generated.ts');

const HEADERS = ['abi.h', 'abi-counters.h', 'abi-merge.h', 'abi-backend.h'];
const STRUCTS = [
  'flow4_key',
  'flow6_key',
  'flow',
  'flow_record',
  'merge_request',
  'icmp_event',
  'oversized_event',
  'service_key',
  'service',
  'admission',
  'source_key',
  'source_rule',
  'backend',
  'backend_local',
  'quic_key',
  'tunnel_source',
  'nat_source',
  'nat_candidates',
  'nat_key',
  'nat_flow',
  'vlan_device',
  'decap_address',
  'settings',
  'sweep',
];
const ENUMS = [
  'flow_state',
  'flow_flag',
  'flow_change',
  'merge_outcome',
  'affinity',
  'source_filter',
  'backend_state',
  'forwarding_mode',
  'quic_layout',
  'feature',
];
/** Of a program that pins nothing: no part of the layout that pinned maps are told by. */
const BACKEND_STRUCTS = ['dscp_key'];
const BACKEND_ENUMS = ['decap_kind'];

/** The comment after each entry of an enum of counters, which BTF does not carry. */
export function counterDocs(header: string, counters = 'counter'): CounterDoc[] {
  const body = new RegExp(`enum ${counters} \\{([^}]*)\\}`).exec(header)?.[1];
  if (body === undefined) throw new Error(`abi.h: no enum ${counters}`);
  const entries = body.split('\n').filter((line) => /^\s*(BACKEND_)?(COUNT|DROP)_/.test(line));
  return entries.map((line, value) => {
    const match = /^\s*(\w+)(?: = 0)?, \/\* (.*) \*\/$/.exec(line);
    const [, name, help] = match ?? [];
    if (name === undefined || help === undefined) {
      throw new Error(`abi.h: a counter needs a comment after it: ${line.trim()}`);
    }
    return { name, value, help: help.replaceAll("'", "\\'") };
  });
}

function numericDefines(header: string): string {
  const defines = header.matchAll(/^#define ([A-Z_]+) (0x[0-9a-f]+|\d+)U?$/gm);
  return [...defines].map(([, name, value]) => `export const ${name} = ${value};`).join('\n');
}

function generate(): string {
  build();
  const header = HEADERS.map((name) => readFileSync(join(root, 'src/bpf', name), 'utf8')).join('');
  const dump = execFileSync(
    'bpftool',
    ['-j', 'btf', 'dump', 'file', 'build/abi.btf.o', 'format', 'raw'],
    { cwd: root, encoding: 'utf8', maxBuffer: 1 << 26 },
  );
  const { types } = JSON.parse(dump) as { types: BtfType[] };
  const structs = structsOf(types, STRUCTS);
  const enums = enumsOf(types, ENUMS);
  const counters = counterDocs(header);
  return [
    PRELUDE,
    `export const LAYOUT_DIGEST = '${layoutDigest(structs, enums, counters)}';`,
    numericDefines(header),
    '',
    ...enums.map(emitEnum),
    emitCounters(counters),
    ...structs.map(emitStruct),
    ...enumsOf(types, BACKEND_ENUMS).map(emitEnum),
    emitCounters(counterDocs(header, 'backend_counter'), 'BACKEND_COUNTERS'),
    ...structsOf(types, BACKEND_STRUCTS).map(emitStruct),
  ].join('\n');
}

function enumsOf(types: readonly BtfType[], names: readonly string[]): EnumValues[] {
  return names.map((name) => {
    const type = types.find((each) => each.kind === 'ENUM' && each.name === name);
    if (type?.values === undefined) throw new Error(`no enum ${name} in the BTF`);
    return { name, values: type.values };
  });
}

function main(): void {
  const text = generate();
  if (!process.argv.includes('--check')) {
    writeFileSync(target, text);
  } else if (readFileSync(target, 'utf8') !== text) {
    console.error('src/abi/abi.generated.ts is out of date: run `npm run gen`');
    process.exitCode = 1;
  }
}

if (import.meta.main) main();
