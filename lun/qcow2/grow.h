/*
 * A closed image's disk becomes larger. Where the L1 table does not suffice and has no room behind
 * it, a new one is made, with refcount blocks and a larger refcount table as it needs them; one
 * write of the first sector switches size and tables, and then the old ones are given back.
 *
 * Cut short anywhere, or failed, the disk has its old size or its new one, and clusters leak at
 * most. What comes reads as zeroes. Refcounts of what it hands out and gives back are looked at,
 * all else is believed: check.h is for images that are not known.
 *
 * Any thread, one at a time. Read next: grow.c.
 */
#ifndef LUN_QCOW2_GROW_H
#define LUN_QCOW2_GROW_H

#include "lun/qcow2/writable.h"

struct qcow2_grow {
	struct qcow2_writable *writable;
	uint64_t size_bytes; /* Wanted: a multiple of 512. */
	/* Of what shows through where the image has nothing; 0: there is no backing file. */
	uint64_t backing_bytes;
	/* Of the old tables, clusters that could not be given back. */
	uint64_t leaked;
	/* The switch was written, and an error says that it may not be durable. What is read may be
	 * lost later. */
	bool unsure;
};

/* 0: the disk has the size, durably; also when it had it before (a try may have failed at its end).
 * Negative errno and a sentence in `why`: -EINVAL, -ENOTSUP and those of qcow2_header_parse, and
 * nothing was changed; those of writing, and the size is the old one, or nobody knows (`unsure`).
 */
int MUST_CHECK qcow2_grow(struct qcow2_grow *grow, char *why, size_t why_bytes);

#endif
