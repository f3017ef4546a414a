/* SPDX-License-Identifier: GPL-2.0-only */
/* Shared by replay.bpf.c and replay.ts, which reads the layout from the object's BTF. */
#ifndef SKEIN_REPLAY_H
#define SKEIN_REPLAY_H

#include <linux/types.h>

/* At least the longest part of a frame that is put back. */
#define TEMPLATE_BYTES 128

/* Constant for the life of one loaded program. */
struct replay_config {
	__u32 frame_bytes;
	/* 4 or 6: vary the source of an untagged frame of this IP version; 0: vary nothing. */
	__u32 ip_version;
	/* 1: vary the source port, too. */
	__u32 vary_ports;
	/* Length of the cycle of flows; 0: each frame is a new flow (modulo 2^32). */
	__u32 flows;
	/* Of flow 0, in host byte order; of an IPv6 address the last 32 bits. */
	__u32 saddr_first;
	__u32 sport_first;
	/* By how many bytes the program under test makes a frame longer. */
	__s32 growth_bytes;
	__u8 template[TEMPLATE_BYTES];
};
_Static_assert(sizeof(struct replay_config) == 28 + TEMPLATE_BYTES, "no holes");

/* Set before a run, read after it. */
struct replay_state {
	__u64 runs;
	/* Runs that found the frame of the run before with another length than expected. */
	__u64 other_lengths;
	/* Runs that could not put the frame back. */
	__u64 failures;
	__u32 next_flow;
	/* Step through the cycle; coprime to its length. */
	__u32 stride;
};
_Static_assert(sizeof(struct replay_state) == 32, "no holes");

#endif
