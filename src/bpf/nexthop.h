/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a backend is on the wire. A FIB lookup costs more than everything else together, so each
 * CPU keeps the answer and asks again once a second. Who keeps the neighbour entries alive is the
 * kernel itself: the supervisor marks them `managed`.
 */
#ifndef SKEIN_NEXTHOP_H
#define SKEIN_NEXTHOP_H

#include "clock.h"
#include "counters.h"
#include "parse.h"

#define AF_INET 2
#define AF_INET6 10
#define NEXT_HOP_FRESH_MS 1000
/*
 * The lookup is made as for packets of the loopback interface. The helper wants forwarding
 * enabled on the interface that it is given, and on this one that opens nothing.
 */
#define LOOPBACK_IFINDEX 1

static __always_inline bool same_address(const struct ip_address *a, const struct ip_address *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return x[0] == y[0] && x[1] == y[1];
}

static __always_inline bool is_ipv4_mapped(const struct ip_address *a)
{
	const __u32 *words_be = (const __u32 *)a;

	return !words_be[0] && !words_be[1] && words_be[2] == bpf_htonl(0xffff);
}

static __always_inline long fib_ask(struct xdp_md *ctx, struct bpf_fib_lookup *fib,
				    const struct ip_address *address)
{
	fib->ifindex = LOOPBACK_IFINDEX;
	if (is_ipv4_mapped(address)) {
		fib->family = AF_INET;
		fib->ipv4_dst = ((const __u32 *)address)[3];
	} else {
		fib->family = AF_INET6;
		__builtin_memcpy(fib->ipv6_dst, address, 16);
	}
	return bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
}

/* The helper puts the gateway where the destination was. */
static __always_inline bool fib_on_link(const struct bpf_fib_lookup *fib,
					const struct ip_address *address)
{
	struct ip_address via;

	if (fib->family == AF_INET)
		map_ipv4(&via, fib->ipv4_dst);
	else
		__builtin_memcpy(&via, fib->ipv6_dst, 16);
	return same_address(&via, address);
}

static __always_inline int next_hop_refused(struct backend_local *local, enum counter why)
{
	local->ifindex = 0;
	local->refusal = why;
	return why;
}

/* 0, or the counter under which the packet is to be dropped. */
static __noinline int next_hop_resolve(struct xdp_md *ctx, struct backend_local *local,
				       const struct backend *backend, __u32 now_ms)
{
	struct bpf_fib_lookup fib = {};
	bool same, known;
	long rc;

	if (!local || !backend)
		return DROP_INTERNAL;
	same = local->generation == backend->generation;
	known = local->ifindex && same;
	/* A refusal is kept for one tick, lest a flood becomes a flood of lookups. */
	if (!known && same && local->refusal && local->resolved_ms == now_ms)
		return local->refusal;
	local->resolved_ms = now_ms;
	local->generation = backend->generation;

	rc = fib_ask(ctx, &fib, &backend->address);
	if (rc != BPF_FIB_LKUP_RET_SUCCESS && rc != BPF_FIB_LKUP_RET_NO_NEIGH)
		return next_hop_refused(local, DROP_NO_ROUTE);
	if (!fib_on_link(&fib, &backend->address))
		return next_hop_refused(local, DROP_NOT_ON_LINK);
	if (rc == BPF_FIB_LKUP_RET_NO_NEIGH) {
		if (!known)
			return next_hop_refused(local, DROP_NO_NEIGHBOUR);
		/* Better the old address than none: the kernel is already asking for the new one. */
		count(COUNT_NEIGHBOUR_STALE);
		return 0;
	}
	__builtin_memcpy(local->dmac, fib.dmac, ETH_ALEN);
	__builtin_memcpy(local->smac, fib.smac, ETH_ALEN);
	local->ifindex = fib.ifindex;
	return 0;
}

static __always_inline int next_hop(struct xdp_md *ctx, struct backend_local *local,
				    const struct backend *backend)
{
	__u32 now_ms = clock_now_ms();

	if (local->ifindex && local->generation == backend->generation &&
	    now_ms - local->resolved_ms < NEXT_HOP_FRESH_MS)
		return 0;
	return next_hop_resolve(ctx, local, backend, now_ms);
}

#endif
