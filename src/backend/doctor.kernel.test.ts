/**
 * Real servers, each a network namespace of its own, with one thing wrong: the doctor must find that
 * and nothing else, and the command that it suggests must make the finding go away.
 */
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Finding } from './doctor-check.ts';

const MAIN = join(import.meta.dirname, '../main.ts');
const NAMESPACE = `skein-doctor-${process.pid}`;
const VIPS = ['192.0.2.10', '2001:db8::10'] as const;
const [VIP, VIP6] = VIPS;
const WITHIN_MS = 60_000;

const scratch = mkdtempSync(join(tmpdir(), 'skein-doctor-'));

interface Answer {
  readonly status: number | null;
  readonly findings: readonly Finding[];
  readonly unseen: readonly string[];
  readonly stderr: string;
}

function sh(script: string): string {
  return execFileSync('ip', ['netns', 'exec', NAMESPACE, 'sh', '-ec', script], {
    encoding: 'utf8',
    stdio: 'pipe',
    timeout: WITHIN_MS,
  });
}

function doctor(args: string): Answer {
  const command = [process.execPath, MAIN, 'backend', 'doctor', '--json', ...args.split(' ')];
  const { status, stdout, stderr } = spawnSync('ip', ['netns', 'exec', NAMESPACE, ...command], {
    encoding: 'utf8',
    timeout: WITHIN_MS,
    // It is started a hundred times.
    env: { ...process.env, NODE_COMPILE_CACHE: join(scratch, 'cache') },
  });
  const answer = status === 2 ? { findings: [], unseen: [] } : (JSON.parse(stdout) as Answer);
  return { ...answer, status, stderr };
}

function problems(args: string): string[] {
  const { findings, status } = doctor(args);
  const found = findings.filter(({ severity }) => severity === 'problem');
  expect(status).toBe(found.length === 0 ? 0 : 1);
  return found.map(({ code }) => code);
}

/** The one finding that there must be. */
function onlyFinding(args: string): Finding {
  const { findings } = doctor(args);
  const [finding] = findings;
  if (finding === undefined || findings.length > 1)
    throw new Error(`not one finding: ${JSON.stringify(findings)}`);
  expect(`${finding.sentence}${finding.command}`).not.toContain('\n');
  return finding;
}

/** Misconfigures, sees that one thing is found, mends as told, and sees that nothing is left. */
function findsAndMends(wrong: string, args: string, code: Finding['code']): Finding {
  sh(wrong);
  const finding = onlyFinding(args);
  expect(finding.code).toBe(code);
  sh(finding.command);
  expect(doctor(args).findings).toEqual([]);
  return finding;
}

/** Stands for the program of `skein backend`: what the doctor goes by is its name. */
beforeAll(() => {
  const source = `int skein_decap(void *c) __attribute__((section("xdp"))); int skein_decap(void *c) { return 2; }
char _license[] __attribute__((section("license"))) = "GPL";`;
  const args = ['-O2', '-target', 'bpf', '-x', 'c', '-c', '-', '-o', join(scratch, 'decap.o')];
  execFileSync('clang', args, { input: source, stdio: ['pipe', 'pipe', 'pipe'] });
});
afterAll(() => {
  rmSync(scratch, { recursive: true });
});

/** A server with nothing wrong. Its router is not there, and need not be. */
beforeEach(() => {
  execFileSync('ip', ['netns', 'add', NAMESPACE]);
  sh(`
    for which in all default; do
      echo 0 > /proc/sys/net/ipv4/conf/$which/rp_filter
      echo 1 > /proc/sys/net/ipv6/conf/$which/addr_gen_mode
    done
    ip link set lo up
    ip link add eth0 type veth peer name far0
    ip link add eth1 type veth peer name far1
    for name in eth0 far0 eth1 far1; do ip link set $name up; done
    ip addr add 10.0.0.2/24 dev eth0
    ip addr add fd00::2/64 dev eth0 nodad
    ip addr add 10.0.1.2/24 dev eth1
    ip route add default via 10.0.0.1 dev eth0
    ip -6 route add default via fd00::1 dev eth0
    sysctl -qw net.ipv4.conf.eth0.arp_ignore=1 net.ipv4.conf.eth0.arp_announce=2
    ip addr add ${VIP}/32 dev lo
    ip addr add ${VIP6}/128 dev lo
  `);
});

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  execFileSync('ip', ['netns', 'del', NAMESPACE]);
});

async function listen(protocol: 'tcp' | 'udp', host: string, port: number): Promise<void> {
  const script = {
    tcp: `require('net').createServer().listen(${port}, '${host}', () => console.log('ready'))`,
    udp: `require('dgram').createSocket({ type: 'udp4', reuseAddr: true }).bind(${port}, '${host}', () => console.log('ready'))`,
  }[protocol];
  const child = spawn('ip', ['netns', 'exec', NAMESPACE, process.execPath, '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => {
      resolve();
    });
    child.once('exit', () => {
      reject(new Error('the listener ended'));
    });
  });
}

const L2DSR = `--vip ${VIP} ${VIP6} --address 10.0.0.2`;
const IPIP = `--mode ipip --vip ${VIP} --address 10.0.0.2`;
const DECAP = `ip link set dev eth0 xdp obj ${join(scratch, 'decap.o')} sec xdp`;
/** With room for the outer header, so that there is no advice either. */
const ROOM = 'ip link set dev far0 mtu 1600; ip link set dev eth0 mtu 1600';

test.each(VIPS)('a VIP that no interface has: %s', (vip) => {
  const { sentence } = findsAndMends(`ip addr del ${vip} dev lo`, L2DSR, 'vip_missing');
  expect(sentence).toContain(vip);
});

describe('a VIP in the wrong place', () => {
  test.each([
    [VIP, 24],
    [VIP, 32],
    [VIP6, 64],
    [VIP6, 128],
  ])('%s/%i on the network interface', (vip, length) => {
    const move = `ip addr del ${vip} dev lo; ip addr add ${vip}/${length} dev eth0 nodad`;
    findsAndMends(move, L2DSR, 'vip_wrong_interface');
  });

  test('on the network interface as well as on loopback', () => {
    const { command } = findsAndMends(
      `ip addr add ${VIP}/32 dev eth0`,
      L2DSR,
      'vip_wrong_interface',
    );
    expect(command).toBe(`ip addr del ${VIP}/32 dev eth0`);
  });

  test.each([
    [VIP, 24],
    [VIP6, 64],
  ])('%s on loopback with a prefix of /%i', (vip, length) => {
    const widen = `ip addr del ${vip} dev lo; ip addr add ${vip}/${length} dev lo`;
    findsAndMends(widen, L2DSR, 'vip_prefix');
  });

  test('behind nat the network interface must not have it either', () => {
    const nat = `--mode nat --vip ${VIP} --address 10.0.0.2 --node 10.0.0.1`;
    sh('ip neigh add 10.0.0.1 lladdr 02:00:00:00:00:01 dev eth0');
    findsAndMends(`ip addr add ${VIP}/32 dev eth0`, nat, 'vip_wrong_interface');
  });
});

test.each([
  'sysctl -qw net.ipv4.conf.eth0.arp_ignore=0',
  'sysctl -qw net.ipv4.conf.eth0.arp_announce=0',
  'sysctl -qw net.ipv4.conf.eth0.arp_ignore=0 net.ipv4.conf.eth0.arp_announce=1',
  'sysctl -qw net.ipv4.conf.all.arp_ignore=3',
])('ARP gives the VIP away: %s', (wrong) => {
  findsAndMends(wrong, L2DSR, 'arp_answers_vip');
});

test('on a server where nothing is done yet, mending from the top never lets ARP answer', () => {
  sh(`ip addr del ${VIP}/32 dev lo; ip addr del ${VIP6}/128 dev lo`);
  sh('sysctl -qw net.ipv4.conf.eth0.arp_ignore=0 net.ipv4.conf.eth0.arp_announce=0');
  const { findings } = doctor(L2DSR);
  expect(findings.map(({ code }) => code)).toEqual([
    'arp_answers_vip',
    'vip_missing',
    'vip_missing',
  ]);
  for (const { command } of findings) sh(command);
  expect(doctor(L2DSR).findings).toEqual([]);
});

test('settings for all interfaces count as much as those of the one', () => {
  sh(
    'sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 net.ipv4.conf.eth0.arp_ignore=0 net.ipv4.conf.eth0.arp_announce=0',
  );
  expect(problems(L2DSR)).toEqual([]);
});

test.each(['global', 'host'])('a VIP of %s scope: what is said of ARP is what it does', (scope) => {
  const neighbour = `${NAMESPACE}-far`;
  execFileSync('ip', ['netns', 'add', neighbour]);
  const far = (script: string) =>
    execFileSync('ip', ['netns', 'exec', neighbour, 'sh', '-ec', script], { encoding: 'utf8' });
  try {
    sh(`ip link set far0 netns ${neighbour}; ip addr del ${VIP}/32 dev lo`);
    sh(`ip addr add ${VIP}/32 dev lo scope ${scope}`);
    far(
      'ip link set far0 up; ip addr add 10.0.0.1/24 dev far0; ip route add 192.0.2.0/24 dev far0',
    );
    // Three questions: an answer must not come after them, be the machine ever so busy.
    far('echo 200 > /proc/sys/net/ipv4/neigh/far0/retrans_time_ms');
    for (const ignore of [0, 1, 2, 3, 4, 8]) {
      sh(`sysctl -qw net.ipv4.conf.eth0.arp_ignore=${ignore}`);
      far(`ip neigh flush all; ip neigh replace ${VIP} dev far0 use`);
      const answer = far(
        `until ip neigh show ${VIP} nud reachable nud failed | grep .; do sleep 0.02; done`,
      );
      const isAnswered = answer.includes('REACHABLE');
      expect(problems(L2DSR), `arp_ignore ${ignore}`).toEqual(
        isAnswered ? ['arp_answers_vip'] : [],
      );
    }
  } finally {
    execFileSync('ip', ['netns', 'del', neighbour]);
  }
});

test('with a tunnel ARP matters for a VIP that seems to be on the link', () => {
  sh(`${ROOM}; ${DECAP}; sysctl -qw net.ipv4.conf.eth0.arp_ignore=0`);
  expect(problems(IPIP)).toEqual([]);
  sh('ip addr add 192.0.2.200/24 dev eth0');
  expect(problems(IPIP)).toEqual(['arp_answers_vip']);
});

describe('rp_filter', () => {
  test.each(['all', 'eth0'])('strict on %s, and the way back is another', (which) => {
    sh('ip route replace default via 10.0.1.1 dev eth1');
    findsAndMends(`sysctl -qw net.ipv4.conf.${which}.rp_filter=1`, L2DSR, 'rp_filter');
  });

  test('strict with decapsulation by XDP, and the way back is another', () => {
    sh(`${ROOM}; ${DECAP}; ip route replace default via 10.0.1.1 dev eth1`);
    findsAndMends('sysctl -qw net.ipv4.conf.all.rp_filter=1', IPIP, 'rp_filter');
  });

  test('strict is no problem where replies leave as packets came, or by a rule of their own', () => {
    sh('sysctl -qw net.ipv4.conf.all.rp_filter=1');
    expect(problems(L2DSR)).toEqual([]);
    sh(`
      ip route replace default via 10.0.1.1 dev eth1
      ip route add default via 10.0.0.1 dev eth0 table 100
      ip rule add from ${VIP} lookup 100
    `);
    expect(problems(L2DSR)).toEqual([]);
  });
});

describe('MTU', () => {
  test('too small for IPv6 inside a tunnel', () => {
    sh(`${ROOM}; ${DECAP}`);
    const both = IPIP.replace(VIP, VIPS.join(' '));
    findsAndMends('ip link set dev eth0 mtu 1290', both, 'mtu_too_small');
  });

  test('below what IPv6 needs at all', () => {
    sh('ip link set dev eth0 mtu 1200');
    const finding = doctor(L2DSR).findings.find(({ code }) => code === 'mtu_too_small');
    expect(finding?.command).toBe('ip link set dev eth0 mtu 1500');
  });

  test('below what the nodes send', () => {
    sh('ip link set dev eth0 mtu 9000');
    findsAndMends('ip link set dev eth0 mtu 1500', `${L2DSR} --mtu 9000`, 'mtu_too_small');
  });

  test.each([
    ['ipip', 20, VIP, '10.0.0.2'],
    ['gue', 52, VIP6, 'fd00::2'],
  ])('%s: an MSS that leaves no room for %i bytes is worth advice', (mode, bytes, vip, own) => {
    sh(`${ROOM}; ${DECAP}`);
    const args = `--mode ${mode} --vip ${vip} --address ${own} --port 80`;
    expect(doctor(args).findings.map(({ code }) => code)).toEqual(['not_listening']);
    sh('ip link set dev eth0 mtu 1500');
    const [mss] = doctor(args).findings;
    expect(mss).toMatchObject({ code: 'mss_too_large', severity: 'advice' });
    expect(mss?.command).toContain(`advmss ${1500 - bytes - (vip === VIP ? 40 : 60)}`);
    sh(mss?.command ?? '');
    expect(doctor(args).findings.map(({ code }) => code)).toEqual(['not_listening']);
  });

  test('a rule of nft does as well, and is advised where no plain default route is used', () => {
    sh(`${DECAP}; ip route add default via 10.0.0.1 dev eth0 table 100`);
    sh(`ip route del default; ip rule add from ${VIP} lookup 100`);
    const [mss] = doctor(`${IPIP} --port 80`).findings;
    expect(mss?.command).toContain('nft ');
    sh(mss?.command ?? '');
    expect(doctor(`${IPIP} --port 80`).findings.map(({ code }) => code)).toEqual(['not_listening']);
  });
});

describe('decapsulation', () => {
  test.each([
    ['ipip', '10.0.0.2', VIP],
    ['gre', '10.0.0.2', VIP6],
    ['gue', 'fd00::2', VIP],
    ['fou', 'fd00::2', VIP6],
    ['dscp', '10.0.0.2', VIP],
  ])('%s to %s: nothing gets at the packet to %s', (mode, own, vip) => {
    const args = `--mode ${mode} --vip ${vip} --address ${own}`;
    const finding = onlyFinding(args);
    expect(finding.code).toBe('no_decapsulation');
    sh(DECAP);
    expect(problems(args)).toEqual([]);
  });

  test('a program of someone else does not count', () => {
    sh(DECAP.replace('xdp obj', 'xdpgeneric obj'));
    expect(doctor(IPIP).findings).toMatchObject([{ code: 'xdp_generic', severity: 'advice' }]);
    sh('ip link set dev eth0 xdpgeneric off');
    expect(problems(IPIP)).toEqual(['no_decapsulation']);
  });

  test('a rule of nft may put back the VIP of mode dscp', () => {
    sh(
      `nft 'add table netdev d; add chain netdev d in { type filter hook ingress device eth0 priority 0; }; add rule netdev d in ip dscp 10 ip daddr set ${VIP}'`,
    );
    expect(problems(`--mode dscp --vip ${VIP} --address 10.0.0.2`)).toEqual([]);
  });
});

describe('listening', () => {
  test.each([
    ['10.0.0.2', VIP, '10.0.0.2'],
    ['fd00::2', VIP6, '10.0.0.2'],
  ])('on %s only, not on the VIP %s', async (host, vip, own) => {
    await listen('tcp', host, 80);
    const args = `--vip ${vip} --address ${own} --port 80`;
    const finding = onlyFinding(args);
    expect(finding).toMatchObject({ code: 'not_listening' });
    expect(finding.sentence).toContain(`of ${host} only`);
    sh(finding.command);
    expect(problems(args)).toEqual([]);
  });

  test.each(['0.0.0.0', '::', VIP])('on %s is well', async (host) => {
    await listen('tcp', host, 80);
    expect(doctor(`--vip ${VIP} --address 10.0.0.2 --port 80`).findings).toEqual([]);
  });

  test('at all: the command shows who listens on the port', () => {
    const args = `${L2DSR} --port 80`;
    expect(problems(args)).toEqual(['not_listening', 'not_listening']);
    expect(doctor(args).findings[0]?.command).toContain('ss -Hlntp');
  });

  test('udp on every address is worth advice, on the VIP it is well', async () => {
    const args = `--vip ${VIP} --address 10.0.0.2 --port 53/udp`;
    await listen('udp', '0.0.0.0', 53);
    expect(doctor(args)).toMatchObject({ status: 0, findings: [{ code: 'udp_wildcard' }] });
    await listen('udp', VIP, 53);
    expect(doctor(args).findings).toEqual([]);
  });
});

describe('the way back', () => {
  test.each([
    ['ip route del default', '10.9.0.1', 'ip route add 10.9.0.0/24 via 10.0.0.1'],
    ['ip -6 route del default', 'fd09::1', 'ip -6 route add fd09::/64 via fd00::1'],
  ])('%s: the router that leads to the nodes is suggested', (wrong, node, known) => {
    sh(known);
    const args = `--mode dscp --vip ${VIPS.join(' ')} --address ${node.includes(':') ? 'fd00::2' : '10.0.0.2'} --node ${node}`;
    sh(DECAP);
    findsAndMends(wrong, args, 'no_route_to_clients');
  });

  test('a black hole is no way back', () => {
    sh('ip route replace blackhole default');
    expect(problems(L2DSR)).toEqual(['no_route_to_clients']);
  });

  test('IPv6 that is disabled on lo, which takes the VIP away too', () => {
    findsAndMends('sysctl -qw net.ipv6.conf.lo.disable_ipv6=1', L2DSR, 'ipv6_disabled');
  });

  test('behind nat it must be a node', () => {
    const args = `--mode nat --vip ${VIP} --address 10.0.0.2 --node 10.0.0.1 10.0.0.3`;
    findsAndMends('ip route replace default via 10.0.0.9 dev eth0', args, 'replies_bypass_node');
  });

  test('a node behind a router is out of reach for l2dsr', () => {
    expect(problems(`${L2DSR} --node 10.9.0.1`)).toEqual(['node_not_on_link']);
  });
});

describe('rules of nft', () => {
  const table =
    "nft 'add table inet f; add chain inet f input { type filter hook input priority 0; policy drop; }; add rule inet f input ct state established,related accept'";

  test('that drop the service by default', async () => {
    await listen('tcp', '0.0.0.0', 80);
    findsAndMends(table, `--vip ${VIP} --address 10.0.0.2 --port 80`, 'firewall_drops');
  });

  test('that drop the protocol of the tunnel, which XDP would not let them see', () => {
    sh(`nft 'add table ip f; add chain ip f in { type filter hook prerouting priority 0; }'`);
    sh('nft add rule ip f in ip protocol 4 drop');
    expect(problems(IPIP)).toEqual(['no_decapsulation', 'firewall_drops']);
    const drops = doctor(IPIP).findings.find(({ code }) => code === 'firewall_drops');
    sh(drops?.command ?? '');
    expect(problems(IPIP)).toEqual(['no_decapsulation']);
    sh(`nft flush chain ip f in; nft add rule ip f in ip protocol 4 drop; ${DECAP}`);
    expect(problems(IPIP)).toEqual([]);
  });
});

test('who is not root is told what could not be seen', () => {
  const seen = sh(
    `setpriv --reuid 65534 --clear-groups ${process.execPath} ${MAIN} backend doctor --json ${L2DSR}`,
  );
  expect(JSON.parse(seen)).toMatchObject({
    fine: true,
    findings: [],
    unseen: ['the firewall: only root sees the rules of nft'],
  });
});

test('nothing is changed by looking', () => {
  const state = () =>
    sh(
      'ip -o addr; ip route; ip -6 route; ip rule; nft list ruleset; sysctl -a -r "arp_|rp_filter"',
    );
  const before = state();
  doctor(`${IPIP} --port 80 --node 10.0.0.1`);
  expect(state()).toBe(before);
});
