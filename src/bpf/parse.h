/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frame -> struct packet. Reads headers and never writes. Names say the namespace and the byte
 * order of every type: eth_proto_be is an Ethertype, l4_proto an IP protocol number.
 */
#ifndef SKEIN_PARSE_H
#define SKEIN_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include "address.h"
#include "maps.h"

#define IP_MORE_FRAGMENTS 0x2000
#define IP_MORE_FRAGMENTS_OR_OFFSET 0x3fff
#define IP_FRAGMENT_OFFSET 0x1fff
/* For the verifier: VLAN tags, IPv4 options and walked extension headers stay below it. */
#define L4_OFFSET_MASK 0x3ff

/* The common start of ICMP (RFC 792) and ICMPv6 (RFC 4443). */
struct icmp_header {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 rest_be;
};

enum icmp_type {
	ICMP4_ECHO_REPLY = 0,
	ICMP4_UNREACHABLE = 3,
	ICMP4_ECHO_REQUEST = 8,
	ICMP4_TIME_EXCEEDED = 11,
	ICMP4_PARAMETER_PROBLEM = 12,
	ICMP6_UNREACHABLE = 1,
	ICMP6_PARAMETER_PROBLEM = 4,
	ICMP6_ECHO_REQUEST = 128,
	ICMP6_ECHO_REPLY = 129,
};

enum tcp_flag {
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_ACK = 0x10,
};

#define VLAN_TAGS_MAX 2
#define VLAN_TAG_BYTES 4

struct vlan_tag {
	__be16 eth_proto_be;
	__be16 tci_be;
};
ABI_SIZE(struct vlan_tag, VLAN_TAG_BYTES);

static __always_inline bool is_vlan(__be16 eth_proto_be)
{
	return eth_proto_be == bpf_htons(ETH_P_8021Q) || eth_proto_be == bpf_htons(ETH_P_8021AD);
}

enum packet_kind {
	/* Not IP at all: never ours. */
	PACKET_NOT_IP = 0,
	/* TCP or UDP, with the flow key filled in. */
	PACKET_FLOW,
	/* An echo has its identifier where the port of the sender of the request would be. */
	PACKET_ECHO_REQUEST,
	PACKET_ECHO_REPLY,
	/* An ICMP error of a kind that quotes the packet it is about. */
	PACKET_ICMP_ERROR,
	/* Behind IPv6 extension headers, a fragment's among them: extensions.h finds what it is. */
	PACKET_EXTENSIONS,
	/* A fragment in IPv4: fragment.h finds what it is. */
	PACKET_FRAGMENT,
	/* The destination is known, so it can be told whether it is a VIP: then these are drops. */
	PACKET_MALFORMED,
	PACKET_OPTIONS,
	PACKET_OTHER_PROTOCOL,
	/* VLAN tags: vlan.h takes them off. */
	PACKET_TAGGED,
};

enum packet_part {
	PART_WHOLE = 0,
	/* Of a flow, like the whole packet; but what its checksum covers is not all there. */
	PART_FIRST,
	/* Without ports and checksum: the key has what the first one taught. */
	PART_LATER,
};

struct packet {
	/* Addresses and ports; protocol 0 unless the kind is, or is found to be, PACKET_FLOW. */
	union {
		struct flow4_key key4;
		struct flow6_key key6;
	};
	__u32 frame_bytes;
	/* From the start of the frame. */
	__u16 l3_offset;
	__u16 l4_offset;
	/* enum packet_kind. */
	__u8 kind;
	__u8 is_ipv6;
	/* enum tcp_flag; 0 for UDP. */
	__u8 tcp_flags;
	/* enum packet_part. */
	__u8 part;
	/* Was looked into for a tunnel that ends here, or came out of one. */
	__u8 opened;
	/* VLAN tags that were taken off, as they stood in the frame. */
	__u8 tag_bytes;
	struct vlan_tag tags[VLAN_TAGS_MAX];
	/* In an IPv6 error: where the quoted transport's header is. */
	__u16 quoted_l4_offset;
};
_Static_assert(sizeof(struct packet) == 64, "zeroed for every packet");

/*
 * Keys are written in words, as the lookup reads them: a load across two stores waits for both. The
 * alignments are for the compiler, which would copy smaller pieces else.
 */
static __always_inline void copy_ports(__be16 *ports_be, const void *l4)
{
	__builtin_memcpy(ports_be, __builtin_assume_aligned(l4, 4), 2 * sizeof(*ports_be));
}

/* Source and destination. */
static __always_inline void copy_addresses(void *to, const void *from, __u32 bytes)
{
	__builtin_memcpy(__builtin_assume_aligned(to, 8), __builtin_assume_aligned(from, 8), bytes);
}

/* Destination unreachable, time exceeded, parameter problem; in ICMPv6 also packet too big. */
static __always_inline bool quotes_a_packet(const struct packet *pkt, __u8 icmp_type)
{
	if (pkt->is_ipv6)
		return icmp_type >= ICMP6_UNREACHABLE && icmp_type <= ICMP6_PARAMETER_PROBLEM;
	return icmp_type == ICMP4_UNREACHABLE || icmp_type == ICMP4_TIME_EXCEEDED ||
	       icmp_type == ICMP4_PARAMETER_PROBLEM;
}

/* `room`: bytes to the end of the packet, behind which a frame may be padded. */
static __always_inline enum packet_kind parse_l4(struct packet *pkt, void *l4, void *end,
						 __u32 room, __u8 l4_proto, __be16 *ports_be)
{
	if (l4_proto == IPPROTO_TCP) {
		const __u8 *tcp = l4;
		__u32 header_bytes;

		if (l4 + sizeof(struct tcphdr) > end)
			return PACKET_MALFORMED;
		/* The data offset: the upper half of the octet, in words of four. */
		header_bytes = tcp[12] >> 2 & 0x3c;
		if (header_bytes < sizeof(struct tcphdr) || header_bytes > room)
			return PACKET_MALFORMED;
		copy_ports(ports_be, l4);
		pkt->tcp_flags = tcp[13];
		return PACKET_FLOW;
	}
	if (l4_proto == IPPROTO_UDP) {
		struct udphdr *udp = l4;

		if ((void *)(udp + 1) > end || bpf_ntohs(udp->len) < sizeof(*udp) ||
		    bpf_ntohs(udp->len) > room)
			return PACKET_MALFORMED;
		copy_ports(ports_be, l4);
		return PACKET_FLOW;
	}
	if (l4_proto == IPPROTO_ICMP || l4_proto == IPPROTO_ICMPV6) {
		__u8 request = l4_proto == IPPROTO_ICMP ? ICMP4_ECHO_REQUEST : ICMP6_ECHO_REQUEST;
		__u8 reply = l4_proto == IPPROTO_ICMP ? ICMP4_ECHO_REPLY : ICMP6_ECHO_REPLY;
		struct icmp_header *icmp = l4;

		if ((void *)(icmp + 1) > end || sizeof(*icmp) > room)
			return PACKET_MALFORMED;
		if (pkt->is_ipv6 != (l4_proto == IPPROTO_ICMPV6))
			return PACKET_OTHER_PROTOCOL;
		if (icmp->type == request) {
			ports_be[0] = *(__be16 *)&icmp->rest_be;
			return PACKET_ECHO_REQUEST;
		}
		if (icmp->type == reply) {
			ports_be[1] = *(__be16 *)&icmp->rest_be;
			return PACKET_ECHO_REPLY;
		}
		if (quotes_a_packet(pkt, icmp->type))
			return PACKET_ICMP_ERROR;
	}
	return PACKET_OTHER_PROTOCOL;
}

static __always_inline enum packet_kind parse_ipv4(struct packet *pkt, void *l3, void *end)
{
	struct iphdr *ip = l3;
	enum packet_kind kind;
	__u32 header_bytes, bytes;
	__u8 l4_proto;

	if ((void *)(ip + 1) > end || ip->version != 4)
		return PACKET_NOT_IP;
	/* Read once, here and below: after a store into `pkt` the compiler would read them again. */
	bytes = bpf_ntohs(ip->tot_len);
	l4_proto = ip->protocol;
	copy_addresses(&pkt->key4, &ip->saddr, sizeof(ip->saddr) + sizeof(ip->daddr));
	header_bytes = ip->ihl * 4;
	if (header_bytes < sizeof(*ip) || bytes < header_bytes || l3 + bytes > end)
		return PACKET_MALFORMED;
	if (ip->frag_off & bpf_htons(IP_MORE_FRAGMENTS_OR_OFFSET))
		return PACKET_FRAGMENT;
	pkt->l4_offset = pkt->l3_offset + header_bytes;
	kind = parse_l4(pkt, l3 + header_bytes, end, bytes - header_bytes, l4_proto,
			&pkt->key4.sport_be);
	if (kind == PACKET_FLOW)
		pkt->key4.l4_proto = l4_proto;
	return kind;
}

/* An IPv6 extension header that extensions.h knows. */
static __always_inline bool is_extension(__u8 l4_proto)
{
	return l4_proto == IPPROTO_HOPOPTS || l4_proto == IPPROTO_ROUTING ||
	       l4_proto == IPPROTO_FRAGMENT || l4_proto == IPPROTO_DSTOPTS;
}

static __always_inline enum packet_kind parse_ipv6(struct packet *pkt, void *l3, void *end)
{
	struct ipv6hdr *ip6 = l3;
	enum packet_kind kind;
	__u32 room;
	__u8 l4_proto;

	if ((void *)(ip6 + 1) > end || ip6->version != 6)
		return PACKET_NOT_IP;
	room = bpf_ntohs(ip6->payload_len);
	l4_proto = ip6->nexthdr;
	pkt->is_ipv6 = 1;
	copy_addresses(&pkt->key6, &ip6->saddr, sizeof(ip6->saddr) + sizeof(ip6->daddr));
	if ((void *)(ip6 + 1) + room > end)
		return PACKET_MALFORMED;
	if (is_extension(l4_proto))
		return PACKET_EXTENSIONS;
	pkt->l4_offset = pkt->l3_offset + sizeof(*ip6);
	kind = parse_l4(pkt, ip6 + 1, end, room, l4_proto, &pkt->key6.sport_be);
	if (kind == PACKET_FLOW)
		pkt->key6.l4_proto = l4_proto;
	return kind;
}

static __always_inline void parse(struct xdp_md *ctx, struct packet *pkt)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	__be16 eth_proto_be;

	pkt->frame_bytes = end - data;
	if ((void *)(eth + 1) > end)
		return;
	pkt->l3_offset = sizeof(*eth);
	/* As one word: the header is packed for the compiler, which would read its bytes. */
	eth_proto_be = *(__be16 *)__builtin_assume_aligned(&eth->h_proto, 2);
	if (eth_proto_be == bpf_htons(ETH_P_IP))
		pkt->kind = parse_ipv4(pkt, eth + 1, end);
	else if (eth_proto_be == bpf_htons(ETH_P_IPV6))
		pkt->kind = parse_ipv6(pkt, eth + 1, end);
	else if (is_vlan(eth_proto_be))
		pkt->kind = PACKET_TAGGED;
}

/* The source as 16 bytes. */
static __always_inline void packet_saddr(const struct packet *pkt, struct ip_address *to)
{
	if (pkt->is_ipv6)
		*to = pkt->key6.saddr;
	else
		map_ipv4(to, pkt->key4.saddr_be);
}

/* The destination as 16 bytes. */
static __always_inline void packet_daddr(const struct packet *pkt, struct ip_address *to)
{
	if (pkt->is_ipv6)
		*to = pkt->key6.daddr;
	else
		map_ipv4(to, pkt->key4.daddr_be);
}

static __always_inline __be16 packet_sport_be(const struct packet *pkt)
{
	return pkt->is_ipv6 ? pkt->key6.sport_be : pkt->key4.sport_be;
}

static __always_inline __be16 packet_dport_be(const struct packet *pkt)
{
	return pkt->is_ipv6 ? pkt->key6.dport_be : pkt->key4.dport_be;
}

static __always_inline __u8 packet_l4_proto(const struct packet *pkt)
{
	return pkt->is_ipv6 ? pkt->key6.l4_proto : pkt->key4.l4_proto;
}

#endif
