/*
 * Which of the states that a power cut could leave are looked at. All of them are too many: each
 * change that is not durable may be there, not be there, or be there in part. So: none and all;
 * each alone and all but one; each torn, alone and among all; every subset of the changes that are
 * not guests' data (tables, sizes, holes), as far as their number permits; and some by chance.
 *
 * A state that was looked at before under the same conditions (`epoch`) is left out where that
 * costs nothing to know: there has to be a change in it that is new.
 *
 * Read next: cuts.c, trial.h.
 */
#ifndef TESTS_CRASH_CUTS_H
#define TESTS_CRASH_CUTS_H

#include "tests/crash/disk.h"
#include "tests/crash/random.h"

#define CUTS_SUBSET_BITS_MAX 10u

struct cut_plan {
	unsigned subset_bits;   /* So many changes are combined in every way. */
	unsigned random_states; /* So many more, by chance. */
};

/* fates[i] is that of disk->events[i]. */
typedef void cut_visit_fn(void *arg, const struct fate *fates);

struct cuts {
	struct cut_plan plan;
	uint64_t epoch;
	uint64_t seen_epoch; /* The last one that was looked at. */
	struct random random;
	cut_visit_fn *visit;
	void *arg;
	/* Of the look under way. */
	struct disk *disk;
	bool is_new_epoch;
	unsigned open[DISK_EVENTS_MAX]; /* Events that are not durable. */
	unsigned open_count;
	unsigned fresh_count; /* Of them, those that are new in this epoch. */
	struct fate fates[DISK_EVENTS_MAX];
};

void cuts_look(struct cuts *cuts, struct disk *disk);

#endif
