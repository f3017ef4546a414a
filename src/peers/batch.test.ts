import fc from 'fast-check';
import { expect, test } from 'vitest';
import { address } from '../model/address.ts';
import {
  DICTIONARY_ENTRIES_MAX,
  FlowChange,
  SharedFlowState,
  type FlowBatch,
} from '../model/flow-batch.ts';
import {
  concatBatches,
  FlowBatchBuilder,
  groupByDestination,
  sliceBatch,
  type FlowRow,
} from './batch.ts';

/** A row that its number can be read from. */
function row(number: number, change: Partial<FlowRow> = {}): FlowRow {
  return {
    destination: { vip: address(`192.0.2.${number % 3}`), protocol: 'tcp', port: 80 },
    backend: address(`10.0.0.${number % 5}`),
    clientAddress: Uint8Array.of(198, 51, 100, number & 0xff),
    clientPort: number,
    change: FlowChange.open,
    state: SharedFlowState.tcpEstablished,
    guess: number % 2 === 1,
    openedAgoMs: number * 1_000,
    seenAgoMs: number * 10,
    ...change,
  };
}

function batchOf(numbers: readonly number[]): FlowBatch {
  const builder = new FlowBatchBuilder('ipv4', numbers.length);
  for (const number of numbers) builder.add(row(number));
  return builder.take();
}

/** The rows as objects, with their dictionary entries: what a batch means. */
function rowsOf(batch: FlowBatch): FlowRow[] {
  const width = batch.family === 'ipv4' ? 4 : 16;
  return Array.from({ length: batch.count }, (_, index) => ({
    destination: batch.destinations[batch.destination[index]!]!,
    backend: batch.backends[batch.backend[index]!]!,
    clientAddress: batch.clientAddress.slice(index * width, (index + 1) * width),
    clientPort: batch.clientPort[index]!,
    change: batch.change[index]!,
    state: batch.state[index]!,
    guess: batch.guess[index] === 1,
    openedAgoMs: batch.openedAgoMs[index]!,
    seenAgoMs: batch.seenAgoMs[index]!,
  }));
}

const NUMBERS = [0, 1, 2, 3, 4, 5, 6, 7];

test('a batch says what its rows were, with each value in its dictionary once', () => {
  const batch = batchOf(NUMBERS);
  expect(rowsOf(batch)).toEqual(NUMBERS.map((number) => row(number)));
  expect(batch.destinations).toHaveLength(3);
  expect(batch.backends).toHaveLength(5);
});

test('columns grow with the rows, up to the room that was given', () => {
  const builder = new FlowBatchBuilder('ipv4', 1_000);
  const added = Array.from({ length: 1_200 }, (_, number) => builder.add(row(number)));
  expect(added.filter(Boolean)).toHaveLength(1_000);
  expect(rowsOf(builder.take())).toEqual(Array.from({ length: 1_000 }, (_, n) => row(n)));
});

test('a builder begins again after its rows are taken', () => {
  const builder = new FlowBatchBuilder('ipv4', 10);
  builder.add(row(1));
  const first = builder.take();
  expect(builder.count).toBe(0);
  builder.add(row(2));
  expect(rowsOf(builder.take())).toEqual([row(2)]);
  expect(rowsOf(first)).toEqual([row(1)]);
});

test('an IPv6 batch has 16 bytes of client address a row', () => {
  const builder = new FlowBatchBuilder('ipv6', 2);
  const clientAddress = Uint8Array.from({ length: 16 }, (_, index) => index);
  const destination = { vip: address('2001:db8::1'), protocol: 'udp', port: 53 } as const;
  builder.add(row(1, { destination, clientAddress }));
  builder.add(row(2, { destination, clientAddress: clientAddress.toReversed() }));
  expect(rowsOf(builder.take()).map((each) => each.clientAddress)).toEqual([
    clientAddress,
    clientAddress.toReversed(),
  ]);
});

test('a slice shares memory and dictionaries, and is cut to what is there', () => {
  const batch = batchOf(NUMBERS);
  const slice = sliceBatch(batch, 2, 5);
  expect(rowsOf(slice)).toEqual([2, 3, 4].map((number) => row(number)));
  expect(slice.clientPort.buffer).toBe(batch.clientPort.buffer);
  expect(sliceBatch(batch, 6, 100).count).toBe(2);
  expect(sliceBatch(batch, 9, 12).count).toBe(0);
  expect(sliceBatch(batch, 5, 2).count).toBe(0);
});

test('batches with dictionaries of their own are joined', () => {
  const joined = concatBatches('ipv4', [batchOf([4, 1]), batchOf([]), batchOf([1, 2])]);
  expect(rowsOf(joined)).toEqual([4, 1, 1, 2].map((number) => row(number)));
  expect(joined.backends).toHaveLength(3);
});

test('a builder takes part of a batch, and says how much', () => {
  const builder = new FlowBatchBuilder('ipv4', 4);
  expect(builder.append(batchOf(NUMBERS), 3, 5)).toBe(2);
  expect(builder.append(batchOf(NUMBERS))).toBe(2);
  expect(rowsOf(builder.take())).toEqual([3, 4, 0, 1].map((number) => row(number)));
});

test('a dictionary that is full takes no new value, and still the old ones', () => {
  const builder = new FlowBatchBuilder('ipv4', 2 * DICTIONARY_ENTRIES_MAX);
  const backend = (index: number) =>
    address(`10.${index >>> 16}.${(index >>> 8) & 0xff}.${index & 0xff}`);
  for (let index = 0; index < DICTIONARY_ENTRIES_MAX; index += 1) {
    builder.add(row(0, { backend: backend(index) }));
  }
  expect(builder.add(row(0, { backend: backend(DICTIONARY_ENTRIES_MAX) }))).toBe(false);
  expect(builder.add(row(0, { backend: backend(7) }))).toBe(true);
  const full = builder.take();
  const more = new FlowBatchBuilder('ipv4', 1);
  more.add(row(0, { backend: backend(DICTIONARY_ENTRIES_MAX) }));
  expect(() => concatBatches('ipv4', [full, more.take()])).toThrow(RangeError);
});

test('rows of another family are a mistake of the program', () => {
  const builder = new FlowBatchBuilder('ipv6', 1);
  expect(() => builder.append(batchOf([1]))).toThrow('ipv4 rows do not fit a batch of ipv6');
});

test('a row that names an entry that is not there is a mistake of the program', () => {
  const batch = batchOf([1]);
  batch.backend[0] = 1;
  expect(() => concatBatches('ipv4', [batch])).toThrow('entry 1');
});

test('grouped rows are the same rows, by destination, each in its order', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(255), { maxLength: 300 }), (numbers) => {
      const batch = batchOf(numbers);
      const grouped = rowsOf(groupByDestination(batch));
      // sort() keeps the order of equals.
      const places = new Map(batch.destinations.map((each, index) => [each.vip, index]));
      const wanted = rowsOf(batch).sort(
        (a, b) => places.get(a.destination.vip)! - places.get(b.destination.vip)!,
      );
      expect(grouped).toEqual(wanted);
    }),
    { numRuns: 50 },
  );
});
