/**
 * What the kernel tests of a server stand on: a namespace with a server in it, a veth pair to here,
 * and `skein backend` run there. Must never touch a namespace but its own and that of the test.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readlinkSync, rmSync } from 'node:fs';
import { get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { ipBatch, runTool } from '../dataplane/ip.ts';

export const NEAR = { name: 'client0', ipv4: '10.9.0.1', ipv6: 'fd09::1' } as const;
export const FAR = { name: 'server0', ipv4: '10.9.0.11', ipv6: 'fd09::11' } as const;

/** Of testbed/backend-server.ts, which only tests may import. */
export const HTTP_PORT = 80;
export const UDP_ECHO_PORT = 7001;

const ROOT = `${import.meta.dirname}/../..`;
const WAIT_MS = 60_000;
const POLL_MS = 20;
const OUTPUT_CHARS_MAX = 1_000_000;

/** A child with everything that it said. */
export interface Run {
  readonly child: ChildProcess;
  readonly said: () => string;
}

/** What `skein backend` may change of a machine, as text. */
export interface MachineState {
  readonly loopback: string;
  readonly settings: string;
  readonly tables: string;
  readonly program: boolean;
}

export class ServerNamespace {
  readonly #holder: ChildProcess;
  readonly #runs: Run[] = [];
  readonly stateDir: string;
  readonly bpffs: string;

  static async open(): Promise<ServerNamespace> {
    const holder = spawn('unshare', ['--net', 'sleep', '600'], { stdio: 'ignore' });
    await once(holder, 'spawn');
    const server = new ServerNamespace(holder);
    const here = readlinkSync('/proc/self/ns/net');
    await until('a namespace', () => readlinkSync(`/proc/${holder.pid}/ns/net`) !== here);
    await server.#connect();
    return server;
  }

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
    this.stateDir = `/run/skein-backend-test-${holder.pid}`;
    this.bpffs = `/sys/fs/bpf/skein-backend-test-${holder.pid}`;
  }

  /** Ends what runs there; the namespace goes with its last process. */
  async close(): Promise<void> {
    for (const { child } of this.#runs) await end(child, 'SIGKILL');
    await end(this.#holder, 'SIGKILL');
    await ipBatch([`link del ${NEAR.name}`]);
    rmSync(this.stateDir, { recursive: true, force: true });
    rmSync(this.bpffs, { recursive: true, force: true });
  }

  /** Runs a program there to its end. */
  async tool(program: string, ...args: readonly string[]): Promise<string> {
    return await runTool('nsenter', [...this.#enter(), program, ...args]);
  }

  /** Starts a script of the project there. */
  start(...script: readonly string[]): Run {
    const args = [...this.#enter(), process.execPath, ...script];
    const child = spawn('nsenter', args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        if (text.length < OUTPUT_CHARS_MAX) text += chunk.toString();
      });
    }
    const run = { child, said: () => text };
    this.#runs.push(run);
    return run;
  }

  /** `skein backend`, with folders of its own. */
  startBackend(...options: readonly string[]): Run {
    const folders = ['--state-dir', this.stateDir, '--bpffs', this.bpffs];
    return this.start('src/main.ts', 'backend', ...options, ...folders);
  }

  async ready(run: Run): Promise<void> {
    await until('"backend is ready"', () => {
      if (run.child.exitCode !== null) throw new Error(`it ended: ${run.said()}`);
      return run.said().includes('backend is ready');
    });
  }

  /** A server of the testbed there, with an echo of datagrams at each of `addresses`. */
  async serve(addresses: readonly string[]): Promise<void> {
    const named = addresses.flatMap((each) => ['--address', each]);
    this.start('testbed/backend-server.ts', '--name', 's1', ...named);
    await until('a listening server', async () => {
      const listening = await this.tool('ss', '-Hlnu', `sport = :${UDP_ECHO_PORT}`);
      return listening.trim().split('\n').length >= addresses.length;
    });
  }

  async state(): Promise<MachineState> {
    const conf = '/proc/sys/net/ipv4/conf';
    const [loopback, settings, tables, link] = await Promise.all([
      this.tool('ip', '-brief', 'addr', 'show', 'lo'),
      this.tool(
        'sh',
        '-c',
        `grep . ${conf}/*/arp_ignore ${conf}/*/arp_announce ${conf}/*/rp_filter`,
      ),
      this.tool('nft', 'list', 'ruleset'),
      this.tool('ip', 'link', 'show', FAR.name),
    ]);
    return { loopback, settings, tables, program: link.includes('xdp') };
  }

  #enter(): readonly string[] {
    return [`--net=/proc/${this.#holder.pid}/ns/net`, '--'];
  }

  async #connect(): Promise<void> {
    await commands([
      `link add ${NEAR.name} type veth peer name ${FAR.name}`,
      `link set ${FAR.name} netns ${this.#holder.pid}`,
      `addr add ${NEAR.ipv4}/24 dev ${NEAR.name}`,
      `addr add ${NEAR.ipv6}/64 dev ${NEAR.name} nodad`,
      `link set ${NEAR.name} up`,
    ]);
    await this.tool(
      'sh',
      '-ec',
      `ip link set lo up
       ip addr add ${FAR.ipv4}/24 dev ${FAR.name}
       ip addr add ${FAR.ipv6}/64 dev ${FAR.name} nodad
       ip link set ${FAR.name} up
       echo 1 > /proc/sys/net/ipv4/conf/${FAR.name}/rp_filter`,
    );
    // What XDP at the other end sees must have whole checksums.
    await runTool('ethtool', ['-K', NEAR.name, 'tx', 'off']);
  }
}

/**
 * What a node does for mode dscp, by nft: the mark for the VIP, the server's address in its place. The
 * counter `segments` has the SYN-ACKs that say one of `sizes`.
 */
export async function markAsNode(
  vips: { readonly ipv4: string; readonly ipv6: string },
  dscp: number,
  sizes: readonly number[],
): Promise<void> {
  await runTool('nft', [
    `table inet node {
       counter segments {}
       chain out {
         type filter hook postrouting priority mangle;
         ip daddr ${vips.ipv4} ip dscp set ${dscp} ip daddr set ${FAR.ipv4}
         ip6 daddr ${vips.ipv6} ip6 dscp set ${dscp} ip6 daddr set ${FAR.ipv6}
       }
       chain in {
         type filter hook input priority 0;
         tcp flags & (syn | ack) == syn | ack tcp option maxseg size { ${sizes.join(', ')} } counter name segments
       }
     }`,
  ]);
  await commands([
    `route add ${vips.ipv4} via ${FAR.ipv4}`,
    `route add ${vips.ipv6} via ${FAR.ipv6}`,
  ]);
}

/** What the server sends when asked for so many bytes. */
export async function download(address: string, bytes: number): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const url = { host: address, port: HTTP_PORT, path: `/bytes/${bytes}`, timeout: WAIT_MS };
  const request = get(url, (response) => {
    const chunks: Buffer[] = [];
    response.on('data', (chunk: Buffer) => chunks.push(chunk));
    response.on('error', reject);
    response.on('end', () => {
      resolve(Buffer.concat(chunks));
    });
  });
  request.on('timeout', () => request.destroy(new Error('timeout')));
  request.on('error', reject);
  return await promise;
}

export async function commands(lines: readonly string[]): Promise<void> {
  const { failures } = await ipBatch(lines);
  if (failures.length > 0) throw new Error(failures.join('; '));
}

/** It has ended, and all that it said has been read, which may come later. */
export function isOver({ exitCode, signalCode, stdout, stderr }: ChildProcess): boolean {
  const hasEnded = exitCode !== null || signalCode !== null;
  return hasEnded && [stdout, stderr].every((stream) => stream?.closed !== false);
}

/** Sends a signal and waits until it is over. */
export async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  child.kill(signal);
  await until('an end', () => isOver(child));
  return child.exitCode;
}

export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`no ${what} within ${WAIT_MS} ms`);
    await sleep(POLL_MS);
  }
}
