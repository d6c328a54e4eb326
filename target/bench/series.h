/*
 * The arithmetic of rates over time: means with their errors, whether two of them differ, and
 * whether a rate has become steady.
 *
 * It knows no clock and no I/O. Pure functions, any thread. Read next: series.c, measure.c (where
 * samples come from), compare.c (what is made of them).
 */
#ifndef TARGET_BENCH_SERIES_H
#define TARGET_BENCH_SERIES_H

#include <stdbool.h>
#include <stdint.h>

/* Fewer samples than this say nothing about noise. */
#define SERIES_SAMPLES_MIN 5u

struct series_stats {
	uint32_t count;
	double mean;
	double deviation; /* Of the samples; 0 with fewer than two. */
	/* Neighbours in time resemble each other, so `count` samples are worth fewer independent
	 * ones: count * (1 - r) / (1 + r) with the correlation r of neighbours, whose estimate is
	 * freed of its bias (Kendall 1954: it is too low by about (1 + 3r) / count). At least 2. */
	double effective_count;
	double error; /* Standard error of the mean. */
};

/* All zero for no samples. */
void series_summarize(const double *samples, uint32_t count, struct series_stats *out);

/* By how much the means of two series differ by chance alone, with 99 % confidence (Welch, with the
 * effective counts in the errors and in the degrees of freedom). Of forty samples whose neighbours
 * correlate by 0.8 it calls 2 % of chances a difference. Only with SERIES_SAMPLES_MIN samples in
 * both. */
double series_noise(const struct series_stats *a, const struct series_stats *b);

/* ---- Steady state, after SNIA's Solid State Storage Performance Test Specification 2.0.2: the
 * samples of a window keep within a range, and their fitted line hardly rises or falls. ---- */

#define STEADY_SAMPLES 10u

struct steady_limits {
	double range_percent; /* Largest minus smallest sample, of the mean. */
	double slope_percent; /* Change of the least-squares line over the window, of the mean. */
};

/* All zero before the first sample. */
struct steady {
	double samples[STEADY_SAMPLES]; /* A ring. */
	uint32_t count;                 /* Ever added. */
	/* Of the last full window. */
	double mean;
	double range_percent;
	double slope_percent; /* Positive: it rises. */
	bool reached;
};

/* Add a sample; sets everything else in *steady. A rate of zero is never steady. */
void steady_add(struct steady *steady, const struct steady_limits *limits, double sample);

#endif
