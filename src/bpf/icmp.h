/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ICMP errors to a VIP (RFC 792, RFC 4443). The quoted packet was sent by a backend from the VIP to
 * a client, so its flow is the quote with the ends swapped. Known here: the error goes where the
 * flow goes. Unknown: it goes to the supervisor, which hands it to the peers once.
 */
#ifndef SKEIN_ICMP_H
#define SKEIN_ICMP_H

#include "bucket.h"
#include "changes.h"
#include "flow.h"
#include "forward.h"
#include "schedule.h"
#include "vip.h"

/* Errors of one service that this node hands to its peers: so many at once, and then a second. */
#define RELAY_BURST 200
#define RELAY_PER_SECOND 100

struct quoted_ports {
	__be16 sport_be;
	__be16 dport_be;
};

/*
 * Fills in the key of the flow that is quoted, and of the rest what is true of the error itself; 0, or
 * the counter of the drop.
 */
static __always_inline int quoted_flow4(struct packet *flow, const struct packet *pkt, void *quote,
					void *end)
{
	struct quoted_ports *ports;
	struct iphdr *ip = quote;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return DROP_ICMP_MALFORMED;
	ports = quote + ip->ihl * 4;
	if ((void *)(ports + 1) > end || ip->frag_off & bpf_htons(IP_FRAGMENT_OFFSET))
		return DROP_ICMP_MALFORMED;
	if (ip->saddr != pkt->key4.daddr_be)
		return DROP_ICMP_FORGED;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return DROP_ICMP_MALFORMED;
	flow->key4.saddr_be = ip->daddr;
	flow->key4.daddr_be = ip->saddr;
	flow->key4.sport_be = ports->dport_be;
	flow->key4.dport_be = ports->sport_be;
	flow->key4.l4_proto = ip->protocol;
	return 0;
}

static __always_inline int quoted_flow6(struct packet *flow, const struct packet *pkt, void *quote,
					void *end)
{
	struct quoted_ports *ports;
	struct ipv6hdr *ip6 = quote;

	ports = (void *)(ip6 + 1);
	if ((void *)(ports + 1) > end || ip6->version != 6)
		return DROP_ICMP_MALFORMED;
	if (!same_address((struct ip_address *)&ip6->saddr, &pkt->key6.daddr))
		return DROP_ICMP_FORGED;
	if (ip6->nexthdr != IPPROTO_TCP && ip6->nexthdr != IPPROTO_UDP)
		return DROP_ICMP_MALFORMED;
	__builtin_memcpy(&flow->key6.saddr, &ip6->daddr, 16);
	__builtin_memcpy(&flow->key6.daddr, &ip6->saddr, 16);
	flow->key6.sport_be = ports->dport_be;
	flow->key6.dport_be = ports->sport_be;
	flow->key6.l4_proto = ip6->nexthdr;
	return 0;
}

static __always_inline int quoted_flow(struct xdp_md *ctx, struct packet *flow,
				       const struct packet *pkt)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	/* The mask is for the verifier: two VLAN tags and 60 bytes of IPv4 header stay far below it. */
	void *quote = data + (pkt->l4_offset & 0xff) + sizeof(struct icmp_header);

	flow->kind = PACKET_ICMP_ERROR;
	flow->is_ipv6 = pkt->is_ipv6;
	flow->frame_bytes = pkt->frame_bytes;
	flow->l3_offset = pkt->l3_offset;
	flow->l4_offset = pkt->l4_offset;
	if (pkt->is_ipv6)
		return quoted_flow6(flow, pkt, quote, end);
	return quoted_flow4(flow, pkt, quote, end);
}

static __always_inline bool relay_allowed(const struct service *service)
{
	__u32 index = service->index;
	struct token_bucket *bucket = bpf_map_lookup_elem(&relay_buckets, &index);

	return bucket && bucket_take(bucket, RELAY_PER_SECOND, RELAY_BURST);
}

/* Hands the packet, from its IP header on, to the supervisor. */
static __always_inline int relay(struct xdp_md *ctx, const struct packet *pkt)
{
	__u32 bytes = pkt->frame_bytes - pkt->l3_offset;
	struct icmp_event *event;

	if (bytes > ICMP_PACKET_BYTES_MAX)
		bytes = ICMP_PACKET_BYTES_MAX;
	event = bpf_ringbuf_reserve(&icmp_events, sizeof(*event), 0);
	if (!event)
		return drop(DROP_ICMP_LIMITED);
	event->bytes = bytes;
	if (bytes < 1 || bpf_xdp_load_bytes(ctx, pkt->l3_offset, event->packet, bytes)) {
		bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);
		return drop(DROP_INTERNAL);
	}
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return drop(DROP_ICMP_RELAYED);
}

/* No node shares flows with this one: the hash is the best that there is. */
static __always_inline int forward_by_hash(struct xdp_md *ctx, const struct packet *flow,
					   const struct service *service)
{
	__u32 index = schedule(service, flow);
	struct backend *backend = bpf_map_lookup_elem(&backends, &index);

	if (!backend || backend->state == BACKEND_UNUSED)
		return drop(DROP_NO_BACKEND);
	count(COUNT_ICMP_FORWARDED);
	return forward(ctx, flow, index, backend);
}

/* `relayed`: it came from a peer, and is never relayed again. */
static __noinline int icmp_error(struct xdp_md *ctx, const struct packet *pkt, bool relayed)
{
	struct settings *cfg = settings_get();
	struct service *service;
	struct backend *backend;
	struct packet quoted = {};
	struct flow *flow;
	int why;

	if (!cfg || !pkt)
		return drop(DROP_INTERNAL);
	why = quoted_flow(ctx, &quoted, pkt);
	if (why)
		return drop(why);
	flow = flow_of_any_age(&quoted);
	backend = flow ? flow_backend(flow) : NULL;
	if (flow && backend && nat_knows(&quoted, backend)) {
		count(COUNT_ICMP_FORWARDED);
		return forward(ctx, &quoted, flow->backend, backend);
	}
	if (relayed)
		return drop(DROP_ICMP_UNKNOWN);
	service = service_find(&quoted);
	if (!service)
		return drop(DROP_NO_SERVICE);
	if (!cfg->sharing)
		return forward_by_hash(ctx, &quoted, service);
	if (!relay_allowed(service))
		return drop(DROP_ICMP_LIMITED);
	return relay(ctx, pkt);
}

/*
 * Runs on frames that the supervisor injects: ICMP errors from peers and nothing else. A program of
 * its own, so that no bit of the packet decides whether it may be relayed.
 */
SEC("xdp")
int skein_relayed(struct xdp_md *ctx)
{
	struct settings *cfg = settings_get();
	struct packet pkt = {};

	parse(ctx, &pkt);
	if (!cfg || pkt.kind != PACKET_ICMP_ERROR || !is_vip(cfg, &pkt))
		return drop(DROP_ICMP_UNKNOWN);
	return icmp_error(ctx, &pkt, true);
}

#endif
