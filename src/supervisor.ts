/**
 * Holds the state of a node and moves it at its own pace: every tick folds what has changed into
 * desired state and hands that to the ports. Does no I/O of its own, and nothing else may decide
 * what is programmed or announced.
 */
import type { RouteAnnouncer } from './bgp/announcer.ts';
import type { ConfigProblem, NodeConfig } from './config/types.ts';
import type { Dataplane, ReconcileResult, WantedService } from './dataplane/dataplane.ts';
import { backendChanges, desiredBgp, vipVerdicts, wantedService } from './desired.ts';
import type { Clock } from './lib/clock.ts';
import { errorMessage } from './lib/errors.ts';
import type { Logger } from './lib/logger.ts';
import type { Address } from './model/address.ts';
import type { DesiredBgp } from './model/bgp.ts';
import type { HealthState, HealthView } from './model/health.ts';
import type { Service, ServiceId } from './model/service.ts';
import type { Gate } from './peers/join.ts';
import type { PeersStatus } from './peers/status.ts';
import type { ReportsStatus } from './reports/status.ts';
import type { NodeSnapshot } from './snapshot.ts';
import { takeSnapshot, type VipRecord } from './take-snapshot.ts';
import { explain, type Verdict } from './vip/verdict.ts';

/** What the supervisor needs of the health checks. */
export interface Health {
  readonly version: number;
  set(services: readonly Service[]): void;
  adopt(service: ServiceId, backend: Address, state: HealthState): boolean;
  view(): HealthView;
}

/** What the supervisor needs of flow sync. */
export interface Peers {
  gate(): Gate;
  status(): PeersStatus;
}

export interface SupervisorParts {
  readonly config: NodeConfig;
  readonly dataplane: Dataplane;
  /** Is told nothing before the document has a `bgp` section. */
  readonly announcer: RouteAnnouncer;
  readonly health: Health;
  /** Undefined: this node knows of no others. */
  readonly peers: Peers | undefined;
  /** Left out: no backend's reports are taken, whatever the document says. */
  readonly reports?: { status(): ReportsStatus | undefined };
  readonly clock: Clock;
  readonly logger: Logger;
  readonly version: string;
}

/** Health to maps to BGP within this time; well below the shortest interval of a check. */
const TICK_MS = 20;
/** A failed write is tried again after this time, doubling up to the bound. */
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 10_000;
/** Idle timeouts of flows are kept to about this much. */
const MAINTAIN_INTERVAL_MS = 5_000;
/** Changes of backends that one tick logs one by one; the rest is a number. */
const LOGGED_CHANGES_MAX = 20;
/** A snapshot is as old as this at most. */
const SNAPSHOT_AGE_MS = 500;

/** A service that was taken out of the document goes on forwarding until its routes are gone. */
interface Leaving {
  readonly service: WantedService;
  readonly untilMs: number;
}

export class Supervisor {
  readonly #parts: SupervisorParts;
  readonly #startedAtMs: number;
  #config: NodeConfig;
  #loadedAtMs: number;
  #refused: { problems: readonly ConfigProblem[]; atMs: number } | undefined;
  #wanted: readonly WantedService[] = [];
  #leaving: readonly Leaving[] = [];
  #reconciled: ReconcileResult = { programmed: new Set(), writes: 0, failures: [] };
  #vips: ReadonlyMap<Address, VipRecord> = new Map();
  /** What the announcer was told last. */
  #told: DesiredBgp | undefined;
  #healthVersion = -1;
  #unsynced: string | undefined;
  #dirty = true;
  #retryAtMs = Infinity;
  #retryMs = RETRY_MIN_MS;
  #maintainAtMs = 0;
  #stopping = false;
  #cancelTick: (() => void) | undefined;
  #snapshot: NodeSnapshot | undefined;
  #snapshotAtMs = 0;

  constructor(parts: SupervisorParts) {
    this.#parts = parts;
    this.#config = parts.config;
    this.#startedAtMs = parts.clock.wallMs();
    this.#loadedAtMs = this.#startedAtMs;
    parts.health.set(parts.config.cluster.services);
    this.#adopt();
  }

  /** A restart begins with what the maps say: nobody loses traffic while the checks run anew. */
  #adopt(): void {
    const { dataplane, health, logger } = this.#parts;
    const adopted = dataplane.adoptedServices();
    for (const { id, backends } of adopted) {
      for (const { address, state } of backends) {
        // Only what was up is draining and not down.
        health.adopt(id, address, state === 'draining' ? 'up' : state);
      }
    }
    if (adopted.length > 0) logger.info({ services: adopted.length }, 'adopted the data plane');
  }

  /** The first tick runs at once. Starting twice is starting once. */
  start(): void {
    if (this.#cancelTick !== undefined) return;
    this.#parts.announcer.start();
    this.#tick();
  }

  #tick(): void {
    this.#cancelTick = this.#parts.clock.after(TICK_MS, () => {
      this.#tick();
    });
    const nowMs = this.#parts.clock.nowMs();
    this.#letGo(nowMs);
    const healthVersion = this.#parts.health.version;
    const unsynced = this.#whyUnsynced();
    if (unsynced !== this.#unsynced) this.#dirty = true;
    this.#unsynced = unsynced;
    if (this.#dirty || healthVersion !== this.#healthVersion || nowMs >= this.#retryAtMs) {
      this.#healthVersion = healthVersion;
      this.#dirty = false;
      this.#program(nowMs);
      this.#announce();
    }
    if (nowMs >= this.#maintainAtMs) this.#maintain(nowMs);
  }

  /**
   * A node that starts waits for the flows of the others. One whose supervisor was lost has flows and
   * routes already: to withdraw them for that would move the traffic that is to be kept.
   */
  #whyUnsynced(): string | undefined {
    const { dataplane, peers } = this.#parts;
    if (peers === undefined || dataplane.status().wasInService) return undefined;
    const gate = peers.gate();
    if (gate.open) return undefined;
    if (gate.reason === 'listening') return 'listening for them';
    const percent = gate.percent === undefined ? '' : `, ${Math.floor(gate.percent)} %`;
    return `a snapshot is on its way${percent}`;
  }

  #letGo(nowMs: number): void {
    const staying = this.#leaving.filter(({ untilMs }) => untilMs > nowMs);
    if (staying.length === this.#leaving.length) return;
    this.#leaving = staying;
    this.#dirty = true;
  }

  #program(nowMs: number): void {
    const { dataplane, health, logger } = this.#parts;
    const { services, flowTimeouts } = this.#config.cluster;
    const view = health.view();
    const wantedBefore = this.#wanted;
    this.#wanted = services.map((service) => wantedService(service, view));
    this.#logChanges(wantedBefore, view);
    const all = [...this.#wanted, ...this.#leaving.map(({ service }) => service)];
    const before = this.#reconciled;
    this.#reconciled = dataplane.reconcile(all, flowTimeouts);
    const { failures, writes } = this.#reconciled;
    if (writes > 0) logger.info({ services: all.length, writes }, 'data plane programmed');
    if (failures.length === 0) {
      this.#retryAtMs = Infinity;
      this.#retryMs = RETRY_MIN_MS;
      return;
    }
    if (before.failures.join() !== failures.join()) logger.error({ failures }, 'writes failed');
    this.#retryAtMs = nowMs + this.#retryMs;
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS);
  }

  #logChanges(before: readonly WantedService[], health: HealthView): void {
    const changes = backendChanges(before, this.#wanted, health);
    for (const change of changes.slice(0, LOGGED_CHANGES_MAX)) {
      this.#parts.logger.info(change, 'backend');
    }
    const more = changes.length - LOGGED_CHANGES_MAX;
    if (more > 0) this.#parts.logger.info({ more }, 'and more backends');
  }

  #announce(): void {
    const verdicts = vipVerdicts({
      services: this.#config.cluster.services,
      vips: this.#config.cluster.vips,
      health: this.#parts.health.view(),
      programmed: this.#reconciled.programmed,
      stopping: this.#stopping,
      unsynced: this.#unsynced,
    });
    this.#vips = new Map(
      Array.from(verdicts, ([vip, verdict]) => [vip, this.#recordVerdict(vip, verdict)]),
    );
    this.#told = desiredBgp(this.#config, verdicts, this.#told);
    if (this.#told !== undefined) this.#parts.announcer.set(this.#told);
    this.#parts.dataplane.setInService(!this.#stopping && this.#unsynced === undefined);
    this.#snapshot = undefined;
  }

  #recordVerdict(vip: Address, verdict: Verdict): VipRecord {
    const before = this.#vips.get(vip);
    if (before !== undefined && newsOf(before.verdict) === newsOf(verdict)) {
      return { ...before, verdict };
    }
    this.#parts.logger.info({ vip, verdict: sayIt(verdict) }, 'verdict');
    return { verdict, sinceMs: this.#parts.clock.wallMs() };
  }

  #maintain(nowMs: number): void {
    this.#maintainAtMs = nowMs + MAINTAIN_INTERVAL_MS;
    this.#parts.dataplane.maintain().catch((error: unknown) => {
      this.#parts.logger.error({ reason: errorMessage(error) }, 'maintenance failed');
    });
  }

  /** Takes a new document over as a difference. The node part is fixed for the process's life. */
  reload(config: NodeConfig): void {
    const { clock, health, logger } = this.#parts;
    const ids = new Set(config.cluster.services.map(({ id }) => id));
    const untilMs = clock.nowMs() + config.cluster.drainMs;
    const gone = this.#wanted.filter(({ id }) => !ids.has(id));
    this.#leaving = [
      ...this.#leaving.filter(({ service }) => !ids.has(service.id)),
      ...gone.map((service) => ({ service, untilMs })),
    ];
    this.#config = { cluster: config.cluster, node: this.#config.node };
    this.#loadedAtMs = clock.wallMs();
    this.#refused = undefined;
    health.set(config.cluster.services);
    this.#dirty = true;
    this.#snapshot = undefined;
    logger.info({ digest: config.cluster.digest, removed: gone.length }, 'configuration loaded');
  }

  /** A bad document changes nothing but what is shown. */
  refuse(problems: readonly ConfigProblem[]): void {
    this.#refused = { problems, atMs: this.#parts.clock.wallMs() };
    this.#snapshot = undefined;
  }

  /**
   * The way down: withdraw, wait for the speaker and then for traffic to move. Forwarding goes on
   * all the while, and health is still followed. Resolves when the data plane may be taken away.
   */
  async drain(withdrawTimeoutMs: number): Promise<void> {
    const { announcer, clock, logger } = this.#parts;
    if (!this.#stopping) {
      this.#stopping = true;
      this.#dirty = true;
    }
    this.#announce();
    if (this.#told !== undefined) {
      try {
        await announcer.settled(AbortSignal.timeout(withdrawTimeoutMs));
        logger.info('withdrawn');
      } catch (error) {
        logger.warn({ reason: errorMessage(error) }, 'the withdrawal was not confirmed');
      }
      await new Promise<void>((resolve) => clock.after(this.#config.cluster.drainMs, resolve));
    }
    this.stop();
  }

  /** At once, leaving everything as it is. Idempotent. */
  stop(): void {
    this.#cancelTick?.();
    this.#cancelTick = undefined;
  }

  /** Of the document that runs now; peers compare it with theirs. */
  get configDigest(): string {
    return this.#config.cluster.digest;
  }

  /** Rebuilt when something has changed, or after half a second. */
  snapshot(): NodeSnapshot {
    const nowMs = this.#parts.clock.nowMs();
    if (this.#snapshot !== undefined && nowMs - this.#snapshotAtMs < SNAPSHOT_AGE_MS) {
      return this.#snapshot;
    }
    this.#snapshotAtMs = nowMs;
    this.#snapshot = takeSnapshot({
      config: this.#config,
      version: this.#parts.version,
      startedAtMs: this.#startedAtMs,
      takenAtMs: this.#parts.clock.wallMs(),
      loadedAtMs: this.#loadedAtMs,
      refused: this.#refused,
      stopping: this.#stopping,
      vips: this.#vips,
      wanted: this.#wanted,
      reconciled: this.#reconciled,
      health: this.#parts.health.view(),
      counters: this.#parts.dataplane.counters(),
      dataplane: this.#parts.dataplane.status(),
      bgp: this.#parts.announcer.status(),
      peers: this.#parts.peers?.status(),
      reports: this.#parts.reports?.status(),
    });
    return this.#snapshot;
  }
}

/** Equal texts are one verdict. That a snapshot grows is shown, but it is no news for the log. */
function newsOf(verdict: Verdict): string {
  const isWaiting = verdict.kind === 'withhold' && verdict.reason.code === 'not_synced';
  return isWaiting ? verdict.reason.code : sayIt(verdict);
}

function sayIt(verdict: Verdict): string {
  return verdict.kind === 'announce' ? 'announce' : `withhold: ${explain(verdict.reason)}`;
}
