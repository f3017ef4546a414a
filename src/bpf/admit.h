/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which new flows a service takes: by source, and so many in a second. Flows that it has taken are
 * not asked again by packets; the sweeper removes those whose source is denied meanwhile.
 */
#ifndef SKEIN_ADMIT_H
#define SKEIN_ADMIT_H

#include "bucket.h"
#include "counters.h"
#include "parse.h"

#define SERVICE_BITS 32
#define ADDRESS_BITS 128

/* The longest prefix that names the source decides; where none does, the kind of filter. */
static __always_inline bool source_admitted(const struct admission *admission, __u32 service,
					    const struct packet *pkt, bool counted)
{
	struct source_key key = {.prefix_bits = SERVICE_BITS + ADDRESS_BITS, .service = service};
	struct source_rule *rule;
	__u64 *hits;

	if (admission->sources == SOURCES_ANY)
		return true;
	packet_saddr(pkt, &key.source);
	rule = bpf_map_lookup_elem(&source_rules, &key);
	if (!rule)
		return admission->sources == SOURCES_UNLESS_DENIED;
	hits = counted ? bpf_map_lookup_elem(&source_hits, &rule->hits) : NULL;
	if (hits)
		(*hits)++;
	return rule->admits;
}

static __always_inline bool new_flow_allowed(struct admission *admission)
{
	return !admission->new_flows_per_s ||
	       bucket_spend(&admission->spent_milli, &admission->filled_ms,
			    admission->new_flows_per_s, admission->new_flows_burst);
}

/* 0, or the counter under which the first packet of a flow is to be dropped. */
static __noinline int refused(const struct service *service, const struct packet *pkt)
{
	struct admission *admission;
	__u32 index;

	if (!service || !pkt)
		return DROP_INTERNAL;
	index = service->index;
	admission = bpf_map_lookup_elem(&admissions, &index);
	if (!admission)
		return DROP_INTERNAL;
	if (!source_admitted(admission, index, pkt, true))
		return DROP_SOURCE_DENIED;
	return new_flow_allowed(admission) ? 0 : DROP_NEW_FLOWS_LIMITED;
}

/* Of a flow that was taken before: would its source be let in now? */
static __always_inline bool still_admitted(const struct backend *backend, const struct packet *pkt)
{
	__u32 index = backend->service;
	struct admission *admission = bpf_map_lookup_elem(&admissions, &index);

	return !admission || source_admitted(admission, index, pkt, false);
}

#endif
