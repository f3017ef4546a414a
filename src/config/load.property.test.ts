/** Whatever the texts are: an answer, never an exception. A failure prints its seed. */
import { Ajv } from 'ajv';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { renderSchemas } from './json-schema.ts';
import {
  loadSample,
  SAMPLE_CLUSTER,
  SAMPLE_NODE,
  SAMPLE_SYNC,
  type Sample,
} from './load-sample.ts';

const CLUSTER = { ...SAMPLE_CLUSTER, sync: SAMPLE_SYNC };

/** Either a configuration, or problems each of which can be found in the text. */
function expectAnswer(sample: Sample & { readonly cluster: string; readonly node: string }): void {
  const result = loadSample(sample);
  if (result.ok) {
    expect(result.config.cluster.digest).toHaveLength(64);
    return;
  }
  expect(result.problems.length).toBeGreaterThan(0);
  const lines = { 'skein.yaml': lineCount(sample.cluster), 'node.yaml': lineCount(sample.node) };
  for (const { file, line, column, message } of result.problems) {
    expect(line).toBeGreaterThanOrEqual(1);
    expect(line).toBeLessThanOrEqual(lines[file as keyof typeof lines]);
    expect(column).toBeGreaterThanOrEqual(1);
    expect(message).not.toBe('');
    expect(message).not.toContain('Invalid input');
  }
}

function lineCount(text: string): number {
  return text.split('\n').length;
}

const PIECES = [
  ...['a', ': ', '- ', '\n', '  ', '\n  ', '[', ']', '{', '}', ', ', '? ', '"', "'", '#', '|', '>'],
  ...[
    '&a ',
    '*a',
    '!x ',
    '!!map ',
    '---\n',
    '...\n',
    '%YAML 1.1\n',
    '<<: ',
    '\t',
    '\r\n',
    '\\',
    '\0',
  ],
  ...[
    '0',
    '-1',
    '1e999',
    '.nan',
    'true',
    'null',
    '~',
    '10.0.0.1',
    '::1',
    '__proto__',
    'constructor',
  ],
  ...[
    'cluster: ',
    'services: ',
    'backends: ',
    'vips: ',
    'bgp: ',
    'sync: ',
    'peers: ',
    'checks: ',
    'node: ',
  ],
  ...[
    'name: ',
    'vip: ',
    'port: ',
    'type: http',
    'address: ',
    'expect: ',
    'limits: ',
    '\ud800',
    '💥',
  ],
];
const yamlGarbage = fc
  .array(fc.constantFrom(...PIECES), { maxLength: 40 })
  .map((pieces) => pieces.join(''));
const anyText = fc.oneof(
  yamlGarbage,
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc.json({ maxDepth: 5 }),
);

test('any text gets an answer', () => {
  const property = fc.property(anyText, anyText, (cluster, node) => {
    expectAnswer({ cluster, node });
  });
  fc.assert(property, { numRuns: 500 });
});

const anyValue = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.constantFrom<unknown>(
    '10.83.100.1',
    '10.83.1.101',
    'fd83::1',
    '239.83.75.78:7483',
    'web',
    0,
    1,
    70_000,
    true,
    [],
    {},
  ),
);

/** The document with the value at one place replaced, at whatever depth. */
function replaced(document: unknown): fc.Arbitrary<unknown> {
  if (typeof document !== 'object' || document === null) return anyValue;
  const keys = Object.keys(document);
  if (keys.length === 0) return anyValue;
  const inside = fc.constantFrom(...keys).chain((key) => {
    const child = (document as Record<string, unknown>)[key];
    return replaced(child).map((value) => withMember(document, key, value));
  });
  const beside = fc
    .tuple(fc.oneof(fc.string(), fc.constantFrom('need', 'checks', 'weight', 'bfd')), anyValue)
    .map(([key, value]) => withMember(document, key, value));
  return fc.oneof({ weight: 6, arbitrary: inside }, { weight: 1, arbitrary: beside }, anyValue);
}

function withMember(document: object, key: string, value: unknown): unknown {
  if (!Array.isArray(document)) return { ...document, [key]: value };
  const items: readonly unknown[] = document;
  return key in items ? items.with(Number(key), value) : [...items, value];
}

const inSomeForm = (document: fc.Arbitrary<unknown>) =>
  fc
    .tuple(
      document,
      fc.constantFrom(stringify, (value: unknown) => JSON.stringify(value, null, 2)),
    )
    .map(([value, write]) => write(value));

test('any one change to a good document gets an answer', () => {
  const cluster = inSomeForm(replaced(CLUSTER));
  const node = inSomeForm(replaced(SAMPLE_NODE));
  const property = fc.property(cluster, node, (clusterText, nodeText) => {
    expectAnswer({ cluster: clusterText, node: nodeText });
  });
  fc.assert(property, { numRuns: 300 });
});

test('what is accepted, the published schema accepts too', async () => {
  const [schema] = await renderSchemas();
  const validate = new Ajv().compile(JSON.parse(schema?.text ?? '') as object);
  let accepted = 0;
  const property = fc.property(inSomeForm(replaced(CLUSTER)), (cluster) => {
    if (!loadSample({ cluster }).ok) return;
    accepted++;
    validate(parse(cluster));
    expect(validate.errors).toBeNull();
  });
  fc.assert(property, { numRuns: 300 });
  expect(accepted).toBeGreaterThan(0);
});

/** The same document with the keys of every mapping in another order. */
function shuffled(document: unknown): fc.Arbitrary<unknown> {
  if (Array.isArray(document)) return fc.tuple(...document.map(shuffled));
  if (typeof document !== 'object' || document === null) return fc.constant(document);
  const members = Object.entries(document).map(([key, value]) =>
    shuffled(value).map((other) => [key, other] as const),
  );
  return fc
    .tuple(...members)
    .chain((pairs) => fc.shuffledSubarray(pairs, { minLength: pairs.length }))
    .map((pairs) => Object.fromEntries(pairs));
}

test('neither the order of keys nor the form changes the digest', () => {
  const digest = (cluster: string) => {
    const result = loadSample({ cluster });
    return result.ok ? result.config.cluster.digest : result.problems;
  };
  const expected = digest(JSON.stringify(CLUSTER));
  const property = fc.property(inSomeForm(shuffled(CLUSTER)), (cluster) => {
    expect(digest(cluster)).toBe(expected);
  });
  fc.assert(property, { numRuns: 100 });
});
