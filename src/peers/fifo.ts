/** A queue: the oldest first, by index, without moving the rest when one is taken. */
export class Fifo<Item> {
  #items: Item[] = [];
  /** Index of the oldest; what is before it has been taken. */
  #start = 0;

  get length(): number {
    return this.#items.length - this.#start;
  }

  get first(): Item | undefined {
    return this.#items[this.#start];
  }

  /** Counted from the oldest. */
  at(index: number): Item | undefined {
    return index < 0 ? undefined : this.#items[this.#start + index];
  }

  push(item: Item): void {
    this.#items.push(item);
  }

  shift(): Item | undefined {
    const item = this.#items[this.#start];
    if (item === undefined) return undefined;
    this.#start += 1;
    // Cut off now and then: each item is moved at most once for each that is taken.
    if (this.#start * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#start);
      this.#start = 0;
    }
    return item;
  }

  /** Keeps only some. */
  retain(keep: (item: Item) => boolean): void {
    this.#items = this.#items.slice(this.#start).filter(keep);
    this.#start = 0;
  }

  *[Symbol.iterator](): Generator<Item> {
    for (let i = this.#start; i < this.#items.length; i += 1) yield this.#items[i] as Item;
  }
}
