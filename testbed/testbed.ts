/**
 * The whole testbed: what demo, command line and scenarios all call. `up` begins by removing what an
 * earlier testbed left, and removes its own beginnings when it fails; `down` leaves nothing.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { SkeinError } from '../src/lib/errors.ts';
import { Client } from './client.ts';
import { writeConfig, type ConfigOptions } from './config.ts';
import { BackendHost, BalancerNode } from './daemons.ts';
import { missingRequirement } from './exec.ts';
import { takeLock } from './lock.ts';
import { removeLogs, trimLogs } from './logs.ts';
import {
  ensureBpffs,
  networkStatus,
  raiseNetwork,
  removeNetwork,
  type NetworkStatus,
} from './netns.ts';
import { BACKEND_STATES, BIRD_SOCKET, STATE } from './places.ts';
import { endAll } from './processes.ts';
import { Router } from './router.ts';
import { topology, type Topology, type TopologyOptions } from './topology.ts';

const TRIM_LOGS_EVERY_MS = 5_000;
const SHAPE = `${STATE}/shape.json`;

export interface TestbedOptions extends Partial<TopologyOptions> {
  /** Who has it, for the message to the one who comes second. Default `a test`. */
  readonly owner?: string;
  readonly config?: ConfigOptions;
  /** False: gobgpd and the supervisors are not started. Default true. */
  readonly balancers?: boolean;
  /** Called when a step begins. */
  readonly onStep?: (step: string) => void;
  /** Gives up between two steps; what was made is removed. */
  readonly signal?: AbortSignal;
}

/** What was there and has been removed. */
export interface Removed extends NetworkStatus {
  readonly processes: number;
}

export class Testbed {
  readonly topology: Topology;
  readonly router: Router;
  readonly client: Client;
  readonly nodes: readonly BalancerNode[];
  readonly backends: readonly BackendHost[];
  readonly #release: () => void;
  readonly #trimmer: NodeJS.Timeout;
  #config: ConfigOptions = {};

  private constructor(shape: Topology, release: () => void) {
    this.topology = shape;
    this.router = new Router(shape);
    this.client = new Client(shape.client);
    this.nodes = shape.nodes.map((site) => new BalancerNode(site));
    this.backends = shape.backends.map((site) => new BackendHost(site, shape.vips));
    this.#release = release;
    this.#trimmer = setInterval(trimLogs, TRIM_LOGS_EVERY_MS).unref();
  }

  /** Default: 3 balancers and 4 backends. Returns when everything listens; see `untilAnnouncing`. */
  static async up(options: TestbedOptions = {}): Promise<Testbed> {
    const shape = topology({ nodes: 3, backends: 4, ...options });
    requirePrivileges();
    const testbed = new Testbed(shape, takeLock(options.owner ?? 'a test'));
    try {
      await testbed.#raise(options);
    } catch (error) {
      await testbed.down();
      throw error;
    }
    return testbed;
  }

  /** Balancer 1 to N. */
  node(number: number): BalancerNode {
    return numbered(this.nodes, number, 'balancer');
  }

  /** Backend 1 to M. */
  backend(number: number): BackendHost {
    return numbered(this.backends, number, 'backend');
  }

  /**
   * Waits until every node announces every VIP, the router sends to all of them, and BFD watches
   * them: gobgpd starts BFD a second after BGP, and a node that died before would be missed late.
   */
  async untilAnnouncing(signal?: AbortSignal): Promise<void> {
    const snapshots = await Promise.all(this.nodes.map((node) => node.untilAnnouncing(signal)));
    const vips = snapshots[0]?.vips ?? [];
    for (const vip of vips) {
      await this.router.untilNextHops(vip.address, this.nodes.length, signal);
    }
    if (watchedByBfd(this.#config)) await this.router.untilWatching(this.nodes.length, signal);
  }

  /** Writes the documents anew and makes every supervisor and `skein backend` read them. */
  reconfigure(config: ConfigOptions): void {
    this.#config = config;
    writeConfig(this.topology, config);
    for (const host of [...this.nodes, ...this.backends]) host.reload();
  }

  /** Idempotent. */
  async down(): Promise<void> {
    clearInterval(this.#trimmer);
    await removeEverything();
    this.#release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down();
  }

  /** Leaves everything at work and lets go of it: for `npm run testbed -- up`. */
  leave(): void {
    clearInterval(this.#trimmer);
    this.#release();
  }

  async #raise(options: TestbedOptions): Promise<void> {
    const { signal } = options;
    const step = (name: string): void => {
      signal?.throwIfAborted();
      options.onStep?.(name);
    };

    step('removing what an earlier testbed left');
    await removeEverything();
    removeLogs();
    await ensureBpffs();

    step(`${this.topology.namespaces.length} network namespaces`);
    writeShape(this.topology);
    await raiseNetwork(this.topology);

    this.#config = options.config ?? {};
    writeConfig(this.topology, this.#config);
    step(`router and ${this.backends.length} backends`);
    await Promise.all([
      this.router.start(options.config?.bgp, signal),
      ...this.backends.map((backend) => backend.start(signal)),
    ]);

    if (options.balancers === false) return;
    step(`${this.nodes.length} balancers`);
    await Promise.all(this.nodes.map((node) => node.start(signal)));
  }
}

/** Removes any testbed, standing or left over. Throws when a living process holds it. */
export async function takeDown(owner: string): Promise<Removed> {
  requirePrivileges();
  const release = takeLock(owner);
  try {
    return await removeEverything();
  } finally {
    release();
  }
}

/** The shape of the testbed that stands, whoever raised it; undefined when none does. */
export function standingTopology(): Topology | undefined {
  if (networkStatus().namespaces.length === 0) return undefined;
  try {
    return topology(JSON.parse(readFileSync(SHAPE, 'utf8')) as TopologyOptions);
  } catch {
    return undefined;
  }
}

/** Processes first: a namespace lives on, nameless, for as long as one of them does. */
async function removeEverything(): Promise<Removed> {
  const processes = await endAll(networkStatus().namespaces);
  const network = await removeNetwork();
  for (const path of [SHAPE, BIRD_SOCKET, BACKEND_STATES]) {
    rmSync(path, { recursive: true, force: true });
  }
  return { ...network, processes };
}

function watchedByBfd({ bgp = {} }: ConfigOptions): boolean {
  return !('bfd' in bgp) || bgp.bfd !== undefined;
}

function writeShape(shape: Topology): void {
  mkdirSync(STATE, { recursive: true });
  const options: TopologyOptions = {
    nodes: shape.nodes.length,
    backends: shape.backends.length,
    vipPairs: shape.vips.length,
    managedBackends: shape.backends.filter(({ managed }) => managed).length,
  };
  writeFileSync(SHAPE, JSON.stringify(options));
}

function requirePrivileges(): void {
  const missing = missingRequirement();
  if (missing !== undefined) throw new SkeinError('testbed_requirement', missing);
}

function numbered<T>(all: readonly T[], number: number, what: string): T {
  const found = all[number - 1];
  if (found !== undefined) return found;
  throw new SkeinError('testbed_name', `there is no ${what} ${number}, only ${all.length}`);
}
