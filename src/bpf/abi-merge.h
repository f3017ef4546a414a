/* SPDX-License-Identifier: GPL-2.0-only */
/* Merging the flows of peers into the tables, and telling tables apart: a part of abi.h. */
#ifndef SKEIN_ABI_MERGE_H
#define SKEIN_ABI_MERGE_H

/* Records that one merge takes. */
#define INBOX_RECORDS 2048

struct merge_request {
	__u32 records;
	__u32 reserved;
};
ABI_SIZE(struct merge_request, 8);

/* What became of a record; counted in `merge_tally`. */
enum merge_outcome {
	MERGE_ADDED = 0,
	MERGE_REPLACED = 1,
	MERGE_REFRESHED = 2,
	MERGE_IGNORED = 3,
	MERGE_REMOVED = 4,
	MERGE_FULL = 5,
	MERGE_OUTCOME_COUNT = 6,
};

/* Buckets of the table digest; flow-hash.ts says how they are made. */
#define DIGEST_BUCKETS 1024

#endif
