/*
 * Is a closed image consistent, and what does it leak? Every reference is counted and compared with
 * the refcounts. For import, for the tool, and as the simulator's oracle: cheap for tiny images,
 * bounded in memory for large ones, and of one opinion with `qemu-img check` on whether an image is
 * clean, leaks, or is corrupt. Stricter than that in bits that the format reserves.
 *
 * Any thread. Read next: check.c.
 */
#ifndef LUN_QCOW2_CHECK_H
#define LUN_QCOW2_CHECK_H

#include "lun/qcow2/format.h"
#include "lun/qcow2/qcow2.h"

#define QCOW2_FINDINGS_MAX 8u
#define QCOW2_FINDING_BYTES 128u

/* Numbers are the exit status of `qemu-img check`. */
enum qcow2_verdict {
	QCOW2_CLEAN = 0,
	QCOW2_CORRUPT = 2,
	QCOW2_LEAKS = 3,
};

struct qcow2_check_spec {
	const struct qcow2_file *file;
	/* For counting: 4 bytes for each cluster of the file; where that is more, the tables are
	 * read several times. 0 chooses 256 MiB. */
	uint64_t memory_bytes;
};

struct qcow2_check {
	uint64_t corruptions;
	uint64_t misplaced;         /* Of these: in the refcount table. */
	uint64_t beyond_repair;     /* Of these: not in refcounts alone (repair.h). */
	uint64_t leaks;             /* Clusters. */
	uint64_t clusters;          /* Of the file. */
	uint64_t referenced;        /* Clusters of the file that something refers to. */
	uint64_t guest_clusters;    /* With data of their own, compressed ones included. */
	uint64_t guest_compressed;  /* Of these. */
	bool dirty, marked_corrupt; /* As the header says. */
	unsigned finding_count;     /* The first ones, corruptions before leaks. */
	char findings[QCOW2_FINDINGS_MAX][QCOW2_FINDING_BYTES];
};

/*
 * 0 when all of it was looked at, whatever was found. Negative errno, a sentence in `why`, and
 * `out` without meaning: no header to start from (as qcow2_header_parse), -EIO and others of
 * reading, -ENOMEM, -EFBIG: a file of more clusters than 64 passes with this memory can count.
 */
int MUST_CHECK qcow2_check(const struct qcow2_check_spec *spec, struct qcow2_check *out, char *why,
			   size_t why_bytes);
enum qcow2_verdict qcow2_check_verdict(const struct qcow2_check *check);

#endif
