/** The shape of one health check: keys, defaults and bounds of each type. */
import { z } from 'zod';
import { DNS_RCODES, DNS_RECORDS } from '../model/check.ts';
import { familyOf, parseAddress } from '../model/address.ts';
import { wording } from './issues.ts';
import { ADDRESS_PATTERN, name, oneOrMany, parsed, whole } from './schema-pieces.ts';
import { silenceMs } from './schema-reports.ts';
import { parseHex, parseStatusRange, parseThreshold } from './values.ts';

/** Of a datagram: fits any path, with room for headers. */
const PAYLOAD_BYTES_MAX = 1200;
const SCRIPT_ARGS_MAX = 32;

const threshold = z
  .strictObject({
    count: whole(1, 64).describe('Results that must agree.'),
    window: whole(1, 64).describe('Of so many latest results.'),
  })
  .superRefine(({ count, window }, context) => {
    if (count <= window) return;
    const message = `must be at most ${window}, the window`;
    context.addIssue({ code: 'custom', path: ['count'], message });
  });
const thresholdOrShort = z.union(
  [
    parsed(parseThreshold, 'must be count/window, such as "3/5"', '^\\d{1,3}/\\d{1,3}$').pipe(
      threshold,
    ),
    threshold,
  ],
  { error: (issue) => `${wording(issue) ?? ''}: such as "2/2"` },
);

const timing = {
  name: name.optional().describe('Default: the type, made unique.'),
  interval_ms: whole(50, 3_600_000).default(1000).describe('From one check to the next.'),
  timeout_ms: whole(50, 60_000).optional().describe('Default: 800, or the interval if shorter.'),
  rise: thresholdOrShort.prefault('2/2').describe('Passes needed to come up: count of window.'),
  fall: thresholdOrShort.prefault('3/5').describe('Failures needed to go down: count of window.'),
};
const everyCheck = {
  name: timing.name,
  port: whole(1, 65535).optional().describe("Default: the service's port."),
  interval_ms: timing.interval_ms,
  timeout_ms: timing.timeout_ms,
  rise: timing.rise,
  fall: timing.fall,
};

const serverName = z
  .string()
  .regex(/^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/, 'must be a host name');
const verify = z.boolean().default(false).describe("Check the certificate by the system's roots.");

const status = z.union([
  whole(100, 599).transform((code) => ({ from: code, to: code })),
  parsed(
    parseStatusRange,
    'must be a status code or a range of them, such as "200-299"',
    '^[1-5]\\d\\d-[1-5]\\d\\d$',
  ),
]);
const httpCheck = {
  ...everyCheck,
  method: z.enum(['GET', 'HEAD', 'POST', 'OPTIONS']).default('GET'),
  path: z
    .string()
    .regex(/^\/[\x21-\x7e]{0,1023}$/, 'must begin with "/" and have no spaces')
    .default('/'),
  host: z
    .string()
    .regex(/^[A-Za-z0-9.:[\]_-]{1,255}$/, 'must be a host name, with ":port" if need be')
    .optional()
    .describe('Host header. Default: the VIP.'),
  expect: oneOrMany(status, 32).prefault('200-399').describe('Status codes that pass.'),
};

/** Labels of RFC 1035, section 2.3.4, and the underscore of RFC 8552; "." is the root. */
const DNS_LABEL = '[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?';
const DNS_NAME = new RegExp(`^(?=.{1,254}$)(?:\\.|${DNS_LABEL}(?:\\.${DNS_LABEL})*\\.?)$`);
const dnsCheck = z
  .strictObject({
    type: z.literal('dns'),
    ...everyCheck,
    query: z.string().regex(DNS_NAME, 'must be a domain name').describe('The name to ask for.'),
    record: z.enum(DNS_RECORDS).default('A').describe('The type of record to ask for.'),
    expect: oneOrMany(z.enum(DNS_RCODES), DNS_RCODES.length)
      .prefault('NOERROR')
      .describe('Response codes that pass; NOERROR only with a record of that type.'),
    // Any address: what a resolver answers may well be a loopback one.
    address: parsed(
      parseAddress,
      'must be an IPv4 or IPv6 address, such as 192.0.2.1 or 2001:db8::1',
      ADDRESS_PATTERN,
    )
      .optional()
      .describe('Must be among the records of an answer with NOERROR; for A and AAAA.'),
  })
  .superRefine(({ record, address, expect }, context) => {
    if (address === undefined) return;
    const refuse = (message: string) => {
      context.addIssue({ code: 'custom', path: ['address'], message });
    };
    if (record !== 'A' && record !== 'AAAA') refuse('needs record A or AAAA');
    else if (familyOf(address) !== (record === 'A' ? 'ipv4' : 'ipv6')) {
      refuse(`must be an ${record === 'A' ? 'IPv4' : 'IPv6'} address, as record is ${record}`);
    } else if (!expect.includes('NOERROR')) refuse('needs NOERROR in expect');
  });

const payloadText = z
  .string()
  .refine(
    (text) => text !== '' && Buffer.byteLength(text) <= PAYLOAD_BYTES_MAX,
    `must be 1 to ${PAYLOAD_BYTES_MAX} bytes (UTF-8)`,
  );
const payloadHex = parsed(
  (text) => parseHex(text, PAYLOAD_BYTES_MAX),
  `must be 1 to ${PAYLOAD_BYTES_MAX} bytes as pairs of hexadecimal digits, such as "00ff"`,
  '^[0-9A-Fa-f ]+$',
);
const UDP_SENDS = ['send', 'send_hex'] as const;
const UDP_EXPECTS = [
  'expect_prefix',
  'expect_prefix_hex',
  'expect_contains',
  'expect_contains_hex',
] as const;
const udpCheck = z
  .strictObject({
    type: z.literal('udp'),
    ...everyCheck,
    send: payloadText.optional().describe('Payload of the datagram, as text (UTF-8).'),
    send_hex: payloadHex.optional().describe('The same as hexadecimal bytes.'),
    expect_prefix: payloadText.optional().describe('The reply must begin with this text.'),
    expect_prefix_hex: payloadHex.optional().describe('The reply must begin with these bytes.'),
    expect_contains: payloadText.optional().describe('The reply must have this text in it.'),
    expect_contains_hex: payloadHex.optional().describe('The reply must have these bytes in it.'),
  })
  .superRefine((value, context) => {
    const refuse = (key: string, message: string) => {
      context.addIssue({ code: 'custom', path: [key], message });
    };
    const [send, ...more] = UDP_SENDS.filter((key) => value[key] !== undefined);
    if (send === undefined) refuse('send', 'is required, or send_hex');
    for (const key of more) refuse(key, `excludes ${send}`);
    const [expect, ...others] = UDP_EXPECTS.filter((key) => value[key] !== undefined);
    for (const key of others) refuse(key, `excludes ${expect}`);
  });

const grpcCheck = z
  .strictObject({
    type: z.literal('grpc'),
    ...everyCheck,
    service: z
      .string()
      .regex(/^[\x21-\x7e]{0,255}$/, 'must be the name of a gRPC service')
      .default('')
      .describe('The service to ask for. Default: the server as a whole.'),
    tls: z.boolean().default(false).describe('Use TLS.'),
    server_name: serverName.optional().describe('TLS server name (RFC 6066). Default: none.'),
    verify,
  })
  .superRefine(({ tls, server_name, verify }, context) => {
    if (tls) return;
    const refuse = (key: string) => {
      context.addIssue({ code: 'custom', path: [key], message: 'needs "tls: true"' });
    };
    if (server_name !== undefined) refuse('server_name');
    if (verify) refuse('verify');
  });

const scriptText = z
  .string()
  .max(1024)
  .regex(/^[^\0]*$/, 'must have no null character');
const scriptCheck = z.strictObject({
  type: z.literal('script'),
  ...everyCheck,
  command: z
    .string()
    .regex(/^\/[\x21-\x7e]{1,1023}$/, 'must be the absolute path of a program')
    .describe('Program to run; exit status 0 passes. Needs allow_scripts in the node part.'),
  args: z.array(scriptText).max(SCRIPT_ARGS_MAX).default([]).describe('Its arguments.'),
});

const reportCheck = z.strictObject({
  type: z.literal('report'),
  name: timing.name,
  interval_ms: timing.interval_ms,
  silence_ms: silenceMs,
  rise: thresholdOrShort.prefault('1/1').describe('Passes needed to come up.'),
  fall: thresholdOrShort.prefault('1/1').describe('Failures needed to go down.'),
});

export const check = z
  .discriminatedUnion('type', [
    z.strictObject({ type: z.literal('tcp'), ...everyCheck }),
    z.strictObject({ type: z.literal('http'), ...httpCheck }),
    z.strictObject({
      type: z.literal('https'),
      ...httpCheck,
      server_name: serverName.optional().describe('TLS server name (RFC 6066). Default: `host`.'),
      verify,
    }),
    dnsCheck,
    udpCheck,
    grpcCheck,
    z.strictObject({ type: z.literal('ping'), ...timing }),
    scriptCheck,
    reportCheck,
  ])
  .superRefine((value, context) => {
    if (value.type === 'report') return;
    const { timeout_ms, interval_ms } = value;
    if (timeout_ms === undefined || timeout_ms <= interval_ms) return;
    const message = `must be at most ${interval_ms}, the interval`;
    context.addIssue({ code: 'custom', path: ['timeout_ms'], message });
  });

export type CheckEntry = z.output<typeof check>;
