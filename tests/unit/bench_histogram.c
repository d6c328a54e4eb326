/*
 * The latency histogram: its error stays under one part in 2^HISTOGRAM_SUB_BITS at every size of
 * value, and its percentiles agree with those of the sorted samples.
 */
#include "target/bench/histogram.h"

#include <criterion/criterion.h>
#include <stdlib.h>

/* The histogram is too large for the stack of a test. */
static struct histogram histogram;
static struct histogram other;

/* What one value is reported as. */
static uint64_t reported(uint64_t value_ns)
{
	histogram = (struct histogram){0};
	histogram_add(&histogram, value_ns);
	/* A larger second sample keeps the maximum from hiding the bucket's end. */
	histogram_add(&histogram, 1ull << 39);
	return histogram_percentile_ns(&histogram, 500000);
}

Test(bench_histogram, error_is_bounded_around_every_power_of_two)
{
	for (unsigned bit = 0; bit < HISTOGRAM_VALUE_BITS - 1; bit++) {
		for (uint64_t step = 0; step <= 2; step++) {
			uint64_t value = (1ull << bit) - 1 + step;
			uint64_t got = reported(value);

			cr_assert_geq(got, value);
			cr_assert_leq(got - value, value >> HISTOGRAM_SUB_BITS,
				      "%lu is reported as %lu", value, got);
		}
	}
}

Test(bench_histogram, small_values_are_exact)
{
	for (uint64_t value = 0; value < 2u << HISTOGRAM_SUB_BITS; value++)
		cr_assert_eq(reported(value), value);
}

static int compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a;
	uint64_t right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

Test(bench_histogram, percentiles_agree_with_sorted_samples)
{
	static uint64_t samples[10007];
	const unsigned per_millions[] = {1000, 500000, 900000, 990000, 999000, 999900, 1000000};
	uint64_t state = 1;

	histogram = (struct histogram){0};
	for (size_t i = 0; i < 10007; i++) {
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		samples[i] = (state >> 33) >> (state >> 60);
		histogram_add(&histogram, samples[i]);
	}
	qsort(samples, 10007, sizeof(samples[0]), compare);
	for (size_t i = 0; i < 7; i++) {
		size_t rank = (10007ul * per_millions[i] + 999999) / 1000000;
		uint64_t exact = samples[rank - 1];
		uint64_t got = histogram_percentile_ns(&histogram, per_millions[i]);

		cr_assert_geq(got, exact);
		cr_assert_leq(got - exact, exact >> HISTOGRAM_SUB_BITS);
	}
}

Test(bench_histogram, values_beyond_the_range_keep_the_maximum_exact)
{
	histogram = (struct histogram){0};
	histogram_add(&histogram, UINT64_MAX);
	cr_assert_eq(histogram.max_ns, UINT64_MAX);
	cr_assert_eq(histogram.buckets[HISTOGRAM_BUCKETS - 1], 1);
	cr_assert_geq(histogram_percentile_ns(&histogram, 500000), (1ull << 40) - 1);
}

Test(bench_histogram, merge_adds_up)
{
	histogram = (struct histogram){0};
	other = (struct histogram){0};
	histogram_add(&histogram, 100);
	histogram_add(&other, 300);
	histogram_add(&other, 200);
	histogram_merge(&histogram, &other);
	cr_assert_eq(histogram.count, 3);
	cr_assert_eq(histogram.max_ns, 300);
	cr_assert_eq(histogram_mean_ns(&histogram), 200);
	cr_assert_eq(histogram_percentile_ns(&histogram, 500000), 200);
}

Test(bench_histogram, empty_answers_zero)
{
	histogram = (struct histogram){0};
	cr_assert_eq(histogram_percentile_ns(&histogram, 999000), 0);
	cr_assert_eq(histogram_mean_ns(&histogram), 0);
}

Test(bench_histogram, counts_below_a_value_include_its_bucket)
{
	histogram = (struct histogram){0};
	histogram_add(&histogram, 10);
	histogram_add(&histogram, 20);
	histogram_add(&histogram, 100000);
	cr_assert_eq(histogram_count_below(&histogram, 9), 0);
	cr_assert_eq(histogram_count_below(&histogram, 10), 1);
	cr_assert_eq(histogram_count_below(&histogram, 99000), 2);
	cr_assert_eq(histogram_count_below(&histogram, UINT64_MAX), 3);
	histogram_clear(&histogram);
	cr_assert_eq(histogram_count_below(&histogram, UINT64_MAX), 0);
}
