/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Flows: finding, keeping, promoting. Two tables by age: established ones, which no flood can
 * push out, and embryonic ones, of which a single packet was seen. "Which backend owns this flow,
 * and does it need a record?" is answered here and in schedule.h, nowhere else.
 */
#ifndef SKEIN_FLOW_H
#define SKEIN_FLOW_H

#include "changes.h"
#include "clock.h"
#include "counters.h"
#include "parse.h"

/* Timeouts are seconds; writing less often spares a dirty cache line for each packet. */
#define SEEN_REFRESH_MS 1000

/*
 * The kernel inlines a map operation, or calls it directly, where it knows the map. The compiler
 * would merge the calls for IPv4 and IPv6 into one that gets either map: an indirect call, which
 * costs nearly as much as the lookup itself. That they are followed by something different keeps
 * them apart; the text of an empty asm is enough.
 */
#define FLOW_OPERATION(operation, table, pkt, ...)                                                 \
	({                                                                                         \
		typeof(operation(&table##4, &(pkt)->key4, ##__VA_ARGS__)) _result;                 \
                                                                                                   \
		if ((pkt)->is_ipv6) {                                                              \
			_result = operation(&table##6, &(pkt)->key6, ##__VA_ARGS__);               \
			asm volatile("# IPv6");                                                    \
		} else {                                                                           \
			_result = operation(&table##4, &(pkt)->key4, ##__VA_ARGS__);               \
			asm volatile("# IPv4");                                                    \
		}                                                                                  \
		_result;                                                                           \
	})
#define FLOW_LOOKUP(table, pkt) FLOW_OPERATION(bpf_map_lookup_elem, table, pkt)
#define FLOW_UPDATE(table, pkt, value, how)                                                        \
	FLOW_OPERATION(bpf_map_update_elem, table, pkt, value, how)
#define FLOW_DELETE(table, pkt) FLOW_OPERATION(bpf_map_delete_elem, table, pkt)

static __always_inline struct flow *flow_of_any_age(const struct packet *pkt)
{
	struct flow *flow = FLOW_LOOKUP(flows, pkt);

	return flow ? flow : FLOW_LOOKUP(embryonic, pkt);
}

static __always_inline void flow_touch(struct flow *flow, __u32 now_ms)
{
	if (now_ms - flow->seen_ms >= SEEN_REFRESH_MS)
		flow->seen_ms = now_ms;
}

/* The state that this packet puts a flow into; what is closing stays so until a new SYN. */
static __always_inline __u8 flow_next_state(const struct packet *pkt, __u8 state)
{
	if (packet_l4_proto(pkt) == IPPROTO_UDP)
		return FLOW_UDP;
	if (pkt->tcp_flags & (TCP_FIN | TCP_RST))
		return FLOW_TCP_FIN;
	if (pkt->tcp_flags & TCP_SYN)
		return pkt->tcp_flags & TCP_ACK ? FLOW_TCP_SYN_ACK : FLOW_TCP_SYN;
	return state == FLOW_TCP_FIN ? FLOW_TCP_FIN : FLOW_TCP_ESTABLISHED;
}

/* Once for each packet: the record may be given to another flow beside it, between two reads. */
static __always_inline __u32 flow_backend_index(const struct flow *flow)
{
	return *(const volatile __u32 *)&flow->backend;
}

/* The backend of a flow, which is at `index`; NULL when its slot was given to another one since. */
static __always_inline struct backend *flow_backend_at(const struct flow *flow, __u32 index)
{
	struct backend *backend = bpf_map_lookup_elem(&backends, &index);

	if (!backend || backend->generation != flow->generation || backend->state == BACKEND_UNUSED)
		return NULL;
	return backend;
}

static __always_inline struct backend *flow_backend(const struct flow *flow)
{
	return flow_backend_at(flow, flow_backend_index(flow));
}

static __always_inline void flow_ended(const struct flow *flow)
{
	__u32 index = flow->backend;
	struct backend_local *local = bpf_map_lookup_elem(&backends_local, &index);

	/* May run beside a packet on another CPU's behalf: the sweeper is preemptible. */
	if (local)
		__sync_fetch_and_add(&local->flows_ended, 1);
}

/*
 * May an established flow keep its backend in the face of this packet? A SYN opens the tuple anew
 * once the old flow was closing or its backend is down. It does not while the flow is alive: anyone
 * can forge a SYN. A datagram has no connection to lose, so it leaves a backend that is down.
 */
static __always_inline bool flow_keeps(const struct flow *flow, const struct backend *backend,
				       const struct packet *pkt)
{
	bool is_syn = (pkt->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;

	/* Nearly always. */
	if (backend->state == BACKEND_UP && !(pkt->tcp_flags & TCP_SYN))
		return true;
	if (backend->state == BACKEND_DOWN && (is_syn || flow->state == FLOW_UDP))
		return false;
	return !is_syn || flow->state != FLOW_TCP_FIN;
}

/* The client closes or resets: from here on the shorter timeout holds, here and at the peers. */
static __always_inline void flow_closing(const struct packet *pkt, struct flow *flow)
{
	if (flow->state == FLOW_TCP_FIN)
		return;
	flow->state = FLOW_TCP_FIN;
	tell_change(pkt, flow, FLOW_REFRESHED);
}

/*
 * The second packet of a flow moves its record to the table that floods of single packets do not reach.
 * False when that is full, and the record is where it was.
 */
static __always_inline bool flow_promote(const struct packet *pkt, const struct flow *embryonic,
					 __u8 state)
{
	__u32 index = embryonic->backend;
	struct backend_local *local;
	struct flow flow = *embryonic;

	flow.state = state;
	flow.seen_ms = clock_now_ms();
	flow.flags = told_now(flow.flags, flow.seen_ms);
	if (FLOW_UPDATE(flows, pkt, &flow, BPF_ANY)) {
		count(COUNT_FLOW_TABLE_FULL);
		return false;
	}
	FLOW_DELETE(embryonic, pkt);
	local = bpf_map_lookup_elem(&backends_local, &index);
	if (local)
		local->flows_established++;
	tell_change(pkt, &flow, FLOW_OPENED);
	return true;
}

#endif
