/*
 * The check's parts among themselves: check.c (passes), check_refcounts.c, check_l2.c (mapping),
 * check_more.c (snapshots and bitmaps, which we never write), check_mark.c (what refers to a
 * cluster, findings).
 */
#ifndef LUN_QCOW2_CHECK_INTERNAL_H
#define LUN_QCOW2_CHECK_INTERNAL_H

#include "lun/qcow2/check.h"

/* What is read of a table at once. */
#define CHUNK_BYTES 65536u
#define ENTRY_BYTES 8u

/*
 * A cluster's mark: how often something refers to it, and as what. The count saturates far beyond
 * what clusters of 2 MiB with compressed ones of a few bytes reach.
 */
#define MARK_METADATA (1u << 31) /* For one reference alone. */
#define MARK_L2 (1u << 30)       /* A table: several snapshots may have it. */
#define MARK_COPIED (1u << 29)   /* An active entry says that the refcount is 1. */
#define MARK_SHARED (1u << 28)   /* An active entry says that it is not. */
#define MARK_DATA 0u
#define MARK_COUNT ((1u << 28) - 1)

/* Chunks of tables that are read one inside the other. */
enum check_depth {
	DEPTH_L1,
	DEPTH_L2,
	DEPTH_COUNT,
};

struct check {
	const struct qcow2_file *file;
	struct qcow2_check *out;
	struct qcow2_header header;
	struct qcow2_geometry geometry;
	uint64_t clusters;     /* Of the file. */
	uint64_t window_first; /* The clusters that this pass counts. */
	uint64_t window_count;
	uint32_t *marks; /* Of the window. */
	uint32_t chunk_bytes;
	uint8_t *chunks[DEPTH_COUNT];
	bool first_pass;
	bool no_place;          /* repair.c: a count that is not 0 has no block, or not the bits. */
	bool without_refcounts; /* Their table and blocks are not looked at: rebuild.c. */
	struct qcow2_repair *repair; /* repair.c's, which changes what it finds. */
};

/* A table of entries that is walked chunk by chunk. */
struct check_walk {
	struct check *check;
	enum check_depth depth;
	uint64_t offset;
	uint64_t entries;
	uint32_t entry_bytes;
	uint64_t next; /* Index of the next entry. */
	uint32_t in_chunk, chunk_entries;
	int res;
};

/* An L1 table, or another of plain numbers; an L2 table. */
struct check_walk check_walk_table(struct check *check, uint64_t offset, uint64_t entries);
struct check_walk check_walk_l2(struct check *check, uint64_t offset);
/* The next entry that is not all zeroes, its index in *index; NULL at the end or after an error,
 * which is in walk->res. */
const uint8_t *check_walk_next(struct check_walk *walk, uint64_t *index);

/* -- check_mark.c -- */

/* A finding of what a table says: the same in each pass, so it counts in the first one only. New
 * refcounts do not mend it. */
void PRINTF_LIKE(2, 3) check_broken(struct check *check, const char *text, ...);
/* The same of the refcount table, which repair makes anew. */
void PRINTF_LIKE(2, 3) check_misplaced(struct check *check, const char *text, ...);
/* A finding about a cluster of this pass's window. */
void PRINTF_LIKE(2, 3) check_corrupt(struct check *check, const char *text, ...);
void PRINTF_LIKE(2, 3) check_leak(struct check *check, const char *text, ...);
/* Something refers to [offset, offset + bytes): `what` for the sentence. False (and a finding)
 * where that begins beyond the file, or ends a cluster and more beyond it. */
bool check_refer(struct check *check, uint64_t offset, uint64_t bytes, uint32_t mark,
		 const char *what);
/* How often something has referred to the cluster at `offset` in this pass; 0 outside of the
 * window. */
uint32_t check_count(const struct check *check, uint64_t offset);

/* -- check_refcounts.c -- */

/* The largest that the image's refcounts can be. */
uint64_t check_largest_refcount(const struct check *check);

/* Refcounts of `count` clusters from `first` on: they begin at `index` of `bytes`, chunk_bytes of a
 * block that lie at `offset`. bytes NULL: they have no block, and are 0. */
struct check_chunk {
	uint64_t first;
	uint32_t index, count;
	uint8_t *bytes;
	uint64_t offset;
};
typedef int check_chunk_fn(struct check *check, const struct check_chunk *chunk);

int MUST_CHECK check_refer_to_refcounts(struct check *check);
/* All clusters of the window, in their order. */
int MUST_CHECK check_refcounts(struct check *check, check_chunk_fn *fn);
int MUST_CHECK check_compare(struct check *check, const struct check_chunk *chunk);

/* -- rebuild.c -- */

/* All refcounts at a new place, as the references are. -ENOTSUP: not where it is more than them. */
int MUST_CHECK repair_rebuild(struct qcow2_repair *repair, char *why, size_t why_bytes);

/* -- check.c -- */

typedef int check_pass_fn(struct check *check);

/* To be ended where it gives 0. */
int MUST_CHECK check_begin(struct check *check, const struct qcow2_check_spec *spec,
			   struct qcow2_check *out, char *why, size_t why_bytes);
void check_end(struct check *check);
/* `pass` for each window. */
int MUST_CHECK check_run(struct check *check, check_pass_fn *pass);
/* The marks of the window. */
int MUST_CHECK check_mark_all(struct check *check);

/* -- check_l2.c, check_more.c -- */

struct check_l1 {
	uint64_t offset;
	uint32_t entries;
	bool active; /* COPIED means something. */
};

int MUST_CHECK check_mapping(struct check *check, const struct check_l1 *l1);
int MUST_CHECK check_snapshots(struct check *check);
int MUST_CHECK check_bitmaps(struct check *check);

#endif
