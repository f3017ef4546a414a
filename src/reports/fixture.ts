/** A cluster for the tests of this folder: a node that listens, and whoever sends to it. */
import { ManualClock } from '../lib/clock.ts';
import { address, formatEndpoint, type Address } from '../model/address.ts';
import { serviceId, type ServiceKey } from '../model/service.ts';
import type { PeerLink } from '../peers/link.ts';
import { ReportBoard } from './board.ts';
import { ReportReceiver } from './receiver.ts';
import type { Report } from './report.ts';
import { reporterKey, ReportOpener, ReportSigner, type SignerOptions } from './seal.ts';
import { encodeReport } from './wire.ts';

export const CLUSTER = 'west';
export const B1 = address('10.0.0.1');
export const B2 = address('10.0.0.2');
export const WEB: ServiceKey = { vip: address('192.0.2.1'), protocol: 'tcp', port: 80 };
export const WEB_ID = serviceId(WEB);
export const MAX_SKEW_MS = 30_000;

/** Every key is random as far as anybody can tell, and the same in each run. */
export function key(number: number): Uint8Array {
  return Uint8Array.from({ length: 32 }, (_, index) => (number * 37 + index * 11) & 0xff);
}

export function report(about: Partial<Report> = {}): Report {
  return { addresses: [B1], state: 'healthy', detail: '', services: [], ...about };
}

/** A link whose other end is the test. */
export class TestLink implements PeerLink {
  readonly sent: Uint8Array[] = [];
  deliver: (datagram: Uint8Array, from: string) => void = () => undefined;
  #received = 0;
  open = false;

  start(receive: (datagram: Uint8Array, from: string) => void): Promise<void> {
    this.open = true;
    this.deliver = (datagram, from) => {
      this.#received += 1;
      receive(datagram, from);
    };
    return Promise.resolve();
  }

  send(datagram: Uint8Array): void {
    this.sent.push(datagram);
  }

  stats() {
    return { sent: this.sent.length, sendErrors: 0, received: this.#received };
  }

  stop(): Promise<void> {
    this.open = false;
    return Promise.resolve();
  }
}

/** Who made the key of a reporter, and for which addresses. */
interface KeyOptions {
  readonly key: Uint8Array;
  readonly addresses: readonly Address[];
}

/** A reporter of B1. */
export function signer(
  options: Partial<Omit<SignerOptions, 'key'> & KeyOptions> = {},
): ReportSigner {
  const { key: master = key(1), addresses = [B1], ...more } = options;
  const parts = { cluster: CLUSTER, reporter: 'b1', incarnation: 5, ...more };
  return new ReportSigner({ ...parts, key: reporterKey(master, parts.cluster, addresses) });
}

/** A node as far as reports go; its backends are B1 and B2. */
export class TestNode {
  readonly clock: ManualClock;
  readonly link = new TestLink();
  readonly heard: string[] = [];
  readonly board: ReportBoard;
  readonly receiver: ReportReceiver;
  readonly opener: ReportOpener;
  readonly warnings: string[] = [];

  constructor(clock = new ManualClock(), heard?: (backend: Address, changed: boolean) => void) {
    this.clock = clock;
    this.opener = new ReportOpener(CLUSTER, [key(1), key(2)]);
    this.board = new ReportBoard({
      clock,
      heard: (backend, changed) => {
        this.heard.push(`${backend} ${changed ? 'changed' : 'same'}`);
        heard?.(backend, changed);
      },
    });
    this.board.setMaxSkew(MAX_SKEW_MS);
    this.board.setBackends([B1, B2]);
    this.receiver = new ReportReceiver({
      board: this.board,
      clock,
      logger: { warn: (what: unknown) => this.warnings.push(JSON.stringify(what)) },
    });
    this.receiver.openWith(this.opener);
  }

  /** What became of a datagram: `accepted`, or why it was refused. */
  async receive(datagram: Uint8Array, from: Address = B1): Promise<string> {
    if (!this.link.open) await this.receiver.listen(this.link);
    const before = this.receiver.status();
    this.link.deliver(datagram, formatEndpoint(from, 40_000));
    const after = this.receiver.status();
    if (after.accepted > before.accepted) return 'accepted';
    const changed = Object.keys(after.refused).filter(
      (reason) => after.refused[reason] !== before.refused[reason],
    );
    return changed.join();
  }

  /** A report made now by somebody whose clock is right, or so many ms ahead. */
  made(by: ReportSigner, about: Partial<Report> = {}, aheadMs = 0): Uint8Array {
    return by.sign(encodeReport(report(about)), this.clock.wallMs() + aheadMs);
  }
}
