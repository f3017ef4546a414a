/**
 * What the schema library found, in words that a person can act on. `wording` gives each issue
 * its message, `findingsOf` flattens the issues: a union reports the branch that was meant.
 */
import type { core } from 'zod';
import type { Finding, Path } from './problems.ts';
import { didYouMean } from './suggest.ts';

/** Of unknown keys in one mapping: more are not worth a message each. */
const UNKNOWN_KEYS_MAX = 100;

type RawIssue = core.$ZodRawIssue;
type Issue = core.$ZodIssue;

/** Passed to every parse. Where a schema has a message of its own, that one wins. */
export function wording(issue: RawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      return wrongKind([issue.expected], issue.input);
    case 'too_small':
      return bound('at least', issue.minimum, issue.origin);
    case 'too_big':
      return bound('at most', issue.maximum, issue.origin);
    case 'invalid_value':
      return oneOf(issue.values, issue.input);
    case 'unrecognized_keys':
      return unknownKeys(issue);
    case 'invalid_union':
      return issue.discriminator === undefined
        ? wrongKind(issue.errors.flat().flatMap(expectedKinds), issue.input)
        : wrongTag(issue.discriminator, issue.options as readonly unknown[], issue.input);
    case 'invalid_format':
    case 'not_multiple_of':
    case 'invalid_key':
    case 'invalid_element':
    case 'custom':
      return undefined;
  }
}

export function findingsOf(issues: readonly Issue[]): Finding[] {
  return issues.flatMap((issue) => flatten(issue, []));
}

function flatten(issue: Issue, above: Path): Finding[] {
  // Documents have no symbols as keys.
  const path = [...above, ...(issue.path as Path)];
  switch (issue.code) {
    case 'unrecognized_keys': {
      const messages = issue.message.split('\n');
      return messages.map((message, index) => {
        return { path: [...path, issue.keys[index] ?? ''], message, at: 'key' };
      });
    }
    case 'invalid_key':
      return issue.issues.map(({ message }) => ({ path, message, at: 'key' }));
    case 'invalid_union': {
      const meant = issue.errors.find((branch) => !branch.some(isKindMismatch));
      if (meant === undefined) return [{ path, message: issue.message }];
      return meant.flatMap((inner) => flatten(inner, path));
    }
    default:
      return [{ path, message: issue.message }];
  }
}

/** A branch for lists says nothing of interest about a number. */
function isKindMismatch(issue: Issue): boolean {
  return issue.path.length === 0 && expectedKinds(issue).length > 0;
}

/** Kinds that a value of another kind was held against; none where its kind was right. */
function expectedKinds(issue: Issue): string[] {
  if (issue.path.length > 0) return [];
  if (issue.code === 'invalid_type') return [issue.expected];
  if (issue.code !== 'invalid_union') return [];
  const branches = issue.errors.map((branch) => branch.flatMap(expectedKinds));
  return branches.every((kinds) => kinds.length > 0) ? branches.flat() : [];
}

const KINDS: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a mapping',
  record: 'a mapping',
};

function wrongKind(expected: readonly string[], input: unknown): string {
  if (input === undefined) return 'is required';
  const kinds = [...new Set(expected.map((kind) => KINDS[kind] ?? kind))];
  return `must be ${kinds.join(' or ')}, not ${kindOf(input, expected)}`;
}

function kindOf(input: unknown, expected: readonly string[]): string {
  if (input === null) return 'empty';
  if (Array.isArray(input)) return 'a list';
  if (typeof input === 'object') return 'a mapping';
  if (typeof input === 'boolean') return String(input);
  if (typeof input === 'number') return expected.includes('int') ? String(input) : 'a number';
  return 'text';
}

function bound(side: string, limit: number | bigint, origin: string): string {
  if (origin !== 'array') return `must be ${side} ${limit}`;
  return `must have ${side} ${limit} ${limit === 1 ? 'entry' : 'entries'}`;
}

function oneOf(values: readonly unknown[], input: unknown): string {
  const words = values.map(String);
  const choice = words.length === 1 ? `must be ${words[0]}` : `must be one of ${words.join(', ')}`;
  if (input === undefined) return `is required: ${choice}`;
  return choice + (typeof input === 'string' ? didYouMean(input, words) : '');
}

function wrongTag(key: string, values: readonly unknown[], input: unknown): string {
  return oneOf(values, (input as Readonly<Record<string, unknown>>)[key]);
}

/** A line for each key: `flatten` takes them apart again. */
function unknownKeys(issue: RawIssue & { code: 'unrecognized_keys' }): string {
  const known = knownKeys(issue.inst);
  const here = known.length === 0 ? '' : `; known here: ${known.join(', ')}`;
  return issue.keys
    .slice(0, UNKNOWN_KEYS_MAX)
    .map((key) => `unknown key ${JSON.stringify(key)}${didYouMean(key, known) || here}`)
    .join('\n');
}

function knownKeys(schema: RawIssue['inst']): string[] {
  const definition = schema?._zod.def;
  if (definition === undefined || !('shape' in definition)) return [];
  return Object.keys(definition.shape as Readonly<Record<string, unknown>>);
}
