/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rewrites ICMP errors (RFC 792, RFC 4443) together with the packet that they quote, which may be cut
 * off anywhere after its ports. Every checksum that covers what has changed is mended, the quoted ones
 * too. Whose error it is, is known before: see icmp.h.
 */
#ifndef SKEIN_NAT_QUOTE_H
#define SKEIN_NAT_QUOTE_H

#include "rewrite.h"

/* Of TCP and UDP headers, as far as a quote has them. */
#define TCP_CHECK_OFFSET 16
#define UDP_CHECK_OFFSET 6

/* Addresses and ports of one packet. */
struct nat_ends {
	struct ip_address saddr;
	struct ip_address daddr;
	__be16 sport_be;
	__be16 dport_be;
};

/* The quoted ports and checksum; returns what the ICMP message has changed by. */
static __always_inline __u64 rewrite_quoted_l4(void *l4, void *end, __u32 room, __u8 l4_proto,
					       const struct nat_ends *to, __u64 delta)
{
	__be16 *ports_be = l4;
	__u32 at = l4_proto == IPPROTO_TCP ? TCP_CHECK_OFFSET : UDP_CHECK_OFFSET;
	__u16 *check = l4 + at, before;

	/* That they are there was seen when the flow was looked for. */
	if ((void *)(ports_be + 2) > end)
		return delta;
	delta = csum_change16(delta, ports_be[0], to->sport_be);
	delta = csum_change16(delta, ports_be[1], to->dport_be);
	ports_be[0] = to->sport_be;
	ports_be[1] = to->dport_be;
	/* What is cut off ends with the packet: a frame may be padded. */
	if (at + sizeof(*check) > room || (void *)(check + 1) > end)
		return delta;
	before = *check;
	if (!before && l4_proto == IPPROTO_UDP)
		return delta;
	csum_apply(check, delta);
	if (!*check && l4_proto == IPPROTO_UDP)
		*check = 0xffff;
	return csum_change16(delta, before, *check);
}

static __always_inline int rewrite_error4(const struct packet *pkt, void *l3, void *end,
					  const struct nat_ends *quoted,
					  const struct ip_address *hidden)
{
	struct icmp_header *icmp = l3 + ((pkt->l4_offset - sizeof(struct ethhdr)) & 0xff);
	struct iphdr *ip = l3, *inner = (void *)(icmp + 1);
	__u32 header_bytes, room;
	__u64 delta;
	__u16 before;

	if ((void *)(ip + 1) > end || (void *)(inner + 1) > end)
		return -1;
	delta = csum_replace_words(&ip->daddr, (const __u32 *)&quoted->saddr + 3, 1);
	if (hidden && ip->saddr == ipv4_of(hidden))
		delta += csum_replace_words(&ip->saddr, (const __u32 *)&quoted->daddr + 3, 1);
	csum_apply(&ip->check, delta);

	header_bytes = inner->ihl * 4;
	room = (void *)inner - l3 + header_bytes;
	room = bpf_ntohs(ip->tot_len) > room ? bpf_ntohs(ip->tot_len) - room : 0;
	delta = csum_replace_words(&inner->saddr, (const __u32 *)&quoted->saddr + 3, 1);
	delta += csum_replace_words(&inner->daddr, (const __u32 *)&quoted->daddr + 3, 1);
	before = inner->check;
	csum_apply(&inner->check, delta);
	/* The header sums up to what it did; the pseudo header of what follows does not. */
	delta = rewrite_quoted_l4((void *)inner + header_bytes, end, room, inner->protocol, quoted,
				  delta);
	csum_apply(&icmp->checksum, csum_change16(delta, before, inner->check));
	return 0;
}

static __always_inline int rewrite_error6(struct xdp_md *ctx, const struct packet *pkt,
					  const struct nat_ends *quoted,
					  const struct ip_address *hidden)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 quote_offset = (pkt->l4_offset & L4_OFFSET_MASK) + sizeof(struct icmp_header);
	struct icmp_header *icmp = data + (pkt->l4_offset & L4_OFFSET_MASK);
	struct ipv6hdr *ip6 = data + sizeof(struct ethhdr), *inner = data + quote_offset;
	__u32 quoted_l4 = pkt->quoted_l4_offset & L4_OFFSET_MASK, packet_end, room;
	__u64 pseudo, delta;

	if ((void *)(ip6 + 1) > end || (void *)(inner + 1) > end)
		return -1;
	pseudo = csum_replace_words((__u32 *)&ip6->daddr, (const __u32 *)&quoted->saddr, 4);
	if (hidden && same_address((struct ip_address *)&ip6->saddr, hidden))
		pseudo +=
			csum_replace_words((__u32 *)&ip6->saddr, (const __u32 *)&quoted->daddr, 4);

	packet_end = sizeof(struct ethhdr) + sizeof(*ip6) + bpf_ntohs(ip6->payload_len);
	room = packet_end > quoted_l4 ? packet_end - quoted_l4 : 0;
	delta = csum_replace_words((__u32 *)&inner->saddr, (const __u32 *)&quoted->saddr, 4);
	delta += csum_replace_words((__u32 *)&inner->daddr, (const __u32 *)&quoted->daddr, 4);
	delta = rewrite_quoted_l4(data + quoted_l4, end, room, pkt->key6.l4_proto, quoted, delta);
	if ((void *)(icmp + 1) > end)
		return -1;
	csum_apply(&icmp->checksum, pseudo + delta);
	return 0;
}

/*
 * An ICMP error, as quoted_flow() has it, and the packet that it quotes, whose sender is to get it.
 * Where the error itself comes from the address `hidden`, if there is one, it comes from the quoted
 * packet's receiver afterwards.
 */
__noinline int rewrite_error(struct xdp_md *ctx, const struct packet *pkt,
			     const struct nat_ends *quoted, const struct ip_address *hidden)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *l3 = data + sizeof(struct ethhdr);

	if (!pkt || !quoted)
		return -1;
	return pkt->is_ipv6 ? rewrite_error6(ctx, pkt, quoted, hidden) :
			      rewrite_error4(pkt, l3, end, quoted, hidden);
}

#endif
