/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Flows from peers into the tables: the merge rule of src/model/merge.ts, run in the kernel so that
 * a packet and a peer's record never race between a look and a write by user space. Both versions
 * must pass src/peers/merge-cases.ts.
 */
#ifndef SKEIN_MERGE_H
#define SKEIN_MERGE_H

#include "changes.h"
#include "flow.h"

#define EEXIST 17
#define SAME_LIFE_MS 100
#define CLOSE_SEEN_SLACK_MS 1000

/* Below zero: `a` was earlier. Times are milliseconds modulo 2^32. */
static __always_inline __s32 later_by_ms(__u32 a, __u32 b)
{
	return (__s32)(a - b);
}

static __always_inline bool close_applies(const struct flow *known, const struct flow *closed)
{
	bool other_life = later_by_ms(known->opened_ms, closed->opened_ms) > SAME_LIFE_MS;
	bool younger = !(known->flags & FLOW_GUESS) && other_life &&
		       later_by_ms(known->opened_ms, closed->seen_ms) > 0;

	return !younger && later_by_ms(known->seen_ms, closed->seen_ms) <= CLOSE_SEEN_SLACK_MS;
}

static __always_inline bool is_lower_address(const struct ip_address *a, const struct ip_address *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	if (x[0] != y[0])
		return bpf_be64_to_cpu(x[0]) < bpf_be64_to_cpu(y[0]);
	return bpf_be64_to_cpu(x[1]) < bpf_be64_to_cpu(y[1]);
}

/* Between two records of which both or neither is a guess, on different backends. */
static __always_inline bool said_wins(const struct flow *said, const struct flow *known)
{
	__s32 later_ms = later_by_ms(said->opened_ms, known->opened_ms);
	struct backend *ours = flow_backend(known), *theirs = flow_backend(said);

	if (later_ms > SAME_LIFE_MS || later_ms < -SAME_LIFE_MS)
		return later_ms > 0;
	if (!ours || !theirs)
		return !ours;
	return is_lower_address(&theirs->address, &ours->address);
}

static __always_inline void count_established(const struct flow *flow)
{
	__u32 index = flow->backend;
	struct backend_local *local = bpf_map_lookup_elem(&backends_local, &index);

	if (local)
		__sync_fetch_and_add(&local->flows_established, 1);
}

/* As a whole: a packet on another CPU must not see the new backend with the old generation. */
static __always_inline enum merge_outcome replace(const struct packet *pkt, struct flow *known,
						  const struct flow *said, __u32 seen_ms)
{
	struct flow next = *said;

	next.seen_ms = seen_ms;
	if (flow_backend(known))
		flow_ended(known);
	if (FLOW_UPDATE(flows, pkt, &next, BPF_EXIST))
		return MERGE_IGNORED;
	count_established(said);
	return MERGE_REPLACED;
}

static __always_inline __u32 later_of(__u32 a, __u32 b)
{
	return later_by_ms(a, b) > 0 ? a : b;
}

static __always_inline enum merge_outcome merge_guess(const struct packet *pkt, struct flow *known,
						      const struct flow *said)
{
	__u32 seen_ms = later_of(known->seen_ms, said->seen_ms);

	if (known->flags & FLOW_GUESS)
		return replace(pkt, known, said, seen_ms);
	if (known->backend != said->backend || seen_ms == known->seen_ms)
		return MERGE_IGNORED;
	known->seen_ms = seen_ms;
	return MERGE_REFRESHED;
}

static __always_inline enum merge_outcome merge_same(struct flow *known, const struct flow *said)
{
	__s32 later_ms = later_by_ms(said->opened_ms, known->opened_ms);
	__u32 seen_ms = later_of(known->seen_ms, said->seen_ms);
	__u32 opened_ms = known->opened_ms;
	__u8 state = known->state;

	if (later_ms > SAME_LIFE_MS) {
		opened_ms = said->opened_ms;
		state = said->state;
	} else if (later_ms >= -SAME_LIFE_MS) {
		if (later_ms < 0)
			opened_ms = said->opened_ms;
		if (said->state == FLOW_TCP_FIN)
			state = FLOW_TCP_FIN;
		else if (state != FLOW_TCP_FIN && seen_ms != known->seen_ms)
			state = said->state;
	}
	if (seen_ms == known->seen_ms && opened_ms == known->opened_ms && state == known->state)
		return MERGE_IGNORED;
	known->seen_ms = seen_ms;
	known->opened_ms = opened_ms;
	known->state = state;
	return MERGE_REFRESHED;
}

static __always_inline enum merge_outcome merge_new(const struct packet *pkt,
						    const struct flow *said)
{
	long rc = FLOW_UPDATE(flows, pkt, said, BPF_NOEXIST);

	/* A packet of the flow was quicker; the peer's next word of it finds what that made. */
	if (rc == -EEXIST)
		return MERGE_IGNORED;
	if (rc) {
		count(COUNT_FLOW_TABLE_FULL);
		return MERGE_FULL;
	}
	/* What this node only began to know is overruled. */
	FLOW_DELETE(embryonic, pkt);
	count_established(said);
	return MERGE_ADDED;
}

static __noinline int merge_record(const struct packet *pkt, const struct flow_record *record,
				   __u32 now_ms)
{
	const struct flow *said;
	struct flow *known;
	enum merge_outcome outcome;

	if (!record || !pkt)
		return MERGE_IGNORED;
	said = &record->flow;
	known = FLOW_LOOKUP(flows, pkt);
	if (record->change == FLOW_CLOSED) {
		if (!known || !close_applies(known, said))
			return MERGE_IGNORED;
		if (flow_backend(known))
			flow_ended(known);
		FLOW_DELETE(flows, pkt);
		return MERGE_REMOVED;
	}
	if (!known)
		return merge_new(pkt, said);
	if (!flow_backend(known))
		return replace(pkt, known, said, said->seen_ms);
	if ((known->flags ^ said->flags) & FLOW_GUESS)
		outcome = merge_guess(pkt, known, said);
	else if (known->backend == said->backend && known->generation == said->generation)
		outcome = merge_same(known, said);
	else
		outcome = said_wins(said, known) ? replace(pkt, known, said, said->seen_ms) :
						   MERGE_IGNORED;
	/* What was replaced lies elsewhere now, and `known` may be another flow's. */
	if (outcome != MERGE_REPLACED)
		known->flags = told_now(known->flags, now_ms);
	return outcome;
}

struct merge_walk {
	__u32 now_ms;
};

static long merge_at(__u32 index, struct merge_walk *walk)
{
	struct flow_record *record = bpf_map_lookup_elem(&inbox, &index);
	struct packet pkt = {};
	__u64 *tally;
	__u32 outcome;

	if (!record)
		return 1;
	packet_of(&pkt, record);
	record->flow.flags = told_now(record->flow.flags, walk->now_ms);
	outcome = merge_record(&pkt, record, walk->now_ms);
	tally = bpf_map_lookup_elem(&merge_tally, &outcome);
	if (tally)
		(*tally)++;
	return 0;
}

/* Merges the first `records` of the inbox; the supervisor alone runs it, one at a time. */
SEC("syscall")
int merge_inbox(struct merge_request *request)
{
	struct merge_walk walk = {.now_ms = bpf_ktime_get_ns() / 1000000};

	bpf_loop(request->records, merge_at, &walk, 0);
	return 0;
}

#endif
