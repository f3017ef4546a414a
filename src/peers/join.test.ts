import { describe, expect, test } from 'vitest';
import { Join, type Candidate } from './join.ts';
import { LISTEN_MIN_MS, LISTEN_MS, SNAPSHOT_RETRY_MS } from './limits.ts';

const DEADLINE_MS = 10_000;

function peer(name: string, change: Partial<Candidate> = {}): Candidate {
  return { name, synced: true, endpoint: `${name}:1`, startedAtMs: 0, ...change };
}

/** Node `b` starts at 0. */
function join(): Join {
  return new Join('b', 0, DEADLINE_MS);
}

function step(subject: Join, nowMs: number, ...alive: readonly Candidate[]) {
  return subject.step(nowMs, () => alive, true);
}

describe('a node that starts', () => {
  test('listens before it asks, since it must hear the news that a snapshot may miss', () => {
    const subject = join();
    expect(step(subject, LISTEN_MIN_MS - 1, peer('a'))).toEqual({ kind: 'wait' });
    expect(subject.gate()).toEqual({ open: false, reason: 'listening' });
    expect(step(subject, LISTEN_MIN_MS, peer('a'))).toEqual({ kind: 'fetch', from: peer('a') });
    expect(subject.gate()).toEqual({ open: false, reason: 'snapshot' });
  });

  test('listens longer while a peer has not proven that it is live', () => {
    const peers = [peer('a'), peer('c', { synced: undefined })];
    expect(step(join(), LISTEN_MIN_MS, ...peers)).toEqual({ kind: 'wait' });
    expect(step(join(), LISTEN_MS, ...peers)).toMatchObject({ from: { name: 'a' } });
  });

  test('is synced when it has a snapshot', () => {
    const subject = join();
    step(subject, LISTEN_MIN_MS, peer('a'));
    subject.progress(40);
    expect(subject.gate()).toEqual({ open: false, reason: 'snapshot', percent: 40 });
    subject.fetched();
    expect(subject.gate()).toEqual({ open: true });
    expect(subject.syncedBy).toBe('snapshot');
    expect(step(subject, 5_000, peer('a'))).toEqual({ kind: 'wait' });
  });

  test('is synced when nobody is there', () => {
    const subject = join();
    expect(step(subject, LISTEN_MS - 1)).toEqual({ kind: 'wait' });
    expect(step(subject, LISTEN_MS)).toEqual({ kind: 'synced', by: 'alone' });
    expect(step(subject, LISTEN_MS + 1, peer('a'))).toEqual({ kind: 'wait' });
  });

  test('asks the peer that has been up longest', () => {
    const peers = [peer('a', { startedAtMs: 30 }), peer('c', { startedAtMs: 10 }), peer('d')];
    const others = [peer('e', { synced: false }), peer('f', { endpoint: '' })];
    const chosen = step(join(), LISTEN_MIN_MS, ...peers, ...others);
    expect(chosen).toMatchObject({ from: { name: 'd' } });
  });

  test('does not ask while a snapshot cannot be taken', () => {
    expect(join().step(LISTEN_MIN_MS, () => [peer('a')], false)).toEqual({ kind: 'wait' });
  });
});

describe('when everybody starts at once', () => {
  const joining = { synced: false };

  test('the lowest name is synced first', () => {
    expect(step(join(), LISTEN_MS, peer('c', joining), peer('d', joining))).toEqual({
      kind: 'synced',
      by: 'first',
    });
  });

  test('the others wait for it, and ask it then', () => {
    const subject = join();
    expect(step(subject, LISTEN_MS, peer('a', joining), peer('c', joining)).kind).toBe('wait');
    expect(step(subject, LISTEN_MS + 10, peer('a'), peer('c', joining)).kind).toBe('fetch');
  });

  test('a peer that has not said whether it is synced is waited for', () => {
    const unknown = peer('c', { synced: undefined });
    expect(step(join(), LISTEN_MS, unknown)).toEqual({ kind: 'wait' });
  });
});

describe('when a snapshot fails', () => {
  test('another peer is asked at once, and the first not for a while', () => {
    const subject = join();
    const peers = [peer('a'), peer('c', { startedAtMs: 5 })];
    expect(step(subject, LISTEN_MIN_MS, ...peers)).toMatchObject({ from: { name: 'a' } });
    subject.failed('a', LISTEN_MIN_MS);
    expect(step(subject, LISTEN_MIN_MS, ...peers)).toMatchObject({ from: { name: 'c' } });
    subject.failed('c', LISTEN_MIN_MS);
    expect(step(subject, LISTEN_MIN_MS, ...peers)).toEqual({ kind: 'wait' });
    expect(step(subject, LISTEN_MIN_MS + SNAPSHOT_RETRY_MS, ...peers)).toMatchObject({
      from: { name: 'a' },
    });
  });

  test('the waits grow', () => {
    const subject = join();
    step(subject, 1_000, peer('a'));
    subject.failed('a', 1_000);
    step(subject, 1_000 + SNAPSHOT_RETRY_MS, peer('a'));
    subject.failed('a', 2_000);
    expect(step(subject, 2_000 + SNAPSHOT_RETRY_MS, peer('a')).kind).toBe('wait');
    expect(step(subject, 2_000 + 2 * SNAPSHOT_RETRY_MS, peer('a')).kind).toBe('fetch');
  });
});

describe('at the deadline', () => {
  test('the gate opens, whoever is there', () => {
    const subject = join();
    expect(step(subject, DEADLINE_MS - 1, peer('a', { endpoint: '' }))).toEqual({ kind: 'wait' });
    const opened = step(subject, DEADLINE_MS, peer('a', { endpoint: '' }));
    expect(opened).toEqual({ kind: 'synced', by: 'deadline' });
    expect(subject.gate()).toEqual({ open: true });
  });

  test('a snapshot under way goes on, and one is still wanted', () => {
    const subject = join();
    step(subject, LISTEN_MIN_MS, peer('a'));
    expect(step(subject, DEADLINE_MS, peer('a'))).toEqual({ kind: 'synced', by: 'deadline' });
    subject.failed('a', DEADLINE_MS);
    expect(step(subject, DEADLINE_MS + SNAPSHOT_RETRY_MS, peer('a')).kind).toBe('fetch');
    subject.fetched();
    expect(subject.syncedBy).toBe('deadline');
    expect(step(subject, DEADLINE_MS + 60_000, peer('a')).kind).toBe('wait');
  });
});
