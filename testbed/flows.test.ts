import { expect, test } from 'vitest';
import { address } from '../src/model/address.ts';
import { differences, endsOf, parseConnections, type PlacedFlow } from './flows.ts';

const OPEN = { isClosing: false };
const CLOSING = { isClosing: true };

function table(
  backend: string,
  { isClosing }: Pick<PlacedFlow, 'isClosing'>,
): ReadonlyMap<string, PlacedFlow> {
  const ends = { client: address('10.0.0.1'), clientPort: 9, vip: address('10.0.0.2'), port: 80 };
  const flow: PlacedFlow = { ...ends, protocol: 'tcp', backend: address(backend), isClosing };
  return new Map([['a flow', flow]]);
}

test.each([
  ['the same backend', table('10.0.1.1', OPEN), table('10.0.1.1', OPEN), 0],
  ['another state', table('10.0.1.1', OPEN), table('10.0.1.1', CLOSING), 0],
  ['another backend', table('10.0.1.1', OPEN), table('10.0.1.2', OPEN), 1],
  ['another backend once it closes', table('10.0.1.1', CLOSING), table('10.0.1.2', OPEN), 1],
  ['nothing of it', table('10.0.1.1', OPEN), new Map(), 1],
  ['nothing of one that closes', new Map(), table('10.0.1.1', CLOSING), 0],
] as const)('a node that has %s', (_, one, other, count) => {
  expect(differences(one, other)).toHaveLength(count);
  expect(differences(other, one)).toHaveLength(count);
});

test('connections are read as ss prints them, in both families', () => {
  const listed = [
    '0      0      10.83.100.1:7000 10.83.0.2:40001',
    '0      36     [fd83:100::1]:80 [fd83::2]:40002 ',
    '',
  ].join('\n');
  expect(parseConnections(listed).map(endsOf)).toEqual([
    '10.83.0.2 40001 10.83.100.1 7000',
    'fd83::2 40002 fd83:100::1 80',
  ]);
});
