/*
 * The drawing of a result: scales have round marks in order, text is escaped whatever it is, and
 * the document is well-formed, complete and refers to nothing outside, for results of every shape.
 */
#include "target/bench/axis.h"
#include "target/bench/svg.h"

#include "tests/unit/bench_result_testing.h"
#include <math.h>

/* ---- Scales ---- */

static void check_axis(const struct axis *axis, double least, double most)
{
	cr_assert_leq(axis->least, least + 1e-12);
	cr_assert_geq(axis->most, most * 0.9999);
	cr_assert(axis->least < axis->most);
	cr_assert(axis->tick_count >= 1 && axis->tick_count <= AXIS_TICKS_MAX, "%g to %g", least,
		  most);
	for (unsigned i = 0; i < axis->tick_count; i++) {
		cr_assert(axis->ticks[i] >= axis->least * 0.998 - 1e-6 * axis->most &&
			  axis->ticks[i] <= axis->most * 1.002);
		cr_assert(i == 0 || axis->ticks[i] > axis->ticks[i - 1]);
	}
}

Test(bench_plot, linear_scales_of_every_size)
{
	for (double most = 1e-6; most < 1e15; most *= 1.7) {
		struct axis axis;

		axis_linear(&axis, 0, most);
		check_axis(&axis, 0, most);
		cr_assert_geq(axis.tick_count, 3);
		cr_assert_leq(axis.most, most * 2);
		cr_assert(!signbit(axis.ticks[0]), "-0 is no label");
		axis_linear_tight(&axis, -most / 3, most);
		check_axis(&axis, -most / 3, most);
		cr_assert_float_eq(axis.most, most, 0);
	}
}

Test(bench_plot, logarithmic_scales_of_every_size)
{
	for (double least = 1e-3; least < 1e9; least *= 3.3) {
		for (double ratio = 1; ratio < 1e9; ratio *= 3.1) {
			struct axis axis;

			axis_log(&axis, least, least * ratio);
			check_axis(&axis, least, least * ratio);
			cr_assert_gt(axis.least, 0);
		}
	}
}

Test(bench_plot, scales_of_nothing)
{
	const double odd[] = {0, -1, NAN, INFINITY};

	for (size_t i = 0; i < 4; i++) {
		struct axis axis;

		axis_log(&axis, odd[i], odd[i]);
		cr_assert(axis.least > 0 && axis.most > axis.least);
		axis_linear(&axis, 0, i < 2 ? odd[i] : 0);
		cr_assert(axis.most > axis.least);
	}
}

Test(bench_plot, positions)
{
	struct axis axis;

	axis_linear(&axis, 0, 10);
	axis.from = 100;
	axis.to = 0;
	cr_assert_float_eq(axis_position(&axis, 2.5), 75, 1e-9);
	cr_assert_float_eq(axis_position(&axis, 99), 0, 1e-9);
	cr_assert_float_eq(axis_position(&axis, -99), 100, 1e-9);
	axis_log(&axis, 1, 10000);
	axis.from = 0;
	axis.to = 100;
	cr_assert_float_eq(axis_position(&axis, 100), 50, 1e-9);
	cr_assert_float_eq(axis_position(&axis, 0), 0, 1e-9);
}

struct label {
	double value;
	const char *number;
	const char *latency;
};

Test(bench_plot, labels)
{
	static const struct label labels[] = {
		{0, "0", "0 \xc2\xb5s"},       {0.25, "0.25", "0.25 \xc2\xb5s"},
		{950, "950", "950 \xc2\xb5s"}, {1500, "1500", "1.5 ms"},
		{9996, "10k", "10 ms"},        {250000, "250k", "250 ms"},
		{1234567, "1.23M", "1.23 s"},  {2e9, "2G", "2e+03 s"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(labels); i++) {
		char text[32];

		axis_number(labels[i].value, text, sizeof(text));
		cr_assert_str_eq(text, labels[i].number);
		axis_latency(labels[i].value, text, sizeof(text));
		cr_assert_str_eq(text, labels[i].latency);
	}
}

/* ---- Text ---- */

static void expect_escaped(const char *text, const char *escaped)
{
	char *out = NULL;
	size_t bytes = 0;
	FILE *to = open_memstream(&out, &bytes);

	cr_assert(to != NULL);
	svg_escape(to, text);
	cr_assert_eq(fclose(to), 0);
	cr_assert_str_eq(out, escaped);
	free(out);
}

Test(bench_plot, text_is_escaped)
{
	expect_escaped("a<b>&\"'c", "a&lt;b&gt;&amp;&quot;&#39;c");
	expect_escaped("\x01\n\x1b\x7f", "????");
	expect_escaped("\xc2\xb5s \xe2\x82\xac \xf0\x9f\x98\x80",
		       "\xc2\xb5s \xe2\x82\xac \xf0\x9f\x98\x80");
	/* Cut short, overlong, a surrogate, beyond Unicode, no character, a lone byte, C1. */
	expect_escaped("\xc2", "?");
	expect_escaped("\xc0\xaf", "??");
	expect_escaped("\xe0\x80\xaf", "???");
	expect_escaped("\xed\xa0\x80", "???");
	expect_escaped("\xf4\x90\x80\x80", "????");
	expect_escaped("\xef\xbf\xbf", "???");
	expect_escaped("\xff", "?");
	expect_escaped("\xc2\x9b", "??");
}

/* ---- The document ---- */

/* A small XML reader: elements nest, attributes are quoted, text has no bare markup. */
struct reader {
	const char *at;
	char open[16][16];
	unsigned depth;
	unsigned elements;
};

static void read_name(struct reader *reader, char *out)
{
	size_t chars = strspn(reader->at,
			      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");

	cr_assert(chars > 0 && chars < 16, "%.40s", reader->at);
	memcpy(out, reader->at, chars);
	out[chars] = '\0';
	reader->at += chars;
}

static void read_attributes(struct reader *reader)
{
	while (*reader->at == ' ') {
		char name[16];
		size_t chars;

		reader->at++;
		read_name(reader, name);
		cr_assert(strncmp(reader->at, "=\"", 2) == 0, "%.40s", reader->at);
		reader->at += 2;
		chars = strcspn(reader->at, "\"<");
		cr_assert_eq(reader->at[chars], '"');
		reader->at += chars + 1;
	}
}

static void read_element(struct reader *reader)
{
	char name[16];

	reader->at++;
	if (*reader->at == '/') {
		reader->at++;
		read_name(reader, name);
		cr_assert_gt(reader->depth, 0);
		cr_assert_str_eq(name, reader->open[--reader->depth]);
		cr_assert_eq(*reader->at++, '>');
		return;
	}
	read_name(reader, name);
	read_attributes(reader);
	reader->elements++;
	if (strncmp(reader->at, "/>", 2) == 0) {
		reader->at += 2;
		return;
	}
	cr_assert_eq(*reader->at++, '>');
	cr_assert_lt(reader->depth, 16);
	memcpy(reader->open[reader->depth++], name, sizeof(name));
}

static void read_text(struct reader *reader)
{
	if (*reader->at == '&') {
		size_t chars = strcspn(reader->at, ";");

		cr_assert_lt(chars, 8, "a bare ampersand: %.40s", reader->at);
	}
	cr_assert_neq(*reader->at, '>');
	reader->at++;
}

static unsigned count_elements(const char *text)
{
	struct reader reader = {.at = text};
	static const char head[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

	cr_assert_eq(strncmp(text, head, sizeof(head) - 1), 0);
	reader.at += sizeof(head) - 1;
	while (*reader.at != '\0') {
		if (*reader.at == '<')
			read_element(&reader);
		else
			read_text(&reader);
	}
	cr_assert_eq(reader.depth, 0);
	return reader.elements;
}

static void check_document(const char *text)
{
	static const char *const forbidden[] = {"<script", "href",          "url(",
						"@import", "<image",        "nan",
						"inf",     "foreignObject", "javascript"};
	static const char *const expected[] = {"<title>",
					       "Rate over time",
					       "Latency over time",
					       "Distribution of latencies",
					       "Latency by percentile",
					       "seconds",
					       "I/O operations per second",
					       "percentile",
					       "p99"};

	cr_assert_gt(count_elements(text), 40);
	for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++)
		cr_assert(strstr(text, forbidden[i]) == NULL, "%s", forbidden[i]);
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		cr_assert(strstr(text, expected[i]) != NULL, "%s", expected[i]);
	/* The name space is no reference. */
	cr_assert(strstr(strstr(text, "http://www.w3.org/2000/svg") + 10, "http") == NULL);
}

static void draw(struct made *made)
{
	char *text = made_report(made, bench_report_plot);

	check_document(text);
	free(text);
	made_free(made);
}

Test(bench_plot, results_of_every_shape)
{
	static const struct made_like shapes[] = {
		{BENCH_READ, "4K", 40, 100000, 1000, 0.1},
		{BENCH_WRITE, "1M", 1, 5000000, 300, 0},
		{BENCH_MIX, "4K,64K,1M", 300, 1000, 20, 0.9},
		{BENCH_MIX, "512", 2000, 100, 10, 0.5},
		{BENCH_READ, "4K", 3, 0, 10, 0},
		{BENCH_READ, "4K", 3, 1ull << 45, 10, 0},
		{BENCH_MIX, "4K", 5, 100000, 0, 0},
		{BENCH_READ, "4K", 0, 100000, 0, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++)
		draw(made_new(&shapes[i]));
}

Test(bench_plot, steady_state_and_warnings_are_shown)
{
	struct made *made = made_new(&(struct made_like){BENCH_READ, "4K", 10, 100000, 100, 0.1});
	char *text;

	made->options.steady_state = true;
	made->options.steady_window_ms = 10000;
	made->result.steady_count = 900;
	made->result.steady_rates = calloc(900, sizeof(double));
	text = made_report(made, bench_report_plot);
	check_document(text);
	cr_assert(strstr(text, "no steady state was reached") != NULL);
	cr_assert(strstr(text, "line before") != NULL);
	free(text);
	made->result.io_errors = 7;
	text = made_report(made, bench_report_plot);
	cr_assert(strstr(text, "7 errors") != NULL);
	free(text);
	made_free(made);
}

Test(bench_plot, hostile_names_stay_text)
{
	struct made *made = made_new(&(struct made_like){BENCH_READ, "4K", 2, 100000, 100, 0});

	(void)snprintf(made->options.url.target, sizeof(made->options.url.target),
		       "\"><script>alert(1)</script>&\x01\xff");
	draw(made);
}

Test(bench_plot, a_full_disk_is_said)
{
	struct made *made = made_new(&(struct made_like){BENCH_READ, "4K", 2, 100000, 100, 0});
	FILE *to = fopen("/dev/full", "w");

	cr_assert(to != NULL);
	cr_assert_lt(bench_report_plot(&made->result, to), 0);
	(void)fclose(to);
	made_free(made);
}
