/*
 * One run: looks at the LUN, starts the workers, takes them through the phases, adds up.
 *
 * Main thread. Read next: run.c, report.h (what is printed), job.h (the phases).
 */
#ifndef TARGET_BENCH_RUN_H
#define TARGET_BENCH_RUN_H

#include "base/attr.h"
#include "target/bench/conn.h"
#include "target/bench/histogram.h"
#include "target/bench/options.h"
#include "target/bench/series.h"

#include <stdbool.h>
#include <stdint.h>

/* What is told apart everywhere: directions, and both together. */
enum bench_row {
	BENCH_ROW_READ,
	BENCH_ROW_WRITE,
	BENCH_ROW_BOTH,
	BENCH_ROW_COUNT
};

/* One direction in one interval. Latencies are 0 where nothing ended. */
struct bench_sample {
	double iops;
	double bytes_per_s;
	uint64_t mean_ns;
	uint64_t p50_ns;
	uint64_t p99_ns;
};

struct bench_interval {
	double begin_s; /* Since the measured time began. */
	double seconds;
	struct bench_sample rows[BENCH_ROW_COUNT];
	double target_cpu_us; /* Per I/O; 0 where none ended, or without has_target_cpu. */
	double client_cpu_us;
};

struct bench_result {
	const struct bench_options *options;
	struct bench_capacity capacity;
	struct iscsi_params params; /* As the first session agreed. */
	uint64_t region_bytes;

	/* Of the measured time. */
	uint64_t measured_ns;
	uint64_t target_cpu_ns; /* Valid with has_target_cpu. */
	uint64_t client_cpu_ns;
	bool has_target_cpu;
	struct histogram *latency; /* [2 * class + write] */
	struct bench_interval *intervals;
	uint32_t interval_count;

	/* With --steady-state: the rates before the measured time, all of equal length. */
	struct steady steady;
	double *steady_rates;
	uint32_t steady_count;

	/* Of the whole run, fill and read-back included. */
	uint64_t task_set_full;
	uint64_t busy;
	uint64_t unit_attentions;
	uint64_t io_errors;
	uint64_t verify_errors;
	uint64_t blocks_verified;
};

/*
 * Run it all. 0, with *out to be freed by bench_result_free: then io_errors and verify_errors tell
 * whether it went well. Negative errno if the run could not be carried through; the reason has been
 * printed on standard error.
 */
int MUST_CHECK bench_run(const struct bench_options *options, struct bench_result **out);
/* NULL is fine. */
void bench_result_free(struct bench_result *result);

#endif
