import { describe, expect, test } from 'vitest';
import { addressBook } from '../peers/address-book.ts';
import { FlowBatchBuilder } from '../peers/batch.ts';
import { HASH_CASES, type HashCase } from '../peers/merge-cases.ts';
import { familyOf } from './address.ts';
import { FlowChange, SharedFlowState, type FlowBatch } from './flow-batch.ts';
import { bucketOf, FlowHasher, type Hash64 } from './flow-hash.ts';

function batchOf(cases: readonly HashCase[], family: 'ipv4' | 'ipv6'): FlowBatch {
  const builder = new FlowBatchBuilder(family, cases.length);
  for (const { destination, client, clientPort, backend } of cases) {
    builder.add({
      destination,
      backend,
      clientAddress: addressBook.bytes(client),
      clientPort,
      change: FlowChange.open,
      state: SharedFlowState.tcpEstablished,
      guess: false,
      openedAgoMs: 1,
      seenAgoMs: 1,
    });
  }
  return builder.take();
}

function whole({ high, low }: Hash64): bigint {
  return (BigInt(high) << 32n) | BigInt(low);
}

describe('the hash of a flow', () => {
  test.each(['ipv4', 'ipv6'] as const)('of %s is what every node computes', (family) => {
    const cases = HASH_CASES.filter(({ client }) => familyOf(client) === family);
    const hasher = new FlowHasher(batchOf(cases, family));
    const computed = cases.map((_, row) => ({
      key: whole(hasher.key(row)),
      term: whole(hasher.term(row)),
      bucket: bucketOf(hasher.key(row)),
    }));
    expect(computed).toEqual(cases.map(({ key, term, bucket }) => ({ key, term, bucket })));
  });

  test('does not depend on where in a batch, or in what memory, the row is', () => {
    const cases = HASH_CASES.filter(({ client }) => familyOf(client) === 'ipv4');
    const [first] = cases;
    const alone = new FlowHasher(batchOf([first!], 'ipv4')).term(0);
    const last = new FlowHasher(batchOf([...cases.slice(1), first!], 'ipv4'));
    expect(last.term(cases.length - 1)).toEqual(alone);
  });
});
