/**
 * A node and a router for the daemon tests: two network namespaces with a link between them, a
 * real gobgpd in one and a real BIRD in the other. Must never touch anything outside of them.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { access, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { address } from '../model/address.ts';

const run = promisify(execFile);

const GOBGPD = 'build/gobgp/usr/bin/gobgpd';
const GOBGP = 'build/gobgp/usr/bin/gobgp';

export const NODE = { ipv4: address('10.99.0.1'), ipv6: address('2001:db8:99::1') };
export const ROUTER = { ipv4: address('10.99.0.2'), ipv6: address('2001:db8:99::2') };
export const ROUTER_AS = 65_100;
export const PASSWORD = 'a shared secret';

/** A second: on a busy machine less would end sessions by itself. */
export const LAB_BFD = { intervalMs: 50, multiplier: 20 } as const;

/** Its BFD comes and goes with its BGP session. It sends one route, to see what becomes of it. */
const BIRD_CONFIG = `
router id ${ROUTER.ipv4};
protocol device {}
protocol static { ipv4; route 203.0.113.0/24 blackhole; }
protocol bfd { interface "r0" { interval ${LAB_BFD.intervalMs} ms; multiplier ${LAB_BFD.multiplier}; }; }
protocol bgp node {
  local ${ROUTER.ipv4} as ${ROUTER_AS};
  neighbor ${NODE.ipv4} external;
  password "${PASSWORD}";
  ttl security on;
  bfd on;
  hold time 9;
  connect delay time 1;
  connect retry time 1;
  error wait time 1, 1;
  ipv4 { import all; export all; extended next hop on; };
  ipv6 { import all; export all; };
}
`;

/** What BIRD knows of one prefix, attribute by attribute, such as `BGP.next_hop`. */
export type BirdRoute = ReadonlyMap<string, string>;

export class BgpLab {
  readonly #directory: string;
  readonly #node = `skein-bgp-${process.pid}-n`;
  readonly #router = `skein-bgp-${process.pid}-r`;
  readonly #daemons = new Map<'gobgpd' | 'bird', ChildProcess>();

  private constructor(directory: string) {
    this.#directory = directory;
  }

  static async create(): Promise<BgpLab> {
    await access(GOBGPD).catch((error: unknown) => {
      throw new Error(`${GOBGPD} is missing: run sh setup/gobgpd.sh`, { cause: error });
    });
    const lab = new BgpLab(await mkdtemp(join(tmpdir(), 'skein-bgp-')));
    await lab.#connect();
    return lab;
  }

  get target(): string {
    return `unix:${this.#socket}`;
  }

  get #socket(): string {
    return join(this.#directory, 'gobgpd.sock');
  }

  get #birdSocket(): string {
    return join(this.#directory, 'bird.sock');
  }

  async startGobgpd(): Promise<void> {
    // gobgpd does not listen on a socket file that a killed one has left.
    await rm(this.#socket, { force: true });
    this.#spawn('gobgpd', this.#node, [
      ...[GOBGPD, '--api-hosts', `unix://${this.#socket}`],
      ...['--pprof-disable', '--metrics-path', '', '--log-plain'],
    ]);
  }

  async startBird(): Promise<void> {
    const config = join(this.#directory, 'bird.conf');
    await writeFile(config, BIRD_CONFIG);
    this.#spawn('bird', this.#router, ['bird', '-f', '-c', config, '-s', this.#birdSocket]);
  }

  /** SIGKILL: the daemon says goodbye to nobody. */
  async kill(name: 'gobgpd' | 'bird'): Promise<void> {
    const daemon = this.#daemons.get(name);
    if (daemon === undefined) return;
    this.#daemons.delete(name);
    const exited = once(daemon, 'exit');
    daemon.kill('SIGKILL');
    await exited;
  }

  /** The gobgp command line, for doing by hand what the announcer must notice. */
  async gobgp(...args: readonly string[]): Promise<string> {
    const { stdout } = await run(GOBGP, ['--target', `unix://${this.#socket}`, ...args]);
    return stdout;
  }

  /** What BIRD has learned, by prefix. */
  async birdRoutes(): Promise<ReadonlyMap<string, BirdRoute>> {
    const routes = new Map<string, Map<string, string>>();
    let current = new Map<string, string>();
    const text = await this.#birdc('show', 'route', 'all', 'protocol', 'node');
    for (const line of text.split('\n')) {
      const [, prefix] = /^(\S+\/\d+)\s/.exec(line) ?? [];
      if (prefix !== undefined) {
        current = new Map<string, string>();
        routes.set(prefix, current);
      }
      const [, name, value] = /^\s+(BGP\.\w+): (.*)$/.exec(line) ?? [];
      if (name !== undefined && value !== undefined) current.set(name, value.trim());
    }
    return routes;
  }

  /** What BIRD was told since its session came up: routes new or changed, and withdrawals. */
  async birdCounts(): Promise<{ readonly updates: number; readonly withdrawals: number }> {
    const text = await this.#birdc('show', 'protocols', 'all', 'node');
    const count = (name: string) =>
      [...text.matchAll(new RegExp(`Import ${name}:\\s+(\\d+)`, 'g'))].reduce(
        (sum, [, number]) => sum + Number(number),
        0,
      );
    return { updates: count('updates'), withdrawals: count('withdraws') };
  }

  /** Both daemons' logs, for a failed test. */
  async logs(): Promise<string> {
    const texts = ['gobgpd', 'bird'].map(async (name) => {
      const text = await readFile(join(this.#directory, `${name}.log`), 'utf8').catch(() => '');
      return `--- ${name}\n${text}`;
    });
    return (await Promise.all(texts)).join('\n');
  }

  async destroy(): Promise<void> {
    for (const name of [...this.#daemons.keys()]) await this.kill(name);
    await run('ip', ['netns', 'del', this.#node]);
    await run('ip', ['netns', 'del', this.#router]);
    await rm(this.#directory, { recursive: true });
  }

  async #connect(): Promise<void> {
    const [node, router] = [this.#node, this.#router];
    await run('ip', ['netns', 'add', node]);
    await run('ip', ['netns', 'add', router]);
    await run('ip', [
      ...['-n', node, 'link', 'add', 'n0', 'type', 'veth'],
      ...['peer', 'name', 'r0', 'netns', router],
    ]);
    for (const [namespace, link, own] of [
      [node, 'n0', NODE],
      [router, 'r0', ROUTER],
    ] as const) {
      const ip = (...args: readonly string[]) => run('ip', ['-n', namespace, ...args]);
      await ip('link', 'set', 'lo', 'up');
      await ip('addr', 'add', `${own.ipv4}/24`, 'dev', link);
      await ip('addr', 'add', `${own.ipv6}/64`, 'dev', link, 'nodad');
      await ip('link', 'set', link, 'up');
    }
  }

  #spawn(name: 'gobgpd' | 'bird', namespace: string, command: readonly string[]): void {
    const log = createWriteStream(join(this.#directory, `${name}.log`), { flags: 'a' });
    // `ip netns exec` becomes the command, so the child is the daemon itself.
    const daemon = spawn('ip', ['netns', 'exec', namespace, ...command]);
    daemon.stdout.pipe(log, { end: false });
    daemon.stderr.pipe(log, { end: false });
    this.#daemons.set(name, daemon);
  }

  async #birdc(...args: readonly string[]): Promise<string> {
    const { stdout } = await run('birdc', ['-r', '-s', this.#birdSocket, ...args]);
    return stdout;
  }
}
