/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A clock that is free to read. bpf_ktime_get_ns() costs as much as a flow lookup, so a kernel
 * timer keeps milliseconds in a map. It lives with the pinned map and goes on when the
 * supervisor is gone.
 */
#ifndef SKEIN_CLOCK_H
#define SKEIN_CLOCK_H

#include "maps.h"

#define CLOCK_MONOTONIC 1
#define CLOCK_PERIOD_NS (10 * 1000 * 1000ULL)

static __always_inline __u32 clock_now_ms(void)
{
	__u32 zero = 0;
	struct clock *c = bpf_map_lookup_elem(&clock, &zero);

	return c ? c->now_ms : 0;
}

static int clock_tick(void *map, __u32 *key, struct clock *c)
{
	c->now_ms = bpf_ktime_get_ns() / 1000000;
	bpf_timer_start(&c->timer, CLOCK_PERIOD_NS, 0);
	return 0;
}

/* Run once by the supervisor. With pinned maps the timer exists: it gets this program's tick. */
SEC("syscall")
int clock_start(void *ctx)
{
	__u32 zero = 0;
	struct clock *c = bpf_map_lookup_elem(&clock, &zero);

	if (!c)
		return -1;
	bpf_timer_init(&c->timer, &clock, CLOCK_MONOTONIC);
	c->now_ms = bpf_ktime_get_ns() / 1000000;
	if (bpf_timer_set_callback(&c->timer, clock_tick))
		return -2;
	return bpf_timer_start(&c->timer, CLOCK_PERIOD_NS, 0);
}

#endif
