import { describe, expect, test } from 'vitest';
import { address } from '../model/address.ts';
import { OWNED_MS, REPORTERS_MAX, REPORTS_BURST } from './board.ts';
import { B1, B2, MAX_SKEW_MS, report, signer, TestNode, WEB, WEB_ID } from './fixture.ts';
import { encodeReport } from './wire.ts';

const STRANGER = address('10.0.0.99');

describe('what is said of a service', () => {
  test('nothing, since it was asked for, until a report comes', async () => {
    const node = new TestNode();
    node.clock.advance(700);
    expect(node.board.said(B1, WEB_ID)).toEqual({ kind: 'nothing', waitedMs: 700 });
    expect(node.board.said(STRANGER, WEB_ID)).toBeUndefined();
    await node.receive(node.made(signer()));
    node.clock.advance(300);
    expect(node.board.said(B1, WEB_ID)).toMatchObject({ healthy: true, ageMs: 300 });
  });

  test.each([
    ['as the whole', report(), true],
    [
      'worse than the whole',
      report({ services: [{ service: WEB, healthy: false, detail: 'x' }] }),
      false,
    ],
    [
      'no better than the whole',
      report({ state: 'unhealthy', services: [{ service: WEB, healthy: true, detail: '' }] }),
      false,
    ],
    [
      'not as another service',
      report({ services: [{ service: { ...WEB, port: 81 }, healthy: false, detail: '' }] }),
      true,
    ],
    ['not well when it goes away', report({ state: 'leaving' }), false],
  ])('%s', async (_, said, healthy) => {
    const node = new TestNode();
    await node.receive(node.made(signer(), said));
    expect(node.board.said(B1, WEB_ID)).toMatchObject({ kind: 'report', healthy });
  });

  test('a backend that leaves the document and returns begins anew', async () => {
    const node = new TestNode();
    await node.receive(node.made(signer()));
    node.board.setBackends([B2]);
    expect(node.board.said(B1, WEB_ID)).toBeUndefined();
    node.board.setBackends([B1, B2]);
    expect(node.board.said(B1, WEB_ID)).toEqual({ kind: 'nothing', waitedMs: 0 });
  });

  test('one report is about every address that is a backend', async () => {
    const node = new TestNode();
    const addresses = [STRANGER, B1, B2];
    await node.receive(node.made(signer({ addresses }), { addresses }));
    expect(node.board.said(B2, WEB_ID)).toMatchObject({ healthy: true });
    expect(node.board.said(STRANGER, WEB_ID)).toBeUndefined();
  });
});

test('who listens is told of every report, and whether it is news', async () => {
  const node = new TestNode();
  const from = signer();
  const worse = [{ service: WEB, healthy: false, detail: 'a' }];
  for (const about of [{}, {}, { services: worse }, { services: worse, detail: 'b' }, {}]) {
    await node.receive(node.made(from, about));
    node.clock.advance(1_000);
  }
  expect(node.heard).toEqual(
    ['changed', 'same', 'changed', 'same', 'changed'].map((news) => `${B1} ${news}`),
  );
});

describe('refused, and nothing changes', () => {
  test('a report that was heard before, and any that is older', async () => {
    const node = new TestNode();
    const from = signer();
    const [first, second, third] = ['healthy', 'unhealthy', 'healthy'].map((state) =>
      node.made(from, { state: state === 'healthy' ? 'healthy' : 'unhealthy' }),
    );
    if (first === undefined || second === undefined || third === undefined) throw new Error();
    expect(await node.receive(second)).toBe('accepted');
    expect(await node.receive(second)).toBe('replayed');
    expect(await node.receive(first)).toBe('replayed');
    expect(node.board.said(B1, WEB_ID)).toMatchObject({ healthy: false });
    expect(await node.receive(third)).toBe('accepted');
    expect(await node.receive(second)).toBe('replayed');
    expect(node.board.said(B1, WEB_ID)).toMatchObject({ healthy: true });
  });

  test('one of an earlier life, even one that was never heard', async () => {
    const node = new TestNode();
    const before = signer({ incarnation: 5 });
    await node.receive(node.made(before));
    const missed = node.made(before);
    node.clock.advance(1_000);
    expect(await node.receive(node.made(signer({ incarnation: 6 })))).toBe('accepted');
    expect(await node.receive(missed)).toBe('old_incarnation');
  });

  test.each([
    [-MAX_SKEW_MS - 1, 'too_old'],
    [-MAX_SKEW_MS, 'accepted'],
    [MAX_SKEW_MS, 'accepted'],
    [MAX_SKEW_MS + 1, 'too_new'],
  ])('a clock that is %i ms ahead: %s', async (aheadMs, expected) => {
    const node = new TestNode();
    expect(await node.receive(node.made(signer(), {}, aheadMs))).toBe(expected);
    expect(node.board.said(B1, WEB_ID)?.kind).toBe(expected === 'accepted' ? 'report' : 'nothing');
  });

  test('one that is about no backend of the document', async () => {
    const node = new TestNode();
    const about = { addresses: [STRANGER] };
    const datagram = node.made(signer(about), about);
    expect(await node.receive(datagram, STRANGER)).toBe('unknown_backend');
  });

  test('one that comes from a host that it is not about', async () => {
    const node = new TestNode();
    expect(await node.receive(node.made(signer()), B2)).toBe('foreign_source');
    expect(node.board.said(B1, WEB_ID)?.kind).toBe('nothing');
  });

  test('one about the backend of another reporter, until that one is silent or leaves', async () => {
    const node = new TestNode();
    const about = { addresses: [B2, B1] };
    const thief = signer({ reporter: 'b2', ...about });
    const owner = signer();
    await node.receive(node.made(owner));
    node.clock.advance(1);
    expect(await node.receive(node.made(thief, about), B2)).toBe('address_taken');
    expect(node.board.said(B2, WEB_ID)?.kind).toBe('nothing');
    node.clock.advance(OWNED_MS + 1);
    expect(await node.receive(node.made(thief, about), B2)).toBe('accepted');
    expect(await node.receive(node.made(owner))).toBe('address_taken');
    await node.receive(node.made(thief, { ...about, state: 'leaving' }), B2);
    node.clock.advance(1);
    expect(await node.receive(node.made(owner))).toBe('accepted');
  });

  test('more than a reporter may send, and the next second it may again', async () => {
    const node = new TestNode();
    const from = signer();
    const sendAll = async (count: number) => {
      const outcomes = [];
      for (let sent = 0; sent < count; sent += 1) {
        outcomes.push(await node.receive(node.made(from)));
      }
      return outcomes;
    };
    expect(new Set(await sendAll(REPORTS_BURST))).toEqual(new Set(['accepted']));
    expect(await sendAll(1)).toEqual(['too_often']);
    node.clock.advance(1_000);
    expect(await sendAll(1)).toEqual(['accepted']);
  });
});

describe('a backend that is broken into', () => {
  test('speaks for no other, alone or among its own addresses, with none of the keys it has', async () => {
    const node = new TestNode();
    const intruder = signer({ reporter: 'b1', addresses: [B2] });
    for (const addresses of [[B1], [B1, B2], [B2, B1, STRANGER]]) {
      for (const source of [B1, B2]) {
        expect(await node.receive(node.made(intruder, { addresses }), source)).toBe('forged');
      }
    }
    expect(node.board.said(B1, WEB_ID)?.kind).toBe('nothing');
    expect(await node.receive(node.made(intruder, { addresses: [B2] }), B2)).toBe('accepted');
  });

  test('makes no other old by its name, its clock or its count', async () => {
    const node = new TestNode();
    const owner = signer();
    await node.receive(node.made(owner));
    const about = { addresses: [B2] };
    const intruder = signer({ reporter: 'b1', incarnation: 2 ** 50, ...about });
    expect(await node.receive(node.made(intruder, about, MAX_SKEW_MS), B2)).toBe('accepted');
    expect(await node.receive(node.made(owner))).toBe('accepted');
    expect(await node.receive(node.made(signer({ incarnation: 6 }), {}, 1))).toBe('accepted');
  });
});

describe('a reporter that starts again', () => {
  test('with an address more: what it said before that is old', async () => {
    const node = new TestNode();
    const about = { addresses: [B1, B2] };
    const before = signer();
    await node.receive(node.made(before));
    const missed = node.made(before, { state: 'unhealthy' });
    node.clock.advance(1);
    expect(await node.receive(node.made(signer(about), about))).toBe('accepted');
    expect(await node.receive(missed)).toBe('old_incarnation');
    expect(node.board.said(B1, WEB_ID)).toMatchObject({ healthy: true });
  });

  test('is taken up with its first report', async () => {
    const node = new TestNode();
    await node.receive(node.made(signer({ incarnation: 5 })));
    node.clock.advance(1);
    expect(await node.receive(node.made(signer({ incarnation: 6 })))).toBe('accepted');
  });

  test('by a clock that was set back, once it has passed where it was', async () => {
    const node = new TestNode();
    await node.receive(node.made(signer({ incarnation: 5_000 }), {}, 4_000));
    const again = signer({ incarnation: 1_000 });
    node.clock.advance(3_000);
    expect(await node.receive(node.made(again))).toBe('old_incarnation');
    node.clock.advance(3_000);
    expect(await node.receive(node.made(again))).toBe('accepted');
  });

  test('keeps its place when its clock is set back while it runs', async () => {
    const node = new TestNode();
    const from = signer();
    await node.receive(node.made(from, {}, 10_000));
    expect(await node.receive(node.made(from, {}, -10_000))).toBe('accepted');
  });
});

test('reporters that are remembered are limited, and those whose past is too old make room', () => {
  const node = new TestNode();
  const take = takerOfMany(node);
  for (let name = 0; name < REPORTERS_MAX; name += 1) {
    if (take(name) !== undefined) throw new Error(`reporter ${name} was refused`);
  }
  expect(take(REPORTERS_MAX)).toBe('too_many_reporters');
  expect(node.board.reporters).toBe(REPORTERS_MAX);
  node.clock.advance(MAX_SKEW_MS + 1);
  expect(take(REPORTERS_MAX)).toBeUndefined();
  expect(node.board.reporters).toBe(1);
});

test('whom a small skew made forget is not heard again when the skew grows', () => {
  const node = new TestNode();
  const take = takerOfMany(node);
  const sentAtMs = node.clock.wallMs();
  expect(take(0)).toBeUndefined();
  node.clock.advance(MAX_SKEW_MS + 1);
  for (let number = 1; number <= REPORTERS_MAX; number += 1) take(number);
  expect(node.board.reporters).toBe(REPORTERS_MAX);
  node.board.setMaxSkew(10 * MAX_SKEW_MS);
  expect(take(0, sentAtMs)).toBe('too_old');
});

/** Has the board take the report of one of more backends than can be remembered. */
function takerOfMany({ board, clock }: TestNode) {
  const backends = Array.from({ length: REPORTERS_MAX + 1 }, (_, index) => {
    return address(`10.1.${index >> 8}.${index & 0xff}`);
  });
  board.setBackends(backends);
  return (number: number, sentAtMs = clock.wallMs()) => {
    const own = backends[number];
    if (own === undefined) throw new Error(`there is no backend ${number}`);
    const envelope = { reporter: 'r', incarnation: 1, sequence: 1, sentAtMs };
    return board.take(envelope, report({ addresses: [own] }), own);
  };
}

test('a recording cannot bring a dead backend up for longer than the skew, even after a restart', async () => {
  const first = new TestNode();
  const lastWords = signer().sign(encodeReport(report()), first.clock.wallMs());
  first.clock.advance(MAX_SKEW_MS);
  // Each node that starts has forgotten what it has heard, and takes it once more.
  const inTime = new TestNode(first.clock);
  expect(await inTime.receive(lastWords)).toBe('accepted');
  expect(await inTime.receive(lastWords)).toBe('replayed');
  first.clock.advance(1);
  expect(await new TestNode(first.clock).receive(lastWords)).toBe('too_old');
});
