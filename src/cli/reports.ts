/** Composes what a node needs to take reports of backends: socket, keys, board, and the check. */
import type { NodeConfig, ReportsConfig } from '../config/types.ts';
import { ReportProbe } from '../health/report.ts';
import { systemClock } from '../lib/clock.ts';
import { SkeinError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { Address } from '../model/address.ts';
import type { Service } from '../model/service.ts';
import { readKeys } from '../peers/keys.ts';
import type { PeerLink } from '../peers/link.ts';
import { MulticastLink } from '../peers/multicast.ts';
import { UnicastLink } from '../peers/unicast.ts';
import { ReportBoard } from '../reports/board.ts';
import { ReportReceiver } from '../reports/receiver.ts';
import { ReportOpener } from '../reports/seal.ts';
import type { ReportsStatus } from '../reports/status.ts';
import { interfaceWith } from './sync.ts';

export interface NodeReportsParts {
  readonly config: NodeConfig;
  readonly reports: ReportsConfig;
  /** See `HealthScheduler.hear`. */
  readonly hear: (backend: Address, changed: boolean) => void;
  readonly logger: Logger;
}

/** The reports of backends, as a node takes them. */
export interface NodeReports {
  readonly probe: ReportProbe;
  start(): Promise<void>;
  stop(): Promise<void>;
  status(): ReportsStatus;
  /** Of a new document. */
  setServices(services: readonly Service[]): void;
  setKeys(keys: readonly Uint8Array[]): void;
}

/** Reads the keys; opens no socket before `start`. Throws a SkeinError. */
export async function createReports(parts: NodeReportsParts): Promise<NodeReports> {
  const { config, reports, hear, logger } = parts;
  const { reportsAddress } = config.node;
  if (reportsAddress === undefined) {
    throw new SkeinError(
      'REPORTS_ADDRESS',
      'the node part has no address for reports to arrive at',
    );
  }
  const { keys, warnings } = await readKeys(reports.keyFiles);
  for (const warning of warnings) logger.warn(warning);
  const board = new ReportBoard({
    clock: systemClock,
    maxSkewMs: reports.maxSkewMs,
    heard: hear,
  });
  const probe = new ReportProbe({
    clock: systemClock,
    said: (backend, service) => board.said(backend, service),
    silent: (backend) => {
      hear(backend, true);
    },
  });
  const opener = new ReportOpener(config.cluster.name, keys);
  const link = linkOf(reports, reportsAddress);
  const receiver = new ReportReceiver({ link, opener, board, clock: systemClock, logger });
  const setServices = (services: readonly Service[]) => {
    board.setBackends(services.flatMap(({ backends }) => backends.map(({ address }) => address)));
  };
  return {
    probe,
    async start() {
      await receiver.start();
      // Only from now on does silence mean something.
      setServices(config.cluster.services);
    },
    async stop() {
      await receiver.stop();
      probe.stop();
    },
    status: () => receiver.status(),
    setServices,
    setKeys: (next) => {
      opener.setKeys(next);
    },
  };
}

function linkOf({ group, nodes }: ReportsConfig, own: Address): PeerLink {
  if (group !== undefined) {
    const { address, port } = group;
    return new MulticastLink({ group: address, port, interface: interfaceWith(own) });
  }
  const local = nodes.find(({ address }) => address === own);
  if (local === undefined) {
    throw new SkeinError('REPORTS_ADDRESS', `${own} is not among reports.nodes`);
  }
  return new UnicastLink({ local, peers: [] });
}
