/*
 * What a run has found: as a table for people (report_table.c), as one JSON object for programs
 * (report_json.c), as a drawing (plot.c). Pure output; main thread.
 */
#ifndef TARGET_BENCH_REPORT_H
#define TARGET_BENCH_REPORT_H

#include "base/attr.h"
#include "target/bench/histogram.h"
#include "target/bench/run.h"

#include <stdio.h>

/* -EIO if the stream does not take it, -ENOMEM. */
int MUST_CHECK bench_report_table(const struct bench_result *result, FILE *to);
/* Its fields are in ringsan.1. -ENOMEM, -EIO. */
int MUST_CHECK bench_report_json(const struct bench_result *result, FILE *to);
/* One self-contained SVG document: no scripts, no network, no fonts of its own. -ENOMEM, -EIO. */
int MUST_CHECK bench_report_plot(const struct bench_result *result, FILE *to);

/* A histogram as lines of text, a bar each; nothing if it is empty. bars.c */
void bench_bars_print(const struct histogram *histogram, const char *name, FILE *to);

/* ---- How bars of text and of the drawing are cut: equal ratios from edge to edge. bars.c ---- */

#define BARS_MAX 32u

struct bench_bars {
	unsigned count;
	double edges_us[BARS_MAX + 1]; /* Bar i reaches from edge i to edge i + 1. */
	uint64_t counts[BARS_MAX];
	uint64_t most; /* Of the counts. */
};

/* Edges for at most `bars_max` (3 to BARS_MAX) bars from the first to the last sample, and counts;
 * no bars if there are no samples. */
void bench_bars_cut(struct bench_bars *out, const struct histogram *histogram, unsigned bars_max);
/* Count another histogram into the same bars; all of its samples lie between the edges. */
void bench_bars_count(struct bench_bars *bars, const struct histogram *histogram);

#endif
