/*
 * Where the next I/O of a session goes, and for verifying runs what must stand there.
 *
 * The region of the run is cut into units of one I/O each. Every session has a slice of its own:
 * all of its sequential and verified I/O stays inside, so that no two sessions write the same unit
 * and the session alone knows what a unit holds. Random I/O without verification goes to the whole
 * region.
 *
 * It sends nothing. Threads: a place belongs to the worker of its session.
 */
#ifndef TARGET_BENCH_PLACE_H
#define TARGET_BENCH_PLACE_H

#include "base/attr.h"

#include <stdbool.h>
#include <stdint.h>

/* What a verifying session knows about a unit: how often this run has written it. */
#define PLACE_GENERATION_MAX 0x3fffffffu

struct place_config {
	uint64_t region_units; /* At least 1. */
	uint64_t slice_begin;  /* slice_begin + slice_units <= region_units */
	uint64_t slice_units;  /* At least 1; more than the queue depth when verifying. */
	uint64_t seed;         /* Different for each session. */
	bool random;
	bool verify;
};

struct place {
	struct place_config config;
	uint64_t random_state;
	uint64_t cursor;       /* Sequential I/O: the next unit, relative to the slice. */
	uint64_t pass_next;    /* Of a pass over the slice; slice_units when it is through. */
	uint32_t *generations; /* Per unit of the slice, with two flag bits; NULL: not verifying. */
};

/* -ENOMEM. */
int MUST_CHECK place_init(struct place *place, const struct place_config *config);
void place_release(struct place *place);

/* Choose the unit of the next I/O. A verified unit is the caller's until place_done. */
uint64_t place_next(struct place *place);

/* Passes: every unit of the slice once, in order. With `written_only`, those this run has written.
 * False at the end. When the unit is verified it is the caller's until place_done. */
void place_pass_begin(struct place *place);
bool MUST_CHECK place_pass_next(struct place *place, bool written_only, uint64_t *out_unit);

/* For verified units. The generation that `unit` must hold; 0: this run has not written it, or a
 * write failed and nobody knows. */
uint32_t place_generation(const struct place *place, uint64_t unit);
/* The generation for a write that begins now, from 1; never one that may still turn up. */
uint32_t place_next_generation(const struct place *place, uint64_t unit);
/* The write of place_next_generation has ended; the unit is free. Not acknowledged: what it holds
 * is unknown. */
void place_written(struct place *place, uint64_t unit, bool acknowledged);
/* The read has ended; the unit is free. */
void place_read(struct place *place, uint64_t unit);

/* A random number below 2^32, for the choice between read and write. */
uint32_t place_random(struct place *place);

#endif
