/**
 * Programs, maps and links, and where they are pinned:
 *   <bpffs>/<layout>/<map>   the maps of one layout and size
 *   <bpffs>/link-<interface> the XDP links
 * A supervisor that finds them goes on with them: maps of the same layout are reused by libbpf, and
 * a link gets the new program in one step. It never detaches what still forwards.
 */
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { LAYOUT_DIGEST } from '../abi/abi.generated.ts';
import { SkeinError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { InterfaceStatus } from './dataplane.ts';
import {
  attachXdp,
  BpfObject,
  closeFd,
  detachLink,
  interfaceIndex,
  openPinned,
  pin,
  testRun,
  updateLink,
  XDP_FLAGS_DRV_MODE,
  XDP_FLAGS_SKB_MODE,
} from './libbpf.ts';

export interface MapSizes {
  readonly services: number;
  readonly backends: number;
  readonly flows: number;
  readonly embryonicFlows: number;
}

export interface LoadedObject {
  readonly object: BpfObject;
  /** True when the maps were there already. */
  readonly adopted: boolean;
  readonly layout: string;
}

const PINNED_MAPS = [
  'flows4',
  'flows6',
  'embryonic4',
  'embryonic6',
  'services',
  'rings',
  'backends',
  'backends_local',
  'tunnel_sources',
  'admissions',
  'source_rules',
  'source_hits',
  'quic_servers',
  'nat_sources',
  'nat_flows',
  'vlan_devices',
  'decap_addresses',
  'settings',
  'counters',
  'clock',
  'changes',
  'icmp_events',
  'oversized',
  'relay_buckets',
] as const;

/** A VIP has a record of its own beside those of its services. */
const RECORDS_PER_SERVICE = 2;

/** Loads the object with its maps pinned below `bpffs`, which must be a BPF file system. */
export function loadObject(objectPath: string, bpffs: string, sizes: MapSizes): LoadedObject {
  const layout = [
    LAYOUT_DIGEST,
    `s${sizes.services}`,
    `b${sizes.backends}`,
    `f${sizes.flows}`,
    `e${sizes.embryonicFlows}`,
  ].join('-');
  const mapsDir = join(bpffs, layout);
  const adopted = statSync(join(mapsDir, 'flows4'), { throwIfNoEntry: false }) !== undefined;
  mkdirSync(mapsDir, { recursive: true });

  const object = new BpfObject(objectPath);
  object.setMaxEntries('services', sizes.services * RECORDS_PER_SERVICE);
  object.setMaxEntries('rings', sizes.services);
  object.setMaxEntries('relay_buckets', sizes.services);
  object.setMaxEntries('admissions', sizes.services);
  object.setMaxEntries('backends', sizes.backends);
  object.setMaxEntries('backends_local', sizes.backends);
  object.setMaxEntries('tunnel_sources', sizes.backends);
  object.setMaxEntries('quic_servers', sizes.backends);
  object.setMaxEntries('nat_sources', sizes.backends);
  for (const family of ['4', '6']) {
    object.setMaxEntries(`flows${family}`, sizes.flows);
    object.setMaxEntries(`embryonic${family}`, sizes.embryonicFlows);
  }
  for (const map of PINNED_MAPS) object.setPinPath(map, join(mapsDir, map));
  object.load();
  startClock(object);
  return { object, adopted, layout };
}

function startClock(object: BpfObject): void {
  const { verdict } = testRun(object.program('clock_start'), {});
  if (verdict !== 0) {
    throw new SkeinError('CLOCK', `the data plane's clock did not start (${verdict | 0})`);
  }
}

/** Pins of maps that no program of this layout uses; call when every link has the new program. */
export function removeOtherLayouts(bpffs: string, layout: string): string[] {
  const others = readdirSync(bpffs, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && entry.name !== layout)
    .map(({ name }) => name);
  for (const name of others) rmSync(join(bpffs, name), { recursive: true });
  return others;
}

export type XdpModeWish = 'auto' | 'native' | 'generic';

type XdpMode = InterfaceStatus['xdpMode'];

const FLAGS = { native: XDP_FLAGS_DRV_MODE, generic: XDP_FLAGS_SKB_MODE } as const;
const MODES = ['native', 'generic'] as const;

/**
 * Puts a program on an interface: into the pinned link where there is one, by a new pinned link
 * otherwise. `auto` tries native mode first and falls back to generic, which the log and the
 * status say.
 */
export function attach(
  bpffs: string,
  interfaceName: string,
  programFd: number,
  wish: XdpModeWish,
  logger: Logger,
): InterfaceStatus {
  const ifindex = interfaceIndex(interfaceName);
  if (ifindex === 0) {
    throw new SkeinError('NO_INTERFACE', `there is no network interface ${interfaceName}`);
  }
  const status = { name: interfaceName, ifindex };
  const modes = wish === 'auto' ? MODES : ([wish] as const);
  const path = (mode: XdpMode): string => join(bpffs, `link-${interfaceName}-${mode}`);
  for (const xdpMode of modes) {
    if (renewLink(path(xdpMode), programFd)) return { ...status, xdpMode };
  }
  // An interface takes no program in one mode while it has one in the other.
  const before = MODES.filter((mode) => removeLink(path(mode)));
  let refusal: unknown;
  for (const xdpMode of modes) {
    try {
      newLink(path(xdpMode), programFd, ifindex, xdpMode);
      return { ...status, xdpMode };
    } catch (error) {
      refusal = error;
      logger.warn({ interface: interfaceName, xdpMode, err: error }, 'XDP mode refused');
    }
  }
  // Better not as wished than not at all: the node may be carrying traffic.
  for (const mode of before) newLink(path(mode), programFd, ifindex, mode);
  throw new SkeinError(
    'XDP_ATTACH',
    `no XDP program can be attached to ${interfaceName}: is another one there? (ip link show)`,
    { cause: refusal },
  );
}

function newLink(path: string, programFd: number, ifindex: number, mode: XdpMode): void {
  const link = attachXdp(programFd, ifindex, FLAGS[mode]);
  try {
    pin(link, path);
  } finally {
    closeFd(link);
  }
}

/** A link whose interface is gone cannot take a program; its pin is removed. */
function renewLink(path: string, programFd: number): boolean {
  const link = openPinned(path);
  if (link === undefined) return false;
  try {
    updateLink(link, programFd);
    return true;
  } catch {
    rmSync(path, { force: true });
    return false;
  } finally {
    closeFd(link);
  }
}

/** Detaches a program and takes the pin of its link away; false when there is none. */
function removeLink(path: string): boolean {
  const link = openPinned(path);
  if (link === undefined) return false;
  try {
    detachLink(link);
  } finally {
    closeFd(link);
    rmSync(path, { force: true });
  }
  return true;
}

/** Detaches from interfaces that are no longer among `wanted`. */
export function detachOthers(bpffs: string, wanted: readonly InterfaceStatus[]): string[] {
  const keep = new Set(wanted.map(({ name, xdpMode }) => `link-${name}-${xdpMode}`));
  const others = linkPins(bpffs).filter((name) => !keep.has(name));
  for (const name of others) removeLink(join(bpffs, name));
  return others;
}

/** Takes every pin away: the programs leave their interfaces and the maps go. */
export function removePins(bpffs: string): void {
  for (const name of linkPins(bpffs)) removeLink(join(bpffs, name));
  removeOtherLayouts(bpffs, '');
}

function linkPins(bpffs: string): string[] {
  return readdirSync(bpffs).filter((name) => name.startsWith('link-'));
}
