/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tunnels addressed to this node: what is in them is balanced as if it had come without, if it is
 * for a VIP. Everything else stays as it came, so that tunnels of the kernel still work. A packet is
 * taken out of one tunnel and never of another inside of that.
 */
#ifndef SKEIN_OWN_TUNNEL_H
#define SKEIN_OWN_TUNNEL_H

#include "counters.h"
#include "decap.h"
#include "parse.h"
#include "settings.h"

/* No verdict: the datagram may be a tunnel's. `enum xdp_action` ends long before. */
#define VERDICT_TUNNEL 0x100

/* A datagram to no VIP. Tunnels without UDP are told by their kind: PACKET_OTHER_PROTOCOL. */
static __always_inline bool maybe_own_tunnel(const struct settings *cfg, const struct packet *pkt)
{
	return cfg->features & FEATURE_DECAP && !pkt->opened && packet_l4_proto(pkt) == IPPROTO_UDP;
}

/* A VIP has a record of its own; no filter is asked, since few packets come so far. */
static __always_inline bool is_inner_vip(const struct decap *decap)
{
	struct service_key key = {.vip = decap->inner_daddr};

	return bpf_map_lookup_elem(&services, &key) != NULL;
}

/*
 * Takes the packet out of its tunnel, if it is in one of ours, and parses it anew. 0, or the
 * counter under which it is to be dropped.
 */
__noinline int open_own_tunnel(struct xdp_md *ctx, struct packet *pkt)
{
	struct decap_address *takes;
	struct packet inner = {};
	struct decap decap = {};

	if (!pkt)
		return DROP_INTERNAL;
	if (!decap_outer(ctx, &decap))
		return 0;
	takes = bpf_map_lookup_elem(&decap_addresses, &decap.outer_daddr);
	if (!takes || decap_locate(ctx, &decap, takes) != DECAP_RESULT_FOUND ||
	    !is_inner_vip(&decap))
		return 0;
	if (!decap_congestion(ctx, &decap))
		return DROP_CONGESTION;
	if (!decap_strip(ctx, &decap))
		return DROP_INTERNAL;
	count(COUNT_DECAPSULATED);
	parse(ctx, &inner);
	inner.tag_bytes = pkt->tag_bytes;
	__builtin_memcpy(inner.tags, pkt->tags, sizeof(inner.tags));
	*pkt = inner;
	return 0;
}

#endif
