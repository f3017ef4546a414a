/**
 * The ECMP router: BIRD 2 in its namespace, with every balancer as an eBGP neighbour that speaks
 * both families over one IPv4 session. Rendering and parsing are in bird.ts.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import {
  parseBfdSessions,
  parseKernelNextHops,
  parseProtocols,
  parseRoutes,
  renderBird,
  type BfdSession,
  type BirdOptions,
  type BirdProtocol,
  type BirdRoute,
} from './bird.ts';
import { Daemon } from './daemon.ts';
import { run } from './exec.ts';
import { BIRD_SOCKET, FILES } from './places.ts';
import type { Topology } from './topology.ts';
import { until } from './until.ts';

const CONFIG = `${FILES}/bird.conf`;

export class Router {
  readonly #shape: Topology;
  readonly #daemon: Daemon;

  constructor(shape: Topology) {
    this.#shape = shape;
    this.#daemon = new Daemon({
      name: 'bird',
      namespace: shape.router.namespace,
      // In the foreground, so that its process id is the one we know.
      command: ['bird', '-f', '-c', CONFIG, '-s', BIRD_SOCKET],
      listens: [],
      urgent: true,
    });
  }

  async start(options: BirdOptions = {}, signal?: AbortSignal): Promise<void> {
    this.#write(options);
    this.#daemon.start();
    await until(
      async () => {
        this.#daemon.assertRunning();
        return (await this.protocols()).some(
          ({ kind, state }) => kind === 'Kernel' && state === 'up',
        );
      },
      { what: 'BIRD', everyMs: 10, signal },
    );
  }

  async stop(): Promise<void> {
    await this.#daemon.stop();
  }

  /** What BGP says of a prefix such as `10.83.100.1/32`, one entry a balancer that announces it. */
  async routes(prefix: string): Promise<readonly BirdRoute[]> {
    return parseRoutes(await this.#ask(`show route where net = ${prefix} all`));
  }

  /** Where the kernel sends packets to an address now: the next hops of the installed route. */
  async nextHops(address: string): Promise<readonly string[]> {
    const family = address.includes(':') ? '-6' : '-4';
    const options = { namespace: this.#shape.router.namespace };
    return parseKernelNextHops(await run(['ip', '-j', family, 'route', 'show', address], options));
  }

  /** Waits until packets to an address go to so many balancers. */
  async untilNextHops(
    address: string,
    count: number,
    signal?: AbortSignal,
  ): Promise<readonly string[]> {
    return until(
      async () => {
        const hops = await this.nextHops(address);
        return hops.length === count ? hops : undefined;
      },
      { what: `${count} next hops of ${address} at the router`, everyMs: 20, signal },
    );
  }

  /** Waits until so many balancers are watched by BFD. */
  async untilWatching(count: number, signal?: AbortSignal): Promise<void> {
    await until(
      async () => {
        const sessions = await this.bfdSessions();
        return sessions.filter(({ state }) => state === 'Up').length === count;
      },
      { what: `${count} BFD sessions at the router`, everyMs: 50, signal },
    );
  }

  async protocols(): Promise<readonly BirdProtocol[]> {
    return parseProtocols(await this.#ask('show protocols'));
  }

  async bfdSessions(): Promise<readonly BfdSession[]> {
    return parseBfdSessions(await this.#ask('show bfd sessions'));
  }

  #write(options: BirdOptions): void {
    mkdirSync(FILES, { recursive: true });
    // It may hold passwords of sessions.
    writeFileSync(CONFIG, renderBird(this.#shape, options), { mode: 0o600 });
  }

  async #ask(question: string): Promise<string> {
    return run(['birdc', '-s', BIRD_SOCKET, question]);
  }
}
