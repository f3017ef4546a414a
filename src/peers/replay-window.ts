/**
 * Which sequences of one sender have been seen: the highest, and a flag for each of the last
 * REPLAY_WINDOW. A ring of flags, so that it neither grows nor moves.
 */

/** More datagrams than a sender keeps for resending; 16 KiB of flags a peer. */
export const REPLAY_WINDOW = 16_384;

export class ReplayWindow {
  readonly #seen = new Uint8Array(REPLAY_WINDOW);
  #floor: number;
  #highest: number;

  /** Everything up to and including `floor` counts as seen. */
  constructor(floor: number) {
    this.#floor = floor;
    this.#highest = floor;
  }

  get highest(): number {
    return Math.max(this.#highest, this.#floor);
  }

  /** From now on everything up to and including `floor` counts as seen. */
  raiseFloor(floor: number): void {
    this.#floor = Math.max(this.#floor, floor);
  }

  /** Whether this is the first time; false too for what is too old to know. */
  admit(sequence: number): boolean {
    if (sequence <= this.#floor || sequence <= this.#highest - REPLAY_WINDOW) return false;
    if (sequence > this.#highest) this.#advance(sequence);
    const place = sequence % REPLAY_WINDOW;
    if (this.#seen[place] === 1) return false;
    this.#seen[place] = 1;
    return true;
  }

  /** The places of the sequences that are passed over belonged to others, a window ago. */
  #advance(to: number): void {
    const passed = Math.min(to - this.#highest, REPLAY_WINDOW);
    for (let sequence = to - passed + 1; sequence <= to; sequence += 1) {
      this.#seen[sequence % REPLAY_WINDOW] = 0;
    }
    this.#highest = to;
  }
}
