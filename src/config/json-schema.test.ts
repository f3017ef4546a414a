import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { renderSchemas } from './json-schema.ts';
import { SAMPLE_CLUSTER, SAMPLE_NODE } from './load-sample.ts';
import { loadFiles } from './load.ts';
import { formatProblem } from './problems.ts';

const FOLDER = join(import.meta.dirname, '../../config');
const read = (name: string) => readFileSync(join(FOLDER, name), 'utf8');

function validator(name: string) {
  const schema = JSON.parse(read(name)) as object;
  return new Ajv({ strict: true, allErrors: true }).compile(schema);
}

test('the published schemas are those of the program', async () => {
  for (const { path, text } of await renderSchemas()) expect(readFileSync(path, 'utf8')).toBe(text);
});

test('the examples load', () => {
  const result = loadFiles(join(FOLDER, 'skein.example.yaml'), join(FOLDER, 'node.example.yaml'));
  expect(result.ok ? [] : result.problems.map(formatProblem)).toEqual([]);
});

describe.each([
  ['skein', SAMPLE_CLUSTER],
  ['node', SAMPLE_NODE],
])('%s.schema.json', (name, sample) => {
  const validate = validator(`${name}.schema.json`);

  test('accepts the example', () => {
    validate(parse(read(`${name}.example.yaml`)));
    expect(validate.errors).toBeNull();
  });

  test('is what the example points its editor to', () => {
    const hint = `# yaml-language-server: $schema=./${name}.schema.json\n`;
    expect(read(`${name}.example.yaml`).startsWith(hint)).toBe(true);
  });

  test('refuses a misspelt key', () => {
    expect(validate(sample)).toBe(true);
    expect(validate({ ...sample, servces: [] })).toBe(false);
  });

  test('has no key that the README does not explain', () => {
    const readme = read('README.md');
    const missing = keysOf(JSON.parse(read(`${name}.schema.json`))).filter(
      (key) => !readme.includes(`\`${key}\``),
    );
    expect(missing).toEqual([]);
  });
});

/** Names of all properties, at any depth. */
function keysOf(schema: unknown): string[] {
  if (typeof schema !== 'object' || schema === null) return [];
  return Object.entries(schema).flatMap(([key, value]) =>
    key === 'properties'
      ? Object.entries(value as object).flatMap(([name, inner]) => [name, ...keysOf(inner)])
      : keysOf(value),
  );
}
