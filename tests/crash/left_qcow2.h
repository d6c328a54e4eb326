/*
 * What a cut left of a chain of qcow2 images: is each consistent, and what does the guest's disk
 * have? The judges are check.c, plain.c, and for some states qemu-img. What two states have in
 * common is looked at once.
 *
 * Read next: left_qcow2.c.
 */
#ifndef TESTS_CRASH_LEFT_QCOW2_H
#define TESTS_CRASH_LEFT_QCOW2_H

#include "base/attr.h"
#include "tests/crash/changes.h"
#include "tests/crash/disk.h"

struct left_chain {
	const struct disk *disk; /* Summed up by disk_hash. Its files from the top on. */
	unsigned images;         /* So many of them are qcow2, */
	bool on_raw;             /* and is a raw one below them? */
	uint32_t sectors;        /* Those that are looked at. */
	uint64_t kind; /* Of image: a number for those that look alike from the beginning. */
	const struct changes *changes; /* What jobs have pulled. */
};

struct qcow2_header;
/* Of one image. False and a sentence. */
bool MUST_CHECK left_header(const struct disk *disk, unsigned file, struct qcow2_header *out,
			    char *why);
/* The words of the sectors, zeroes behind the end of the disk. False and a sentence in
 * why[SUBJECT_WHY_BYTES]: an image is not consistent, what was pulled is not there without what
 * was below, or qemu-img thinks otherwise. */
bool MUST_CHECK left_read(const struct left_chain *chain, uint64_t *words, char *why);
/* Has an image clusters that nobody uses? */
bool left_leaks(const struct disk *disk, unsigned file);

#endif
