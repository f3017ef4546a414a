/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Translation on the way to a backend: the VIP and its port become the backend's own (nat), and the
 * client becomes this node and a port that stands for it (full_nat). ICMP errors about replies are
 * translated with what they quote (nat-quote.h). The way back is nat-return.h. What is not static is
 * a function that the kernel checks once and not for each call.
 */
#ifndef SKEIN_NAT_H
#define SKEIN_NAT_H

#include "clock.h"
#include "flow.h"
#include "nat-quote.h"
#include "rewrite.h"
#include "schedule.h"
#include "settings.h"

#define NAT_PORT_TRIES 16

/* Of one packet on one CPU: functions that call each other share a stack of 512 bytes. */
struct nat_scratch {
	/* What is to become of the packet, and of what it quotes. */
	struct nat_ends ends;
	struct nat_ends quoted;
	/* What nat_port_be() looks for, and what it finds on the way. */
	struct nat_flow flow;
	struct nat_key key;
	__be16 free_be;
	__be16 silent_be;
	/* The rest is of nat-return.h. */
	struct nat_flow back;
	struct packet reply;
	struct packet asked;
	struct backend_local hop;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nat_scratch);
} nat_scratch SEC(".maps");

static __always_inline struct nat_scratch *nat_scratch_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&nat_scratch, &zero);
}

static __always_inline const struct ip_address *own_address(const struct settings *cfg,
							    const struct packet *pkt)
{
	return pkt->is_ipv6 ? &cfg->node6 : &cfg->node4;
}

static __always_inline bool to_this_node(const struct settings *cfg, const struct packet *pkt)
{
	if (pkt->is_ipv6)
		return same_address(&pkt->key6.daddr, &cfg->node6);
	return pkt->key4.daddr_be == ((const __u32 *)&cfg->node4)[3];
}

static __always_inline bool is_translated(const struct backend *backend)
{
	return backend->mode == FORWARD_NAT || backend->mode == FORWARD_FULL_NAT;
}

/* Where a packet for this port goes: the backend's own port stands for the service's and no other. */
static __always_inline __be16 nat_target_be(const struct backend *backend, __be16 dport_be)
{
	return backend->port_be && dport_be == backend->service_port_be ? backend->port_be :
									  dport_be;
}

static __always_inline bool is_overdue(const struct settings *cfg, const struct nat_flow *flow,
				       __u32 now_ms)
{
	/* Signed: another CPU may have seen a later tick of the clock. */
	return flow->state >= FLOW_STATE_COUNT ||
	       (__s32)(now_ms - flow->seen_ms) > (__s32)cfg->timeout_ms[flow->state];
}

static __always_inline bool same_nat_flow(const struct nat_flow *a, const struct nat_flow *b)
{
	return same_address(&a->client, &b->client) && same_address(&a->vip, &b->vip) &&
	       a->client_port_be == b->client_port_be && a->vip_port_be == b->vip_port_be;
}

static __always_inline void nat_touch(struct nat_flow *flow, __u8 state, __u32 now_ms)
{
	if (flow->state != state)
		flow->state = state;
	if (now_ms - flow->seen_ms >= SEEN_REFRESH_MS)
		flow->seen_ms = now_ms;
}

/* Fills in the flow of this packet and its key but for the port, of which it returns the first try. */
static __always_inline __u32 nat_wanted(struct nat_scratch *s, const struct packet *pkt,
					const struct backend *backend)
{
	__u64 hash;

	packet_saddr(pkt, &s->flow.client);
	packet_daddr(pkt, &s->flow.vip);
	s->flow.client_port_be = packet_sport_be(pkt);
	s->flow.vip_port_be = packet_dport_be(pkt);
	s->flow.seen_ms = clock_now_ms();
	s->flow.state = flow_next_state(pkt, FLOW_OTHER);
	s->key.address = backend->address;
	s->key.port_be = nat_target_be(backend, s->flow.vip_port_be);
	s->key.l4_proto = packet_l4_proto(pkt);
	s->free_be = 0;
	s->silent_be = 0;
	/* Mixed again: of the first hash, a backend's flows share the upper bits. */
	hash = hash_mix(NAT_PORT_FIRST, flow_hash(pkt, AFFINITY_FLOW)) >> 32;
	return hash * NAT_PORT_COUNT >> 32;
}

/* A port for the flow that has none: a free one, or one of a flow that is overdue. */
static __always_inline __be16 nat_take(struct nat_scratch *s)
{
	bool is_free = s->free_be != 0;

	s->key.nat_port_be = is_free ? s->free_be : s->silent_be;
	if (!s->key.nat_port_be)
		return 0;
	if (bpf_map_update_elem(&nat_flows, &s->key, &s->flow, is_free ? BPF_NOEXIST : BPF_ANY))
		return 0;
	return s->key.nat_port_be;
}

/*
 * The port of this node that stands for the client's, or 0. It is one of a few that follow from the
 * flow, so that no search is long; the flow's own one is looked for among all of these before a free
 * one is taken, since entries between may have gone. One that is overdue counts as free. What is no
 * packet of the flow itself, such as an error about it, takes none.
 */
__noinline __u16 nat_port_be(const struct packet *pkt, const struct backend *backend)
{
	struct nat_scratch *s = nat_scratch_get();
	struct settings *cfg = settings_get();
	__u32 first, i;

	if (!cfg || !s || !pkt || !backend)
		return 0;
	first = nat_wanted(s, pkt, backend);
	for (i = 0; i < NAT_PORT_TRIES; i++) {
		__u32 offset = first + i < NAT_PORT_COUNT ? first + i : first + i - NAT_PORT_COUNT;
		struct nat_flow *found;

		s->key.nat_port_be = bpf_htons(NAT_PORT_FIRST + offset);
		found = bpf_map_lookup_elem(&nat_flows, &s->key);
		if (!found) {
			if (!s->free_be)
				s->free_be = s->key.nat_port_be;
			continue;
		}
		if (same_nat_flow(found, &s->flow)) {
			if (pkt->kind == PACKET_FLOW)
				nat_touch(found, flow_next_state(pkt, found->state),
					  s->flow.seen_ms);
			return s->key.nat_port_be;
		}
		if (!s->silent_be && is_overdue(cfg, found, s->flow.seen_ms))
			s->silent_be = s->key.nat_port_be;
	}
	return pkt->kind == PACKET_FLOW ? nat_take(s) : 0;
}

/* Only the node that a flow of full_nat goes through can translate errors about it. */
static __always_inline bool nat_knows(const struct packet *quoted, const struct backend *backend)
{
	return backend->mode != FORWARD_FULL_NAT || nat_port_be(quoted, backend);
}

/*
 * What a packet, or the flow that an error quotes, is to its backend: in the scratch. 0, or the counter
 * under which the packet is to be dropped.
 */
__noinline int nat_way(const struct packet *pkt, const struct backend *backend)
{
	struct nat_scratch *s = nat_scratch_get();
	struct settings *cfg = settings_get();

	if (!s || !cfg || !pkt || !backend)
		return DROP_INTERNAL;
	packet_saddr(pkt, &s->ends.saddr);
	s->ends.daddr = backend->address;
	s->ends.sport_be = packet_sport_be(pkt);
	s->ends.dport_be = nat_target_be(backend, packet_dport_be(pkt));
	/* A health check has become this already: see skein_probe. */
	if (backend->mode != FORWARD_FULL_NAT ||
	    same_address(&s->ends.saddr, own_address(cfg, pkt)))
		return 0;
	s->ends.saddr = *own_address(cfg, pkt);
	if (is_unset(&s->ends.saddr))
		return DROP_NO_SOURCE;
	/* A later one has no ports. */
	if (pkt->kind == PACKET_FRAGMENT)
		return 0;
	s->ends.sport_be = nat_port_be(pkt, backend);
	if (s->ends.sport_be)
		return 0;
	return pkt->kind == PACKET_FLOW ? DROP_NAT_NO_PORT : DROP_NAT_UNKNOWN;
}

__noinline int rewrite_ends(struct xdp_md *ctx, const struct packet *pkt,
			    const struct nat_ends *ends)
{
	struct rewrite to;

	if (!pkt || !ends)
		return -1;
	to.saddr = &ends->saddr;
	to.daddr = &ends->daddr;
	to.sport_be = ends->sport_be;
	to.dport_be = ends->dport_be;
	return rewrite_packet(ctx, pkt, &to);
}

/* An error about a reply: the backend knows that by its own address, so the ends change places. */
static __always_inline int rewrite_error_about_reply(struct xdp_md *ctx, const struct packet *pkt)
{
	struct nat_scratch *s = nat_scratch_get();

	if (!s)
		return -1;
	s->quoted.saddr = s->ends.daddr;
	s->quoted.daddr = s->ends.saddr;
	s->quoted.sport_be = s->ends.dport_be;
	s->quoted.dport_be = s->ends.sport_be;
	return rewrite_error(ctx, pkt, &s->quoted, NULL);
}

static __always_inline int nat_rewrite(struct xdp_md *ctx, const struct packet *pkt)
{
	struct nat_scratch *s = nat_scratch_get();

	if (pkt->kind == PACKET_ICMP_ERROR)
		return rewrite_error_about_reply(ctx, pkt);
	return s ? rewrite_ends(ctx, pkt, &s->ends) : -1;
}

/* 0, or the counter under which the packet is to be dropped. */
static __always_inline int translate(struct xdp_md *ctx, const struct packet *pkt,
				     const struct backend *backend)
{
	int why = nat_way(pkt, backend);

	if (why)
		return why;
	return nat_rewrite(ctx, pkt) ? DROP_INTERNAL : 0;
}

#endif
