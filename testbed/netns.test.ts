import { describe, expect, test } from 'vitest';
import { linkBatch, namespaceScript } from './netns.ts';
import { PASS_PROGRAM } from './places.ts';
import { topology } from './topology.ts';

const shape = topology({ nodes: 1, backends: 1, vipPairs: 1 });

function scriptOf(name: string): string[] {
  const namespace = shape.namespaces.find((one) => one.name === name)!;
  return namespaceScript(shape, namespace).split('\n');
}

describe('the batch of the root namespace', () => {
  const lines = linkBatch(shape).split('\n');

  test('makes the namespaces before the links that lie in them', () => {
    const lastNamespace = lines.findLastIndex((line) => line.startsWith('netns add'));
    const firstLink = lines.findIndex((line) => line.startsWith('link add'));
    expect(lastNamespace).toBeLessThan(firstLink);
  });

  test('puts both ends where they belong', () => {
    expect(lines).toContain(
      'link add index 107 name eth0 address 02:83:01:00:00:0b netns skein-lb1 ' +
        'type veth peer index 108 name lb1 address 02:83:01:01:00:0b netns skein-lan',
    );
  });

  test('gives no two ends the same index', () => {
    const indexes = lines.flatMap((line) => [...line.matchAll(/index (\d+)/g)].map(([, n]) => n));
    expect(new Set(indexes).size).toBe(indexes.length);
    // The end in the root namespace takes whatever index is free there.
    expect(indexes.length).toBe(2 * shape.links.length - 1);
  });

  test('configures the end in the root namespace and no other', () => {
    expect(lines.filter((line) => /^(addr|link set)/.test(line))).toEqual([
      'addr add 10.83.254.1/24 dev skein-mgmt',
      'link set skein-mgmt up',
    ]);
  });
});

describe('the script of a namespace', () => {
  test('gives a backend its VIPs, silent in ARP, and the way back through the router', () => {
    expect(scriptOf('skein-b1')).toEqual([
      `echo '1' > /proc/sys/net/ipv4/conf/all/arp_ignore`,
      `echo '2' > /proc/sys/net/ipv4/conf/all/arp_announce`,
      `echo '0' > /proc/sys/net/ipv4/conf/all/rp_filter`,
      `echo '0' > /proc/sys/net/ipv6/conf/eth0/accept_dad`,
      `echo '0' > /proc/sys/net/ipv6/conf/eth0/accept_ra`,
      'ethtool -K eth0 tx off > /dev/null',
      `ip -batch - <<'END'`,
      'link set lo up',
      'addr add 10.83.100.1/32 dev lo',
      'addr add fd83:100::1/128 dev lo nodad',
      'addr add 10.83.1.101/24 dev eth0',
      'addr add fd83:1::101/64 dev eth0 nodad',
      'link set eth0 up',
      'route add default via 10.83.1.1',
      'route add default via fd83:1::1',
      'END',
    ]);
  });

  test('makes the switch forward at once and to everybody', () => {
    const lines = scriptOf('skein-lan');
    expect(lines).toContain('link add br0 type bridge stp_state 0 mcast_snooping 0');
    expect(lines).toContain('link set b1 master br0');
    expect(lines.filter((line) => line.includes('xdpdrv'))).toEqual([
      `link set lb1 xdpdrv obj ${PASS_PROGRAM} sec xdp`,
    ]);
  });

  test('makes the switch know for ever who is where', () => {
    expect(scriptOf('skein-lan')).toContain(
      'bridge fdb replace 02:83:01:00:00:0b dev lb1 master static',
    );
    expect(scriptOf('skein-lb1').join()).not.toContain('fdb');
  });

  test.each(['ipv4', 'ipv6'])('makes the router hash on 5-tuples over %s', (family) => {
    const lines = scriptOf('skein-router');
    expect(lines).toContain(`echo '3' > /proc/sys/net/${family}/fib_multipath_hash_policy`);
    expect(lines).toContain(`echo '55' > /proc/sys/net/${family}/fib_multipath_hash_fields`);
  });
});
