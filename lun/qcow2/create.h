/*
 * The bytes of a new image: version 3, thin, with refcounts for its own clusters. Pure: the caller
 * writes them where it likes, and makes them durable. Any thread.
 *
 *     qcow2_layout_make(&spec, &layout, why, sizeof(why));
 *     qcow2_layout_write(&layout, &writable);              (writable.h)
 *
 * Read next: create.c.
 */
#ifndef LUN_QCOW2_CREATE_H
#define LUN_QCOW2_CREATE_H

#include "lun/qcow2/format.h"

/* Ours, where nobody says otherwise: subclusters of 4 KiB, and one table for 1 GiB. */
#define QCOW2_CREATE_CLUSTER_BITS 17u
/* What others expect, without extended L2 entries. */
#define QCOW2_CREATE_CLUSTER_BITS_STANDARD 16u

struct qcow2_create {
	uint64_t size_bytes; /* Of the guest's disk. Not 0, a multiple of 512. */
	uint32_t cluster_bits;
	bool extended;
	const char *backing_name; /* NULL: none. Both or none. */
	const char *backing_format;
};

struct qcow2_layout {
	struct qcow2_header header;
	/* Clusters from the start of the file on that are not all zeroes: header, refcount table,
	 * refcount blocks. */
	uint32_t pieces;
	uint32_t piece_bytes;
	uint32_t refcount_blocks;
	uint64_t file_bytes; /* All else up to here, the L1 table, is zeroes. */
};

/* -EINVAL, -ENOTSUP and a sentence in `why`: sizes that the format has not, a name without a
 * format, a name that does not fit into the first cluster. */
int MUST_CHECK qcow2_layout_make(const struct qcow2_create *create, struct qcow2_layout *out,
				 char *why, size_t why_bytes);
/* All of piece_bytes at `piece`. */
void qcow2_layout_piece(const struct qcow2_layout *layout, uint32_t index, void *piece);

#endif
