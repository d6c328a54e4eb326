/*
 * The latency histogram: see histogram.h. No I/O, no clock; runs on whichever thread owns the
 * histogram. Read next: histogram.h.
 */
#include "target/bench/histogram.h"

#include <assert.h>
#include <string.h>

#define MILLION 1000000u

/* Bits that the bucket of `value_ns` does not tell apart. */
static unsigned shift_of(uint64_t value_ns)
{
	unsigned top_bit = 63u - (unsigned)__builtin_clzll(value_ns | 1u);

	return top_bit > HISTOGRAM_SUB_BITS ? top_bit - HISTOGRAM_SUB_BITS : 0;
}

/* Consecutive: with shift s the buckets s * 2^SUB_BITS + [2^SUB_BITS, 2^(SUB_BITS + 1)). */
static uint32_t bucket_of(uint64_t value_ns)
{
	uint64_t largest = (1ull << HISTOGRAM_VALUE_BITS) - 1;
	uint64_t value = value_ns < largest ? value_ns : largest;
	unsigned shift = shift_of(value);

	return (uint32_t)((shift << HISTOGRAM_SUB_BITS) + (value >> shift));
}

uint64_t histogram_bucket_end_ns(uint32_t bucket)
{
	uint32_t sub_count = 1u << HISTOGRAM_SUB_BITS;
	unsigned shift = bucket < 2 * sub_count ? 0 : bucket / sub_count - 1;
	uint64_t first = (uint64_t)(bucket - shift * sub_count) << shift;

	return first + (1ull << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value_ns)
{
	histogram->buckets[bucket_of(value_ns)]++;
	histogram->count++;
	histogram->sum_ns += value_ns;
	if (value_ns > histogram->max_ns)
		histogram->max_ns = value_ns;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
		into->buckets[i] += from->buckets[i];
	into->count += from->count;
	into->sum_ns += from->sum_ns;
	if (from->max_ns > into->max_ns)
		into->max_ns = from->max_ns;
}

uint64_t histogram_percentile_ns(const struct histogram *histogram, unsigned per_million)
{
	uint64_t rank = histogram->count / MILLION * per_million +
			(histogram->count % MILLION * per_million + MILLION - 1) / MILLION;
	uint64_t seen = 0;

	assert(per_million <= MILLION);
	if (rank == 0)
		rank = 1;
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->buckets[i];
		if (seen >= rank) {
			uint64_t end = histogram_bucket_end_ns(i);

			return end < histogram->max_ns ? end : histogram->max_ns;
		}
	}
	return histogram->max_ns;
}

uint64_t histogram_mean_ns(const struct histogram *histogram)
{
	return histogram->count ? histogram->sum_ns / histogram->count : 0;
}

uint64_t histogram_count_below(const struct histogram *histogram, uint64_t value_ns)
{
	uint32_t last = bucket_of(value_ns);
	uint64_t count = 0;

	for (uint32_t i = 0; i <= last; i++)
		count += histogram->buckets[i];
	return count;
}

void histogram_clear(struct histogram *histogram)
{
	memset(histogram, 0, sizeof(*histogram));
}
