/*
 * Result files read back: what was written arrives, older files do, and whatever else somebody
 * hands over is refused with a reason and without harm.
 */
#include "target/bench/result_file.h"

#include "tests/unit/bench_result_testing.h"
#include <errno.h>
#include <math.h>

static struct result_file file;
static char error[128];

static int load_bytes(const char *text, size_t bytes)
{
	/* fmemopen refuses a size of 0. */
	FILE *from =
		bytes > 0 ? fmemopen((void *)(uintptr_t)text, bytes, "r") : fopen("/dev/null", "r");
	int err;

	cr_assert(from != NULL);
	error[0] = '\0';
	err = result_file_load(&file, from, error, sizeof(error));
	(void)fclose(from);
	return err;
}

static int load(const char *text)
{
	return load_bytes(text, strlen(text));
}

static const struct result_figure *figure(const char *name)
{
	for (size_t i = 0; i < METRIC_COUNT; i++) {
		if (strcmp(bench_metrics[i].name, name) == 0)
			return &file.figures[i];
	}
	cr_assert(false, "no figure %s", name);
	return NULL;
}

static const struct made_like mixed = {
	.workload = BENCH_MIX,
	.sizes = "4K:3,64K:1",
	.intervals = 12,
	.latency_ns = 100000,
	.iops = 1000,
	.ripple = 0.01,
};

Test(bench_result_file, table_is_complete)
{
	for (size_t i = 0; i < METRIC_COUNT; i++) {
		cr_assert(bench_metrics[i].name && bench_metrics[i].unit &&
				  bench_metrics[i].keys[0],
			  "row %zu", i);
		for (size_t k = 0; k < i; k++)
			cr_assert_str_neq(bench_metrics[i].name, bench_metrics[k].name);
	}
}

Test(bench_result_file, what_was_written_arrives)
{
	struct made *made = made_new(&mixed);
	char *text;

	made->options.histogram = true;
	made->options.profile = "oltp";
	text = made_report(made, bench_report_json);
	cr_assert_eq(load(text), 0, "%s", error);
	cr_assert_float_eq(figure("read.iops")->value, 200, 1e-6);
	cr_assert_float_eq(figure("both.iops")->value, 400, 1e-6);
	cr_assert_eq(figure("read.iops")->samples.count, 12);
	cr_assert_float_eq(figure("read.iops")->samples.mean, 1000, 1e-6);
	cr_assert_float_eq(figure("write.p50")->samples.mean, 100.2, 0.1);
	cr_assert(figure("read.p99.99")->present);
	cr_assert_eq(figure("read.p99.99")->samples.count, 0);
	cr_assert_float_eq(figure("target_cpu")->samples.mean, 2.01, 1e-6);
	cr_assert(!file.has_errors && !file.not_steady);
	result_file_release(&file);
	free(text);
	made_free(made);
}

Test(bench_result_file, one_direction_has_no_other)
{
	struct made_like like = mixed;
	struct made *made;
	char *text;

	like.workload = BENCH_WRITE;
	made = made_new(&like);
	made->result.has_target_cpu = false;
	made->result.io_errors = 1;
	text = made_report(made, bench_report_json);
	cr_assert_eq(load(text), 0, "%s", error);
	cr_assert(figure("write.iops")->present);
	cr_assert(!figure("read.iops")->present && !figure("both.iops")->present);
	cr_assert(!figure("target_cpu")->present);
	cr_assert(file.has_errors);
	result_file_release(&file);
	free(text);
	made_free(made);
}

Test(bench_result_file, older_files_have_no_intervals)
{
	cr_assert_eq(load("{\"format\":1,\"read\":{\"ios\":5,\"iops\":10.5,\"latency_us\":"
			  "{\"p50\":7}}}"),
		     0, "%s", error);
	cr_assert_float_eq(figure("read.iops")->value, 10.5, 0);
	cr_assert_float_eq(figure("read.p50")->value, 7, 0);
	cr_assert_eq(figure("read.iops")->samples.count, 0);
	result_file_release(&file);
}

Test(bench_result_file, silent_intervals_have_a_rate_but_no_latency)
{
	cr_assert_eq(load("{\"format\":1,\"read\":{\"iops\":1},\"intervals\":["
			  "{\"read\":{\"iops\":0,\"latency_us\":{\"p50\":0}}},"
			  "{\"read\":{\"iops\":2,\"latency_us\":{\"p50\":30}}},{}]}"),
		     0, "%s", error);
	cr_assert_eq(figure("read.iops")->samples.count, 2);
	cr_assert_float_eq(figure("read.iops")->samples.mean, 1, 0);
	cr_assert_eq(figure("read.p50")->samples.count, 1);
	cr_assert_float_eq(figure("read.p50")->samples.mean, 30, 0);
	result_file_release(&file);
}

struct hostile {
	const char *text;
	const char *message; /* Must occur in the error. */
};

Test(bench_result_file, what_is_no_result_is_refused)
{
	static const struct hostile cases[] = {
		{"", "is not JSON: line 1"},
		{"\n\n{", "is not JSON: line 3"},
		{"{\"format\":1,\"read\":{\"iops\":1}} x", "is not JSON"},
		{"{\"format\":1,\"format\":1}", "is not JSON"},
		{"\033[31mred", "is not JSON: line 1"},
		{"[]", "is no result"},
		{"{}", "is no result"},
		{"{\"format\":\"1\"}", "is no result"},
		{"{\"format\":1.0,\"read\":{}}", "is no result"},
		{"{\"format\":2,\"read\":{}}", "has format 2, not 1"},
		{"{\"format\":1}", "has neither reads nor writes"},
		{"{\"format\":1,\"read\":{\"iops\":\"5\"}}", "read.iops is not a number"},
		{"{\"format\":1,\"read\":{\"iops\":null}}", "read.iops is not a number"},
		{"{\"format\":1,\"read\":{\"iops\":-1}}", "read.iops is not a number in range"},
		{"{\"format\":1,\"read\":{\"iops\":1e19}}", "read.iops is not a number in range"},
		{"{\"format\":1,\"read\":{\"iops\":1e999}}", "is not JSON"},
		{"{\"format\":1,\"write\":{\"latency_us\":{\"p99\":[]}}}", "write.p99"},
		{"{\"format\":1,\"read\":{},\"client_cpu\":{\"us_per_io\":{}}}", "client_cpu"},
		{"{\"format\":1,\"read\":{},\"intervals\":{}}", "intervals is no array"},
		{"{\"format\":1,\"read\":{},\"intervals\":7}", "intervals is no array"},
		{"{\"format\":1,\"read\":{},\"intervals\":[1]}", "an interval is no object"},
		{"{\"format\":1,\"read\":{},\"intervals\":[{\"read\":{\"iops\":true}}]}",
		 "read.iops is not a number"},
		{"{\"format\":1,\"read\":{},\"intervals\":[{\"target_cpu_us\":-0.5}]}",
		 "target_cpu is not a number in range"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cr_assert_eq(load(cases[i].text), -EINVAL, "%s", cases[i].text);
		cr_assert(strstr(error, cases[i].message) != NULL, "'%s': %s", cases[i].text,
			  error);
		cr_assert(strpbrk(error, "\n\033") == NULL, "nothing of the file is repeated");
		cr_assert(file.root == NULL);
	}
}

/* Members of the wrong shape on the way to a figure, and flags of the wrong type. */
Test(bench_result_file, odd_shapes_are_absent_or_refused_but_harmless)
{
	static const char *const texts[] = {
		"{\"format\":1,\"read\":5}",
		"{\"format\":1,\"read\":[],\"write\":null}",
		"{\"format\":1,\"read\":{\"latency_us\":\"x\"}}",
		"{\"format\":1,\"read\":{},\"errors\":[],\"steady_state\":0}",
		"{\"format\":1,\"read\":{},\"errors\":{\"io\":\"x\"},\"steady_state\":{\"reached\":"
		"0}}",
		"{\"format\":1,\"read\":{},\"intervals\":[]}",
		"{\"format\":1,\"read\":{},\"classes\":7,\"options\":[],\"lun\":null}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		cr_assert_eq(load(texts[i]), 0, "%s: %s", texts[i], error);
		cr_assert(!file.has_errors && !file.not_steady);
		result_file_release(&file);
	}
}

Test(bench_result_file, depth_is_bounded)
{
	static char deep[300000];

	memset(deep, '[', sizeof(deep) - 1);
	cr_assert_eq(load(deep), -EINVAL);
}

static const char many_head[] = "{\"format\":1,\"read\":{},\"intervals\":[{}";

Test(bench_result_file, count_of_intervals_is_bounded)
{
	/* The bound is 100000. */
	static char many[sizeof(many_head) + 3 * 100001];
	size_t at = sizeof(many_head) - 1;

	memcpy(many, many_head, at);
	for (unsigned i = 1; i < 100000; i++, at += 3)
		memcpy(many + at, ",{}", 3);
	memcpy(many + at, "]}", 2);
	cr_assert_eq(load_bytes(many, at + 2), 0, "%s", error);
	result_file_release(&file);
	memcpy(many + at, ",{}]}", 5);
	cr_assert_eq(load_bytes(many, at + 5), -EINVAL);
	cr_assert(strstr(error, "at most 100000") != NULL);
}

/* Whatever is made of a file, it is refused, or every figure is in range. */
static void judge(const char *text, size_t bytes)
{
	if (load_bytes(text, bytes)) {
		cr_assert(error[0] != '\0');
		cr_assert(file.root == NULL);
		return;
	}
	for (size_t i = 0; i < METRIC_COUNT; i++) {
		cr_assert(isfinite(file.figures[i].value) && file.figures[i].value >= 0);
		cr_assert(isfinite(file.figures[i].samples.mean));
	}
	result_file_release(&file);
}

static char *small_report(size_t *out_bytes)
{
	const struct made_like like = {BENCH_READ, "4K", 2, 100000, 50, 0};
	struct made *made = made_new(&like);
	char *text = made_report(made, bench_report_json);

	made_free(made);
	*out_bytes = strlen(text);
	return text;
}

Test(bench_result_file, cut_off_anywhere)
{
	size_t bytes;
	char *text = small_report(&bytes);

	/* The last byte is the end of the line. */
	for (size_t cut = 0; cut + 1 < bytes; cut++)
		cr_assert_eq(load_bytes(text, cut), -EINVAL, "cut at %zu", cut);
	cr_assert_eq(load_bytes(text, bytes), 0);
	result_file_release(&file);
	free(text);
}

Test(bench_result_file, damaged_anywhere)
{
	static const char values[] = "\0\xff{}[],:\"09-eE.tn\\";
	size_t bytes;
	char *text = small_report(&bytes);

	for (size_t at = 0; at < bytes; at++) {
		char good = text[at];

		for (size_t i = 0; i + 1 < sizeof(values); i++) {
			text[at] = values[i];
			judge(text, bytes);
		}
		text[at] = good;
	}
	free(text);
}

Test(bench_result_file, a_stream_that_fails_is_said)
{
	FILE *from = fopen("/", "r");

	if (!from)
		return;
	cr_assert_eq(result_file_load(&file, from, error, sizeof(error)), -EIO);
	cr_assert_str_eq(error, "cannot be read");
	(void)fclose(from);
}

Test(bench_result_file, endless_files_are_given_up)
{
	FILE *from = fopen("/dev/zero", "r");

	cr_assert(from != NULL);
	/* A zero byte is no JSON; what matters is that it ends at all. */
	cr_assert_lt(result_file_load(&file, from, error, sizeof(error)), 0);
	(void)fclose(from);
}
