/* SPDX-License-Identifier: GPL-2.0-only */
/* Sends a frame to a backend. The mode belongs to the backend, so one service may mix them. */
#ifndef SKEIN_FORWARD_H
#define SKEIN_FORWARD_H

#include "dscp.h"
#include "encap.h"
#include "mss.h"
#include "nat.h"
#include "nexthop.h"
#include "too_big.h"
#include "vlan.h"

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

/* The frame is as it shall be, but for its MAC addresses: all that l2dsr needs. */
static __always_inline int transmit(struct xdp_md *ctx, const struct backend_local *local)
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

/* The same, with the tag of the way; for all but plain l2dsr. */
static __always_inline int transmit_tagged(struct xdp_md *ctx, const struct backend_local *local)
{
	int why = local->vlan ? vlan_push(ctx, local->vlan) : 0;

	return why ? drop(why) : transmit(ctx, local);
}

/*
 * Every way there is. The packet fits, and `local` holds the next hop. Inline, so that a tunnel costs one
 * call and not two; what it calls has a stack of its own.
 */
static __always_inline int forward_by_mode(struct xdp_md *ctx, const struct packet *pkt,
					   __u32 index, const struct backend *backend,
					   const struct backend_local *local)
{
	int why = DROP_INTERNAL;

	switch (backend->mode) {
	case FORWARD_L2DSR:
		why = 0;
		break;
	case FORWARD_IPIP:
	case FORWARD_GRE:
	case FORWARD_GUE:
	case FORWARD_FOU:
		why = encapsulate(ctx, pkt, index, backend);
		break;
	case FORWARD_DSCP:
		why = put_dscp(ctx, pkt, backend);
		break;
	case FORWARD_NAT:
	case FORWARD_FULL_NAT:
		why = translate(ctx, pkt, backend);
		break;
	case FORWARD_LOCAL:
		return XDP_PASS;
	}
	return why ? drop(why) : transmit_tagged(ctx, local);
}

static __always_inline void tally(struct backend_local *local, const struct packet *pkt)
{
	local->packets++;
	local->bytes += pkt->frame_bytes;
}

/*
 * Are other MAC addresses all that the packet needs? One length stands for the mode, the MTU and
 * everything else that a way may want, so that what is not configured is not asked for each packet.
 */
static __always_inline bool is_plain(const struct packet *pkt, const struct backend *backend,
				     const struct backend_local *local, __u32 now_ms)
{
	return pkt->frame_bytes <= local->plain_bytes_max && next_hop_fresh(local, backend, now_ms);
}

/* What is_plain() said of the packet. */
static __always_inline int forward_plain(struct xdp_md *ctx, const struct packet *pkt,
					 struct backend_local *local)
{
	tally(local, pkt);
	return transmit(ctx, local);
}

/* Whatever the packet needs. */
static __always_inline int forward_to(struct xdp_md *ctx, const struct packet *pkt, __u32 index,
				      const struct backend *backend, struct backend_local *local,
				      __u32 now_ms)
{
	int why = next_hop(ctx, local, backend, now_ms);

	if (why)
		return drop(why);
	if (pkt->frame_bytes > local->frame_bytes_max)
		return too_big(ctx, pkt, local, NULL);
	if (pkt->tcp_flags & TCP_SYN && backend->mss_max) {
		why = mss_clamp(ctx, pkt, backend, local);
		if (why)
			return drop(why);
	}
	tally(local, pkt);
	return forward_by_mode(ctx, pkt, index, backend, local);
}

static __always_inline int forward(struct xdp_md *ctx, const struct packet *pkt, __u32 index,
				   const struct backend *backend)
{
	struct backend_local *local = bpf_map_lookup_elem(&backends_local, &index);

	if (!local)
		return drop(DROP_INTERNAL);
	return forward_to(ctx, pkt, index, backend, local, clock_now_ms());
}

#endif
