/*
 * Two results beside each other: what changed, by how much, and whether that is more than noise.
 *
 * The noise of a change comes from the intervals within the two runs (series.h). What differs from
 * run to run but not within one, it cannot see. Main thread. Read next: compare.c, result_file.h.
 */
#ifndef TARGET_BENCH_COMPARE_H
#define TARGET_BENCH_COMPARE_H

#include "base/attr.h"
#include "target/bench/result_file.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum verdict {
	VERDICT_ABSENT,   /* Not in both files. */
	VERDICT_UNJUDGED, /* Too few samples for a judgement. */
	VERDICT_NOISE,
	VERDICT_TOLERATED, /* More than noise, but no more than the tolerance. */
	VERDICT_BETTER,
	VERDICT_WORSE,
	VERDICT_COUNT
};

struct change {
	enum verdict verdict;
	double percent; /* Of the old value; valid unless absent or the old value is 0. */
	bool has_percent;
	double noise_percent; /* Valid from VERDICT_NOISE on. */
};

/* What differs between the runs besides the results: "queue_depth: 1, 32". */
#define DIFFERENCES_MAX 32u
#define DIFFERENCE_BYTES 160u

struct comparison {
	const struct result_file *files[2]; /* Old, new. */
	const char *names[2];
	struct change changes[METRIC_COUNT];
	unsigned judged;
	unsigned worse; /* Changes for the worse. */
	unsigned difference_count;
	char differences[DIFFERENCES_MAX][DIFFERENCE_BYTES];
};

/* Judge one figure. */
struct change compare_figures(const struct metric *metric, const struct result_figure figures[2],
			      double tolerance_percent);
/* Judge all; files and names are the caller's and are kept. */
void compare_files(struct comparison *out, const struct result_file files[2],
		   const char *const names[2], double tolerance_percent);
const char *compare_verdict_name(enum verdict verdict);

/* -EIO, -ENOMEM. */
int MUST_CHECK compare_print_table(const struct comparison *comparison, FILE *to);
int MUST_CHECK compare_print_json(const struct comparison *comparison, FILE *to);

#endif
