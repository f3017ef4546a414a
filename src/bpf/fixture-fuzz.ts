/**
 * Frames by the million for the forwarding plane: valid ones of every kind, changed at random, and random
 * ones. The same seed makes the same frames. Makes no garbage for each frame.
 */
import { mend, Reading } from './reading.ts';

/** Longest frame that comes out, and shortest: what the kernel takes for a test run. */
export const FUZZ_BYTES_MAX = 2000;
export const FUZZ_BYTES_MIN = 14;

/** How many frames a test sends and what they follow from: FUZZ_FRAMES, FUZZ_SEED. */
export const FUZZ = {
  frames: Number(process.env['FUZZ_FRAMES'] ?? 100_000),
  seed: Number(process.env['FUZZ_SEED'] ?? Math.floor(Math.random() * 0xffffffff)),
};
/** More than a slow machine needs. */
export const FUZZ_TIMEOUT_MS = 60_000 + FUZZ.frames;

const ETHERNET_BYTES = 14;
const MACS_BYTES = 12;
/** Most fields of interest are here. */
const HEADERS_BYTES = 110;
const LENGTHS = [0, 1, 7, 8, 19, 20, 21, 39, 40, 41, 255, 1280, 1500, 0x7fff, 0x8000, 0xffff];
const PROTOCOLS = [0, 1, 4, 6, 17, 41, 43, 44, 47, 50, 51, 58, 59, 60, 132, 135, 255];
const ETHER_TYPES = [0x0800, 0x86dd, 0x8100, 0x88a8, 0x0806, 0x9100];
const EXTENSIONS = [0, 43, 44, 60];
const CHANGES_MAX = 4;

/** 32-bit numbers by sfc32 (Chris Doty-Humphrey's small fast counter generator). */
export class Chance {
  #a: number;
  #b: number;
  #c: number;
  #count = 1;

  constructor(seed: number) {
    this.#a = seed | 0;
    this.#b = 0x9e3779b9 | 0;
    this.#c = 0x243f6a88;
    for (let i = 0; i < 16; i += 1) this.next();
  }

  /** 0 to 2^32 - 1. */
  next(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#count) | 0;
    this.#count = (this.#count + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  below(limit: number): number {
    return Math.floor((this.next() / 0x100000000) * limit);
  }

  /** True once in `n`. */
  once(n: number): boolean {
    return this.below(n) === 0;
  }

  of(values: readonly number[]): number {
    return values[this.below(values.length)] ?? 0;
  }
}

/** Writes frames into one buffer. */
export class FrameSource {
  readonly #chance: Chance;
  readonly #frame: Uint8Array;
  readonly #valid: readonly Uint8Array[];
  readonly #reading = new Reading();

  /** `frame`: where to write, FUZZ_BYTES_MAX or longer. `valid`: what is to be changed. */
  constructor(chance: Chance, frame: Uint8Array, valid: readonly Uint8Array[]) {
    this.#chance = chance;
    this.#frame = frame;
    this.#valid = valid;
  }

  /** Writes the next frame and returns its length. */
  next(): number {
    const chance = this.#chance;
    if (chance.once(50)) return this.#random();
    let bytes = this.#start();
    if (chance.once(6)) return bytes;
    const changes = 1 + (chance.once(2) ? chance.below(CHANGES_MAX) : 0);
    for (let i = 0; i < changes; i += 1) bytes = this.#change(bytes);
    if (chance.once(2)) {
      this.#reading.read(this.#frame, bytes);
      mend(this.#frame, this.#reading);
    }
    return bytes;
  }

  #template(): Uint8Array {
    const found = this.#valid[this.#chance.below(this.#valid.length)];
    if (found === undefined) throw new RangeError('no valid frames to start from');
    return found;
  }

  #start(): number {
    const template = this.#template();
    this.#frame.set(template);
    return template.length;
  }

  #random(): number {
    const bytes = FUZZ_BYTES_MIN + this.#chance.below(this.#chance.once(10) ? 1600 : 120);
    for (let at = 0; at < bytes; at += 1) this.#frame[at] = this.#chance.next();
    if (bytes > ETHERNET_BYTES && !this.#chance.once(4)) {
      this.#put(MACS_BYTES, this.#chance.of(ETHER_TYPES));
    }
    return bytes;
  }

  #change(bytes: number): number {
    switch (this.#chance.below(13)) {
      case 0:
      case 1:
        return this.#flip(bytes);
      case 2:
        return this.#overwrite(bytes);
      case 3:
        this.#put(this.#even(bytes), this.#chance.of(LENGTHS));
        return bytes;
      case 4:
        return this.#lengths(bytes);
      case 5:
        return this.#truncate(bytes);
      case 6:
        return this.#tail(bytes);
      case 7:
        return this.#splice(bytes);
      case 8:
        return this.#tag(bytes);
      case 9:
        return this.#shift(bytes);
      case 10:
        return this.#extend(bytes);
      case 11:
        return this.#protocol(bytes);
      default:
        return this.#ports(bytes);
    }
  }

  #put(at: number, word: number): void {
    this.#frame[at] = word >> 8;
    this.#frame[at + 1] = word & 0xff;
  }

  #word(at: number): number {
    return ((this.#frame[at] ?? 0) << 8) | (this.#frame[at + 1] ?? 0);
  }

  /** A place, most often in the headers. */
  #place(bytes: number): number {
    const limit = this.#chance.once(4) ? bytes : Math.min(bytes, HEADERS_BYTES);
    return this.#chance.below(limit);
  }

  /** As above, of two bytes. */
  #even(bytes: number): number {
    return Math.min(this.#place(bytes) & ~1, bytes - 2);
  }

  #flip(bytes: number): number {
    const at = this.#place(bytes);
    this.#frame[at] = (this.#frame[at] ?? 0) ^ (1 << this.#chance.below(8));
    return bytes;
  }

  #overwrite(bytes: number): number {
    const at = this.#place(bytes);
    const end = Math.min(bytes, at + 1 + this.#chance.below(8));
    for (let i = at; i < end; i += 1) this.#frame[i] = this.#chance.next();
    return bytes;
  }

  /** Lengths of IP, IPv4 header, TCP header, UDP: a little more or less than they were, or anything. */
  #lengths(bytes: number): number {
    this.#reading.read(this.#frame, bytes);
    const { isIp, isIpv6, l3, l4 } = this.#reading;
    if (!isIp) return bytes;
    const chance = this.#chance;
    const at = chance.once(2) ? l3 + (isIpv6 ? 4 : 2) : l4 + 4;
    if (chance.once(4)) {
      const first = chance.once(2) ? l3 : l4 + 12;
      if (first < bytes)
        this.#frame[first] = chance.once(2) ? 0x45 + chance.below(11) : chance.next();
    } else if (at + 1 < bytes) {
      const word = chance.once(3) ? chance.of(LENGTHS) : this.#word(at) + chance.below(17) - 8;
      this.#put(at, word & 0xffff);
    }
    return bytes;
  }

  #truncate(bytes: number): number {
    return Math.max(
      FUZZ_BYTES_MIN,
      bytes - 1 - this.#chance.below(this.#chance.once(2) ? 8 : bytes),
    );
  }

  #tail(bytes: number): number {
    const end = Math.min(
      FUZZ_BYTES_MAX,
      bytes + 1 + this.#chance.below(this.#chance.once(20) ? 1500 : 40),
    );
    for (let at = bytes; at < end; at += 1) this.#frame[at] = this.#chance.next();
    return Math.max(bytes, end);
  }

  /** The start of this frame and the end of another. */
  #splice(bytes: number): number {
    const other = this.#template();
    const from = this.#chance.below(other.length);
    const at = this.#chance.once(2) ? Math.min(from, bytes) : this.#place(bytes);
    const length = Math.min(other.length - from, FUZZ_BYTES_MAX - at);
    this.#frame.set(other.subarray(from, from + length), at);
    return Math.max(FUZZ_BYTES_MIN, at + length);
  }

  /** One to three VLAN tags. */
  #tag(bytes: number): number {
    const count = 1 + this.#chance.below(this.#chance.once(4) ? 3 : 2);
    const end = this.#insert(bytes, MACS_BYTES, count * 4);
    if (end === bytes) return bytes;
    for (let i = 0; i < count; i += 1) {
      this.#put(MACS_BYTES + i * 4, this.#chance.once(3) ? 0x88a8 : 0x8100);
      this.#put(MACS_BYTES + 2 + i * 4, this.#chance.next() & 0xffff);
    }
    return end;
  }

  /** Bytes inserted or left out somewhere. */
  #shift(bytes: number): number {
    const at = this.#place(bytes);
    const count = 1 + this.#chance.below(16);
    if (this.#chance.once(2)) {
      const end = this.#insert(bytes, at, count);
      for (let i = at; end > bytes && i < at + count; i += 1) this.#frame[i] = this.#chance.next();
      return end;
    }
    if (bytes - count < FUZZ_BYTES_MIN || at + count > bytes) return bytes;
    this.#frame.copyWithin(at, at + count, bytes);
    return bytes - count;
  }

  /** An IPv6 extension header or IPv4 options, with all lengths as they must be. */
  #extend(bytes: number): number {
    this.#reading.read(this.#frame, bytes);
    const { isIp, isIpv6, l3 } = this.#reading;
    if (!isIp) return bytes;
    return isIpv6 ? this.#extend6(bytes, l3) : this.#extend4(bytes, l3);
  }

  #extend6(bytes: number, l3: number): number {
    const chance = this.#chance;
    const count = 8 * (1 + (chance.once(3) ? chance.below(4) : 0));
    const at = l3 + 40;
    const end = this.#insert(bytes, at, count);
    if (end === bytes) return bytes;
    this.#frame.fill(0, at, at + count);
    this.#frame[at] = this.#frame[l3 + 6] ?? 0;
    this.#frame[l3 + 6] = chance.of(EXTENSIONS);
    this.#frame[at + 1] = count / 8 - 1;
    if (chance.once(2))
      this.#put(at + 2, chance.once(2) ? chance.below(0x10000) : chance.below(64));
    this.#put(at + 6, chance.below(4));
    this.#put(l3 + 4, (this.#word(l3 + 4) + count) & 0xffff);
    return end;
  }

  #extend4(bytes: number, l3: number): number {
    const count = 4 * (1 + this.#chance.below(4));
    const at = l3 + ((this.#frame[l3] ?? 0) & 0xf) * 4;
    if (at > bytes) return bytes;
    const end = this.#insert(bytes, at, count);
    if (end === bytes) return bytes;
    this.#frame.fill(1, at, at + count);
    this.#frame[l3] = (this.#frame[l3] ?? 0) + count / 4;
    this.#put(l3 + 2, (this.#word(l3 + 2) + count) & 0xffff);
    return end;
  }

  /** Protocol, fragment field, TOS, TTL. */
  #protocol(bytes: number): number {
    this.#reading.read(this.#frame, bytes);
    const { isIp, isIpv6, l3 } = this.#reading;
    if (!isIp) return bytes;
    const chance = this.#chance;
    const part = chance.below(4);
    if (part === 0) this.#frame[l3 + (isIpv6 ? 6 : 9)] = chance.of(PROTOCOLS);
    if (part === 1 && !isIpv6) {
      this.#put(l3 + 6, (chance.below(8) << 13) | (chance.once(2) ? 0 : chance.below(300)));
      this.#put(l3 + 4, chance.below(8));
    }
    if (part === 2) this.#frame[l3 + 1] = chance.next();
    if (part === 3) this.#frame[l3 + (isIpv6 ? 7 : 8)] = chance.below(4);
    return bytes;
  }

  /** Ports from a small range, and flags: flows that begin, go on and end. */
  #ports(bytes: number): number {
    this.#reading.read(this.#frame, bytes);
    const { isIp, l4, protocol } = this.#reading;
    if (!isIp || l4 + 14 > bytes) return bytes;
    this.#put(l4, 1024 + this.#chance.below(2048));
    if (protocol === 6) this.#frame[l4 + 13] = this.#chance.next() & 0x17;
    return bytes;
  }

  /** Room of `count` bytes at `at`; the length as it was if there is none. */
  #insert(bytes: number, at: number, count: number): number {
    if (bytes + count > FUZZ_BYTES_MAX) return bytes;
    this.#frame.copyWithin(at + count, at, bytes);
    return bytes + count;
  }
}
