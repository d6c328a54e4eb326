/*
 * Closed images whose refcounts are wrong: they are counted anew, in place, or where they have none
 * (blocks are missing, their table leads nowhere) behind the end of the file. Leaks come back,
 * refcounts that are too low rise, entries say COPIED where that is so, and the dirty bit goes.
 * What refers to nothing or to what is something else is nobody's to guess.
 *
 * May be cut short at any point: what it leaves, the next one mends. Any thread, one at a time.
 * Read next: repair.c.
 */
#ifndef LUN_QCOW2_REPAIR_H
#define LUN_QCOW2_REPAIR_H

#include "lun/qcow2/check.h"
#include "lun/qcow2/writable.h"

struct qcow2_repair {
	struct qcow2_writable *writable;
	uint64_t memory_bytes; /* As of qcow2_check_spec. */
	/* What it changed. */
	uint64_t refcounts;
	uint64_t entries;
	bool rebuilt;              /* All refcounts have a new place. */
	struct qcow2_check before; /* What was found. */
};

/* 0: the image is clean now. Negative errno and a sentence in `why`: -ENOTSUP where it is not to be
 * repaired, and then nothing was changed; those of qcow2_check; those of writing. */
int MUST_CHECK qcow2_repair(struct qcow2_repair *repair, char *why, size_t why_bytes);

#endif
