/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The backend's side: what backend.bpf.c and the supervisor of a real server share. Its maps are not
 * pinned, so that none of this but struct decap_address, which a node has too, is part of the layout
 * of the balancer's.
 */
#ifndef SKEIN_ABI_BACKEND_H
#define SKEIN_ABI_BACKEND_H

#include "abi.h"

/* Bits of `tunnels` in struct decap_address. */
enum decap_kind {
	/* IP in IP, of either family in either (RFC 2003, RFC 2473, RFC 4213). */
	DECAP_IPIP = 1,
	/* RFC 2784: no key, no checksum, no sequence number. */
	DECAP_GRE = 2,
	/* draft-ietf-intarea-gue: variant 0 without extensions. */
	DECAP_GUE = 4,
	/* UDP and then the packet. */
	DECAP_FOU = 8,
};

/* What is done to packets to one of this server's own addresses, or of a node's. */
struct decap_address {
	/* UDP destination ports. */
	__be16 gue_port_be;
	__be16 fou_port_be;
	/* Bits of enum decap_kind: the tunnels that end here. */
	__u8 tunnels;
	/* Other than 0: a DSCP may stand for a VIP, see struct dscp_key. */
	__u8 dscp;
	__u8 reserved[2];
};
ABI_SIZE(struct decap_address, 8);

/* The DSCP of packets to an own address: stands for a VIP of the same family. */
struct dscp_key {
	struct ip_address address;
	__u8 dscp;
	__u8 reserved[3];
};
ABI_SIZE(struct dscp_key, 20);

#define BACKEND_VIPS_MAX 4096
#define BACKEND_ADDRESSES_MAX 64
#define BACKEND_DSCPS_MAX 1024

/* As enum counter: BACKEND_DROP_ counters each stand for one XDP_DROP. */
enum backend_counter {
	BACKEND_COUNT_IPIP = 0, /* Packets taken out of IP in IP */
	BACKEND_COUNT_GRE, /* Packets taken out of GRE */
	BACKEND_COUNT_GUE, /* Packets taken out of GUE */
	BACKEND_COUNT_FOU, /* Packets taken out of foo over UDP */
	BACKEND_COUNT_DSCP, /* Packets that got their VIP back by their DSCP */
	BACKEND_COUNT_NOT_VIP, /* Tunnelled packets to no VIP of this server, left as they came */
	BACKEND_COUNT_FRAGMENT, /* Fragments of tunnelled packets, left as they came */
	BACKEND_COUNT_MALFORMED, /* Tunnelled packets whose headers contradict each other or are cut short, left as they came */
	BACKEND_COUNT_UNSUPPORTED, /* Tunnelled packets with options that nodes do not use, left as they came */
	BACKEND_COUNT_DSCP_UNSUPPORTED, /* Packets with the DSCP of a VIP, but neither TCP nor UDP nor ICMP, left as they came */
	BACKEND_DROP_CONGESTION, /* Packets marked as congested on the way that do not know what that is (RFC 6040) */
	BACKEND_DROP_INTERNAL, /* An invariant of the program does not hold: a bug */
	BACKEND_COUNTER_COUNT,
};

#endif
