/*
 * Which qcow2 images the simulator has, and what they hold at the beginning. Clusters are as small
 * as the format has them, so that tables grow within some dozen requests.
 *
 * Read next: variant_qcow2.c, subject_qcow2.c.
 */
#ifndef TESTS_CRASH_VARIANT_QCOW2_H
#define TESTS_CRASH_VARIANT_QCOW2_H

#include "tests/crash/disk.h"
#include "tests/crash/random.h"

/* Of the guest's disk, those that workloads know: all of it at first, and some that come. */
#define VARIANT_SECTORS 192u
#define VARIANT_SECTORS_FIRST 160u
#define VARIANT_ROOM_BYTES (UINT64_C(10) << 20)
#define VARIANT_FILES 3u

/* Its files are 0, the top, and so on down the chain. */
struct variant {
	const char *name;
	uint32_t cluster_bits;
	bool extended;
	bool compressed;      /* Every second cluster, in the top. */
	unsigned images;      /* 2: over another one, which has some of everything. */
	bool writes_below;    /* Jobs write that one. */
	bool on_raw;          /* A raw file is below all. */
	bool cached;          /* Through the page cache: some I/O is copied on the spot. */
	uint64_t grown_bytes; /* How large its disk becomes. */
	uint64_t first_at;    /* Its first L2 table lies here, and some data; 0: it has none. */
	uint64_t autoclear;   /* Features of others. */
};

extern const struct variant variants_qcow2[];
extern const char *const variant_names_qcow2[];

/* As struct subject has it. */
void variant_format(struct disk *disk, unsigned variant, struct random *random, uint64_t *words);
/* What headers call the file below them, before a change and after it; NULL: there is none. */
const char *variant_backing_name(const struct variant *variant, bool rebased);

#endif
