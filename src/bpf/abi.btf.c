// SPDX-License-Identifier: GPL-2.0-only
/*
 * Compiled for its BTF and never loaded: one global of each type that crosses the boundary, since
 * a type that is only pointed to would be missing. src/abi/generate.ts reads the result.
 */
#include "abi-backend.h"

struct flow4_key abi_flow4_key;
struct flow6_key abi_flow6_key;
struct flow abi_flow;
struct flow_record abi_flow_record;
struct merge_request abi_merge_request;
struct icmp_event abi_icmp_event;
struct oversized_event abi_oversized_event;
struct service_key abi_service_key;
struct service abi_service;
struct admission abi_admission;
struct source_key abi_source_key;
struct source_rule abi_source_rule;
struct backend abi_backend;
struct backend_local abi_backend_local;
struct quic_key abi_quic_key;
struct tunnel_source abi_tunnel_source;
struct nat_source abi_nat_source;
struct nat_candidates abi_nat_candidates;
struct nat_key abi_nat_key;
struct nat_flow abi_nat_flow;
struct vlan_device abi_vlan_device;
struct settings abi_settings;
struct sweep abi_sweep;
enum flow_state abi_flow_state;
enum flow_flag abi_flow_flag;
enum flow_change abi_flow_change;
enum merge_outcome abi_merge_outcome;
enum affinity abi_affinity;
enum source_filter abi_source_filter;
enum backend_state abi_backend_state;
enum forwarding_mode abi_forwarding_mode;
enum quic_layout abi_quic_layout;
enum feature abi_feature;
enum counter abi_counter;

/* The backend's side. */
struct decap_address abi_decap_address;
struct dscp_key abi_dscp_key;
enum decap_kind abi_decap_kind;
enum backend_counter abi_backend_counter;
