/**
 * A report as bytes and back; the layout is in REPORTS.md. What comes in was signed by somebody who
 * has the key, and is still not believed to have any length or value before that has been checked.
 */
import { addressBytes, addressFromBytes, type Address } from '../model/address.ts';
import type { L4Protocol } from '../model/service.ts';
import { textOf } from '../peers/seal-names.ts';
import {
  ADDRESSES_MAX,
  DETAIL_BYTES_MAX,
  SERVICE_DETAIL_BYTES_MAX,
  SERVICES_MAX,
  type Report,
  type ReportedState,
  type ServiceReport,
} from './report.ts';

/** A datagram of 1,400 bytes less the longest header and the tag. */
export const PAYLOAD_BYTES_MAX = 1_266;

const ADDRESS_BYTES = 16;

/** How many, and each once as 16 bytes, in order: what a reporter's key is derived from. */
export function addressField(addresses: readonly Address[]): Uint8Array {
  if (addresses.length === 0 || addresses.length > ADDRESSES_MAX) {
    throw new RangeError(`a report is for 1 to ${ADDRESSES_MAX} addresses`);
  }
  const inOrder = [...new Set(addresses)]
    .map(addressBytes)
    .toSorted((a, b) => Buffer.compare(a, b));
  return Buffer.concat([Uint8Array.of(inOrder.length), ...inOrder]);
}

/** The addresses that a payload begins with, before anything of it is believed. The same memory. */
export function addressFieldOf(payload: Uint8Array): Uint8Array | undefined {
  const count = payload[0] ?? 0;
  const length = 1 + count * ADDRESS_BYTES;
  if (count === 0 || count > ADDRESSES_MAX || length > payload.length) return undefined;
  return payload.subarray(0, length);
}

const STATES: readonly ReportedState[] = ['unhealthy', 'healthy', 'leaving'];
const PROTOCOLS: ReadonlyMap<number, L4Protocol> = new Map([
  [6, 'tcp'],
  [17, 'udp'],
]);
/** Address, protocol, port, state and the length of the detail. */
const SERVICE_BYTES = ADDRESS_BYTES + 5;

/** At most PAYLOAD_BYTES_MAX: details are cut. Throws a RangeError for too many of anything. */
export function encodeReport(report: Report): Uint8Array {
  const { addresses, services } = report;
  if (services.length > SERVICES_MAX) {
    throw new RangeError(`a report has at most ${SERVICES_MAX} services`);
  }
  const head = [
    addressField(addresses),
    Uint8Array.of(STATES.indexOf(report.state)),
    lengthAndText(report.detail, DETAIL_BYTES_MAX),
    Uint8Array.of(services.length),
  ];
  const room = PAYLOAD_BYTES_MAX - sizeOf(head) - services.length * SERVICE_BYTES;
  const share = Math.floor(room / Math.max(1, services.length));
  const detailBytesMax = Math.min(share, SERVICE_DETAIL_BYTES_MAX);
  return Buffer.concat([...head, ...services.flatMap((each) => parts(each, detailBytesMax))]);
}

function parts({ service, healthy, detail }: ServiceReport, detailBytesMax: number): Uint8Array[] {
  const { vip, protocol, port } = service;
  const rest = Uint8Array.of(protocol === 'tcp' ? 6 : 17, port >> 8, port & 0xff, Number(healthy));
  return [addressBytes(vip), rest, lengthAndText(detail, detailBytesMax)];
}

function sizeOf(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((sum, { length }) => sum + length, 0);
}

/** Whole characters only, and none that a terminal would obey. */
function lengthAndText(text: string, bytesMax: number): Uint8Array {
  const room = new Uint8Array(1 + bytesMax);
  const clean = text.replace(/[\p{C}\p{Z}]+/gu, ' ').trim();
  const { written } = new TextEncoder().encodeInto(clean, room.subarray(1));
  room[0] = written;
  return room.subarray(0, 1 + written);
}

/** Undefined unless every byte is as REPORTS.md has it. Never throws. */
export function decodeReport(payload: Uint8Array): Report | undefined {
  const reader = new Reader(payload);
  const addresses = reader.list(ADDRESSES_MAX, () => reader.address());
  if (addresses === undefined || addresses.length === 0) return undefined;
  const inOrder = addressField(addresses);
  if (Buffer.compare(inOrder, payload.subarray(0, inOrder.length)) !== 0) return undefined;
  const state = STATES[reader.byte() ?? STATES.length];
  const detail = reader.text(DETAIL_BYTES_MAX);
  if (state === undefined || detail === undefined) return undefined;
  const services = reader.list(SERVICES_MAX, () => readService(reader));
  if (services === undefined || !reader.atEnd) return undefined;
  return { addresses, state, detail, services };
}

function readService(reader: Reader): ServiceReport | undefined {
  const vip = reader.address();
  const protocol = PROTOCOLS.get(reader.byte() ?? 0);
  const [high, low] = [reader.byte(), reader.byte()];
  const healthy = reader.byte();
  const detail = reader.text(SERVICE_DETAIL_BYTES_MAX);
  if (vip === undefined || protocol === undefined || detail === undefined) return undefined;
  if (high === undefined || low === undefined) return undefined;
  if (healthy === undefined || healthy > 1) return undefined;
  const service = { vip, protocol, port: high * 256 + low };
  return { service, healthy: healthy === 1, detail };
}

/** Reads from the front; undefined for what is not there. */
class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  byte(): number | undefined {
    return this.#bytes[this.#at++];
  }

  address(): Address | undefined {
    const bytes = this.#take(ADDRESS_BYTES);
    return bytes && addressFromBytes(bytes);
  }

  /** A length byte and so much UTF-8 without control characters. */
  text(bytesMax: number): string | undefined {
    const length = this.byte();
    if (length === undefined || length > bytesMax) return undefined;
    const bytes = this.#take(length);
    const text = bytes && textOf(bytes);
    return text === undefined || /[\x00-\x1f\x7f]/.test(text) ? undefined : text;
  }

  /** A count byte and so many items. */
  list<T>(countMax: number, read: () => T | undefined): T[] | undefined {
    const count = this.byte();
    if (count === undefined || count > countMax) return undefined;
    const items: T[] = [];
    for (let index = 0; index < count; index += 1) {
      const item = read();
      if (item === undefined) return undefined;
      items.push(item);
    }
    return items;
  }

  #take(length: number): Uint8Array | undefined {
    const bytes = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return bytes.length === length ? bytes : undefined;
  }
}
