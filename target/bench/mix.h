/*
 * What the commands of a run are like: classes with a size, a share, a direction and a pattern
 * each. A run without a profile has one class for each block size; a profile (profile.h) brings
 * several.
 *
 * It sends nothing and draws no random numbers. Pure functions, any thread; a mix is constant once
 * the options are parsed. Read next: profile.h, place.h (where a class's commands go).
 */
#ifndef TARGET_BENCH_MIX_H
#define TARGET_BENCH_MIX_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sizes that one run may mix by --block-size. */
#define MIX_SIZES_MAX 8u
/* Every class has histograms of its own: 140 KiB for each thread. */
#define MIX_CLASSES_MAX 16u
/* Shares are relative; this keeps their sum far from overflow and their ratio sensible. */
#define MIX_WEIGHT_MAX 10000u

struct mix_size {
	uint32_t bytes;  /* A multiple of 512. */
	uint32_t weight; /* Share of commands, relative to the sum; at least 1. */
};

/* "4K" or "4K:70,64K:30". */
struct mix_sizes {
	unsigned count;
	struct mix_size sizes[MIX_SIZES_MAX];
};

/* From a place chosen at random, so many commands follow each other: 1 is plain random I/O. */
#define MIX_RUN_RANDOM 1u
/* One command behind the other to the end of the area, and again. */
#define MIX_RUN_SEQUENTIAL 0u

struct mix_class {
	const char *name; /* A constant. */
	uint32_t bytes;
	uint32_t weight;
	uint32_t read_percent;
	uint32_t run; /* Commands that follow each other, or MIX_RUN_SEQUENTIAL. */
	/* The part of the region where they go, in per cent of it: a log beside its table. */
	uint32_t area_begin_percent;
	uint32_t area_end_percent;
};

struct mix {
	unsigned count;
	struct mix_class classes[MIX_CLASSES_MAX];
	/* The sum of the weights up to and including each class, scaled to 2^32: a random word
	 * below it chooses the class. The last is UINT32_MAX and chosen by anything. */
	uint32_t thresholds[MIX_CLASSES_MAX];
	uint32_t unit_bytes;    /* Divides every size. */
	uint32_t largest_bytes; /* Of the sizes. */
};

/* Parse a list of sizes with shares; a size without a share has 1. -EINVAL: not such a list, or
 * too long; -ERANGE: a number is out of bounds. The bounds of sizes are the caller's. */
int MUST_CHECK mix_sizes_parse(const char *text, struct mix_sizes *out);

/* Add every size as a class like `like`, whose weight is multiplied by the size's. False: too many.
 * Call mix_finish when all are added. */
bool MUST_CHECK mix_add(struct mix *mix, const struct mix_class *like,
			const struct mix_sizes *sizes);
/* Compute everything but count and classes; there is at least one. */
void mix_finish(struct mix *mix);

/* The class that a random word chooses. */
static inline unsigned mix_choose(const struct mix *mix, uint32_t word)
{
	unsigned i = 0;

	while (word > mix->thresholds[i])
		i++;
	return i;
}

/* Commands of the class, in per cent of all. */
double mix_share_percent(const struct mix *mix, unsigned number);
/* True if any class does it. */
bool mix_reads(const struct mix *mix);
bool mix_writes(const struct mix *mix);
/* "random", "sequential" or "runs of 8". */
void mix_pattern_name(const struct mix_class *class, char *out, size_t size_bytes);

#endif
