/*
 * Where I/O goes: slices do not overlap, busy units are left alone, passes are complete, and
 * generations say what a unit must hold.
 */
#include "target/bench/place.h"

#include <criterion/criterion.h>

static struct place make(uint64_t begin, uint64_t units, bool random, bool verify)
{
	const struct place_config config = {
		.region_units = 100,
		.slice_begin = begin,
		.slice_units = units,
		.seed = 7,
		.random = random,
		.verify = verify,
	};
	struct place place;

	cr_assert_eq(place_init(&place, &config), 0);
	return place;
}

Test(bench_place, sequential_wraps_inside_its_slice)
{
	struct place place = make(10, 3, false, false);
	const uint64_t expected[] = {10, 11, 12, 10};

	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(place_next(&place), expected[i]);
	place_release(&place);
}

Test(bench_place, random_reaches_all_of_the_region_and_nothing_else)
{
	struct place place = make(10, 3, true, false);
	unsigned seen[100] = {0};

	for (unsigned i = 0; i < 10000; i++) {
		uint64_t unit = place_next(&place);

		cr_assert_lt(unit, 100);
		seen[unit]++;
	}
	/* 100 expected each; a fair choice is within half of that by far. */
	for (unsigned i = 0; i < 100; i++)
		cr_assert(seen[i] > 50 && seen[i] < 150, "unit %u: %u", i, seen[i]);
	place_release(&place);
}

Test(bench_place, verified_units_under_way_are_not_chosen_again)
{
	for (int random = 0; random <= 1; random++) {
		struct place place = make(20, 4, random, true);
		unsigned seen[100] = {0};

		for (unsigned i = 0; i < 4; i++)
			seen[place_next(&place)]++;
		for (unsigned i = 20; i < 24; i++)
			cr_assert_eq(seen[i], 1);
		place_read(&place, 22);
		cr_assert_eq(place_next(&place), 22);
		place_release(&place);
	}
}

Test(bench_place, generations_follow_acknowledged_writes)
{
	struct place place = make(0, 2, false, true);
	uint64_t unit = place_next(&place);

	cr_assert_eq(place_generation(&place, unit), 0);
	cr_assert_eq(place_next_generation(&place, unit), 1);
	place_written(&place, unit, true);
	cr_assert_eq(place_generation(&place, unit), 1);
	/* A write that failed may or may not be there, and its number is not used again. */
	cr_assert_eq(place_next_generation(&place, unit), 2);
	place_written(&place, unit, false);
	cr_assert_eq(place_generation(&place, unit), 0);
	cr_assert_eq(place_next_generation(&place, unit), 3);
	place_written(&place, unit, true);
	cr_assert_eq(place_generation(&place, unit), 3);
	place_release(&place);
}

Test(bench_place, passes_see_every_unit_once_or_the_written_ones)
{
	struct place place = make(5, 4, true, true);
	uint64_t unit;

	cr_assert(!place_pass_next(&place, false, &unit), "no pass was begun");
	place_pass_begin(&place);
	for (uint64_t expected = 5; expected < 9; expected++) {
		cr_assert(place_pass_next(&place, false, &unit));
		cr_assert_eq(unit, expected);
		if (unit == 7)
			place_written(&place, unit, true);
		else
			place_read(&place, unit);
	}
	cr_assert(!place_pass_next(&place, false, &unit));
	place_pass_begin(&place);
	cr_assert(place_pass_next(&place, true, &unit));
	cr_assert_eq(unit, 7);
	cr_assert(!place_pass_next(&place, true, &unit));
	place_release(&place);
}
