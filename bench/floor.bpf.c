// SPDX-License-Identifier: GPL-2.0-only
/*
 * Floors: how cheap can an XDP program be that does only this much?
 *
 *   floor_tx     return XDP_TX, nothing else; also what is subtracted from every case
 *   floor_parse  check and read Ethernet, IPv4 and ports, swap the MAC addresses, XDP_TX
 *   floor_lru    floor_parse and one lookup of the 5-tuple in an LRU hash; a miss inserts the flow
 *   floor_hash   the same with a plain hash
 *   floor_ipip   floor_lru, two per-CPU counters, and an outer IPv4 header with its checksum
 *
 * A stateful load balancer cannot do less than floor_lru, nor one that tunnels less than floor_ipip.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define IP_MORE_FRAGMENTS_OR_OFFSET 0x3fff
#define IP_DONT_FRAGMENT 0x4000
#define COUNTED_BACKENDS 512
#define SOME_NODE_BE bpf_htonl(0x0ac80101)
#define SOME_BACKEND_BE bpf_htonl(0x0ac80201)

struct tuple {
	__be32 saddr_be;
	__be32 daddr_be;
	__be16 sport_be;
	__be16 dport_be;
	__u8 l4_proto;
	__u8 reserved[3];
};

struct record {
	__u32 backend;
	__be32 address_be;
	__u64 seen;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set at load */
	__type(key, struct tuple);
	__type(value, struct record);
} lru SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set at load */
	__type(key, struct tuple);
	__type(value, struct record);
} hash SEC(".maps");

struct counted {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 + COUNTED_BACKENDS);
	__type(key, __u32);
	__type(value, struct counted);
} counts SEC(".maps");

static __always_inline int parse(struct xdp_md *ctx, struct tuple *tuple)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	__be16 *ports_be = (void *)(ip + 1);

	if ((void *)(ports_be + 2) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return -1;
	if (ip->ihl != 5 || ip->frag_off & bpf_htons(IP_MORE_FRAGMENTS_OR_OFFSET))
		return -1;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return -1;
	tuple->saddr_be = ip->saddr;
	tuple->daddr_be = ip->daddr;
	tuple->sport_be = ports_be[0];
	tuple->dport_be = ports_be[1];
	tuple->l4_proto = ip->protocol;
	return 0;
}

static __always_inline int swap_macs(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u16 *words = data, word;
	int i;

	if (data + sizeof(struct ethhdr) > end)
		return XDP_DROP;
#pragma unroll
	for (i = 0; i < 3; i++) {
		word = words[i];
		words[i] = words[i + 3];
		words[i + 3] = word;
	}
	return XDP_TX;
}

static __always_inline struct record find(void *map, struct tuple *tuple)
{
	struct record *found = bpf_map_lookup_elem(map, tuple), fresh;

	if (found)
		return *found;
	fresh.backend = tuple->sport_be & 7;
	fresh.address_be = SOME_BACKEND_BE;
	fresh.seen = 0;
	bpf_map_update_elem(map, tuple, &fresh, BPF_ANY);
	return fresh;
}

SEC("xdp")
int floor_tx(struct xdp_md *ctx)
{
	return XDP_TX;
}

SEC("xdp")
int floor_parse(struct xdp_md *ctx)
{
	struct tuple tuple = {};

	if (parse(ctx, &tuple))
		return XDP_PASS;
	/* Nothing uses the tuple: without this the compiler would not even load it. */
	asm volatile("" : : "r"(&tuple) : "memory");
	return swap_macs(ctx);
}

SEC("xdp")
int floor_lru(struct xdp_md *ctx)
{
	struct tuple tuple = {};

	if (parse(ctx, &tuple))
		return XDP_PASS;
	return find(&lru, &tuple).address_be ? swap_macs(ctx) : XDP_DROP;
}

SEC("xdp")
int floor_hash(struct xdp_md *ctx)
{
	struct tuple tuple = {};

	if (parse(ctx, &tuple))
		return XDP_PASS;
	return find(&hash, &tuple).address_be ? swap_macs(ctx) : XDP_DROP;
}

static __always_inline void count(__u32 index, __u32 bytes)
{
	struct counted *counted = bpf_map_lookup_elem(&counts, &index);

	if (!counted)
		return;
	counted->packets++;
	counted->bytes += bytes;
}

static __always_inline __u16 sum_header(const struct iphdr *ip)
{
	const __u16 *words = (const __u16 *)ip;
	__u32 sum = 0;
	int i;

#pragma unroll
	for (i = 0; i < 10; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

SEC("xdp")
int floor_ipip(struct xdp_md *ctx)
{
	__u32 bytes = ctx->data_end - ctx->data;
	struct tuple tuple = {};
	struct record record;
	void *data, *end;
	struct ethhdr *eth;
	struct iphdr *ip;

	if (parse(ctx, &tuple))
		return XDP_PASS;
	record = find(&lru, &tuple);
	count(0, bytes);
	count(1 + (record.backend & (COUNTED_BACKENDS - 1)), bytes);
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*ip)))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	eth = data;
	ip = (void *)(eth + 1);
	if ((void *)(ip + 1) + sizeof(*eth) > end)
		return XDP_DROP;
	/* The frame's own Ethernet header now lies where the new IP header ends. */
	__builtin_memcpy(eth->h_source, data + sizeof(*ip), ETH_ALEN);
	__builtin_memcpy(eth->h_dest, "\x02\x00\x00\x00\x00\xfe", ETH_ALEN);
	eth->h_proto = bpf_htons(ETH_P_IP);
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = 0;
	ip->tot_len = bpf_htons(bytes - sizeof(*eth) + sizeof(*ip));
	ip->id = 0;
	ip->frag_off = bpf_htons(IP_DONT_FRAGMENT);
	ip->ttl = 64;
	ip->protocol = IPPROTO_IPIP;
	ip->check = 0;
	ip->saddr = SOME_NODE_BE;
	ip->daddr = record.address_be;
	ip->check = sum_header(ip);
	return XDP_TX;
}

char _license[] SEC("license") = "GPL";
