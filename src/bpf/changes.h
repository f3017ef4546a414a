/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tells the supervisor what happens to flows, so that it can tell the peers. Costs a packet
 * nothing unless its flow begins or closes; never delays one: a full buffer is counted.
 */
#ifndef SKEIN_CHANGES_H
#define SKEIN_CHANGES_H

#include "clock.h"
#include "counters.h"
#include "parse.h"
#include "settings.h"

/*
 * When a peer or this node last spoke of a flow, in the upper seven bits of its flags: units of 8 s,
 * modulo 1,024 s. The sweeper looks often enough for that.
 */
#define TOLD_SHIFT 1
#define TOLD_MASK 0x7f
#define TOLD_UNIT_MS 8192

static __always_inline __u8 told_now(__u8 flags, __u32 now_ms)
{
	return (flags & FLOW_GUESS) | ((now_ms / TOLD_UNIT_MS) & TOLD_MASK) << TOLD_SHIFT;
}

static __always_inline __u32 told_ago_ms(__u8 flags, __u32 now_ms)
{
	return ((now_ms / TOLD_UNIT_MS - (flags >> TOLD_SHIFT)) & TOLD_MASK) * TOLD_UNIT_MS;
}

static __always_inline void record_key(struct flow_record *record, const struct packet *pkt)
{
	record->is_ipv6 = pkt->is_ipv6;
	if (pkt->is_ipv6) {
		record->key = pkt->key6;
		return;
	}
	map_ipv4(&record->key.saddr, pkt->key4.saddr_be);
	map_ipv4(&record->key.daddr, pkt->key4.daddr_be);
	record->key.sport_be = pkt->key4.sport_be;
	record->key.dport_be = pkt->key4.dport_be;
	record->key.l4_proto = pkt->key4.l4_proto;
}

/* The inverse of record_key(): a packet that has only a key. */
static __always_inline void packet_of(struct packet *pkt, const struct flow_record *record)
{
	pkt->is_ipv6 = record->is_ipv6;
	if (record->is_ipv6) {
		pkt->key6 = record->key;
		return;
	}
	pkt->key4.saddr_be = ((const __u32 *)&record->key.saddr)[3];
	pkt->key4.daddr_be = ((const __u32 *)&record->key.daddr)[3];
	pkt->key4.sport_be = record->key.sport_be;
	pkt->key4.dport_be = record->key.dport_be;
	pkt->key4.l4_proto = record->key.l4_proto;
}

static __always_inline void tell_change(const struct packet *pkt, const struct flow *flow,
					enum flow_change change)
{
	struct settings *cfg = settings_get();
	struct flow_record *record;

	if (!cfg || !cfg->sharing)
		return;
	record = bpf_ringbuf_reserve(&changes, sizeof(*record), 0);
	if (!record) {
		count(COUNT_CHANGE_LOST);
		return;
	}
	record_key(record, pkt);
	record->flow = *flow;
	record->change = change;
	record->reserved = 0;
	record->reserved2 = 0;
	/* The supervisor looks at its own pace; waking it would cost more than the event. */
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

#endif
