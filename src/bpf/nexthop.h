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
#define FRAME_BYTES_ANY 0xffff
#define GRE_BYTES 4
#define GUE_BYTES 4

/* Bytes that a mode puts in front of a packet: the outer header of either family, and the rest. */
static __always_inline __u32 mode_bytes(__u8 mode, bool outer_is_ipv6)
{
	__u32 outer = outer_is_ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);

	switch (mode) {
	case FORWARD_IPIP:
		return outer;
	case FORWARD_GRE:
		return outer + GRE_BYTES;
	case FORWARD_GUE:
		return outer + sizeof(struct udphdr) + GUE_BYTES;
	case FORWARD_FOU:
		return outer + sizeof(struct udphdr);
	}
	return 0;
}

static __always_inline bool is_no_mac(const __u8 *mac)
{
	return !(mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]);
}

static __always_inline long fib_ask(struct xdp_md *ctx, struct bpf_fib_lookup *fib,
				    const struct ip_address *address)
{
	long rc;

	fib->ifindex = LOOPBACK_IFINDEX;
	if (is_ipv4_mapped(address)) {
		fib->family = AF_INET;
		fib->ipv4_dst = ipv4_of(address);
	} else {
		fib->family = AF_INET6;
		__builtin_memcpy(fib->ipv6_dst, address, 16);
	}
	rc = bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
	/* Before Linux 6.1.15 also where the kernel is still asking for the MAC address. */
	if (rc == BPF_FIB_LKUP_RET_SUCCESS && is_no_mac(fib->dmac))
		return BPF_FIB_LKUP_RET_NO_NEIGH;
	return rc;
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

_Static_assert(offsetof(struct backend, mode) == offsetof(struct backend, generation) + 2 &&
		       offsetof(struct backend, quic) == offsetof(struct backend, generation) + 3,
	       "compared as one word");

/* What a next hop is learned for: generation, mode and QUIC layout. */
static __always_inline __u32 learned_for(const struct backend *backend)
{
	__u32 word;

	__builtin_memcpy(&word, __builtin_assume_aligned(&backend->generation, 4), sizeof(word));
	return word;
}

static __always_inline int next_hop_refused(struct backend_local *local, enum counter why)
{
	local->ifindex = 0;
	local->plain_bytes_max = 0;
	local->refusal = why;
	return why;
}

/* What the FIB said, as the packets need it. */
static __always_inline void next_hop_learn(struct backend_local *local,
					   const struct backend *backend,
					   const struct bpf_fib_lookup *fib)
{
	/*
	 * The helper puts the MTU where the length of the packet was: that of the route if it is
	 * locked there, else one learned for the path, else the device's.
	 */
	__u32 ifindex = fib->ifindex, mtu = fib->mtu_result, overhead;
	struct vlan_device *device = bpf_map_lookup_elem(&vlan_devices, &ifindex);

	overhead = mode_bytes(backend->mode, !is_ipv4_mapped(&backend->address));
	__builtin_memcpy(local->dmac, fib->dmac, ETH_ALEN);
	__builtin_memcpy(local->smac, fib->smac, ETH_ALEN);
	local->ifindex = device ? device->lower_ifindex : ifindex;
	local->vlan = device ? device->vlan : 0;
	if (backend->vlan != VLAN_AS_ROUTED)
		local->vlan = backend->vlan;
	if (backend->mtu && (!mtu || backend->mtu < mtu))
		mtu = backend->mtu;
	local->frame_bytes_max = FRAME_BYTES_ANY;
	if (mtu && mtu <= FRAME_BYTES_ANY - sizeof(struct ethhdr))
		local->frame_bytes_max =
			mtu < overhead ? 0 : mtu - overhead + sizeof(struct ethhdr);
	local->plain_bytes_max = local->frame_bytes_max;
	if (backend->mode != FORWARD_L2DSR || local->vlan || backend->quic || backend->mss_max)
		local->plain_bytes_max = 0;
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
	same = local->learned_for == learned_for(backend);
	known = local->ifindex && same;
	/* A refusal is kept for one tick, lest a flood becomes a flood of lookups. */
	if (!known && same && local->refusal && local->resolved_ms == now_ms)
		return local->refusal;
	local->resolved_ms = now_ms;
	local->learned_for = learned_for(backend);

	if (backend->mode == FORWARD_LOCAL) {
		local->ifindex = LOOPBACK_IFINDEX;
		local->frame_bytes_max = FRAME_BYTES_ANY;
		local->plain_bytes_max = 0;
		return 0;
	}
	rc = fib_ask(ctx, &fib, &backend->address);
	if (rc != BPF_FIB_LKUP_RET_SUCCESS && rc != BPF_FIB_LKUP_RET_NO_NEIGH)
		return next_hop_refused(local, DROP_NO_ROUTE);
	if (backend->mode == FORWARD_L2DSR && !fib_on_link(&fib, &backend->address))
		return next_hop_refused(local, DROP_NOT_ON_LINK);
	if (rc == BPF_FIB_LKUP_RET_NO_NEIGH) {
		if (!known)
			return next_hop_refused(local, DROP_NO_NEIGHBOUR);
		/* Better the old address than none: the kernel is already asking for the new one. */
		count(COUNT_NEIGHBOUR_STALE);
		return 0;
	}
	next_hop_learn(local, backend, &fib);
	return 0;
}

static __always_inline bool next_hop_fresh(const struct backend_local *local,
					   const struct backend *backend, __u32 now_ms)
{
	return local->learned_for == learned_for(backend) &&
	       now_ms - local->resolved_ms < NEXT_HOP_FRESH_MS;
}

static __always_inline int next_hop(struct xdp_md *ctx, struct backend_local *local,
				    const struct backend *backend, __u32 now_ms)
{
	if (local->ifindex && next_hop_fresh(local, backend, now_ms))
		return 0;
	return next_hop_resolve(ctx, local, backend, now_ms);
}

#endif
