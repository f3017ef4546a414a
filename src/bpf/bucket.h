/* SPDX-License-Identifier: GPL-2.0-only */
/* Token buckets, filled by the clock: what anyone can make this node do has a rate that it keeps. */
#ifndef SKEIN_BUCKET_H
#define SKEIN_BUCKET_H

#include <stdbool.h>
#include "clock.h"

#define TICKS_APART_MS_MAX 1000

/*
 * So many at once, and then so many a second; false beyond that. No lock: where CPUs share a bucket
 * it is a bound and no more.
 */
static __always_inline bool bucket_take(struct token_bucket *bucket, __u32 per_second, __u32 burst)
{
	__u32 now_ms = clock_now_ms(), passed_ms = now_ms - bucket->filled_ms;
	__u64 gained;

	/* Another CPU has seen a later tick of the clock. */
	if (passed_ms > (__u32)-TICKS_APART_MS_MAX)
		passed_ms = 0;
	/* In 64 bits: a bucket may have been left alone for weeks. */
	gained = (__u64)passed_ms * per_second / 1000;
	if (gained >= bucket->spent) {
		bucket->spent = 0;
		bucket->filled_ms = now_ms;
	} else if (gained) {
		bucket->spent -= gained;
		/* Not all of the time that has passed: a part of a token is kept. */
		bucket->filled_ms += gained * 1000 / per_second;
	}
	if (bucket->spent >= burst)
		return false;
	bucket->spent++;
	return true;
}

/* The same for this CPU alone. */
static __always_inline bool cpu_allows(enum cpu_bucket which, __u32 per_second, __u32 burst)
{
	__u32 index = which;
	struct token_bucket *bucket = bpf_map_lookup_elem(&cpu_buckets, &index);

	return bucket && bucket_take(bucket, per_second, burst);
}

#endif
