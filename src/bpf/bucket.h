/* SPDX-License-Identifier: GPL-2.0-only */
/* Token buckets, filled by the clock: what anyone can make this node do has a rate that it keeps. */
#ifndef SKEIN_BUCKET_H
#define SKEIN_BUCKET_H

#include <stdbool.h>
#include "clock.h"

#define TICKS_APART_MS_MAX 1000

#define TOKEN_MILLI 1000

/*
 * So many at once, and then so many a second; false beyond that. In thousandths of a token, of which
 * a millisecond brings a whole number: nothing is lost by rounding. No lock: where CPUs share a bucket it
 * is a bound and no more.
 */
static __always_inline bool bucket_spend(__u64 *spent_milli, __u32 *filled_ms, __u32 per_second,
					 __u32 burst)
{
	__u32 now_ms = clock_now_ms(), passed_ms = now_ms - *filled_ms;
	/* In 64 bits: a bucket may have been left alone for weeks. */
	__u64 gained_milli = (__u64)passed_ms * per_second;

	/* Not where another CPU has seen a later tick of the clock. */
	if (passed_ms && passed_ms < (__u32)-TICKS_APART_MS_MAX) {
		*spent_milli = *spent_milli > gained_milli ? *spent_milli - gained_milli : 0;
		*filled_ms = now_ms;
	}
	if (*spent_milli + TOKEN_MILLI > (__u64)burst * TOKEN_MILLI)
		return false;
	*spent_milli += TOKEN_MILLI;
	return true;
}

static __always_inline bool bucket_take(struct token_bucket *bucket, __u32 per_second, __u32 burst)
{
	return bucket_spend(&bucket->spent_milli, &bucket->filled_ms, per_second, burst);
}

/* The same for this CPU alone. */
static __always_inline bool cpu_allows(enum cpu_bucket which, __u32 per_second, __u32 burst)
{
	__u32 index = which;
	struct token_bucket *bucket = bpf_map_lookup_elem(&cpu_buckets, &index);

	return bucket && bucket_take(bucket, per_second, burst);
}

#endif
