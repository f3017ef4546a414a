/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Health checks take the path of live traffic. The supervisor's sockets talk to a private address
 * that stands for one backend of one service; their packets leave through a veth pair whose far end
 * runs skein_probe: the private address becomes the VIP, the source becomes the node's own, and the
 * frame is forwarded exactly as a client's would be. The backend answers from the VIP, or with nat
 * from its own address, to the node; there probe_return() finds the check again and hands the
 * packet back to the socket.
 *
 * A check by ping is an echo: its identifier is the port on the socket's side, the port on the VIP's
 * side is 0, and so is the protocol of its key.
 */
#ifndef SKEIN_PROBE_H
#define SKEIN_PROBE_H

#include "forward.h"
#include "rewrite.h"
#include "schedule.h"
#include "vip.h"

#define PROBE_PORT_TRIES 8
/* A check that sent nothing for as long may lose its port to another one. */
#define PROBE_OVER_MS 2000

/*
 * A port for the way, the same for every packet of one check; 0 when there is none. Two checks of
 * the same VIP and port may come from equal source ports, so the port alone cannot be kept. Where
 * all ports that this check could have are taken, it gets that of the check that has been silent
 * for longest: nothing else says that a check is over.
 */
static __noinline __be16 probe_port_be(struct probe_key *key, const struct probe *probe)
{
	__u32 first = hash_mix(probe->backend, probe->source_port_be) >> 20;
	__u32 longest_ms = 0;
	__be16 silent_be = 0;
	int i;

	for (i = 0; i < PROBE_PORT_TRIES; i++) {
		__u32 offset = (first + i) & (PROBE_PORT_COUNT - 1), silent_ms;
		struct probe *found;

		key->nat_port_be = bpf_htons(PROBE_PORT_FIRST + offset);
		found = bpf_map_lookup_elem(&probes, key);
		if (!found) {
			if (!bpf_map_update_elem(&probes, key, probe, BPF_NOEXIST))
				return key->nat_port_be;
			continue;
		}
		if (found->backend == probe->backend && found->port_be == probe->port_be &&
		    found->source_port_be == probe->source_port_be) {
			found->seen_ms = probe->seen_ms;
			return key->nat_port_be;
		}
		silent_ms = probe->seen_ms - found->seen_ms;
		/* Signed: another CPU may have seen a later tick of the clock. */
		if ((__s32)silent_ms > (__s32)longest_ms) {
			longest_ms = silent_ms;
			silent_be = key->nat_port_be;
		}
	}
	if (longest_ms < PROBE_OVER_MS)
		return 0;
	key->nat_port_be = silent_be;
	return bpf_map_update_elem(&probes, key, probe, BPF_ANY) ? 0 : silent_be;
}

/* The address that stands for a backend slot. */
static __always_inline void private_address(struct ip_address *to, const struct ip_address *base,
					    __u32 slot)
{
	*to = *base;
	to->bytes[13] = slot >> 16;
	to->bytes[14] = slot >> 8;
	to->bytes[15] = slot;
}

/* The slot in the last three bytes of a private address. */
static __always_inline __u32 probe_slot(const struct settings *cfg, const struct packet *pkt)
{
	const struct ip_address *base = pkt->is_ipv6 ? &cfg->probe_base6 : &cfg->probe_base4;
	struct ip_address daddr, expected;
	__u32 slot;

	packet_daddr(pkt, &daddr);
	slot = (__u32)daddr.bytes[13] << 16 | (__u32)daddr.bytes[14] << 8 | daddr.bytes[15];
	private_address(&expected, base, slot);
	return same_address(&daddr, &expected) ? slot : BACKEND_NONE;
}

SEC("xdp")
int skein_probe(struct xdp_md *ctx)
{
	struct settings *cfg = settings_get();
	struct backend_local *local;
	struct packet pkt = {};
	struct probe_key key = {};
	struct rewrite to = {};
	struct backend *backend;
	struct probe probe = {};
	int why;

	parse(ctx, &pkt);
	if (!cfg || (pkt.kind != PACKET_FLOW && pkt.kind != PACKET_ECHO_REQUEST))
		return drop(DROP_PROBE_UNKNOWN);
	probe.backend = probe_slot(cfg, &pkt);
	probe.source_port_be = packet_sport_be(&pkt);
	probe.port_be = packet_dport_be(&pkt);
	probe.seen_ms = clock_now_ms();
	backend = bpf_map_lookup_elem(&backends, &probe.backend);
	if (!backend || backend->state == BACKEND_UNUSED ||
	    is_ipv4_mapped(&backend->vip) == pkt.is_ipv6)
		return drop(DROP_PROBE_UNKNOWN);

	key.vip = is_translated(backend) ? backend->address : backend->vip;
	key.vip_port_be = probe.port_be;
	/* An echo has no port on that side. */
	if (is_translated(backend) && pkt.kind == PACKET_FLOW)
		key.vip_port_be = nat_target_be(backend, probe.port_be);
	key.l4_proto = packet_l4_proto(&pkt);
	to.saddr = pkt.is_ipv6 ? &cfg->node6 : &cfg->node4;
	to.daddr = &key.vip;
	to.sport_be = probe_port_be(&key, &probe);
	to.dport_be = key.vip_port_be;
	if (!to.sport_be)
		return drop(DROP_PROBE_NO_PORT);
	if (rewrite_packet(ctx, &pkt, &to))
		return drop(DROP_INTERNAL);
	rewrite_key(&pkt, &to);

	local = bpf_map_lookup_elem(&backends_local, &probe.backend);
	if (!local)
		return drop(DROP_INTERNAL);
	why = next_hop(ctx, local, backend, probe.seen_ms);
	if (why)
		return drop(why);
	if (pkt.frame_bytes > local->frame_bytes_max)
		return drop(DROP_TOO_BIG);
	count(COUNT_PROBE_SENT);
	return forward_by_mode(ctx, &pkt, probe.backend, backend, local);
}

/* Is this a backend's answer to a check? The destination is the node's own address then. */
static __always_inline bool probe_expected(const struct settings *cfg, const struct packet *pkt)
{
	__u16 port = bpf_ntohs(packet_dport_be(pkt));

	if (port < PROBE_PORT_FIRST || port >= PROBE_PORT_FIRST + PROBE_PORT_COUNT)
		return false;
	return to_this_node(cfg, pkt);
}

static __noinline int probe_return(struct xdp_md *ctx, const struct packet *pkt,
				   const struct settings *cfg)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ip_address private;
	struct probe_key key = {};
	struct rewrite to = {};
	struct ethhdr *eth = data;
	struct probe *probe;

	if (!cfg || (void *)(eth + 1) > end)
		return drop(DROP_INTERNAL);
	if (pkt->is_ipv6)
		key.vip = pkt->key6.saddr;
	else
		map_ipv4(&key.vip, pkt->key4.saddr_be);
	key.vip_port_be = packet_sport_be(pkt);
	key.nat_port_be = packet_dport_be(pkt);
	key.l4_proto = packet_l4_proto(pkt);
	probe = bpf_map_lookup_elem(&probes, &key);
	if (!probe)
		return pass();

	private_address(&private, pkt->is_ipv6 ? &cfg->probe_base6 : &cfg->probe_base4,
			probe->backend);
	to.saddr = &private;
	to.daddr = pkt->is_ipv6 ? &cfg->probe_source6 : &cfg->probe_source4;
	to.sport_be = probe->port_be;
	to.dport_be = probe->source_port_be;
	__builtin_memcpy(eth->h_dest, cfg->probe_source_mac, ETH_ALEN);
	if (rewrite_packet(ctx, pkt, &to))
		return drop(DROP_INTERNAL);
	count(COUNT_PROBE_REPLY);
	return bpf_redirect(cfg->probe_out_ifindex, 0);
}

#endif
