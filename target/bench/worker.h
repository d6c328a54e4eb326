/*
 * A worker: one thread and the sessions that it drives.
 *
 * The main thread creates it, moves job->phase, reads its counters, and joins it; sessions and
 * histograms are the worker's alone while it runs and the main thread's again after
 * bench_worker_join. Read next: worker.c, run.c.
 */
#ifndef TARGET_BENCH_WORKER_H
#define TARGET_BENCH_WORKER_H

#include "base/attr.h"
#include "target/bench/job.h"
#include "target/bench/session.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define WORKER_ALIGN 64u

struct bench_worker {
	/* Read by the main thread while the worker runs; on cache lines of its own. */
	struct bench_counters counters __attribute__((aligned(WORKER_ALIGN)));
	/* When each bank was in use, and job->bank as the worker last saw it. Once the worker has
	 * followed, the bank before is the main thread's, with its times, until the next change. */
	uint64_t bank_began_ns[2];
	uint64_t bank_ended_ns[2];
	_Atomic uint32_t bank;
	/* Set by the main thread before the worker starts. */
	uint32_t session_count;
	uint32_t first_number; /* Sessions are numbered over all workers. */
	int cpu;               /* To run on; -1: any. */
	pthread_t thread;

	struct bench_job *job __attribute__((aligned(WORKER_ALIGN)));
	struct bench_session *sessions;
	int epoll_fd;     /* -1 with a single session, which needs none. */
	uint64_t tick_ns; /* When all sessions were last looked at. */
	enum bench_phase phase;
	bool arrived; /* Has told that this phase has ended here. */
	bool lost;
	bool hurry; /* A session waits for a moment that is nearer than a tick. */
	/* Two banks of histograms, one for each class and direction: [2 * class + write]. Of the
	 * measured phase. The main thread swaps them, merges the one that is at rest, clears it. */
	struct histogram *banks[2];
	struct histogram *histograms; /* The bank in use. */
};

/* Allocate everything and start the thread. Negative errno and a complaint otherwise; then nothing
 * is left of it. job, first_number, session_count and cpu are set by the caller. */
int MUST_CHECK bench_worker_start(struct bench_worker *worker);
/* Wait for the thread to end, which it does in PHASE_END. */
void bench_worker_join(struct bench_worker *worker);
/* For the main thread: true once the worker counts into bank `number` % 2, and the other bank is at
 * rest. */
bool bench_worker_follows(struct bench_worker *worker, uint32_t number);
/* Free what bench_worker_start allocated; after bench_worker_join. */
void bench_worker_release(struct bench_worker *worker);

#endif
