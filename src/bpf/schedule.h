/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Chooses the backend of a new flow. The ring of a service is a Maglev table made by the
 * supervisor (src/dataplane/maglev.ts); hash and table are the same on every node.
 */
#ifndef SKEIN_SCHEDULE_H
#define SKEIN_SCHEDULE_H

#include "counters.h"
#include "parse.h"

static __always_inline __u64 hash_mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ (hash >> 32);
}

static __always_inline __u64 hash_address(__u64 hash, const struct ip_address *address)
{
	const __u64 *words_be = (const __u64 *)address;

	hash = hash_mix(hash, bpf_be64_to_cpu(words_be[0]));
	return hash_mix(hash, bpf_be64_to_cpu(words_be[1]));
}

/* By value and not by memory: nodes of either byte order agree. */
static __always_inline __u32 flow_hash(const struct packet *pkt, __u8 affinity)
{
	__u64 hash = 0x5ce1f00d5ce1f00dULL;
	__u32 ports;

	if (pkt->is_ipv6) {
		hash = hash_address(hash, &pkt->key6.saddr);
		if (affinity == AFFINITY_CLIENT)
			return hash_mix(hash, 0) >> 32;
		hash = hash_address(hash, &pkt->key6.daddr);
		ports = (__u32)bpf_ntohs(pkt->key6.sport_be) << 16 | bpf_ntohs(pkt->key6.dport_be);
		hash = hash_mix(hash, (__u64)ports << 8 | pkt->key6.l4_proto);
	} else {
		hash = hash_mix(hash, bpf_ntohl(pkt->key4.saddr_be));
		if (affinity == AFFINITY_CLIENT)
			return hash_mix(hash, 0) >> 32;
		hash = hash_mix(hash, bpf_ntohl(pkt->key4.daddr_be));
		ports = (__u32)bpf_ntohs(pkt->key4.sport_be) << 16 | bpf_ntohs(pkt->key4.dport_be);
		hash = hash_mix(hash, (__u64)ports << 8 | pkt->key4.l4_proto);
	}
	return hash_mix(hash, 0) >> 32;
}

/* Index of a backend that takes new flows, or BACKEND_NONE. */
static __always_inline __u32 schedule(const struct service *service, const struct packet *pkt)
{
	__u32 index = service->index, slot, *owner;
	void *ring = bpf_map_lookup_elem(&rings, &index);

	if (!ring)
		return BACKEND_NONE;
	slot = (__u64)flow_hash(pkt, service->affinity) * service->ring_slots >> 32;
	owner = bpf_map_lookup_elem(ring, &slot);
	return owner ? *owner : BACKEND_NONE;
}

#endif
