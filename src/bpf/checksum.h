/* SPDX-License-Identifier: GPL-2.0-only */
/* Internet checksums, updated by what changed (RFC 1624). */
#ifndef SKEIN_CHECKSUM_H
#define SKEIN_CHECKSUM_H

#include <linux/types.h>

static __always_inline __u16 csum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* What replacing `from` by `to` adds to a sum of 16-bit words; any byte order, if used throughout. */
static __always_inline __u64 csum_change32(__u64 delta, __u32 from, __u32 to)
{
	return delta + (__u32)~from + to;
}

static __always_inline __u64 csum_change16(__u64 delta, __u16 from, __u16 to)
{
	return delta + (__u16)~from + to;
}

/* Replaces up to four words, such as an address, and returns what that adds to a sum over them. */
static __always_inline __u64 csum_replace_words(__u32 *at, const __u32 *with, int words)
{
	__u64 delta = 0;
	int i;

#pragma unroll
	for (i = 0; i < 4; i++) {
		if (i >= words)
			break;
		delta = csum_change32(delta, at[i], with[i]);
		at[i] = with[i];
	}
	return delta;
}

static __always_inline void csum_apply(__u16 *check, __u64 delta)
{
	*check = ~csum_fold((__u16) ~*check + delta);
}

#endif
