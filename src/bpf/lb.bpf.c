// SPDX-License-Identifier: GPL-2.0-only
/*
 * The forwarding plane. Every decision about a packet is made here, alone: no packet waits for the
 * supervisor. The entry function at the end is the table of contents.
 */
#include "admit.h"
#include "clock.h"
#include "echo.h"
#include "flow.h"
#include "forward.h"
#include "fragment.h"
#include "icmp.h"
#include "merge.h"
#include "nat-return.h"
#include "own_tunnel.h"
#include "probe.h"
#include "quic.h"
#include "schedule.h"
#include "vip.h"
#include "walk.h"

/* To no VIP: a backend's answer to a health check or, with nat, to a client; or nothing of ours. */
static __always_inline int not_for_a_vip(struct xdp_md *ctx, const struct packet *pkt,
					 const struct settings *cfg)
{
	if (maybe_own_tunnel(cfg, pkt))
		return VERDICT_TUNNEL;
	if (probe_expected(cfg, pkt))
		return probe_return(ctx, pkt, cfg);
	return cfg->features & FEATURES_NAT ? nat_reply(ctx, pkt, 0) : pass();
}

/* The same of other frames: echo replies are answers to checks, the rest may be of nat. */
static __always_inline int not_a_flow_to_others(struct xdp_md *ctx, struct packet *pkt,
						const struct settings *cfg)
{
	if (pkt->kind == PACKET_ECHO_REPLY)
		return not_for_a_vip(ctx, pkt, cfg);
	if (!(cfg->features & FEATURES_NAT))
		return pass();
	if (pkt->kind == PACKET_ICMP_ERROR)
		return nat_error(ctx, pkt);
	if (pkt->kind == PACKET_EXTENSIONS || pkt->kind == PACKET_FRAGMENT)
		return nat_revealed(ctx, pkt);
	return pass();
}

/* A flow's packet goes to the backend of its flow, unless a QUIC connection ID names another. */
static __always_inline int serve(struct xdp_md *ctx, const struct packet *pkt, __u32 index,
				 const struct backend *backend, __u32 now_ms)
{
	struct backend_local *local = bpf_map_lookup_elem(&backends_local, &index);

	if (local && is_plain(pkt, backend, local, now_ms))
		return forward_plain(ctx, pkt, local);
	if (backend->quic) {
		index = quic_backend(ctx, pkt, index);
		backend = bpf_map_lookup_elem(&backends, &index);
		local = bpf_map_lookup_elem(&backends_local, &index);
	}
	if (!backend || !local)
		return drop(DROP_INTERNAL);
	return forward_to(ctx, pkt, index, backend, local, now_ms);
}

/* Schedules a flow of which this is the first packet, and remembers the choice as embryonic. */
static __always_inline int first_packet(struct xdp_md *ctx, const struct packet *pkt,
					const struct settings *cfg)
{
	struct service *service = service_find(pkt);
	struct backend_local *local;
	struct backend *backend;
	struct flow flow = {};
	int why;

	if (!service)
		return is_vip(cfg, pkt) ? drop(DROP_NO_SERVICE) : not_for_a_vip(ctx, pkt, cfg);
	why = service->guarded ? refused(service, pkt) : 0;
	if (why)
		return drop(why);
	flow.backend = schedule(service, pkt);
	backend = bpf_map_lookup_elem(&backends, &flow.backend);
	if (!backend || backend->state == BACKEND_UNUSED)
		return drop(DROP_NO_BACKEND);
	if (backend->quic) {
		flow.backend = quic_backend(ctx, pkt, flow.backend);
		backend = bpf_map_lookup_elem(&backends, &flow.backend);
		if (!backend)
			return drop(DROP_INTERNAL);
	}

	flow.seen_ms = clock_now_ms();
	flow.opened_ms = flow.seen_ms;
	flow.generation = backend->generation;
	flow.state = flow_next_state(pkt, FLOW_OTHER);
	if (flow.state == FLOW_TCP_ESTABLISHED || flow.state == FLOW_TCP_FIN) {
		flow.flags = FLOW_GUESS;
		count(COUNT_FLOW_GUESSED);
	}
	FLOW_UPDATE(embryonic, pkt, &flow, BPF_ANY);
	local = bpf_map_lookup_elem(&backends_local, &flow.backend);
	if (local)
		local->flows_scheduled++;
	return forward(ctx, pkt, flow.backend, backend);
}

/*
 * Does an embryonic flow still hold? It is sticky, but only to a backend that takes new flows, and
 * a SYN after its end is another flow.
 */
static __always_inline bool embryonic_holds(const struct flow *flow, const struct backend *backend,
					    const struct packet *pkt, const struct settings *cfg)
{
	/* Signed: another CPU may have seen a later tick of the clock. */
	__s32 idle_ms = clock_now_ms() - flow->seen_ms;

	if (!backend || flow->state >= FLOW_STATE_COUNT)
		return false;
	if (idle_ms > (__s32)cfg->timeout_ms[flow->state])
		return false;
	if (pkt->tcp_flags & TCP_SYN)
		return backend->state == BACKEND_UP && flow->state != FLOW_TCP_FIN;
	/* A QUIC connection that came by its ID, from a new address, is no new one. */
	if (backend->quic && backend->state == BACKEND_DRAINING)
		return true;
	return backend->state == BACKEND_UP || flow->state != FLOW_UDP;
}

/* No established flow: a young one, a new one, or nothing of ours. */
static __noinline int young_flow(struct xdp_md *ctx, const struct packet *pkt)
{
	struct settings *cfg = settings_get();
	struct backend *backend;
	struct flow *flow;
	__u32 index, now_ms;
	__u8 state;

	if (!cfg)
		return drop(DROP_INTERNAL);
	if (!maybe_vip(cfg, pkt))
		return not_for_a_vip(ctx, pkt, cfg);
	flow = FLOW_LOOKUP(embryonic, pkt);
	if (!flow)
		return first_packet(ctx, pkt, cfg);
	/* Read before the record is moved, since its place may be taken at once. */
	index = flow_backend_index(flow);
	backend = flow_backend_at(flow, index);
	if (!embryonic_holds(flow, backend, pkt, cfg) || !backend)
		return first_packet(ctx, pkt, cfg);

	now_ms = clock_now_ms();
	state = flow_next_state(pkt, flow->state);
	if ((state != FLOW_TCP_ESTABLISHED && state != FLOW_UDP) ||
	    !flow_promote(pkt, flow, state)) {
		flow->state = state;
		flow->seen_ms = now_ms;
	}
	return serve(ctx, pkt, index, backend, now_ms);
}

/* An established flow lost its backend, or its tuple is used anew. */
static __noinline int replaced_flow(struct xdp_md *ctx, const struct packet *pkt,
				    const struct flow *flow)
{
	if (!flow)
		return drop(DROP_INTERNAL);
	if (flow_backend(flow))
		flow_ended(flow);
	count(COUNT_FLOW_REPLACED);
	FLOW_DELETE(flows, pkt);
	return young_flow(ctx, pkt);
}

/* A packet of PACKET_FLOW. */
static __always_inline int balance(struct xdp_md *ctx, const struct packet *pkt)
{
	struct flow *flow = FLOW_LOOKUP(flows, pkt);
	struct backend *backend;
	__u32 index, now_ms;

	if (!flow)
		return young_flow(ctx, pkt);
	index = flow_backend_index(flow);
	backend = flow_backend_at(flow, index);
	if (!backend || !flow_keeps(flow, backend, pkt))
		return replaced_flow(ctx, pkt, flow);

	/* Before the peers are told, lest they take a closing flow for one that has been idle. */
	now_ms = clock_now_ms();
	flow_touch(flow, now_ms);
	if (pkt->tcp_flags & (TCP_FIN | TCP_RST))
		flow_closing(pkt, flow);
	return serve(ctx, pkt, index, backend, now_ms);
}

/*
 * The same for packets that come here by a detour, so that the others have no part in it. Not static,
 * as others in these files: the kernel checks such a function once and not for every way to it.
 */
__noinline int balance_unusual(struct xdp_md *ctx, const struct packet *pkt)
{
	return pkt ? balance(ctx, pkt) : drop(DROP_INTERNAL);
}

/* A packet of PACKET_FLOW behind headers that are rare: it may be the first of several fragments. */
static __always_inline int balance_revealed(struct xdp_md *ctx, const struct packet *pkt,
					    __be32 fragment_id_be)
{
	int verdict = balance_unusual(ctx, pkt);

	/* Also of one that is dropped: it may come again in parts, and the others may fit. */
	if (pkt->part == PART_FIRST) {
		fragment_teach(pkt, fragment_id_be);
		if (verdict != XDP_DROP)
			count(COUNT_FRAGMENT_FORWARDED);
	}
	return verdict;
}

/* Whatever it is. What is a drop is one only if it is meant for a VIP. */
static __always_inline int sort(struct xdp_md *ctx, struct packet *pkt)
{
	struct settings *cfg = settings_get();
	__be32 fragment_id_be = 0;

	if (pkt->kind == PACKET_FLOW)
		return balance_unusual(ctx, pkt);
	if (!cfg || pkt->kind == PACKET_NOT_IP)
		return pass();
	if (!is_vip(cfg, pkt))
		return not_a_flow_to_others(ctx, pkt, cfg);
	if (pkt->kind == PACKET_EXTENSIONS || pkt->kind == PACKET_FRAGMENT)
		pkt->kind = reveal(ctx, pkt, &fragment_id_be);
	switch (pkt->kind) {
	case PACKET_FLOW:
		return balance_revealed(ctx, pkt, fragment_id_be);
	case PACKET_FRAGMENT:
		return fragment_follow(ctx, pkt, fragment_id_be);
	case PACKET_ECHO_REQUEST:
		return echo_reply(ctx, pkt);
	case PACKET_ICMP_ERROR:
		return icmp_error(ctx, pkt, false);
	case PACKET_MALFORMED:
		return drop(DROP_MALFORMED);
	case PACKET_OPTIONS:
		return drop(DROP_IP_OPTIONS);
	case PACKET_ECHO_REPLY:
	case PACKET_OTHER_PROTOCOL:
		return drop(DROP_PROTOCOL);
	}
	return drop(DROP_INTERNAL);
}

/* Frames that are not plainly of a flow: tagged, in a tunnel or in fragments, or of no flow at all. */
static __noinline int unusual(struct xdp_md *ctx, struct packet *pkt)
{
	struct settings *cfg = settings_get();
	int verdict, why;

	if (pkt->kind == PACKET_TAGGED && !vlan_strip(ctx, pkt))
		return pass();
	if (cfg && cfg->features & FEATURE_DECAP) {
		why = open_own_tunnel(ctx, pkt);
		if (why)
			return drop(why);
	}
	pkt->opened = true;
	verdict = sort(ctx, pkt);
	return verdict == XDP_PASS && pkt->tag_bytes ? vlan_restore(ctx, pkt, XDP_PASS) : verdict;
}

SEC("xdp")
int skein_lb(struct xdp_md *ctx)
{
	struct packet pkt = {};
	int verdict;

	parse(ctx, &pkt);
	if (pkt.kind != PACKET_FLOW)
		return unusual(ctx, &pkt);
	verdict = balance(ctx, &pkt);
	return verdict == VERDICT_TUNNEL ? unusual(ctx, &pkt) : verdict;
}

char _license[] SEC("license") = "GPL";
