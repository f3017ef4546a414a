/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Removes idle flows. A walk over a flow table by the kernel's map iterator: the supervisor reads
 * a file descriptor on a worker thread, and no flow is copied to it.
 */
#ifndef SKEIN_SWEEP_H
#define SKEIN_SWEEP_H

#include "flow.h"
#include "vip.h"

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

static __always_inline bool flow_idle(const struct flow *flow, __u32 now_ms)
{
	struct settings *cfg = settings_get();
	__u32 state = flow->state;

	if (!cfg || state >= FLOW_STATE_COUNT)
		return false;
	return (__s32)(now_ms - flow->seen_ms - cfg->timeout_ms[state]) > 0;
}

static __always_inline bool sweep_one(const struct flow *flow, __u32 table)
{
	struct sweep *sweep = bpf_map_lookup_elem(&sweeps, &table);
	__u32 now_ms = bpf_ktime_get_ns() / 1000000;

	if (!sweep)
		return false;
	sweep->scanned++;
	if (!flow_idle(flow, now_ms))
		return false;
	sweep->expired++;
	count(COUNT_FLOW_EXPIRED);
	if (flow_backend(flow))
		flow_ended(flow);
	return true;
}

SEC("iter/bpf_map_elem")
int sweep_flows4(struct bpf_iter__bpf_map_elem *ctx)
{
	struct flow4_key *key = ctx->key, copy;
	struct flow *flow = ctx->value;

	if (!key || !flow)
		return 0;
	copy = *key;
	if (sweep_one(flow, 0))
		bpf_map_delete_elem(&flows4, &copy);
	return 0;
}

SEC("iter/bpf_map_elem")
int sweep_flows6(struct bpf_iter__bpf_map_elem *ctx)
{
	struct flow6_key *key = ctx->key, copy;
	struct flow *flow = ctx->value;

	if (!key || !flow)
		return 0;
	copy = *key;
	if (sweep_one(flow, 1))
		bpf_map_delete_elem(&flows6, &copy);
	return 0;
}

#endif
