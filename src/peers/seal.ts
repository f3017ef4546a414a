/**
 * Datagrams sealed and opened: AES-256-GCM under a key for each sender's life, and a window against
 * replay. Nothing may be remembered of a datagram before its tag has verified.
 */
import type { KeyObject } from 'node:crypto';
import type { Envelope, RejectReason } from './message.ts';
import { ReplayWindow } from './replay-window.ts';
import { decrypt, encrypt, TAG_BYTES, writeCount } from './seal-aead.ts';
import { newHeader, readHeader, stampHeader, type Header } from './seal-header.ts';
import { clusterId, deriveKey, masterKeys, type MasterKey } from './seal-keys.ts';
import { asBuffer, nameBytes, textOf } from './seal-names.ts';

export interface SealerOptions {
  readonly cluster: string;
  readonly node: string;
  /** Greater than any this node has had: nonces start over with it. */
  readonly incarnation: number;
  /** The first seals. */
  readonly keys: readonly Uint8Array[];
}

export interface Sealed {
  readonly sequence: number;
  readonly datagram: Uint8Array;
}

/** Makes this node's datagrams. One for each life of a node: two would use nonces twice. */
export class Sealer {
  readonly #cluster: Buffer;
  readonly #name: Buffer;
  readonly #incarnation: number;
  readonly #header: Buffer;
  #master: MasterKey;
  #key: KeyObject;
  #sequence = 0;

  constructor({ cluster, node, incarnation, keys }: SealerOptions) {
    this.#cluster = clusterId(cluster);
    this.#name = nameBytes(node);
    this.#incarnation = incarnation;
    this.#header = newHeader(this.#cluster, this.#name, incarnation);
    this.#master = masterKeys(keys)[0];
    this.#key = this.#derive();
  }

  /** What a datagram is longer than its payload. */
  get overheadBytes(): number {
    return this.#header.length + TAG_BYTES;
  }

  /** Of the datagram made last; 0 before the first. */
  get sequence(): number {
    return this.#sequence;
  }

  seal(payload: Uint8Array): Sealed {
    this.#sequence += 1;
    stampHeader(this.#header, this.#master.id, this.#sequence);
    const datagram = encrypt(this.#key, this.#sequence, this.#header, payload);
    return { sequence: this.#sequence, datagram };
  }

  /** The sequence goes on, so that no nonce comes again even if an earlier key does. */
  setKeys(keys: readonly Uint8Array[]): void {
    this.#master = masterKeys(keys)[0];
    this.#key = this.#derive();
  }

  #derive(): KeyObject {
    return senderKey(this.#master, this.#cluster, this.#name, this.#incarnation);
  }
}

export interface OpenerOptions {
  readonly cluster: string;
  /** This node's own name. */
  readonly node: string;
  /** This node's own incarnation: with it, another node of the same name is noticed. */
  readonly incarnation?: number;
  /** All of them open. */
  readonly keys: readonly Uint8Array[];
  /** Most nodes that are remembered. */
  readonly peersMax: number;
}

export type Opened =
  | { readonly kind: 'opened'; readonly envelope: Envelope; readonly payload: Uint8Array }
  | {
      readonly kind: 'reject';
      readonly reason: RejectReason;
      /** With `own`: the incarnation of another node that has our name and the cluster's key. */
      readonly namesake?: number;
    };

/** A life of a peer. */
interface Life {
  readonly node: string;
  readonly incarnation: number;
  readonly window: ReplayWindow;
  readonly keys: Map<MasterKey, KeyObject>;
}

/** What is kept of a peer that was forgotten, so that its past stays refused. */
interface Past {
  readonly incarnation: number;
  readonly highest: number;
}

/** A few times what a cluster can have, for those that are renamed. */
const PASTS_MAX = 1_024;

/** Opens datagrams of others, each once. */
export class Opener {
  readonly #cluster: Buffer;
  readonly #ownName: string;
  readonly #ownIncarnation: number | undefined;
  readonly #peersMax: number;
  #masters: readonly MasterKey[];
  /** By the name's bytes as latin1. */
  readonly #lives = new Map<string, Life>();
  readonly #pasts = new Map<string, Past>();

  constructor({ cluster, node, incarnation, keys, peersMax }: OpenerOptions) {
    this.#cluster = clusterId(cluster);
    this.#ownName = latin1(node);
    this.#ownIncarnation = incarnation;
    this.#masters = masterKeys(keys);
    this.#peersMax = peersMax;
  }

  /** Peers remembered. */
  get peers(): number {
    return this.#lives.size;
  }

  /** The payload, if this comes from a peer and for the first time. Never throws. */
  open(datagram: Uint8Array): Opened {
    const bytes = asBuffer(datagram);
    const header = readHeader(bytes, this.#cluster);
    if (typeof header === 'string') return reject(header);
    const masters = this.#masters.filter(({ id }) => id === header.keyId);
    if (masters.length === 0) return reject('unknown_key');
    if (header.name === this.#ownName) return this.#openOwn(bytes, header, masters);

    const known = this.#lives.get(header.name);
    const life = known?.incarnation === header.incarnation ? known : undefined;
    for (const master of masters) {
      const key = life?.keys.get(master) ?? this.#derive(master, header);
      const payload = decrypt(key, header.sequence, bytes, header.length);
      if (payload === undefined) continue;
      const verified = this.#believe(header, known);
      if (typeof verified === 'string') return reject(verified);
      verified.keys.set(master, key);
      const { node, incarnation } = verified;
      return {
        kind: 'opened',
        envelope: { node, incarnation, sequence: header.sequence },
        payload,
      };
    }
    return reject('forged');
  }

  /** A datagram that came inside a resend: the same rules, so it fills its gap once. */
  openResent(datagram: Uint8Array): Opened {
    return this.open(datagram);
  }

  /**
   * Nothing that this peer has sent up to `sequence` is opened any more. For the first datagram that
   * can only have been sent after this node started: what came before it may be a recording.
   */
  refuseUpTo(node: string, sequence: number): void {
    this.#lives.get(latin1(node))?.window.raiseFloor(sequence);
  }

  /** Makes room for another peer. What this one has sent so far stays refused. */
  forget(node: string): void {
    const name = latin1(node);
    const life = this.#lives.get(name);
    if (life === undefined) return;
    this.#lives.delete(name);
    const oldest = this.#pasts.keys().next();
    if (this.#pasts.size >= PASTS_MAX && oldest.done !== true) this.#pasts.delete(oldest.value);
    this.#pasts.set(name, { incarnation: life.incarnation, highest: life.window.highest });
  }

  /** What other keys sealed is `unknown_key` from now on; windows stay as they are. */
  setKeys(keys: readonly Uint8Array[]): void {
    this.#masters = masterKeys(keys);
    for (const life of this.#lives.values()) life.keys.clear();
  }

  #derive(master: MasterKey, { name, incarnation }: Header): KeyObject {
    return senderKey(master, this.#cluster, Buffer.from(name, 'latin1'), incarnation);
  }

  /** Follows a header that has verified: the life it belongs to, or why it does not count. */
  #believe(header: Header, known: Life | undefined): Life | RejectReason {
    const { name, incarnation, sequence } = header;
    if (known?.incarnation === incarnation) {
      return known.window.admit(sequence) ? known : 'replayed';
    }
    const past = known === undefined ? this.#pasts.get(name) : undefined;
    const latest = known ?? past;
    if (latest !== undefined && incarnation < latest.incarnation) return 'old_incarnation';
    if (past?.incarnation === incarnation && sequence <= past.highest) return 'replayed';
    if (known === undefined && this.#lives.size >= this.#peersMax) return 'too_many_peers';
    const node = textOf(Buffer.from(name, 'latin1'));
    if (node === undefined) return 'malformed';
    // Of a node not heard before, all that came earlier may be a recording. A node that started
    // again while we listened has sent nothing that we could not have heard.
    const isNewLife = latest !== undefined && incarnation > latest.incarnation;
    const window = new ReplayWindow(isNewLife ? 0 : sequence - 1);
    window.admit(sequence);
    const life = { node, incarnation, window, keys: new Map<MasterKey, KeyObject>() };
    this.#lives.set(name, life);
    this.#pasts.delete(name);
    return life;
  }

  /** Multicast may hand back what this node sent. A later life of our name is another node's. */
  #openOwn(bytes: Buffer, header: Header, masters: readonly MasterKey[]): Opened {
    if (this.#ownIncarnation === undefined || header.incarnation <= this.#ownIncarnation) {
      return reject('own');
    }
    const { sequence, length, incarnation } = header;
    for (const master of masters) {
      const payload = decrypt(this.#derive(master, header), sequence, bytes, length);
      if (payload !== undefined) return { kind: 'reject', reason: 'own', namesake: incarnation };
    }
    return reject('forged');
  }
}

function reject(reason: RejectReason): Opened {
  return { kind: 'reject', reason };
}

function latin1(node: string): string {
  return nameBytes(node).toString('latin1');
}

const DATAGRAM_LABEL = Buffer.from('skein datagram v1');

/** A key of its own for every life, so that sequences can start over as nonces. */
function senderKey(
  master: MasterKey,
  cluster: Uint8Array,
  name: Uint8Array,
  incarnation: number,
): KeyObject {
  const life = Buffer.alloc(8);
  writeCount(life, 0, incarnation);
  return deriveKey(master, cluster, Buffer.concat([DATAGRAM_LABEL, name, life]));
}
