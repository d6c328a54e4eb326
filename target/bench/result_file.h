/*
 * Reading back what --json wrote: the figures of one result file, with the noise of each as far as
 * its intervals tell.
 *
 * A file comes from anywhere and is not believed: its size, its depth, the type and the range of
 * every member that is used are checked, and none of its strings is repeated unescaped. Members
 * that are missing are no error, so that older files can be compared, too.
 *
 * Threads: any; an object belongs to its caller. Read next: metric_table.c, compare.c.
 */
#ifndef TARGET_BENCH_RESULT_FILE_H
#define TARGET_BENCH_RESULT_FILE_H

#include "base/attr.h"
#include "target/bench/series.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* A day in intervals of a second has some 40 MB. */
#define RESULT_FILE_BYTES_MAX (256u << 20)
/* Rates, times and counts; larger ones are no results. */
#define RESULT_NUMBER_MAX 1e18
#define METRIC_KEYS_MAX 3u
#define METRIC_COUNT 29u

/* One figure of a result, where it stands and what is good. */
struct metric {
	const char *name; /* "read.iops" */
	const char *unit;
	const char *keys[METRIC_KEYS_MAX];        /* Way to the figure; ended by NULL. */
	const char *sample_keys[METRIC_KEYS_MAX]; /* In each interval; empty: there is none. */
	bool higher_is_better;
	bool zero_is_none;         /* A sample of 0 says that nothing ended in the interval. */
	double resolution_percent; /* Samples are known no better than this. */
};

extern const struct metric bench_metrics[METRIC_COUNT];

struct result_figure {
	bool present;
	double value;
	struct series_stats samples; /* count is 0 without intervals. */
};

struct result_file {
	json_t *root;
	struct result_figure figures[METRIC_COUNT];
	bool has_errors; /* The run counted errors. */
	bool not_steady; /* A steady state was asked for and not reached. */
};

/*
 * Read to the end of `from` and check. 0, and *out is to be released; or -EINVAL (not JSON, not a
 * result, wrong types or ranges), -EFBIG, -EIO, -ENOMEM and one line in `error`.
 */
int MUST_CHECK result_file_load(struct result_file *out, FILE *from, char *error,
				size_t error_bytes);
void result_file_release(struct result_file *file);

/* The member that a way of keys, ended by NULL, leads to; NULL: there is none. */
const json_t *result_file_find(const json_t *object, const char *const keys[METRIC_KEYS_MAX]);

#endif
