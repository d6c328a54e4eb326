/*
 * Means, their errors, and steady state: against sums done by hand, quantiles from tables, and
 * series made to be steady, noisy, drifting or periodic.
 */
#include "target/bench/series.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

static double samples[4000];

/* Between -1 and 1, uncorrelated. */
static double noise(void)
{
	static uint64_t state = 1;

	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (double)(int32_t)(state >> 32) / 2147483648.0;
}

Test(bench_series, by_hand)
{
	const double few[] = {4, 2, 5, 4, 9, 7, 4, 5};
	struct series_stats stats;

	series_summarize(few, 8, &stats);
	cr_assert_eq(stats.count, 8);
	cr_assert_float_eq(stats.mean, 5, 1e-9);
	cr_assert_float_eq(stats.deviation, sqrt(32.0 / 7), 1e-9);
	/* Neighbours: (-1*-3 + -3*0 + 0*-1 + -1*4 + 4*2 + 2*-1 + -1*0) / 32; of eight that is too
	 * low by about (1 + 3 * 5/32) / 8. */
	cr_assert_float_eq(stats.effective_count, 8 * (1 - 87.0 / 256) / (1 + 87.0 / 256), 1e-9);
	cr_assert_float_eq(stats.error, stats.deviation / sqrt(stats.effective_count), 1e-9);
}

Test(bench_series, edges)
{
	struct series_stats stats;

	series_summarize(samples, 0, &stats);
	cr_assert_eq(stats.count, 0);
	cr_assert_float_eq(stats.mean, 0, 0);
	samples[0] = 3;
	series_summarize(samples, 1, &stats);
	cr_assert_float_eq(stats.mean, 3, 0);
	cr_assert_float_eq(stats.error, 0, 0);
	for (unsigned i = 0; i < 10; i++)
		samples[i] = 7;
	series_summarize(samples, 10, &stats);
	cr_assert_float_eq(stats.deviation, 0, 0);
	cr_assert_float_eq(series_noise(&stats, &stats), 0, 0);
}

Test(bench_series, resemblance_of_neighbours_leaves_fewer_samples)
{
	struct series_stats independent;
	struct series_stats resembling;
	double last = 0;

	for (unsigned i = 0; i < 4000; i++)
		samples[i] = noise();
	series_summarize(samples, 4000, &independent);
	cr_assert_gt(independent.effective_count, 3500);
	for (unsigned i = 0; i < 4000; i++)
		samples[i] = last = 0.8 * last + noise();
	series_summarize(samples, 4000, &resembling);
	/* (1 - 0.8) / (1 + 0.8) of 4000 are 444. */
	cr_assert(resembling.effective_count > 350 && resembling.effective_count < 550, "%f",
		  resembling.effective_count);
	for (unsigned i = 0; i < 4000; i++)
		samples[i] = i;
	series_summarize(samples, 4000, &resembling);
	cr_assert_gt(resembling.effective_count, 200, "the correlation is bounded");
}

Test(bench_series, noise_of_two_alike_by_the_table)
{
	const struct series_stats a = {.count = 11, .effective_count = 11, .error = 1};
	const struct series_stats b = {.count = 400, .effective_count = 400, .error = 0};
	const struct series_stats tiny = {.count = 5, .effective_count = 2, .error = 1};

	/* 20 degrees of freedom; 10; 1: what counts is what the samples are worth. */
	cr_assert_float_eq(series_noise(&a, &a), 2.845 * sqrt(2), 1e-9);
	cr_assert_float_eq(series_noise(&a, &b), 3.169, 1e-9);
	cr_assert_float_eq(series_noise(&tiny, &b), 63.657, 1e-9);
}

Test(bench_series, quantiles_of_many_samples)
{
	static const struct {
		uint32_t freedom;
		double quantile;
	} rows[] = {{31, 2.7440}, {40, 2.7045}, {60, 2.6603}, {120, 2.6174}, {1000, 2.5808}};
	const struct series_stats exact = {.count = 5, .effective_count = 5, .error = 0};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct series_stats a = {.count = rows[i].freedom + 1,
					       .effective_count = rows[i].freedom + 1,
					       .error = 1};

		cr_assert_float_eq(series_noise(&a, &exact), rows[i].quantile, 6e-4, "%u: %f",
				   rows[i].freedom, series_noise(&a, &exact));
	}
}

Test(bench_series, chance_is_called_noise_nearly_always)
{
	unsigned beyond = 0;

	for (unsigned i = 0; i < 2000; i++) {
		struct series_stats a;
		struct series_stats b;

		for (unsigned k = 0; k < 80; k++)
			samples[k] = 100 + noise();
		series_summarize(samples, 40, &a);
		series_summarize(samples + 40, 40, &b);
		beyond += fabs(a.mean - b.mean) > series_noise(&a, &b);
	}
	/* One per cent of 2000 are 20. */
	cr_assert(beyond < 45, "%u of 2000", beyond);
}

/* Of 2000 pairs of 40 samples, how many differ beyond noise; all have one mean. */
static unsigned false_alarms(double resemblance)
{
	unsigned beyond = 0;
	double last = 0;

	for (unsigned i = 0; i < 2000; i++) {
		struct series_stats a;
		struct series_stats b;

		for (unsigned k = 0; k < 80; k++) {
			last = resemblance * last + noise();
			samples[k] = 100 + last;
		}
		series_summarize(samples, 40, &a);
		series_summarize(samples + 40, 40, &b);
		beyond += fabs(a.mean - b.mean) > series_noise(&a, &b);
	}
	return beyond;
}

Test(bench_series, chance_is_called_noise_where_neighbours_resemble_each_other)
{
	unsigned some = false_alarms(0.6);
	unsigned strong = false_alarms(0.8);

	/* One per cent of 2000 are 20. Without the correction it would be one in six. */
	cr_assert(some < 35, "%u of 2000", some);
	cr_assert(strong < 60, "%u of 2000", strong);
}

/* ---- Steady state ---- */

static const struct steady_limits limits = {20, 10};

/* After which of `count` samples it was first reached; 0: never. */
static unsigned reached_after(unsigned count)
{
	struct steady steady = {.count = 0};

	for (unsigned i = 0; i < count; i++) {
		steady_add(&steady, &limits, samples[i]);
		if (steady.reached)
			return i + 1;
	}
	return 0;
}

Test(bench_series, constant_rate_is_steady_with_the_first_window)
{
	for (unsigned i = 0; i < 20; i++)
		samples[i] = 1000;
	cr_assert_eq(reached_after(20), STEADY_SAMPLES);
	cr_assert_eq(reached_after(STEADY_SAMPLES - 1), 0);
}

Test(bench_series, falling_rate_becomes_steady_when_it_has_fallen)
{
	unsigned after;

	/* A device that loses its fast cache: from 1000 down to 200 over 20 samples. */
	for (unsigned i = 0; i < 60; i++)
		samples[i] = i < 20 ? 1000 - i * 40 : 200;
	after = reached_after(60);
	cr_assert(after > 20 && after <= 30, "%u", after);
}

Test(bench_series, range_and_slope_are_told_apart)
{
	struct steady steady = {.count = 0};

	/* Up and down: range 30 %, slope nearly none. */
	for (unsigned i = 0; i < STEADY_SAMPLES; i++)
		steady_add(&steady, &limits, i % 2 ? 115 : 85);
	cr_assert(!steady.reached);
	cr_assert_float_eq(steady.range_percent, 30, 1e-9);
	/* By least squares: 30 * 9 * 5 / 2 / 82.5 of a mean of 100. */
	cr_assert(steady.slope_percent > 0 && steady.slope_percent < 17);
	/* A line from 94 to 106: its range is within the limit, its slope is not. */
	steady = (struct steady){.count = 0};
	for (unsigned i = 0; i < STEADY_SAMPLES; i++)
		steady_add(&steady, &limits, 94 + 12.0 * i / (STEADY_SAMPLES - 1));
	cr_assert(!steady.reached);
	cr_assert_float_eq(steady.range_percent, 12, 1e-9);
	cr_assert_float_eq(steady.slope_percent, 12, 1e-9);
	/* The same, falling. */
	steady = (struct steady){.count = 0};
	for (unsigned i = 0; i < STEADY_SAMPLES; i++)
		steady_add(&steady, &limits, 106 - 12.0 * i / (STEADY_SAMPLES - 1));
	cr_assert(!steady.reached);
	cr_assert_float_eq(steady.slope_percent, -12, 1e-9);
}

Test(bench_series, limits_themselves_are_allowed)
{
	struct steady steady = {.count = 0};

	for (unsigned i = 0; i < STEADY_SAMPLES; i++)
		steady_add(&steady, &limits, i == 4 ? 110 : i == 5 ? 90 : 100);
	cr_assert_float_eq(steady.range_percent, 20, 1e-9);
	cr_assert(steady.reached);
}

Test(bench_series, nothing_at_all_is_not_steady)
{
	for (unsigned i = 0; i < 40; i++)
		samples[i] = 0;
	cr_assert_eq(reached_after(40), 0);
}
