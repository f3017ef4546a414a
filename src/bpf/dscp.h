/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Layer 3 direct server return by DSCP: the packet goes to the backend's own address, over any
 * number of routers, and its DSCP (RFC 2474) tells the backend which VIP to put back.
 */
#ifndef SKEIN_DSCP_H
#define SKEIN_DSCP_H

#include "nexthop.h"
#include "rewrite.h"

/* The lower two bits of the byte are for ECN (RFC 3168) and stay. */
#define DSCP_SHIFT 2
#define ECN_MASK 3
#define IPV6_TRAFFIC_CLASS_SHIFT 4

static __always_inline void put_dscp4(struct iphdr *ip, __u8 dscp)
{
	__u8 tos = dscp << DSCP_SHIFT | (ip->tos & ECN_MASK);

	csum_apply(&ip->check, csum_change16(0, bpf_htons(ip->tos), bpf_htons(tos)));
	ip->tos = tos;
}

static __always_inline void put_dscp6(struct ipv6hdr *ip6, __u8 dscp)
{
	__be16 *word_be = (__be16 *)ip6;
	__u16 word = bpf_ntohs(*word_be);
	__u16 dscp_mask = 0x3f << (DSCP_SHIFT + IPV6_TRAFFIC_CLASS_SHIFT);

	word = (word & ~dscp_mask) | (__u16)dscp << (DSCP_SHIFT + IPV6_TRAFFIC_CLASS_SHIFT);
	*word_be = bpf_htons(word);
}

/* 0, or the counter under which the packet is to be dropped. Not inline: see encapsulate(). */
static __noinline int put_dscp(struct xdp_md *ctx, const struct packet *pkt,
			       const struct backend *backend)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *l3 = data + sizeof(struct ethhdr);
	struct ip_address saddr;
	struct rewrite to;

	if (!pkt || !backend)
		return DROP_INTERNAL;
	to.daddr = &backend->address;
	to.sport_be = packet_sport_be(pkt);
	to.dport_be = packet_dport_be(pkt);
	if (pkt->is_ipv6) {
		struct ipv6hdr *ip6 = l3;

		if ((void *)(ip6 + 1) > end)
			return DROP_INTERNAL;
		put_dscp6(ip6, backend->dscp & 0x3f);
		__builtin_memcpy(&saddr, &ip6->saddr, 16);
	} else {
		struct iphdr *ip = l3;

		if ((void *)(ip + 1) > end)
			return DROP_INTERNAL;
		put_dscp4(ip, backend->dscp & 0x3f);
		map_ipv4(&saddr, ip->saddr);
	}
	to.saddr = &saddr;
	return rewrite_packet(ctx, pkt, &to) ? DROP_INTERNAL : 0;
}

#endif
