/** The flow tables after they were closed, which a node's end does while others still ask. */
import { expect, test } from 'vitest';
import { IPV4 } from '../bpf/fixture-network.ts';
import { batchOf, flowServices, mergeRows, openSharing, rowsFrom } from '../bpf/fixture-rows.ts';

test('every question is refused, that of a walk which waits for its turn, too', async () => {
  const fixture = await openSharing();
  const { flowTable } = fixture.dataplane;
  await fixture.program(...flowServices(IPV4));
  mergeRows(fixture, IPV4, rowsFrom(IPV4, 0, 10));
  const underWay = flowTable.read();
  await underWay.next();
  const refusal = { code: 'TABLE_CLOSED' };
  const waiting = expect(flowTable.digest()).rejects.toMatchObject(refusal);
  await fixture.close();
  await underWay.return(undefined);

  await waiting;
  await expect(flowTable.digest()).rejects.toMatchObject(refusal);
  await expect(flowTable.read().next()).rejects.toMatchObject(refusal);
  expect(() => flowTable.merge(batchOf(IPV4, rowsFrom(IPV4, 0, 1)))).toThrow('closed');
  expect(() => flowTable.drainChanges(1)).toThrow('closed');
});
