/*
 * Judging two results: see compare.h. Pure functions, main thread. Read next: compare_report.c.
 */
#include "target/bench/compare.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What should be alike for a comparison to mean anything. Members that one file lacks are passed
 * over: it may be older. */
static const char *const conditions[][METRIC_KEYS_MAX] = {
	{"options", "profile"},
	{"options", "workload"},
	{"options", "read_percent"},
	{"options", "pattern"},
	{"options", "block_bytes"},
	{"options", "sessions"},
	{"options", "queue_depth"},
	{"options", "threads"},
	{"options", "burst"},
	{"options", "pause_ms"},
	{"options", "interval_ms"},
	{"options", "fill"},
	{"options", "verify"},
	{"lun", "block_bytes"},
	{"lun", "region_bytes"},
	{"negotiated", "ImmediateData"},
	{"negotiated", "InitialR2T"},
	{"negotiated", "FirstBurstLength"},
	{"negotiated", "MaxBurstLength"},
	{"negotiated", "MaxOutstandingR2T"},
	{"negotiated", "MaxRecvDataSegmentLength"},
	{"negotiated", "TargetMaxRecvDataSegmentLength"},
	{"negotiated", "HeaderDigest"},
	{"negotiated", "DataDigest"},
};
/* One line for the classes, two for each file about its state, and one if nothing is judged. */
_Static_assert(ARRAY_SIZE(conditions) + 6 <= DIFFERENCES_MAX, "every difference has a line");

static const char *const verdict_names[VERDICT_COUNT] = {
	[VERDICT_ABSENT] = "absent",      [VERDICT_UNJUDGED] = "not judged",
	[VERDICT_NOISE] = "within noise", [VERDICT_TOLERATED] = "tolerated",
	[VERDICT_BETTER] = "better",      [VERDICT_WORSE] = "worse",
};

const char *compare_verdict_name(enum verdict verdict)
{
	assert(verdict < VERDICT_COUNT);
	return verdict_names[verdict];
}

/* ---- Figures ---- */

/* Noise is known of the means of the intervals. The change of a whole run's percentile is another
 * estimate: one stall may move it far and that mean little. So both have to show the change. */
static bool is_noise(const struct change *change, double means_percent)
{
	return change->percent * means_percent <= 0 ||
	       fmin(fabs(change->percent), fabs(means_percent)) <= change->noise_percent;
}

static enum verdict judge(const struct metric *metric, const struct change *change,
			  double means_percent, double tolerance_percent)
{
	if (is_noise(change, means_percent))
		return VERDICT_NOISE;
	if (fabs(change->percent) <= tolerance_percent)
		return VERDICT_TOLERATED;
	return (change->percent > 0) == metric->higher_is_better ? VERDICT_BETTER : VERDICT_WORSE;
}

struct change compare_figures(const struct metric *metric, const struct result_figure figures[2],
			      double tolerance_percent)
{
	const struct series_stats *before = &figures[0].samples;
	const struct series_stats *after = &figures[1].samples;
	struct change change = {.verdict = VERDICT_ABSENT};

	if (!figures[0].present || !figures[1].present)
		return change;
	change.verdict = VERDICT_UNJUDGED;
	if (figures[0].value <= 0)
		return change;
	change.has_percent = true;
	change.percent = 100 * (figures[1].value - figures[0].value) / figures[0].value;
	if (before->count < SERIES_SAMPLES_MIN || after->count < SERIES_SAMPLES_MIN ||
	    before->mean <= 0)
		return change;
	change.noise_percent =
		fmax(100 * series_noise(before, after) / before->mean, metric->resolution_percent);
	change.verdict = judge(metric, &change, 100 * (after->mean - before->mean) / before->mean,
			       tolerance_percent);
	return change;
}

/* ---- Conditions ---- */

/* Of two results in turn. */
struct pair {
	const json_t *values[2];
};

static struct pair find_both(const struct comparison *comparison,
			     const char *const keys[METRIC_KEYS_MAX])
{
	return (struct pair){{result_file_find(comparison->files[0]->root, keys),
			      result_file_find(comparison->files[1]->root, keys)}};
}

static char *next_difference(struct comparison *comparison)
{
	assert(comparison->difference_count < DIFFERENCES_MAX);
	return comparison->differences[comparison->difference_count++];
}

/* A value of a file, with everything escaped that a terminal might obey, and cut short. */
static void describe_value(const json_t *value, char *out, size_t size_bytes)
{
	char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII | JSON_COMPACT);

	(void)snprintf(out, size_bytes, "%s", text ? text : "?");
	for (char *at = out; *at != '\0'; at++) {
		if (*at == '\177')
			*at = '?';
	}
	free(text);
}

static void add_difference(struct comparison *comparison, const char *name, const struct pair *pair)
{
	char before[48];
	char after[48];

	describe_value(pair->values[0], before, sizeof(before));
	describe_value(pair->values[1], after, sizeof(after));
	(void)snprintf(next_difference(comparison), DIFFERENCE_BYTES, "%s: %s, %s", name, before,
		       after);
}

/* What a class is, without what was measured of it. */
static bool same_class(const json_t *a, const json_t *b)
{
	static const char *const keys[] = {"block_bytes", "share_percent", "read_percent",
					   "pattern"};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		/* jansson compares what is missing as unequal, even to itself. */
		if (!json_equal(json_object_get(a, keys[i]), json_object_get(b, keys[i])))
			return false;
	}
	return true;
}

static void compare_classes(struct comparison *comparison)
{
	static const char *const keys[METRIC_KEYS_MAX] = {"classes"};
	struct pair pair = find_both(comparison, keys);
	bool same;

	if (!pair.values[0] || !pair.values[1])
		return;
	same = json_array_size(pair.values[0]) == json_array_size(pair.values[1]);
	for (size_t i = 0; same && i < json_array_size(pair.values[0]); i++) {
		same = same_class(json_array_get(pair.values[0], i),
				  json_array_get(pair.values[1], i));
	}
	if (!same) {
		(void)snprintf(next_difference(comparison), DIFFERENCE_BYTES,
			       "classes: the commands have other sizes, shares or patterns");
	}
}

static void compare_conditions(struct comparison *comparison)
{
	for (size_t i = 0; i < ARRAY_SIZE(conditions); i++) {
		struct pair pair = find_both(comparison, conditions[i]);

		if (pair.values[0] && pair.values[1] && !json_equal(pair.values[0], pair.values[1]))
			add_difference(comparison, conditions[i][1], &pair);
	}
	compare_classes(comparison);
}

/* What speaks against a result by itself. */
static void add_doubts(struct comparison *comparison)
{
	static const char *const which[] = {"old", "new"};

	for (unsigned i = 0; i < 2; i++) {
		if (comparison->files[i]->has_errors) {
			(void)snprintf(next_difference(comparison), DIFFERENCE_BYTES,
				       "errors: the %s run had some", which[i]);
		}
		if (comparison->files[i]->not_steady) {
			(void)snprintf(next_difference(comparison), DIFFERENCE_BYTES,
				       "steady_state: the %s run did not reach it", which[i]);
		}
	}
	if (comparison->judged == 0) {
		(void)snprintf(next_difference(comparison), DIFFERENCE_BYTES,
			       "metrics: there is none that both results let judge");
	}
}

void compare_files(struct comparison *out, const struct result_file files[2],
		   const char *const names[2], double tolerance_percent)
{
	*out = (struct comparison){.files = {&files[0], &files[1]}, .names = {names[0], names[1]}};
	for (size_t i = 0; i < METRIC_COUNT; i++) {
		const struct result_figure figures[2] = {files[0].figures[i], files[1].figures[i]};

		out->changes[i] = compare_figures(&bench_metrics[i], figures, tolerance_percent);
		out->judged += out->changes[i].verdict >= VERDICT_NOISE;
		out->worse += out->changes[i].verdict == VERDICT_WORSE;
	}
	compare_conditions(out);
	add_doubts(out);
}
