/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All maps but the scratch of nat.h and icmp.h. Sizes marked "set at load" come from the node's limits.
 * Those that packets read or write are pinned, but for `probes`, `cpu_buckets` and `fragments`, so that a new
 * supervisor finds flows, assignments and counters as they were, and what happened to flows meanwhile.
 */
#ifndef SKEIN_MAPS_H
#define SKEIN_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "abi-backend.h"

/*
 * Established flows. A plain hash and not an LRU one: the kernel must never evict a flow that is
 * in use to make room for another; a full table is counted and the newcomer stays embryonic.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set at load */
	__type(key, struct flow4_key);
	__type(value, struct flow);
} flows4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set at load */
	__type(key, struct flow6_key);
	__type(value, struct flow);
} flows6 SEC(".maps");

/* Flows of which one packet was seen. A flood evicts its own kind here and nothing else. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set at load */
	__type(key, struct flow4_key);
	__type(value, struct flow);
} embryonic4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); /* set at load */
	__type(key, struct flow6_key);
	__type(value, struct flow);
} embryonic6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set at load */
	__type(key, struct service_key);
	__type(value, struct service);
} services SEC(".maps");

struct ring {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
};

/* By service index: an array of backend indexes, replaced as a whole when the set changes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1); /* set at load */
	__type(key, __u32);
	__array(values, struct ring);
} rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set at load */
	__type(key, __u32);
	__type(value, struct backend);
} backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1); /* set at load */
	__type(key, __u32);
	__type(value, struct backend_local);
} backends_local SEC(".maps");

/* By service index; read for the first packets of services that are guarded. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set at load */
	__type(key, __u32);
	__type(value, struct admission);
} admissions SEC(".maps");

/* Source filters: of the rules of a service, the longest prefix decides. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SOURCE_RULES_MAX);
	__type(key, struct source_key);
	__type(value, struct source_rule);
} source_rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SOURCE_RULES_MAX);
	__type(key, __u32);
	__type(value, __u64);
} source_hits SEC(".maps");

/* By backend index; read for tunnels only. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set at load */
	__type(key, __u32);
	__type(value, struct tunnel_source);
} tunnel_sources SEC(".maps");

/* Backend indexes by what connection IDs say. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set at load */
	__type(key, struct quic_key);
	__type(value, __u32);
} quic_servers SEC(".maps");
/* Where replies of nat backends come from: what stands in for them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1); /* set at load */
	__type(key, struct nat_source);
	__type(value, struct nat_candidates);
} nat_sources SEC(".maps");

/* Flows of full_nat through this node; those that have been silent for longest give way. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, NAT_FLOWS_MAX);
	__type(key, struct nat_key);
	__type(value, struct nat_flow);
} nat_flows SEC(".maps");

/* VLAN devices of the host: the interface below, and the tag. XDP cannot send through them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, VLAN_DEVICES_MAX);
	__type(key, __u32);
	__type(value, struct vlan_device);
} vlan_devices SEC(".maps");

/* By own address: the tunnels that end there. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BACKEND_ADDRESSES_MAX);
	__type(key, struct ip_address);
	__type(value, struct decap_address);
} decap_addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTER_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

/* Health checks under way; they last a second or so, and the oldest gives way. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct probe_key);
	__type(value, struct probe);
} probes SEC(".maps");

#define FRAGMENTS_MAX 16384

/* A packet in fragments, by what its fragments have in common. */
struct fragment_key {
	struct ip_address saddr;
	struct ip_address daddr;
	__be32 id_be;
	/* Of IPv4; 0 in IPv6. */
	__u8 l4_proto;
	__u8 reserved[3];
};

#define FRAGMENT_OF_REPLY 0

/* What its first fragment taught: the backend, and the flow that it is of. */
struct fragment {
	__u32 backend;
	__u32 seen_ms;
	__be16 sport_be;
	__be16 dport_be;
	/* Of the backend; or FRAGMENT_OF_REPLY, which no backend has. */
	__u16 generation;
	__u8 l4_proto;
	__u8 reserved;
};

/* Packets of which the first fragment was seen. They last a moment, and the oldest gives way. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FRAGMENTS_MAX);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct sweep);
} sweeps SEC(".maps");

/* What happens to flows, and ICMP errors of flows that are not known: for the peers. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} changes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} icmp_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set at load */
	__type(key, __u32);
	__type(value, struct token_bucket);
} relay_buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CPU_BUCKET_COUNT);
	__type(key, __u32);
	__type(value, struct token_bucket);
} cpu_buckets SEC(".maps");

/* Packets to be cut, some 500. What a dead supervisor has left is stale for the next one. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} oversized SEC(".maps");

/* Records from peers, and what became of them: see merge.h. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, INBOX_RECORDS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct flow_record);
} inbox SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MERGE_OUTCOME_COUNT);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} merge_tally SEC(".maps");

/* Sums by bucket, and one past them the number of flows. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DIGEST_BUCKETS + 1);
	__type(key, __u32);
	__type(value, __u64);
} digest SEC(".maps");

/* One bit for each bucket that a walk is to read out. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DIGEST_BUCKETS / 64);
	__type(key, __u32);
	__type(value, __u64);
} read_buckets SEC(".maps");

struct clock {
	struct bpf_timer timer;
	__u32 now_ms;
	__u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct clock);
} clock SEC(".maps");

#endif
