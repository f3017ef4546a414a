/* SPDX-License-Identifier: GPL-2.0-only */
/* What the forwarding plane counts; a part of abi.h. Help texts go to metrics and console as they are. */
#ifndef SKEIN_ABI_COUNTERS_H
#define SKEIN_ABI_COUNTERS_H

/*
 * Everything that is not plain forwarding has a name. DROP_ counters each stand for one
 * XDP_DROP; there is no drop without one. The comment after an entry is its help text.
 */
enum counter {
	COUNT_PASSED = 0, /* Packets that are not for a VIP, given to the kernel */
	COUNT_ECHO_REPLY, /* Echo requests to a VIP that were answered */
	COUNT_PROBE_SENT, /* Health check packets sent to backends */
	COUNT_PROBE_REPLY, /* Packets of backends brought back to a health check */
	COUNT_FLOW_GUESSED, /* Mid-flow TCP packets without a record, placed by hash */
	COUNT_QUIC_ROUTED, /* QUIC packets whose connection ID named their backend */
	COUNT_FLOW_TABLE_FULL, /* Times that a flow was not kept among the established ones, since their table was full */
	COUNT_FLOW_EXPIRED, /* Flows removed after their idle timeout */
	COUNT_FLOW_DENIED, /* Flows removed since the service admits their source no longer */
	COUNT_FLOW_REPLACED, /* Flows placed anew: their backend is gone or down, or a SYN used a closed one's ports again */
	COUNT_NEIGHBOUR_STALE, /* Times that a next hop stayed at its last known MAC address, since it is being resolved again */
	COUNT_CHANGE_LOST, /* Changes of flows that the peers were not told, since the buffer was full */
	COUNT_ICMP_FORWARDED, /* ICMP errors sent to the backend whose flow they quote */
	COUNT_FRAGMENT_FORWARDED, /* Fragments sent to the backend of their packet, or to the client of a reply */
	COUNT_DECAPSULATED, /* Packets to a VIP taken out of a tunnel to the node itself */
	COUNT_NAT_REPLY, /* Replies of nat and full_nat backends sent on to clients from the VIP */
	COUNT_NAT_ERROR, /* ICMP errors about packets to nat and full_nat backends sent on to clients */
	COUNT_TOO_BIG_ANSWERED, /* Packets that do not fit the way, of which the sender was told the MTU */
	COUNT_MSS_CLAMPED, /* SYNs whose MSS option was lowered or added */
	COUNT_MSS_NO_ROOM, /* SYNs without an MSS option that were left so: no room for one */
	DROP_MALFORMED, /* Headers to a VIP that contradict themselves or are cut short */
	DROP_FRAGMENT, /* Fragments to a VIP whose first one was not seen (yet), or of ICMP; and those of which the backend has gone */
	DROP_IP_OPTIONS, /* IPv6 extension headers to a VIP that cannot be walked (more than 8, too long, a route not at its end) */
	DROP_PROTOCOL, /* Neither TCP nor UDP nor ICMP that is understood, to a VIP */
	DROP_NO_SERVICE, /* A port of a VIP on which no service is configured */
	DROP_SOURCE_DENIED, /* New flows from sources that the service does not admit */
	DROP_NEW_FLOWS_LIMITED, /* New flows beyond what the service takes in a second */
	DROP_NO_BACKEND, /* New flows of a service without a backend that is up */
	DROP_NO_SOURCE, /* The node has no address of the family that a tunnel, full_nat or an answer to a nat backend needs (set ipv4 or ipv6 of the node) */
	DROP_NO_HEADROOM, /* The driver left no room in front of the frame for another header */
	DROP_TOO_BIG, /* Packets that do not fit the way to the backend, or to the client of a reply, to which no answer may be given */
	DROP_TOO_BIG_CUT, /* Packets that do not fit the way, handed to the supervisor to be cut into fragments */
	DROP_TOO_BIG_LIMITED, /* Packets that do not fit the way, neither answered nor cut: too many at once */
	DROP_ECHO_LIMITED, /* Echo requests to a VIP that were not answered: too many at once */
	DROP_CONGESTION, /* Packets from a tunnel, marked as congested on the way, that do not know what that is (RFC 6040) */
	DROP_TTL, /* Replies of nat and full_nat backends that have been through too many routers */
	DROP_NO_ROUTE, /* The kernel has no usable route to the backend, or to the client of a reply */
	DROP_NOT_ON_LINK, /* The backend is behind a router, where l2dsr cannot reach it */
	DROP_NO_NEIGHBOUR, /* The MAC address of the backend, or of the next hop to it or a client, is not known (yet) */
	DROP_NAT_NO_PORT, /* Flows of full_nat that found no free port of the node */
	DROP_NAT_UNKNOWN, /* Replies and ICMP errors of nat or full_nat flows that are not known here */
	DROP_PROBE_UNKNOWN, /* Packets of the probe interface for no backend */
	DROP_PROBE_NO_PORT, /* Health checks that found no free port for the way */
	DROP_ICMP_MALFORMED, /* ICMP errors to a VIP that quote too little, or no TCP or UDP */
	DROP_ICMP_FORGED, /* ICMP errors to a VIP that quote a packet which the VIP did not send */
	DROP_ICMP_RELAYED, /* ICMP errors of flows that are not known here, handed to the peers */
	DROP_ICMP_LIMITED, /* ICMP errors that were not handed to the peers: too many at once */
	DROP_ICMP_UNKNOWN, /* ICMP errors from a peer whose flow is not known here either */
	DROP_INTERNAL, /* An invariant of the program does not hold: a bug */
	COUNTER_COUNT,
};

#endif
