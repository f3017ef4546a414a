/**
 * Says what is wrong with what became of a frame, whatever the program had to do with it. Knows the
 * network of the fuzzer and nothing of the program.
 */
import type { FrameRunner } from '../dataplane/frame-runner.ts';
import type { Family } from '../model/address.ts';
import { natBackends } from './fixture-fuzz-corpus.ts';
import { PLANS } from './fixture-network.ts';
import { Reading, TCP, UDP } from './reading.ts';
import { addressBytes } from './packet.ts';

const VERDICT = { drop: 1, pass: 2, tx: 3, redirect: 4 };
/** An outer IPv6 header, UDP, GUE, two tags, an option. */
const GROWTH_MAX = 40 + 8 + 4 + 8 + 4;
const IN_IP = new Set([4, 41]);
const GRE = 47;
const GRE_BYTES = 4;
const UDP_BYTES = 8;
const ICMP = 1;
const ICMP6 = 58;
const ICMP_BYTES = 8;
const SYN = 0x02;
const MSS_BYTES = 4;
const GUE_BYTES = 4;
const GUE_PORT = 6080;
const FOU_PORT = 5555;

/** Addresses that the program has to do with: VIPs and the node's own. */
const OURS = {
  ipv4: PLANS.filter(({ family }) => family === 'ipv4').flatMap(ours),
  ipv6: PLANS.filter(({ family }) => family === 'ipv6').flatMap(ours),
};
/** Backends of nat answer clients, by way of the node; those of full_nat get what seems to come from it. */
const NAT = {
  ipv4: natOf('ipv4').map(({ nat }) => nat),
  ipv6: natOf('ipv6').map(({ nat }) => nat),
};
const FULL_NAT = {
  ipv4: natOf('ipv4').map(({ fullNat }) => fullNat),
  ipv6: natOf('ipv6').map(({ fullNat }) => fullNat),
};
const NODES = {
  ipv4: addressBytes(PLANS[0]?.node ?? ''),
  ipv6: addressBytes(PLANS[1]?.node ?? ''),
};

function ours(plan: (typeof PLANS)[number]): Uint8Array[] {
  return [plan.vip, plan.otherVip, plan.node].map(addressBytes);
}

function natOf(wanted: Family): { readonly nat: Uint8Array; readonly fullNat: Uint8Array }[] {
  return PLANS.filter(({ family }) => family === wanted).map((plan) => {
    const { nat, fullNat } = natBackends(plan);
    return { nat: addressBytes(nat), fullNat: addressBytes(fullNat) };
  });
}

export class Judge {
  readonly #in = new Reading();
  readonly #out = new Reading();
  readonly #inner = new Reading();
  #opened = false;

  /** What is wrong, in words and with both frames; undefined: nothing. */
  complaint(
    input: Uint8Array,
    inputBytes: number,
    verdict: number,
    output: Uint8Array,
    outputBytes: number,
  ): string | undefined {
    const wrong = this.#judge(input, inputBytes, verdict, output, outputBytes);
    if (wrong === undefined) return undefined;
    return `${wrong} (verdict ${verdict})
${inHex({ input, output, outputBytes }, inputBytes)}`;
  }

  #judge(
    input: Uint8Array,
    inputBytes: number,
    verdict: number,
    output: Uint8Array,
    outputBytes: number,
  ): string | undefined {
    this.#in.read(input, inputBytes);
    this.#opened = false;
    const foreign = !this.#in.isIp || !this.#isOurs(input);
    if (foreign && verdict !== VERDICT.pass) return 'a frame for somebody else was not let pass';
    switch (verdict) {
      case VERDICT.drop:
        return undefined;
      case VERDICT.pass:
        if (sameFrames(input, inputBytes, output, outputBytes)) return undefined;
        return this.#open(input, inputBytes)
          ? this.#judgeSent(input, output, outputBytes)
          : 'a frame that passed was changed';
      case VERDICT.tx:
      case VERDICT.redirect:
        this.#open(input, inputBytes);
        return this.#judgeSent(input, output, outputBytes);
      default:
        return 'no such verdict';
    }
  }

  /** Where a tunnel to the node itself is opened, what is in it is what was asked. */
  #open(input: Uint8Array, bytes: number): boolean {
    const { isIpv6, destination, lengthsAgree, isFragment } = this.#in;
    const node = isIpv6 ? NODES.ipv6 : NODES.ipv4;
    if (!lengthsAgree || isFragment || !holds(input, destination, node)) return false;
    const at = insideOf(input, this.#in);
    if (at < 0) return false;
    this.#inner.read(input, bytes, at);
    if (!this.#inner.isIp) return false;
    this.#in.read(input, bytes, at);
    this.#opened = true;
    return true;
  }

  #isOurs(frame: Uint8Array): boolean {
    const { isIpv6, destination } = this.#in;
    const known = isIpv6 ? OURS.ipv6 : OURS.ipv4;
    for (const address of known) if (holds(frame, destination, address)) return true;
    return this.#isAnswer(frame);
  }

  /** From a backend of nat, or an ICMP error that quotes a packet to one. */
  #isAnswer(frame: Uint8Array): boolean {
    const { isIpv6, source, l4 } = this.#in;
    const isError = isMessage(this.#in);
    const quoted = l4 + ICMP_BYTES + (isIpv6 ? 24 : 16);
    for (const address of isIpv6 ? NAT.ipv6 : NAT.ipv4) {
      if (holds(frame, source, address) || (isError && holds(frame, quoted, address))) return true;
    }
    return false;
  }

  #judgeSent(input: Uint8Array, output: Uint8Array, bytes: number): string | undefined {
    const asked = this.#in;
    const sent = this.#out;
    sent.read(output, bytes);
    if (bytes > asked.bytes + GROWTH_MAX) return 'it grew by more than any header';
    if (!asked.lengthsAgree) return 'what contradicts itself was sent on';
    if (!sent.isIp || !sent.lengthsAgree) return 'the lengths of what was sent do not agree';
    if (!sent.isFragment && !sent.l4IsWhole) return 'the transport header is cut short';
    if (sent.padding > asked.padding) return 'there is more behind the packet than before';
    const node = sent.isIpv6 ? NODES.ipv6 : NODES.ipv4;
    if (isMessage(sent) && !isMessage(asked)) {
      return sent.headerSum === 'right' && sent.l4Sum === 'right'
        ? undefined
        : 'an answer is wrong';
    }
    const [translated] = sent.isIpv6 ? FULL_NAT.ipv6 : FULL_NAT.ipv4;
    const isTranslated = translated !== undefined && holds(output, sent.destination, translated);
    if (holds(output, sent.source, node) && !isTranslated) return this.#judgeTunnel(input, output);
    if (asked.headerSum === 'right' && sent.headerSum !== 'right')
      return 'the IPv4 header checksum is wrong';
    if (asked.l4Sum === 'right' && sent.l4Sum !== 'right')
      return `the checksum became ${sent.l4Sum}`;
    if (asked.l4Sum === 'none' && sent.l4Sum !== 'none') return 'there is a checksum now';
    return undefined;
  }

  /** The outer header is right, and the packet in it is the one that came. */
  #judgeTunnel(input: Uint8Array, output: Uint8Array): string | undefined {
    const asked = this.#in;
    const outer = this.#out;
    if (outer.headerSum !== 'right') return 'the outer header checksum is wrong';
    if (outer.protocol === UDP) {
      if (!outer.l4LengthAgrees) return 'the outer UDP length does not agree';
      // The outer sum follows from the inner ones: it is wrong if they are.
      const wasRight =
        asked.headerSum === 'right' && (asked.l4Sum === 'right' || asked.l4Sum === 'none');
      if (outer.l4Sum === 'wrong' && wasRight) return 'the outer UDP checksum is wrong';
    }
    const at = insideOf(output, this.#out);
    if (at < 0) return 'the node sent something that is no tunnel';
    this.#inner.read(output, outer.end, at);
    if (!this.#inner.isIp || this.#inner.end !== outer.end)
      return 'what is in the tunnel does not fill it';
    const length = asked.end - asked.l3;
    if (outer.end - at === length && sameAt(input, asked.l3, output, at, length)) return undefined;
    // An MSS may have been put into a SYN.
    const isSyn = asked.protocol === TCP && ((input[asked.l4 + 13] ?? 0) & SYN) !== 0;
    const grown = outer.end - at - length;
    // And what a tunnel that was opened says of congestion is put into what was in it.
    if (!(isSyn || this.#opened) || (grown !== 0 && grown !== MSS_BYTES))
      return 'the packet in the tunnel was changed';
    const { headerSum, l4Sum } = this.#inner;
    const isRight = headerSum === 'right' && l4Sum === 'right';
    const wasRight = asked.headerSum === 'right' && asked.l4Sum === 'right';
    return wasRight && !isRight ? 'a checksum in the tunnel is wrong' : undefined;
  }
}

/** Where the packet in a tunnel begins; negative: this is none. */
function insideOf(output: Uint8Array, { protocol, l4 }: Reading): number {
  if (IN_IP.has(protocol)) return l4;
  if (protocol === GRE) return l4 + GRE_BYTES;
  const port = ((output[l4 + 2] ?? 0) << 8) | (output[l4 + 3] ?? 0);
  if (protocol === UDP && port === GUE_PORT) return l4 + UDP_BYTES + GUE_BYTES;
  return protocol === UDP && port === FOU_PORT ? l4 + UDP_BYTES : -1;
}

function isMessage({ protocol, isIpv6 }: Reading): boolean {
  return protocol === (isIpv6 ? ICMP6 : ICMP);
}

function sameAt(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number, bytes: number): boolean {
  for (let i = 0; i < bytes; i += 1) if (a[aAt + i] !== b[bAt + i]) return false;
  return true;
}

/** Are these bytes at this place? */
export function holds(frame: Uint8Array, at: number, bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i += 1) if (frame[at + i] !== bytes[i]) return false;
  return true;
}

export function sameFrames(a: Uint8Array, aBytes: number, b: Uint8Array, bBytes: number): boolean {
  return aBytes === bBytes && sameAt(a, 0, b, 0, aBytes);
}

/** A frame before and after. */
export function inHex(
  run: Pick<FrameRunner, 'input' | 'output' | 'outputBytes'>,
  inputBytes: number,
): string {
  const hex = (frame: Uint8Array) => Buffer.from(frame).toString('hex');
  const came = hex(run.input.subarray(0, inputBytes));
  return ` in: ${came}\nout: ${hex(run.output.subarray(0, run.outputBytes))}`;
}
