/**
 * First in, first out within a key, and one item of each key in turn. A service whose backends are
 * all dead holds its probes until they time out; this keeps it from making the others wait behind it.
 * Bounded by its user: the scheduler queues each check at most once.
 */
interface Lane<Item> {
  items: Item[];
  /** Index of the oldest item: cheaper than shifting the array each time. */
  head: number;
}

export class FairQueue<Key, Item> {
  /** Keys with items, in the order of their turns: a Map iterates in the order of insertion. */
  readonly #lanes = new Map<Key, Lane<Item>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  push(key: Key, item: Item): void {
    const lane = this.#lanes.get(key);
    if (lane === undefined) this.#lanes.set(key, { items: [item], head: 0 });
    else lane.items.push(item);
    this.#size++;
  }

  shift(): Item | undefined {
    for (const [key, lane] of this.#lanes) {
      const item = lane.items[lane.head++];
      this.#size--;
      this.#lanes.delete(key);
      if (lane.head < lane.items.length) this.#lanes.set(key, compacted(lane));
      return item;
    }
    return undefined;
  }

  /** Drops the items that are not to be kept; the others keep their order. */
  retain(keep: (item: Item) => boolean): void {
    this.#size = 0;
    for (const [key, lane] of this.#lanes) {
      lane.items = lane.items.slice(lane.head).filter(keep);
      lane.head = 0;
      this.#size += lane.items.length;
      if (lane.items.length === 0) this.#lanes.delete(key);
    }
  }
}

/** A lane that never runs empty must not keep every item that ever went through it. */
function compacted<Item>(lane: Lane<Item>): Lane<Item> {
  if (lane.head * 2 < lane.items.length) return lane;
  return { items: lane.items.slice(lane.head), head: 0 };
}
