/**
 * Rates from counters: what a snapshot cannot tell alone. Keeps the last two snapshots and a minute
 * of history per service, and nothing older.
 */
/** @import { NodeSnapshot, ServiceSnapshot, TrafficSnapshot } from '../../snapshot.ts' */

/** @typedef {{ packetsPerS: number, bytesPerS: number }} TrafficRate */
/** @typedef {{ atMs: number, value: number }} Point */

export const HISTORY_MS = 60_000;

/**
 * Undefined where a counter ran backwards: it was made anew in between.
 * @param {TrafficSnapshot | undefined} before
 * @param {TrafficSnapshot} now
 * @param {number} elapsedMs
 * @returns {TrafficRate | undefined}
 */
export function trafficRate(before, now, elapsedMs) {
  if (before === undefined || elapsedMs <= 0) return undefined;
  const packets = now.packets - before.packets;
  const bytes = now.bytes - before.bytes;
  if (packets < 0 || bytes < 0) return undefined;
  return { packetsPerS: (packets * 1000) / elapsedMs, bytesPerS: (bytes * 1000) / elapsedMs };
}

export class Rates {
  /** @type {NodeSnapshot | undefined} */
  #before;
  /** @type {NodeSnapshot | undefined} */
  #now;
  /** @type {Map<string, ServiceSnapshot>} */
  #servicesBefore = new Map();
  /** @type {Map<string, number>} */
  #countersBefore = new Map();
  /** @type {Map<string, Point[]>} */
  #histories = new Map();
  /** @type {Point[]} */
  #total = [];

  /**
   * @param {NodeSnapshot} snapshot
   * @returns {boolean} false for the snapshot that is already known
   */
  add(snapshot) {
    if (snapshot.takenAtMs === this.#now?.takenAtMs) return false;
    // The node's clock was set back: what was known has no place on the new time line.
    if (snapshot.takenAtMs < (this.#now?.takenAtMs ?? 0)) this.#forget();
    this.#before = this.#now;
    this.#now = snapshot;
    this.#servicesBefore = new Map(this.#before?.services.map((service) => [service.id, service]));
    this.#countersBefore = new Map(this.#before?.counters.map(({ name, value }) => [name, value]));
    this.#remember(snapshot);
    return true;
  }

  /**
   * @param {ServiceSnapshot} service
   * @returns {TrafficRate | undefined}
   */
  ofService(service) {
    return trafficRate(
      this.#servicesBefore.get(service.id)?.traffic,
      service.traffic,
      this.#elapsedMs(),
    );
  }

  /**
   * By address, for one service at a time: only open services need it.
   * @param {ServiceSnapshot} service
   * @returns {Map<string, TrafficRate | undefined>}
   */
  ofBackends(service) {
    const before = new Map(
      this.#servicesBefore
        .get(service.id)
        ?.backends.map(({ address, traffic }) => [address, traffic]),
    );
    return new Map(
      service.backends.map(({ address, traffic }) => [
        address,
        trafficRate(before.get(address), traffic, this.#elapsedMs()),
      ]),
    );
  }

  /**
   * A second's share of a counter of the data plane.
   * @param {{ name: string, value: number }} counter
   * @returns {number | undefined}
   */
  ofCounter({ name, value }) {
    const before = this.#countersBefore.get(name);
    const elapsedMs = this.#elapsedMs();
    if (before === undefined || elapsedMs <= 0 || value < before) return undefined;
    return ((value - before) * 1000) / elapsedMs;
  }

  /**
   * A second's share of any other counter of the snapshot.
   * @param {(snapshot: NodeSnapshot) => number | undefined} read undefined: it is not there
   * @returns {number | undefined}
   */
  of(read) {
    const now = this.#now && read(this.#now);
    const before = this.#before && read(this.#before);
    const elapsedMs = this.#elapsedMs();
    if (now === undefined || before === undefined || elapsedMs <= 0 || now < before) return;
    return ((now - before) * 1000) / elapsedMs;
  }

  /** @returns {TrafficRate | undefined} of all services together */
  ofNode() {
    let sum;
    for (const service of this.#now?.services ?? []) {
      const rate = this.ofService(service);
      if (rate === undefined) continue;
      sum ??= { packetsPerS: 0, bytesPerS: 0 };
      sum.packetsPerS += rate.packetsPerS;
      sum.bytesPerS += rate.bytesPerS;
    }
    return sum;
  }

  /**
   * Packets a second over the last minute, oldest first.
   * @param {string} id
   * @returns {readonly Point[]}
   */
  history(id) {
    return this.#histories.get(id) ?? [];
  }

  /** @returns {readonly Point[]} */
  nodeHistory() {
    return this.#total;
  }

  #elapsedMs() {
    return (this.#now?.takenAtMs ?? 0) - (this.#before?.takenAtMs ?? 0);
  }

  #forget() {
    this.#now = undefined;
    this.#histories = new Map();
    this.#total = [];
  }

  /** @param {NodeSnapshot} snapshot */
  #remember({ services, takenAtMs }) {
    const kept = new Map();
    for (const service of services) {
      const points = this.#histories.get(service.id) ?? [];
      append(points, takenAtMs, this.ofService(service));
      kept.set(service.id, points);
    }
    this.#histories = kept;
    append(this.#total, takenAtMs, this.ofNode());
  }
}

/**
 * @param {Point[]} points
 * @param {number} atMs
 * @param {TrafficRate | undefined} rate
 */
function append(points, atMs, rate) {
  if (rate !== undefined) points.push({ atMs, value: rate.packetsPerS });
  const first = points.findIndex((point) => point.atMs > atMs - HISTORY_MS);
  points.splice(0, first === -1 ? points.length : first);
}
