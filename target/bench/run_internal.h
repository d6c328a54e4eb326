/*
 * Between run.c and measure.c: what one run owns, and how the main thread waits. Main thread.
 */
#ifndef TARGET_BENCH_RUN_INTERNAL_H
#define TARGET_BENCH_RUN_INTERNAL_H

#include "base/attr.h"
#include "target/bench/job.h"
#include "target/bench/run.h"
#include "target/bench/worker.h"

#include <stdbool.h>
#include <stdint.h>

/* Everything that one run owns. */
struct run {
	struct bench_job job;
	struct bench_worker *workers;
	uint32_t worker_count;
	uint32_t started; /* The first so many threads run. */
	uint8_t *pattern;
	bool progress;
	uint64_t phase_began_ns;
	uint64_t progress_ns; /* When the line was last written. */
	uint64_t progress_ios;
	struct bench_result *result;
};

/* The phase is the workers' from here on. */
void run_set_phase(struct run *run, enum bench_phase phase);
/* Sleep until `until_ns`, show progress meanwhile. -ECONNRESET if a session was lost. */
int MUST_CHECK run_sleep_until(struct run *run, uint64_t until_ns);
/* Commands that have ended well, in all phases. */
uint64_t run_ios(struct run *run);

/* The two measuring phases, measure.c. */
int MUST_CHECK run_until_steady(struct run *run);
int MUST_CHECK run_measure(struct run *run);

#endif
