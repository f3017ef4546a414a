// SPDX-License-Identifier: GPL-2.0-only
/*
 * The backend's side of forwarding, on a real server: takes packets to its VIPs out of the tunnels
 * of the nodes, and puts the VIP back into those that were marked with a DSCP. Must never drop what
 * is not ours: a packet that is not understood goes to the kernel as it came.
 */
#include <stddef.h>
#include <linux/tcp.h>
#include "decap.h"

#define DSCP_SHIFT 2
/* The DSCP in the first 16-bit word of an IPv6 header, after the version. */
#define DSCP_MASK6 0x0fc0

/* By own address. Written before the program is attached, and replaced with it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BACKEND_ADDRESSES_MAX);
	__type(key, struct ip_address);
	__type(value, struct decap_address);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BACKEND_VIPS_MAX);
	__type(key, struct ip_address);
	__type(value, __u32);
} vips SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BACKEND_DSCPS_MAX);
	__type(key, struct dscp_key);
	__type(value, struct ip_address);
} dscps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, BACKEND_COUNTER_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline int pass(enum backend_counter why)
{
	__u32 index = why;
	__u64 *value = bpf_map_lookup_elem(&counters, &index);

	if (value)
		(*value)++;
	return XDP_PASS;
}

/* The only way to drop: no drop without a name. */
static __always_inline int drop(enum backend_counter why)
{
	pass(why);
	return XDP_DROP;
}

static __always_inline enum backend_counter counter_of(__u8 kind)
{
	switch (kind) {
	case DECAP_IPIP:
		return BACKEND_COUNT_IPIP;
	case DECAP_GRE:
		return BACKEND_COUNT_GRE;
	case DECAP_GUE:
		return BACKEND_COUNT_GUE;
	}
	return BACKEND_COUNT_FOU;
}

static __always_inline int from_tunnel(struct xdp_md *ctx, const struct decap *d)
{
	if (!bpf_map_lookup_elem(&vips, &d->inner_daddr))
		return pass(BACKEND_COUNT_NOT_VIP);
	if (!decap_congestion(ctx, d))
		return drop(BACKEND_DROP_CONGESTION);
	if (!decap_strip(ctx, d))
		return drop(BACKEND_DROP_INTERNAL);
	return pass(counter_of(d->kind));
}

/* Offset of the checksum that covers the destination; 0: there is none; negative: not known. */
static __always_inline int covering_checksum(const struct decap *d)
{
	switch (d->outer_proto) {
	case IPPROTO_TCP:
		return offsetof(struct tcphdr, check);
	case IPPROTO_UDP:
		return offsetof(struct udphdr, check);
	case IPPROTO_ICMP:
		return d->outer_is_ipv6 ? -1 : 0;
	case IPPROTO_ICMPV6:
		return d->outer_is_ipv6 ? 2 : -1;
	}
	return -1;
}

/*
 * The DSCP was an address and is spent: cleared, since the kernel repeats it in resets, in echo
 * replies and, with tcp_reflect_tos, in connections, where it would mean another thing to routers.
 */
static __always_inline __u64 replace_destination(void *l3, const struct decap *d,
						 const struct ip_address *vip, void *end)
{
	__u64 delta;

	if (d->outer_is_ipv6) {
		struct ipv6hdr *ip6 = l3;

		if ((void *)(ip6 + 1) > end)
			return 0;
		*(__be16 *)ip6 &= ~bpf_htons(DSCP_MASK6);
		return csum_replace_words((__u32 *)&ip6->daddr, (const __u32 *)vip, 4);
	} else {
		struct iphdr *ip = l3;
		__u8 tos;

		if ((void *)(ip + 1) > end)
			return 0;
		tos = ip->tos & ECN_CE;
		delta = csum_replace_words(&ip->daddr, (const __u32 *)vip + 3, 1);
		csum_apply(&ip->check, csum_change16(delta, bpf_htons(ip->tos), bpf_htons(tos)));
		ip->tos = tos;
	}
	return delta;
}

/* Needs no state. A fragment without the checksum has none to mend: the first one carries it. */
static __always_inline int by_dscp(struct xdp_md *ctx, const struct decap *d)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct dscp_key key = {.address = d->outer_daddr, .dscp = d->outer_tos >> DSCP_SHIFT};
	struct ip_address *vip = bpf_map_lookup_elem(&dscps, &key);
	int check_offset = covering_checksum(d);
	__u16 *check;
	__u64 delta;

	if (!vip)
		return XDP_PASS;
	if (check_offset < 0)
		return pass(BACKEND_COUNT_DSCP_UNSUPPORTED);
	if (d->payload_end < d->l4_offset || d->payload_end > bpf_xdp_get_buff_len(ctx))
		return pass(BACKEND_COUNT_MALFORMED);
	if (!check_offset || d->fragment == DECAP_LATER_FRAGMENT) {
		replace_destination(data + d->l3_offset, d, vip, end);
		return pass(BACKEND_COUNT_DSCP);
	}
	check = data + d->l4_offset + check_offset;
	/* Behind the packet there is padding. */
	if ((void *)(check + 1) > end ||
	    d->l4_offset + check_offset + sizeof(*check) > d->payload_end)
		return pass(BACKEND_COUNT_MALFORMED);
	delta = replace_destination(data + d->l3_offset, d, vip, end);
	/* 0 means "no checksum" (RFC 768); a sum that comes out as 0 is sent as all ones. */
	if (d->outer_proto == IPPROTO_UDP && !*check)
		return pass(BACKEND_COUNT_DSCP);
	csum_apply(check, delta);
	if (d->outer_proto == IPPROTO_UDP && !*check)
		*check = 0xffff;
	return pass(BACKEND_COUNT_DSCP);
}

SEC("xdp.frags")
int skein_decap(struct xdp_md *ctx)
{
	struct decap_address *takes;
	struct decap d = {};

	if (!decap_outer(ctx, &d))
		return XDP_PASS;
	takes = bpf_map_lookup_elem(&addresses, &d.outer_daddr);
	if (!takes)
		return XDP_PASS;
	switch (decap_locate(ctx, &d, takes)) {
	case DECAP_RESULT_FOUND:
		return from_tunnel(ctx, &d);
	case DECAP_RESULT_FRAGMENT:
		return pass(BACKEND_COUNT_FRAGMENT);
	case DECAP_RESULT_MALFORMED:
		return pass(BACKEND_COUNT_MALFORMED);
	case DECAP_RESULT_UNSUPPORTED:
		return pass(BACKEND_COUNT_UNSUPPORTED);
	case DECAP_RESULT_NONE:
		break;
	}
	return takes->dscp ? by_dscp(ctx, &d) : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
