// SPDX-License-Identifier: GPL-2.0-only
/*
 * Puts the template frame back, picks the next flow, and tail-calls the program under test.
 *
 * A test run with repeat=N runs a program N times over the same buffer. A load balancer rewrites
 * or encapsulates what is in it, so from the second time on it would see its own output and take
 * some other path, often a cheaper one. This program restores length and headers each time and walks
 * over many flows within one test run, with no system call in between. What it costs itself is measured
 * by tail-calling an empty program, and subtracted.
 *
 * Stores are cut so that each field that a load balancer reads (addresses and ports, as 2, 4 or 8
 * bytes, both IPv4 addresses also as one) lies within one of them: then the processor forwards the
 * store to the load, and the program under test is not charged for a stall that a received frame
 * would not cause.
 *
 * Untagged frames only; with IPv4 of 54 bytes at least, with IPv6 of 74.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "replay.h"

/* Flow i has source port i modulo this, and one source address for as many flows. */
#define PORTS_PER_ADDRESS_LOG2 10

const volatile struct replay_config config = {};
struct replay_state state = {};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} target SEC(".maps");

/* Of the template, and to the frame. */
#define FROM(type, offset) (*(const volatile type *)(config.template + (offset)))
#define PUT(type, offset, value) (*(volatile type *)(frame + (offset)) = (value))
#define COPY(type, offset) PUT(type, offset, FROM(type, offset))

static __always_inline __u32 next_flow(void)
{
	__u32 flow = state.next_flow, next = flow + state.stride;

	if (config.flows && next >= config.flows)
		next -= config.flows;
	state.next_flow = next;
	return flow;
}

static __always_inline int put_ipv6(void *frame, void *end, __be32 saddr_be, __be16 sport_be)
{
	if (frame + 74 > end)
		return -1;
	COPY(__u64, 22);
	PUT(__u64, 30, (__u64)FROM(__u32, 30) | (__u64)saddr_be << 32);
	COPY(__u64, 38);
	COPY(__u64, 46);
	PUT(__u32, 54,
	    config.vary_ports ? sport_be | (__u32)FROM(__u16, 56) << 16 : FROM(__u32, 54));
	COPY(__u64, 58);
	COPY(__u64, 66);
	return 0;
}

static __always_inline int put_ipv4(void *frame, void *end, __be32 saddr_be, __be16 sport_be)
{
	if (frame + 54 > end)
		return -1;
	COPY(__u32, 22);
	PUT(__u64, 26,
	    config.ip_version ? (__u64)saddr_be | (__u64)FROM(__u32, 30) << 32 : FROM(__u64, 26));
	PUT(__u32, 34,
	    config.vary_ports ? sport_be | (__u32)FROM(__u16, 36) << 16 : FROM(__u32, 34));
	COPY(__u64, 38);
	COPY(__u64, 46);
	return 0;
}

SEC("xdp")
int replay(struct xdp_md *ctx)
{
	long frame_bytes = (long)ctx->data_end - (long)ctx->data;
	__u32 flow = next_flow();
	__be32 saddr_be = bpf_htonl(config.saddr_first + (flow >> PORTS_PER_ADDRESS_LOG2));
	__be16 sport_be =
		bpf_htons(config.sport_first + (flow & ((1 << PORTS_PER_ADDRESS_LOG2) - 1)));
	void *frame, *end;
	int growth_bytes;

	/* Kept from being folded into the next line: the verifier refuses 32-bit math on pointers. */
	asm volatile("" : "+r"(frame_bytes));
	growth_bytes = frame_bytes - config.frame_bytes;
	state.runs++;
	if (growth_bytes != config.growth_bytes)
		state.other_lengths++;
	/* Called even for 0 bytes, so that the cost is the same for every program under test. */
	if (bpf_xdp_adjust_head(ctx, growth_bytes))
		goto fail;
	frame = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (config.ip_version == 6 ? put_ipv6(frame, end, saddr_be, sport_be) :
				     put_ipv4(frame, end, saddr_be, sport_be))
		goto fail;
	COPY(__u64, 0);
	COPY(__u32, 8);
	COPY(__u16, 12);
	COPY(__u64, 14);
	bpf_tail_call(ctx, &target, 0);
fail:
	state.failures++;
	return XDP_ABORTED;
}

char _license[] SEC("license") = "GPL";
