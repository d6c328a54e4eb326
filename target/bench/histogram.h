/*
 * A latency histogram with log-linear buckets: counting costs one addition and no memory, and every
 * percentile is right to within one part in 2^(HISTOGRAM_SUB_BITS).
 *
 * Values below 2^(SUB_BITS + 1) ns have a bucket each; above, every power of two is cut into
 * 2^SUB_BITS equal buckets. It keeps no single samples and knows no clock.
 *
 * Threads: each thread counts into its own histogram; histogram_merge joins them afterwards.
 */
#ifndef TARGET_BENCH_HISTOGRAM_H
#define TARGET_BENCH_HISTOGRAM_H

#include <stdint.h>

/* Under one per cent of error, and the whole histogram stays within 35 KiB. */
#define HISTOGRAM_SUB_BITS 7u
/* 2^40 ns are 18 minutes; longer ones fall into the last bucket (the maximum stays exact). */
#define HISTOGRAM_VALUE_BITS 40u
#define HISTOGRAM_BUCKETS ((HISTOGRAM_VALUE_BITS - HISTOGRAM_SUB_BITS + 1u) << HISTOGRAM_SUB_BITS)

/* All zero is an empty histogram. */
struct histogram {
	uint64_t count;
	uint64_t sum_ns;
	uint64_t max_ns;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value_ns);
void histogram_merge(struct histogram *into, const struct histogram *from);
/*
 * The smallest value that at least `per_million` millionths of the samples do not exceed, rounded
 * up to the end of its bucket but never above the maximum. 0 where nothing was counted.
 */
uint64_t histogram_percentile_ns(const struct histogram *histogram, unsigned per_million);
/* Samples that do not exceed the end of the bucket of `value_ns`. */
uint64_t histogram_count_below(const struct histogram *histogram, uint64_t value_ns);
/* The largest value that is counted into `bucket`. */
uint64_t histogram_bucket_end_ns(uint32_t bucket);
void histogram_clear(struct histogram *histogram);
uint64_t histogram_mean_ns(const struct histogram *histogram);

#endif
