/*
 * Self-describing blocks: each way in which storage can be wrong is told from the others.
 */
#include "target/bench/stamp.h"

#include <criterion/criterion.h>
#include <string.h>

static const struct stamp here = {.sector = 0x123456789aull, .seed = 77, .generation = 5};
static uint8_t block[STAMP_BYTES];
static struct stamp found;

static enum stamp_fault judge(const struct stamp *written, const struct stamp *expected)
{
	stamp_write(written, block);
	return stamp_check(expected, block, &found);
}

Test(bench_stamp, intact)
{
	struct stamp any = here;

	any.generation = STAMP_ANY_GENERATION;
	cr_assert_eq(judge(&here, &here), STAMP_INTACT);
	cr_assert_eq(judge(&here, &any), STAMP_INTACT);
}

Test(bench_stamp, every_single_bit_is_protected)
{
	stamp_write(&here, block);
	for (unsigned bit = 0; bit < STAMP_BYTES * 8; bit++) {
		enum stamp_fault fault;

		block[bit / 8] ^= (uint8_t)(1u << bit % 8);
		fault = stamp_check(&here, block, &found);
		cr_assert_eq(fault, bit < 64 ? STAMP_FOREIGN : STAMP_DAMAGED, "bit %u", bit);
		block[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

Test(bench_stamp, lost_block)
{
	memset(block, 0, sizeof(block));
	cr_assert_eq(stamp_check(&here, block, &found), STAMP_ZEROES);
	block[511] = 1;
	cr_assert_eq(stamp_check(&here, block, &found), STAMP_FOREIGN);
}

Test(bench_stamp, misdirected_block)
{
	struct stamp there = here;

	there.sector++;
	cr_assert_eq(judge(&there, &here), STAMP_OTHER_SECTOR);
	cr_assert_eq(found.sector, there.sector);
}

Test(bench_stamp, block_of_another_run)
{
	struct stamp theirs = here;

	theirs.seed++;
	cr_assert_eq(judge(&theirs, &here), STAMP_OTHER_SEED);
}

Test(bench_stamp, stale_and_future_blocks)
{
	struct stamp other = here;

	other.generation = here.generation - 1;
	cr_assert_eq(judge(&other, &here), STAMP_STALE);
	other.generation = here.generation + 1;
	cr_assert_eq(judge(&other, &here), STAMP_FUTURE);
}

Test(bench_stamp, torn_block)
{
	struct stamp old = here;
	uint8_t older[STAMP_BYTES];

	old.generation--;
	stamp_write(&old, older);
	stamp_write(&here, block);
	memcpy(block + 256, older + 256, 256);
	cr_assert_eq(stamp_check(&here, block, &found), STAMP_DAMAGED);
}

Test(bench_stamp, fillers_of_neighbours_and_generations_differ)
{
	struct stamp other = here;
	uint8_t second[STAMP_BYTES];

	stamp_write(&here, block);
	other.sector++;
	stamp_write(&other, second);
	cr_assert_neq(memcmp(block + 32, second + 32, STAMP_BYTES - 32), 0);
	other = here;
	other.generation++;
	stamp_write(&other, second);
	cr_assert_neq(memcmp(block + 32, second + 32, STAMP_BYTES - 32), 0);
}

Test(bench_stamp, description_names_what_was_expected_and_found)
{
	struct stamp other = here;
	char text[256];

	other.generation--;
	stamp_describe(judge(&other, &here), &here, &found, text, sizeof(text));
	cr_assert(strstr(text, "stale") != NULL);
	cr_assert(strstr(text, "expected sector 78187493530 generation 5") != NULL, "%s", text);
	cr_assert(strstr(text, "found sector 78187493530 generation 4") != NULL, "%s", text);
	/* A short buffer is cut, not overrun. */
	memset(text, 'x', sizeof(text));
	stamp_describe(STAMP_STALE, &here, &found, text, 20);
	cr_assert_eq(strlen(text), 19);
	cr_assert_eq(text[20], 'x');
}
