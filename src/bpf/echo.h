/* SPDX-License-Identifier: GPL-2.0-only */
/* Answers echo requests to a VIP in place: whether a node forwards can be seen from a ping. */
#ifndef SKEIN_ECHO_H
#define SKEIN_ECHO_H

#include "bucket.h"
#include "checksum.h"
#include "counters.h"
#include "parse.h"
#include "settings.h"
#include "vlan.h"

#define ECHO_REPLY_TTL 64

static __always_inline void swap_macs(struct ethhdr *eth)
{
	__u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
}

/*
 * Type and code are the first word of the header; swapping the addresses changes no sum. Updating
 * cannot tell +0 from -0 (RFC 1624, section 3); all ones are right for both, as 0 is not for a
 * reply that is zeroes throughout.
 */
static __always_inline void echo_answer(struct icmp_header *icmp, __u8 type)
{
	__u64 delta = csum_change16(0, *(__u16 *)icmp, bpf_htons((__u16)type << 8));

	icmp->type = type;
	icmp->code = 0;
	csum_apply(&icmp->checksum, delta);
	if (!icmp->checksum)
		icmp->checksum = 0xffff;
}

static __always_inline int echo_reply4(struct ethhdr *eth, struct icmp_header *icmp, void *end)
{
	struct iphdr *ip = (void *)(eth + 1);
	__be32 client_be;
	__u64 delta;

	if ((void *)(ip + 1) > end || (void *)(icmp + 1) > end)
		return -1;
	client_be = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = client_be;
	delta = csum_change16(0, bpf_htons((__u16)ip->ttl << 8), bpf_htons(ECHO_REPLY_TTL << 8));
	ip->ttl = ECHO_REPLY_TTL;
	csum_apply(&ip->check, delta);
	echo_answer(icmp, ICMP4_ECHO_REPLY);
	return 0;
}

/* Extension headers go back as they came. */
static __always_inline int echo_reply6(struct ethhdr *eth, struct icmp_header *icmp, void *end)
{
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct in6_addr client;

	if ((void *)(ip6 + 1) > end || (void *)(icmp + 1) > end)
		return -1;
	client = ip6->saddr;
	ip6->saddr = ip6->daddr;
	ip6->daddr = client;
	ip6->hop_limit = ECHO_REPLY_TTL;
	echo_answer(icmp, ICMP6_ECHO_REPLY);
	return 0;
}

static __always_inline bool echo_allowed(void)
{
	struct settings *cfg = settings_get();

	return cfg && cpu_allows(BUCKET_ECHO, cfg->echo_per_second, cfg->echo_per_second);
}

static __always_inline int echo_reply(struct xdp_md *ctx, const struct packet *pkt)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct icmp_header *icmp = data + (pkt->l4_offset & L4_OFFSET_MASK);
	struct ethhdr *eth = data;

	if (!echo_allowed())
		return drop(DROP_ECHO_LIMITED);
	if ((void *)(eth + 1) > end)
		return drop(DROP_INTERNAL);
	if (pkt->is_ipv6 ? echo_reply6(eth, icmp, end) : echo_reply4(eth, icmp, end))
		return drop(DROP_INTERNAL);
	swap_macs(eth);
	count(COUNT_ECHO_REPLY);
	return answer(ctx, pkt);
}

#endif
