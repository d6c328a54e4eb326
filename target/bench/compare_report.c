/*
 * A comparison as a table and as JSON: see compare.h. Pure output, main thread.
 */
#include "target/bench/compare.h"

#include <errno.h>
#include <string.h>

/* ---- Table ---- */

/* Three figures at least. */
static int digits_of(double value)
{
	return value < 10 ? 3 : value < 100 ? 2 : value < 1000 ? 1 : 0;
}

/* Throughput is shown in MiB/s, as everywhere; JSON keeps bytes. */
static double shown_value(const struct metric *metric, double value)
{
	return strcmp(metric->unit, "B/s") == 0 ? value / (1 << 20) : value;
}

static const char *shown_unit(const struct metric *metric)
{
	return strcmp(metric->unit, "B/s") == 0 ? "MiB/s" : metric->unit;
}

static void print_value(const struct metric *metric, double value, FILE *to)
{
	double shown = shown_value(metric, value);

	(void)fprintf(to, " %12.*f", digits_of(shown), shown);
}

static void print_change(const struct comparison *comparison, size_t number, FILE *to)
{
	const struct metric *metric = &bench_metrics[number];
	const struct change *change = &comparison->changes[number];

	(void)fprintf(to, "%-17s %-6s", metric->name, shown_unit(metric));
	print_value(metric, comparison->files[0]->figures[number].value, to);
	print_value(metric, comparison->files[1]->figures[number].value, to);
	if (change->has_percent) {
		(void)fprintf(to, " %+9.1f %%", change->percent);
	} else {
		(void)fprintf(to, " %11s", "-");
	}
	if (change->verdict >= VERDICT_NOISE) {
		(void)fprintf(to, " %7.1f %%", change->noise_percent);
	} else {
		(void)fprintf(to, " %9s", "-");
	}
	(void)fprintf(to, "  %s\n", compare_verdict_name(change->verdict));
}

int compare_print_table(const struct comparison *comparison, FILE *to)
{
	(void)fprintf(to, "old: %s\nnew: %s\n\n", comparison->names[0], comparison->names[1]);
	for (unsigned i = 0; i < comparison->difference_count; i++)
		(void)fprintf(to, "warning: %s\n", comparison->differences[i]);
	if (comparison->difference_count > 0)
		(void)fputc('\n', to);
	(void)fprintf(to, "%-17s %-6s %12s %12s %11s %9s\n", "", "", "old", "new", "change",
		      "noise");
	for (size_t i = 0; i < METRIC_COUNT; i++) {
		if (comparison->changes[i].verdict != VERDICT_ABSENT)
			print_change(comparison, i, to);
	}
	(void)fprintf(to, "\n%u worse beyond noise\n", comparison->worse);
	return fflush(to) == 0 && !ferror(to) ? 0 : -EIO;
}

/* ---- JSON ---- */

static json_t *json_change(const struct comparison *comparison, size_t number)
{
	const struct metric *metric = &bench_metrics[number];
	const struct change *change = &comparison->changes[number];
	json_t *object = json_pack("{s:s, s:s, s:f, s:f, s:s}", "name", metric->name, "unit",
				   metric->unit, "old", comparison->files[0]->figures[number].value,
				   "new", comparison->files[1]->figures[number].value, "verdict",
				   compare_verdict_name(change->verdict));
	int err = 0;

	if (change->has_percent)
		err |= json_object_set_new(object, "change_percent", json_real(change->percent));
	if (change->verdict >= VERDICT_NOISE)
		err |= json_object_set_new(object, "noise_percent",
					   json_real(change->noise_percent));
	if (err) {
		json_decref(object);
		return NULL;
	}
	return object;
}

/* A name of a file need not be UTF-8. */
static json_t *json_name(const char *name)
{
	json_t *string = json_string(name);

	return string ? string : json_string("(a name that is not UTF-8)");
}

static json_t *json_comparison(const struct comparison *comparison)
{
	json_t *metrics = json_array();
	json_t *warnings = json_array();
	int err = 0;

	for (size_t i = 0; i < METRIC_COUNT; i++) {
		if (comparison->changes[i].verdict != VERDICT_ABSENT)
			err |= json_array_append_new(metrics, json_change(comparison, i));
	}
	for (unsigned i = 0; i < comparison->difference_count; i++)
		err |= json_array_append_new(warnings, json_string(comparison->differences[i]));
	if (err) {
		json_decref(metrics);
		json_decref(warnings);
		return NULL;
	}
	return json_pack("{s:i, s:o, s:o, s:i, s:o, s:o}", "format", 1, "old",
			 json_name(comparison->names[0]), "new", json_name(comparison->names[1]),
			 "worse", (int)comparison->worse, "warnings", warnings, "metrics", metrics);
}

int compare_print_json(const struct comparison *comparison, FILE *to)
{
	json_t *object = json_comparison(comparison);
	int err = object ? 0 : -ENOMEM;

	if (!err && (json_dumpf(object, to, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) != 0 ||
		     fputc('\n', to) == EOF || fflush(to) != 0))
		err = -EIO;
	json_decref(object);
	return err;
}
