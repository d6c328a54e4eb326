/*
 * Reading back result files: see result_file.h. Any thread.
 */
#include "target/bench/result_file.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "target/bench/options.h"

#define FORMAT 1

/* Where messages go. */
struct complaint {
	char *text;
	size_t size_bytes;
};

static int PRINTF_LIKE(3, 4) complain(const struct complaint *to, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
	(void)vsnprintf(to->text, to->size_bytes, format, args);
	va_end(args);
	return err;
}

const json_t *result_file_find(const json_t *object, const char *const keys[METRIC_KEYS_MAX])
{
	for (unsigned i = 0; i < METRIC_KEYS_MAX && keys[i]; i++)
		object = json_object_get(object, keys[i]);
	return object;
}

/* ---- From the stream to a tree ---- */

struct source {
	FILE *from;
	size_t read_bytes;
};

/* For jansson: what is too long reads as an error and not as an end. */
static size_t read_some(void *buffer, size_t size_bytes, void *data)
{
	struct source *source = data;
	size_t got = fread(buffer, 1, size_bytes, source->from);

	source->read_bytes += got;
	if (ferror(source->from) || source->read_bytes > RESULT_FILE_BYTES_MAX)
		return (size_t)-1;
	return got;
}

static int parse(struct result_file *out, FILE *from, const struct complaint *error)
{
	struct source source = {.from = from};
	json_error_t where;

	out->root = json_load_callback(read_some, &source, JSON_REJECT_DUPLICATES, &where);
	if (out->root)
		return 0;
	if (ferror(from))
		return complain(error, -EIO, "cannot be read");
	if (source.read_bytes > RESULT_FILE_BYTES_MAX) {
		return complain(error, -EFBIG, "is larger than %u MiB",
				RESULT_FILE_BYTES_MAX >> 20);
	}
	if (json_error_code(&where) == json_error_out_of_memory)
		return complain(error, -ENOMEM, "is too large for the memory");
	/* jansson's own text quotes the file, which may hold anything. */
	return complain(error, -EINVAL, "is not JSON: line %d, column %d", where.line,
			where.column);
}

/* ---- From the tree to figures ---- */

static bool in_range(double number)
{
	return isfinite(number) && number >= 0 && number <= RESULT_NUMBER_MAX;
}

static int take_number(const json_t *object, const char *const keys[METRIC_KEYS_MAX], bool *present,
		       double *out)
{
	const json_t *member = result_file_find(object, keys);

	*present = member != NULL;
	if (!member)
		return 0;
	*out = json_number_value(member);
	return json_is_number(member) && in_range(*out) ? 0 : -EINVAL;
}

static int take_samples(const json_t *intervals, const struct metric *metric, double *room,
			struct series_stats *out)
{
	uint32_t count = 0;

	for (size_t i = 0; metric->sample_keys[0] && i < json_array_size(intervals); i++) {
		bool present;
		int err = take_number(json_array_get(intervals, i), metric->sample_keys, &present,
				      &room[count]);

		if (err)
			return err;
		if (present && !(metric->zero_is_none && room[count] <= 0))
			count++;
	}
	series_summarize(room, count, out);
	return 0;
}

static int take_figures(struct result_file *out, const json_t *intervals, double *room,
			const struct complaint *error)
{
	for (size_t i = 0; i < METRIC_COUNT; i++) {
		const struct metric *metric = &bench_metrics[i];
		struct result_figure *figure = &out->figures[i];

		if (take_number(out->root, metric->keys, &figure->present, &figure->value) ||
		    take_samples(intervals, metric, room, &figure->samples))
			return complain(error, -EINVAL, "%s is not a number in range",
					metric->name);
	}
	return 0;
}

static int check_head(const struct result_file *file, const struct complaint *error)
{
	const json_t *format = json_object_get(file->root, "format");

	if (!json_is_object(file->root) || !json_is_integer(format))
		return complain(error, -EINVAL, "is no result of 'ringsan bench --json'");
	if (json_integer_value(format) != FORMAT) {
		return complain(error, -EINVAL, "has format %lld, not %d",
				(long long)json_integer_value(format), FORMAT);
	}
	if (!json_object_get(file->root, "read") && !json_object_get(file->root, "write"))
		return complain(error, -EINVAL, "has neither reads nor writes");
	return 0;
}

/* *out is NULL, or an array of objects within the bound. */
static int find_intervals(const struct result_file *file, const json_t **out,
			  const struct complaint *error)
{
	const json_t *intervals = json_object_get(file->root, "intervals");

	*out = intervals;
	if (!intervals)
		return 0;
	if (!json_is_array(intervals) || json_array_size(intervals) > BENCH_INTERVALS_MAX) {
		return complain(error, -EINVAL, "intervals is no array of at most %u",
				BENCH_INTERVALS_MAX);
	}
	for (size_t i = 0; i < json_array_size(intervals); i++) {
		if (!json_is_object(json_array_get(intervals, i)))
			return complain(error, -EINVAL, "an interval is no object");
	}
	return 0;
}

static void take_flags(struct result_file *file)
{
	const json_t *errors = json_object_get(file->root, "errors");
	const json_t *steady = json_object_get(file->root, "steady_state");

	file->has_errors = json_number_value(json_object_get(errors, "io")) != 0 ||
			   json_number_value(json_object_get(errors, "verify")) != 0;
	file->not_steady = json_is_false(json_object_get(steady, "reached"));
}

static int take_all(struct result_file *out, const struct complaint *error)
{
	const json_t *intervals;
	double *room;
	int err = check_head(out, error);

	if (!err)
		err = find_intervals(out, &intervals, error);
	if (err)
		return err;
	/* One more, as the next sample is read before it is counted. */
	room = calloc(json_array_size(intervals) + 1, sizeof(*room));
	if (!room)
		return complain(error, -ENOMEM, "is too large for the memory");
	err = take_figures(out, intervals, room, error);
	free(room);
	take_flags(out);
	return err;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the message is written there. */
int result_file_load(struct result_file *out, FILE *from, char *error, size_t error_bytes)
{
	const struct complaint complaint = {error, error_bytes};
	int err;

	*out = (struct result_file){.root = NULL};
	err = parse(out, from, &complaint);
	if (!err)
		err = take_all(out, &complaint);
	if (err)
		result_file_release(out);
	return err;
}

void result_file_release(struct result_file *file)
{
	json_decref(file->root);
	file->root = NULL;
}
