import { expect, test } from 'vitest';
import { address, type Address } from '../model/address.ts';
import { ADMIT_ALL } from '../model/admission.ts';
import { serviceId, type L4Protocol, type ServiceId } from '../model/service.ts';
import type { ProgrammedBackend, ProgrammedService } from './plan.ts';
import { SlotNames } from './slot-names.ts';

const VIP = address('192.0.2.1');
const [ONE, TWO, THREE] = ['10.0.0.1', '10.0.0.2', '10.0.0.3'].map(address) as [
  Address,
  Address,
  Address,
];

function backend(slot: number, generation: number, at: Address): [Address, ProgrammedBackend] {
  return [at, { slot, generation, address: at, weight: 1, mode: 'l2dsr', state: 'up' }];
}

function service(
  protocol: L4Protocol,
  port: number,
  ...backends: readonly [Address, ProgrammedBackend][]
): [ServiceId, ProgrammedService] {
  const key = { vip: VIP, protocol, port };
  const id = serviceId(key);
  const rest = {
    index: 0,
    affinity: 'flow',
    admission: ADMIT_ALL,
    admissionCertain: true,
    quic: undefined,
    ringSlots: 1,
    ringSource: undefined,
  } as const;
  return [id, { ...key, id, ...rest, backends: new Map(backends) }];
}

const names = new SlotNames(
  new Map([
    service('tcp', 80, backend(0, 7, ONE), backend(5, 1, TWO)),
    service('tcp', 0, backend(2, 1, THREE)),
    service('udp', 53, backend(3, 2, ONE)),
  ]),
);

test.each([
  { name: 'a slot in use', slot: 0, generation: 7, is: ONE },
  { name: 'a slot of another service', slot: 3, generation: 2, is: ONE },
  { name: 'an earlier owner of a slot', slot: 0, generation: 6, is: undefined },
  { name: 'a slot between others that nobody has', slot: 1, generation: 1, is: undefined },
  { name: 'a slot beyond all others', slot: 4_000_000_000, generation: 1, is: undefined },
])('$name: $is', ({ slot, generation, is }) => {
  expect(names.backendOf(slot, generation)).toBe(is);
});

test.each([
  { protocol: 'tcp', port: 80, slots: [0, 5] },
  { protocol: 'tcp', port: 443, slots: [2] },
  { protocol: 'udp', port: 53, slots: [3] },
  { protocol: 'udp', port: 54, slots: undefined },
] as const)('$protocol port $port is taken to slots $slots', ({ protocol, port, slots }) => {
  const found = names.backendsOf({ vip: VIP, protocol, port });
  expect(found && [...found.values()].map(({ slot }) => slot)).toEqual(slots);
});

test('another VIP has no backends', () => {
  const elsewhere = address('192.0.2.2');
  expect(names.backendsOf({ vip: elsewhere, protocol: 'tcp', port: 80 })).toBeUndefined();
});
