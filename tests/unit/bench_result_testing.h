/*
 * A result made up by the test, in place of one that a run has found: as many intervals as wanted,
 * latencies around a given one, and the report of it in memory.
 */
#ifndef TESTS_UNIT_BENCH_RESULT_TESTING_H
#define TESTS_UNIT_BENCH_RESULT_TESTING_H

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "target/bench/report.h"

struct made {
	struct bench_options options;
	struct bench_result result;
};

/* What the made-up run was like. */
struct made_like {
	enum bench_workload workload;
	const char *sizes;
	uint32_t intervals;
	uint64_t latency_ns;
	double iops;
	double ripple; /* Of the rate from interval to interval, as a share of it. */
};

static inline void made_interval(struct made *made, const struct made_like *like, uint32_t number)
{
	struct bench_interval *interval = &made->result.intervals[number];
	double rate = like->iops * (1 + (number % 3 - 1.0) * like->ripple);

	interval->begin_s = number;
	interval->seconds = 1;
	for (unsigned row = 0; row < BENCH_ROW_COUNT; row++) {
		uint64_t ns = like->latency_ns + number % 5 * 100;

		interval->rows[row] = (struct bench_sample){rate, rate * 4096, ns, ns, ns * 3};
	}
	interval->target_cpu_us = 2 + like->ripple * (number % 3);
	interval->client_cpu_us = 1 + like->ripple * (number % 3);
}

static inline void made_latencies(struct made *made, const struct made_like *like)
{
	for (unsigned i = 0; i < 2 * made->options.mix.count; i++) {
		if (made->options.workload != BENCH_MIX && i % 2 != made->options.workload)
			continue;
		for (uint64_t k = 0; k < (uint64_t)like->iops * like->intervals / 10; k++)
			histogram_add(&made->result.latency[i], like->latency_ns + k % 100 * 500);
	}
}

static inline struct made *made_new(const struct made_like *like)
{
	struct made *made = calloc(1, sizeof(*made));

	cr_assert(made != NULL);
	made->options = bench_option_defaults;
	made->options.workload = like->workload;
	made->options.interval_ms = 1000;
	made->options.threads = 1;
	(void)snprintf(made->options.url.host, sizeof(made->options.url.host), "::1");
	(void)snprintf(made->options.url.target, sizeof(made->options.url.target), "iqn.a");
	cr_assert_eq(mix_sizes_parse(like->sizes, &made->options.sizes), 0);
	bench_options_make_mix(&made->options);
	made->result.options = &made->options;
	made->result.capacity = (struct bench_capacity){1u << 30, 512};
	made->result.measured_ns = like->intervals * CLOCK_NS_PER_S;
	made->result.has_target_cpu = true;
	made->result.target_cpu_ns = like->intervals * CLOCK_NS_PER_S / 2;
	made->result.client_cpu_ns = like->intervals * CLOCK_NS_PER_S / 4;
	made->result.latency = calloc(2ul * made->options.mix.count, sizeof(struct histogram));
	made->result.intervals = calloc(like->intervals + 1, sizeof(struct bench_interval));
	made->result.interval_count = like->intervals;
	cr_assert(made->result.latency && made->result.intervals);
	for (uint32_t i = 0; i < like->intervals; i++)
		made_interval(made, like, i);
	made_latencies(made, like);
	return made;
}

static inline void made_free(struct made *made)
{
	free(made->result.latency);
	free(made->result.intervals);
	free(made->result.steady_rates);
	free(made);
}

/* What a report writes, ended by a zero byte; to be freed. */
static inline char *made_report(const struct made *made,
				int (*report)(const struct bench_result *, FILE *))
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *to = open_memstream(&text, &bytes);

	cr_assert(to != NULL);
	cr_assert_eq(report(&made->result, to), 0);
	cr_assert_eq(fclose(to), 0);
	return text;
}

#endif
