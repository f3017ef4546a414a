/** Binary heap of what falls due next: one queue, and so one timer, for all checks. */

export interface Due {
  dueMs: number;
}

export class DueQueue<Item extends Due> {
  #heap: Item[] = [];

  get size(): number {
    return this.#heap.length;
  }

  first(): Item | undefined {
    return this.#heap[0];
  }

  /** Replaces the whole content. */
  rebuild(items: Iterable<Item>): void {
    this.#heap = [...items];
    for (let i = (this.#heap.length >> 1) - 1; i >= 0; i--) this.#sink(i);
  }

  /** Gives the first item a later due time. */
  postponeFirst(dueMs: number): void {
    const first = this.#heap[0];
    if (first === undefined) return;
    first.dueMs = dueMs;
    this.#sink(0);
  }

  #sink(from: number): void {
    const heap = this.#heap;
    const item = heap[from];
    if (item === undefined) return;
    let hole = from;
    for (;;) {
      const left = heap[2 * hole + 1];
      const right = heap[2 * hole + 2];
      const rightFirst = left !== undefined && right !== undefined && right.dueMs < left.dueMs;
      const child = rightFirst ? right : left;
      if (child === undefined || child.dueMs >= item.dueMs) break;
      heap[hole] = child;
      hole = 2 * hole + (rightFirst ? 2 : 1);
    }
    heap[hole] = item;
  }
}
