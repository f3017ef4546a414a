/** What runs on a balancer and on a backend of the testbed, and what can be done to them. */
import { askBackend } from '../src/backend/lock.ts';
import type { BackendStatus } from '../src/backend/server.ts';
import { SkeinError } from '../src/lib/errors.ts';
import type { NodeSnapshot } from '../src/snapshot.ts';
import { configFiles, documentFile, GOBGP_PORT } from './config.ts';
import { Daemon, type DaemonSpec } from './daemon.ts';
import { run } from './exec.ts';
import { removePins, setCable } from './netns.ts';
import { BACKEND_STATES, BPFFS, GOBGPD } from './places.ts';
import {
  CONSOLE_PORT,
  ECHO_PORT,
  HTTP_PORT,
  UDP_ECHO_PORT,
  type BackendSite,
  type NodeSite,
  type VipPair,
} from './topology.ts';
import { until } from './until.ts';

const SNAPSHOT_TIMEOUT_MS = 10_000;
const ANNOUNCE_TIMEOUT_MS = 60_000;

/** A balancer: gobgpd and the supervisor, each of which can be lost by itself. */
export class BalancerNode {
  readonly site: NodeSite;
  readonly gobgpd: Daemon;
  readonly supervisor: Daemon;

  constructor(site: NodeSite) {
    this.site = site;
    this.gobgpd = new Daemon(gobgpdSpec(site));
    this.supervisor = new Daemon(supervisorSpec(site));
  }

  get consoleUrl(): string {
    return `http://${this.site.management}:${CONSOLE_PORT}/`;
  }

  /** Cable, gobgpd, supervisor; ready when the console answers. Idempotent. */
  async start(signal?: AbortSignal): Promise<void> {
    await setCable(this.site, 'up');
    this.gobgpd.start();
    this.supervisor.start();
    await Promise.all([this.gobgpd.untilReady(signal), this.supervisor.untilReady(signal)]);
  }

  /** As an operator does it: the supervisor withdraws and drains, then gobgpd ends. */
  async stop(): Promise<void> {
    await this.supervisor.stop();
    await this.gobgpd.stop();
  }

  /**
   * The machine dies: first the cable, so that no socket says goodbye, then everything that was in
   * its memory. `start` boots it again.
   */
  async kill(): Promise<void> {
    await this.cutCable();
    await Promise.all([this.supervisor.kill(), this.gobgpd.kill()]);
    removePins(this.site);
  }

  async cutCable(): Promise<void> {
    await setCable(this.site, 'down');
  }

  async joinCable(): Promise<void> {
    await setCable(this.site, 'up');
  }

  /** Makes the supervisor read its configuration again. */
  reload(): void {
    this.supervisor.signal('SIGHUP');
  }

  /** What the node says of itself, over the management network. */
  async snapshot(): Promise<NodeSnapshot> {
    const response = await fetch(`${this.consoleUrl}api/v1/snapshot`, {
      signal: AbortSignal.timeout(SNAPSHOT_TIMEOUT_MS),
    });
    if (!response.ok) throw new Error(`${this.site.name}: status ${response.status}`);
    return (await response.json()) as NodeSnapshot;
  }

  /** Waits for a snapshot that fits, and returns it. */
  async untilSnapshot(
    what: string,
    fits: (snapshot: NodeSnapshot) => boolean,
    options: { readonly timeoutMs?: number; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<NodeSnapshot> {
    return until(
      async () => {
        const snapshot = await this.snapshot();
        return fits(snapshot) ? snapshot : undefined;
      },
      { what: `${this.site.name}: ${what}`, everyMs: 50, ...options },
    );
  }

  /** Waits until every VIP of the document is announced and gobgpd has confirmed it. */
  async untilAnnouncing(signal?: AbortSignal): Promise<NodeSnapshot> {
    const what = `${this.site.name} to announce every VIP`;
    return until(
      async () => {
        this.supervisor.assertRunning();
        const snapshot = await this.snapshot();
        const missing = snapshot.vips.find((vip) => !vip.announce || !vip.confirmed);
        if (missing !== undefined) {
          const why = missing.explanation ?? 'gobgpd has not confirmed it';
          throw new Error(`${missing.address}: ${why}`);
        }
        return snapshot.vips.length > 0 ? snapshot : undefined;
      },
      { what, timeoutMs: ANNOUNCE_TIMEOUT_MS, everyMs: 50, signal },
    );
  }
}

/** A backend: a host with the VIPs on its loopback and a server process. */
export class BackendHost {
  readonly site: BackendSite;
  readonly server: Daemon;
  /** `skein backend`, for a managed backend. */
  readonly agent: Daemon | undefined;

  constructor(site: BackendSite, vips: readonly VipPair[]) {
    this.site = site;
    this.server = new Daemon(backendSpec(site, vips));
    this.agent = site.managed ? new Daemon(agentSpec(site)) : undefined;
  }

  /** Server and agent. Idempotent. */
  async start(signal?: AbortSignal): Promise<void> {
    this.agent?.start();
    await Promise.all([this.startServer(signal), this.agent?.untilReady(signal)]);
  }

  /** Makes `skein backend` read its document again; without effect where there is none. */
  reload(): void {
    this.agent?.signal('SIGHUP');
  }

  /** What `skein backend status --json` shows. Throws where it does not run. */
  async status(): Promise<BackendStatus> {
    const { name } = this.site;
    return until(
      async () => {
        const answer = await askBackend(stateFolder(this.site));
        if (answer === undefined) throw new SkeinError('hopeless', `${name} runs no skein backend`);
        // One that is too busy to answer in time says nothing of itself.
        const status = answer as Partial<BackendStatus>;
        return status.pid !== undefined && (status as BackendStatus);
      },
      { what: `${name} to say what it does` },
    );
  }

  async startServer(signal?: AbortSignal): Promise<void> {
    this.server.start();
    await this.server.untilReady(signal);
  }

  /** Connections to it are refused from now on. */
  async stopServer(): Promise<void> {
    await this.server.kill();
  }

  /** Takes a VIP off the loopback: the host still answers on its own address. */
  async removeVip(vip: string): Promise<void> {
    await this.#changeVip('del', vip);
  }

  async addVip(vip: string): Promise<void> {
    await this.#changeVip('add', vip);
  }

  async cutCable(): Promise<void> {
    await setCable(this.site, 'down');
  }

  async joinCable(): Promise<void> {
    await setCable(this.site, 'up');
  }

  async #changeVip(change: 'add' | 'del', vip: string): Promise<void> {
    const host = vip.includes(':') ? `${vip}/128` : `${vip}/32`;
    await run(['ip', 'addr', change, host, 'dev', 'lo'], { namespace: this.site.namespace });
  }
}

export function agentSpec(site: BackendSite): DaemonSpec {
  return {
    name: `${site.name}-skein`,
    namespace: site.namespace,
    command: [
      ...[process.execPath, 'src/main.ts', 'backend', '--config', documentFile(site)],
      ...['--state-dir', stateFolder(site), '--bpffs', `${BPFFS}/${site.name}`],
    ],
    listens: [],
    says: '"msg":"backend is ready"',
  };
}

function stateFolder(site: BackendSite): string {
  return `${BACKEND_STATES}/${site.name}`;
}

export function gobgpdSpec(site: NodeSite): DaemonSpec {
  return {
    name: `${site.name}-gobgpd`,
    namespace: site.namespace,
    command: [
      GOBGPD,
      `--api-hosts=127.0.0.1:${GOBGP_PORT}`,
      '--log-plain',
      '--pprof-disable',
      '--metrics-path=',
    ],
    listens: [{ protocol: 'tcp', port: GOBGP_PORT }],
    urgent: true,
  };
}

export function supervisorSpec(site: NodeSite): DaemonSpec {
  const files = configFiles(site);
  return {
    name: site.name,
    namespace: site.namespace,
    command: [
      process.execPath,
      'src/main.ts',
      'run',
      '--config',
      files.config,
      '--node',
      files.node,
    ],
    listens: [{ protocol: 'tcp', port: CONSOLE_PORT }],
  };
}

export function backendSpec(site: BackendSite, vips: readonly VipPair[]): DaemonSpec {
  const addresses = [site, ...vips].flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]);
  return {
    name: site.name,
    namespace: site.namespace,
    command: [
      process.execPath,
      'testbed/backend-server.ts',
      '--name',
      site.name,
      '--address',
      ...addresses,
    ],
    listens: [
      { protocol: 'tcp', port: HTTP_PORT },
      { protocol: 'tcp', port: ECHO_PORT },
      { protocol: 'udp', port: UDP_ECHO_PORT },
    ],
  };
}
