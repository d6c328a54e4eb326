/*
 * Means, errors and steady state: see series.h. Pure functions, any thread.
 */
#include "target/bench/series.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>

#include "base/attr.h"

/* A correlation above this would leave next to nothing of the samples. */
#define CORRELATION_MAX 0.9

static double mean_of(const double *samples, uint32_t count)
{
	double sum = 0;

	for (uint32_t i = 0; i < count; i++)
		sum += samples[i];
	return sum / count;
}

/* The sum of the products of each deviation with the one `lag` behind it. */
static double products_of(const double *samples, uint32_t count, double mean, uint32_t lag)
{
	double sum = 0;

	for (uint32_t i = lag; i < count; i++)
		sum += (samples[i] - mean) * (samples[i - lag] - mean);
	return sum;
}

void series_summarize(const double *samples, uint32_t count, struct series_stats *out)
{
	double squares;
	double r = 0;

	*out = (struct series_stats){.count = count, .effective_count = count};
	if (count == 0)
		return;
	out->mean = mean_of(samples, count);
	if (count < 2)
		return;
	squares = products_of(samples, count, out->mean, 0);
	out->deviation = sqrt(squares / (count - 1));
	if (squares > 0) {
		r = products_of(samples, count, out->mean, 1) / squares;
		r += (1 + 3 * r) / count;
	}
	r = fmin(fmax(r, 0), CORRELATION_MAX);
	out->effective_count = fmax(2, count * (1 - r) / (1 + r));
	out->error = out->deviation / sqrt(out->effective_count);
}

/* The 99.5 % quantile of Student's distribution, by degrees of freedom from 1. */
static const double student_quantiles[] = {
	63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169,
	3.106,  3.055, 3.012, 2.977, 2.947, 2.921, 2.898, 2.878, 2.861, 2.845,
	2.831,  2.819, 2.807, 2.797, 2.787, 2.779, 2.771, 2.763, 2.756, 2.750,
};

static double student_quantile(double freedom)
{
	size_t whole = (size_t)fmax(freedom, 1);

	if (whole <= ARRAY_SIZE(student_quantiles))
		return student_quantiles[whole - 1];
	/* The first terms of the expansion at infinity; too small by less than 0.001. */
	return 2.5758 + 4.9165 / freedom + 8.834 / (freedom * freedom);
}

double series_noise(const struct series_stats *a, const struct series_stats *b)
{
	double square_a = a->error * a->error;
	double square_b = b->error * b->error;
	double square = square_a + square_b;
	double spread;

	assert(a->count >= SERIES_SAMPLES_MIN && b->count >= SERIES_SAMPLES_MIN);
	if (square <= 0)
		return 0;
	spread = square_a * square_a / (a->effective_count - 1) +
		 square_b * square_b / (b->effective_count - 1);
	return student_quantile(square * square / spread) * sqrt(square);
}

/* ---- Steady state ---- */

/* The change of the least-squares line from the first sample to the last. */
static double rise_of(const double *samples)
{
	double middle = (STEADY_SAMPLES - 1) / 2.0;
	double products = 0;
	double squares = 0;

	for (uint32_t i = 0; i < STEADY_SAMPLES; i++) {
		products += (i - middle) * samples[i];
		squares += (i - middle) * (i - middle);
	}
	return products / squares * (STEADY_SAMPLES - 1);
}

static double range_of(const double *samples)
{
	double least = samples[0];
	double most = samples[0];

	for (uint32_t i = 1; i < STEADY_SAMPLES; i++) {
		least = fmin(least, samples[i]);
		most = fmax(most, samples[i]);
	}
	return most - least;
}

void steady_add(struct steady *steady, const struct steady_limits *limits, double sample)
{
	double window[STEADY_SAMPLES];

	steady->samples[steady->count++ % STEADY_SAMPLES] = sample;
	if (steady->count < STEADY_SAMPLES)
		return;
	for (uint32_t i = 0; i < STEADY_SAMPLES; i++)
		window[i] = steady->samples[(steady->count + i) % STEADY_SAMPLES];
	steady->mean = mean_of(window, STEADY_SAMPLES);
	steady->reached = false;
	if (steady->mean <= 0)
		return;
	steady->range_percent = 100 * range_of(window) / steady->mean;
	steady->slope_percent = 100 * rise_of(window) / steady->mean;
	steady->reached = steady->range_percent <= limits->range_percent &&
			  fabs(steady->slope_percent) <= limits->slope_percent;
}
