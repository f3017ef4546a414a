/* SPDX-License-Identifier: GPL-2.0-only */
/* Replaces addresses and ports in place, and mends every checksum that covers them (RFC 1624). */
#ifndef SKEIN_REWRITE_H
#define SKEIN_REWRITE_H

#include "checksum.h"
#include "parse.h"

/* What of a packet is to be replaced; addresses as 16 bytes, IPv4 in the last four. */
struct rewrite {
	const struct ip_address *saddr;
	const struct ip_address *daddr;
	__be16 sport_be;
	__be16 dport_be;
};

static __always_inline int rewrite_l4(void *l4, void *end, __u8 l4_proto, const struct rewrite *to,
				      __u64 delta)
{
	__be16 *ports_be = l4;

	if (l4_proto == IPPROTO_TCP) {
		struct tcphdr *tcp = l4;

		if ((void *)(tcp + 1) > end)
			return -1;
		delta = csum_change16(delta, tcp->source, to->sport_be);
		delta = csum_change16(delta, tcp->dest, to->dport_be);
		csum_apply(&tcp->check, delta);
	} else {
		struct udphdr *udp = l4;

		if ((void *)(udp + 1) > end)
			return -1;
		delta = csum_change16(delta, udp->source, to->sport_be);
		delta = csum_change16(delta, udp->dest, to->dport_be);
		/* 0 means "no checksum" (RFC 768); a sum that comes out as 0 is sent as all ones. */
		if (udp->check) {
			csum_apply(&udp->check, delta);
			if (!udp->check)
				udp->check = 0xffff;
		}
	}
	ports_be[0] = to->sport_be;
	ports_be[1] = to->dport_be;
	return 0;
}

static __always_inline bool is_echo(const struct packet *pkt)
{
	return pkt->kind == PACKET_ECHO_REQUEST || pkt->kind == PACKET_ECHO_REPLY;
}

/* `delta`: of the pseudo header, which ICMPv6 has and ICMP has not. */
static __always_inline int rewrite_echo(void *l4, void *end, const struct packet *pkt,
					const struct rewrite *to, __u64 delta)
{
	__be16 id_be = pkt->kind == PACKET_ECHO_REQUEST ? to->sport_be : to->dport_be;
	struct icmp_header *icmp = l4;
	__be16 *at;

	if ((void *)(icmp + 1) > end)
		return -1;
	at = (__be16 *)&icmp->rest_be;
	delta = csum_change16(delta, *at, id_be);
	*at = id_be;
	csum_apply(&icmp->checksum, delta);
	/* As in echo_answer(): all ones are right wherever 0 is, and also for a reply of zeroes. */
	if (!icmp->checksum)
		icmp->checksum = 0xffff;
	return 0;
}

/*
 * What follows the IP header, whose addresses have changed by `delta`. Of an ICMP error only what
 * covers its own addresses: what it quotes stays. A later fragment has nothing that covers them.
 */
static __always_inline int rewrite_payload(void *l4, void *end, const struct packet *pkt,
					   __u8 l4_proto, const struct rewrite *to, __u64 delta)
{
	struct icmp_header *icmp = l4;

	if (pkt->kind == PACKET_FLOW)
		return rewrite_l4(l4, end, l4_proto, to, delta);
	if (is_echo(pkt))
		return rewrite_echo(l4, end, pkt, to, pkt->is_ipv6 ? delta : 0);
	if (pkt->kind != PACKET_ICMP_ERROR || !pkt->is_ipv6)
		return 0;
	if ((void *)(icmp + 1) > end)
		return -1;
	csum_apply(&icmp->checksum, delta);
	return 0;
}

static __always_inline int rewrite_packet(struct xdp_md *ctx, const struct packet *pkt,
					  const struct rewrite *to)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *l3 = data + sizeof(struct ethhdr);
	void *l4 = data + (pkt->l4_offset & L4_OFFSET_MASK);
	__u64 delta;

	if (pkt->is_ipv6) {
		struct ipv6hdr *ip6 = l3;

		if ((void *)(ip6 + 1) > end)
			return -1;
		delta = csum_replace_words((__u32 *)&ip6->saddr, (const __u32 *)to->saddr, 4);
		delta += csum_replace_words((__u32 *)&ip6->daddr, (const __u32 *)to->daddr, 4);
		return rewrite_payload(l4, end, pkt, pkt->key6.l4_proto, to, delta);
	} else {
		struct iphdr *ip = l3;

		if ((void *)(ip + 1) > end)
			return -1;
		delta = csum_replace_words(&ip->saddr, (const __u32 *)to->saddr + 3, 1);
		delta += csum_replace_words(&ip->daddr, (const __u32 *)to->daddr + 3, 1);
		csum_apply(&ip->check, delta);
		return rewrite_payload(l4, end, pkt, pkt->key4.l4_proto, to, delta);
	}
}

/* The same for what was parsed. */
static __always_inline void rewrite_key(struct packet *pkt, const struct rewrite *to)
{
	if (pkt->is_ipv6) {
		pkt->key6.saddr = *to->saddr;
		pkt->key6.daddr = *to->daddr;
		pkt->key6.sport_be = to->sport_be;
		pkt->key6.dport_be = to->dport_be;
	} else {
		pkt->key4.saddr_be = ipv4_of(to->saddr);
		pkt->key4.daddr_be = ipv4_of(to->daddr);
		pkt->key4.sport_be = to->sport_be;
		pkt->key4.dport_be = to->dport_be;
	}
}

#endif
