/** How packets reach a backend <-> the fields of struct backend that say it. */
import {
  ForwardingMode as ModeCode,
  MSS_AS_ROUTED,
  VLAN_AS_ROUTED,
  type Backend as BackendRecord,
  type TunnelSource,
} from '../abi/abi.generated.ts';
import {
  addressBytes,
  familyOf,
  hostPrefix,
  prefixMask,
  type Address,
  type Family,
} from '../model/address.ts';
import {
  isNat,
  isTunnel,
  natPort,
  TUNNEL_PORTS,
  TUNNEL_TTL_DEFAULT,
  type ForwardingMode,
  type ForwardingOptions,
} from '../model/forwarding.ts';

/** The node's own addresses; undefined where it has none of that family. */
export type OwnAddresses = Readonly<Record<Family, Address | undefined>>;

/** A backend, as far as the way to it goes. */
interface Way {
  readonly address: Address;
  readonly mode: ForwardingMode;
  readonly forwarding?: ForwardingOptions | undefined;
}

type WayFields = Pick<
  BackendRecord,
  'mode' | 'port' | 'servicePort' | 'vlan' | 'mtu' | 'mssMax' | 'dscp' | 'tunnelTtl'
>;

const MODE_CODES: Record<ForwardingMode, number> = {
  l2dsr: ModeCode.FORWARD_L2DSR,
  ipip: ModeCode.FORWARD_IPIP,
  gre: ModeCode.FORWARD_GRE,
  gue: ModeCode.FORWARD_GUE,
  fou: ModeCode.FORWARD_FOU,
  dscp: ModeCode.FORWARD_DSCP,
  nat: ModeCode.FORWARD_NAT,
  full_nat: ModeCode.FORWARD_FULL_NAT,
};
const NO_ADDRESS = new Uint8Array(16);

export const NO_WAY: WayFields = {
  mode: 0,
  port: 0,
  servicePort: 0,
  vlan: 0,
  mtu: 0,
  mssMax: 0,
  dscp: 0,
  tunnelTtl: 0,
};

/** A backend that is this node itself is not sent anything, whatever its mode. */
export function encodeWay(
  { address, mode, forwarding = {} }: Way,
  servicePort: number,
  own: OwnAddresses,
): WayFields {
  const { tunnelTtl = TUNNEL_TTL_DEFAULT, dscp, vlan, mtuBytes, mssBytes } = forwarding;
  const isLocal = own[familyOf(address)] === address;
  return {
    mode: isLocal ? ModeCode.FORWARD_LOCAL : MODE_CODES[mode],
    port: encodePort(mode, servicePort, forwarding),
    servicePort,
    vlan: vlan ?? VLAN_AS_ROUTED,
    mtu: mtuBytes ?? 0,
    mssMax: mssBytes === 'path' ? MSS_AS_ROUTED : (mssBytes ?? 0),
    dscp: dscp ?? 0,
    tunnelTtl: tunnelTtl === 'copy' ? 0 : tunnelTtl,
  };
}

function encodePort(
  mode: ForwardingMode,
  servicePort: number,
  forwarding: ForwardingOptions,
): number {
  if (isNat(mode)) return natPort(servicePort, forwarding);
  return mode === 'gue' || mode === 'fou' ? (forwarding.port ?? TUNNEL_PORTS[mode]) : 0;
}

/** All zero for modes without a tunnel, and where the node has no address of the family. */
export function encodeTunnelSource(
  { address, mode, forwarding }: Way,
  own: OwnAddresses,
): TunnelSource {
  const node = own[familyOf(address)];
  const prefix = forwarding?.tunnelSource ?? (node && hostPrefix(node));
  if (!isTunnel(mode) || prefix === undefined) return { fixed: NO_ADDRESS, mask: NO_ADDRESS };
  return { fixed: addressBytes(prefix.address), mask: prefixMask(prefix) };
}

/**
 * What a record of an earlier supervisor says, undefined for a mode that this build does not know.
 * Options are not read back: where there are any, the next plan writes the record once more.
 */
export function decodeMode(code: number): ForwardingMode | undefined {
  if (code === ModeCode.FORWARD_LOCAL) return 'l2dsr';
  const modes = Object.keys(MODE_CODES) as ForwardingMode[];
  return modes.find((mode) => MODE_CODES[mode] === code);
}
