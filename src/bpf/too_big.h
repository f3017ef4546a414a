/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Packets that do not fit the way to their backend, and replies of nat that do not fit the way to their
 * client. What must not be fragmented is answered with the MTU, as a router does (RFC 1191, RFC 4443
 * section 3.2); IPv4 without DF goes to the supervisor, which cuts it, since XDP cannot make two frames
 * of one. Never answers what must not be answered (RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e)), and
 * never more often than its bucket allows.
 */
#ifndef SKEIN_TOO_BIG_H
#define SKEIN_TOO_BIG_H

#include "bucket.h"
#include "echo.h"
#include "encap.h"

/* Of each CPU: a client asks once for each path, and again after ten minutes. */
#define TOO_BIG_PER_SECOND 1000
#define TOO_BIG_BURST 500
/* Of each CPU: about what one supervisor can cut in the time that it has for this. */
#define CUT_PER_SECOND 2000
#define CUT_BURST 256

#define ICMP4_FRAGMENTATION_NEEDED 4
#define ICMP6_PACKET_TOO_BIG 2
#define ANSWER_TTL 64
/* Internetwork control (RFC 1812, section 4.3.2.5). */
#define ANSWER_TOS 0xc0
/* No IPv4 way may have less (RFC 791); none of IPv6 does (RFC 8200, section 5). */
#define IPV4_MTU_MIN 68
#define IPV6_MTU_MIN 1280
/* Longest answers, from the IP header on: RFC 1812, section 4.3.2.3; RFC 4443, section 2.4 (c). */
#define ANSWER4_BYTES_MAX 576
#define ANSWER6_BYTES_MAX 1280
#define QUOTE4_BYTES_MAX (ANSWER4_BYTES_MAX - sizeof(struct iphdr) - sizeof(struct icmp_header))
#define QUOTE6_BYTES (ANSWER6_BYTES_MAX - sizeof(struct ipv6hdr) - sizeof(struct icmp_header))
#define ANSWER_WORDS_MAX (ANSWER6_BYTES_MAX / 4)

static __always_inline __u64 sum_to_end(const void *from, const void *end)
{
	const __u32 *word = from;
	__u64 sum = 0;
	int i;

#pragma clang loop unroll(disable)
	for (i = 0; i < ANSWER_WORDS_MAX; i++) {
		if ((const void *)(word + 1) > end)
			break;
		sum += *word++;
	}
	return sum;
}

/* A frame that was sent to many, or by nobody in particular, is no question. */
static __always_inline bool sent_to_one(const struct ethhdr *eth)
{
	return !((eth->h_dest[0] | eth->h_source[0]) & 1);
}

/* One host: not 0.0.0.0/8, loopback, multicast, reserved or broadcast. */
static __always_inline bool is_host4(__be32 address_be)
{
	__u8 first = bpf_ntohl(address_be) >> 24;

	return first && first != 127 && first < 224;
}

/* One host: neither multicast nor in ::/64, where the unspecified and the loopback address are. */
static __always_inline bool is_host6(const struct in6_addr *address)
{
	const __u32 *words_be = (const __u32 *)address;

	return address->s6_addr[0] != 0xff && (words_be[0] || words_be[1]);
}

/*
 * Leaves `quote_bytes` of the packet in the frame and makes room for `header_bytes` in front of it.
 * 0, or the counter under which the packet is to be dropped.
 */
static __always_inline int make_quote(struct xdp_md *ctx, int quote_bytes, int header_bytes)
{
	int frame_bytes = ctx->data_end - ctx->data;

	if (bpf_xdp_adjust_tail(ctx, (int)sizeof(struct ethhdr) + quote_bytes - frame_bytes))
		return DROP_INTERNAL;
	return bpf_xdp_adjust_head(ctx, -header_bytes) ? DROP_NO_HEADROOM : 0;
}

static __always_inline void put_answer_macs(struct ethhdr *eth, const struct ethhdr *asked)
{
	__builtin_memcpy(eth->h_dest, asked->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, asked->h_dest, ETH_ALEN);
	eth->h_proto = asked->h_proto;
}

/*
 * The source is the VIP, where `from` is NULL. A firewall before the client knows it, since the client
 * speaks to it; an address of the node may be private, filtered on the way, or of another family. A
 * backend is told from the node's own address, since it knows nothing of the VIP. Global functions,
 * here and below, so that the verifier walks through the sum once and not for each caller.
 */
__noinline int answer4(struct xdp_md *ctx, __u32 mtu, const struct ip_address *from)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct ethhdr *eth = data, asked_eth;
	struct icmp_header *icmp;
	__u32 quote_bytes;
	struct iphdr asked;
	int why;

	if ((void *)(ip + 1) > end)
		return drop(DROP_INTERNAL);
	asked_eth = *eth;
	asked = *ip;
	quote_bytes = bpf_ntohs(asked.tot_len);
	if (quote_bytes > QUOTE4_BYTES_MAX)
		quote_bytes = QUOTE4_BYTES_MAX;
	/* Whole words, for the sum. */
	quote_bytes &= ~3U;
	why = make_quote(ctx, quote_bytes, sizeof(*ip) + sizeof(*icmp));
	if (why)
		return drop(why);

	eth = data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	ip = (void *)(eth + 1);
	icmp = (void *)(ip + 1);
	if ((void *)(icmp + 1) > end)
		return drop(DROP_INTERNAL);
	put_answer_macs(eth, &asked_eth);
	*(__be32 *)ip = bpf_htonl(0x45000000 | ANSWER_TOS << 16 |
				  (sizeof(*ip) + sizeof(*icmp) + quote_bytes));
	*((__be32 *)ip + 1) = bpf_htonl(IP_DONT_FRAGMENT);
	ip->ttl = ANSWER_TTL;
	ip->protocol = IPPROTO_ICMP;
	ip->check = 0;
	ip->saddr = from ? ipv4_of(from) : asked.daddr;
	ip->daddr = asked.saddr;
	ip->check = ~csum_fold(sum_words(0, ip, sizeof(*ip) / 4));
	icmp->type = ICMP4_UNREACHABLE;
	icmp->code = ICMP4_FRAGMENTATION_NEEDED;
	icmp->checksum = 0;
	icmp->rest_be = bpf_htonl(mtu);
	icmp->checksum = ~csum_fold(sum_to_end(icmp, end));
	return XDP_TX;
}

__noinline int answer6(struct xdp_md *ctx, __u32 mtu, const struct ip_address *from)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipv6hdr *ip6 = data + sizeof(struct ethhdr);
	struct ethhdr *eth = data, asked_eth;
	struct icmp_header *icmp;
	struct ipv6hdr asked;
	__u64 sum;
	int why;

	if ((void *)(ip6 + 1) > end)
		return drop(DROP_INTERNAL);
	asked_eth = *eth;
	asked = *ip6;
	why = make_quote(ctx, QUOTE6_BYTES, sizeof(*ip6) + sizeof(*icmp));
	if (why)
		return drop(why);

	eth = data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	ip6 = (void *)(eth + 1);
	icmp = (void *)(ip6 + 1);
	if ((void *)(icmp + 1) > end)
		return drop(DROP_INTERNAL);
	put_answer_macs(eth, &asked_eth);
	*(__be32 *)ip6 = bpf_htonl(0x60000000);
	ip6->payload_len = bpf_htons(sizeof(*icmp) + QUOTE6_BYTES);
	ip6->nexthdr = IPPROTO_ICMPV6;
	ip6->hop_limit = ANSWER_TTL;
	if (from)
		__builtin_memcpy(&ip6->saddr, from, sizeof(ip6->saddr));
	else
		ip6->saddr = asked.daddr;
	ip6->daddr = asked.saddr;
	icmp->type = ICMP6_PACKET_TOO_BIG;
	icmp->code = 0;
	icmp->checksum = 0;
	icmp->rest_be = bpf_htonl(mtu);
	sum = sum_words(sum_to_end(icmp, end), &ip6->saddr, 8);
	sum += ip6->payload_len + bpf_htons(IPPROTO_ICMPV6);
	icmp->checksum = ~csum_fold(sum);
	return XDP_TX;
}

/* Hands an IPv4 packet to the supervisor, which cuts it and gives the fragments back. */
static __always_inline int hand_over(struct xdp_md *ctx, const struct packet *pkt, __u32 bytes,
				     __u32 bytes_max)
{
	struct oversized_event *event;

	if (bytes > OVERSIZED_PACKET_BYTES_MAX)
		return drop(DROP_TOO_BIG);
	if (!cpu_allows(BUCKET_CUT, CUT_PER_SECOND, CUT_BURST))
		return drop(DROP_TOO_BIG_LIMITED);
	event = bpf_ringbuf_reserve(&oversized, sizeof(*event), 0);
	if (!event)
		return drop(DROP_TOO_BIG_LIMITED);
	event->bytes_max = bytes_max;
	event->bytes = bytes;
	if (bytes < 1 || bpf_xdp_load_bytes(ctx, pkt->l3_offset, event->packet, bytes)) {
		bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);
		return drop(DROP_INTERNAL);
	}
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return drop(DROP_TOO_BIG_CUT);
}

/* May this packet be answered now? 0, or the counter under which it is to be dropped. */
static __always_inline int answer_refused(const struct ip_address *from)
{
	if (from && is_unset(from))
		return DROP_NO_SOURCE;
	return cpu_allows(BUCKET_TOO_BIG, TOO_BIG_PER_SECOND, TOO_BIG_BURST) ? 0 :
									       DROP_TOO_BIG_LIMITED;
}

static __always_inline int too_big4(struct xdp_md *ctx, const struct packet *pkt, __u32 bytes_max,
				    const struct ip_address *from)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	__u32 bytes;
	int why;

	if ((void *)(ip + 1) > end)
		return drop(DROP_INTERNAL);
	bytes = bpf_ntohs(ip->tot_len);
	/* What is too long is what stands behind the packet. */
	if (bytes <= bytes_max || bytes_max < IPV4_MTU_MIN)
		return drop(DROP_TOO_BIG);
	if (!(ip->frag_off & bpf_htons(IP_DONT_FRAGMENT)))
		return hand_over(ctx, pkt, bytes, bytes_max);
	if (ip->frag_off & bpf_htons(IP_FRAGMENT_OFFSET) || !is_host4(ip->saddr) ||
	    !sent_to_one(data))
		return drop(DROP_TOO_BIG);
	why = answer_refused(from);
	if (why)
		return drop(why);
	count(COUNT_TOO_BIG_ANSWERED);
	return answer4(ctx, bytes_max, from);
}

/*
 * A host need not send less than 1,280 bytes whatever it is told, so a way on which that does not
 * fit cannot carry IPv6: it is named by 1,280, and what is no longer than that is dropped.
 */
static __always_inline int too_big6(struct xdp_md *ctx, const struct packet *pkt, __u32 bytes_max,
				    const struct ip_address *from)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipv6hdr *ip6 = data + sizeof(struct ethhdr);
	int why;

	if ((void *)(ip6 + 1) > end)
		return drop(DROP_INTERNAL);
	if (bytes_max < IPV6_MTU_MIN)
		bytes_max = IPV6_MTU_MIN;
	if (sizeof(*ip6) + bpf_ntohs(ip6->payload_len) <= bytes_max || !is_host6(&ip6->saddr) ||
	    !sent_to_one(data))
		return drop(DROP_TOO_BIG);
	why = answer_refused(from);
	if (why)
		return drop(why);
	count(COUNT_TOO_BIG_ANSWERED);
	return answer6(ctx, bytes_max, from);
}

/* `from`: who answers; NULL: the destination of the packet. */
static __noinline int too_big(struct xdp_md *ctx, const struct packet *pkt,
			      const struct backend_local *local, const struct ip_address *from)
{
	__u32 bytes_max;
	int verdict;

	if (!pkt || !local)
		return drop(DROP_INTERNAL);
	/* An ICMP error: it is forwarded by the flow that it quotes, and gets no error itself. */
	if ((pkt->kind != PACKET_FLOW && pkt->kind != PACKET_FRAGMENT) ||
	    local->frame_bytes_max < sizeof(struct ethhdr))
		return drop(DROP_TOO_BIG);
	bytes_max = local->frame_bytes_max - sizeof(struct ethhdr);
	verdict = pkt->is_ipv6 ? too_big6(ctx, pkt, bytes_max, from) :
				 too_big4(ctx, pkt, bytes_max, from);
	return verdict == XDP_TX ? answer(ctx, pkt) : verdict;
}

#endif
