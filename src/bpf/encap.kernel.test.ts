/** Tunnels: the packet that a backend gets, taken apart by hand, for each mode and both families. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { addressBytes, addressFromBytes, parsePrefix, type Address } from '../model/address.ts';
import { TUNNEL_MODES, type ForwardingOptions, type TunnelMode } from '../model/forwarding.ts';
import type { L4Protocol } from '../model/service.ts';
import { backendMac, PLANS } from './fixture-network.ts';
import { Fixture, service } from './fixture.ts';
import { ETHERNET_BYTES, macText, patched, PROTOCOL, tcp, udp } from './packet.ts';

let fixture: Fixture;

beforeAll(async () => {
  fixture = await Fixture.open();
});
afterAll(async () => {
  await fixture.close();
});
afterEach(() => {
  fixture.forgetFlows();
});

const SHIM_BYTES: Record<TunnelMode, number> = { ipip: 0, gre: 4, gue: 12, fou: 8 };
const IP_VERSION_AT = 0;
const ETHERTYPES = { ipv4: 0x0800, ipv6: 0x86dd } as const;
const IN_IP = { ipv4: 4, ipv6: 41 } as const;

interface Outer {
  readonly source: Address;
  readonly destination: Address;
  readonly tos: number;
  readonly ttl: number;
  readonly protocol: number;
  readonly dontFragment: boolean;
  /** What follows the outer IP header. */
  readonly payload: Uint8Array;
  /** Of the IPv4 header or of the pseudo header with a UDP payload: 0xffff when right. */
  readonly headerSum: number;
  readonly udpSum: number;
}

function sum16(...parts: readonly Uint8Array[]): number {
  let sum = 0;
  for (const part of parts) {
    part.forEach((byte, at) => (sum += at % 2 === 0 ? byte << 8 : byte));
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

function takeApart(frame: Uint8Array): Outer {
  const packet = frame.subarray(ETHERNET_BYTES);
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  if ((packet[IP_VERSION_AT] ?? 0) >> 4 === 4) {
    expect(view.getUint16(2)).toBe(packet.length);
    const addresses = packet.subarray(12, 20);
    const payload = packet.subarray(20);
    const mapped = (at: number) => {
      return addressFromBytes(
        Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, ...packet.subarray(at, at + 4)),
      );
    };
    return {
      source: mapped(12),
      destination: mapped(16),
      tos: view.getUint8(1),
      ttl: view.getUint8(8),
      protocol: view.getUint8(9),
      dontFragment: view.getUint16(6) === 0x4000,
      payload,
      headerSum: sum16(packet.subarray(0, 20)),
      udpSum: sum16(addresses, pseudo(17, payload.length), payload),
    };
  }
  expect(view.getUint16(4)).toBe(packet.length - 40);
  const payload = packet.subarray(40);
  return {
    source: addressFromBytes(packet.subarray(8, 24)),
    destination: addressFromBytes(packet.subarray(24, 40)),
    tos: (view.getUint16(0) >> 4) & 0xff,
    ttl: view.getUint8(7),
    protocol: view.getUint8(6),
    dontFragment: true,
    payload,
    headerSum: 0xffff,
    udpSum: sum16(packet.subarray(8, 40), pseudo(17, payload.length), payload),
  };
}

function pseudo(protocol: number, bytes: number): Uint8Array {
  return Uint8Array.of(0, protocol, bytes >> 8, bytes & 0xff);
}

describe.each(PLANS)('inside $family', (inner) => {
  const tuple = { source: inner.client, destination: inner.vip, sport: 40000, dport: 80 };
  const segment = tcp({ ...tuple, flags: 'S', payload: Uint8Array.of(1, 2, 3) });

  describe.each(PLANS)('outside $family', (outer) => {
    const backend = outer.backend(1);
    const send = async (
      mode: TunnelMode,
      frame = segment,
      forwarding?: ForwardingOptions,
      protocol: L4Protocol = 'tcp',
    ) => {
      await fixture.program();
      const backends = [{ address: backend, mode, forwarding }];
      await fixture.program(service({ vip: inner.vip, protocol, backends }));
      return fixture.send(frame);
    };

    test.each(TUNNEL_MODES)('%s carries the packet unchanged', async (mode) => {
      const { verdict, frame } = await send(mode);
      expect(verdict).toBe('TX');
      expect(macText(frame.subarray(0, 6))).toBe(backendMac(1));
      const view = new DataView(frame.buffer, frame.byteOffset);
      expect(view.getUint16(12)).toBe(ETHERTYPES[outer.family]);

      const got = takeApart(frame);
      expect(got).toMatchObject({
        source: outer.node,
        destination: backend,
        ttl: 64,
        tos: 0,
        dontFragment: true,
        headerSum: 0xffff,
      });
      expect(got.payload.subarray(SHIM_BYTES[mode])).toEqual(segment.subarray(ETHERNET_BYTES));
      const shim = new DataView(got.payload.buffer, got.payload.byteOffset, SHIM_BYTES[mode]);
      switch (mode) {
        case 'ipip':
          expect(got.protocol).toBe(IN_IP[inner.family]);
          break;
        case 'gre':
          expect(got.protocol).toBe(47);
          expect(shim.getUint32(0)).toBe(ETHERTYPES[inner.family]);
          break;
        case 'gue':
        case 'fou':
          if (mode === 'gue') expect(shim.getUint32(8)).toBe(IN_IP[inner.family] << 16);
          expect(got.protocol).toBe(PROTOCOL.udp);
          expect(shim.getUint16(0)).toBeGreaterThanOrEqual(49152);
          expect(shim.getUint16(2)).toBe(mode === 'gue' ? 6080 : 5555);
          expect(shim.getUint16(4)).toBe(got.payload.length);
          if (outer.family === 'ipv4') expect(shim.getUint16(6)).toBe(0);
          else expect(got.udpSum).toBe(0xffff);
      }
    });

    test.each(['gue', 'fou'] as const)('%s of a datagram has a right checksum', async (mode) => {
      for (const checksum of [true, false]) {
        const datagram = udp({ ...tuple, payload: Uint8Array.of(9, 8, 7), checksum });
        const { frame } = await send(mode, datagram, undefined, 'udp');
        const got = takeApart(frame);
        if (outer.family === 'ipv6' && checksum) expect(got.udpSum).toBe(0xffff);
        else expect(new DataView(got.payload.buffer, got.payload.byteOffset).getUint16(6)).toBe(0);
      }
    });

    test('port and TTL are as told, and the TTL may be that of the packet', async () => {
      const told = await send('fou', segment, { port: 7777, tunnelTtl: 9 });
      const { payload, ttl } = takeApart(told.frame);
      expect([ttl, payload[2], payload[3]]).toEqual([9, 7777 >> 8, 7777 & 0xff]);

      const at = ETHERNET_BYTES + (inner.family === 'ipv4' ? 8 : 7);
      const copied = await send('ipip', patched(segment, at, 33), { tunnelTtl: 'copy' });
      expect(takeApart(copied.frame).ttl).toBe(33);
    });

    test('clients of one network and one port differ in the source port of the tunnel', async () => {
      const ports = new Set<number>();
      for (let bit = 0; bit < 16; bit += 1) {
        const bytes = addressBytes(inner.client);
        const at = 15 - (bit >> 3);
        bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7));
        const client = addressFromBytes(bytes);
        const { frame } = await send('fou', tcp({ ...tuple, source: client, flags: 'S' }));
        const { payload } = takeApart(frame);
        ports.add(((payload[0] ?? 0) << 8) | (payload[1] ?? 0));
      }
      expect(ports.size).toBe(16);
    });

    test('DSCP and ECN are those of the packet', async () => {
      // Traffic class 0x2e << 2 | 1.
      const marked =
        inner.family === 'ipv4'
          ? patched(segment, ETHERNET_BYTES + 1, 0xb9)
          : patched(patched(segment, ETHERNET_BYTES, 0x6b), ETHERNET_BYTES + 1, 0x90);
      const { frame } = await send('gre', marked);
      expect(takeApart(frame)).toMatchObject({ tos: 0xb9, headerSum: 0xffff });
    });

    test('the source keeps to its prefix, and differs from flow to flow', async () => {
      const text = outer.family === 'ipv4' ? '198.18.0.0/15' : '2001:db8:77::/48';
      const tunnelSource = parsePrefix(text)!;
      const sources = new Set<Address>();
      for (let sport = 1; sport <= 16; sport += 1) {
        const { frame } = await send('ipip', tcp({ ...tuple, sport, flags: 'S' }), {
          tunnelSource,
        });
        sources.add(takeApart(frame).source);
      }
      expect(sources.size).toBeGreaterThan(8);
      const head = (value: Address) => {
        const bytes = addressBytes(value);
        return outer.family === 'ipv4'
          ? [bytes[12], (bytes[13] ?? 0) & 0xfe]
          : [...bytes.subarray(0, 6)];
      };
      for (const source of sources) expect(head(source)).toEqual(head(tunnelSource.address));
    });
  });
});
