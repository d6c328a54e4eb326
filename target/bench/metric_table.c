/*
 * The figures that a comparison looks at: constant data. Read next: result_file.h.
 */
#include "target/bench/histogram.h"
#include "target/bench/result_file.h"

/* clang-format off */
#define RATE(row, key, unit_) \
	{.name = row "." key, .unit = unit_, .keys = {row, key}, .sample_keys = {row, key}, \
	 .higher_is_better = true}
/* With samples in the intervals, and without. Percentiles are ends of buckets. */
#define LATENCY(row, key, resolution) \
	{.name = row "." key, .unit = "us", .keys = {row, "latency_us", key}, \
	 .sample_keys = {row, "latency_us", key}, .zero_is_none = true, \
	 .resolution_percent = (resolution)}
#define BUCKET_PERCENT (100.0 / (1u << HISTOGRAM_SUB_BITS))
#define LATENCY_ALONE(row, key) \
	{.name = row "." key, .unit = "us", .keys = {row, "latency_us", key}}
#define CPU(who) \
	{.name = who "_cpu", .unit = "us/IO", .keys = {who "_cpu", "us_per_io"}, \
	 .sample_keys = {who "_cpu_us"}, .zero_is_none = true}
#define ROW(row) \
	RATE(row, "iops", "1/s"), RATE(row, "bytes_per_s", "B/s"), \
	LATENCY(row, "mean", 0), LATENCY(row, "p50", BUCKET_PERCENT), LATENCY_ALONE(row, "p90"), \
	LATENCY(row, "p99", BUCKET_PERCENT), LATENCY_ALONE(row, "p99.9"), \
	LATENCY_ALONE(row, "p99.99"), LATENCY_ALONE(row, "max")

const struct metric bench_metrics[METRIC_COUNT] = {
	ROW("read"), ROW("write"), ROW("both"), CPU("target"), CPU("client"),
};
/* clang-format on */
