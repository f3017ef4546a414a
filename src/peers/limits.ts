/** Every bound and every time of flow sync, and the reason for each. Times are milliseconds. */

/* Pace */

/** An open leaves at the next tick, so at most this long after the data plane told of it. */
export const TICK_MS = 10;
/** A tick that had more to do than it may goes on after this: the event loop gets its turn. */
export const BUSY_TICK_MS = 1;
/** Rows merged in a tick: about 1 microsecond each in the kernel's table, so well below 10 ms. */
export const MERGE_ROWS_PER_TICK_MAX = 8_192;
/** Live rows leave at least this share of a tick to a snapshot, else a busy cluster starves a joiner. */
export const SNAPSHOT_ROWS_PER_TICK_MIN = 2_048;
/** Datagrams looked at in a tick: a flood of forged ones costs some microseconds each. */
export const RECEIVED_PER_TICK_MAX = 1_024;
/** A tick ends early when it has taken this long, whatever the counts say. */
export const TICK_WORK_MS_MAX = 8;
/** Changes taken from the data plane in a tick: a million a second, and some to catch up. */
export const CHANGES_PER_TICK_MAX = 16_384;
/** Datagrams sent in a tick: a million flows a second at 80 a datagram, twice over. */
export const DATAGRAMS_PER_TICK_MAX = 256;
/** Of these, resends and answers to bucket requests: repair must not delay what is new. */
export const RESENDS_PER_TICK_MAX = 64;
export const ANSWERS_PER_TICK_MAX = 32;

/* Queues */

/** Datagrams that wait for their tick: 11 MiB, and half a second of a million flows a second. */
export const INBOX_DATAGRAMS_MAX = 8_192;
/** Rows that wait to be sent: about 8 MiB. */
export const OUTBOX_ROWS_MAX = 262_144;
/** Rows of answers that wait; the walk over the table waits for room. */
export const ANSWER_ROWS_MAX = 16_384;
/** Sent datagrams kept for resend. The replay window of the receivers ends at as many sequences. */
export const HISTORY_BYTES_MAX = 8 * 1024 * 1024;
export const HISTORY_SEQUENCES_MAX = 16_384;
/** Resends that wait for their tick; what does not fit is asked for again. */
export const RESENDS_PENDING_MAX = 1_024;
/** Closed flows that are remembered, so that late news does not bring them back: 4 MiB. */
export const TOMBSTONES_MAX = 131_072;
export const TOMBSTONE_MS = 30_000;

/* Peers */

/** Nodes of a cluster beside this one. */
export const PEERS_MAX = 63;
export const HELLO_INTERVAL_MS = 1_000;
/** While a node is new: peers take its flows, and it theirs, once both have heard each other. */
export const HELLO_INTERVAL_NEW_MS = 250;
/** Flows of a node that has just started wait for that, this long. */
export const INTRODUCTION_MS = 250;
/** How often it is asked who has fallen silent. */
export const WATCH_INTERVAL_MS = 100;
/** Three hellos missed. */
export const PEER_LOST_MS = 3_000;
/** A peer that is gone is shown this long, and then forgotten to make room. */
export const PEER_FORGET_MS = 600_000;
/** A hello to greet a newcomer waits a random part of this: with 63 peers all would answer at once. */
export const GREETING_SPREAD_MS = 50;
/** After the last flows of a burst, so that their loss is noticed before the next hello. */
export const TRAILER_MS = 10;

/* Gaps */

/**
 * Networks reorder by less than this. Where one does not, a nack too many is sent; a longer wait would
 * be added to what a lost datagram takes, and that must stay below 100 ms.
 */
export const REORDER_MS = 20;
/** Waits get a random part of this and of one for each peer: who hears another ask keeps quiet. */
export const NACK_SPREAD_MS = 10;
export const NACK_SPREAD_PER_PEER_MS = 1;
/** Waits between the nacks of one gap double from here: all of them take about two seconds. */
export const NACK_RETRY_MS = 60;
export const NACK_TRIES_MAX = 5;
/** Ranges missing of one peer; beyond it the oldest is left to the digest. */
export const GAP_RANGES_MAX = 256;
/** Ranges in one nack: they fit a datagram. */
export const NACK_RANGES_MAX = 64;
/** A datagram that many peers miss is sent again once in this time. */
export const RESEND_QUIET_MS = 40;
/** A nack while this part of the inbox is taken would ask for more of what already is too much. */
export const NACK_INBOX_SHARE_MAX = 0.5;

/* Digests */

export const DIGEST_INTERVAL_MS = 2_000;
/** While flows come and go fast, digests of two nodes differ anyway: ask less often. */
export const DIGEST_INTERVAL_BUSY_MS = 10_000;
/** More changes than this in an interval, and more than one in a hundred flows, is busy. */
export const DIGEST_QUIET_CHANGES = 200;
/** Between two walks over the table, whoever asks for them. */
export const DIGEST_INTERVAL_MIN_MS = 1_000;
/** Rounds of many nodes are told apart by chance: who hears a round begin joins it. */
export const DIGEST_SPREAD_MS = 400;
/** A digest that differs is said after a random part of this, unless somebody says the same before. */
export const DIGEST_SAY_SPREAD_MS = 200;
/** Digests that were taken within this time of each other are compared. */
export const DIGEST_SAME_TIME_MS = 800;
/** A bucket that differs this often in a row is asked for: the first time it may be on its way. */
export const DIGEST_ROUNDS_DIFFERING = 2;
/** Requests wait a random part of this: one answer serves all who would ask. */
export const REQUEST_SPREAD_MS = 150;
/** Buckets asked for in a round: doubles while answers bring news, up to what fits a datagram. */
export const REQUEST_BUCKETS_MIN = 32;
export const REQUEST_BUCKETS_MAX = 256;
/** Rounds that are skipped after requests that brought nothing double up to this. */
export const REQUEST_REST_ROUNDS_MAX = 16;
/** A bucket is not answered again within this time. */
export const ANSWER_QUIET_MS = 1_000;
/** Buckets of one walk over the table. */
export const ANSWER_BUCKETS_MAX = 256;
/** More buckets differing than this: a snapshot costs less than bucket after bucket. */
export const RESYNC_BUCKETS = 384;
/** Between two such snapshots; doubles up to the bound while they bring nothing new. */
export const RESYNC_INTERVAL_MS = 30_000;
export const RESYNC_INTERVAL_MS_MAX = 600_000;

/* Joining */

/** A joiner asks for a snapshot after this at the earliest: it must hear all peers' news before. */
export const LISTEN_MIN_MS = 500;
/** Nobody heard within this: nobody is there. */
export const LISTEN_MS = 1_500;
/** A peer whose snapshot failed is left alone for this, doubling up to the bound. */
export const SNAPSHOT_RETRY_MS = 500;
export const SNAPSHOT_RETRY_MS_MAX = 8_000;
/** Silence of a stream after which it is given up. */
export const SNAPSHOT_IDLE_MS = 3_000;
/** Snapshots given at once; another asker is told by the closed stream to ask elsewhere. */
export const SNAPSHOTS_SERVED_MAX = 2;
/** Payload of flows in a frame: some thousands of rows, merged in a few ticks. */
export const SNAPSHOT_PAYLOAD_BYTES_MAX = 64 * 1024;
/** Frames whose rows wait for a tick: with one alone, every frame would cost a whole tick. */
export const SNAPSHOT_BATCHES_WAITING_MAX = 2;

/* ICMP errors */

/** Sent a second for a service, and at once: the same as other balancers allow. */
export const ICMP_PER_SERVICE_PER_S = 100;
export const ICMP_PER_SERVICE_BURST = 200;
/** Services that have a bucket of their own; the rest share one. */
export const ICMP_SERVICES_MAX = 1_024;
/** Of all services together, sent as well as taken from peers. */
export const ICMP_PER_S = 1_000;
export const ICMP_BURST = 2_000;
/** An error that came from a peer is known by its bytes for this long, and is not relayed again. */
export const ICMP_REMEMBER_MS = 2_000;
export const ICMP_REMEMBERED_MAX = 4_096;

/* Questions of operators */

/**
 * Digests leave out flows that are younger than SETTLED_MS of src/bpf/walk.h when the walk comes to
 * them, and are dated when the walk is over: this is that time and a long walk.
 */
export const SETTLED_MS = 5_000;
/** With 63 peers it takes about this long until each was the one that said its digest. */
export const COMPARED_AGO_MS_MAX = 600_000;
/** A list of flows keeps digests and answers waiting, so its walk ends after this. */
export const LIST_MS_MAX = 3_000;
/** Who asks for a list while this many wait for the walk under way is refused. */
export const LISTS_WAITING_MAX = 1;
