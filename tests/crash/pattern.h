/*
 * What guests write: each sector says which write it is of, and where it belongs, so that another
 * block's data, stale data and torn sectors are told apart. Each of its 64 words is the sector's
 * word with the word's index on top. Pure.
 */
#ifndef TESTS_CRASH_PATTERN_H
#define TESTS_CRASH_PATTERN_H

#include "tests/crash/disk.h"

#include <string.h>

#define PATTERN_WORDS (DISK_SECTOR_BYTES / 8u)
#define PATTERN_MAGIC UINT64_C(0x2a5)
#define PATTERN_GARBAGE UINT64_MAX /* Not the word of any sector. */

/* 0 is the word of zeroes; so `number` is not 0. Both have 24 bits. */
static inline uint64_t pattern_word(uint64_t number, uint64_t sector)
{
	return PATTERN_MAGIC << 48 | number << 24 | sector;
}

static inline uint64_t pattern_number(uint64_t word)
{
	return word >> 24 & 0xffffff;
}

static inline uint64_t pattern_sector(uint64_t word)
{
	return word & 0xffffff;
}

static inline void pattern_fill(uint8_t *sector, uint64_t word)
{
	for (uint64_t i = 0; i < PATTERN_WORDS; i++) {
		uint64_t value = word ? word | i << 58 : 0;

		memcpy(sector + i * 8, &value, 8);
	}
}

/* The word of a sector, or PATTERN_GARBAGE. */
static inline uint64_t pattern_parse(const uint8_t *sector)
{
	uint64_t first, step, word, expected;
	uint64_t wrong = 0;

	memcpy(&first, sector, 8);
	if (first && first >> 48 != PATTERN_MAGIC)
		return PATTERN_GARBAGE;
	step = first ? UINT64_C(1) << 58 : 0;
	expected = first;
	for (uint64_t i = 0; i < PATTERN_WORDS; i++) {
		memcpy(&word, sector + i * 8, 8);
		wrong |= word ^ expected;
		expected += step;
	}
	return wrong ? PATTERN_GARBAGE : first;
}

#endif
