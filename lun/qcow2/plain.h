/*
 * Images read without an engine: straightforward, synchronous, for closed images and as the oracle
 * of tests. What the guest sees is a file again, so a chain is a file upon a file. Nothing is kept
 * between two calls; a change of the file is seen by the next one.
 *
 * Any thread, one at a time for each file. Read next: plain.c.
 */
#ifndef LUN_QCOW2_PLAIN_H
#define LUN_QCOW2_PLAIN_H

#include "lun/qcow2/format.h"
#include "lun/qcow2/qcow2.h"

/* The header of a file, whatever the size of its clusters. As qcow2_header_parse, and errors of
 * reading. */
int MUST_CHECK qcow2_header_read(const struct qcow2_file *file, struct qcow2_header *out, char *why,
				 size_t why_bytes);

struct qcow2_plain {
	struct qcow2_file guest; /* The disk: read it through this. First. */
	const struct qcow2_file *file;
	const struct qcow2_file *backing; /* NULL: zeroes. */
	struct qcow2_header header;
	struct qcow2_geometry geometry;
};

/*
 * `file` and `backing` (a raw file, or another image's `guest`) are borrowed for as long as `plain`
 * is used; there is nothing to close. Whether a backing file is named and given is the caller's
 * matter. As qcow2_header_read; reading gives -EIO where an entry is none or points nowhere.
 */
int MUST_CHECK qcow2_plain_open(struct qcow2_plain *plain, const struct qcow2_file *file,
				const struct qcow2_file *backing, char *why, size_t why_bytes);

/* From where a piece of the guest's disk comes. */
struct qcow2_piece {
	enum qcow2_state state;
	uint64_t host_offset;    /* Of the piece; of a compressed cluster, of its data. */
	uint32_t deflated_bytes; /* As in struct qcow2_l2_entry. */
};

/* As much from `guest` on, which the disk has, as one state and one cluster give: *length at most.
 * As reading. */
int MUST_CHECK qcow2_plain_find(const struct qcow2_plain *plain, uint64_t guest, size_t *length,
				struct qcow2_piece *out);

#endif
