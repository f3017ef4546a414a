/* SPDX-License-Identifier: GPL-2.0-only */
/* Sends a frame to a backend. The mode belongs to the backend, so one service may mix them. */
#ifndef SKEIN_FORWARD_H
#define SKEIN_FORWARD_H

#include "nexthop.h"

_Static_assert(offsetof(struct backend_local, smac) == offsetof(struct backend_local, dmac) + 6 &&
		       offsetof(struct ethhdr, h_source) == offsetof(struct ethhdr, h_dest) + 6,
	       "MAC addresses lie alike in both");

/* Both addresses in two stores, not in twelve: Ethernet headers are packed for the compiler. */
static __always_inline void put_macs(struct ethhdr *eth, const struct backend_local *local)
{
	const void *macs = (const void *)local + offsetof(struct backend_local, dmac);

	__builtin_memcpy(__builtin_assume_aligned(eth, 8), __builtin_assume_aligned(macs, 8),
			 2 * ETH_ALEN);
}

/* Layer 2 direct server return: nothing changes but the MAC addresses. */
static __always_inline int forward_l2dsr(struct xdp_md *ctx, const struct backend_local *local)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end)
		return drop(DROP_INTERNAL);
	put_macs(eth, local);
	if (local->ifindex == ctx->ingress_ifindex)
		return XDP_TX;
	return bpf_redirect(local->ifindex, 0);
}

static __always_inline int forward(struct xdp_md *ctx, const struct packet *pkt, __u32 index,
				   const struct backend *backend)
{
	struct backend_local *local = bpf_map_lookup_elem(&backends_local, &index);
	int why;

	if (!local)
		return drop(DROP_INTERNAL);
	why = next_hop(ctx, local, backend);
	if (why)
		return drop(why);
	local->packets++;
	local->bytes += pkt->frame_bytes;
	return forward_l2dsr(ctx, local);
}

#endif
