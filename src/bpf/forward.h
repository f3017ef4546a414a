/* SPDX-License-Identifier: GPL-2.0-only */
/* Sends a frame to a backend. The mode belongs to the backend, so one service may mix them. */
#ifndef SKEIN_FORWARD_H
#define SKEIN_FORWARD_H

#include "nexthop.h"

/* Layer 2 direct server return: nothing changes but the MAC addresses. */
static __always_inline int forward_l2dsr(struct xdp_md *ctx, const struct backend_local *local)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end)
		return drop(DROP_INTERNAL);
	__builtin_memcpy(eth->h_dest, local->dmac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, local->smac, ETH_ALEN);
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
