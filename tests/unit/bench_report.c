/*
 * The report of a run: the table has the lines it should have, bars add up, and what JSON says
 * agrees with the result it was made from.
 */
#include "target/bench/report.h"

#include "tests/unit/bench_result_testing.h"
#include <jansson.h>

#include "target/bench/totals.h"

static const struct made_like read_like = {BENCH_READ, "4K", 4, 100000, 1000, 0.01};
static const struct made_like mixed_like = {BENCH_MIX, "4K:3,1M:1", 4, 100000, 1000, 0.01};

Test(bench_report, table_of_one_direction)
{
	struct made *made = made_new(&read_like);
	char *text = made_report(made, bench_report_table);

	cr_assert(strstr(text, "4 KiB random read, 1 session x depth 32") != NULL, "%s", text);
	cr_assert(strstr(text, "\nread  ") != NULL && strstr(text, "\nwrite ") == NULL);
	cr_assert(strstr(text, "p99.99") != NULL && strstr(text, "target CPU") != NULL);
	cr_assert(strstr(text, "#") == NULL, "no bars unless asked for");
	cr_assert(strstr(text, "steady") == NULL);
	free(text);
	made_free(made);
}

Test(bench_report, table_of_a_mix)
{
	struct made *made = made_new(&mixed_like);
	char *text;

	made->options.histogram = true;
	made->options.steady_state = true;
	made->options.burst = 5;
	text = made_report(made, bench_report_table);
	cr_assert(strstr(text, "4 KiB + 1 MiB random mix (70 % reads)") != NULL, "%s", text);
	cr_assert(strstr(text, "bursts of 5 with pauses of 5 ms") != NULL);
	cr_assert(strstr(text, "\nboth  ") != NULL);
	cr_assert(strstr(text, "4 KiB random, 75 % of the commands\nread ") != NULL);
	cr_assert(strstr(text, "1 MiB random, 25 % of the commands\nread ") != NULL);
	cr_assert(strstr(text, "read latency, us") != NULL);
	cr_assert(strstr(text, "write latency, us") != NULL);
	cr_assert(strstr(text, "100.000 %") != NULL);
	cr_assert(strstr(text, "steady state NOT REACHED") != NULL);
	free(text);
	made_free(made);
}

static double number_at(const json_t *object, const char *a, const char *b, const char *c)
{
	object = json_object_get(object, a);
	object = b ? json_object_get(object, b) : object;
	object = c ? json_object_get(object, c) : object;
	cr_assert(json_is_number(object), "%s %s %s", a, b ? b : "", c ? c : "");
	return json_number_value(object);
}

Test(bench_report, json_of_a_mix)
{
	struct made *made = made_new(&mixed_like);
	json_t *object;
	char *text;

	made->options.histogram = true;
	text = made_report(made, bench_report_json);
	object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	cr_assert(object != NULL);
	/* 400 of each class and direction in 4 seconds. */
	cr_assert_float_eq(number_at(object, "both", "ios", NULL), 1600, 0);
	cr_assert_float_eq(number_at(object, "read", "iops", NULL), 200, 1e-6);
	cr_assert_float_eq(number_at(object, "read", "bytes_per_s", NULL),
			   100 * 4096 + 100 * 1048576.0, 1);
	cr_assert_float_eq(number_at(object, "write", "latency_us", "max"), 149.5, 1e-6);
	cr_assert_eq(json_array_size(json_object_get(object, "classes")), 2);
	cr_assert_eq(json_array_size(json_object_get(object, "intervals")), 4);
	cr_assert(json_is_null(json_object_get(json_object_get(object, "options"), "profile")));
	cr_assert(!json_object_get(json_object_get(object, "options"), "block_bytes"));
	cr_assert_gt(
		json_array_size(json_object_get(
			json_object_get(json_object_get(object, "read"), "latency_us"), "buckets")),
		10);
	json_decref(object);
	free(text);
	made_free(made);
}

Test(bench_report, json_of_a_plain_run)
{
	struct made *made = made_new(&read_like);
	json_t *object;
	char *text;

	made->result.has_target_cpu = false;
	made->options.steady_state = true;
	made->result.steady_rates = calloc(3, sizeof(double));
	made->result.steady_count = 3;
	text = made_report(made, bench_report_json);
	object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	cr_assert(object != NULL);
	cr_assert_float_eq(number_at(object, "options", "block_bytes", NULL), 4096, 0);
	cr_assert(!json_object_get(object, "target_cpu") && !json_object_get(object, "write"));
	cr_assert(!json_object_get(json_object_get(json_object_get(object, "read"), "latency_us"),
				   "buckets"));
	cr_assert_float_eq(number_at(object, "steady_state", "seconds", NULL), 3, 1e-9);
	cr_assert_eq(
		json_array_size(json_object_get(json_object_get(object, "steady_state"), "iops")),
		3);
	json_decref(object);
	free(text);
	made_free(made);
}

static struct histogram histogram;

Test(bench_report, bars_hold_every_sample_once)
{
	for (unsigned bars_max = 3; bars_max <= BARS_MAX; bars_max++) {
		for (unsigned bits = 1; bits < 40; bits += 3) {
			struct bench_bars bars;
			uint64_t sum = 0;

			histogram_clear(&histogram);
			for (uint64_t i = 0; i < 500; i++)
				histogram_add(&histogram, i * i * i % (1ull << bits) + bits);
			bench_bars_cut(&bars, &histogram, bars_max);
			cr_assert(bars.count >= 1 && bars.count <= bars_max);
			for (unsigned i = 0; i < bars.count; i++) {
				cr_assert_lt(bars.edges_us[i], bars.edges_us[i + 1]);
				cr_assert_leq(bars.counts[i], bars.most);
				sum += bars.counts[i];
			}
			cr_assert_eq(sum, 500);
			cr_assert_geq(bars.edges_us[bars.count] * 1000 + 1,
				      (double)histogram.max_ns);
		}
	}
}

Test(bench_report, no_samples_no_bars)
{
	struct bench_bars bars;

	histogram_clear(&histogram);
	bench_bars_cut(&bars, &histogram, 10);
	cr_assert_eq(bars.count, 0);
}

Test(bench_report, values_of_histograms_without_a_top_fit)
{
	struct bench_bars bars;

	histogram_clear(&histogram);
	histogram_add(&histogram, 0);
	histogram_add(&histogram, UINT64_MAX);
	bench_bars_cut(&bars, &histogram, 5);
	cr_assert_eq(bars.counts[0], 1);
	cr_assert_eq(bars.counts[bars.count - 1], 1);
}

Test(bench_report, sizes_and_addresses)
{
	struct made *made = made_new(&read_like);
	char text[128];

	bench_size_describe(512, text, sizeof(text));
	cr_assert_str_eq(text, "512 bytes");
	bench_size_describe(1536, text, sizeof(text));
	cr_assert_str_eq(text, "1.5 KiB");
	bench_size_describe(16u << 20, text, sizeof(text));
	cr_assert_str_eq(text, "16 MiB");
	made->options.url.port = 3260;
	memcpy(made->options.url.secret, "hush", 5);
	memcpy(made->options.url.user, "me", 3);
	bench_url_describe(&made->options.url, text, sizeof(text));
	cr_assert_str_eq(text, "iscsi://[::1]:3260/iqn.a/0");
	made_free(made);
}
