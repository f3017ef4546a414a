/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Puts a packet into another one for its backend: IP in IP (RFC 2003, RFC 2473), GRE (RFC 2784),
 * GUE (draft-ietf-intarea-gue, variant 0) and foo-over-UDP, inner and outer of either family. What
 * is inside stays as it is. Must never be asked for a packet that does not fit the way.
 */
#ifndef SKEIN_ENCAP_H
#define SKEIN_ENCAP_H

#include "checksum.h"
#include "nexthop.h"

#define IP_DONT_FRAGMENT 0x4000
/* The dynamic ports (RFC 6335), so that no port of a server is met by chance. */
#define ENTROPY_PORT_FIRST 49152
#define ENTROPY_PORT_MASK 0x3fff
#define GUE_PROTO_SHIFT 16

/* What the outer headers take over from the inner one. */
struct inner {
	__u16 bytes;
	__u8 tos;
	__u8 ttl;
	__u8 is_ipv6;
	/* Sum of the packet's 16-bit words, if `summed`. */
	__u8 summed;
	__u64 sum;
};

static __always_inline __u64 sum_words(__u64 sum, const void *from, int words)
{
	const __u32 *word = from;
	int i;

#pragma unroll
	for (i = 0; i < words; i++)
		sum += word[i];
	return sum;
}

/*
 * A TCP segment or UDP datagram with its pseudo header sums up to all ones, that is nothing: so
 * the sum of the packet follows from its headers, whatever is in it. An IPv4 header is nothing too.
 */
static __always_inline void sum_inner(struct inner *inner, const struct packet *pkt, void *l3,
				      void *end)
{
	__u32 header_bytes = inner->is_ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	__u8 l4_proto = packet_l4_proto(pkt);
	__u64 pseudo;

	if (pkt->kind != PACKET_FLOW || pkt->part ||
	    pkt->l4_offset != sizeof(struct ethhdr) + header_bytes)
		return;
	if (l4_proto == IPPROTO_UDP) {
		struct udphdr *udp = l3 + header_bytes;

		/* Behind a shorter one is more, which its checksum does not cover (RFC 9868). */
		if ((void *)(udp + 1) > end || !udp->check ||
		    bpf_ntohs(udp->len) != inner->bytes - header_bytes)
			return;
	} else if (l4_proto != IPPROTO_TCP) {
		return;
	}
	pseudo = bpf_htons(l4_proto) + bpf_htons(inner->bytes - header_bytes);
	if (inner->is_ipv6) {
		struct ipv6hdr *ip6 = l3;

		if ((void *)(ip6 + 1) > end)
			return;
		pseudo = sum_words(pseudo, &ip6->saddr, 8);
		inner->sum = sum_words(0, ip6, sizeof(*ip6) / 4);
	} else {
		struct iphdr *ip = l3;

		if ((void *)(ip + 1) > end)
			return;
		pseudo = sum_words(pseudo, &ip->saddr, 2);
	}
	inner->sum += (__u16)~csum_fold(pseudo);
	inner->summed = 1;
}

static __always_inline int read_inner(struct xdp_md *ctx, struct inner *inner)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct ipv6hdr *ip6 = (void *)ip;

	if ((void *)(ip + 1) > end)
		return -1;
	if (ip->version == 4) {
		inner->bytes = bpf_ntohs(ip->tot_len);
		inner->tos = ip->tos;
		inner->ttl = ip->ttl;
		return 0;
	}
	if ((void *)(ip6 + 1) > end)
		return -1;
	inner->is_ipv6 = 1;
	inner->bytes = sizeof(*ip6) + bpf_ntohs(ip6->payload_len);
	inner->tos = bpf_ntohs(*(__be16 *)ip6) >> 4;
	inner->ttl = ip6->hop_limit;
	return 0;
}

/* Protocol of what follows the outer IP header. */
static __always_inline __u8 outer_l4_proto(__u8 mode, const struct inner *inner)
{
	if (mode == FORWARD_GRE)
		return IPPROTO_GRE;
	if (mode == FORWARD_GUE || mode == FORWARD_FOU)
		return IPPROTO_UDP;
	return inner->is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
}

static __always_inline void put_outer4(struct iphdr *ip, const struct inner *inner,
				       const struct backend *backend, __be32 saddr_be,
				       __u8 l4_proto, __u32 bytes)
{
	__u32 *words = (__u32 *)ip;

	words[0] = bpf_htonl(0x45000000 | (__u32)inner->tos << 16 | bytes);
	words[1] = bpf_htonl(IP_DONT_FRAGMENT);
	ip->ttl = backend->tunnel_ttl ? backend->tunnel_ttl : inner->ttl;
	ip->protocol = l4_proto;
	ip->check = 0;
	ip->saddr = saddr_be;
	ip->daddr = ipv4_of(&backend->address);
	ip->check = ~csum_fold(sum_words(0, ip, sizeof(*ip) / 4));
}

static __always_inline void put_outer6(struct ipv6hdr *ip6, const struct inner *inner,
				       const struct backend *backend,
				       const struct ip_address *saddr, __u8 l4_proto, __u32 bytes,
				       __u32 entropy)
{
	/* The flow label carries the entropy as well (RFC 6438). */
	*(__be32 *)ip6 = bpf_htonl(0x60000000 | (__u32)inner->tos << 20 | (entropy & 0xfffff));
	ip6->payload_len = bpf_htons(bytes - sizeof(*ip6));
	ip6->nexthdr = l4_proto;
	ip6->hop_limit = backend->tunnel_ttl ? backend->tunnel_ttl : inner->ttl;
	__builtin_memcpy(&ip6->saddr, saddr, 16);
	__builtin_memcpy(&ip6->daddr, &backend->address, 16);
}

/*
 * The UDP header, and for GUE the word after it. The checksum may be 0 over IPv4, and over IPv6 for
 * tunnels (RFC 6935), but not every receiver takes it: it is there whenever it follows from headers.
 */
static __always_inline void put_udp(struct udphdr *udp, const struct inner *inner,
				    const struct backend *backend, const struct ipv6hdr *ip6,
				    __u32 entropy, bool is_gue)
{
	__u32 bytes = sizeof(*udp) + (is_gue ? GUE_BYTES : 0) + inner->bytes;
	__u64 sum;

	udp->source = bpf_htons(ENTROPY_PORT_FIRST | (entropy & ENTROPY_PORT_MASK));
	udp->dest = backend->port_be;
	udp->len = bpf_htons(bytes);
	udp->check = 0;
	if (is_gue)
		*(__be32 *)(udp + 1) = bpf_htonl((inner->is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IPIP)
						 << GUE_PROTO_SHIFT);
	if (!ip6 || !inner->summed)
		return;
	sum = inner->sum + bpf_htons(IPPROTO_UDP) + bpf_htons(bytes);
	sum = sum_words(sum, &ip6->saddr, 8);
	sum = sum_words(sum, udp, is_gue ? 3 : 2);
	udp->check = ~csum_fold(sum);
	if (!udp->check)
		udp->check = 0xffff;
}

static __always_inline void put_after_ip(void *l4, const struct inner *inner,
					 const struct backend *backend, const struct ipv6hdr *ip6,
					 __u32 entropy, __u8 mode)
{
	if (mode == FORWARD_GRE)
		*(__be32 *)l4 = bpf_htonl(inner->is_ipv6 ? ETH_P_IPV6 : ETH_P_IP);
	else if (mode != FORWARD_IPIP)
		put_udp(l4, inner, backend, ip6, entropy, mode == FORWARD_GUE);
}

static __always_inline int encap4(struct xdp_md *ctx, const struct inner *inner,
				  const struct backend *backend, __be32 saddr_be, __u32 entropy,
				  __u8 mode)
{
	const __u32 bytes = mode_bytes(mode, false);
	void *data, *end;
	struct ethhdr *eth;

	if (bpf_xdp_adjust_head(ctx, -(int)bytes))
		return DROP_NO_HEADROOM;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	eth = data;
	if (data + sizeof(*eth) + bytes > end)
		return DROP_INTERNAL;
	eth->h_proto = bpf_htons(ETH_P_IP);
	put_outer4((void *)(eth + 1), inner, backend, saddr_be, outer_l4_proto(mode, inner),
		   bytes + inner->bytes);
	put_after_ip((void *)(eth + 1) + sizeof(struct iphdr), inner, backend, NULL, entropy, mode);
	return 0;
}

static __always_inline int encap6(struct xdp_md *ctx, const struct inner *inner,
				  const struct backend *backend, const struct ip_address *saddr,
				  __u32 entropy, __u8 mode)
{
	const __u32 bytes = mode_bytes(mode, true);
	void *data, *end;
	struct ipv6hdr *ip6;
	struct ethhdr *eth;

	if (bpf_xdp_adjust_head(ctx, -(int)bytes))
		return DROP_NO_HEADROOM;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	eth = data;
	if (data + sizeof(*eth) + bytes > end)
		return DROP_INTERNAL;
	eth->h_proto = bpf_htons(ETH_P_IPV6);
	ip6 = (void *)(eth + 1);
	put_outer6(ip6, inner, backend, saddr, outer_l4_proto(mode, inner), bytes + inner->bytes,
		   entropy);
	put_after_ip(ip6 + 1, inner, backend, ip6, entropy, mode);
	return 0;
}

/*
 * Differs from flow to flow, and is the same for all packets of one. Only receivers' queues depend
 * on it, so one multiplication does, where the scheduler's hash has six.
 */
static __always_inline __u32 flow_entropy(const struct packet *pkt)
{
	__u64 word;

	if (pkt->is_ipv6) {
		const __u64 *saddr = (const __u64 *)&pkt->key6.saddr;

		word = saddr[0] ^ saddr[1] ^ *(const __u32 *)&pkt->key6.sport_be;
	} else {
		word = (__u64)pkt->key4.saddr_be << 32 | *(const __u32 *)&pkt->key4.sport_be;
	}
	word *= 0x9e3779b97f4a7c15ULL;
	/* The last bytes of an address are in the upper bits, and a product carries no bit down. */
	word ^= word >> 32;
	return word ^ word >> 18;
}

/* The fixed bits, and the flow's hash for the others. */
static __always_inline __u32 outer_source_word(const struct tunnel_source *source, int word,
					       __u32 entropy)
{
	__u32 fixed = ((const __u32 *)&source->fixed)[word];
	__u32 mask = ((const __u32 *)&source->mask)[word];

	return (fixed & mask) | (entropy & ~mask);
}

static __always_inline int encapsulate4(struct xdp_md *ctx, const struct packet *pkt,
					const struct inner *inner, const struct backend *backend,
					const struct tunnel_source *source)
{
	__u32 mask = ((const __u32 *)&source->mask)[3], entropy = 0;
	bool is_udp = backend->mode == FORWARD_GUE || backend->mode == FORWARD_FOU;
	__be32 saddr_be;

	/* A hash costs as much as the whole header, so it is made where it is seen. */
	if (is_udp || ~mask)
		entropy = flow_entropy(pkt);
	saddr_be = outer_source_word(source, 3, entropy);
	switch (backend->mode) {
	case FORWARD_IPIP:
		return encap4(ctx, inner, backend, saddr_be, entropy, FORWARD_IPIP);
	case FORWARD_GRE:
		return encap4(ctx, inner, backend, saddr_be, entropy, FORWARD_GRE);
	case FORWARD_GUE:
		return encap4(ctx, inner, backend, saddr_be, entropy, FORWARD_GUE);
	}
	return encap4(ctx, inner, backend, saddr_be, entropy, FORWARD_FOU);
}

static __always_inline int encapsulate6(struct xdp_md *ctx, const struct packet *pkt,
					struct inner *inner, const struct backend *backend,
					const struct tunnel_source *source)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 entropy = flow_entropy(pkt);
	struct ip_address saddr;
	__u32 *words = (__u32 *)&saddr;
	int i;

#pragma unroll
	for (i = 0; i < 4; i++)
		words[i] = outer_source_word(source, i, entropy);
	switch (backend->mode) {
	case FORWARD_IPIP:
		return encap6(ctx, inner, backend, &saddr, entropy, FORWARD_IPIP);
	case FORWARD_GRE:
		return encap6(ctx, inner, backend, &saddr, entropy, FORWARD_GRE);
	}
	sum_inner(inner, pkt, data + sizeof(struct ethhdr), end);
	if (backend->mode == FORWARD_GUE)
		return encap6(ctx, inner, backend, &saddr, entropy, FORWARD_GUE);
	return encap6(ctx, inner, backend, &saddr, entropy, FORWARD_FOU);
}

/*
 * 0, or the counter under which the packet is to be dropped. Not inline, so that its stack is not
 * taken from the other modes, which call more.
 */
static __noinline int encapsulate(struct xdp_md *ctx, const struct packet *pkt, __u32 index,
				  const struct backend *backend)
{
	struct tunnel_source *source = bpf_map_lookup_elem(&tunnel_sources, &index);
	struct inner inner = {};

	if (!pkt || !backend || !source || read_inner(ctx, &inner))
		return DROP_INTERNAL;
	if (is_unset(&source->fixed))
		return DROP_NO_SOURCE;
	if (is_ipv4_mapped(&backend->address))
		return encapsulate4(ctx, pkt, &inner, backend, source);
	return encapsulate6(ctx, pkt, &inner, backend, source);
}

#endif
