/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Everything that both sides of the kernel boundary see: structs, enums, limits.
 * The TypeScript codecs in src/abi are generated from the BTF of these types, so a layout is
 * written down here and nowhere else. Addresses are 16 bytes, IPv4 mapped (::ffff:a.b.c.d).
 * Fields ending in _be are in network byte order, all others in the host's.
 */
#ifndef SKEIN_ABI_H
#define SKEIN_ABI_H

#include <linux/types.h>

#define ABI_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " has " #bytes " bytes")

/* A backend slot that no ring and no flow points to. */
#define BACKEND_NONE 0xffffffffU

/* Bits of the filter that tells addresses which are surely no VIP: see struct settings. */
#define VIP_FILTER_BITS 16384
#define VIP_FILTER_WORDS (VIP_FILTER_BITS / 64)

/*
 * Source ports that health checks carry while they are away from the node. Above the default
 * range of ephemeral ports, so that replies to other sockets rarely need a look.
 */
#define PROBE_PORT_FIRST 61000
#define PROBE_PORT_COUNT 4096

/*
 * Source ports of full_nat: below the default range of ephemeral ports, so that no socket of the
 * node is mistaken for a client of a VIP.
 */
#define NAT_PORT_FIRST 10240
#define NAT_PORT_COUNT 20480
#define NAT_FLOWS_MAX 131072
/* VIPs and ports that one port of a nat backend may stand for. */
#define NAT_CANDIDATES_MAX 4

struct ip_address {
	__u8 bytes[16];
};
ABI_SIZE(struct ip_address, 16);

/* States of a flow; each has its idle timeout in struct settings. */
enum flow_state {
	FLOW_TCP_SYN = 0,
	FLOW_TCP_SYN_ACK = 1,
	FLOW_TCP_FIN = 2,
	FLOW_TCP_ESTABLISHED = 3,
	FLOW_UDP = 4,
	FLOW_OTHER = 5,
	FLOW_STATE_COUNT = 6,
};

/* Flags of a flow; the upper seven bits tell when a peer or this node last spoke of it. */
enum flow_flag {
	/* Made from a mid-flow packet: the backend is what the hash says, not what is known. */
	FLOW_GUESS = 1,
};

/* IPv4 has a key of its own: with a million flows the size of an entry is what a lookup costs. */
struct flow4_key {
	__be32 saddr_be;
	__be32 daddr_be;
	__be16 sport_be;
	__be16 dport_be;
	__u32 l4_proto;
};
ABI_SIZE(struct flow4_key, 16);

struct flow6_key {
	struct ip_address saddr;
	struct ip_address daddr;
	__be16 sport_be;
	__be16 dport_be;
	__u32 l4_proto;
};
ABI_SIZE(struct flow6_key, 40);

struct flow {
	/* Index into `backends`. */
	__u32 backend;
	/* Last packet, and first one: milliseconds of the monotonic clock, modulo 2^32. */
	__u32 seen_ms;
	__u32 opened_ms;
	/* The backend's generation when the flow was made: a slot that was reused does not match. */
	__u16 generation;
	/* enum flow_state. */
	__u8 state;
	/* enum flow_flag. */
	__u8 flags;
};
ABI_SIZE(struct flow, 16);

/* What happened to a flow, as peers are told of it. */
enum flow_change {
	FLOW_OPENED = 0,
	FLOW_REFRESHED = 1,
	FLOW_CLOSED = 2,
};

/* A flow on its way between the tables and the supervisor; IPv4 addresses are mapped. */
struct flow_record {
	struct flow6_key key;
	struct flow flow;
	__u8 is_ipv6;
	/* enum flow_change. */
	__u8 change;
	__u16 reserved;
	__u32 reserved2;
};
ABI_SIZE(struct flow_record, 64);

/* An ICMP error from its IP header on, cut to what routers quote and more. */
#define ICMP_PACKET_BYTES_MAX 1280

struct icmp_event {
	__u32 bytes;
	__u8 packet[ICMP_PACKET_BYTES_MAX];
};
ABI_SIZE(struct icmp_event, 4 + ICMP_PACKET_BYTES_MAX);

/* What the supervisor takes for a packet to be cut; longer ones are dropped. */
#define OVERSIZED_PACKET_BYTES_MAX 2048

/* An IPv4 packet that may be fragmented and must be, from its IP header on. */
struct oversized_event {
	/* Longest IP packet that fits the way. */
	__u32 bytes_max;
	__u32 bytes;
	__u8 packet[OVERSIZED_PACKET_BYTES_MAX];
};
ABI_SIZE(struct oversized_event, 8 + OVERSIZED_PACKET_BYTES_MAX);

/* Filled by the clock; see bucket.h. */
struct token_bucket {
	/* What is missing from it, in thousandths of a token. */
	__u64 spent_milli;
	__u32 filled_ms;
	__u32 reserved;
};
ABI_SIZE(struct token_bucket, 16);

/* What each CPU does a bounded number of times a second. */
enum cpu_bucket {
	BUCKET_ECHO = 0,
	BUCKET_TOO_BIG = 1,
	BUCKET_CUT = 2,
	CPU_BUCKET_COUNT = 3,
};

struct service_key {
	struct ip_address vip;
	/* 0: the service of every port that has none of its own. */
	__be16 port_be;
	/* 0, with port 0: the record that says that `vip` is a VIP at all. */
	__u8 l4_proto;
	__u8 reserved;
};
ABI_SIZE(struct service_key, 20);

enum affinity {
	AFFINITY_FLOW = 0,
	AFFINITY_CLIENT = 1,
};

struct service {
	/* Index into `rings`. */
	__u32 index;
	/* Number of slots of its ring. */
	__u32 ring_slots;
	/* enum affinity. */
	__u8 affinity;
	/* Other than 0: `admissions` says which new flows it takes. */
	__u8 guarded;
	/* enum quic_layout. */
	__u8 quic;
	__u8 reserved[5];
};
ABI_SIZE(struct service, 16);

/* Of the source filter of a service. */
enum source_filter {
	SOURCES_ANY = 0,
	/* Sources that no rule names are let in. */
	SOURCES_UNLESS_DENIED = 1,
	/* ... are not. */
	SOURCES_IF_ALLOWED = 2,
};

/* Which new flows a service takes, by its index. */
struct admission {
	/* A token bucket: what is missing from it, in thousandths, and when it was last filled. */
	__u64 spent_milli;
	__u32 filled_ms;
	/* 0: any number. */
	__u32 new_flows_per_s;
	__u32 new_flows_burst;
	/* enum source_filter. */
	__u8 sources;
	__u8 reserved[3];
};
ABI_SIZE(struct admission, 24);

/* Key of a rule; `prefix_bits` counts from `service` on. */
struct source_key {
	__u32 prefix_bits;
	/* Index of the service. */
	__u32 service;
	struct ip_address source;
};
ABI_SIZE(struct source_key, 24);

struct source_rule {
	/* Index into `source_hits`. */
	__u32 hits;
	__u8 admits;
	__u8 reserved[3];
};
ABI_SIZE(struct source_rule, 8);

#define SOURCE_RULES_MAX 16384

/* How the connection IDs of a QUIC service name the backend. */
enum quic_layout {
	QUIC_NONE = 0,
	/* draft-ietf-quic-load-balancers, unencrypted: one octet, then the server ID. */
	QUIC_LB = 1,
	/* The layout of mvfst that katran reads: version bits, then a host ID of 16, 24 or 32 bits. */
	QUIC_KATRAN = 2,
};

enum backend_state {
	BACKEND_UNUSED = 0,
	BACKEND_UP = 1,
	/* Keep their flows and get no new ones. */
	BACKEND_DRAINING = 2,
	BACKEND_DOWN = 3,
};

enum forwarding_mode {
	/* Nothing changes but the MAC addresses. */
	FORWARD_L2DSR = 0,
	/* In a packet of the backend's family: IP in IP (RFC 2003, 2473), GRE (RFC 2784), ... */
	FORWARD_IPIP = 1,
	FORWARD_GRE = 2,
	/* ... GUE variant 0 (draft-ietf-intarea-gue), or UDP and nothing else (foo over UDP). */
	FORWARD_GUE = 3,
	FORWARD_FOU = 4,
	/* To the backend's own address; the DSCP says which VIP was meant. */
	FORWARD_DSCP = 5,
	/* To the backend's own address and port; replies pass a node, which puts the VIP back. */
	FORWARD_NAT = 6,
	/* As nat, and from the node's own address: replies come to the node by themselves. */
	FORWARD_FULL_NAT = 7,
	/* The backend is this node itself. */
	FORWARD_LOCAL = 8,
};

/* The tag of the interface that the route names. */
#define VLAN_AS_ROUTED 0xffff
/* `mss_max` of a backend whose clamp is what fits through the way. */
#define MSS_AS_ROUTED 0xffff

/* One backend of one service. */
struct backend {
	struct ip_address address;
	/* VIP of its service: where its health checks go. */
	struct ip_address vip;
	/* Index of its service. */
	__u32 service;
	__u32 weight;
	/* Counts the uses of this slot; 0 is never used. */
	__u16 generation;
	/* enum forwarding_mode. */
	__u8 mode;
	/* enum quic_layout of its service; of QUIC_LB also the bytes of a server ID and the config ID. */
	__u8 quic;
	__u8 quic_id_bytes;
	__u8 quic_config;
	/* enum backend_state. */
	__u8 state;
	/* Of dscp: 0 to 63. */
	__u8 dscp;
	/* Destination port of the outer UDP header, or the backend's own for nat; 0: the packet's. */
	__be16 port_be;
	/* VLAN that frames to it are tagged with; 0: none, or VLAN_AS_ROUTED. */
	__u16 vlan;
	/* Largest IP packet on the way to it; 0: what the route says. */
	__u16 mtu;
	/* Largest MSS of a SYN to it; 0: left alone, or MSS_AS_ROUTED. */
	__u16 mss_max;
	/* Port of its service: only what is sent there goes to the backend's own port. */
	__be16 service_port_be;
	/* TTL of the outer header; 0: that of the packet. */
	__u8 tunnel_ttl;
	__u8 reserved;
	__u8 reserved2[4];
};
ABI_SIZE(struct backend, 64);

#define QUIC_ID_BYTES_MAX 15

/* What a connection ID says of its server; of QUIC_KATRAN a number of four bytes. */
struct quic_key {
	/* Index of the service. */
	__u32 service;
	__u8 bytes;
	__u8 id[QUIC_ID_BYTES_MAX];
};
ABI_SIZE(struct quic_key, 20);

/*
 * Outer source address of a backend's tunnel: the bits of `fixed` where `mask` has ones, the flow's
 * hash elsewhere, so that the receiver spreads flows over its queues.
 */
struct tunnel_source {
	struct ip_address fixed;
	struct ip_address mask;
};
ABI_SIZE(struct tunnel_source, 32);

/* What a reply of a backend in mode nat comes from. */
struct nat_source {
	struct ip_address address;
	/* 0: every port, since the service takes every port. */
	__be16 port_be;
	__u8 l4_proto;
	__u8 reserved;
};
ABI_SIZE(struct nat_source, 20);

/* What it may be sent on from: addresses of 16 bytes one after the other, and the port of each. */
struct nat_candidates {
	__u8 vips[NAT_CANDIDATES_MAX * 16];
	/* 0: the port that the reply has. */
	__be16 ports_be[NAT_CANDIDATES_MAX];
	__u32 count;
	__u32 reserved;
};
ABI_SIZE(struct nat_candidates, 80);

/* A flow of full_nat: found again by what the backend's reply looks like. */
struct nat_key {
	struct ip_address address;
	__be16 port_be;
	/* The port of this node that stands for the client's. */
	__be16 nat_port_be;
	__u8 l4_proto;
	__u8 reserved[3];
};
ABI_SIZE(struct nat_key, 24);

struct nat_flow {
	struct ip_address client;
	struct ip_address vip;
	__be16 client_port_be;
	__be16 vip_port_be;
	/* Last packet either way: milliseconds of the monotonic clock, modulo 2^32. */
	__u32 seen_ms;
	/* enum flow_state. */
	__u8 state;
	__u8 reserved[7];
};
ABI_SIZE(struct nat_flow, 48);

#define VLAN_DEVICES_MAX 4096

/* A VLAN device of the host, by its index. */
struct vlan_device {
	__u32 lower_ifindex;
	/* 1 to 4094. */
	__u32 vlan;
};
ABI_SIZE(struct vlan_device, 8);

/*
 * What one CPU keeps of a backend: counters, and the next hop as the FIB last gave it. What an
 * established flow needs comes first, so that it costs little more than one cache line.
 */
struct backend_local {
	__u64 packets;
	__u64 bytes;
	__u8 dmac[6];
	__u8 smac[6];
	/* Generation, mode and QUIC layout of the backend when all this was learned. */
	__u32 learned_for;
	__u32 resolved_ms;
	/* Egress interface; 0: not resolved. */
	__u32 ifindex;
	/* Longest frame that needs no more than other MAC addresses; 0: all need more. */
	__u16 plain_bytes_max;
	/* Longest frame, as it came and without tags, that the way takes. */
	__u16 frame_bytes_max;
	/* Tag to send with, or 0. */
	__u16 vlan;
	/* Why there is no next hop: an enum counter. */
	__u16 refusal;
	/* Flows scheduled here, of which some became established, of which some have ended. */
	__u64 flows_scheduled;
	__u64 flows_established;
	__u64 flows_ended;
};
ABI_SIZE(struct backend_local, 72);

/* What packets that are for no VIP are looked at for; see struct settings. */
enum feature {
	/* Some backend is reached by nat. */
	FEATURE_NAT = 1,
	/* Some backend is reached by full_nat. */
	FEATURE_FULL_NAT = 2,
	/* `decap_addresses` says which tunnels end here. */
	FEATURE_DECAP = 4,
};
#define FEATURES_NAT (FEATURE_NAT | FEATURE_FULL_NAT)

struct settings {
	/* Idle timeouts by enum flow_state. */
	__u32 timeout_ms[FLOW_STATE_COUNT];
	/* The veth pair of the health checks: `probe_out_ifindex` carries the probe program. */
	__u32 probe_out_ifindex;
	/* Other than 0: there are peers to tell of flows. */
	__u32 sharing;
	/* Echo requests that each CPU answers. */
	__u32 echo_per_second;
	/*
	 * Other than 0: the node takes its part in the cluster. Nothing for packets: a supervisor that comes
	 * after this one learns from it whether the flow tables can be relied on.
	 */
	__u16 in_service;
	/* Other than 0: a table of established flows is nearly full. */
	__u16 crowded;
	/* The node's own addresses; all zero where it has none of that family. */
	struct ip_address node4;
	struct ip_address node6;
	/* The address of the veth end that the supervisor's sockets use, and its MAC. */
	struct ip_address probe_source4;
	struct ip_address probe_source6;
	__u8 probe_source_mac[6];
	/* enum feature. */
	__u16 features;
	/*
	 * First address of the ranges in which base + n stands for backend slot n. Only the last
	 * three bytes vary.
	 */
	struct ip_address probe_base4;
	struct ip_address probe_base6;
	/* One bit by hash of address: clear means that the address is surely no VIP. */
	__u64 vip_filter[VIP_FILTER_WORDS];
};
ABI_SIZE(struct settings, 24 + 16 + 4 * 16 + 8 + 2 * 16 + VIP_FILTER_WORDS * 8);

/* A health check on its way: found again by what the backend's reply looks like. */
struct probe_key {
	/* With nat, the backend's own address and port. */
	struct ip_address vip;
	__be16 vip_port_be;
	/* The port that stands for the prober's own while the check is away. */
	__be16 nat_port_be;
	__u8 l4_proto;
	__u8 reserved[3];
};
ABI_SIZE(struct probe_key, 24);

struct probe {
	__u32 backend;
	/* Last packet towards the backend: milliseconds of the monotonic clock, modulo 2^32. */
	__u32 seen_ms;
	__be16 source_port_be;
	/* What the prober sent to: its reply must come from there. */
	__be16 port_be;
};
ABI_SIZE(struct probe, 12);

/* What the last walk over a flow table saw: entry 0 for IPv4, 1 for IPv6. */
struct sweep {
	__u64 scanned;
	__u64 expired;
};
ABI_SIZE(struct sweep, 16);

#include "abi-counters.h"
#include "abi-merge.h"

#endif
