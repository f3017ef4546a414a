/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fragments to a VIP, and of replies (RFC 791, RFC 8200). The first one has ports: it is a packet of its
 * flow, and teaches where the others go, which have none. Never holds a packet back: one to a VIP whose
 * first fragment was not seen yet is dropped. Also what is behind extension headers is found here.
 */
#ifndef SKEIN_FRAGMENT_H
#define SKEIN_FRAGMENT_H

#include "extensions.h"
#include "flow.h"
#include "forward.h"

/* Receivers give up a packet after 30 s or later (RFC 1122, section 3.3.2: 60 s; Linux: 30 s). */
#define FRAGMENT_FRESH_MS 30000
#define FRAGMENT_UNIT_BYTES 8
#define IP_PACKET_BYTES_MAX 65535

/* Bytes that the header of the transport must have; 0 for those that are not looked into. */
static __always_inline __u32 l4_header_bytes(const void *l4, const void *end, __u8 l4_proto)
{
	const struct tcphdr *tcp = l4;

	switch (l4_proto) {
	case IPPROTO_TCP:
		return (const void *)(tcp + 1) > end ? sizeof(*tcp) : tcp->doff * 4;
	case IPPROTO_UDP:
		return sizeof(struct udphdr);
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return sizeof(struct icmp_header);
	}
	return 0;
}

/* Reads the transport's header, which must lie in the packet and not in the padding behind it. */
static __always_inline enum packet_kind parse_behind(struct xdp_md *ctx, struct packet *pkt,
						     const struct headers *headers,
						     __be16 *ports_be)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 offset = headers->offset & L4_OFFSET_MASK;
	void *l4 = data + offset;

	if (offset + l4_header_bytes(l4, end, headers->l4_proto) > headers->end)
		return PACKET_MALFORMED;
	pkt->l4_offset = offset;
	/* A datagram in fragments is longer than its first one. */
	return parse_l4(pkt, l4, end, headers->part ? IP_PACKET_BYTES_MAX : headers->end - offset,
			headers->l4_proto, ports_be);
}

static __always_inline enum packet_kind fragment_ipv4(struct xdp_md *ctx, const struct packet *pkt,
						      struct headers *headers)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 l3_offset = pkt->l3_offset & L4_OFFSET_MASK;
	struct iphdr *ip = data + l3_offset;
	__u16 fragment;

	if ((void *)(ip + 1) > end)
		return PACKET_MALFORMED;
	fragment = bpf_ntohs(ip->frag_off);
	headers->offset = l3_offset + ip->ihl * 4;
	headers->end = l3_offset + bpf_ntohs(ip->tot_len);
	headers->l4_proto = ip->protocol;
	headers->more = !!(fragment & IP_MORE_FRAGMENTS);
	headers->fragment_offset = (fragment & IP_FRAGMENT_OFFSET) * FRAGMENT_UNIT_BYTES;
	headers->fragment_id_be = ip->id;
	headers->part = headers->fragment_offset ? PART_LATER : PART_FIRST;
	return PACKET_FLOW;
}

/*
 * Could it be put together with others? The second unit of a TCP header in a fragment of its own is
 * how filters are passed by overlapping (RFC 1858, section 3), and no sender makes one.
 */
static __always_inline bool fragment_is_sound(const struct headers *headers)
{
	__u32 bytes = headers->end - headers->offset;

	if (headers->offset >= headers->end)
		return false;
	if (headers->more && bytes % FRAGMENT_UNIT_BYTES)
		return false;
	if (headers->fragment_offset + bytes > IP_PACKET_BYTES_MAX)
		return false;
	return headers->l4_proto != IPPROTO_TCP || headers->fragment_offset != FRAGMENT_UNIT_BYTES;
}

/*
 * What a packet of PACKET_EXTENSIONS or PACKET_FRAGMENT is. PACKET_FRAGMENT: one that is not the
 * first, or of a message that nobody answers or forwards in parts.
 */
__noinline int reveal(struct xdp_md *ctx, struct packet *pkt, __be32 *fragment_id_be)
{
	struct headers headers = {};
	int kind;

	if (!pkt || !fragment_id_be)
		return PACKET_MALFORMED;
	if (pkt->is_ipv6)
		kind = walk_ipv6(ctx, &headers, pkt->l3_offset & L4_OFFSET_MASK);
	else
		kind = fragment_ipv4(ctx, pkt, &headers);
	if (kind != PACKET_FLOW)
		return kind;
	if (headers.part && !fragment_is_sound(&headers))
		return PACKET_MALFORMED;
	pkt->part = headers.part;
	pkt->l4_offset = headers.offset;
	*fragment_id_be = headers.fragment_id_be;
	if (headers.part == PART_LATER) {
		if (!pkt->is_ipv6)
			pkt->key4.l4_proto = headers.l4_proto;
		return PACKET_FRAGMENT;
	}
	if (pkt->is_ipv6) {
		kind = parse_behind(ctx, pkt, &headers, &pkt->key6.sport_be);
		if (kind == PACKET_FLOW)
			pkt->key6.l4_proto = headers.l4_proto;
	} else {
		kind = parse_behind(ctx, pkt, &headers, &pkt->key4.sport_be);
		if (kind == PACKET_FLOW)
			pkt->key4.l4_proto = headers.l4_proto;
	}
	if (headers.part &&
	    (kind == PACKET_ECHO_REQUEST || kind == PACKET_ECHO_REPLY || kind == PACKET_ICMP_ERROR))
		return PACKET_FRAGMENT;
	return kind;
}

static __always_inline void fragment_key_of(struct fragment_key *key, const struct packet *pkt,
					    __be32 id_be)
{
	key->id_be = id_be;
	if (pkt->is_ipv6) {
		key->saddr = pkt->key6.saddr;
		key->daddr = pkt->key6.daddr;
		/* In IPv6 fragments of one packet may name different protocols. */
		return;
	}
	map_ipv4(&key->saddr, pkt->key4.saddr_be);
	map_ipv4(&key->daddr, pkt->key4.daddr_be);
	key->l4_proto = pkt->key4.l4_proto;
}

/* The others shall take this packet's flow for theirs. Of a reply no backend need be known. */
static __always_inline int fragment_remember(const struct packet *pkt, __be32 id_be, __u32 backend,
					     __u16 generation)
{
	struct fragment_key key = {};
	struct fragment fragment = {};

	fragment.backend = backend;
	fragment.generation = generation;
	fragment.seen_ms = clock_now_ms();
	fragment.sport_be = packet_sport_be(pkt);
	fragment.dport_be = packet_dport_be(pkt);
	fragment.l4_proto = packet_l4_proto(pkt);
	fragment_key_of(&key, pkt, id_be);
	return bpf_map_update_elem(&fragments, &key, &fragment, BPF_ANY);
}

/* The first fragment went where its flow goes: the others shall follow. */
__noinline int fragment_teach(const struct packet *pkt, __be32 id_be)
{
	struct flow *flow;

	if (!pkt)
		return -1;
	flow = flow_of_any_age(pkt);
	if (!flow)
		return -1;
	return fragment_remember(pkt, id_be, flow->backend, flow->generation);
}

/* What the first one taught; NULL: it was not seen, or is too old to be of this packet. */
static __always_inline struct fragment *fragment_find(const struct packet *pkt, __be32 id_be)
{
	struct fragment_key key = {};
	struct fragment *fragment;

	fragment_key_of(&key, pkt, id_be);
	fragment = bpf_map_lookup_elem(&fragments, &key);
	if (!fragment || clock_now_ms() - fragment->seen_ms > FRAGMENT_FRESH_MS)
		return NULL;
	return fragment;
}

/* The key becomes that of the flow, so that the way is that of the flow throughout. */
static __always_inline void fragment_take_flow(struct packet *pkt, const struct fragment *fragment)
{
	if (pkt->is_ipv6) {
		pkt->key6.sport_be = fragment->sport_be;
		pkt->key6.dport_be = fragment->dport_be;
		pkt->key6.l4_proto = fragment->l4_proto;
	} else {
		pkt->key4.sport_be = fragment->sport_be;
		pkt->key4.dport_be = fragment->dport_be;
		pkt->key4.l4_proto = fragment->l4_proto;
	}
}

__noinline int fragment_follow(struct xdp_md *ctx, struct packet *pkt, __be32 id_be)
{
	struct fragment *fragment;
	struct backend *backend;
	__u32 index;
	int verdict;

	if (!pkt)
		return drop(DROP_INTERNAL);
	if (pkt->part != PART_LATER)
		return drop(DROP_FRAGMENT);
	fragment = fragment_find(pkt, id_be);
	if (!fragment)
		return drop(DROP_FRAGMENT);
	index = fragment->backend;
	backend = bpf_map_lookup_elem(&backends, &index);
	if (!backend || backend->generation != fragment->generation ||
	    backend->state == BACKEND_UNUSED)
		return drop(DROP_FRAGMENT);
	fragment_take_flow(pkt, fragment);
	verdict = forward(ctx, pkt, index, backend);
	if (verdict != XDP_DROP)
		count(COUNT_FRAGMENT_FORWARDED);
	return verdict;
}

#endif
