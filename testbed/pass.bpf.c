// SPDX-License-Identifier: Apache-2.0
/*
 * Lets every packet through. It sits on the switch port of each balancer, because the kernel does
 * not wake the receiver of what veth's XDP_TX sends unless there is an XDP program at that end.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}
