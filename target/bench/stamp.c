/*
 * Self-describing blocks: see stamp.h. Pure functions, any thread.
 *
 * Layout, big-endian: magic 8, sector 8, seed 8, generation 4, checksum 4, filler 480. The checksum
 * covers every byte but its own four.
 */
#include "target/bench/stamp.h"

#include "base/bytes.h"
#include "base/crc32c.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define STAMP_MAGIC 0x72696e6773616e42ull /* "ringsanB" */

enum {
	AT_MAGIC = 0,
	AT_SECTOR = 8,
	AT_SEED = 16,
	AT_GENERATION = 24,
	AT_CHECKSUM = 28,
	AT_FILLER = 32,
};

static const char *const fault_names[STAMP_FAULT_COUNT] = {
	[STAMP_INTACT] = "intact",
	[STAMP_ZEROES] = "all zeroes",
	[STAMP_FOREIGN] = "no stamp",
	[STAMP_DAMAGED] = "damaged",
	[STAMP_OTHER_SEED] = "another run's",
	[STAMP_OTHER_SECTOR] = "misplaced",
	[STAMP_STALE] = "stale",
	[STAMP_FUTURE] = "too new",
};

/* splitmix64: every step is a bijection of the state, so different stamps give different fillers.
 */
static uint64_t next_word(uint64_t *state)
{
	uint64_t word = *state += 0x9e3779b97f4a7c15ull;

	word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ull;
	word = (word ^ (word >> 27)) * 0x94d049bb133111ebull;
	return word ^ (word >> 31);
}

static uint32_t checksum(const uint8_t *block)
{
	uint32_t crc = crc32c(0, block, AT_CHECKSUM);

	return crc32c(crc, block + AT_FILLER, STAMP_BYTES - AT_FILLER);
}

void stamp_write(const struct stamp *stamp, uint8_t *block)
{
	uint64_t state = stamp->seed ^ (stamp->sector << 20) ^ stamp->generation;

	put_be64(block + AT_MAGIC, STAMP_MAGIC);
	put_be64(block + AT_SECTOR, stamp->sector);
	put_be64(block + AT_SEED, stamp->seed);
	put_be32(block + AT_GENERATION, stamp->generation);
	for (unsigned at = AT_FILLER; at < STAMP_BYTES; at += 8)
		put_be64(block + at, next_word(&state));
	put_be32(block + AT_CHECKSUM, checksum(block));
}

/* A first byte of zero and every byte equal to the next. */
static bool is_zero(const uint8_t *block)
{
	return block[0] == 0 && memcmp(block, block + 1, STAMP_BYTES - 1) == 0;
}

enum stamp_fault stamp_check(const struct stamp *expected, const uint8_t *block,
			     struct stamp *out_found)
{
	*out_found = (struct stamp){
		.sector = get_be64(block + AT_SECTOR),
		.seed = get_be64(block + AT_SEED),
		.generation = get_be32(block + AT_GENERATION),
	};
	if (is_zero(block))
		return STAMP_ZEROES;
	if (get_be64(block + AT_MAGIC) != STAMP_MAGIC)
		return STAMP_FOREIGN;
	if (get_be32(block + AT_CHECKSUM) != checksum(block))
		return STAMP_DAMAGED;
	if (out_found->seed != expected->seed)
		return STAMP_OTHER_SEED;
	if (out_found->sector != expected->sector)
		return STAMP_OTHER_SECTOR;
	if (expected->generation == STAMP_ANY_GENERATION ||
	    out_found->generation == expected->generation)
		return STAMP_INTACT;
	return out_found->generation < expected->generation ? STAMP_STALE : STAMP_FUTURE;
}

const char *stamp_fault_name(enum stamp_fault fault)
{
	assert(fault < STAMP_FAULT_COUNT);
	return fault_names[fault];
}

void stamp_describe(enum stamp_fault fault, const struct stamp *expected, const struct stamp *found,
		    char *out, size_t size_bytes)
{
	char generation[32] = "any";
	int used;

	if (expected->generation != STAMP_ANY_GENERATION)
		(void)snprintf(generation, sizeof(generation), "%" PRIu32, expected->generation);
	used = snprintf(out, size_bytes,
			"sector %" PRIu64 " is %s: expected sector %" PRIu64
			" generation %s seed %016" PRIx64,
			expected->sector, stamp_fault_name(fault), expected->sector, generation,
			expected->seed);
	if (used < 0 || (size_t)used >= size_bytes || fault < STAMP_DAMAGED)
		return;
	(void)snprintf(out + used, size_bytes - (size_t)used,
		       ", found sector %" PRIu64 " generation %" PRIu32 " seed %016" PRIx64,
		       found->sector, found->generation, found->seed);
}
