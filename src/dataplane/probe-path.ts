/**
 * The veth pair through which health checks leave, and the private addresses that stand for one
 * backend of one service. See src/bpf/probe.h for what happens at its far end.
 */
import { writeFileSync } from 'node:fs';
import { address, addressBytes, addressFromBytes, type Address } from '../model/address.ts';
import { SkeinError } from '../lib/errors.ts';
import { ipBatch, ipJson, runTool } from './ip.ts';

/** Where the supervisor's sockets are; its peer carries the program. */
const SOCKET_END = 'skein-probe0';
const PROGRAM_END = 'skein-probe1';

/**
 * 240.0.0.0/8 is reserved (RFC 1112, section 4) and used by no network, yet Linux takes it for
 * unicast; fd53:6b65:696e::/104 is a unique local prefix (RFC 4193). The last three bytes are the
 * backend slot; the sockets' own address is the last of the range, above any slot.
 */
const BASE4 = address('240.0.0.0');
const BASE6 = address('fd53:6b65:696e::');
const SOURCE4 = address('240.255.255.254');
const SOURCE6 = address('fd53:6b65:696e::ff:fffe');

export interface ProbePath {
  /** Interface whose XDP program sends the checks on their way. */
  readonly programIfindex: number;
  readonly sourceMac: string;
  readonly base4: Address;
  readonly base6: Address;
  readonly source4: Address;
  readonly source6: Address;
}

/** The private address of a backend slot, in the family of the VIP. */
export function privateAddress(slot: number, family: 'ipv4' | 'ipv6'): Address {
  const bytes = addressBytes(family === 'ipv4' ? BASE4 : BASE6);
  bytes[13] = slot >> 16;
  bytes[14] = slot >> 8;
  bytes[15] = slot;
  return addressFromBytes(bytes);
}

interface LinkAnswer {
  readonly ifindex: number;
  readonly ifname: string;
  readonly address: string;
}

/** Makes the pair, or finds the one that an earlier supervisor left. Idempotent. */
export async function openProbePath(): Promise<ProbePath> {
  const links = await findLinks();
  if (links.size < 2) {
    await removeProbePath();
    await runTool('ip', ['link', 'add', SOCKET_END, 'type', 'veth', 'peer', 'name', PROGRAM_END]);
  }
  await configure();
  const found = await findLinks();
  const [socketEnd, programEnd] = [found.get(SOCKET_END), found.get(PROGRAM_END)];
  if (socketEnd === undefined || programEnd === undefined) {
    throw new SkeinError('PROBE_PATH', `${SOCKET_END} and ${PROGRAM_END} could not be made`);
  }
  return {
    programIfindex: programEnd.ifindex,
    sourceMac: socketEnd.address,
    base4: BASE4,
    base6: BASE6,
    source4: SOURCE4,
    source6: SOURCE6,
  };
}

export async function removeProbePath(): Promise<void> {
  if ((await findLinks()).size > 0) await ipBatch([`link del ${SOCKET_END}`]);
}

async function findLinks(): Promise<Map<string, LinkAnswer>> {
  const links = (await ipJson(['link', 'show', 'type', 'veth'])) as LinkAnswer[];
  const ours = links.filter(({ ifname }) => ifname === SOCKET_END || ifname === PROGRAM_END);
  return new Map(ours.map((link) => [link.ifname, link]));
}

async function configure(): Promise<void> {
  // The program rewrites headers, so checksums must be whole and segments small before it sees
  // them; replies come back by XDP redirect, which a veth takes only with NAPI: that is `gro on`.
  const offloads = ['tx', 'off', 'tso', 'off', 'gso', 'off', 'gro', 'on'];
  await runTool('ethtool', ['-K', SOCKET_END, ...offloads]);
  const { failures } = await ipBatch([
    // No link-local addresses, whose packets the program would have to drop.
    `link set ${SOCKET_END} addrgenmode none`,
    `link set ${PROGRAM_END} addrgenmode none`,
    // No ARP and no ND: every frame goes to the program, whatever address it names.
    `link set ${SOCKET_END} arp off up`,
    `link set ${PROGRAM_END} arp off up`,
    `addr replace ${SOURCE4}/32 dev ${SOCKET_END}`,
    `addr replace ${SOURCE6}/128 dev ${SOCKET_END} nodad`,
    `route replace ${BASE4}/8 dev ${SOCKET_END} src ${SOURCE4}`,
    `route replace ${BASE6}/104 dev ${SOCKET_END} src ${SOURCE6}`,
  ]);
  if (failures.length > 0) throw new SkeinError('PROBE_PATH', failures.join('; '));
}

/**
 * The FIB helper answers only for an interface with forwarding enabled, and is asked for the
 * loopback (src/bpf/nexthop.h): enabling it there routes nothing between real interfaces.
 */
export function allowFibLookups(): void {
  for (const family of ['ipv4', 'ipv6']) {
    writeFileSync(`/proc/sys/net/${family}/conf/lo/forwarding`, '1');
  }
}
