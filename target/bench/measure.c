/*
 * The measured phase: cuts it into intervals, at whose ends the workers change banks, and adds up.
 * Before it, on request, the wait for a steady rate. Main thread; what the workers count is read
 * only after they have moved on to the other bank. Read next: worker.h, run_internal.h.
 */
#include "target/bench/run_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"

/* How often it is looked whether all workers have followed. */
#define FOLLOW_LOOK_NS CLOCK_NS_PER_MS

/* ---- Clocks ---- */

struct reading {
	uint64_t target_cpu_ns;
	uint64_t client_cpu_ns;
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now = {0};

	/* A process that is gone reads as zero; the caller notices. */
	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * CLOCK_NS_PER_S + (uint64_t)now.tv_nsec;
}

/* The CPU clock of a process is the sum of the user and system time of all its threads, those of
 * the kernel that work for it (io workers) and those that have ended included: what /proc/PID/stat
 * shows as utime + stime, but in nanoseconds instead of ticks. */
static struct reading read_clocks(const struct run *run)
{
	uint64_t pid = run->job.options->target_pid;
	struct reading reading = {.client_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID)};
	clockid_t clock;

	if (pid > 0 && clock_getcpuclockid((pid_t)pid, &clock) == 0)
		reading.target_cpu_ns = clock_ns(clock);
	return reading;
}

/* ---- Intervals ---- */

/* What measuring needs beside the run. */
struct measurement {
	struct histogram rows[BENCH_ROW_COUNT]; /* Of the interval in hand. */
	struct reading last;
	uint64_t began_ns;
};

/* Ask all workers to count into the other bank from now on, and wait until they do. */
static int change_banks(struct run *run, uint32_t *out_rested)
{
	uint32_t number = atomic_load(&run->job.bank) + 1;
	int err = 0;

	*out_rested = (number - 1) % 2;
	atomic_store(&run->job.bank, number);
	for (uint32_t i = 0; i < run->started && !err; i++) {
		while (!err && !bench_worker_follows(&run->workers[i], number))
			err = run_sleep_until(run, clock_now_ns() + FOLLOW_LOOK_NS);
	}
	return err;
}

static void add_histogram(struct run *run, struct measurement *measurement, unsigned number,
			  struct histogram *from)
{
	if (from->count == 0)
		return;
	histogram_merge(&run->result->latency[number], from);
	histogram_merge(&measurement->rows[number % 2], from);
	histogram_clear(from);
}

/* One worker's rested bank: into the sums, and its rates into the interval. Every worker has its
 * own clock reading for both ends, so its rates are right however late it followed. */
static void add_bank(struct run *run, struct measurement *measurement,
		     const struct bench_worker *worker, uint32_t bank,
		     struct bench_interval *interval)
{
	const struct mix *mix = &run->job.options->mix;
	uint64_t ns = worker->bank_ended_ns[bank] - worker->bank_began_ns[bank];
	double seconds = (double)ns / (double)CLOCK_NS_PER_S;

	for (unsigned i = 0; i < 2 * mix->count; i++) {
		struct histogram *histogram = &worker->banks[bank][i];
		struct bench_sample *sample = &interval->rows[i % 2];
		uint32_t class_bytes = mix->classes[i / 2].bytes;
		double rate = seconds > 0 ? (double)histogram->count / seconds : 0;

		sample->iops += rate;
		sample->bytes_per_s += rate * class_bytes;
		add_histogram(run, measurement, i, histogram);
	}
	interval->seconds += seconds / run->started;
}

static void sum_row(struct bench_sample *sample, const struct histogram *latency)
{
	sample->mean_ns = histogram_mean_ns(latency);
	sample->p50_ns = histogram_percentile_ns(latency, 500000);
	sample->p99_ns = histogram_percentile_ns(latency, 990000);
}

static void sum_rows(struct measurement *measurement, struct bench_interval *interval)
{
	struct histogram *rows = measurement->rows;
	struct bench_sample *samples = interval->rows;

	histogram_merge(&rows[BENCH_ROW_BOTH], &rows[BENCH_ROW_READ]);
	histogram_merge(&rows[BENCH_ROW_BOTH], &rows[BENCH_ROW_WRITE]);
	samples[BENCH_ROW_BOTH].iops = samples[BENCH_ROW_READ].iops + samples[BENCH_ROW_WRITE].iops;
	samples[BENCH_ROW_BOTH].bytes_per_s =
		samples[BENCH_ROW_READ].bytes_per_s + samples[BENCH_ROW_WRITE].bytes_per_s;
	for (unsigned i = 0; i < BENCH_ROW_COUNT; i++)
		sum_row(&samples[i], &rows[i]);
}

/* CPU time since the last interval's end, per I/O and into the sums. */
static void sum_cpu(struct run *run, struct measurement *measurement,
		    struct bench_interval *interval)
{
	struct reading now = read_clocks(run);
	uint64_t target_ns = now.target_cpu_ns - measurement->last.target_cpu_ns;
	uint64_t client_ns = now.client_cpu_ns - measurement->last.client_cpu_ns;
	double ios = (double)measurement->rows[BENCH_ROW_BOTH].count;

	if (now.target_cpu_ns < measurement->last.target_cpu_ns || now.target_cpu_ns == 0) {
		run->result->has_target_cpu = false;
		target_ns = 0;
	}
	if (ios > 0) {
		interval->target_cpu_us = (double)target_ns / ios / (double)CLOCK_NS_PER_US;
		interval->client_cpu_us = (double)client_ns / ios / (double)CLOCK_NS_PER_US;
	}
	run->result->target_cpu_ns += target_ns;
	run->result->client_cpu_ns += client_ns;
	measurement->last = now;
}

static int end_interval(struct run *run, struct measurement *measurement)
{
	struct bench_result *result = run->result;
	struct bench_interval *interval = &result->intervals[result->interval_count];
	uint32_t rested;
	int err = change_banks(run, &rested);

	if (err)
		return err;
	for (unsigned i = 0; i < BENCH_ROW_COUNT; i++)
		histogram_clear(&measurement->rows[i]);
	interval->begin_s = (double)result->measured_ns / (double)CLOCK_NS_PER_S;
	for (uint32_t i = 0; i < run->started; i++)
		add_bank(run, measurement, &run->workers[i], rested, interval);
	sum_rows(measurement, interval);
	sum_cpu(run, measurement, interval);
	result->measured_ns += (uint64_t)(interval->seconds * (double)CLOCK_NS_PER_S);
	result->interval_count++;
	return 0;
}

/* As many whole intervals as come nearest to the time, at least one. */
static uint32_t count_intervals(const struct bench_options *options)
{
	uint64_t count = (options->time_ms + options->interval_ms / 2) / options->interval_ms;

	return count > 0 ? (uint32_t)count : 1;
}

static int measure_intervals(struct run *run, struct measurement *measurement, uint32_t count)
{
	uint64_t time_ns = run->job.options->time_ms * CLOCK_NS_PER_MS;
	int err = 0;

	run->result->has_target_cpu = run->job.options->target_pid > 0;
	measurement->last = read_clocks(run);
	run_set_phase(run, PHASE_MEASURE);
	measurement->began_ns = run->phase_began_ns;
	for (uint32_t i = 1; i <= count && !err; i++) {
		err = run_sleep_until(run, measurement->began_ns + time_ns / count * i);
		if (!err)
			err = end_interval(run, measurement);
	}
	if (!err && run->job.options->target_pid > 0 && !run->result->has_target_cpu) {
		bench_complain(&run->job, "process %" PRIu64 " has ended",
			       run->job.options->target_pid);
	}
	return err;
}

int run_measure(struct run *run)
{
	uint32_t count = count_intervals(run->job.options);
	struct measurement *measurement = calloc(1, sizeof(*measurement));
	int err = -ENOMEM;

	run->result->intervals = calloc(count, sizeof(*run->result->intervals));
	run->result->latency =
		calloc(2ul * run->job.options->mix.count, sizeof(*run->result->latency));
	if (measurement && run->result->intervals && run->result->latency)
		err = measure_intervals(run, measurement, count);
	free(measurement);
	return err;
}

/* ---- Steady state ---- */

static int wait_steady(struct run *run, uint32_t samples_max)
{
	const struct bench_options *options = run->job.options;
	struct bench_result *result = run->result;
	const struct steady_limits limits = {(double)options->steady_range_percent,
					     (double)options->steady_slope_percent};
	uint64_t sample_ns = options->steady_window_ms * CLOCK_NS_PER_MS / STEADY_SAMPLES;
	uint64_t last_ns = clock_now_ns();
	uint64_t last_ios = run_ios(run);

	while (!result->steady.reached && result->steady_count < samples_max) {
		int err = run_sleep_until(run, last_ns + sample_ns);
		uint64_t now_ns = clock_now_ns();
		uint64_t ios = run_ios(run);
		double rate = (double)(ios - last_ios) * (double)CLOCK_NS_PER_S /
			      (double)(now_ns - last_ns);

		if (err)
			return err;
		result->steady_rates[result->steady_count++] = rate;
		steady_add(&result->steady, &limits, rate);
		last_ns = now_ns;
		last_ios = ios;
	}
	return 0;
}

int run_until_steady(struct run *run)
{
	const struct bench_options *options = run->job.options;
	uint32_t samples_max =
		(uint32_t)(options->steady_limit_ms * STEADY_SAMPLES / options->steady_window_ms);
	int err;

	run->result->steady_rates = calloc(samples_max, sizeof(*run->result->steady_rates));
	if (!run->result->steady_rates)
		return -ENOMEM;
	err = wait_steady(run, samples_max);
	if (!err && !run->result->steady.reached) {
		bench_complain(&run->job,
			       "no steady state within %" PRIu64
			       " ms: range %.1f %%, slope %.1f %%; measuring anyway",
			       options->steady_limit_ms, run->result->steady.range_percent,
			       run->result->steady.slope_percent);
	}
	return err;
}
