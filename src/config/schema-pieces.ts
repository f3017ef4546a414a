/** Kinds of values that both documents are made of. What a document has where is in schema.ts. */
import { z } from 'zod';
import { familyOf, isUnicast, parseAddress, parsePrefix, type Family } from '../model/address.ts';

/** Text that a parser turns into a value; `pattern` tells editors roughly what it looks like. */
export function parsed<T>(
  parse: (text: string) => T | undefined,
  problem: string,
  pattern: string,
) {
  return z
    .string()
    .meta({ pattern })
    .transform((text, context): T => {
      const value = parse(text);
      if (value !== undefined) return value;
      context.addIssue({ code: 'custom', message: problem });
      return z.NEVER;
    });
}

/** One value may be written without the brackets of a list. */
export function oneOrMany<T extends z.ZodType>(entry: T, max: number) {
  return z
    .union([entry, z.array(entry).min(1).max(max)])
    .transform((value) => (Array.isArray(value) ? value : [value]) as z.output<T>[]);
}

export const whole = (min: number, max: number) => z.int().min(min).max(max);

const NAME_PROBLEM =
  'must be 1 to 63 letters, digits, dots, dashes or underscores, and begin with a letter or digit';
export const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, NAME_PROBLEM);
// An IPv6 address is a fine name for a backend.
export const backendName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,62}$/, NAME_PROBLEM);

export const NOT_UNICAST =
  'must be a unicast address that others can reach: not loopback, link-local, multicast or unspecified';

export const ADDRESS_PATTERN = '^[0-9A-Fa-f:.]+$';
export const address = parsed(
  parseAddress,
  'must be an IPv4 or IPv6 address, such as 192.0.2.1 or 2001:db8::1',
  ADDRESS_PATTERN,
).refine(isUnicast, NOT_UNICAST);
export const ofFamily = (family: Family) =>
  address.refine(
    (value) => familyOf(value) === family,
    `must be an IPv${family === 'ipv4' ? 4 : 6} address`,
  );

export const sourcePrefix = parsed(
  parsePrefix,
  'must be an address or a prefix without bits beyond its length, such as 10.9.0.0/16',
  '^[0-9A-Fa-f:.]+(/\\d{1,3})?$',
);

/** Relative ones are looked up beside the document. */
export const filePath = z.string().regex(/^[\x21-\x7e]{1,4096}$/, 'must be the path of a file');

export const absolutePath = z
  .string()
  .regex(/^(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}){1,8}$/, 'must be an absolute path');
