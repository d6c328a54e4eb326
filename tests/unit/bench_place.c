/*
 * Where I/O goes: slices and areas do not overlap, commands are aligned to their size, busy units
 * are left alone, passes are complete, and generations say what a unit must hold.
 */
#include "target/bench/place.h"

#include <criterion/criterion.h>

#define REGION 100u /* Granules. */

static struct mix mix;

static const struct mix_class plain = {.name = "",
				       .bytes = 512,
				       .weight = 1,
				       .read_percent = 100,
				       .run = MIX_RUN_RANDOM,
				       .area_end_percent = 100};

/* A place with one class. */
static struct place make(uint64_t begin, uint64_t granules, uint32_t run, bool verify)
{
	const struct place_config config = {
		.region_granules = REGION,
		.slice_begin = begin,
		.slice_granules = granules,
		.seed = 7,
		.mix = &mix,
		.verify = verify,
	};
	struct place place;

	if (mix.count == 0) {
		mix.count = 1;
		mix.classes[0] = plain;
		mix.classes[0].run = run;
	}
	mix_finish(&mix);
	cr_assert_eq(place_init(&place, &config), 0);
	return place;
}

static uint64_t next(struct place *place, unsigned stream)
{
	uint64_t unit;

	cr_assert(place_next(place, stream, &unit));
	return unit;
}

Test(bench_place, sequential_wraps_inside_its_slice)
{
	struct place place = make(10, 3, MIX_RUN_SEQUENTIAL, false);
	const uint64_t expected[] = {10, 11, 12, 10};

	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(next(&place, 0), expected[i]);
	place_release(&place);
}

Test(bench_place, random_reaches_all_of_the_region_and_nothing_else)
{
	struct place place = make(10, 3, MIX_RUN_RANDOM, false);
	unsigned seen[REGION] = {0};

	for (unsigned i = 0; i < 10000; i++) {
		uint64_t unit = next(&place, 0);

		cr_assert_lt(unit, REGION);
		seen[unit]++;
	}
	/* 100 expected each; a fair choice is within half of that by far. */
	for (unsigned i = 0; i < REGION; i++)
		cr_assert(seen[i] > 50 && seen[i] < 150, "unit %u: %u", i, seen[i]);
	place_release(&place);
}

Test(bench_place, runs_follow_each_other_and_then_jump)
{
	struct place place = make(0, REGION, 8, false);
	unsigned jumps = 0;
	uint64_t last = next(&place, 0);

	for (unsigned i = 1; i < 8000; i++) {
		uint64_t unit = next(&place, 0);

		if (i % 8 != 0)
			cr_assert_eq(unit, (last + 1) % REGION, "command %u", i);
		else
			jumps += unit != (last + 1) % REGION;
		last = unit;
	}
	cr_assert_gt(jumps, 900);
	place_release(&place);
}

Test(bench_place, sizes_are_aligned_and_keep_to_their_areas)
{
	struct place place;

	mix.count = 3;
	mix.classes[0] = plain;
	mix.classes[0].area_end_percent = 90;
	mix.classes[1] = plain;
	mix.classes[1].bytes = 1536;
	mix.classes[2] = plain;
	mix.classes[2].bytes = 4096;
	mix.classes[2].run = MIX_RUN_SEQUENTIAL;
	mix.classes[2].area_begin_percent = 90;
	place = make(50, 50, 0, false);
	cr_assert_eq(mix.unit_bytes, 512);
	cr_assert_eq(place.granule_units, 8);
	for (unsigned i = 0; i < 5000; i++) {
		uint64_t unit = next(&place, 1);

		cr_assert_lt(next(&place, 0), REGION * 8 * 90 / 100);
		cr_assert_eq(unit % 3, 0);
		cr_assert_leq(unit + 3, REGION * 8);
		cr_assert_eq(next(&place, 2), (50 + 45 + i % 5) * 8);
	}
	place_release(&place);
}

Test(bench_place, areas_of_tiny_slices_have_a_granule)
{
	struct place place;

	for (uint32_t percent = 0; percent < 100; percent++) {
		mix.count = 1;
		mix.classes[0] = plain;
		mix.classes[0].run = MIX_RUN_SEQUENTIAL;
		mix.classes[0].area_begin_percent = percent;
		mix.classes[0].area_end_percent = percent + 1;
		place = make(REGION - 1, 1, 0, false);
		cr_assert_eq(next(&place, 0), REGION - 1);
		cr_assert_eq(next(&place, 0), REGION - 1);
		place_release(&place);
	}
}

Test(bench_place, verified_units_under_way_are_not_chosen_again)
{
	for (uint32_t run = 0; run <= 2; run++) {
		struct place place;
		unsigned seen[REGION] = {0};
		uint64_t unit;

		mix.count = 0;
		place = make(20, 4, run, true);
		for (unsigned i = 0; i < 4; i++)
			seen[next(&place, 0)]++;
		for (unsigned i = 20; i < 24; i++)
			cr_assert_eq(seen[i], 1);
		cr_assert(!place_next(&place, 0, &unit), "nothing is free");
		place_read(&place, 22);
		cr_assert_eq(next(&place, 0), 22);
		place_release(&place);
	}
}

Test(bench_place, verified_commands_of_several_sizes_never_overlap)
{
	static unsigned owner[REGION * 8];
	uint64_t first[16];
	struct place place;

	mix.count = 3;
	for (unsigned i = 0; i < 3; i++)
		mix.classes[i] = plain;
	mix.classes[1].bytes = 1536;
	mix.classes[2].bytes = 4096;
	place = make(0, 20, 0, true);
	for (unsigned i = 0; i < 20000; i++) {
		static const unsigned units[] = {1, 3, 8};
		unsigned number = i % 16;
		unsigned class = (i / 16 + number) % 3;
		unsigned old = (i / 16 + number + 2) % 3;

		for (unsigned k = 0; i >= 16 && k < units[old]; k++) {
			cr_assert_eq(owner[first[number] + k], number + 1);
			owner[first[number] + k] = 0;
			place_read(&place, first[number] + k);
		}
		first[number] = next(&place, class);
		for (unsigned k = 0; k < units[class]; k++) {
			cr_assert_eq(owner[first[number] + k], 0, "command %u", i);
			owner[first[number] + k] = number + 1;
		}
	}
	place_release(&place);
}

Test(bench_place, generations_follow_acknowledged_writes)
{
	struct place place = make(0, 2, MIX_RUN_SEQUENTIAL, true);
	uint64_t unit = next(&place, 0);

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

Test(bench_place, passes_see_every_granule_once_or_the_written_ones)
{
	struct place place = make(5, 4, MIX_RUN_RANDOM, true);
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
