/**
 * Frames on file, and what tshark says of them: an implementation that knows nothing of ours. It sees into
 * IP in IP, GRE and foo over UDP by itself; GUE it does not know, so what is in it is put beside it.
 */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { promisify } from 'node:util';

const MAGIC = 0xa1b2c3d4;
const SNAP_BYTES = 65_535;
const LINKTYPE_ETHERNET = 1;
const OUTPUT_BYTES_MAX = 64 << 20;
const TIMEOUT_MS = 150_000;
const FOU_PORT = 5555;

/** A warning to tshark, and no fault of a frame. */
const RESET = 'Connection reset (RST)';

/** What tshark complains of in one frame. */
export interface Complaint {
  readonly label: string;
  readonly what: string;
}

export class Capture {
  readonly #labels: string[] = [];
  readonly #frames: Uint8Array[] = [];
  readonly #cut = new Set<string>();

  /** `quotesPart`: an ICMP error that cuts off what it quotes, over which tshark sums up all the same. */
  add(label: string, frame: Uint8Array, quotesPart = false): void {
    this.#labels.push(label);
    this.#frames.push(frame);
    if (quotesPart) this.#cut.add(String(this.#frames.length));
  }

  get length(): number {
    return this.#frames.length;
  }

  /** The classic format: a header, then each frame behind its times and lengths. */
  write(path: string): void {
    const header = Buffer.alloc(24);
    header.writeUInt32LE(MAGIC, 0);
    header.writeUInt16LE(2, 4);
    header.writeUInt16LE(4, 6);
    header.writeUInt32LE(SNAP_BYTES, 16);
    header.writeUInt32LE(LINKTYPE_ETHERNET, 20);
    const records = this.#frames.flatMap((frame, n) => {
      const record = Buffer.alloc(16);
      record.writeUInt32LE(n, 0);
      record.writeUInt32LE(frame.length, 8);
      record.writeUInt32LE(frame.length, 12);
      return [record, frame];
    });
    writeFileSync(path, Buffer.concat([header, ...records]));
  }

  /** Writes the frames to `path` and has them checked: bad sums, malformed, warnings and errors. */
  async complaints(path: string): Promise<Complaint[]> {
    this.write(path);
    const bad = ['_ws.malformed', '_ws.expert.severity >= "Warning"', ...BAD_SUMS].join(' || ');
    const fields = ['frame.number', 'frame.protocols', '_ws.expert.message', ...MESSAGE_SUMS];
    const wrong = (await tshark(path, bad, fields)).filter(([number = '', , message, ...sums]) => {
      return message !== RESET && !(this.#cut.has(number) && sums.includes(GOOD));
    });
    return wrong.map(([number, protocols, message]) => {
      return { label: this.#labels[Number(number) - 1] ?? '', what: `${protocols}: ${message}` };
    });
  }

  /** How many frames each chain of protocols has, such as `eth:ethertype:ip:ip:tcp`; after `write`. */
  async protocols(path: string): Promise<Map<string, number>> {
    const counts = new Map<string, number>();
    for (const [chain = ''] of await tshark(path, 'frame', ['frame.protocols'])) {
      counts.set(chain, (counts.get(chain) ?? 0) + 1);
    }
    return counts;
  }
}

const SUMS = ['ip', 'tcp', 'udp', 'icmp', 'icmpv6'];
const MESSAGE_SUMS = ['icmp.checksum.status', 'icmpv6.checksum.status'];
const GOOD = '1';
const BAD_SUMS = SUMS.map((name) => `${name}.checksum.status == "Bad"`);
const PREFERENCES = [
  'ip.check_checksum:TRUE',
  'tcp.check_checksum:TRUE',
  'udp.check_checksum:TRUE',
  // RFC 6935: tunnels may go without.
  'udp.ignore_ipv6_zero_checksum:TRUE',
  // Each frame stands for itself: retransmissions and gaps are no errors here.
  'tcp.analyze_sequence_numbers:FALSE',
  'tcp.desegment_tcp_streams:FALSE',
  'ip.defragment:FALSE',
  'ipv6.defragment:FALSE',
];

async function tshark(
  path: string,
  filter: string,
  fields: readonly string[],
): Promise<string[][]> {
  const { stdout } = await promisify(execFile)(
    'tshark',
    [
      ['-n', '-r', path, '-Y', filter, '-T', 'fields'],
      ['-d', `udp.port==${FOU_PORT},ip`],
      ...PREFERENCES.map((preference) => ['-o', preference]),
      ...fields.map((field) => ['-e', field]),
    ].flat(),
    { maxBuffer: OUTPUT_BYTES_MAX, timeout: TIMEOUT_MS },
  );
  return stdout.split('\n').flatMap((line) => (line === '' ? [] : [line.split('\t')]));
}
