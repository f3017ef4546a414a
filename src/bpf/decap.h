/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Takes packets out of tunnels that end here: IP in IP, GRE, GUE and foo over UDP, inner and outer of
 * either family. Knows no map: which tunnels are taken, and which inner destinations, is the caller's
 * to say. Until `decap_congestion` nothing is written, so a caller may leave a packet as it came.
 */
#ifndef SKEIN_DECAP_H
#define SKEIN_DECAP_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "abi-backend.h"
#include "address.h"
#include "checksum.h"

#define DECAP_TAGS_MAX 2
#define DECAP_TAG_BYTES 4
#define DECAP_MACS_BYTES (2 * ETH_ALEN)
#define DECAP_L2_BYTES_MAX (ETH_HLEN + DECAP_TAGS_MAX * DECAP_TAG_BYTES)
#define DECAP_GUE_BYTES 4
#define DECAP_GRE_BYTES 4

#define DECAP_MORE_FRAGMENTS 0x2000
#define DECAP_FRAGMENT_OFFSET 0x1fff
#define DECAP_MORE_FRAGMENTS6 1
#define DECAP_FRAGMENT_OFFSET6 0xfff8

enum decap_ecn {
	ECN_NOT_ECT = 0,
	ECN_ECT1 = 1,
	ECN_ECT0 = 2,
	ECN_CE = 3,
};

enum decap_fragment {
	DECAP_WHOLE = 0,
	DECAP_FIRST_FRAGMENT = 1,
	/* Without the header that comes after IP. */
	DECAP_LATER_FRAGMENT = 2,
};

enum decap_result {
	/* No tunnel that is taken: any other packet. */
	DECAP_RESULT_NONE = 0,
	DECAP_RESULT_FOUND,
	DECAP_RESULT_FRAGMENT,
	DECAP_RESULT_MALFORMED,
	/* A tunnel with options that nodes do not use. */
	DECAP_RESULT_UNSUPPORTED,
};

/* A packet, as a tunnel and what is in it. */
struct decap {
	struct ip_address outer_daddr;
	struct ip_address inner_daddr;
	/* Offsets from the start of the frame. What is beyond the payload is padding. */
	__u32 payload_end;
	__u8 l3_offset;
	__u8 l4_offset;
	__u8 inner_offset;
	__u8 outer_is_ipv6;
	__u8 inner_is_ipv6;
	__u8 outer_proto;
	__u8 outer_tos;
	/* enum decap_fragment. */
	__u8 fragment;
	/* enum decap_kind. */
	__u8 kind;
};

struct decap_tag {
	__be16 tci_be;
	__be16 eth_proto_be;
};

struct decap_fragment_header {
	__u8 nexthdr;
	__u8 reserved;
	__be16 offset_be;
	__be32 identification_be;
};

static __always_inline __u8 decap_traffic_class(const struct ipv6hdr *ip6)
{
	return bpf_ntohs(*(const __be16 *)ip6) >> 4;
}

static __always_inline bool decap_outer4(struct decap *d, struct iphdr *ip, void *end)
{
	__u32 header_bytes;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return false;
	header_bytes = ip->ihl * 4;
	map_ipv4(&d->outer_daddr, ip->daddr);
	d->outer_tos = ip->tos;
	d->outer_proto = ip->protocol;
	d->l4_offset = d->l3_offset + header_bytes;
	d->payload_end = d->l3_offset + bpf_ntohs(ip->tot_len);
	if (ip->frag_off & bpf_htons(DECAP_FRAGMENT_OFFSET))
		d->fragment = DECAP_LATER_FRAGMENT;
	else if (ip->frag_off & bpf_htons(DECAP_MORE_FRAGMENTS))
		d->fragment = DECAP_FIRST_FRAGMENT;
	return true;
}

/* Of the extension headers only a fragment's is looked into: nodes put none into a tunnel. */
static __always_inline bool decap_outer6(struct decap *d, struct ipv6hdr *ip6, void *end)
{
	struct decap_fragment_header *fragment = (void *)(ip6 + 1);

	if ((void *)(ip6 + 1) > end || ip6->version != 6)
		return false;
	__builtin_memcpy(&d->outer_daddr, &ip6->daddr, sizeof(d->outer_daddr));
	d->outer_is_ipv6 = 1;
	d->outer_tos = decap_traffic_class(ip6);
	d->outer_proto = ip6->nexthdr;
	d->l4_offset = d->l3_offset + sizeof(*ip6);
	d->payload_end = d->l4_offset + bpf_ntohs(ip6->payload_len);
	if (ip6->nexthdr != IPPROTO_FRAGMENT)
		return true;
	if ((void *)(fragment + 1) > end)
		return false;
	d->outer_proto = fragment->nexthdr;
	d->l4_offset += sizeof(*fragment);
	/* A fragment that is the whole packet is none (RFC 6946). */
	if (fragment->offset_be & bpf_htons(DECAP_FRAGMENT_OFFSET6))
		d->fragment = DECAP_LATER_FRAGMENT;
	else if (fragment->offset_be & bpf_htons(DECAP_MORE_FRAGMENTS6))
		d->fragment = DECAP_FIRST_FRAGMENT;
	return true;
}

/* Reads the outer IP header, behind up to two VLAN tags. False: not IP, or not whole. */
static __always_inline bool decap_outer(struct xdp_md *ctx, struct decap *d)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	__u8 offset = sizeof(*eth);
	__be16 eth_proto_be;
	int i;

	if ((void *)(eth + 1) > end)
		return false;
	eth_proto_be = eth->h_proto;
#pragma unroll
	for (i = 0; i < DECAP_TAGS_MAX; i++) {
		struct decap_tag *tag = data + offset;

		if (eth_proto_be != bpf_htons(ETH_P_8021Q) &&
		    eth_proto_be != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(tag + 1) > end)
			return false;
		eth_proto_be = tag->eth_proto_be;
		offset += sizeof(*tag);
	}
	d->l3_offset = offset;
	if (eth_proto_be == bpf_htons(ETH_P_IP))
		return decap_outer4(d, data + offset, end);
	if (eth_proto_be == bpf_htons(ETH_P_IPV6))
		return decap_outer6(d, data + offset, end);
	return false;
}

static __always_inline enum decap_result decap_gre(struct decap *d, void *l4, void *end)
{
	__be16 *words_be = l4;

	if (l4 + DECAP_GRE_BYTES > end)
		return DECAP_RESULT_MALFORMED;
	if (words_be[0])
		return DECAP_RESULT_UNSUPPORTED;
	if (words_be[1] != bpf_htons(ETH_P_IP) && words_be[1] != bpf_htons(ETH_P_IPV6))
		return DECAP_RESULT_UNSUPPORTED;
	d->inner_is_ipv6 = words_be[1] == bpf_htons(ETH_P_IPV6);
	d->inner_offset = d->l4_offset + DECAP_GRE_BYTES;
	return DECAP_RESULT_FOUND;
}

/* Variant 0, no optional fields, not a control message. */
static __always_inline enum decap_result decap_gue(struct decap *d, __u8 *gue, void *end)
{
	if ((void *)gue + DECAP_GUE_BYTES > end)
		return DECAP_RESULT_MALFORMED;
	if (gue[0] || gue[2] || gue[3] || (gue[1] != IPPROTO_IPIP && gue[1] != IPPROTO_IPV6))
		return DECAP_RESULT_UNSUPPORTED;
	d->inner_is_ipv6 = gue[1] == IPPROTO_IPV6;
	d->inner_offset += DECAP_GUE_BYTES;
	return DECAP_RESULT_FOUND;
}

static __always_inline enum decap_result decap_udp(struct decap *d, struct udphdr *udp, void *end,
						   const struct decap_address *takes)
{
	__u8 *payload = (void *)(udp + 1);
	__u32 bytes;

	if ((void *)(udp + 1) > end)
		return DECAP_RESULT_NONE;
	if ((takes->tunnels & DECAP_GUE) && udp->dest == takes->gue_port_be)
		d->kind = DECAP_GUE;
	else if ((takes->tunnels & DECAP_FOU) && udp->dest == takes->fou_port_be)
		d->kind = DECAP_FOU;
	else
		return DECAP_RESULT_NONE;
	if (d->fragment)
		return DECAP_RESULT_FRAGMENT;
	bytes = bpf_ntohs(udp->len);
	if (d->l4_offset + bytes > d->payload_end)
		return DECAP_RESULT_MALFORMED;
	d->payload_end = d->l4_offset + bytes;
	d->inner_offset = d->l4_offset + sizeof(*udp);
	if (d->kind == DECAP_GUE)
		return decap_gue(d, payload, end);
	if ((void *)(payload + 1) > end)
		return DECAP_RESULT_MALFORMED;
	/* There is no header: the packet's own version is all there is. */
	if (payload[0] >> 4 != 4 && payload[0] >> 4 != 6)
		return DECAP_RESULT_UNSUPPORTED;
	d->inner_is_ipv6 = payload[0] >> 4 == 6;
	return DECAP_RESULT_FOUND;
}

/* The kernel checks the header of what it is given, which this one will not be. */
static __always_inline bool decap_checksum_holds(const struct iphdr *ip, const void *end)
{
	const __u32 *words = (const __u32 *)ip;

	if ((const void *)(ip + 1) > end)
		return false;
	return csum_fold((__u64)words[0] + words[1] + words[2] + words[3] + words[4]) == 0xffff;
}

/* The inner packet is whole, and of the family that the tunnel says. */
static __always_inline bool decap_inner(struct decap *d, void *inner, void *end)
{
	struct ipv6hdr *ip6 = inner;
	struct iphdr *ip = inner;
	__u32 bytes;

	if (d->inner_is_ipv6) {
		if ((void *)(ip6 + 1) > end || ip6->version != 6)
			return false;
		__builtin_memcpy(&d->inner_daddr, &ip6->daddr, sizeof(d->inner_daddr));
		bytes = sizeof(*ip6) + bpf_ntohs(ip6->payload_len);
	} else {
		if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
			return false;
		map_ipv4(&d->inner_daddr, ip->daddr);
		bytes = bpf_ntohs(ip->tot_len);
		if (bytes < ip->ihl * 4U)
			return false;
	}
	return d->inner_offset + bytes <= d->payload_end;
}

/* After `decap_outer`, with what is taken of packets to that destination: finds the inner packet. */
static __always_inline enum decap_result decap_locate(struct xdp_md *ctx, struct decap *d,
						      const struct decap_address *takes)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *l4 = data + d->l4_offset;
	enum decap_result result = DECAP_RESULT_FOUND;
	__u32 packet_end = d->payload_end;

	switch (d->outer_proto) {
	case IPPROTO_IPIP:
	case IPPROTO_IPV6:
		d->kind = DECAP_IPIP;
		d->inner_is_ipv6 = d->outer_proto == IPPROTO_IPV6;
		d->inner_offset = d->l4_offset;
		break;
	case IPPROTO_GRE:
		d->kind = DECAP_GRE;
		break;
	case IPPROTO_UDP:
		if (d->fragment == DECAP_LATER_FRAGMENT)
			return DECAP_RESULT_NONE;
		result = decap_udp(d, l4, end, takes);
		break;
	default:
		return DECAP_RESULT_NONE;
	}
	if (result == DECAP_RESULT_NONE || !(takes->tunnels & d->kind))
		return DECAP_RESULT_NONE;
	if (d->fragment)
		return DECAP_RESULT_FRAGMENT;
	if (d->kind == DECAP_GRE)
		result = decap_gre(d, l4, end);
	if (result != DECAP_RESULT_FOUND)
		return result;
	if (!d->outer_is_ipv6) {
		/* IPv4 options: nodes send none. */
		if (d->l4_offset != d->l3_offset + sizeof(struct iphdr))
			return DECAP_RESULT_UNSUPPORTED;
		if (!decap_checksum_holds(data + d->l3_offset, end))
			return DECAP_RESULT_MALFORMED;
	}
	/* Of UDP the payload ends sooner, and no packet may end behind its frame. */
	if (packet_end > bpf_xdp_get_buff_len(ctx) || !decap_inner(d, data + d->inner_offset, end))
		return DECAP_RESULT_MALFORMED;
	return DECAP_RESULT_FOUND;
}

/* The inner ECN field as it is to be (RFC 6040, section 4.2); negative: drop. */
static __always_inline int decap_ecn(__u8 outer, __u8 inner)
{
	if (inner == ECN_NOT_ECT)
		return outer == ECN_CE ? -1 : ECN_NOT_ECT;
	if (outer == ECN_CE)
		return ECN_CE;
	return inner == ECN_ECT0 && outer == ECN_ECT1 ? ECN_ECT1 : inner;
}

/* What routers said of congestion on the way goes into the inner packet. False: drop it. */
static __always_inline bool decap_congestion(struct xdp_md *ctx, const struct decap *d)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipv6hdr *ip6 = data + d->inner_offset;
	struct iphdr *ip = data + d->inner_offset;
	__u8 outer = d->outer_tos & ECN_CE;
	int ecn;

	if (d->inner_is_ipv6) {
		__be16 *word_be = (__be16 *)ip6;

		if ((void *)(ip6 + 1) > end)
			return false;
		ecn = decap_ecn(outer, decap_traffic_class(ip6) & ECN_CE);
		if (ecn < 0)
			return false;
		*word_be = (*word_be & ~bpf_htons(ECN_CE << 4)) | bpf_htons(ecn << 4);
	} else {
		__u8 tos;

		if ((void *)(ip + 1) > end)
			return false;
		ecn = decap_ecn(outer, ip->tos & ECN_CE);
		if (ecn < 0)
			return false;
		tos = (ip->tos & ~ECN_CE) | ecn;
		csum_apply(&ip->check, csum_change16(0, bpf_htons(ip->tos), bpf_htons(tos)));
		ip->tos = tos;
	}
	return true;
}

/* Cuts the outer headers off; MAC addresses and VLAN tags stay. False: the frame is as it was. */
static __always_inline bool decap_strip(struct xdp_md *ctx, const struct decap *d)
{
	__be16 eth_proto_be = bpf_htons(d->inner_is_ipv6 ? ETH_P_IPV6 : ETH_P_IP);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u8 l2[DECAP_L2_BYTES_MAX];

	/* An IP packet is in it, so there is more than an Ethernet header with tags. */
	if (data + sizeof(l2) > end)
		return false;
	__builtin_memcpy(l2, data, sizeof(l2));
	if (bpf_xdp_adjust_head(ctx, d->inner_offset - d->l3_offset))
		return false;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + sizeof(l2) > end)
		return false;
	__builtin_memcpy(data, l2, DECAP_MACS_BYTES);
	switch (d->l3_offset) {
	case ETH_HLEN:
		*(__be16 *)(data + DECAP_MACS_BYTES) = eth_proto_be;
		return true;
	case ETH_HLEN + DECAP_TAG_BYTES:
		__builtin_memcpy(data + DECAP_MACS_BYTES, l2 + DECAP_MACS_BYTES, DECAP_TAG_BYTES);
		*(__be16 *)(data + DECAP_MACS_BYTES + DECAP_TAG_BYTES) = eth_proto_be;
		return true;
	}
	__builtin_memcpy(data + DECAP_MACS_BYTES, l2 + DECAP_MACS_BYTES, 2 * DECAP_TAG_BYTES);
	*(__be16 *)(data + DECAP_MACS_BYTES + 2 * DECAP_TAG_BYTES) = eth_proto_be;
	return true;
}

#endif
