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
#include "fragment.h"
#include "schedule.h"
#include "vip.h"

/* Errors of one service that this node hands to its peers: so many at once, and then a second. */
#define RELAY_BURST 200
#define RELAY_PER_SECOND 100

struct quoted_ports {
	__be16 sport_be;
	__be16 dport_be;
};

/* The end of the packet: behind it is padding, which is no part of a quote and in no checksum. */
static __always_inline __u32 packet_end(const struct packet *pkt, void *data, void *end)
{
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct ipv6hdr *ip6 = (void *)ip;

	if ((void *)(ip + 1) > end)
		return 0;
	if (!pkt->is_ipv6)
		return sizeof(struct ethhdr) + bpf_ntohs(ip->tot_len);
	if ((void *)(ip6 + 1) > end)
		return 0;
	return sizeof(struct ethhdr) + sizeof(*ip6) + bpf_ntohs(ip6->payload_len);
}

/*
 * Fills in the key of the flow that is quoted, and of the rest what is true of the error itself; 0, or
 * the counter of the drop.
 */
static __always_inline int quoted_flow4(struct packet *flow, const struct packet *pkt, void *quote,
					void *end, __u32 room)
{
	struct quoted_ports *ports;
	struct iphdr *ip = quote;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return DROP_ICMP_MALFORMED;
	ports = quote + ip->ihl * 4;
	if ((void *)(ports + 1) > end || ip->ihl * 4 + sizeof(*ports) > room ||
	    ip->frag_off & bpf_htons(IP_FRAGMENT_OFFSET))
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

static __always_inline int quoted_flow6(struct xdp_md *ctx, struct packet *flow,
					const struct packet *pkt, __u32 quote_offset, __u32 room)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipv6hdr *ip6 = data + quote_offset;
	struct headers headers = {};
	struct quoted_ports *ports;

	if ((void *)(ip6 + 1) > end || ip6->version != 6)
		return DROP_ICMP_MALFORMED;
	if (!same_address((struct ip_address *)&ip6->saddr, &pkt->key6.daddr))
		return DROP_ICMP_FORGED;
	if (walk_ipv6(ctx, &headers, quote_offset) != PACKET_FLOW || headers.part == PART_LATER)
		return DROP_ICMP_MALFORMED;
	if (headers.l4_proto != IPPROTO_TCP && headers.l4_proto != IPPROTO_UDP)
		return DROP_ICMP_MALFORMED;
	ports = data + (headers.offset & L4_OFFSET_MASK);
	if ((void *)(ports + 1) > end || headers.offset - quote_offset + sizeof(*ports) > room)
		return DROP_ICMP_MALFORMED;
	__builtin_memcpy(&flow->key6.saddr, &ip6->daddr, 16);
	__builtin_memcpy(&flow->key6.daddr, &ip6->saddr, 16);
	flow->key6.sport_be = ports->dport_be;
	flow->key6.dport_be = ports->sport_be;
	flow->key6.l4_proto = headers.l4_proto;
	flow->quoted_l4_offset = headers.offset;
	return 0;
}

static __always_inline int quoted_flow(struct xdp_md *ctx, struct packet *flow,
				       const struct packet *pkt)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 quote_offset = (pkt->l4_offset & L4_OFFSET_MASK) + sizeof(struct icmp_header);
	__u32 stop = packet_end(pkt, data, end),
	      room = stop > quote_offset ? stop - quote_offset : 0;

	/* The frame stays an ICMP error; only the key is that of the flow. */
	flow->kind = PACKET_ICMP_ERROR;
	flow->is_ipv6 = pkt->is_ipv6;
	flow->frame_bytes = pkt->frame_bytes;
	flow->l3_offset = pkt->l3_offset;
	flow->l4_offset = pkt->l4_offset;
	if (pkt->is_ipv6)
		return quoted_flow6(ctx, flow, pkt, quote_offset, room);
	return quoted_flow4(flow, pkt, data + quote_offset, end, room);
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

static __always_inline int forward_error(struct xdp_md *ctx, const struct packet *flow, __u32 index,
					 const struct backend *backend)
{
	int verdict = forward(ctx, flow, index, backend);

	if (verdict != XDP_DROP)
		count(COUNT_ICMP_FORWARDED);
	return verdict;
}

/* No node shares flows with this one: the hash is the best that there is. */
static __always_inline int forward_by_hash(struct xdp_md *ctx, const struct packet *flow,
					   const struct service *service)
{
	__u32 index = schedule(service, flow);
	struct backend *backend = bpf_map_lookup_elem(&backends, &index);

	if (!backend || backend->state == BACKEND_UNUSED)
		return drop(DROP_NO_BACKEND);
	return forward_error(ctx, flow, index, backend);
}

/* Of one error on one CPU: functions that call each other share a stack of 512 bytes. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct packet);
} quoted_flows SEC(".maps");

/* `relayed`: it came from a peer, and is never relayed again. */
static __noinline int icmp_error(struct xdp_md *ctx, const struct packet *pkt, bool relayed)
{
	struct settings *cfg = settings_get();
	struct service *service;
	struct backend *backend;
	struct packet *quoted;
	struct flow *flow;
	__u32 zero = 0;
	__u32 index;
	int why;

	quoted = bpf_map_lookup_elem(&quoted_flows, &zero);
	if (!cfg || !pkt || !quoted)
		return drop(DROP_INTERNAL);
	__builtin_memset(quoted, 0, sizeof(*quoted));
	why = quoted_flow(ctx, quoted, pkt);
	if (why)
		return drop(why);
	flow = flow_of_any_age(quoted);
	index = flow ? flow_backend_index(flow) : BACKEND_NONE;
	backend = flow ? flow_backend_at(flow, index) : NULL;
	if (flow && backend && nat_knows(quoted, backend))
		return forward_error(ctx, quoted, index, backend);
	if (relayed)
		return drop(DROP_ICMP_UNKNOWN);
	service = service_find(quoted);
	if (!service)
		return drop(DROP_NO_SERVICE);
	if (!cfg->sharing)
		return forward_by_hash(ctx, quoted, service);
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
	__be32 fragment_id_be = 0;

	parse(ctx, &pkt);
	if (pkt.kind == PACKET_EXTENSIONS)
		pkt.kind = reveal(ctx, &pkt, &fragment_id_be);
	if (!cfg || pkt.kind != PACKET_ICMP_ERROR || !is_vip(cfg, &pkt))
		return drop(DROP_ICMP_UNKNOWN);
	return icmp_error(ctx, &pkt, true);
}

#endif
