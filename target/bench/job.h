/*
 * What all threads of one run share: its constants, its phase, and the numbers each worker counts.
 *
 * Constants are set before the workers start and only read from then on. The phase is the main
 * thread's to set. Counters belong to one worker each, which alone adds to them; anybody may read.
 * Read next: run.h (who moves the phase), worker.h.
 */
#ifndef TARGET_BENCH_JOB_H
#define TARGET_BENCH_JOB_H

#include "base/attr.h"
#include "target/bench/conn.h"
#include "target/bench/histogram.h"
#include "target/bench/options.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/* In the order in which they come; a phase that does not apply is skipped. */
enum bench_phase {
	PHASE_SETUP,     /* Sessions are being opened. Ends by itself. */
	PHASE_FILL,      /* Every unit is written once. Ends by itself. */
	PHASE_RAMP,      /* The workload, not measured. */
	PHASE_MEASURE,   /* The workload, measured. */
	PHASE_DRAIN,     /* What is under way ends. Ends by itself. */
	PHASE_READ_BACK, /* Every unit that was written is read and checked. Ends by itself. */
	PHASE_END,       /* Log out; after an error, just close. */
};

/* One worker's numbers. Only that worker adds, so a relaxed load and store are enough. */
struct bench_counters {
	_Atomic uint64_t reads; /* Commands that ended well, in all phases. */
	_Atomic uint64_t writes;
	_Atomic uint64_t task_set_full;
	_Atomic uint64_t busy;
	_Atomic uint64_t unit_attentions;
	_Atomic uint64_t io_errors;
	_Atomic uint64_t verify_errors;
	_Atomic uint64_t blocks_verified; /* Of STAMP_BYTES. */
};

static inline void counter_add(_Atomic uint64_t *counter, uint64_t count)
{
	uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, value + count, memory_order_relaxed);
}

static inline uint64_t counter_read(_Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

struct bench_job {
	const struct bench_options *options;
	struct bench_capacity capacity;
	uint64_t region_granules; /* Of mix.largest_bytes each. */
	uint64_t region_lba;      /* In blocks of the LUN, like the next. */
	uint32_t blocks_per_unit; /* Of mix.unit_bytes. */
	uint64_t lun_field;
	const uint8_t *pattern; /* What unverified writes send; largest_bytes, not compressible. */

	_Atomic int phase;        /* enum bench_phase */
	_Atomic uint32_t bank;    /* Counts up: workers count latencies into bank % 2 (worker.h). */
	_Atomic uint32_t arrived; /* Workers that are through with a phase that ends by itself. */
	_Atomic uint32_t lost;    /* Workers that lost a session; the run is over. */

	pthread_mutex_t complaint_lock;
	uint32_t complaints; /* Under the lock. */
	bool on_terminal;    /* A progress line may have to be wiped first. */
};

/* One line on standard error about something that went wrong in the run. Ten are printed, then one
 * that says that the rest is only counted. Any thread. */
void PRINTF_LIKE(2, 3) bench_complain(struct bench_job *job, const char *format, ...);

#endif
