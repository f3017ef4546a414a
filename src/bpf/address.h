/* SPDX-License-Identifier: GPL-2.0-only */
/* Addresses of 16 bytes, IPv4 mapped (RFC 4291, section 2.5.5.2). */
#ifndef SKEIN_ADDRESS_H
#define SKEIN_ADDRESS_H

#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include "abi.h"

static __always_inline bool same_address(const struct ip_address *a, const struct ip_address *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return x[0] == y[0] && x[1] == y[1];
}

static __always_inline bool is_ipv4_mapped(const struct ip_address *a)
{
	const __u32 *words_be = (const __u32 *)a;

	return !words_be[0] && !words_be[1] && words_be[2] == bpf_htonl(0xffff);
}

/* No address at all, as the supervisor leaves what is not configured. */
static __always_inline bool is_unset(const struct ip_address *a)
{
	const __u64 *words = (const __u64 *)a;

	return !words[0] && !words[1];
}

static __always_inline __be32 ipv4_of(const struct ip_address *a)
{
	return ((const __u32 *)a)[3];
}

static __always_inline void map_ipv4(struct ip_address *to, __be32 from_be)
{
	__u32 *words = (__u32 *)to;

	words[0] = 0;
	words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = from_be;
}

#endif
