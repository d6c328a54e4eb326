/*
 * Scales of a drawing: values to positions, and where the marks go. Linear, or logarithmic.
 *
 * It draws nothing. Pure functions, any thread. Read next: svg.h, plot.c.
 */
#ifndef TARGET_BENCH_AXIS_H
#define TARGET_BENCH_AXIS_H

#include <stdbool.h>
#include <stddef.h>

#define AXIS_TICKS_MAX 16u

struct axis {
	bool log;
	double least; /* Above 0 when logarithmic. */
	double most;  /* Above least. */
	double from;  /* The position of `least`; `to` may lie below it. */
	double to;
	unsigned tick_count;
	double ticks[AXIS_TICKS_MAX]; /* Ascending, from least to most. */
};

/* Linear, from `least` (at most 0: time before the start) to a round number not below `most`, with
 * marks at multiples of 1, 2 or 5. Any finite numbers do. */
void axis_linear(struct axis *axis, double least, double most);
/* The same, but the scale ends exactly at `most`. */
void axis_linear_tight(struct axis *axis, double least, double most);
/* Logarithmic around [least, most], with marks at powers of ten and, where there is room, at 2 and
 * 5 times them. Numbers that have no logarithm count as 1. */
void axis_log(struct axis *axis, double least, double most);
/* Where a value stands; what lies outside stands at the edge. */
double axis_position(const struct axis *axis, double value);

/* "0", "950", "12k", "1.5M", "0.25". */
void axis_number(double value, char *out, size_t size_bytes);
/* Microseconds: "85 us", "1.2 ms", "3 s". */
void axis_latency(double us, char *out, size_t size_bytes);

#endif
