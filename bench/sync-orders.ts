/** What the processes of `bench:sync` say to each other: one answer to each order, in turn. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

export type Order =
  | { readonly kind: 'fill'; readonly flows: number }
  | { readonly kind: 'gate' }
  | { readonly kind: 'churn'; readonly ratePerS: number }
  | { readonly kind: 'digest' };

export type Answer =
  | { readonly kind: 'done' }
  | { readonly kind: 'gate'; readonly open: boolean }
  /** Flows replaced up to here; those that come are replaced at the rate from this time on. */
  | { readonly kind: 'churn'; readonly startWallMs: number; readonly replaced: number }
  /** `buckets` in decimal digits. */
  | { readonly kind: 'digest'; readonly buckets: readonly string[]; readonly flows: number };

type AnswerTo<Kind extends Order['kind']> = Extract<
  Answer,
  { readonly kind: Kind extends 'fill' ? 'done' : Kind }
>;

/** The process of sync-giver.ts. It ends with this one. */
export class Giver {
  readonly #process: ChildProcess = fork(new URL('sync-giver.ts', import.meta.url));

  async ask<Kind extends Order['kind']>(
    order: Extract<Order, { readonly kind: Kind }>,
  ): Promise<AnswerTo<Kind>> {
    const ended = new AbortController();
    const end = () => {
      ended.abort(new Error('the giving node has ended'));
    };
    this.#process.once('exit', end);
    this.#process.send(order);
    const [answer] = (await once(this.#process, 'message', { signal: ended.signal })) as [Answer];
    this.#process.removeListener('exit', end);
    // Orders are answered in turn, so this is of its kind.
    return answer as AnswerTo<Kind>;
  }

  stop(): void {
    this.#process.disconnect();
  }
}
