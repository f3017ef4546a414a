/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * QUIC (RFC 9000): servers put their number into the connection IDs that clients send them, so a
 * packet finds its backend though the client's address has changed, and on any node. What says
 * nothing of a server (the first packets of a connection, unknown IDs) goes the way of its flow.
 */
#ifndef SKEIN_QUIC_H
#define SKEIN_QUIC_H

#include "counters.h"
#include "flow.h"
#include "parse.h"

#define QUIC_LONG_HEADER 0x80
#define QUIC_LONG_TYPE_SHIFT 4
#define QUIC_VERSION_1 1
#define QUIC_VERSION_2 0x6b3343cf
/* Server IDs of katran's layout are numbers. */
#define QUIC_KATRAN_ID_BYTES 4
/* One octet before the server ID, and the longest of those. */
#define QUIC_CID_BYTES_READ (1 + QUIC_ID_BYTES_MAX)
#define QUIC_LB_CONFIG_SHIFT 5

/* Where a long header has the length of the destination connection ID (RFC 8999, section 5.1). */
#define QUIC_LONG_CID_LENGTH_AT 5

/* Initial and 0-RTT: the client made up the connection ID (RFC 9000, RFC 9369). */
static __always_inline bool is_made_up(__u8 first, __u32 version)
{
	__u8 type = first >> QUIC_LONG_TYPE_SHIFT & 3;

	if (version == QUIC_VERSION_2)
		return type == 1 || type == 2;
	return version != QUIC_VERSION_1 || type == 0 || type == 1;
}

/* Copies the start of the destination connection ID; the bytes that there are, or 0. */
static __always_inline __u32 quic_cid(struct xdp_md *ctx, const struct packet *pkt, __u8 *cid)
{
	__u32 at = pkt->l4_offset + sizeof(struct udphdr), bytes = QUIC_CID_BYTES_READ;
	__u8 head[QUIC_LONG_CID_LENGTH_AT + 1];
	__be32 version_be;

	if (bpf_xdp_load_bytes(ctx, at, head, 1))
		return 0;
	at += 1;
	if (head[0] & QUIC_LONG_HEADER) {
		if (bpf_xdp_load_bytes(ctx, at, head + 1, QUIC_LONG_CID_LENGTH_AT))
			return 0;
		__builtin_memcpy(&version_be, head + 1, sizeof(version_be));
		if (is_made_up(head[0], bpf_ntohl(version_be)))
			return 0;
		at += QUIC_LONG_CID_LENGTH_AT;
		if (head[QUIC_LONG_CID_LENGTH_AT] < bytes)
			bytes = head[QUIC_LONG_CID_LENGTH_AT];
	}
	if (at >= pkt->frame_bytes)
		return 0;
	if (bytes > pkt->frame_bytes - at)
		bytes = pkt->frame_bytes - at;
	if (bytes < 1 || bytes > QUIC_CID_BYTES_READ)
		return 0;
	return bpf_xdp_load_bytes(ctx, at, cid, bytes) ? 0 : bytes;
}

/* draft-ietf-quic-load-balancers-21, section 5: config rotation bits, then the server ID. */
static __always_inline bool quic_lb_id(struct quic_key *key, const struct backend *like,
				       const __u8 *cid, __u32 cid_bytes)
{
	int i;

	if (cid[0] >> QUIC_LB_CONFIG_SHIFT != like->quic_config ||
	    cid_bytes < 1 + like->quic_id_bytes)
		return false;
	key->bytes = like->quic_id_bytes;
	for (i = 0; i < QUIC_ID_BYTES_MAX; i++) {
		if (i < like->quic_id_bytes)
			key->id[i] = cid[1 + i];
	}
	return true;
}

/* The version of the layout in the upper two bits, then a host ID of 16, 24 or 32 bits. */
static __always_inline bool quic_katran_id(struct quic_key *key, const __u8 *cid, __u32 cid_bytes)
{
	__u8 version = cid[0] >> 6;

	key->bytes = QUIC_KATRAN_ID_BYTES;
	if (version == 1 && cid_bytes >= 3) {
		key->id[2] = cid[0] << 2 | cid[1] >> 6;
		key->id[3] = cid[1] << 2 | cid[2] >> 6;
		return true;
	}
	if (version == 2 && cid_bytes >= 4) {
		key->id[1] = cid[1];
		key->id[2] = cid[2];
		key->id[3] = cid[3];
		return true;
	}
	if (version == 3 && cid_bytes >= 5) {
		key->id[0] = cid[1];
		key->id[1] = cid[2];
		key->id[2] = cid[3];
		key->id[3] = cid[4];
		return true;
	}
	return false;
}

/*
 * The backend that the connection ID names, or `index` where it names none that lives. `index` is
 * any backend of the service: it knows the layout.
 */
static __noinline __u32 quic_backend(struct xdp_md *ctx, const struct packet *pkt, __u32 index)
{
	struct backend *like = bpf_map_lookup_elem(&backends, &index), *named;
	__u8 cid[QUIC_CID_BYTES_READ] = {};
	struct quic_key key = {};
	__u32 *server, cid_bytes;

	/* All of a packet goes one way; and QUIC is not sent in fragments (RFC 9000, section 14). */
	if (!like || !pkt || pkt->part)
		return index;
	cid_bytes = quic_cid(ctx, pkt, cid);
	if (!cid_bytes)
		return index;
	key.service = like->service;
	if (like->quic == QUIC_LB ? !quic_lb_id(&key, like, cid, cid_bytes) :
				    !quic_katran_id(&key, cid, cid_bytes))
		return index;
	server = bpf_map_lookup_elem(&quic_servers, &key);
	if (!server)
		return index;
	named = bpf_map_lookup_elem(&backends, server);
	if (!named || named->service != like->service ||
	    (named->state != BACKEND_UP && named->state != BACKEND_DRAINING))
		return index;
	count(COUNT_QUIC_ROUTED);
	return *server;
}

#endif
