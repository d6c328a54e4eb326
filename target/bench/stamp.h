/*
 * Self-describing blocks: every 512 bytes that a verifying run writes say what they are.
 *
 * A block carries a magic number, its sector (byte address on the LUN / 512), the run's seed, the
 * generation (how often this run has written that place), a CRC32C of all of it, and a filler that
 * depends on the first three, so that nothing can be compressed or mistaken for its neighbour. A
 * reader who knows what was written last tells apart: never written, damaged, misplaced, stale, and
 * from another run.
 *
 * It knows no sessions and no I/O. Pure functions, any thread.
 */
#ifndef TARGET_BENCH_STAMP_H
#define TARGET_BENCH_STAMP_H

#include "base/attr.h"

#include <stddef.h>
#include <stdint.h>

#define STAMP_BYTES 512u
/* As an expected generation: any will do (the run reads what an earlier one wrote). */
#define STAMP_ANY_GENERATION 0u

/* What a block should say, or what it said. Generations count from 1. */
struct stamp {
	uint64_t sector;
	uint64_t seed;
	uint32_t generation;
};

enum stamp_fault {
	STAMP_INTACT,
	STAMP_ZEROES,       /* All bytes zero: never written, or lost. */
	STAMP_FOREIGN,      /* No magic number: not written by a verifying run. */
	STAMP_DAMAGED,      /* The checksum is wrong: bytes changed or the block is torn. */
	STAMP_OTHER_SEED,   /* Intact, of another run. */
	STAMP_OTHER_SECTOR, /* Intact, but belongs elsewhere: a misdirected read or write. */
	STAMP_STALE,        /* Intact, but a write that was acknowledged later is missing. */
	STAMP_FUTURE,       /* Intact, but of a write that was not acknowledged before the read. */
	STAMP_FAULT_COUNT
};

/* Write one block of STAMP_BYTES. */
void stamp_write(const struct stamp *stamp, uint8_t *block);
/* Judge one block. *out_found is what the block says; only meaningful from STAMP_DAMAGED on. */
enum stamp_fault stamp_check(const struct stamp *expected, const uint8_t *block,
			     struct stamp *out_found);
/* "stale", "damaged", ...: a constant. */
const char *stamp_fault_name(enum stamp_fault fault);
/* One line on what was expected and what was found; cut off at size_bytes. */
void stamp_describe(enum stamp_fault fault, const struct stamp *expected, const struct stamp *found,
		    char *out, size_t size_bytes);

#endif
