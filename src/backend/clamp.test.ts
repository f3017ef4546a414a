import { expect, test } from 'vitest';
import { address } from '../model/address.ts';
import { clampScript } from './clamp.ts';

test('VIPs of one family and size share a rule, and the table is replaced in one transaction', () => {
  const script = clampScript([
    { vip: address('192.0.2.1'), mss: 1440 },
    { vip: address('2001:db8::1'), mss: 1420 },
    { vip: address('192.0.2.2'), mss: 1440 },
    { vip: address('192.0.2.3'), mss: 1300 },
  ]);
  expect(script).toBe(`table inet skein_backend
delete table inet skein_backend
table inet skein_backend {
  chain clamp {
    type filter hook postrouting priority mangle; policy accept;
    ip saddr { 192.0.2.1, 192.0.2.2 } tcp flags & syn == syn tcp option maxseg size set 1440
    ip6 saddr { 2001:db8::1 } tcp flags & syn == syn tcp option maxseg size set 1420
    ip saddr { 192.0.2.3 } tcp flags & syn == syn tcp option maxseg size set 1300
  }
}
`);
});
