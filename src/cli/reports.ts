/** Composes what a node needs to take reports of backends: sockets, keys, board, and the check. */
import type { ClusterConfig, NodeConfig } from '../config/types.ts';
import { ReportProbe } from '../health/report.ts';
import { systemClock } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import type { Address } from '../model/address.ts';
import { readKeys } from '../peers/keys.ts';
import type { PeerLink } from '../peers/link.ts';
import { MulticastLink } from '../peers/multicast.ts';
import { UnicastLink } from '../peers/unicast.ts';
import { ReportBoard } from '../reports/board.ts';
import { ReportIntake, type WantedReports } from '../reports/intake.ts';
import { placeOf, type Place } from '../reports/place.ts';
import type { ReportsStatus } from '../reports/status.ts';
import { interfaceWith } from './sync.ts';

export interface NodeReportsParts {
  readonly config: NodeConfig;
  /** See `HealthScheduler.hear`. */
  readonly hear: (backend: Address, changed: boolean) => void;
  readonly logger: Logger;
}

/** The reports of backends, as a node takes them; there also while the document has none. */
export interface NodeReports {
  readonly probe: ReportProbe;
  /** Throws a SkeinError when there is no listening where the document says. */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Undefined where the document has no reports. */
  status(): ReportsStatus | undefined;
  /** Of a new document. What cannot be done is in the status, and what there was stays. */
  set(cluster: ClusterConfig): void;
}

/** Reads the keys; opens no socket before `start`. Throws a SkeinError. */
export async function createReports(parts: NodeReportsParts): Promise<NodeReports> {
  const { config, hear, logger } = parts;
  const { cluster, node } = config;
  const board = new ReportBoard({ clock: systemClock, heard: hear });
  const probe = new ReportProbe({
    clock: systemClock,
    said: (backend, service) => board.said(backend, service),
    silent: (backend) => {
      hear(backend, true);
    },
  });
  const intake = new ReportIntake({
    board,
    clock: systemClock,
    logger,
    readKeys,
    locate: (reports) => placeOf(reports, node, interfaceWith),
    linkAt,
  });
  await intake.prepare(wantedOf(cluster));
  return {
    probe,
    start: () => intake.start(),
    async stop() {
      await intake.stop();
      probe.stop();
    },
    status: () => intake.status(),
    set: (next) => {
      intake.set(wantedOf(next));
    },
  };
}

function wantedOf({ name, reports, services }: ClusterConfig): WantedReports | undefined {
  if (reports === undefined) return undefined;
  const backends = services.flatMap((service) => service.backends.map(({ address }) => address));
  return { cluster: name, reports, backends };
}

function linkAt({ address, port, interface: name }: Place): PeerLink {
  if (name !== undefined) return new MulticastLink({ group: address, port, interface: name });
  return new UnicastLink({ local: { address, port }, peers: [] });
}
