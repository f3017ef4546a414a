/**
 * The diagnosis: facts about a server and what it is meant to be, to all that is wrong with it, the
 * cause before its consequences. Pure; never changes anything.
 */
import { checkedRole, advice, problem, type Checked, type Finding } from './doctor-check.ts';
import { linkOf, type ServerFacts } from './doctor-facts.ts';
import { checkMtu } from './doctor-mtu.ts';
import { checkRoutes, checkRpFilter } from './doctor-routes.ts';
import { checkFirewall, checkListeners } from './doctor-service.ts';
import { checkDecapsulation } from './doctor-tunnel.ts';
import { checkArp, checkIpv6Arrival, checkVips } from './doctor-vip.ts';
import type { Wanted } from './doctor-wanted.ts';
import { quoted } from './doctor-words.ts';

const CHECKS: readonly ((checked: Checked) => Finding[])[] = [
  checkInterface,
  // Before the VIPs: a VIP that is put on while ARP answers for it takes the nodes' traffic.
  checkArp,
  checkVips,
  checkIpv6Arrival,
  checkDecapsulation,
  checkRpFilter,
  checkMtu,
  checkRoutes,
  checkFirewall,
  checkListeners,
];

/** Each problem once, whichever roles of the server share it, in an order to mend them in. */
export function diagnose(facts: ServerFacts, wanted: Wanted): Finding[] {
  const roles = wanted.roles.map((role) => checkedRole(facts, wanted, role));
  const findings = CHECKS.flatMap((check) => roles.flatMap(check));
  const unique = new Map(findings.map((finding) => [finding.sentence, finding]));
  return [...unique.values()];
}

/** Interfaces that are there, up, and as fast as they can be. */
function checkInterface({ facts, wanted, link }: Checked): Finding[] {
  const loopback = linkOf(facts, 'lo');
  const findings: Finding[] = [];
  if (wanted.interface !== undefined && link === undefined)
    findings.push(
      problem('interface_missing', `there is no interface ${wanted.interface}`, 'ip -br link show'),
    );
  for (const entry of [loopback, link]) {
    if (entry === undefined || entry.up) continue;
    const command = `ip link set dev ${quoted(entry.name)} up`;
    findings.push(problem('interface_down', `${entry.name} is down`, command));
  }
  if (link?.xdp.some(({ mode }) => mode === 'generic') === true)
    findings.push(
      advice(
        'xdp_generic',
        `the XDP program on ${link.name} runs in generic mode, which is slow: its driver, or its settings, do not allow native mode`,
        `ethtool -i ${quoted(link.name)}`,
      ),
    );
  return findings;
}
