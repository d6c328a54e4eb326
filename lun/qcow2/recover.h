/*
 * Recovery: what the rest of the engine tells it, and asks it. See ORDER.md.
 *
 * The image's loop. Read next: recover.c.
 */
#ifndef LUN_QCOW2_RECOVER_H
#define LUN_QCOW2_RECOVER_H

#include "lun/qcow2/op.h"

struct qcow2_cache;

enum recover_stage {
	RECOVER_COUNTS,
	RECOVER_TABLES,
	RECOVER_FREE,
};

/* Of one loop: one image at a time. */
struct recovery {
	struct list_node waiting; /* struct qcow2. */
	struct qcow2 *image;      /* Whose turn it is, or NULL. */
	enum recover_stage stage;
	uint64_t end; /* Clusters that the image has refcounts for. */
	uint64_t window_first, window_count;
	uint8_t *candidates;    /* One for each cluster of the window. */
	uint64_t at;            /* COUNTS, FREE: the next cluster. */
	bool is_due;            /* COUNTS: the pause is over. */
	uint32_t l1_at, inside; /* TABLES: the next table, and how much of it is read. */
	bool is_reading;
	uint32_t read_bytes;
	uint8_t *bytes;
	struct iovec iov;
	struct qcow2_op op;
	struct loop_timer timer;
	uint32_t passes;
	bool has_missed; /* Something may be leaked that this pass cannot tell. */
	uint64_t found;  /* Leaked clusters. */
};

int MUST_CHECK recovery_init(struct qcow2_cache *cache);
void recovery_clear(struct qcow2_cache *cache);
/* Its turn comes, if it needs one; it has none any more, or not when the read under way ends. */
LOOP_ONLY void recover_enter(struct qcow2 *image);
LOOP_ONLY void recover_leave(struct qcow2 *image);
/* Something happens to these clusters: they are not leaked. */
void recover_note(struct qcow2 *image, uint64_t first, uint64_t count);
/* Refcounts from *cluster on are to be shown (run.c, where nobody changes them meanwhile): they are
 * in reserve.counts; or there are none up to `until`. */
LOOP_ONLY bool MUST_CHECK recover_wants_counts(struct qcow2 *image, uint64_t *cluster);
LOOP_ONLY void recover_counts(struct qcow2 *image, int res);
LOOP_ONLY void recover_no_counts(struct qcow2 *image, uint64_t until);

#endif
