/*
 * Classes of commands: lists of sizes are read and refused as they should be, shares come out as
 * asked for, and every profile is one that can be run.
 */
#include "target/bench/mix.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "target/bench/options.h"
#include "target/bench/profile.h"

Test(bench_mix, lists_of_sizes)
{
	struct mix_sizes sizes;

	cr_assert_eq(mix_sizes_parse("4K", &sizes), 0);
	cr_assert_eq(sizes.count, 1);
	cr_assert_eq(sizes.sizes[0].weight, 1);
	cr_assert_eq(mix_sizes_parse("512:1,4K:70,1MiB:10000", &sizes), 0);
	cr_assert_eq(sizes.count, 3);
	cr_assert_eq(sizes.sizes[2].bytes, 1u << 20);
	cr_assert_eq(sizes.sizes[2].weight, 10000);
	cr_assert_eq(mix_sizes_parse("1,2,3,4,5,6,7,8", &sizes), 0);
}

Test(bench_mix, what_is_no_list_of_sizes)
{
	static const char *const lists[] = {
		"",
		",",
		"4K,",
		",4K",
		"4K:",
		":1",
		"4K:x",
		"4K:0",
		"4K:-1",
		"4K:10001",
		"4K;8K",
		"4K 1",
		"4K:1:1",
		"5G",
		"4K,,8K",
		"1,2,3,4,5,6,7,8,9",
		"0000000000000000000000000000000000000000000000004096",
	};

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		struct mix_sizes sizes = {.count = 77};

		cr_assert_lt(mix_sizes_parse(lists[i], &sizes), 0, "'%s'", lists[i]);
		cr_assert_eq(sizes.count, 77, "nothing is written on failure");
	}
}

static struct mix mix_of(const char *list)
{
	const struct mix_class class = {.name = "", .weight = 1, .area_end_percent = 100};
	struct mix mix = {.count = 0};
	struct mix_sizes sizes;

	cr_assert_eq(mix_sizes_parse(list, &sizes), 0);
	cr_assert(mix_add(&mix, &class, &sizes));
	mix_finish(&mix);
	return mix;
}

Test(bench_mix, every_word_chooses_a_class_and_shares_are_kept)
{
	struct mix mix = mix_of("512:1,4K:70,64K:29");
	unsigned seen[3] = {0};

	cr_assert_eq(mix_choose(&mix, 0), 0);
	cr_assert_eq(mix_choose(&mix, UINT32_MAX), 2);
	for (uint64_t word = 0; word <= UINT32_MAX; word += 65537)
		seen[mix_choose(&mix, (uint32_t)word)]++;
	cr_assert_float_eq(seen[0] / 65535.0, 0.01, 0.001);
	cr_assert_float_eq(seen[1] / 65535.0, 0.70, 0.001);
	cr_assert_float_eq(seen[2] / 65535.0, 0.29, 0.001);
	cr_assert_float_eq(mix_share_percent(&mix, 1), 70, 1e-9);
}

Test(bench_mix, units_divide_every_size)
{
	cr_assert_eq(mix_of("4K,12K").unit_bytes, 4096);
	cr_assert_eq(mix_of("1536,1M").unit_bytes, 512);
	cr_assert_eq(mix_of("16M").unit_bytes, 16u << 20);
	cr_assert_eq(mix_of("4K,12K,8K").largest_bytes, 12288);
}

Test(bench_mix, classes_are_bounded)
{
	const struct mix_class class = {.name = "", .weight = 1};
	struct mix mix = {.count = MIX_CLASSES_MAX - 1};
	struct mix_sizes sizes;

	cr_assert_eq(mix_sizes_parse("4K,8K", &sizes), 0);
	cr_assert(!mix_add(&mix, &class, &sizes));
	cr_assert_leq(mix.count, MIX_CLASSES_MAX);
}

Test(bench_mix, patterns_have_names)
{
	static const char *const names[] = {"sequential", "random", "runs of 2"};

	for (uint32_t run = 0; run < 3; run++) {
		const struct mix_class class = {.run = run};
		char name[32];

		mix_pattern_name(&class, name, sizeof(name));
		cr_assert_str_eq(name, names[run]);
	}
}

/* Bounds that the options would refuse may not come in by a profile. */
static void check_class(const struct profile *profile, const struct mix_class *class)
{
	cr_assert(class->name && class->name[0], "%s", profile->name);
	cr_assert(class->bytes >= 4096 && class->bytes <= BENCH_BLOCK_BYTES_MAX, "%s", class->name);
	cr_assert_eq(class->bytes % 4096, 0, "%s runs on LUNs of 4 KiB blocks", class->name);
	cr_assert_leq(class->read_percent, 100);
	cr_assert_lt(class->area_begin_percent, class->area_end_percent);
	cr_assert_leq(class->area_end_percent, 100);
}

Test(bench_mix, every_profile_can_be_run)
{
	cr_assert_gt(bench_profile_count, 0);
	for (size_t i = 0; i < bench_profile_count; i++) {
		const struct profile *profile = &bench_profiles[i];
		unsigned count = bench_profile_class_count(profile);
		uint32_t weights = 0;

		cr_assert_eq(bench_profile_find(profile->name), profile, "names are unique");
		cr_assert(strlen(profile->models) > 0 && strlen(profile->models) < 80);
		cr_assert(profile->sessions >= 1 && profile->sessions <= BENCH_SESSIONS_MAX);
		cr_assert(profile->queue_depth >= 1 &&
			  profile->queue_depth <= BENCH_QUEUE_DEPTH_MAX);
		cr_assert_gt(count, 0);
		for (unsigned k = 0; k < count; k++) {
			check_class(profile, &profile->classes[k]);
			weights += profile->classes[k].weight;
		}
		cr_assert_eq(weights, 100, "%s: weights are per cent", profile->name);
	}
}

Test(bench_mix, the_profiles_that_users_ask_for_are_there)
{
	static const char *const names[] = {"vm-boot", "oltp", "backup"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		cr_assert(bench_profile_find(names[i]) != NULL, "%s", names[i]);
	cr_assert(bench_profile_find("list") == NULL, "the name is taken by the list");
	cr_assert(bench_profile_find("") == NULL);
}

/* The manual is read from where the tests are run, the root of the repository. */
Test(bench_mix, manual_describes_every_profile)
{
	static char manual[131072];
	FILE *file = fopen("target/ringsan.1", "r");
	size_t bytes;

	cr_assert(file != NULL, "run from the root of the repository");
	bytes = fread(manual, 1, sizeof(manual) - 1, file);
	cr_assert(bytes > 0 && fclose(file) == 0);
	for (size_t i = 0; i < bench_profile_count; i++) {
		char item[64];

		(void)snprintf(item, sizeof(item), ".It Cm %s", bench_profiles[i].name);
		cr_assert(strstr(manual, item) != NULL, "ringsan.1 lacks %s",
			  bench_profiles[i].name);
	}
}
