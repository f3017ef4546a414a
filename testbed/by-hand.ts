/**
 * A backend set up by hand, without `skein backend`: by the recipes in src/backend/README.md. Those
 * for tunnels need devices that not every kernel has; in their place comes the XDP program,
 * attached by `ip` and told by `bpftool`. VIPs on `lo` and ARP are set up by the topology.
 */
import { readFileSync } from 'node:fs';
import { DecapKind, encodeDecapAddress } from '../src/abi/abi.generated.ts';
import { addressBytes, type Address } from '../src/model/address.ts';
import { TUNNEL_PORTS } from '../src/model/forwarding.ts';
import { run } from './exec.ts';
import { DECAP_PROGRAM, PROJECT } from './places.ts';
import type { BackendSite } from './topology.ts';

const README = `${PROJECT}src/backend/README.md`;
const INTERFACE = 'eth0';

export interface Vips {
  readonly ipv4: Address;
  readonly ipv6: Address;
}

/** `change` is for what the recipe leaves to the reader. */
export async function followRecipe(
  site: BackendSite,
  name: string,
  vips: Vips,
  change: (recipe: string) => string = (recipe) => recipe,
): Promise<void> {
  const recipe = new RegExp(`^\`\`\`sh ${name}\n(.*?)^\`\`\``, 'ms').exec(
    readFileSync(README, 'utf8'),
  )?.[1];
  if (recipe === undefined) throw new Error(`no recipe ${name} in ${README}`);
  const variables = {
    IF: INTERFACE,
    OWN4: site.ipv4,
    OWN6: site.ipv6,
    VIP4: vips.ipv4,
    VIP6: vips.ipv6,
  };
  const lines = Object.entries(variables).map(([key, value]) => `${key}=${value}`);
  await run(['sh', '-e'], { ...site, input: [...lines, change(recipe)].join('\n') });
}

/** Takes apart every tunnel to the backend's own addresses that has a packet to one of the VIPs in it. */
export async function attachDecapsulator(
  { namespace, ipv4, ipv6 }: BackendSite,
  vips: readonly Address[],
): Promise<void> {
  const link = ['link', 'set', INTERFACE, 'xdpdrv', 'obj', DECAP_PROGRAM, 'sec', 'xdp.frags'];
  await run(['ip', ...link], { namespace });
  const maps = await mapsOf(namespace);
  const kinds = Object.values(DecapKind).reduce((bits, kind) => bits | kind, 0);
  const takes = encodeDecapAddress({
    guePort: TUNNEL_PORTS.gue,
    fouPort: TUNNEL_PORTS.fou,
    tunnels: kinds,
    dscp: 0,
  });
  const lines = [
    ...vips.map((vip) => update(maps.get('vips'), addressBytes(vip), new Uint8Array(4))),
    ...[ipv4, ipv6].map((own) => update(maps.get('addresses'), addressBytes(own), takes)),
  ];
  await run(['bpftool', 'batch', 'file', '-'], { input: lines.join('\n') });
}

export async function detachDecapsulator({ namespace }: BackendSite): Promise<void> {
  await run(['ip', 'link', 'set', INTERFACE, 'xdpdrv', 'off'], { namespace });
}

/** Name -> id, of the program on the interface. */
async function mapsOf(namespace: string): Promise<ReadonlyMap<string, number>> {
  const shown = await run(['ip', '-json', 'link', 'show', INTERFACE], { namespace });
  const [link] = JSON.parse(shown) as { xdp: { prog: { id: number } } }[];
  const program = ['bpftool', '-j', 'prog', 'show', 'id', String(link?.xdp.prog.id)];
  const { map_ids: ids } = JSON.parse(await run(program)) as { map_ids: number[] };
  const maps = ids.map(async (id) => {
    const map = await run(['bpftool', '-j', 'map', 'show', 'id', String(id)]);
    return [(JSON.parse(map) as { name: string }).name, id] as const;
  });
  return new Map(await Promise.all(maps));
}

function update(map: number | undefined, key: Uint8Array, value: Uint8Array): string {
  const hex = (bytes: Uint8Array): string =>
    Buffer.from(bytes).toString('hex').replace(/../g, '$& ');
  return `map update id ${map} key hex ${hex(key)}value hex ${hex(value)}`;
}
