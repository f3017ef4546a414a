import { describe, expect, test } from 'vitest';
import { ManualClock } from '../lib/clock.ts';
import { address } from '../model/address.ts';
import type { FlowBatch } from '../model/flow-batch.ts';
import type { FlowList, FlowQuery } from '../model/flow-query.ts';
import { DIGEST_BUCKETS } from './flow-table.ts';
import { FlowLister } from './flow-list.ts';
import type { Knowledge } from './known-at.ts';
import { LIST_MS_MAX, LISTS_WAITING_MAX } from './limits.ts';
import { MemoryTable } from './memory-table.ts';

const VIP4 = address('192.0.2.1');
const VIP6 = address('2001:db8:ff::1');
const B1 = address('10.0.0.1');
const B2 = address('10.0.0.2');
const B6 = address('2001:db8::b6');
const FLOWS = [
  ['198.51.100.7', 1001, 'tcp', VIP4, 80, B1],
  ['198.51.100.7', 1002, 'tcp', VIP4, 443, B2],
  ['198.51.100.8', 1003, 'udp', VIP4, 53, B1],
  ['2001:db8:c::7', 1004, 'tcp', VIP6, 80, B6],
] as const;

function knowledge(clock: ManualClock, isEqual: boolean, aliveSinceMs = 0): Knowledge {
  const atMs = new Float64Array(DIGEST_BUCKETS).fill(clock.nowMs() - 1_000);
  const equal = new Uint8Array(DIGEST_BUCKETS).fill(isEqual ? 1 : 0);
  const peer = { peer: 'lb2', aliveSinceMs, atMs, isEqual: equal };
  return { nowMs: clock.nowMs(), peers: [peer] };
}

function tableOf(clock: ManualClock): MemoryTable {
  const table = new MemoryTable({ clock, readRows: 2 });
  for (const [client, clientPort, protocol, vip, port, backend] of FLOWS) {
    table.syn(
      { client: address(client), clientPort, destination: { protocol, vip, port } },
      backend,
    );
  }
  return table;
}

async function list(
  query: Partial<FlowQuery>,
  known?: (clock: ManualClock) => Knowledge,
): Promise<FlowList> {
  const clock = new ManualClock();
  const table = tableOf(clock);
  clock.advance(60_000);
  const lister = new FlowLister({ table, clock, knowledge: known && (() => known(clock)) });
  const found = await lister.list({ limit: 100, ...query });
  if (found === 'busy') throw new Error('nobody else asks');
  return found;
}

describe('filters', () => {
  test.each<[Partial<FlowQuery>, number[]]>([
    [{}, [1001, 1002, 1003, 1004]],
    [{ client: address('198.51.100.7') }, [1001, 1002]],
    [{ client: address('2001:db8:c::7') }, [1004]],
    [{ client: address('198.51.100.9') }, []],
    [{ vip: VIP4 }, [1001, 1002, 1003]],
    [{ vip: VIP6 }, [1004]],
    [{ port: 80 }, [1001, 1004]],
    [{ protocol: 'udp' }, [1003]],
    [{ backend: B1 }, [1001, 1003]],
    [{ backend: VIP4 }, []],
    [{ state: 'udp' }, [1003]],
    [{ state: 'closing' }, []],
    [{ client: address('198.51.100.7'), port: 80, protocol: 'tcp' }, [1001]],
    [{ client: address('198.51.100.7'), port: 53 }, []],
  ])('%j', async (query, expected) => {
    const found = await list(query);
    expect(found.flows.map(({ clientPort }) => clientPort).sort()).toEqual(expected);
    expect(found).toMatchObject({
      scanned: FLOWS.length,
      matched: expected.length,
      truncated: false,
      complete: true,
    });
  });
});

test('a flow is told with its names and ages', async () => {
  const { flows } = await list({ vip: VIP6 });
  expect(flows).toEqual([
    {
      client: '2001:db8:c::7',
      clientPort: 1004,
      vip: '2001:db8:ff::1',
      port: 80,
      protocol: 'tcp',
      backend: '2001:db8::b6',
      state: 'open',
      openedAgoMs: 60_000,
      seenAgoMs: 60_000,
      guess: false,
      knownAt: [],
      survives: null,
    },
  ]);
});

test('beyond the limit flows are counted and not listed', async () => {
  const found = await list({ limit: 1 }, (clock) => knowledge(clock, true));
  expect(found.flows).toHaveLength(1);
  expect(found).toMatchObject({ matched: 4, truncated: true, complete: true });
  expect(found.survival).toEqual({ survive: 4, mayNot: 0, unsettled: 0 });
});

describe('what the peers know', () => {
  test.each([
    ['equal', true, 0, 'known', true, { survive: 4, mayNot: 0, unsettled: 0 }],
    ['unequal', false, 0, 'differs', false, { survive: 0, mayNot: 4, unsettled: 0 }],
    [
      'of an earlier life',
      true,
      59_999,
      'unsettled',
      null,
      { survive: 0, mayNot: 0, unsettled: 4 },
    ],
  ] as const)('digests are %s', async (_, isEqual, since, state, survival, counts) => {
    const found = await list({}, (clock) => knowledge(clock, isEqual, since));
    for (const { knownAt, survives } of found.flows) {
      expect(knownAt).toEqual([{ peer: 'lb2', knowledge: state }]);
      expect(survives).toBe(survival);
    }
    expect(found.survival).toEqual(counts);
  });

  test('without flow sync nothing is said of it', async () => {
    expect((await list({})).survival).toBeNull();
  });

  test('alone no flow would survive', async () => {
    const found = await list({}, (clock) => ({ nowMs: clock.nowMs(), peers: [] }));
    expect(found.survival).toEqual({ survive: 0, mayNot: 4, unsettled: 0 });
  });
});

describe('walks', () => {
  /** A table whose batches come when the test lets them. */
  function gated(table: MemoryTable) {
    const state = { walks: 0, walking: 0, mostWalking: 0 };
    const gate = Promise.withResolvers<undefined>();
    async function* read(): AsyncGenerator<FlowBatch> {
      state.walks += 1;
      state.walking += 1;
      state.mostWalking = Math.max(state.mostWalking, state.walking);
      await gate.promise;
      yield* table.read();
      state.walking -= 1;
    }
    const open = () => {
      gate.resolve(undefined);
    };
    return { state, open, read };
  }

  test('run one at a time, a few wait, and more are refused', async () => {
    const clock = new ManualClock();
    const { state, open, read } = gated(tableOf(clock));
    const lister = new FlowLister({ table: { read }, clock, knowledge: undefined });
    const waiting = Array.from({ length: 1 + LISTS_WAITING_MAX }, () => lister.list({ limit: 1 }));
    expect(await lister.list({ limit: 1 })).toBe('busy');
    open();
    for (const list of await Promise.all(waiting)) expect(list).toMatchObject({ matched: 4 });
    expect(state).toMatchObject({ walks: 1 + LISTS_WAITING_MAX, mostWalking: 1 });
    expect(await lister.list({ limit: 1 })).toMatchObject({ matched: 4 });
  });

  test('end early when they take too long, and say so', async () => {
    const clock = new ManualClock();
    const table = tableOf(clock);
    async function* read(): AsyncGenerator<FlowBatch> {
      for await (const batch of table.read()) {
        clock.advance(LIST_MS_MAX);
        yield batch;
      }
    }
    const lister = new FlowLister({ table: { read }, clock, knowledge: undefined });
    const found = await lister.list({ limit: 100 });
    expect(found).toMatchObject({ complete: false, truncated: true });
    expect(found === 'busy' ? 0 : found.scanned).toBeLessThan(FLOWS.length);
  });

  test('end when the node stops, before the table goes', async () => {
    const clock = new ManualClock();
    const { state, open, read } = gated(tableOf(clock));
    const lister = new FlowLister({ table: { read }, clock, knowledge: undefined });
    const refused = [lister.list({ limit: 1 }), lister.list({ limit: 1 })].map((each) =>
      expect(each).rejects.toThrow('stopping'),
    );
    const stopped = lister.stop();
    open();
    await Promise.all([stopped, ...refused]);
    expect(state.walks).toBeLessThanOrEqual(1);
    await expect(lister.list({ limit: 1 })).rejects.toThrow('stopping');
  });

  test('one that fails is told to who asked, and the next one runs', async () => {
    const clock = new ManualClock();
    const table = tableOf(clock);
    let fails = true;
    const read = () => {
      if (!fails) return table.read();
      fails = false;
      throw new Error('no iterator');
    };
    const lister = new FlowLister({ table: { read }, clock, knowledge: undefined });
    await expect(lister.list({ limit: 1 })).rejects.toThrow('no iterator');
    expect(await lister.list({ limit: 1 })).toMatchObject({ matched: 4 });
  });
});
