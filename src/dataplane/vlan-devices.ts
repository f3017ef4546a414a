/**
 * VLAN devices of the host. A route may name one, and XDP cannot send through it: the program sends
 * to the interface below and tags the frame itself. Must never stop a node that has none.
 */
import { VLAN_DEVICES_MAX, type VlanDevice } from '../abi/abi.generated.ts';
import { errorMessage } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { ipJson, runTool } from './ip.ts';
import { interfaceIndex } from './libbpf.ts';

/** What `ip -j -d link show` says of a link, as far as it is looked at. */
interface LinkAnswer {
  readonly ifindex?: number;
  readonly ifname?: string;
  /** Name of the interface below; missing where that is in another namespace. */
  readonly link?: string;
  readonly linkinfo?: {
    readonly info_kind?: string;
    readonly info_data?: { readonly protocol?: string; readonly id?: number };
  };
}

export interface FoundDevices {
  /** By the index of the device. */
  readonly devices: ReadonlyMap<number, VlanDevice>;
  /** Devices that frames cannot be sent through, and why. */
  readonly unusable: readonly string[];
}

/** `indexOf`: index of an interface by its name, 0 where there is none. */
export function vlanDevices(
  links: readonly unknown[],
  indexOf: (name: string) => number,
): FoundDevices {
  const devices = new Map<number, VlanDevice>();
  const unusable: string[] = [];
  const found = (links as readonly LinkAnswer[]).filter(
    ({ linkinfo }) => linkinfo?.info_kind === 'vlan',
  );
  const stacked = new Set(found.map(({ ifname }) => ifname));
  for (const { ifindex, ifname = '?', link, linkinfo } of found) {
    const { protocol = '802.1Q', id } = linkinfo?.info_data ?? {};
    const lowerIfindex = link === undefined ? 0 : indexOf(link);
    if (ifindex === undefined || id === undefined || lowerIfindex === 0) {
      unusable.push(`${ifname}: no interface below it in this namespace`);
    } else if (protocol !== '802.1Q' || stacked.has(link)) {
      unusable.push(`${ifname}: only one tag of 802.1Q can be pushed`);
    } else if (devices.size >= VLAN_DEVICES_MAX) {
      unusable.push(`${ifname}: more than ${VLAN_DEVICES_MAX} VLAN devices`);
    } else {
      devices.set(ifindex, { lowerIfindex, vlan: id });
    }
  }
  return { devices, unusable };
}

/** Asks the kernel. */
export async function findVlanDevices(): Promise<FoundDevices> {
  return vlanDevices(await ipJson(['-d', 'link', 'show', 'type', 'vlan']), interfaceIndex);
}

/**
 * A tag that the network card takes off is one that XDP does not see. Best effort: not every driver
 * can leave it in place, and without tagged traffic it does not matter.
 */
export async function keepTagsInFrames(
  interfaces: readonly string[],
  logger: Logger,
): Promise<void> {
  for (const name of interfaces) {
    try {
      await runTool('ethtool', ['-K', name, 'rxvlan', 'off']);
    } catch (error) {
      logger.warn(
        { interface: name, reason: errorMessage(error) },
        'the VLAN offload of an interface stays on: tagged frames may pass the data plane by',
      );
    }
  }
}
