import { describe, expect, test } from 'vitest';
import { checksum, decode, icmp, patched, tcp, udp } from './packet.ts';

function bytes(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ''), 'hex'));
}

/** What Linux sent, so that decoder and builders are not only compared with each other. */
const CAPTURED = [
  {
    name: 'TCP over IPv4, with options',
    frame: `02000000000b02000000000a0800 4500003ca242400040061476c0000201c0000202
            e8d80009541d78f800000000a002faf0e91c0000020405b40402080ae00849eb000000000103030a`,
    packet: {
      dmac: '02:00:00:00:00:0b',
      smac: '02:00:00:00:00:0a',
      source: '192.0.2.1',
      destination: '192.0.2.2',
      ttl: 64,
      protocol: 6,
      sport: 59608,
      dport: 9,
      wrongChecksums: [],
    },
    checksums: ['ipv4', 'tcp'],
  },
  {
    name: 'UDP over IPv4, odd length',
    frame: `02000000000b02000000000a0800 4500001ff74840004011bf81c0000201c0000202
            80e90009000b277d6f6464`,
    packet: { protocol: 17, sport: 33001, dport: 9, wrongChecksums: [] },
    checksums: ['ipv4', 'udp'],
  },
  {
    name: 'ICMP echo, odd length',
    frame: `02000000000a02000000000b0800 45000021c45a00004001327ec0000202c0000201
            0000a9d2125a000168656c6c6f`,
    packet: { protocol: 1, sport: 0, dport: 0, wrongChecksums: [] },
    checksums: ['ipv4', 'icmp'],
  },
  {
    name: 'TCP over IPv6',
    frame: `02000000000a02000000000b86dd 6009d25300140640
            20010db8000000000000000000000002 20010db8000000000000000000000001
            0009d73e00000000aaf8b2a7501400001f740000`,
    packet: {
      source: '2001:db8::2',
      destination: '2001:db8::1',
      protocol: 6,
      sport: 9,
      dport: 55102,
      wrongChecksums: [],
    },
    checksums: ['tcp'],
  },
  {
    name: 'UDP over IPv6, odd length',
    frame: `02000000000b02000000000a86dd 6000c49f000b1140
            20010db8000000000000000000000001 20010db8000000000000000000000002
            9e7f0009000b32766f6464`,
    packet: { protocol: 17, sport: 40575, dport: 9, wrongChecksums: [] },
    checksums: ['udp'],
  },
  {
    name: 'ICMPv6 echo, odd length',
    frame: `02000000000b02000000000a86dd 60080952000d3a40
            20010db8000000000000000000000001 20010db8000000000000000000000002
            8000ce14125b000168656c6c6f`,
    packet: { protocol: 58, sport: 0, dport: 0, wrongChecksums: [] },
    checksums: ['icmp6'],
  },
];

test('the checksum is that of the example in RFC 1071, section 3', () => {
  expect(checksum(bytes('0001 f203 f4f5 f6f7'))).toBe(0xffff - 0xddf2);
});

describe.each(CAPTURED)('$name', ({ frame, packet, checksums }) => {
  test('a captured frame is taken apart', () => {
    expect(decode(bytes(frame))).toMatchObject(packet);
  });

  test('a changed byte makes the checksum wrong', () => {
    const last = bytes(frame).length - 1;
    const changed = patched(bytes(frame), last, 0xff ^ (bytes(frame)[last] ?? 0));
    expect(decode(changed).wrongChecksums).toEqual(checksums.slice(-1));
  });

  test('a changed address makes every checksum wrong that covers it', () => {
    const changed = bytes(frame);
    changed[29] = (changed[29] ?? 0) ^ 1;
    expect(decode(changed).wrongChecksums).toEqual(checksums.filter((name) => name !== 'icmp'));
  });
});

const PAIRS = [
  { source: '192.0.2.1', destination: '203.0.113.9', echo: 8, protocols: [6, 17, 1] },
  { source: '2001:db8::1', destination: '2001:db8:0:1::', echo: 128, protocols: [6, 17, 58] },
];

test.each(PAIRS)('what is built from $source to $destination decodes', ({ echo, ...between }) => {
  const { source, destination, protocols } = between;
  const payload = Uint8Array.of(1, 2, 3);
  const fields = { source, destination, ttl: 17, sport: 40000, dport: 80, payload };
  const built = [
    tcp({ ...fields, flags: 'SA' }),
    udp(fields),
    icmp({ source, destination, ttl: 17, type: echo, payload }),
  ];
  const decoded = built.map(decode);
  expect(decoded.map(({ protocol }) => protocol)).toEqual(protocols);
  for (const packet of decoded) {
    expect(packet).toMatchObject({ source, destination, ttl: 17, wrongChecksums: [] });
  }
  expect(decoded[0]).toMatchObject({ sport: 40000, dport: 80 });
});

test('a UDP datagram without a checksum is not a wrong one', () => {
  const fields = { source: '192.0.2.1', destination: '192.0.2.2', sport: 1, dport: 2 };
  const frame = udp({ ...fields, checksum: false });
  expect([...frame.subarray(40, 42)]).toEqual([0, 0]);
  expect(decode(frame).wrongChecksums).toEqual([]);
});
