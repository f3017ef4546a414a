/** Do packets find their way in and replies their way out? Pure. */
import { familyOf, type Address, type Family } from '../model/address.ts';
import {
  advice,
  isDecappedByXdp,
  problem,
  replyLookup,
  type Checked,
  type Finding,
} from './doctor-check.ts';
import { effectiveIpv4, lookupOf } from './doctor-facts.ts';
import { decapDevices } from './doctor-tunnel.ts';
import { isTunnel, replySources } from './doctor-wanted.ts';
import { ipCommand, quoted, setSysctl } from './doctor-words.ts';

const RP_FILTER_STRICT = 1;
const RP_FILTER_LOOSE = 2;

/** There is no such filter for IPv6, but for rules of nft. */
export function checkRpFilter(checked: Checked): Finding[] {
  const { facts, wanted, role, link } = checked;
  const kernelDevices =
    isTunnel(role.mode) && !isDecappedByXdp(checked) ? decapDevices(checked, 'ipv4') : [];
  const arrivals =
    kernelDevices.length > 0
      ? kernelDevices.map(({ name }) => name)
      : link === undefined
        ? []
        : [link.name];
  const source = replySources(role).find((address) => familyOf(address) === 'ipv4');
  const replies = source === undefined ? undefined : replyLookup(checked, source)?.answer;
  const findings = arrivals.flatMap((name) =>
    replies === undefined ? [] : strictOn(checked, name, replies.interface, 'clients'),
  );
  // The outer header passes the filter of the interface too, where the kernel takes it off.
  const nodes = wanted.nodes.flatMap((node) => lookupOf(facts, node, undefined)?.answer ?? []);
  const [toNode] = kernelDevices.length > 0 && checked.outer === 'ipv4' ? nodes : [];
  if (toNode === undefined || link === undefined) return findings;
  return [...findings, ...strictOn(checked, link.name, toNode.interface, 'nodes')];
}

function strictOn({ facts }: Checked, name: string, wayBack: string, whom: string): Finding[] {
  if (wayBack === name || effectiveIpv4(facts, 'rp_filter', name) !== RP_FILTER_STRICT) return [];
  return [
    problem(
      'rp_filter',
      `rp_filter is strict on ${name}, and the way back to ${whom} is through ${wayBack}, so the kernel discards what arrives`,
      // The larger of all and the interface counts: loose here wins over strict there.
      setSysctl(`ipv4/conf/${name}/rp_filter`, RP_FILTER_LOOSE),
    ),
  ];
}

export function checkRoutes(checked: Checked): Finding[] {
  return [...routesToClients(checked), ...routesToNodes(checked), ...repliesBypass(checked)];
}

function routesToClients(checked: Checked): Finding[] {
  const { facts, link, role } = checked;
  const lost = replySources(role).filter((source) => {
    const lookup = replyLookup(checked, source);
    return lookup !== undefined && lookup.answer === undefined;
  });
  return [...new Set(lost.map(familyOf))].flatMap((family) => {
    // Named by its own finding, and the cause of this one.
    const noIpv6 = link !== undefined && facts.sysctls[`ipv6/conf/${link.name}/disable_ipv6`] === 1;
    if (family === 'ipv6' && noIpv6) return [];
    const gateway = role.mode === 'nat' ? nodeOf(checked, family) : knownRouter(checked, family);
    const device = link === undefined ? '<interface>' : quoted(link.name);
    return [
      problem(
        'no_route_to_clients',
        `there is no IPv${family === 'ipv4' ? 4 : 6} route back to clients, so replies go nowhere`,
        `${ipCommand(family)} route replace default via ${gateway ?? '<gateway>'} dev ${device}`,
      ),
    ];
  });
}

/** Some router of the network that leads to nodes, or that has made itself known. */
function knownRouter({ facts, wanted, link }: Checked, family: Family): Address | undefined {
  const fits = (address: Address | undefined): address is Address =>
    address !== undefined && familyOf(address) === family;
  const gateways = wanted.nodes.map((node) => lookupOf(facts, node, undefined)?.answer?.gateway);
  const routers = facts.neighbours.filter(
    (neighbour) => neighbour.router && neighbour.interface === link?.name,
  );
  return gateways.find(fits) ?? routers.map(({ address }) => address).find(fits);
}

function nodeOf({ wanted }: Checked, family: Family): Address | undefined {
  return wanted.nodes.find((node) => familyOf(node) === family);
}

function routesToNodes({ facts, wanted, role, link, outer }: Checked): Finding[] {
  return wanted.nodes.flatMap((node) => {
    const lookup = lookupOf(facts, node, undefined);
    if (lookup === undefined || (outer !== undefined && familyOf(node) !== outer)) return [];
    const { answer } = lookup;
    if (answer === undefined) {
      const device = link === undefined ? '<interface>' : quoted(link.name);
      const command = `${ipCommand(familyOf(node))} route add ${node} via <gateway> dev ${device}`;
      return [problem('no_route_to_node', `there is no route to the node ${node}`, command)];
    }
    const findings: Finding[] = [];
    if (answer.gateway !== undefined && role.mode === 'l2dsr')
      findings.push(
        problem(
          'node_not_on_link',
          `the node ${node} is behind the router ${answer.gateway}, and l2dsr does not pass routers`,
          'in the cluster document, give this backend a mode that does: mode: ipip',
        ),
      );
    const silent = facts.neighbours.some(
      ({ address, failed }) => failed && address === (answer.gateway ?? node),
    );
    if (silent)
      findings.push(
        advice(
          'node_unreachable',
          `${answer.gateway ?? node}, the next hop to the node ${node}, has not answered on ${answer.interface}`,
          `ping -c 3 -I ${quoted(answer.interface)} ${node}`,
        ),
      );
    return findings;
  });
}

/** With nat the nodes must see the replies, since they alone can put the VIP back. */
function repliesBypass(checked: Checked): Finding[] {
  const { role, wanted } = checked;
  if (role.mode !== 'nat' || role.address === undefined) return [];
  const family = familyOf(role.address);
  const node = nodeOf(checked, family);
  const answer = replyLookup(checked, role.address)?.answer;
  if (node === undefined || answer === undefined) return [];
  if (answer.gateway !== undefined && wanted.nodes.includes(answer.gateway)) return [];
  const through = answer.gateway ?? answer.interface;
  return [
    problem(
      'replies_bypass_node',
      `replies to clients leave by ${through}, not by a node, so nobody puts the VIP back into them`,
      `${ipCommand(family)} route replace default via ${node} dev ${quoted(answer.interface)}`,
    ),
  ];
}
