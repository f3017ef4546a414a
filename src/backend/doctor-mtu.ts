/** Does what must arrive fit? Pure. */
import { familyOf, type Family } from '../model/address.ts';
import {
  advice,
  problem,
  replyLookup,
  vipFamilies,
  type Checked,
  type Finding,
} from './doctor-check.ts';
import { clampedMss, packetTo } from './doctor-firewall.ts';
import { holdsVip, overheadBytes } from './doctor-wanted.ts';
import { ipCommand, nftAddress, quoted } from './doctor-words.ts';
import type { DefaultRoute, RouteAnswer } from './doctor-facts.ts';

/** Every link carries so much: RFC 791 (for reassembly) and RFC 8200, section 5. */
const LEAST_MTU_BYTES: Readonly<Record<Family, number>> = { ipv4: 576, ipv6: 1280 };
const USUAL_MTU_BYTES = 1500;
/** IP and TCP headers without options. */
const HEADERS_BYTES: Readonly<Record<Family, number>> = { ipv4: 40, ipv6: 60 };
const IPPROTO_TCP = 6;

export function checkMtu(checked: Checked): Finding[] {
  const { link, outer, role } = checked;
  if (link === undefined || outer === undefined) return [];
  const overhead = overheadBytes(role.mode, outer);
  const inner = holdsVip(role.mode) ? vipFamilies(checked) : [outer];
  const least = Math.max(
    LEAST_MTU_BYTES[outer],
    ...inner.map((family) => LEAST_MTU_BYTES[family] + overhead),
  );
  if (link.mtuBytes < least) {
    const reason =
      least === LEAST_MTU_BYTES.ipv4 + overhead
        ? 'not even the smallest packets fit'
        : `IPv6 needs ${least}${overhead > 0 ? ` with the headers of ${role.mode}` : ''}`;
    return [
      tooSmall(link.name, link.mtuBytes, reason, Math.max(USUAL_MTU_BYTES, role.mtuBytes ?? 0)),
    ];
  }
  if (role.mtuBytes !== undefined && link.mtuBytes < role.mtuBytes)
    return [
      tooSmall(link.name, link.mtuBytes, `the nodes send up to ${role.mtuBytes}`, role.mtuBytes),
    ];
  return checkMss(checked, Math.min(role.mtuBytes ?? Infinity, link.mtuBytes) - overhead);
}

function tooSmall(name: string, mtuBytes: number, reason: string, wantedBytes: number): Finding {
  return problem(
    'mtu_too_small',
    `the MTU of ${name} is ${mtuBytes}, and ${reason}`,
    `ip link set dev ${quoted(name)} mtu ${wantedBytes}`,
  );
}

/**
 * Clients go by the MSS that this server announces, and its replies pass no node that could lower
 * it. What then does not fit costs each flow a round of ICMP errors, or its life where a firewall
 * eats them.
 */
function checkMss(checked: Checked, roomBytes: number): Finding[] {
  const { role } = checked;
  if (!holdsVip(role.mode) || roomBytes >= USUAL_MTU_BYTES) return [];
  return vipFamilies(checked).flatMap((family) => {
    const service = role.services.find(
      ({ vip, protocol }) => protocol === 'tcp' && familyOf(vip) === family,
    );
    const answer = service && replyLookup(checked, service.vip)?.answer;
    if (service === undefined || answer === undefined) return [];
    const fittingBytes = roomBytes - HEADERS_BYTES[family];
    if (announcedMss(checked, answer, family) <= fittingBytes) return [];
    const { firewall } = checked.facts;
    const reply = {
      ...packetTo(service.vip, IPPROTO_TCP, undefined, undefined),
      ...{ source: service.vip, destination: undefined },
    };
    const clampBytes = firewall && clampedMss(firewall, reply);
    if (clampBytes !== undefined && clampBytes <= fittingBytes) return [];
    return [
      advice(
        'mss_too_large',
        `clients of ${service.vip} may send packets of ${USUAL_MTU_BYTES} bytes, of which ${roomBytes} fit on their way here: announce an MSS of ${fittingBytes}`,
        mssCommand(checked, answer, family, fittingBytes),
      ),
    ];
  });
}

function announcedMss({ facts }: Checked, answer: RouteAnswer, family: Family): number {
  const device = facts.links.find(({ name }) => name === answer.interface);
  const mtuBytes = answer.mtuBytes ?? device?.mtuBytes ?? USUAL_MTU_BYTES;
  return answer.advmssBytes ?? mtuBytes - HEADERS_BYTES[family];
}

/** By the default route where that is what replies take, by a rule of nft where it is not. */
function mssCommand(
  { facts, role }: Checked,
  answer: RouteAnswer,
  family: Family,
  mssBytes: number,
): string {
  const isUsed = (route: DefaultRoute) =>
    route.family === family &&
    route.interface === answer.interface &&
    route.gateway === answer.gateway;
  const route = facts.defaultRoutes.find(isUsed);
  if (route !== undefined)
    return `${ipCommand(family)} route change ${route.words.map(quoted).join(' ')} advmss ${mssBytes}`;
  const vips = role.vips.filter((vip) => familyOf(vip) === family);
  const rules = vips.map(
    (vip) =>
      `add rule inet skein_mss output ${nftAddress('saddr', vip)} tcp flags syn tcp option maxseg size set ${mssBytes}`,
  );
  const chain = 'add chain inet skein_mss output { type filter hook output priority mangle; }';
  return `nft '${['add table inet skein_mss', chain, ...rules].join('; ')}'`;
}
