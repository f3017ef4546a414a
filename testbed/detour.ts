/**
 * A network that reorders: some of the datagrams that a host gets from a multicast group are held
 * back for a while, and those after them overtake. nftables sends them to another port, where
 * detour-process.ts waits for them in the host's namespace; kernels without netem can do that, too.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Address } from '../src/model/address.ts';
import { commandIn, environment } from './exec.ts';
import { filterIngress, type Filter } from './filter.ts';
import { PROJECT } from './places.ts';
import { record } from './processes.ts';
import type { Site } from './topology.ts';

const MAIN = `${PROJECT}testbed/detour-process.ts`;
const ANSWER_TIMEOUT_MS = 30_000;

export interface DetourOptions {
  readonly group: Address;
  readonly port: number;
  /** Of the datagrams, picked by chance. */
  readonly percent: number;
  /** Each is held back for a time between these two, at random. */
  readonly minMs: number;
  readonly maxMs: number;
}

/** What the process is started with, as JSON. */
export interface DetourTask extends Omit<DetourOptions, 'percent'> {
  /** Where the detour begins. */
  readonly viaPort: number;
  readonly hostAddress: Address;
}

/** `held`: datagrams so far. */
export type DetourMessage = { readonly kind: 'ready' } | { readonly kind: 'held'; held: number };

export class Detour {
  readonly #process: ChildProcess;
  readonly #filter: Filter;

  private constructor(child: ChildProcess, filter: Filter) {
    this.#process = child;
    this.#filter = filter;
  }

  /** For the datagrams that come in at the host's LAN cable. */
  static async lay(host: Site, { percent, ...options }: DetourOptions): Promise<Detour> {
    const viaPort = options.port + 1;
    const task: DetourTask = { ...options, viaPort, hostAddress: host.ipv4 };
    const command = [process.execPath, MAIN, JSON.stringify(task)];
    const [program, args] = commandIn(host.namespace, command);
    const child = spawn(program, args, {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      env: environment(),
    });
    if (child.pid !== undefined) record(child.pid, `detour of ${host.name}`);
    await answer(child, 'ready');
    // What the process has let go comes from the host itself, and must not be held back again.
    const from = `ip saddr != ${host.ipv4} ip daddr ${options.group} udp dport ${options.port}`;
    const rule = `${from} numgen random mod 100 < ${percent} udp dport set ${viaPort}`;
    const filter = await filterIngress({ namespace: host.namespace, interface: 'eth0' }, [rule]);
    return new Detour(child, filter);
  }

  /** Takes it away, once all that was held back has gone on; returns how many that were. */
  async lift(): Promise<number> {
    await this.#filter.lift();
    const held = answer(this.#process, 'held');
    this.#process.send('end');
    return (await held).held;
  }
}

async function answer<Kind extends DetourMessage['kind']>(
  child: ChildProcess,
  kind: Kind,
): Promise<Extract<DetourMessage, { readonly kind: Kind }>> {
  const timeout = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
  const [message] = (await once(child, 'message', { signal: timeout })) as [DetourMessage];
  if (message.kind !== kind) throw new Error(`a detour said ${message.kind} instead of ${kind}`);
  return message as Extract<DetourMessage, { readonly kind: Kind }>;
}
