/**
 * Hands out indexes of a map of fixed size. Never-used indexes go first and freed ones wait in
 * line, so that whatever still points to a freed index has the longest time to go away.
 */
export class Slots {
  readonly capacity: number;
  readonly #freed: number[] = [];
  #unused = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** Undefined when all are taken. */
  take(): number | undefined {
    if (this.#unused < this.capacity) return this.#unused++;
    return this.#freed.shift();
  }

  free(slot: number): void {
    this.#freed.push(slot);
  }

  get available(): number {
    return this.capacity - this.#unused + this.#freed.length;
  }

  /** One past the highest index that was ever handed out. */
  get highWater(): number {
    return this.#unused;
  }

  /** Starts over with exactly `taken` in use. */
  restore(taken: ReadonlySet<number>): void {
    this.#freed.length = 0;
    this.#unused = taken.size === 0 ? 0 : Math.max(...taken) + 1;
    for (let slot = 0; slot < this.#unused; slot += 1) {
      if (!taken.has(slot)) this.#freed.push(slot);
    }
  }
}
