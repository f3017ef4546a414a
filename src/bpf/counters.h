/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SKEIN_COUNTERS_H
#define SKEIN_COUNTERS_H

#include "maps.h"

static __always_inline void count(enum counter which)
{
	__u32 index = which;
	__u64 *value = bpf_map_lookup_elem(&counters, &index);

	if (value)
		(*value)++;
}

/* The only way to drop: no drop without a name. */
static __always_inline int drop(enum counter why)
{
	count(why);
	return XDP_DROP;
}

static __always_inline int pass(void)
{
	count(COUNT_PASSED);
	return XDP_PASS;
}

#endif
