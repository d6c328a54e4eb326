/*
 * A result added up: see totals.h. Pure functions, any thread.
 */
#include "target/bench/totals.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct bench_percentile bench_percentiles[BENCH_PERCENTILE_COUNT] = {
	{"p50", 500000}, {"p90", 900000}, {"p99", 990000}, {"p99.9", 999000}, {"p99.99", 999900},
};

const char *const bench_row_names[BENCH_ROW_COUNT] = {
	[BENCH_ROW_READ] = "read",
	[BENCH_ROW_WRITE] = "write",
	[BENCH_ROW_BOTH] = "both",
};

double bench_seconds(const struct bench_result *result)
{
	return (double)result->measured_ns / (double)CLOCK_NS_PER_S;
}

double bench_rate(const struct bench_result *result, uint64_t count)
{
	return result->measured_ns ? (double)count / bench_seconds(result) : 0;
}

static uint64_t count_ios(const struct bench_result *result)
{
	uint64_t ios = 0;

	for (unsigned i = 0; i < 2 * result->options->mix.count; i++)
		ios += result->latency[i].count;
	return ios;
}

double bench_us_per_io(const struct bench_result *result, uint64_t cpu_ns)
{
	uint64_t ios = count_ios(result);

	return ios ? bench_us(cpu_ns) / (double)ios : 0;
}

double bench_cpu_percent(const struct bench_result *result, uint64_t cpu_ns)
{
	return result->measured_ns ? 100.0 * (double)cpu_ns / (double)result->measured_ns : 0;
}

static void add(struct bench_total *total, const struct bench_result *result,
		const struct histogram *latency, uint32_t bytes)
{
	double rate = bench_rate(result, latency->count);

	total->iops += rate;
	total->bytes_per_s += rate * bytes;
	histogram_merge(&total->latency, latency);
}

struct bench_totals *bench_totals_new(const struct bench_result *result)
{
	const struct bench_options *options = result->options;
	struct bench_totals *totals = calloc(1, sizeof(*totals));

	if (!totals)
		return NULL;
	for (unsigned i = 0; i < 2 * options->mix.count; i++) {
		uint32_t bytes = options->mix.classes[i / 2].bytes;

		add(&totals->rows[i % 2], result, &result->latency[i], bytes);
		add(&totals->rows[BENCH_ROW_BOTH], result, &result->latency[i], bytes);
	}
	totals->shown[BENCH_ROW_READ] = options->workload != BENCH_WRITE;
	totals->shown[BENCH_ROW_WRITE] = options->workload != BENCH_READ;
	totals->shown[BENCH_ROW_BOTH] = options->workload == BENCH_MIX;
	return totals;
}

void bench_size_describe(uint64_t bytes, char *out, size_t size_bytes)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	unsigned unit = 0;
	double value = (double)bytes;

	while (value >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
		value /= 1024;
		unit++;
	}
	(void)snprintf(out, size_bytes,
		       value < 10 && value != (double)(uint64_t)value ? "%.1f %s" : "%.0f %s",
		       value, units[unit]);
}

/* The commands of a run without a profile: "4 KiB + 64 KiB random mix (70 % reads)". */
static void describe_commands(const struct bench_options *options, FILE *to)
{
	static const char *const workloads[] = {
		[BENCH_READ] = "read", [BENCH_WRITE] = "write", [BENCH_MIX] = "mix"};

	for (unsigned i = 0; i < options->mix.count; i++) {
		char size[32];

		bench_size_describe(options->mix.classes[i].bytes, size, sizeof(size));
		(void)fprintf(to, "%s%s", i > 0 ? " + " : "", size);
	}
	(void)fprintf(to, " %s %s", options->pattern == BENCH_SEQUENTIAL ? "sequential" : "random",
		      workloads[options->workload]);
	if (options->workload == BENCH_MIX)
		(void)fprintf(to, " (%" PRIu64 " %% reads)", options->read_percent);
}

void bench_workload_describe(const struct bench_options *options, char *out, size_t size_bytes)
{
	FILE *to = fmemopen(out, size_bytes, "w");

	out[0] = '\0';
	if (!to)
		return;
	if (options->profile) {
		(void)fprintf(to, "profile %s", options->profile);
	} else {
		describe_commands(options, to);
	}
	(void)fprintf(to, ", %" PRIu64 " session%s x depth %" PRIu64, options->sessions,
		      options->sessions > 1 ? "s" : "", options->queue_depth);
	if (options->burst > 0) {
		(void)fprintf(to, ", bursts of %" PRIu64 " with pauses of %" PRIu64 " ms",
			      options->burst, options->pause_ms);
	}
	(void)fclose(to);
	out[size_bytes - 1] = '\0';
}

void bench_url_describe(const struct bench_url *url, char *out, size_t size_bytes)
{
	bool brackets = strchr(url->host, ':') != NULL;

	(void)snprintf(out, size_bytes, "iscsi://%s%s%s:%u/%s/%u", brackets ? "[" : "", url->host,
		       brackets ? "]" : "", url->port, url->target, url->lun);
}
