/*
 * The report of a run as a table for people: see report.h. Main thread.
 */
#include "target/bench/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "target/bench/stamp.h"
#include "target/bench/totals.h"

#define MIB (double)(1 << 20)

static void print_head(const struct bench_result *result, FILE *to)
{
	char text[512];
	char size[32];

	bench_url_describe(&result->options->url, text, sizeof(text));
	bench_size_describe(result->capacity.bytes, size, sizeof(size));
	(void)fprintf(to, "%s: %s, blocks of %u bytes\n", text, size, result->capacity.block_bytes);
	bench_workload_describe(result->options, text, sizeof(text));
	(void)fprintf(to, "%s, %" PRIu64 " thread%s, %.2f s\n", text, result->options->threads,
		      result->options->threads > 1 ? "s" : "", bench_seconds(result));
}

static void print_params(const struct iscsi_params *params, FILE *to)
{
	(void)fprintf(to,
		      "ImmediateData=%s InitialR2T=%s FirstBurst=%u MaxBurst=%u "
		      "MaxOutstandingR2T=%u segment=%u digests=%s%s%s\n",
		      params->immediate_data ? "Yes" : "No", params->initial_r2t ? "Yes" : "No",
		      params->first_burst_length, params->max_burst_length,
		      params->max_outstanding_r2t, params->max_send_data_segment_length,
		      params->header_digest ? "header" : "",
		      params->header_digest && params->data_digest ? "+" : "",
		      params->data_digest     ? "data"
		      : params->header_digest ? ""
					      : "none");
}

static void print_steady(const struct bench_result *result, FILE *to)
{
	const struct steady *steady = &result->steady;
	double seconds = (double)result->steady_count * (double)result->options->steady_window_ms /
			 STEADY_SAMPLES / 1000;

	if (!result->options->steady_state)
		return;
	(void)fprintf(to, "steady state %s after %.1f s: range %.1f %%, slope %+.1f %%\n",
		      steady->reached ? "reached" : "NOT REACHED", seconds, steady->range_percent,
		      steady->slope_percent);
}

static void print_latency(const struct histogram *latency, FILE *to)
{
	(void)fprintf(to, " %9.1f", bench_us(histogram_mean_ns(latency)));
	for (size_t i = 0; i < BENCH_PERCENTILE_COUNT; i++) {
		unsigned per_million = bench_percentiles[i].per_million;

		(void)fprintf(to, " %9.1f",
			      bench_us(histogram_percentile_ns(latency, per_million)));
	}
	(void)fprintf(to, " %9.1f\n", bench_us(latency->max_ns));
}

static void print_columns(const char *first, FILE *to)
{
	(void)fprintf(to, "\n%-6s %10s %9s %9s", first, "IOPS", "MiB/s", "mean us");
	for (size_t i = 0; i < BENCH_PERCENTILE_COUNT; i++)
		(void)fprintf(to, " %9s", bench_percentiles[i].name);
	(void)fprintf(to, " %9s\n", "max");
}

static void print_rows(const struct bench_totals *totals, FILE *to)
{
	print_columns("", to);
	for (unsigned i = 0; i < BENCH_ROW_COUNT; i++) {
		const struct bench_total *row = &totals->rows[i];

		if (!totals->shown[i])
			continue;
		(void)fprintf(to, "%-6s %10.0f %9.1f", bench_row_names[i], row->iops,
			      row->bytes_per_s / MIB);
		print_latency(&row->latency, to);
	}
}

/* "pages: 8 KiB random, 85 % of commands", then a line for each direction. */
static void print_class(const struct bench_result *result, unsigned number, FILE *to)
{
	const struct mix_class *class = &result->options->mix.classes[number];
	char pattern[32];
	char size[32];

	bench_size_describe(class->bytes, size, sizeof(size));
	mix_pattern_name(class, pattern, sizeof(pattern));
	(void)fprintf(to, "%s%s%s %s, %.0f %% of the commands\n", class->name,
		      class->name[0] ? ": " : "", size, pattern,
		      mix_share_percent(&result->options->mix, number));
	for (unsigned i = 0; i < 2; i++) {
		const struct histogram *latency = &result->latency[2 * number + i];
		double rate = bench_rate(result, latency->count);

		if (latency->count == 0)
			continue;
		(void)fprintf(to, "%-6s %10.0f %9.1f", i == 0 ? "read" : "write", rate,
			      rate * class->bytes / MIB);
		print_latency(latency, to);
	}
}

static void print_classes(const struct bench_result *result, FILE *to)
{
	if (result->options->mix.count < 2)
		return;
	(void)fputc('\n', to);
	for (unsigned i = 0; i < result->options->mix.count; i++)
		print_class(result, i, to);
}

static void print_cpu(const struct bench_result *result, const char *name, uint64_t cpu_ns,
		      FILE *to)
{
	(void)fprintf(to, "%s CPU  %8.2f us per I/O, %.0f %% of one CPU\n", name,
		      bench_us_per_io(result, cpu_ns), bench_cpu_percent(result, cpu_ns));
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

static void print_histograms(const struct bench_totals *totals, FILE *to)
{
	for (unsigned i = 0; i < BENCH_ROW_BOTH; i++) {
		if (totals->shown[i])
			bench_bars_print(&totals->rows[i].latency, bench_row_names[i], to);
	}
}

int bench_report_table(const struct bench_result *result, FILE *to)
{
	struct bench_totals *totals = bench_totals_new(result);

	if (!totals)
		return -ENOMEM;
	print_head(result, to);
	print_params(&result->params, to);
	print_steady(result, to);
	print_rows(totals, to);
	print_classes(result, to);
	(void)fputc('\n', to);
	if (result->has_target_cpu)
		print_cpu(result, "target", result->target_cpu_ns, to);
	print_cpu(result, "client", result->client_cpu_ns, to);
	print_counts(result, to);
	if (result->options->histogram)
		print_histograms(totals, to);
	free(totals);
	return fflush(to) == 0 && !ferror(to) ? 0 : -EIO;
}
