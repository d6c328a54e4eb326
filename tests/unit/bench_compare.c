/*
 * Two results beside each other: what is noise, what is better or worse in either direction, what
 * cannot be told, what differs besides, and both forms of the report.
 */
#include "target/bench/compare.h"

#include "tests/unit/bench_result_testing.h"
#include <criterion/redirect.h>
#include <errno.h>
#include <unistd.h>

#include "target/bench/bench.h"

static const struct metric rate = {.higher_is_better = true};
static const struct metric latency = {.higher_is_better = false};

/* A figure with 20 independent samples. */
static struct result_figure figure(double value, double error)
{
	return (struct result_figure){
		.present = true,
		.value = value,
		.samples = {.count = 20, .mean = value, .effective_count = 20, .error = error}};
}

static enum verdict verdict_of(const struct metric *metric, double before, double after,
			       double error, double tolerance)
{
	const struct result_figure figures[2] = {figure(before, error), figure(after, error)};

	return compare_figures(metric, figures, tolerance).verdict;
}

Test(bench_compare, direction_and_noise)
{
	/* Noise: 2.72 times the square root of two, about 3.8. */
	cr_assert_eq(verdict_of(&rate, 100, 110, 1, 0), VERDICT_BETTER);
	cr_assert_eq(verdict_of(&rate, 100, 90, 1, 0), VERDICT_WORSE);
	cr_assert_eq(verdict_of(&latency, 100, 110, 1, 0), VERDICT_WORSE);
	cr_assert_eq(verdict_of(&latency, 100, 90, 1, 0), VERDICT_BETTER);
	cr_assert_eq(verdict_of(&rate, 100, 103, 1, 0), VERDICT_NOISE);
	cr_assert_eq(verdict_of(&rate, 100, 97, 1, 0), VERDICT_NOISE);
	cr_assert_eq(verdict_of(&rate, 100, 100, 0, 0), VERDICT_NOISE);
	cr_assert_eq(verdict_of(&rate, 100, 90, 1, 10), VERDICT_TOLERATED);
	cr_assert_eq(verdict_of(&rate, 100, 89, 1, 10), VERDICT_WORSE);
}

Test(bench_compare, what_cannot_be_told)
{
	struct result_figure figures[2] = {figure(100, 1), figure(50, 1)};
	struct change change;

	figures[1].samples.count = SERIES_SAMPLES_MIN - 1;
	change = compare_figures(&rate, figures, 0);
	cr_assert_eq(change.verdict, VERDICT_UNJUDGED);
	cr_assert(change.has_percent);
	cr_assert_float_eq(change.percent, -50, 1e-9);
	figures[0] = figure(0, 0);
	change = compare_figures(&rate, figures, 0);
	cr_assert_eq(change.verdict, VERDICT_UNJUDGED);
	cr_assert(!change.has_percent);
	figures[0].present = false;
	cr_assert_eq(compare_figures(&rate, figures, 0).verdict, VERDICT_ABSENT);
}

Test(bench_compare, a_bucket_is_noise)
{
	const struct metric *p50 = NULL;

	for (size_t i = 0; i < METRIC_COUNT && !p50; i++)
		p50 = strcmp(bench_metrics[i].name, "read.p50") == 0 ? &bench_metrics[i] : NULL;
	cr_assert(p50 != NULL);
	/* All samples in one bucket, and the other run's in the next: perhaps a nanosecond apart.
	 */
	cr_assert_eq(verdict_of(p50, 128, 129, 0, 0), VERDICT_NOISE);
	cr_assert_eq(verdict_of(p50, 128, 130, 0, 0), VERDICT_WORSE);
	cr_assert_eq(verdict_of(&rate, 128, 129, 0, 0), VERDICT_BETTER);
}

Test(bench_compare, the_whole_run_and_the_means_must_agree)
{
	/* A stall in one interval: p99 of the run is that of the stall. */
	struct result_figure figures[2] = {figure(100, 1), figure(5000, 60)};

	figures[1].samples.mean = 150;
	cr_assert_eq(compare_figures(&latency, figures, 0).verdict, VERDICT_NOISE);
	figures[1].samples.mean = 500;
	cr_assert_eq(compare_figures(&latency, figures, 0).verdict, VERDICT_WORSE);
	figures[1].value = 90;
	cr_assert_eq(compare_figures(&latency, figures, 0).verdict, VERDICT_NOISE);
}

Test(bench_compare, verdicts_have_names)
{
	for (int i = 0; i < VERDICT_COUNT; i++)
		cr_assert(compare_verdict_name((enum verdict)i)[0] != '\0');
}

/* ---- Whole files ---- */

static struct made_like like[2] = {
	{BENCH_READ, "4K", 20, 100000, 1000, 0.01},
	{BENCH_READ, "4K", 20, 100000, 1000, 0.01},
};
static const char *const names[2] = {"before.json", "after.json"};
static struct result_file files[2];
static struct comparison comparison;

static void load_text(struct result_file *out, const char *text)
{
	FILE *from = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	char error[128];

	cr_assert(from != NULL);
	cr_assert_eq(result_file_load(out, from, error, sizeof(error)), 0, "%s", error);
	(void)fclose(from);
}

static void compare_made(struct made *const made[2])
{
	for (unsigned i = 0; i < 2; i++) {
		char *text = made_report(made[i], bench_report_json);

		load_text(&files[i], text);
		free(text);
		made_free(made[i]);
	}
	compare_files(&comparison, files, names, 0);
}

static void release_files(void)
{
	result_file_release(&files[0]);
	result_file_release(&files[1]);
}

static bool has_difference(const char *text)
{
	for (unsigned i = 0; i < comparison.difference_count; i++) {
		if (strstr(comparison.differences[i], text))
			return true;
	}
	return false;
}

Test(bench_compare, alike_is_noise)
{
	struct made *const made[2] = {made_new(&like[0]), made_new(&like[1])};

	compare_made(made);
	cr_assert_eq(comparison.worse, 0);
	cr_assert_eq(comparison.difference_count, 0, "%s", comparison.differences[0]);
	release_files();
}

Test(bench_compare, slower_is_worse_in_rates_and_latencies)
{
	struct made *made[2];

	like[1].iops = 900;
	like[1].latency_ns = 120000;
	made[0] = made_new(&like[0]);
	made[1] = made_new(&like[1]);
	compare_made(made);
	/* iops, bytes_per_s, mean, p50; p99 of the whole run hardly moves. */
	cr_assert_geq(comparison.worse, 4);
	release_files();
}

Test(bench_compare, what_differs_besides_is_named)
{
	struct made *made[2];

	like[1].sizes = "4K,8K";
	made[0] = made_new(&like[0]);
	made[1] = made_new(&like[1]);
	made[1]->options.queue_depth = 1;
	made[1]->options.profile = "oltp\"\033[31m\n";
	made[1]->result.params.data_digest = true;
	made[1]->result.verify_errors = 2;
	made[1]->options.steady_state = true;
	made[1]->options.steady_window_ms = 1000;
	compare_made(made);
	cr_assert(has_difference("queue_depth: 32, 1"));
	cr_assert(has_difference("profile: null, \"oltp\\\"\\u001B"));
	cr_assert(has_difference("DataDigest: false, true"));
	cr_assert(has_difference("classes:"));
	cr_assert(has_difference("errors: the new run"));
	cr_assert(has_difference("steady_state: the new run"));
	cr_assert(!has_difference("errors: the old run"));
	for (unsigned i = 0; i < comparison.difference_count; i++)
		cr_assert(strpbrk(comparison.differences[i], "\033\n") == NULL);
	release_files();
}

Test(bench_compare, every_difference_has_room)
{
	/* Every member of every group differs, and everything that can be doubted is. */
	static char text[2][16384];

	for (int i = 0; i < 2; i++) {
		int at = snprintf(text[i], sizeof(text[i]),
				  "{\"format\":1,\"read\":{\"iops\":1},\"classes\":[%d],"
				  "\"errors\":{\"io\":1},\"steady_state\":{\"reached\":false}",
				  i);
		static const char *const groups[] = {"options", "lun", "negotiated"};
		static const char *const keys[] = {"profile",
						   "workload",
						   "read_percent",
						   "pattern",
						   "block_bytes",
						   "sessions",
						   "queue_depth",
						   "threads",
						   "burst",
						   "pause_ms",
						   "interval_ms",
						   "fill",
						   "verify",
						   "region_bytes",
						   "ImmediateData",
						   "InitialR2T",
						   "FirstBurstLength",
						   "MaxBurstLength",
						   "MaxOutstandingR2T",
						   "MaxRecvDataSegmentLength",
						   "TargetMaxRecvDataSegmentLength",
						   "HeaderDigest",
						   "DataDigest"};

		for (size_t g = 0; g < ARRAY_SIZE(groups); g++) {
			at += snprintf(text[i] + at, sizeof(text[i]) - (size_t)at,
				       ",\"%s\":{\"x\":0", groups[g]);
			for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
				at += snprintf(text[i] + at, sizeof(text[i]) - (size_t)at,
					       ",\"%s\":\"%0150d\"", keys[k], i);
			at += snprintf(text[i] + at, sizeof(text[i]) - (size_t)at, "}");
		}
		(void)snprintf(text[i] + at, sizeof(text[i]) - (size_t)at, "}");
		load_text(&files[i], text[i]);
	}
	compare_files(&comparison, files, names, 0);
	cr_assert_gt(comparison.difference_count, 12);
	cr_assert_leq(comparison.difference_count, DIFFERENCES_MAX);
	release_files();
}

/* ---- Reports ---- */

static char *print(int (*how)(const struct comparison *, FILE *))
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *to = open_memstream(&text, &bytes);

	cr_assert(to != NULL);
	cr_assert_eq(how(&comparison, to), 0);
	cr_assert_eq(fclose(to), 0);
	return text;
}

Test(bench_compare, both_reports)
{
	struct made *made[2];
	char *text;
	json_t *object;

	like[1].iops = 900;
	made[0] = made_new(&like[0]);
	made[1] = made_new(&like[1]);
	compare_made(made);
	text = print(compare_print_table);
	cr_assert(strstr(text, "old: before.json\nnew: after.json\n") != NULL);
	cr_assert(strstr(text, "read.iops") != NULL && strstr(text, "-10.0 %") != NULL);
	cr_assert(strstr(text, "write.iops") == NULL);
	free(text);
	text = print(compare_print_json);
	object = json_loads(text, 0, NULL);
	cr_assert(object != NULL);
	cr_assert_eq(json_integer_value(json_object_get(object, "format")), 1);
	cr_assert_eq(json_integer_value(json_object_get(object, "worse")),
		     (json_int_t)comparison.worse);
	cr_assert_gt(json_array_size(json_object_get(object, "metrics")), 5);
	json_decref(object);
	free(text);
	release_files();
}

Test(bench_compare, names_that_are_no_utf8)
{
	static const char *const odd[2] = {"\xff.json", "new"};
	struct made *const made[2] = {made_new(&like[0]), made_new(&like[1])};
	char *text;

	compare_made(made);
	comparison.names[0] = odd[0];
	text = print(compare_print_json);
	cr_assert(strstr(text, "not UTF-8") != NULL);
	free(text);
	release_files();
}

/* ---- Exit status ---- */

static void write_made(const struct made_like *how, const char *path)
{
	struct made *made = made_new(how);
	char *text = made_report(made, bench_report_json);
	FILE *to = fopen(path, "w");

	cr_assert(to != NULL && fputs(text, to) >= 0 && fclose(to) == 0);
	free(text);
	made_free(made);
}

static int status_of(const char *option, const char *before, const char *after)
{
	char *argv[] = {strdup("bench"), strdup("compare"), strdup(option),
			strdup(before),  strdup(after),     NULL};
	char *copies[5];
	int status;

	memcpy(copies, argv, sizeof(copies));
	status = bench_main(5, argv);
	for (unsigned i = 0; i < 5; i++)
		free(copies[i]);
	return status;
}

static void redirect_both(void)
{
	cr_redirect_stdout();
	cr_redirect_stderr();
}

Test(bench_compare, exit_status, .init = redirect_both)
{
	char fast[] = "/tmp/ringsan-compare-XXXXXX";
	char slow[] = "/tmp/ringsan-compare-XXXXXX";
	char few[] = "/tmp/ringsan-compare-XXXXXX";
	const struct made_like few_intervals = {BENCH_READ, "4K", SERIES_SAMPLES_MIN - 1,
						100000,     1000, 0.01};
	int fds[3] = {mkstemp(fast), mkstemp(slow), mkstemp(few)};

	for (unsigned i = 0; i < 3; i++)
		cr_assert(fds[i] >= 0 && close(fds[i]) == 0);
	write_made(&like[0], fast);
	like[1].iops = 900;
	write_made(&like[1], slow);
	write_made(&few_intervals, few);
	cr_assert_eq(status_of("--tolerance=0", fast, fast), 0);
	cr_assert_eq(status_of("--tolerance=0", fast, few), 1, "nothing could be judged");
	cr_assert_eq(status_of("--tolerance=0", fast, slow), 3);
	cr_assert_eq(status_of("--tolerance=0", slow, fast), 0);
	cr_assert_eq(status_of("--json", fast, slow), 3);
	cr_assert_eq(status_of("--tolerance=50", fast, slow), 0);
	cr_assert_eq(status_of("--tolerance=0", fast, "/nonexistent"), 1);
	cr_assert_eq(status_of("--tolerance=0", "/dev/null", fast), 1);
	cr_assert_eq(status_of("--tolerance=x", fast, slow), 2);
	(void)unlink(fast);
	(void)unlink(slow);
	(void)unlink(few);
}
