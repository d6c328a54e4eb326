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

#include <stdbool.h>
#include <stdint.h>

struct bench_result {
	const struct bench_options *options;
	struct bench_capacity capacity;
	struct iscsi_params params; /* As the first session agreed. */
	uint64_t region_bytes;
	uint64_t measured_ns;

	/* Of the measured time. */
	uint64_t reads;
	uint64_t writes;
	uint64_t target_cpu_ns; /* Valid with has_target_cpu. */
	uint64_t client_cpu_ns;
	bool has_target_cpu;

	/* Of the whole run, fill and read-back included. */
	uint64_t task_set_full;
	uint64_t busy;
	uint64_t unit_attentions;
	uint64_t io_errors;
	uint64_t verify_errors;
	uint64_t blocks_verified;

	struct histogram latency[2]; /* [write] */
};

/*
 * Run it all. 0, with *out to be freed by the caller: then io_errors and verify_errors tell whether
 * it went well. Negative errno if the run could not be carried through; the reason has been printed
 * on standard error.
 */
int MUST_CHECK bench_run(const struct bench_options *options, struct bench_result **out);

#endif
