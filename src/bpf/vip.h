/* SPDX-License-Identifier: GPL-2.0-only */
/* Is this address a VIP, and which service is this? Asked only when no flow answers first. */
#ifndef SKEIN_VIP_H
#define SKEIN_VIP_H

#include "parse.h"
#include "settings.h"

/* Few false positives and no false negatives; src/dataplane/vip-filter.ts sets the bits. */
static __always_inline bool maybe_vip(const struct settings *cfg, const struct packet *pkt)
{
	__u32 folded, bit;

	if (pkt->is_ipv6) {
		const __u32 *words_be = (const __u32 *)&pkt->key6.daddr;

		folded = bpf_ntohl(words_be[0] ^ words_be[1] ^ words_be[2] ^ words_be[3]);
	} else {
		folded = bpf_ntohl(pkt->key4.daddr_be) ^ 0xffff;
	}
	bit = (folded * 0x9e3779b1U) >> 18;
	return cfg->vip_filter[(bit >> 6) & (VIP_FILTER_WORDS - 1)] >> (bit & 63) & 1;
}

static __always_inline bool is_vip(const struct settings *cfg, const struct packet *pkt)
{
	struct service_key key = {};

	if (!maybe_vip(cfg, pkt))
		return false;
	packet_daddr(pkt, &key.vip);
	return bpf_map_lookup_elem(&services, &key) != NULL;
}

/* The service of this port, or the one that takes every port of the VIP. */
static __always_inline struct service *service_find(const struct packet *pkt)
{
	struct service_key key = {};
	struct service *service;

	packet_daddr(pkt, &key.vip);
	key.l4_proto = packet_l4_proto(pkt);
	key.port_be = pkt->is_ipv6 ? pkt->key6.dport_be : pkt->key4.dport_be;
	service = bpf_map_lookup_elem(&services, &key);
	if (service)
		return service;
	key.port_be = 0;
	return bpf_map_lookup_elem(&services, &key);
}

#endif
