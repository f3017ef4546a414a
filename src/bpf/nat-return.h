/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The way back from backends of nat and full_nat: their replies, and ICMP errors about what was sent
 * to them, become what the client expects, and are routed to it. Any node can do so for nat, since
 * the backend's address and port say which VIP was meant; for full_nat only the node that the flow
 * goes through. Must never touch what no service of ours explains: that passes as it came.
 */
#ifndef SKEIN_NAT_RETURN_H
#define SKEIN_NAT_RETURN_H

#include "forward.h"
#include "fragment.h"
#include "icmp.h"
#include "nat.h"
#include "too_big.h"

/* No counter of a drop: the packet is not ours. */
#define NOT_OURS (-1)

/* Does the client of this reply have a flow from this VIP and port to the backend? */
__noinline bool is_flow_of(const struct packet *reply, const struct nat_flow *back)
{
	struct nat_scratch *s = nat_scratch_get();
	struct ip_address source;
	struct backend *backend;
	struct flow *flow;
	struct rewrite to;

	if (!s || !reply || !back)
		return false;
	s->asked = *reply;
	to.saddr = &back->client;
	to.daddr = &back->vip;
	to.sport_be = back->client_port_be;
	to.dport_be = back->vip_port_be;
	rewrite_key(&s->asked, &to);
	flow = flow_of_any_age(&s->asked);
	backend = flow ? flow_backend(flow) : NULL;
	if (!backend || backend->mode != FORWARD_NAT)
		return false;
	packet_saddr(reply, &source);
	return same_address(&backend->address, &source);
}

/*
 * The candidates of this source. One that has the source's port is taken without a question. Where
 * there are several, or where every port of the backend is in question, its own connections among
 * them, a flow decides; a SYN-ACK, which answers nothing but a client, needs none.
 */
static __always_inline int nat_source_of(const struct packet *reply, struct nat_flow *back)
{
	const __u8 syn_ack = TCP_SYN | TCP_ACK;
	struct nat_candidates *found;
	struct nat_source key = {};
	bool expected = false, sole;
	__u32 i;

	packet_saddr(reply, &key.address);
	packet_daddr(reply, &back->client);
	back->client_port_be = packet_dport_be(reply);
	key.port_be = packet_sport_be(reply);
	key.l4_proto = packet_l4_proto(reply);
	found = bpf_map_lookup_elem(&nat_sources, &key);
	if (!found) {
		key.port_be = 0;
		found = bpf_map_lookup_elem(&nat_sources, &key);
	}
	if (!found)
		return NOT_OURS;
	sole = found->count == 1;
	for (i = 0; i < NAT_CANDIDATES_MAX; i++) {
		__be16 port_be = found->ports_be[i];

		if (i >= found->count)
			break;
		__builtin_memcpy(&back->vip, &found->vips[i * 16], 16);
		back->vip_port_be = port_be ? port_be : packet_sport_be(reply);
		if (sole && (port_be || (reply->tcp_flags & syn_ack) == syn_ack))
			return 0;
		if (is_flow_of(reply, back))
			return 0;
		expected |= port_be != 0;
	}
	return expected ? DROP_NAT_UNKNOWN : NOT_OURS;
}

/* To this node's own address: a flow of full_nat, or something of the node's own. */
static __always_inline int nat_flow_of(const struct packet *reply, struct nat_flow *back)
{
	__u16 port = bpf_ntohs(packet_dport_be(reply));
	struct nat_key key = {};
	struct nat_flow *found;

	if (port < NAT_PORT_FIRST || port >= NAT_PORT_FIRST + NAT_PORT_COUNT)
		return NOT_OURS;
	packet_saddr(reply, &key.address);
	key.port_be = packet_sport_be(reply);
	key.nat_port_be = packet_dport_be(reply);
	key.l4_proto = packet_l4_proto(reply);
	found = bpf_map_lookup_elem(&nat_flows, &key);
	if (!found)
		return NOT_OURS;
	if (reply->kind == PACKET_FLOW)
		nat_touch(found,
			  reply->tcp_flags & (TCP_FIN | TCP_RST) ? FLOW_TCP_FIN : found->state,
			  clock_now_ms());
	*back = *found;
	return 0;
}

/* Whose reply this is: 0, NOT_OURS, or the counter under which it is to be dropped. */
__noinline int nat_find(const struct packet *reply, struct nat_flow *back)
{
	struct settings *cfg = settings_get();

	if (!cfg || !reply || !back)
		return DROP_INTERNAL;
	if (to_this_node(cfg, reply))
		return cfg->features & FEATURE_FULL_NAT ? nat_flow_of(reply, back) : NOT_OURS;
	return cfg->features & FEATURE_NAT ? nat_source_of(reply, back) : NOT_OURS;
}

/* One router more; 0, or -1 where that is one too many. */
static __always_inline int spend_ttl(struct xdp_md *ctx, bool is_ipv6)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct ipv6hdr *ip6 = (void *)ip;

	if (is_ipv6) {
		if ((void *)(ip6 + 1) > end || ip6->hop_limit <= 1)
			return -1;
		ip6->hop_limit--;
		return 0;
	}
	if ((void *)(ip + 1) > end || ip->ttl <= 1)
		return -1;
	csum_apply(&ip->check, csum_change16(0, bpf_htons((__u16)ip->ttl << 8),
					     bpf_htons((__u16)(ip->ttl - 1) << 8)));
	ip->ttl--;
	return 0;
}

/*
 * The next hop to a client, as a router would find it; 0, or the counter of the drop. Asked for each
 * packet, since clients are many.
 */
__noinline int route_to(struct xdp_md *ctx, struct backend_local *hop,
			const struct ip_address *client)
{
	struct bpf_fib_lookup fib = {};
	struct vlan_device *device;
	__u32 ifindex, mtu;
	long rc;

	if (!hop || !client)
		return DROP_INTERNAL;
	rc = fib_ask(ctx, &fib, client);
	if (rc == BPF_FIB_LKUP_RET_NO_NEIGH)
		return DROP_NO_NEIGHBOUR;
	if (rc != BPF_FIB_LKUP_RET_SUCCESS)
		return DROP_NO_ROUTE;
	ifindex = fib.ifindex;
	device = bpf_map_lookup_elem(&vlan_devices, &ifindex);
	hop->ifindex = device ? device->lower_ifindex : ifindex;
	hop->vlan = device ? device->vlan : 0;
	__builtin_memcpy(hop->dmac, fib.dmac, ETH_ALEN);
	__builtin_memcpy(hop->smac, fib.smac, ETH_ALEN);
	mtu = fib.mtu_result;
	hop->frame_bytes_max = FRAME_BYTES_ANY;
	if (mtu && mtu <= FRAME_BYTES_ANY - sizeof(struct ethhdr))
		hop->frame_bytes_max = mtu + sizeof(struct ethhdr);
	return 0;
}

/* The way to the client is learned, and paid for; 0, or the counter of the drop. */
static __always_inline int begin_return(struct xdp_md *ctx, const struct packet *pkt,
					struct backend_local *hop, const struct ip_address *client)
{
	int why = route_to(ctx, hop, client);

	if (why)
		return why;
	if (pkt->frame_bytes > hop->frame_bytes_max)
		return DROP_TOO_BIG;
	return spend_ttl(ctx, pkt->is_ipv6) ? DROP_TTL : 0;
}

/*
 * A first fragment of a reply teaches the others where it goes, wherever that is. One of anything else
 * lets them pass, if a reply had the same identification before.
 */
__noinline int nat_teach(const struct packet *pkt, __be32 fragment_id_be, bool is_reply)
{
	struct fragment_key key = {};

	if (!pkt)
		return -1;
	if (is_reply)
		return fragment_remember(pkt, fragment_id_be, BACKEND_NONE, FRAGMENT_OF_REPLY);
	if (!fragment_find(pkt, fragment_id_be))
		return 0;
	fragment_key_of(&key, pkt, fragment_id_be);
	return bpf_map_delete_elem(&fragments, &key);
}

/*
 * TCP or UDP to no VIP: a reply of a backend, or nothing of ours. `fragment_id_be`: of which packet it
 * is a fragment, if it is one. A later one is ours, as the first has said.
 */
__noinline int nat_reply(struct xdp_md *ctx, const struct packet *pkt, __be32 fragment_id_be)
{
	struct nat_scratch *s = nat_scratch_get();
	struct settings *cfg = settings_get();
	int why;

	if (!s || !cfg || !pkt)
		return drop(DROP_INTERNAL);
	why = nat_find(pkt, &s->back);
	if (pkt->part == PART_FIRST)
		nat_teach(pkt, fragment_id_be, why != NOT_OURS);
	if (why == NOT_OURS)
		return pkt->part == PART_LATER ? drop(DROP_FRAGMENT) : pass();
	if (!why)
		why = begin_return(ctx, pkt, &s->hop, &s->back.client);
	if (why == DROP_TOO_BIG)
		return too_big(ctx, pkt, &s->hop, own_address(cfg, pkt));
	if (why)
		return drop(why);
	s->ends.saddr = s->back.vip;
	s->ends.daddr = s->back.client;
	s->ends.sport_be = s->back.vip_port_be;
	s->ends.dport_be = s->back.client_port_be;
	if (rewrite_ends(ctx, pkt, &s->ends))
		return drop(DROP_INTERNAL);
	count(COUNT_NAT_REPLY);
	if (pkt->part)
		count(COUNT_FRAGMENT_FORWARDED);
	return transmit_tagged(ctx, &s->hop);
}

/*
 * An ICMP error to no VIP: about a packet on its way to a backend, of a client or of this node on
 * a client's behalf. The client knows nothing of backends, so the VIP speaks for the backend, in the
 * quote and as sender.
 */
__noinline int nat_error(struct xdp_md *ctx, const struct packet *pkt)
{
	struct nat_scratch *s = nat_scratch_get();
	struct ip_address source;
	int why;

	if (!s || !pkt)
		return drop(DROP_INTERNAL);
	/* With its ends swapped, what is quoted looks like a reply. */
	if (quoted_flow(ctx, &s->reply, pkt))
		return pass();
	why = nat_find(&s->reply, &s->back);
	if (why == NOT_OURS)
		return pass();
	if (!why)
		why = begin_return(ctx, pkt, &s->hop, &s->back.client);
	if (why)
		return drop(why);
	packet_saddr(&s->reply, &source);
	s->quoted.saddr = s->back.client;
	s->quoted.daddr = s->back.vip;
	s->quoted.sport_be = s->back.client_port_be;
	s->quoted.dport_be = s->back.vip_port_be;
	if (rewrite_error(ctx, &s->reply, &s->quoted, &source))
		return drop(DROP_INTERNAL);
	count(COUNT_NAT_ERROR);
	return transmit_tagged(ctx, &s->hop);
}

/*
 * To no VIP, and behind IPv6 extension headers or in fragments. A later fragment whose first one was
 * not seen could be anything of the backend's own, so it passes.
 */
__noinline int nat_revealed(struct xdp_md *ctx, struct packet *pkt)
{
	struct fragment *fragment;
	__be32 fragment_id_be = 0;

	if (!pkt)
		return drop(DROP_INTERNAL);
	pkt->kind = reveal(ctx, pkt, &fragment_id_be);
	if (pkt->kind == PACKET_FLOW)
		return nat_reply(ctx, pkt, fragment_id_be);
	if (pkt->kind == PACKET_ICMP_ERROR)
		return nat_error(ctx, pkt);
	if (pkt->kind != PACKET_FRAGMENT || pkt->part != PART_LATER)
		return pass();
	fragment = fragment_find(pkt, fragment_id_be);
	if (!fragment || fragment->generation != FRAGMENT_OF_REPLY)
		return pass();
	fragment_take_flow(pkt, fragment);
	return nat_reply(ctx, pkt, fragment_id_be);
}

#endif
