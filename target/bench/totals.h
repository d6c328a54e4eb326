/*
 * A result added up: the sums that every form of report shows, so that all of them agree.
 *
 * Pure functions over a finished result; any thread. Read next: report.h.
 */
#ifndef TARGET_BENCH_TOTALS_H
#define TARGET_BENCH_TOTALS_H

#include "base/attr.h"
#include "base/clock.h"
#include "target/bench/run.h"

#include <stdbool.h>
#include <stddef.h>

struct bench_percentile {
	const char *name;
	unsigned per_million;
};

/* From p50 up. */
#define BENCH_PERCENTILE_COUNT 5u
extern const struct bench_percentile bench_percentiles[BENCH_PERCENTILE_COUNT];
/* "read", "write", "both", by enum bench_row. */
extern const char *const bench_row_names[BENCH_ROW_COUNT];

struct bench_total {
	double iops;
	double bytes_per_s;
	struct histogram latency;
};

struct bench_totals {
	/* A direction is shown if it took part, both only if there are two. */
	bool shown[BENCH_ROW_COUNT];
	struct bench_total rows[BENCH_ROW_COUNT];
};

/* Allocate and add up; NULL without memory. To be freed with free. */
struct bench_totals *bench_totals_new(const struct bench_result *result);

double bench_seconds(const struct bench_result *result);
/* Per second of the measured time. */
double bench_rate(const struct bench_result *result, uint64_t count);
double bench_us_per_io(const struct bench_result *result, uint64_t cpu_ns);
/* Of one CPU: 100 is a CPU that did nothing else. */
double bench_cpu_percent(const struct bench_result *result, uint64_t cpu_ns);

static inline double bench_us(uint64_t ns)
{
	return (double)ns / (double)CLOCK_NS_PER_US;
}

/* "4 KiB", "1.5 MiB", "513 bytes". */
void bench_size_describe(uint64_t bytes, char *out, size_t size_bytes);
/* "profile oltp, 4 sessions x depth 8", "4 KiB random read, 1 session x depth 32". */
void bench_workload_describe(const struct bench_options *options, char *out, size_t size_bytes);
/* "iscsi://host:port/target/lun", without user and secret. */
void bench_url_describe(const struct bench_url *url, char *out, size_t size_bytes);

#endif
