/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * VLAN tags (IEEE 802.1Q and 802.1ad), up to two. A frame that may be ours loses them before it is
 * looked into, so that nothing else knows of tags; what passes or is answered gets them back as they
 * came, and a frame to a backend gets that backend's. Must never touch a frame that is surely not ours.
 */
#ifndef SKEIN_VLAN_H
#define SKEIN_VLAN_H

#include "counters.h"
#include "parse.h"
#include "vip.h"

#define MACS_BYTES (2 * ETH_ALEN)

/* The Ethertype behind the tags, or 0; `tag_bytes` is what they take. */
static __always_inline __be16 behind_tags(struct ethhdr *eth, void *end, __u32 *tag_bytes)
{
	__be16 eth_proto_be = eth->h_proto;
	int i;

	*tag_bytes = 0;
#pragma unroll
	for (i = 0; i < VLAN_TAGS_MAX; i++) {
		__be16 *next_be = (void *)(eth + 1) + i * VLAN_TAG_BYTES;

		if (!is_vlan(eth_proto_be))
			break;
		if ((void *)(next_be + 2) > end)
			return 0;
		eth_proto_be = next_be[1];
		*tag_bytes += VLAN_TAG_BYTES;
	}
	return eth_proto_be;
}

/* Answers to health checks, and replies of full_nat backends. */
static __always_inline bool is_own_address(const struct settings *cfg, const struct packet *pkt)
{
	if (pkt->is_ipv6)
		return same_address(&pkt->key6.daddr, &cfg->node6);
	return pkt->key4.daddr_be == ipv4_of(&cfg->node4);
}

/* Few false positives and no false negatives. Reads the destination into an empty packet. */
static __always_inline bool maybe_ours(const struct settings *cfg, void *l3, void *end,
				       __be16 eth_proto_be)
{
	struct packet pkt = {};
	struct ipv6hdr *ip6 = l3;
	struct iphdr *ip = l3;

	if (eth_proto_be == bpf_htons(ETH_P_IP)) {
		if ((void *)(ip + 1) > end)
			return false;
		pkt.key4.daddr_be = ip->daddr;
	} else if (eth_proto_be == bpf_htons(ETH_P_IPV6)) {
		if ((void *)(ip6 + 1) > end)
			return false;
		pkt.is_ipv6 = 1;
		__builtin_memcpy(&pkt.key6.daddr, &ip6->daddr, sizeof(pkt.key6.daddr));
	} else {
		return false;
	}
	/* Tunnels may end at any address, and replies of nat backends go to anybody. */
	if (cfg->features & (FEATURE_DECAP | FEATURE_NAT))
		return true;
	return maybe_vip(cfg, &pkt) || is_own_address(cfg, &pkt);
}

static __always_inline void read_tags(struct vlan_tag *tags, const void *from, __u32 bytes)
{
	const __u32 *words = from;

	*(__u32 *)&tags[0] = words[0];
	if (bytes > VLAN_TAG_BYTES)
		*(__u32 *)&tags[1] = words[1];
}

/*
 * Takes the tags off a frame of PACKET_TAGGED and parses it anew. False: the frame is none of ours,
 * and as it was.
 */
__noinline int vlan_strip(struct xdp_md *ctx, struct packet *pkt)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct settings *cfg = settings_get();
	struct packet stripped = {};
	struct ethhdr *eth = data;
	__u8 macs[MACS_BYTES];
	__be16 eth_proto_be;
	__u32 bytes;

	if (!cfg || !pkt || (void *)(eth + 1) + VLAN_TAGS_MAX * VLAN_TAG_BYTES > end)
		return false;
	eth_proto_be = behind_tags(eth, end, &bytes);
	if (!maybe_ours(cfg, (void *)(eth + 1) + bytes, end, eth_proto_be))
		return false;
	__builtin_memcpy(macs, eth, sizeof(macs));
	read_tags(stripped.tags, data + MACS_BYTES, bytes);
	if (bpf_xdp_adjust_head(ctx, bytes))
		return false;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + sizeof(macs) > end)
		return false;
	__builtin_memcpy(data, macs, sizeof(macs));
	parse(ctx, &stripped);
	stripped.tag_bytes = bytes;
	*pkt = stripped;
	return true;
}

/* Puts the tags of a packet back in front of what is behind the MAC addresses now. */
__noinline int vlan_restore(struct xdp_md *ctx, const struct packet *pkt, int verdict)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u8 macs[MACS_BYTES];
	__u32 *words;

	if (!pkt || data + sizeof(macs) > end)
		return drop(DROP_INTERNAL);
	__builtin_memcpy(macs, data, sizeof(macs));
	if (bpf_xdp_adjust_head(ctx, pkt->tag_bytes > VLAN_TAG_BYTES ? -2 * VLAN_TAG_BYTES :
								       -VLAN_TAG_BYTES))
		return drop(DROP_NO_HEADROOM);
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + sizeof(macs) + VLAN_TAGS_MAX * VLAN_TAG_BYTES > end)
		return drop(DROP_INTERNAL);
	__builtin_memcpy(data, macs, sizeof(macs));
	words = data + sizeof(macs);
	words[0] = *(const __u32 *)&pkt->tags[0];
	if (pkt->tag_bytes > VLAN_TAG_BYTES)
		words[1] = *(const __u32 *)&pkt->tags[1];
	return verdict;
}

/* An answer leaves where its question came in, with the tags that this had. */
static __always_inline int answer(struct xdp_md *ctx, const struct packet *pkt)
{
	return pkt->tag_bytes ? vlan_restore(ctx, pkt, XDP_TX) : XDP_TX;
}

/*
 * Tags a frame whose MAC addresses are yet to be written: what is behind them is in place already.
 * 0, or the counter under which the packet is to be dropped.
 */
static __always_inline int vlan_push(struct xdp_md *ctx, __u16 vlan)
{
	struct vlan_tag *tag;
	void *data, *end;

	if (bpf_xdp_adjust_head(ctx, -VLAN_TAG_BYTES))
		return DROP_NO_HEADROOM;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	tag = data + MACS_BYTES;
	if ((void *)(tag + 1) > end)
		return DROP_INTERNAL;
	tag->eth_proto_be = bpf_htons(ETH_P_8021Q);
	tag->tci_be = bpf_htons(vlan);
	return 0;
}

#endif
