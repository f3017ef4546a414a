/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Lowers the MSS option of SYNs to what a service wants or what fits the way (RFC 9293, section
 * 3.7.1; RFC 6691), and adds it where it is missing. Options that contradict themselves are left as
 * they are: the backend judges them.
 */
#ifndef SKEIN_MSS_H
#define SKEIN_MSS_H

#include "checksum.h"
#include "counters.h"
#include "parse.h"

#define TCP_OPTION_END 0
#define TCP_OPTION_NOP 1
#define TCP_OPTION_MSS 2
#define MSS_OPTION_BYTES 4
#define TCP_OPTIONS_BYTES_MAX 40
#define TCP_DOFF_MAX 15
/* What a host without the option is to be taken for. */
#define MSS4_DEFAULT 536
#define MSS6_DEFAULT 1220
/* Longest start of a frame that is moved to make room for the option: Ethernet, IPv4, TCP. */
#define FRONT_BYTES_MAX (14 + 60 + 20)

enum mss_option {
	MSS_OPTION_MISSING = -1,
	MSS_OPTION_MALFORMED = -2,
};

/* A walk through the options. Small, as the stack is. */
struct mss_walk {
	__u8 options[TCP_OPTIONS_BYTES_MAX + 4];
	__u32 bytes;
	__u32 at;
	/* Where the value of the MSS option is, or enum mss_option. */
	int found;
};

/* 0: there may be another option. */
static long mss_step(__u64 i, void *context)
{
	struct mss_walk *walk = context;
	__u32 at = walk->at;
	__u8 kind, bytes;

	if (at >= walk->bytes || at >= TCP_OPTIONS_BYTES_MAX)
		return 1;
	kind = walk->options[at];
	bytes = walk->options[at + 1];
	if (kind == TCP_OPTION_END)
		return 1;
	if (kind == TCP_OPTION_NOP) {
		walk->at = at + 1;
		return 0;
	}
	walk->found = MSS_OPTION_MALFORMED;
	if (bytes < 2 || at + bytes > walk->bytes)
		return 1;
	if (kind == TCP_OPTION_MSS) {
		if (bytes == MSS_OPTION_BYTES)
			walk->found = at + 2;
		return 1;
	}
	walk->found = MSS_OPTION_MISSING;
	walk->at = at + bytes;
	return 0;
}

/* A value that begins at an odd byte lies across two words of the sum. */
static __always_inline __u16 as_summed(__be16 value_be, __u32 at)
{
	return at & 1 ? __builtin_bswap16(value_be) : value_be;
}

/* Puts `to` where the option has its value; `at` counts from the start of the TCP header. */
static __always_inline int mss_write(struct xdp_md *ctx, __u32 l4_offset, struct tcphdr *tcp,
				     __u32 at, __be16 from_be, __be16 to_be)
{
	csum_apply(&tcp->check, csum_change16(0, as_summed(from_be, at), as_summed(to_be, at)));
	if (bpf_xdp_store_bytes(ctx, l4_offset + at, &to_be, sizeof(to_be)) ||
	    bpf_xdp_store_bytes(ctx, l4_offset, tcp, sizeof(*tcp)))
		return MSS_OPTION_MALFORMED;
	count(COUNT_MSS_CLAMPED);
	return 0;
}

/*
 * Lowers the value of the option if it is above `mss`. 0: nothing is left to do, or enum mss_option.
 * Global, as mss_insert(): the verifier looks at it once and not for each caller, and what one of
 * them has on its stack is not there when the other one runs.
 */
__noinline int mss_lower(struct xdp_md *ctx, __u32 l4_offset, __u32 mss)
{
	struct mss_walk walk = {.found = MSS_OPTION_MISSING};
	struct tcphdr tcp;
	__be16 found_be;
	__u32 bytes, at;

	if (bpf_xdp_load_bytes(ctx, l4_offset, &tcp, sizeof(tcp)))
		return MSS_OPTION_MALFORMED;
	bytes = tcp.doff * 4 - sizeof(tcp);
	if (bytes > TCP_OPTIONS_BYTES_MAX)
		return MSS_OPTION_MALFORMED;
	if (bytes && bpf_xdp_load_bytes(ctx, l4_offset + sizeof(tcp), walk.options, bytes))
		return MSS_OPTION_MALFORMED;
	walk.bytes = bytes;
	bpf_loop(TCP_OPTIONS_BYTES_MAX, mss_step, &walk, 0);
	if (walk.found < 0)
		return walk.found;
	at = walk.found;
	if (at > TCP_OPTIONS_BYTES_MAX)
		return MSS_OPTION_MALFORMED;
	found_be = bpf_htons(walk.options[at] << 8 | walk.options[at + 1]);
	if (bpf_ntohs(found_be) <= mss)
		return 0;
	return mss_write(ctx, l4_offset, &tcp, sizeof(tcp) + at, found_be, bpf_htons(mss));
}

/* The IP packet becomes longer by the option. Adds to the sum of TCP what its pseudo header does. */
static __always_inline int ip_grow(struct xdp_md *ctx, bool is_ipv6, __u64 *delta)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipv6hdr *ip6 = data + sizeof(struct ethhdr);
	struct iphdr *ip = (void *)ip6;
	__be16 before_be;

	if ((void *)(ip6 + 1) > end)
		return -1;
	*delta += bpf_htons(MSS_OPTION_BYTES);
	if (is_ipv6) {
		ip6->payload_len = bpf_htons(bpf_ntohs(ip6->payload_len) + MSS_OPTION_BYTES);
		return 0;
	}
	before_be = ip->tot_len;
	ip->tot_len = bpf_htons(bpf_ntohs(before_be) + MSS_OPTION_BYTES);
	csum_apply(&ip->check, csum_change16(0, before_be, ip->tot_len));
	return 0;
}

/* Moves the first bytes of the frame, an even number, to where there is new room before them. */
static __always_inline void move_front(struct xdp_md *ctx, __u32 front_bytes)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 at;

#pragma clang loop unroll(disable)
	for (at = 0; at < FRONT_BYTES_MAX; at += 2) {
		__u16 *word = data + at;

		if (at >= front_bytes || (void *)word + MSS_OPTION_BYTES + 2 > end)
			break;
		*word = word[MSS_OPTION_BYTES / 2];
	}
}

/* Puts the option before all others. 0, or the counter under which the packet is to be dropped. */
__noinline int mss_insert(struct xdp_md *ctx, __u32 l4_offset, __u32 mss, __u32 is_ipv6)
{
	__u32 front_bytes = l4_offset + sizeof(struct tcphdr);
	struct tcphdr tcp;
	__be16 *words_be = (__be16 *)&tcp, before_be;
	__be32 option_be;
	__u64 delta;

	if (front_bytes > FRONT_BYTES_MAX ||
	    bpf_xdp_load_bytes(ctx, l4_offset, &tcp, sizeof(tcp)) || tcp.doff == TCP_DOFF_MAX ||
	    bpf_xdp_adjust_head(ctx, -MSS_OPTION_BYTES)) {
		count(COUNT_MSS_NO_ROOM);
		return 0;
	}
	move_front(ctx, front_bytes);
	option_be = bpf_htonl(TCP_OPTION_MSS << 24 | MSS_OPTION_BYTES << 16 | (mss & 0xffff));
	before_be = words_be[6];
	tcp.doff += MSS_OPTION_BYTES / 4;
	delta = csum_change16(0, before_be, words_be[6]) + option_be;
	if (ip_grow(ctx, is_ipv6, &delta))
		return DROP_INTERNAL;
	csum_apply(&tcp.check, delta);
	if (bpf_xdp_store_bytes(ctx, l4_offset, &tcp, sizeof(tcp)) ||
	    bpf_xdp_store_bytes(ctx, front_bytes, &option_be, sizeof(option_be)))
		return DROP_INTERNAL;
	count(COUNT_MSS_CLAMPED);
	return 0;
}

/* Is the frame one that may become longer? Fragments may not: what follows has its place. */
static __always_inline bool may_grow(struct xdp_md *ctx, const struct packet *pkt,
				     const struct backend_local *local)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);

	if (pkt->frame_bytes + MSS_OPTION_BYTES > local->frame_bytes_max)
		return false;
	if (pkt->is_ipv6)
		return pkt->l4_offset == sizeof(struct ethhdr) + sizeof(struct ipv6hdr);
	return (void *)(ip + 1) <= end && !(ip->frag_off & bpf_htons(IP_MORE_FRAGMENTS_OR_OFFSET));
}

/* For a SYN that fits the way. 0, or the counter under which it is to be dropped. */
static __noinline int mss_clamp(struct xdp_md *ctx, const struct packet *pkt,
				const struct backend *backend, const struct backend_local *local)
{
	__u32 headers, mss, most;

	if (!pkt || !backend || !local)
		return DROP_INTERNAL;
	headers = sizeof(struct ethhdr) + sizeof(struct tcphdr) +
		  (pkt->is_ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	/* A way that takes no segment at all. */
	if (local->frame_bytes_max <= headers)
		return 0;
	mss = backend->mss_max;
	if (mss > local->frame_bytes_max - headers)
		mss = local->frame_bytes_max - headers;
	if (mss_lower(ctx, pkt->l4_offset, mss) != MSS_OPTION_MISSING)
		return 0;
	if (!may_grow(ctx, pkt, local)) {
		count(COUNT_MSS_NO_ROOM);
		return 0;
	}
	most = pkt->is_ipv6 ? MSS6_DEFAULT : MSS4_DEFAULT;
	return mss_insert(ctx, pkt->l4_offset, mss < most ? mss : most, pkt->is_ipv6);
}

#endif
