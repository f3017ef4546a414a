/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Walks over the flow tables by the kernel's map iterator: idle flows are removed, long-lived ones
 * told again, tables read out or summed up. The supervisor reads a file descriptor on a worker
 * thread; no walk holds a packet up.
 */
#ifndef SKEIN_WALK_H
#define SKEIN_WALK_H

#include "admit.h"
#include "changes.h"
#include "flow.h"

/* A flow that is in use is told again after this time, or a third of its timeout. */
#define REFRESH_MS_MAX 60000
/* News of younger flows may still be on the way, so a digest leaves them out. */
#define SETTLED_MS 3000

struct bpf_iter_meta {
	__bpf_md_ptr(struct seq_file *, seq);
	__u64 session_id;
	__u64 seq_num;
} __attribute__((preserve_access_index));

struct bpf_iter__bpf_map_elem {
	__bpf_md_ptr(struct bpf_iter_meta *, meta);
	__bpf_md_ptr(struct bpf_map *, map);
	__bpf_md_ptr(void *, key);
	__bpf_md_ptr(void *, value);
} __attribute__((preserve_access_index));

static __always_inline bool flow_refresh_due(const struct flow *flow, const struct settings *cfg,
					     __u32 now_ms)
{
	__u32 told_ms = told_ago_ms(flow->flags, now_ms), due_ms = cfg->timeout_ms[flow->state] / 3;

	if (flow->state == FLOW_TCP_FIN || now_ms - flow->seen_ms > told_ms)
		return false;
	return told_ms >= (due_ms < REFRESH_MS_MAX ? due_ms : REFRESH_MS_MAX);
}

/*
 * Two forged packets make a flow established, for as long as a real one. So where they crowd the tables,
 * flows that were never heard for more than a second have the time of a connection that is not open yet.
 */
static __always_inline __u32 flow_timeout_ms(const struct flow *flow, const struct settings *cfg)
{
	__u32 timeout_ms = cfg->timeout_ms[flow->state], short_ms = cfg->timeout_ms[FLOW_TCP_SYN];
	bool brief = (__s32)(flow->seen_ms - flow->opened_ms) < SEEN_REFRESH_MS;

	return cfg->crowded && brief && short_ms < timeout_ms ? short_ms : timeout_ms;
}

/* True when the flow is to be removed. */
static __always_inline bool sweep_one(const struct packet *pkt, struct flow *flow, __u32 table)
{
	struct sweep *sweep = bpf_map_lookup_elem(&sweeps, &table);
	__u32 now_ms = bpf_ktime_get_ns() / 1000000;
	struct settings *cfg = settings_get();
	struct backend *backend;

	if (!sweep || !cfg || flow->state >= FLOW_STATE_COUNT)
		return false;
	sweep->scanned++;
	if ((__s32)(now_ms - flow->seen_ms - flow_timeout_ms(flow, cfg)) > 0) {
		sweep->expired++;
		count(COUNT_FLOW_EXPIRED);
		if (flow_backend(flow))
			flow_ended(flow);
		tell_change(pkt, flow, FLOW_CLOSED);
		return true;
	}
	backend = flow_backend(flow);
	if (backend && !still_admitted(backend, pkt)) {
		count(COUNT_FLOW_DENIED);
		flow_ended(flow);
		tell_change(pkt, flow, FLOW_CLOSED);
		return true;
	}
	if (cfg->sharing && flow_refresh_due(flow, cfg, now_ms)) {
		flow->flags = told_now(flow->flags, now_ms);
		tell_change(pkt, flow, FLOW_REFRESHED);
	}
	return false;
}

SEC("iter/bpf_map_elem")
int sweep_flows4(struct bpf_iter__bpf_map_elem *ctx)
{
	struct flow4_key *key = ctx->key;
	struct flow *flow = ctx->value;
	struct packet pkt = {};

	if (!key || !flow)
		return 0;
	pkt.key4 = *key;
	if (sweep_one(&pkt, flow, 0))
		bpf_map_delete_elem(&flows4, &pkt.key4);
	return 0;
}

SEC("iter/bpf_map_elem")
int sweep_flows6(struct bpf_iter__bpf_map_elem *ctx)
{
	struct flow6_key *key = ctx->key;
	struct flow *flow = ctx->value;
	struct packet pkt = {.is_ipv6 = 1};

	if (!key || !flow)
		return 0;
	pkt.key6 = *key;
	if (sweep_one(&pkt, flow, 1))
		bpf_map_delete_elem(&flows6, &pkt.key6);
	return 0;
}

/* The hash of src/model/flow-hash.ts: two lanes of MurmurHash3_x86_32. */
struct lanes {
	__u32 high;
	__u32 low;
};

static __always_inline __u32 rotate(__u32 word, int by)
{
	return word << by | word >> (32 - by);
}

static __always_inline __u32 lane_mix(__u32 lane, __u32 word)
{
	lane ^= rotate(word * 0xcc9e2d51U, 15) * 0x1b873593U;
	return rotate(lane, 13) * 5 + 0xe6546b64U;
}

static __always_inline void lanes_mix(struct lanes *lanes, __u32 word)
{
	lanes->high = lane_mix(lanes->high, word);
	lanes->low = lane_mix(lanes->low, word);
}

static __always_inline void lanes_mix_address(struct lanes *lanes, const struct ip_address *address)
{
	const __u32 *words_be = (const __u32 *)address;
	int i;

#pragma unroll
	for (i = 0; i < 4; i++)
		lanes_mix(lanes, bpf_ntohl(words_be[i]));
}

static __always_inline __u32 avalanche(__u32 hash)
{
	hash = (hash ^ hash >> 16) * 0x85ebca6bU;
	hash = (hash ^ hash >> 13) * 0xc2b2ae35U;
	return hash ^ hash >> 16;
}

static __always_inline __u64 lanes_finish(const struct lanes *lanes, __u32 bytes)
{
	return (__u64)avalanche(lanes->high ^ bytes) << 32 | avalanche(lanes->low ^ bytes);
}

static __always_inline void lanes_of_key(struct lanes *lanes, const struct flow6_key *key)
{
	lanes->high = 0x736b6569U;
	lanes->low = 0x6e2e6c62U;
	lanes_mix_address(lanes, &key->daddr);
	lanes_mix(lanes, (__u32)bpf_ntohs(key->dport_be) << 16 | key->l4_proto);
	lanes_mix_address(lanes, &key->saddr);
	lanes_mix(lanes, bpf_ntohs(key->sport_be));
}

static __always_inline __u32 bucket_of(const struct lanes *lanes)
{
	return (lanes_finish(lanes, 40) >> 54) & (DIGEST_BUCKETS - 1);
}

static __noinline int digest_one(const struct flow_record *record)
{
	__u32 now_ms = bpf_ktime_get_ns() / 1000000, bucket, zero = DIGEST_BUCKETS;
	struct backend *backend;
	struct lanes lanes;
	__u64 *sum, *flows;

	if (!record || record->flow.state == FLOW_TCP_FIN ||
	    now_ms - record->flow.opened_ms < SETTLED_MS)
		return 0;
	backend = flow_backend(&record->flow);
	if (!backend)
		return 0;
	lanes_of_key(&lanes, &record->key);
	bucket = bucket_of(&lanes);
	lanes_mix_address(&lanes, &backend->address);
	sum = bpf_map_lookup_elem(&digest, &bucket);
	/* One past the buckets: the number of flows. */
	flows = bpf_map_lookup_elem(&digest, &zero);
	if (sum && flows) {
		*sum += lanes_finish(&lanes, 56);
		(*flows)++;
	}
	return 0;
}

static __always_inline bool record_of(struct flow_record *record,
				      struct bpf_iter__bpf_map_elem *ctx, bool is_ipv6)
{
	struct flow *flow = ctx->value;
	struct packet pkt = {};
	void *key = ctx->key;

	if (!key || !flow)
		return false;
	pkt.is_ipv6 = is_ipv6;
	if (is_ipv6)
		pkt.key6 = *(struct flow6_key *)key;
	else
		pkt.key4 = *(struct flow4_key *)key;
	record_key(record, &pkt);
	record->flow = *flow;
	record->change = FLOW_REFRESHED;
	return true;
}

SEC("iter/bpf_map_elem")
int digest_flows4(struct bpf_iter__bpf_map_elem *ctx)
{
	struct flow_record record = {};

	return record_of(&record, ctx, false) ? digest_one(&record) : 0;
}

SEC("iter/bpf_map_elem")
int digest_flows6(struct bpf_iter__bpf_map_elem *ctx)
{
	struct flow_record record = {};

	return record_of(&record, ctx, true) ? digest_one(&record) : 0;
}

/* Writes the record out if its bucket is asked for. */
static __always_inline int read_one(struct bpf_iter__bpf_map_elem *ctx,
				    const struct flow_record *record)
{
	struct lanes lanes;
	__u32 word;
	__u64 *wanted;

	lanes_of_key(&lanes, &record->key);
	word = bucket_of(&lanes) / 64;
	wanted = bpf_map_lookup_elem(&read_buckets, &word);
	if (wanted && *wanted >> (bucket_of(&lanes) & 63) & 1)
		bpf_seq_write(ctx->meta->seq, record, sizeof(*record));
	return 0;
}

SEC("iter/bpf_map_elem")
int read_flows4(struct bpf_iter__bpf_map_elem *ctx)
{
	struct flow_record record = {};

	return record_of(&record, ctx, false) ? read_one(ctx, &record) : 0;
}

SEC("iter/bpf_map_elem")
int read_flows6(struct bpf_iter__bpf_map_elem *ctx)
{
	struct flow_record record = {};

	return record_of(&record, ctx, true) ? read_one(ctx, &record) : 0;
}

#endif
