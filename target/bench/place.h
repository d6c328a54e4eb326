/*
 * Where the next I/O of a session goes, and for verifying runs what must stand there.
 *
 * The region of the run is cut into units, of which every size of command is a multiple, and into
 * granules of the largest command. Every session has a slice of whole granules: all of its
 * sequential and verified I/O stays inside, so that no two sessions write the same unit and the
 * session alone knows what a unit holds. Random I/O without verification goes to the whole region.
 * A stream is one class of commands: its size, its pattern and the part of the region (or slice)
 * that it keeps to. Commands are aligned to their size within that part.
 *
 * It sends nothing. Threads: a place belongs to the worker of its session.
 */
#ifndef TARGET_BENCH_PLACE_H
#define TARGET_BENCH_PLACE_H

#include "base/attr.h"
#include "target/bench/mix.h"

#include <stdbool.h>
#include <stdint.h>

/* What a verifying session knows about a unit: how often this run has written it. */
#define PLACE_GENERATION_MAX 0x3fffffffu

struct place_config {
	uint64_t region_granules; /* At least 1. */
	uint64_t slice_begin;     /* In granules; begin + granules <= region_granules. */
	uint64_t slice_granules;  /* At least 1. */
	uint64_t seed;            /* Different for each session. */
	const struct mix *mix;    /* Must outlive the place. */
	bool verify;
};

struct place_stream {
	uint32_t units;    /* Of one command. */
	uint32_t run;      /* MIX_RUN_... */
	uint32_t run_left; /* Commands until the next jump. */
	uint64_t begin;    /* In units. The stream's part holds `slots` commands. */
	uint64_t slots;
	uint64_t cursor; /* The next slot. */
};

struct place {
	struct place_config config;
	uint64_t random_state;
	uint32_t granule_units;
	uint64_t slice_begin;  /* In units, like the next two. */
	uint64_t slice_units;  /* A whole number of granules. */
	uint64_t pass_next;    /* Of a pass over the slice; slice_units when it is through. */
	uint32_t *generations; /* Per unit of the slice, with two flag bits; NULL: not verifying. */
	struct place_stream streams[MIX_CLASSES_MAX];
};

/* -ENOMEM. */
int MUST_CHECK place_init(struct place *place, const struct place_config *config);
void place_release(struct place *place);

/* Choose the first unit of the next command of a stream. Verified units are the caller's until
 * place_written or place_read; false if none is free now, which only verifying streams see. */
bool MUST_CHECK place_next(struct place *place, unsigned stream_number, uint64_t *out_unit);

/* Passes: every granule of the slice once, in order. With `written_only`, those in which this run
 * has written anything. False at the end. Verified units are the caller's, as above. */
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

/* A random number below 2^32, for the choice of class and of direction. */
uint32_t place_random(struct place *place);

#endif
