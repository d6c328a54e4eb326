/*
 * The report of a run: see report.h. Both forms come from the same few sums. Main thread.
 */
#include "target/bench/report.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "target/bench/stamp.h"

static const char *const workload_names[] = {
	[BENCH_READ] = "read", [BENCH_WRITE] = "write", [BENCH_MIX] = "mix"};
static const char *const pattern_names[] = {
	[BENCH_RANDOM] = "random", [BENCH_SEQUENTIAL] = "sequential"};

struct percentile {
	const char *name;
	unsigned per_mille;
};

static const struct percentile percentiles[] = {
	{"p50", 500}, {"p90", 900}, {"p99", 990}, {"p99.9", 999}};

/* One line of the table: one direction, or both. */
struct row {
	const char *name;
	uint64_t ios;
	const struct histogram *latency;
};

static double seconds_of(const struct bench_result *result)
{
	return (double)result->measured_ns / (double)CLOCK_NS_PER_S;
}

static double per_second(const struct bench_result *result, uint64_t count)
{
	return result->measured_ns ? (double)count / seconds_of(result) : 0;
}

static double us(uint64_t ns)
{
	return (double)ns / (double)CLOCK_NS_PER_US;
}

static double us_per_io(const struct bench_result *result, uint64_t cpu_ns)
{
	uint64_t ios = result->reads + result->writes;

	return ios ? us(cpu_ns) / (double)ios : 0;
}

/* Of one CPU: 100 is a CPU that did nothing else. */
static double cpu_percent(const struct bench_result *result, uint64_t cpu_ns)
{
	return result->measured_ns ? 100.0 * (double)cpu_ns / (double)result->measured_ns : 0;
}

/* ---- Table ---- */

static void print_size(FILE *to, uint64_t bytes)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	unsigned unit = 0;
	double value = (double)bytes;

	while (value >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
		value /= 1024;
		unit++;
	}
	(void)fprintf(to, value < 10 && value != (double)(uint64_t)value ? "%.1f %s" : "%.0f %s",
		      value, units[unit]);
}

static void print_head(const struct bench_result *result, FILE *to)
{
	const struct bench_options *options = result->options;
	const struct bench_url *url = &options->url;
	bool brackets = strchr(url->host, ':') != NULL;

	(void)fprintf(to, "iscsi://%s%s%s:%u/%s/%u: ", brackets ? "[" : "", url->host,
		      brackets ? "]" : "", url->port, url->target, url->lun);
	print_size(to, result->capacity.bytes);
	(void)fprintf(to, ", blocks of %u bytes\n", result->capacity.block_bytes);
	print_size(to, options->block_bytes);
	(void)fprintf(to, " %s %s", pattern_names[options->pattern],
		      workload_names[options->workload]);
	if (options->workload == BENCH_MIX)
		(void)fprintf(to, " (%" PRIu64 " %% reads)", options->read_percent);
	(void)fprintf(to,
		      ", %" PRIu64 " session%s x depth %" PRIu64 ", %" PRIu64 " thread%s, %.2f s\n",
		      options->sessions, options->sessions > 1 ? "s" : "", options->queue_depth,
		      options->threads, options->threads > 1 ? "s" : "", seconds_of(result));
}

static void print_params(const struct iscsi_params *params, FILE *to)
{
	(void)fprintf(to,
		      "ImmediateData=%s InitialR2T=%s FirstBurst=%u MaxBurst=%u "
		      "MaxOutstandingR2T=%u segment=%u digests=%s%s%s\n\n",
		      params->immediate_data ? "Yes" : "No", params->initial_r2t ? "Yes" : "No",
		      params->first_burst_length, params->max_burst_length,
		      params->max_outstanding_r2t, params->max_send_data_segment_length,
		      params->header_digest ? "header" : "",
		      params->header_digest && params->data_digest ? "+" : "",
		      params->data_digest     ? "data"
		      : params->header_digest ? ""
					      : "none");
}

static void print_row(const struct bench_result *result, const struct row *row, FILE *to)
{
	double rate = per_second(result, row->ios);

	(void)fprintf(to, "%-6s %10.0f %9.1f %9.1f", row->name, rate,
		      rate * (double)result->options->block_bytes / (1 << 20),
		      us(histogram_mean_ns(row->latency)));
	for (size_t i = 0; i < ARRAY_SIZE(percentiles); i++) {
		(void)fprintf(to, " %9.1f",
			      us(histogram_percentile_ns(row->latency, percentiles[i].per_mille)));
	}
	(void)fprintf(to, " %9.1f\n", us(row->latency->max_ns));
}

static void print_cpu(const struct bench_result *result, const char *name, uint64_t cpu_ns,
		      FILE *to)
{
	(void)fprintf(to, "%s CPU  %8.2f us per I/O, %.0f %% of one CPU\n", name,
		      us_per_io(result, cpu_ns), cpu_percent(result, cpu_ns));
}

static void print_counts(const struct bench_result *result, FILE *to)
{
	if (result->task_set_full + result->busy + result->unit_attentions > 0) {
		(void)fprintf(to,
			      "retried     %" PRIu64 " TASK SET FULL, %" PRIu64 " BUSY, %" PRIu64
			      " unit attentions\n",
			      result->task_set_full, result->busy, result->unit_attentions);
	}
	if (result->options->verify) {
		(void)fprintf(to, "verified    %" PRIu64 " blocks of %u bytes, %" PRIu64 " wrong\n",
			      result->blocks_verified, STAMP_BYTES, result->verify_errors);
	}
	(void)fprintf(to, "errors      %" PRIu64 "\n", result->io_errors);
}

/* The lines to show: a direction only if it took part, both only if there are two. */
static unsigned rows_of(const struct bench_result *result, struct histogram *both,
			struct row rows[3])
{
	unsigned count = 0;

	if (result->options->workload != BENCH_WRITE)
		rows[count++] = (struct row){"read", result->reads, &result->latency[0]};
	if (result->options->workload != BENCH_READ)
		rows[count++] = (struct row){"write", result->writes, &result->latency[1]};
	if (result->options->workload == BENCH_MIX) {
		*both = result->latency[0];
		histogram_merge(both, &result->latency[1]);
		rows[count++] = (struct row){"both", result->reads + result->writes, both};
	}
	return count;
}

int bench_report_table(const struct bench_result *result, FILE *to)
{
	struct histogram *both = malloc(sizeof(*both));
	struct row rows[3];
	unsigned count;

	if (!both)
		return -ENOMEM;
	count = rows_of(result, both, rows);
	print_head(result, to);
	print_params(&result->params, to);
	(void)fprintf(to, "%-6s %10s %9s %9s %9s %9s %9s %9s %9s\n", "", "IOPS", "MiB/s", "mean us",
		      "p50", "p90", "p99", "p99.9", "max");
	for (unsigned i = 0; i < count; i++)
		print_row(result, &rows[i], to);
	if (result->has_target_cpu)
		print_cpu(result, "target", result->target_cpu_ns, to);
	print_cpu(result, "client", result->client_cpu_ns, to);
	print_counts(result, to);
	free(both);
	return fflush(to) == 0 && !ferror(to) ? 0 : -EIO;
}

/* ---- JSON ---- */

/* jansson's pack answers NULL for a NULL part and frees the others, so one check at the end does.
 */

static json_t *json_latency(const struct histogram *latency)
{
	json_t *object = json_pack("{s:I, s:f, s:f}", "count", (json_int_t)latency->count, "mean",
				   us(histogram_mean_ns(latency)), "max", us(latency->max_ns));

	for (size_t i = 0; object && i < ARRAY_SIZE(percentiles); i++) {
		uint64_t ns = histogram_percentile_ns(latency, percentiles[i].per_mille);

		if (json_object_set_new(object, percentiles[i].name, json_real(us(ns))) != 0) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

static json_t *json_row(const struct bench_result *result, const struct row *row)
{
	double rate = per_second(result, row->ios);

	return json_pack("{s:I, s:f, s:f, s:o}", "ios", (json_int_t)row->ios, "iops", rate,
			 "bytes_per_s", rate * (double)result->options->block_bytes, "latency_us",
			 json_latency(row->latency));
}

static json_t *json_cpu(const struct bench_result *result, uint64_t cpu_ns)
{
	return json_pack("{s:f, s:f}", "us_per_io", us_per_io(result, cpu_ns), "percent",
			 cpu_percent(result, cpu_ns));
}

static json_t *json_options(const struct bench_options *options)
{
	return json_pack(
		"{s:s, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:b, s:b}", "workload",
		workload_names[options->workload], "read_percent",
		(json_int_t)options->read_percent, "pattern", pattern_names[options->pattern],
		"block_bytes", (json_int_t)options->block_bytes, "sessions",
		(json_int_t)options->sessions, "queue_depth", (json_int_t)options->queue_depth,
		"threads", (json_int_t)options->threads, "ramp_ms", (json_int_t)options->ramp_ms,
		"fill", options->fill, "verify", options->verify);
}

static json_t *json_params(const struct iscsi_params *params)
{
	return json_pack(
		"{s:b, s:b, s:i, s:i, s:i, s:i, s:i, s:b, s:b}", "ImmediateData",
		params->immediate_data, "InitialR2T", params->initial_r2t, "FirstBurstLength",
		(int)params->first_burst_length, "MaxBurstLength", (int)params->max_burst_length,
		"MaxOutstandingR2T", (int)params->max_outstanding_r2t, "MaxRecvDataSegmentLength",
		(int)params->max_recv_data_segment_length, "TargetMaxRecvDataSegmentLength",
		(int)params->max_send_data_segment_length, "HeaderDigest", params->header_digest,
		"DataDigest", params->data_digest);
}

static json_t *json_result(const struct bench_result *result)
{
	const struct bench_url *url = &result->options->url;

	return json_pack(
		"{s:i, s:{s:s, s:i, s:s, s:i, s:I, s:i, s:I}, s:o, s:o, s:f, s:o, "
		"s:{s:I, s:I, s:I}, s:{s:I, s:I}, s:I}",
		"format", 1, "lun", "host", url->host, "port", (int)url->port, "target",
		url->target, "number", (int)url->lun, "bytes", (json_int_t)result->capacity.bytes,
		"block_bytes", (int)result->capacity.block_bytes, "region_bytes",
		(json_int_t)result->region_bytes, "options", json_options(result->options),
		"negotiated", json_params(&result->params), "seconds", seconds_of(result),
		"client_cpu", json_cpu(result, result->client_cpu_ns), "retried", "task_set_full",
		(json_int_t)result->task_set_full, "busy", (json_int_t)result->busy,
		"unit_attention", (json_int_t)result->unit_attentions, "errors", "io",
		(json_int_t)result->io_errors, "verify", (json_int_t)result->verify_errors,
		"blocks_verified", (json_int_t)result->blocks_verified);
}

int bench_report_json(const struct bench_result *result, FILE *to)
{
	struct histogram *both = malloc(sizeof(*both));
	json_t *object = json_result(result);
	struct row rows[3];
	unsigned count;
	int err = 0;

	if (!both || !object)
		err = -ENOMEM;
	count = err ? 0 : rows_of(result, both, rows);
	for (unsigned i = 0; !err && i < count; i++) {
		if (json_object_set_new(object, rows[i].name, json_row(result, &rows[i])) != 0)
			err = -ENOMEM;
	}
	if (!err && result->has_target_cpu &&
	    json_object_set_new(object, "target_cpu", json_cpu(result, result->target_cpu_ns)) != 0)
		err = -ENOMEM;
	if (!err && (json_dumpf(object, to, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) != 0 ||
		     fputc('\n', to) == EOF || fflush(to) != 0))
		err = -EIO;
	json_decref(object);
	free(both);
	return err;
}
