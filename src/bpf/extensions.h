/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Walks IPv6 extension headers (RFC 8200, section 4) to what is behind them. Bounded in number and
 * length, and never on the way of a packet that has none. Reads and does not write.
 */
#ifndef SKEIN_EXTENSIONS_H
#define SKEIN_EXTENSIONS_H

#include "parse.h"

#define EXTENSIONS_MAX 8
/* In the second word of a fragment header; offsets count units of 8 bytes, already shifted. */
#define IP6_MORE_FRAGMENTS 0x0001
#define IP6_FRAGMENT_OFFSET 0xfff8

/* The first 8 bytes: what all have in common, and what routing and fragment headers add. */
struct extension {
	__u8 next;
	/* Units of 8 bytes that follow; a fragment header has none. */
	__u8 units;
	union {
		struct {
			__u8 routing_type;
			__u8 segments_left;
		};
		__be16 fragment_be;
	};
	__be32 id_be;
};

/* What stands between an IP header and the transport's. Offsets are from the start of the frame. */
struct headers {
	/* In: the first header to look at. Out: what comes after all of them. */
	__u32 offset;
	/* End of the packet, without padding. */
	__u32 end;
	/* In and out: protocol of what is at `offset`. */
	__u8 l4_proto;
	/* Out, of a fragment: enum packet_part, and whether more follow. */
	__u8 part;
	__u8 more;
	__u8 reserved;
	/* Out, of a fragment: bytes in front of it, and which packet it is of. */
	__u32 fragment_offset;
	__be32 fragment_id_be;
};

/* A fragment that is the whole packet is none (RFC 6946). */
static __always_inline void fragment_header(struct headers *headers,
					    const struct extension *extension)
{
	__u16 fragment = bpf_ntohs(extension->fragment_be);

	headers->more = fragment & IP6_MORE_FRAGMENTS;
	headers->fragment_offset = fragment & IP6_FRAGMENT_OFFSET;
	headers->fragment_id_be = extension->id_be;
	if (headers->fragment_offset)
		headers->part = PART_LATER;
	else if (headers->more)
		headers->part = PART_FIRST;
}

/*
 * PACKET_FLOW: `headers` tells what is at the end of the chain, whatever it is. Otherwise what the
 * packet is instead. A routing header is walked only if its route is at its end, since another
 * node would have to be visited first. In a fragment other than the first the chain ends with the
 * fragment header.
 */
static __noinline int walk_extensions(struct xdp_md *ctx, struct headers *headers)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	int i;

	for (i = 0; i <= EXTENSIONS_MAX; i++) {
		__u32 offset = headers->offset;
		__u8 l4_proto = headers->l4_proto;
		struct extension *extension;

		if (offset > L4_OFFSET_MASK)
			return PACKET_OPTIONS;
		if (!is_extension(l4_proto) || headers->part == PART_LATER)
			return PACKET_FLOW;
		if (l4_proto == IPPROTO_HOPOPTS && i)
			return PACKET_OPTIONS;
		extension = data + offset;
		if ((void *)(extension + 1) > end || offset + sizeof(*extension) > headers->end)
			return PACKET_MALFORMED;
		offset += sizeof(*extension);
		if (l4_proto == IPPROTO_FRAGMENT) {
			if (headers->part)
				return PACKET_MALFORMED;
			fragment_header(headers, extension);
		} else {
			if (l4_proto == IPPROTO_ROUTING && extension->segments_left)
				return PACKET_OPTIONS;
			offset += extension->units * sizeof(*extension);
		}
		headers->l4_proto = extension->next;
		headers->offset = offset;
	}
	return PACKET_OPTIONS;
}

/* A packet of PACKET_EXTENSIONS, or an ICMP error's quote, from its IPv6 header on. */
static __always_inline int walk_ipv6(struct xdp_md *ctx, struct headers *headers, __u32 l3_offset)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipv6hdr *ip6 = data + l3_offset;

	if ((void *)(ip6 + 1) > end)
		return PACKET_MALFORMED;
	headers->offset = l3_offset + sizeof(*ip6);
	headers->end = headers->offset + bpf_ntohs(ip6->payload_len);
	headers->l4_proto = ip6->nexthdr;
	return walk_extensions(ctx, headers);
}

#endif
