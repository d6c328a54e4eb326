/*
 * The report of a run as one JSON object: see report.h; its members are described in ringsan.1.
 * What reads it back is result_file.c. Main thread.
 *
 * jansson's pack answers NULL for a NULL part and frees the others, and setting a NULL value is an
 * error, so one check at the end of a group does.
 */
#include "target/bench/report.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#include "target/bench/totals.h"

static json_t *integer(uint64_t value)
{
	return json_integer((json_int_t)value);
}

/* [[end of the bucket in us, samples in it], ...], without the empty ones. */
static json_t *json_buckets(const struct histogram *latency)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		if (latency->buckets[i] == 0)
			continue;
		if (json_array_append_new(array,
					  json_pack("[f, I]", bench_us(histogram_bucket_end_ns(i)),
						    (json_int_t)latency->buckets[i])) != 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *json_latency(const struct histogram *latency, bool buckets)
{
	json_t *object =
		json_pack("{s:o, s:f, s:f}", "count", integer(latency->count), "mean",
			  bench_us(histogram_mean_ns(latency)), "max", bench_us(latency->max_ns));
	int err = 0;

	for (size_t i = 0; i < BENCH_PERCENTILE_COUNT; i++) {
		const struct bench_percentile *row = &bench_percentiles[i];
		uint64_t ns = histogram_percentile_ns(latency, row->per_million);

		err |= json_object_set_new(object, row->name, json_real(bench_us(ns)));
	}
	if (buckets)
		err |= json_object_set_new(object, "buckets", json_buckets(latency));
	if (err) {
		json_decref(object);
		return NULL;
	}
	return object;
}

static json_t *json_total(const struct bench_total *total, bool buckets)
{
	return json_pack("{s:o, s:f, s:f, s:o}", "ios", integer(total->latency.count), "iops",
			 total->iops, "bytes_per_s", total->bytes_per_s, "latency_us",
			 json_latency(&total->latency, buckets));
}

static json_t *json_cpu(const struct bench_result *result, uint64_t cpu_ns)
{
	return json_pack("{s:f, s:f}", "us_per_io", bench_us_per_io(result, cpu_ns), "percent",
			 bench_cpu_percent(result, cpu_ns));
}

static json_t *json_options(const struct bench_options *options)
{
	static const char *const workloads[] = {
		[BENCH_READ] = "read", [BENCH_WRITE] = "write", [BENCH_MIX] = "mix"};
	static const char *const patterns[] = {
		[BENCH_RANDOM] = "random", [BENCH_SEQUENTIAL] = "sequential"};
	json_t *object = json_pack(
		"{s:s?, s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:b, s:b, s:o}",
		"profile", options->profile, "workload", workloads[options->workload],
		"read_percent", integer(options->read_percent), "pattern",
		patterns[options->pattern], "sessions", integer(options->sessions), "queue_depth",
		integer(options->queue_depth), "threads", integer(options->threads), "burst",
		integer(options->burst), "pause_ms", integer(options->pause_ms), "ramp_ms",
		integer(options->ramp_ms), "time_ms", integer(options->time_ms), "interval_ms",
		integer(options->interval_ms), "steady_state", options->steady_state, "fill",
		options->fill, "verify", options->verify, "seed", integer(options->seed));

	/* Where there is one size only. */
	if (options->mix.unit_bytes == options->mix.largest_bytes &&
	    json_object_set_new(object, "block_bytes", integer(options->mix.unit_bytes)) != 0) {
		json_decref(object);
		return NULL;
	}
	return object;
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
		"{s:i, s:{s:s, s:i, s:s, s:i, s:o, s:i, s:o}, s:o, s:o, s:f, s:o, "
		"s:{s:o, s:o, s:o}, s:{s:o, s:o}, s:o}",
		"format", 1, "lun", "host", url->host, "port", (int)url->port, "target",
		url->target, "number", (int)url->lun, "bytes", integer(result->capacity.bytes),
		"block_bytes", (int)result->capacity.block_bytes, "region_bytes",
		integer(result->region_bytes), "options", json_options(result->options),
		"negotiated", json_params(&result->params), "seconds", bench_seconds(result),
		"client_cpu", json_cpu(result, result->client_cpu_ns), "retried", "task_set_full",
		integer(result->task_set_full), "busy", integer(result->busy), "unit_attention",
		integer(result->unit_attentions), "errors", "io", integer(result->io_errors),
		"verify", integer(result->verify_errors), "blocks_verified",
		integer(result->blocks_verified));
}

/* ---- Parts that are lists ---- */

static json_t *json_class(const struct bench_result *result, unsigned number)
{
	const struct mix_class *class = &result->options->mix.classes[number];
	char pattern[32];
	json_t *object;
	int err = 0;

	mix_pattern_name(class, pattern, sizeof(pattern));
	object = json_pack("{s:s, s:o, s:f, s:o, s:s}", "name", class->name, "block_bytes",
			   integer(class->bytes), "share_percent",
			   mix_share_percent(&result->options->mix, number), "read_percent",
			   integer(class->read_percent), "pattern", pattern);
	for (unsigned i = 0; i < BENCH_ROW_BOTH; i++) {
		const struct histogram *latency = &result->latency[2 * number + i];
		double rate = bench_rate(result, latency->count);

		if (latency->count == 0)
			continue;
		err |= json_object_set_new(
			object, bench_row_names[i],
			json_pack("{s:o, s:f, s:f, s:o}", "ios", integer(latency->count), "iops",
				  rate, "bytes_per_s", rate * class->bytes, "latency_us",
				  json_latency(latency, result->options->histogram)));
	}
	if (err) {
		json_decref(object);
		return NULL;
	}
	return object;
}

static json_t *json_sample(const struct bench_sample *sample)
{
	return json_pack("{s:f, s:f, s:{s:f, s:f, s:f}}", "iops", sample->iops, "bytes_per_s",
			 sample->bytes_per_s, "latency_us", "mean", bench_us(sample->mean_ns),
			 "p50", bench_us(sample->p50_ns), "p99", bench_us(sample->p99_ns));
}

static json_t *json_interval(const struct bench_result *result, const struct bench_totals *totals,
			     const struct bench_interval *interval)
{
	json_t *object = json_pack("{s:f, s:f, s:f}", "at", interval->begin_s, "seconds",
				   interval->seconds, "client_cpu_us", interval->client_cpu_us);
	int err = 0;

	for (unsigned i = 0; i < BENCH_ROW_COUNT; i++) {
		if (totals->shown[i])
			err |= json_object_set_new(object, bench_row_names[i],
						   json_sample(&interval->rows[i]));
	}
	if (result->has_target_cpu)
		err |= json_object_set_new(object, "target_cpu_us",
					   json_real(interval->target_cpu_us));
	if (err) {
		json_decref(object);
		return NULL;
	}
	return object;
}

static json_t *json_classes(const struct bench_result *result)
{
	json_t *array = json_array();
	int err = 0;

	for (unsigned i = 0; i < result->options->mix.count; i++)
		err |= json_array_append_new(array, json_class(result, i));
	if (err) {
		json_decref(array);
		return NULL;
	}
	return array;
}

static json_t *json_intervals(const struct bench_result *result, const struct bench_totals *totals)
{
	json_t *array = json_array();
	int err = 0;

	for (uint32_t i = 0; i < result->interval_count; i++)
		err |= json_array_append_new(array,
					     json_interval(result, totals, &result->intervals[i]));
	if (err) {
		json_decref(array);
		return NULL;
	}
	return array;
}

static json_t *json_steady(const struct bench_result *result)
{
	const struct bench_options *options = result->options;
	double sample_s = (double)options->steady_window_ms / STEADY_SAMPLES / 1000;
	json_t *rates = json_array();
	int err = 0;

	for (uint32_t i = 0; i < result->steady_count; i++)
		err |= json_array_append_new(rates, json_real(result->steady_rates[i]));
	if (err) {
		json_decref(rates);
		return NULL;
	}
	return json_pack("{s:b, s:f, s:f, s:f, s:o, s:o, s:f, s:o}", "reached",
			 result->steady.reached, "seconds", result->steady_count * sample_s,
			 "range_percent", result->steady.range_percent, "slope_percent",
			 result->steady.slope_percent, "range_limit_percent",
			 integer(options->steady_range_percent), "slope_limit_percent",
			 integer(options->steady_slope_percent), "sample_seconds", sample_s, "iops",
			 rates);
}

static int add_parts(json_t *object, const struct bench_result *result,
		     const struct bench_totals *totals)
{
	bool buckets = result->options->histogram;
	int err = 0;

	for (unsigned i = 0; i < BENCH_ROW_COUNT; i++) {
		if (totals->shown[i])
			err |= json_object_set_new(object, bench_row_names[i],
						   json_total(&totals->rows[i], buckets));
	}
	if (result->has_target_cpu)
		err |= json_object_set_new(object, "target_cpu",
					   json_cpu(result, result->target_cpu_ns));
	if (result->options->steady_state)
		err |= json_object_set_new(object, "steady_state", json_steady(result));
	err |= json_object_set_new(object, "classes", json_classes(result));
	err |= json_object_set_new(object, "intervals", json_intervals(result, totals));
	return err ? -ENOMEM : 0;
}

int bench_report_json(const struct bench_result *result, FILE *to)
{
	struct bench_totals *totals = bench_totals_new(result);
	json_t *object = json_result(result);
	int err = -ENOMEM;

	if (totals && object)
		err = add_parts(object, result, totals);
	if (!err && (json_dumpf(object, to, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) != 0 ||
		     fputc('\n', to) == EOF || fflush(to) != 0))
		err = -EIO;
	json_decref(object);
	free(totals);
	return err;
}
