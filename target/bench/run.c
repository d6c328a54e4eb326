/*
 * The course of a run: see run.h. It sends nothing itself but the probe's few commands; the workers
 * do. Main thread.
 */
#include "target/bench/run_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define COMPLAINTS_MAX 10u
/* How often the main thread looks whether a session was lost, whether a phase has ended, and how
 * often it shows progress. */
#define LOOK_MS 20u
#define ARRIVAL_LOOK_MS 5u
#define PROGRESS_MS 500u

void bench_complain(struct bench_job *job, const char *format, ...)
{
	va_list args;

	pthread_mutex_lock(&job->complaint_lock);
	if (job->complaints++ < COMPLAINTS_MAX) {
		(void)fputs(job->on_terminal ? "\r\033[Kringsan bench: " : "ringsan bench: ",
			    stderr);
		va_start(args, format);
		/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
		(void)vfprintf(stderr, format, args);
		va_end(args);
		(void)fputc('\n', stderr);
	} else if (job->complaints == COMPLAINTS_MAX + 1) {
		(void)fputs("ringsan bench: further errors are counted, not printed\n", stderr);
	}
	pthread_mutex_unlock(&job->complaint_lock);
}

/* ---- Before ---- */

/* One session for a moment, so that what is wrong with the address, the secret or the LUN is said
 * once and not by every session. */
static int probe(struct bench_job *job)
{
	struct bench_conn *conn = calloc(1, sizeof(*conn));
	int err;

	if (!conn)
		return -ENOMEM;
	/* An ISID that no session of the run has. */
	err = bench_conn_init(conn, job->options, BENCH_SESSIONS_MAX);
	if (!err)
		err = bench_conn_connect(conn);
	if (!err)
		err = bench_conn_login(conn);
	if (!err)
		err = bench_conn_wait_ready(conn);
	if (!err)
		err = bench_conn_read_capacity(conn, &job->capacity);
	if (err) {
		bench_complain(job, "%s", conn->error);
	} else {
		bench_conn_logout(conn);
	}
	bench_conn_release(conn);
	free(conn);
	return err;
}

static int bad_region(struct bench_job *job, const char *reason)
{
	bench_complain(job, "%s (the LUN has %" PRIu64 " bytes in blocks of %u)", reason,
		       job->capacity.bytes, job->capacity.block_bytes);
	return -EINVAL;
}

/* Cut the region into units, now that the size of the LUN is known. */
static int lay_out(struct bench_job *job)
{
	const struct bench_options *options = job->options;
	uint32_t lun_block_bytes = job->capacity.block_bytes;
	uint64_t end = job->capacity.bytes;
	uint64_t slice_granules;
	uint64_t units_per_granule = options->mix.largest_bytes / options->mix.unit_bytes;

	if (options->offset_bytes % lun_block_bytes != 0 ||
	    options->mix.unit_bytes % lun_block_bytes != 0) {
		return bad_region(job, "--offset and every --block-size must be multiples of the "
				       "LUN's block size");
	}
	if (options->offset_bytes > end || options->size_bytes > end - options->offset_bytes)
		return bad_region(job, "--offset and --size reach beyond the end of the LUN");
	if (options->size_bytes > 0)
		end = options->offset_bytes + options->size_bytes;
	job->region_granules = (end - options->offset_bytes) / options->mix.largest_bytes;
	job->region_lba = options->offset_bytes / lun_block_bytes;
	job->blocks_per_unit = options->mix.unit_bytes / lun_block_bytes;
	slice_granules = job->region_granules / options->sessions;
	if (slice_granules == 0)
		return bad_region(job, "the region has less than one I/O for each session");
	if (options->verify && slice_granules < options->queue_depth) {
		return bad_region(job, "--verify needs a region of at least sessions x queue depth "
				       "x block size");
	}
	if (options->verify &&
	    job->region_granules > BENCH_UNITS_VERIFIED_MAX / units_per_granule) {
		return bad_region(job,
				  "--verify keeps four bytes for each I/O of the region, which "
				  "is too large: use --size or a larger --block-size");
	}
	return 0;
}

static int make_pattern(struct run *run)
{
	uint64_t bytes = run->job.options->mix.largest_bytes;
	uint64_t state = 0x6a09e667f3bcc909ull;

	run->pattern = malloc(bytes);
	if (!run->pattern)
		return -ENOMEM;
	/* xorshift64: nothing that a target could compress or take for zeroes. */
	for (uint64_t i = 0; i < bytes; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		run->pattern[i] = (uint8_t)(state >> 32);
	}
	run->job.pattern = run->pattern;
	return 0;
}

/* A thousand sessions need more descriptors than a shell usually allows; they may be had. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* The main thread keeps to the workers' CPUs, too, so that none of this runs beside the target.
 * What is measured on other CPUs than was asked for would be a wrong result, so each must be there.
 */
static int keep_to_cpus(struct bench_job *job)
{
	const struct units_cpus *cpus = &job->options->cpus;
	cpu_set_t all;

	CPU_ZERO(&all);
	for (unsigned i = 0; i < cpus->count; i++) {
		cpu_set_t one;

		CPU_ZERO(&one);
		CPU_SET(cpus->cpus[i], &one);
		CPU_SET(cpus->cpus[i], &all);
		if (sched_setaffinity(0, sizeof(one), &one) != 0) {
			int err = -errno;

			bench_complain(job, "--cpu: cannot run on CPU %u: %s", cpus->cpus[i],
				       strerrordesc_np(-err));
			return err;
		}
	}
	if (cpus->count > 0)
		(void)sched_setaffinity(0, sizeof(all), &all);
	return 0;
}

/* A wrong process is noticed before the run and not after it. */
static int check_target_pid(struct bench_job *job)
{
	uint64_t pid = job->options->target_pid;
	clockid_t clock;

	if (pid == 0 || clock_getcpuclockid((pid_t)pid, &clock) == 0)
		return 0;
	bench_complain(job, "--target-pid: there is no process %" PRIu64, pid);
	return -ESRCH;
}

static int start_workers(struct run *run)
{
	const struct bench_options *options = run->job.options;
	uint32_t share = (uint32_t)(options->sessions / options->threads);
	uint32_t longer = (uint32_t)(options->sessions % options->threads);
	uint32_t number = 0;

	run->worker_count = (uint32_t)options->threads;
	run->workers = aligned_alloc(WORKER_ALIGN, run->worker_count * sizeof(*run->workers));
	if (!run->workers)
		return -ENOMEM;
	memset(run->workers, 0, run->worker_count * sizeof(*run->workers));
	for (uint32_t i = 0; i < run->worker_count; i++) {
		struct bench_worker *worker = &run->workers[i];
		int err;

		worker->job = &run->job;
		worker->first_number = number;
		worker->session_count = share + (i < longer ? 1 : 0);
		worker->cpu =
			options->cpus.count ? options->cpus.cpus[i % options->cpus.count] : -1;
		number += worker->session_count;
		err = bench_worker_start(worker);
		if (err)
			return err;
		run->started++;
	}
	return 0;
}

/* ---- During ---- */

static uint64_t total(struct run *run, size_t counter_offset)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < run->started; i++) {
		char *counters = (char *)&run->workers[i].counters;

		sum += counter_read((_Atomic uint64_t *)(void *)(counters + counter_offset));
	}
	return sum;
}
#define TOTAL(run, field) total(run, offsetof(struct bench_counters, field))

static const char *const phase_names[] = {
	[PHASE_SETUP] = "logging in", [PHASE_FILL] = "filling",
	[PHASE_RAMP] = "ramping",     [PHASE_MEASURE] = "measuring",
	[PHASE_DRAIN] = "draining",   [PHASE_READ_BACK] = "reading back",
	[PHASE_END] = "logging out",
};

uint64_t run_ios(struct run *run)
{
	return TOTAL(run, reads) + TOTAL(run, writes);
}

static void show_progress(struct run *run, uint64_t now_ns)
{
	uint64_t ios = run_ios(run);
	uint64_t passed_ns = now_ns - run->progress_ns;
	double rate;

	if (!run->progress || passed_ns < PROGRESS_MS * CLOCK_NS_PER_MS)
		return;
	rate = (double)(ios - run->progress_ios) / ((double)passed_ns / (double)CLOCK_NS_PER_S);
	pthread_mutex_lock(&run->job.complaint_lock);
	(void)fprintf(stderr, "%s%-12s %6.1f s  %9.0f IOPS%s",
		      run->job.on_terminal ? "\r\033[K" : "",
		      phase_names[atomic_load(&run->job.phase)],
		      (double)(now_ns - run->phase_began_ns) / (double)CLOCK_NS_PER_S, rate,
		      run->job.on_terminal ? "" : "\n");
	(void)fflush(stderr);
	pthread_mutex_unlock(&run->job.complaint_lock);
	run->progress_ns = now_ns;
	run->progress_ios = ios;
}

int run_sleep_until(struct run *run, uint64_t until_ns)
{
	uint64_t now_ns = clock_now_ns();

	while (now_ns < until_ns) {
		uint64_t left_ns = until_ns - now_ns;
		uint64_t look_ns = LOOK_MS * CLOCK_NS_PER_MS;
		struct timespec pause = {.tv_nsec = (long)(left_ns < look_ns ? left_ns : look_ns)};

		if (atomic_load(&run->job.lost) > 0)
			return -ECONNRESET;
		(void)nanosleep(&pause, NULL);
		now_ns = clock_now_ns();
		show_progress(run, now_ns);
	}
	return 0;
}

/* `arrived` is cleared before the phase is published, so no arrival of the last one counts. */
void run_set_phase(struct run *run, enum bench_phase phase)
{
	run->phase_began_ns = clock_now_ns();
	atomic_store(&run->job.arrived, 0);
	atomic_store(&run->job.phase, (int)phase);
}

/* The workers are in a phase that ends by itself. */
static int wait_for_all(struct run *run)
{
	int err = 0;

	while (!err && atomic_load(&run->job.arrived) < run->started)
		err = run_sleep_until(run, clock_now_ns() + ARRIVAL_LOOK_MS * CLOCK_NS_PER_MS);
	return err;
}

static int finite_phase(struct run *run, enum bench_phase phase)
{
	run_set_phase(run, phase);
	return wait_for_all(run);
}

static int ramp(struct run *run)
{
	run_set_phase(run, PHASE_RAMP);
	return run_sleep_until(run,
			       run->phase_began_ns + run->job.options->ramp_ms * CLOCK_NS_PER_MS);
}

static int go_through_phases(struct run *run)
{
	const struct bench_options *options = run->job.options;
	bool read_back = options->verify && (options->fill || options->workload != BENCH_READ);
	int err = wait_for_all(run);

	if (!err && options->fill)
		err = finite_phase(run, PHASE_FILL);
	if (!err)
		err = ramp(run);
	if (!err && options->steady_state)
		err = run_until_steady(run);
	if (!err)
		err = run_measure(run);
	if (!err)
		err = finite_phase(run, PHASE_DRAIN);
	if (!err && read_back)
		err = finite_phase(run, PHASE_READ_BACK);
	return err;
}

/* ---- After ---- */

static void collect(struct run *run)
{
	struct bench_result *result = run->result;

	result->options = run->job.options;
	result->capacity = run->job.capacity;
	result->region_bytes = run->job.region_granules * run->job.options->mix.largest_bytes;
	result->params = run->workers[0].sessions[0].conn.params;
	result->task_set_full = TOTAL(run, task_set_full);
	result->busy = TOTAL(run, busy);
	result->unit_attentions = TOTAL(run, unit_attentions);
	result->io_errors = TOTAL(run, io_errors);
	result->verify_errors = TOTAL(run, verify_errors);
	result->blocks_verified = TOTAL(run, blocks_verified);
}

static void end_workers(struct run *run)
{
	run_set_phase(run, PHASE_END);
	for (uint32_t i = 0; i < run->started; i++)
		bench_worker_join(&run->workers[i]);
	if (run->progress && run->job.on_terminal)
		(void)fputs("\r\033[K", stderr);
}

static void release(struct run *run)
{
	for (uint32_t i = 0; i < run->started; i++)
		bench_worker_release(&run->workers[i]);
	free(run->workers);
	free(run->pattern);
	pthread_mutex_destroy(&run->job.complaint_lock);
}

static int carry_out(struct run *run)
{
	int err = check_target_pid(&run->job);

	if (!err)
		err = keep_to_cpus(&run->job);
	if (!err)
		err = probe(&run->job);
	if (!err)
		err = lay_out(&run->job);
	if (err)
		return err;
	raise_descriptor_limit();
	err = make_pattern(run);
	if (!err)
		err = start_workers(run);
	if (!err)
		err = go_through_phases(run);
	end_workers(run);
	if (!err)
		collect(run);
	return err;
}

void bench_result_free(struct bench_result *result)
{
	if (!result)
		return;
	free(result->latency);
	free(result->intervals);
	free(result->steady_rates);
	free(result);
}

int bench_run(const struct bench_options *options, struct bench_result **out)
{
	struct run *run = calloc(1, sizeof(*run));
	struct bench_result *result = calloc(1, sizeof(*result));
	int err = -ENOMEM;

	if (!run || !result)
		goto out;
	run->job.options = options;
	run->job.lun_field = bench_lun_field(options->url.lun);
	run->job.on_terminal = isatty(STDERR_FILENO) == 1;
	run->progress = options->progress || run->job.on_terminal;
	run->progress_ns = clock_now_ns();
	run->phase_began_ns = run->progress_ns;
	run->result = result;
	pthread_mutex_init(&run->job.complaint_lock, NULL);
	err = carry_out(run);
	release(run);
	if (!err) {
		*out = result;
		result = NULL;
	}
out:
	bench_result_free(result);
	free(run);
	return err;
}
