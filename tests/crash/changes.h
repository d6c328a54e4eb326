/*
 * What is changed of an image beside its content. While it is closed: each change has happened or
 * has not, whatever cut it short, and what was reported as done has happened. And by jobs: what a
 * durable pull was answered for shows the same from then on without the layers that may leave.
 */
#ifndef TESTS_CRASH_CHANGES_H
#define TESTS_CRASH_CHANGES_H

#include <stdbool.h>
#include <stdint.h>

#define CHANGE_GROW 1u   /* The disk becomes larger. */
#define CHANGE_REBASE 2u /* The header names the backing file otherwise. */
#define CHANGE_REPAIR 4u /* Leaks go; it shows in nothing else. */

/* By which layer, and what is below it then. */
enum pulled {
	PULLED_TOP_ALONE,
	PULLED_TOP_OVER_RAW,
	PULLED_BELOW_ALONE,
	PULLED_COUNT
};

#define CHANGES_SECTORS 192u

struct changes {
	/* Bits of the above. */
	unsigned begun; /* It may have happened. */
	unsigned done;  /* It has. */
	/* A bit for each sector. */
	uint64_t pulled[PULLED_COUNT][CHANGES_SECTORS / 64];
	uint64_t written_below[CHANGES_SECTORS / 64];
};

static inline void changes_pull(struct changes *changes, enum pulled which, uint64_t first,
				uint64_t count)
{
	for (uint64_t i = first; i < first + count && i < CHANGES_SECTORS; i++) {
		uint64_t written = which == PULLED_BELOW_ALONE ? 0 : changes->written_below[i / 64];

		changes->pulled[which][i / 64] |= UINT64_C(1) << i % 64 & ~written;
	}
}

/* A layer that others write cannot leave, and where nothing shows there is nothing to be pulled. */
static inline void changes_write_below(struct changes *changes, uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count && i < CHANGES_SECTORS; i++) {
		uint64_t bit = UINT64_C(1) << i % 64;

		changes->written_below[i / 64] |= bit;
		changes->pulled[PULLED_TOP_ALONE][i / 64] &= ~bit;
		changes->pulled[PULLED_TOP_OVER_RAW][i / 64] &= ~bit;
	}
}

static inline bool changes_have_pulled(const struct changes *changes, enum pulled which,
				       uint64_t sector)
{
	return changes->pulled[which][sector / 64] >> sector % 64 & 1;
}

#endif
