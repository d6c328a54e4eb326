/*
 * The parser of `ringsan bench` options: walks the table of options_table.c with getopt_long, then
 * checks what single options cannot know. Main thread only. Read next: options.h.
 */
#include "target/bench/options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* The table has fewer rows; getopt's array ends with a zero row. */
#define OPTION_ROWS_MAX 63u
/* getopt_long answers this plus the row's index. Above any letter. */
#define OPTION_VALUE_BASE 1000

/* Where messages go; `error` always ends as one complete line or a cut one. */
struct complaint {
	char *text;
	size_t size_bytes;
};

static int PRINTF_LIKE(2, 3) complain(const struct complaint *to, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
	(void)vsnprintf(to->text, to->size_bytes, format, args);
	va_end(args);
	return -EINVAL;
}

static void *field_of(const struct option_row *row, struct bench_options *options)
{
	return (char *)options + row->offset;
}

typedef int value_fn(const struct option_row *row, const char *value, struct bench_options *to,
		     const struct complaint *error);

static int in_bounds(const struct option_row *row, const char *value, uint64_t number,
		     const struct complaint *error)
{
	if (number < row->min || number > row->max) {
		return complain(error, "--%s: '%s' is not between %" PRIu64 " and %" PRIu64,
				row->name, value, row->min, row->max);
	}
	return 0;
}

typedef int unit_fn(const char *text, uint64_t *out);

static int take_unit(const struct option_row *row, const char *value, uint64_t *field,
		     const struct complaint *error)
{
	static unit_fn *const parsers[OPTION_KIND_COUNT] = {
		[OPTION_NUMBER] = units_parse_number,
		[OPTION_SIZE] = units_parse_size,
		[OPTION_DURATION] = units_parse_duration,
	};
	static const char *const examples[OPTION_KIND_COUNT] = {
		[OPTION_NUMBER] = "a number, as in 8",
		[OPTION_SIZE] = "a size, as in 4096, 4K or 1M",
		[OPTION_DURATION] = "a time, as in 5s or 500ms",
	};
	uint64_t number;
	int err = parsers[row->kind](value, &number);

	if (err) {
		return complain(error, "--%s: '%s' is not %s", row->name, value,
				examples[row->kind]);
	}
	err = in_bounds(row, value, number, error);
	if (!err)
		*field = number;
	return err;
}

static int take_number(const struct option_row *row, const char *value, struct bench_options *to,
		       const struct complaint *error)
{
	return take_unit(row, value, field_of(row, to), error);
}

static int take_choice(const struct option_row *row, const char *value, struct bench_options *to,
		       const struct complaint *error)
{
	for (uint64_t i = 0; row->choices[i]; i++) {
		if (strcmp(row->choices[i], value) == 0) {
			*(uint64_t *)field_of(row, to) = i;
			return 0;
		}
	}
	return complain(error, "--%s: '%s' is none of %s", row->name, value, row->value_name);
}

static int take_yes_no(const struct option_row *row, const char *value, struct bench_options *to,
		       const struct complaint *error)
{
	bool yes = strcmp(value, "yes") == 0;

	if (!yes && strcmp(value, "no") != 0)
		return complain(error, "--%s: '%s' is neither yes nor no", row->name, value);
	*(bool *)field_of(row, to) = yes;
	return 0;
}

static int take_flag(const struct option_row *row, const char *value, struct bench_options *to,
		     const struct complaint *error)
{
	(void)value;
	(void)error;
	*(bool *)field_of(row, to) = true;
	return 0;
}

static int take_text(const struct option_row *row, const char *value, struct bench_options *to,
		     const struct complaint *error)
{
	if (value[0] == '\0')
		return complain(error, "--%s: the value is empty", row->name);
	*(const char **)field_of(row, to) = value;
	return 0;
}

static int take_cpus(const struct option_row *row, const char *value, struct bench_options *to,
		     const struct complaint *error)
{
	if (units_parse_cpus(value, field_of(row, to))) {
		return complain(error, "--%s: '%s' is no list of CPUs, as in 1 or 0-3,8", row->name,
				value);
	}
	return 0;
}

static value_fn *const take_value[OPTION_KIND_COUNT] = {
	[OPTION_NUMBER] = take_number,   [OPTION_SIZE] = take_number,
	[OPTION_DURATION] = take_number, [OPTION_CHOICE] = take_choice,
	[OPTION_YES_NO] = take_yes_no,   [OPTION_FLAG] = take_flag,
	[OPTION_TEXT] = take_text,       [OPTION_CPUS] = take_cpus,
};

/* getopt's two tables, made from ours. */
struct getopt_tables {
	struct option longs[OPTION_ROWS_MAX + 1];
	char letters[2 * OPTION_ROWS_MAX + 2];
};

static void make_getopt_tables(struct getopt_tables *tables)
{
	char *letter = tables->letters;

	_Static_assert(OPTION_ROWS_MAX > 32, "room for the table and more");
	/* A leading colon: a missing value is told apart from an unknown option. */
	*letter++ = ':';
	for (size_t i = 0; i < bench_option_count && i < OPTION_ROWS_MAX; i++) {
		const struct option_row *row = &bench_option_rows[i];
		bool has_value = row->kind != OPTION_FLAG;

		tables->longs[i] = (struct option){
			.name = row->name,
			.has_arg = has_value ? required_argument : no_argument,
			.val = OPTION_VALUE_BASE + (int)i,
		};
		if (row->letter != 0) {
			*letter++ = row->letter;
			if (has_value)
				*letter++ = ':';
		}
	}
}

static const struct option_row *row_of(int answer)
{
	for (size_t i = 0; i < bench_option_count; i++) {
		if (answer == OPTION_VALUE_BASE + (int)i || answer == bench_option_rows[i].letter)
			return &bench_option_rows[i];
	}
	return NULL;
}

/* All options; then optind is the first operand. */
static int walk(struct bench_options *to, int argc, char **argv, const struct complaint *error)
{
	struct getopt_tables tables = {0};
	int answer;

	make_getopt_tables(&tables);
	opterr = 0;
	optind = 0;
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): there is no other thread yet. */
	while ((answer = getopt_long(argc, argv, tables.letters, tables.longs, NULL)) != -1) {
		const struct option_row *row;
		int err;

		if (answer == '?')
			return complain(error, "unknown option '%s'", argv[optind - 1]);
		if (answer == ':')
			return complain(error, "option '%s' needs a value", argv[optind - 1]);
		row = row_of(answer);
		if (!row)
			return complain(error, "unknown option '%s'", argv[optind - 1]);
		err = take_value[row->kind](row, optarg, to, error);
		if (err || to->help)
			return err;
	}
	return 0;
}

static int secret_from_file(struct bench_options *to, const struct complaint *error)
{
	char line[BENCH_SECRET_BYTES_MAX + 3];
	FILE *file = fopen(to->secret_file, "re");
	int err = 0;

	if (!file) {
		return complain(error, "--secret-file: %s: %s", to->secret_file,
				strerrordesc_np(errno));
	}
	if (!fgets(line, sizeof(line), file))
		line[0] = '\0';
	line[strcspn(line, "\r\n")] = '\0';
	if (line[0] == '\0' || strlen(line) > BENCH_SECRET_BYTES_MAX) {
		err = complain(error, "--secret-file: %s: its first line must have 1 to %u bytes",
			       to->secret_file, BENCH_SECRET_BYTES_MAX);
	} else {
		memcpy(to->url.secret, line, strlen(line) + 1);
	}
	explicit_bzero(line, sizeof(line));
	(void)fclose(file);
	return err;
}

static int find_secret(struct bench_options *to, const struct complaint *error)
{
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): there is no other thread yet. */
	const char *variable = getenv("RINGSAN_CHAP_SECRET");

	if (to->url.user[0] == '\0') {
		if (to->secret_file) {
			return complain(error, "--secret-file needs a user in the URL: "
					       "iscsi://user@host/...");
		}
		return 0;
	}
	if (to->secret_file)
		return secret_from_file(to, error);
	if (variable && variable[0] != '\0') {
		if (strlen(variable) > BENCH_SECRET_BYTES_MAX) {
			return complain(error, "RINGSAN_CHAP_SECRET is longer than %u bytes",
					BENCH_SECRET_BYTES_MAX);
		}
		memcpy(to->url.secret, variable, strlen(variable) + 1);
	}
	if (to->url.secret[0] == '\0') {
		return complain(error,
				"user '%s' needs a secret: set RINGSAN_CHAP_SECRET or give "
				"--secret-file",
				to->url.user);
	}
	return 0;
}

static int take_url(struct bench_options *to, int argc, char **argv, const struct complaint *error)
{
	const char *reason;

	if (optind >= argc)
		return complain(error, "a URL is needed: iscsi://host[:port]/target-name/lun");
	if (argc - optind > 1)
		return complain(error, "one URL only: '%s' is too many", argv[optind + 1]);
	/* The URL itself is not repeated: it may hold a secret. */
	if (bench_url_parse(argv[optind], &to->url, &reason))
		return complain(error, "the URL is wrong: %s", reason);
	return find_secret(to, error);
}

static int check_together(const struct bench_options *options, const struct complaint *error)
{
	if (options->block_bytes % 512 != 0)
		return complain(error, "--block-size: must be a multiple of 512");
	if (options->offset_bytes % 512 != 0 || options->size_bytes % 512 != 0)
		return complain(error, "--offset and --size: must be multiples of 512");
	if (options->first_burst_bytes > options->max_burst_bytes) {
		return complain(error, "--first-burst: must not exceed --max-burst "
				       "(RFC 7143 13.14)");
	}
	if (strlen(options->initiator_name) > BENCH_NAME_BYTES_MAX) {
		return complain(error, "--initiator-name: longer than %u bytes",
				BENCH_NAME_BYTES_MAX);
	}
	if (options->verify && options->sessions * options->queue_depth * options->block_bytes >
				       BENCH_BUFFERS_BYTES_MAX) {
		return complain(error, "--verify: sessions x queue depth x block size must not "
				       "exceed 1 GiB");
	}
	return 0;
}

/* One per CPU that we may run on, no more than there is work for. */
static uint64_t default_threads(const struct bench_options *options)
{
	uint64_t cpus = options->cpus.count;
	cpu_set_t allowed;

	if (cpus == 0 && sched_getaffinity(0, sizeof(allowed), &allowed) == 0)
		cpus = (uint64_t)CPU_COUNT(&allowed);
	return cpus > 0 ? cpus : 1;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the message is written there. */
int bench_options_parse(struct bench_options *out, int argc, char **argv, char *error,
			size_t error_bytes)
{
	const struct complaint complaint = {error, error_bytes};
	int err;

	*out = bench_option_defaults;
	err = walk(out, argc, argv, &complaint);
	if (err || out->help)
		return err;
	err = take_url(out, argc, argv, &complaint);
	if (!err)
		err = check_together(out, &complaint);
	if (err)
		return err;
	if (out->threads == 0)
		out->threads = default_threads(out);
	if (out->threads > out->sessions)
		out->threads = out->sessions;
	if (out->threads > BENCH_THREADS_MAX)
		out->threads = BENCH_THREADS_MAX;
	return 0;
}

static void help_row(FILE *to, const struct option_row *row)
{
	char left[64];
	char letter[8] = "   ";

	if (row->letter != 0)
		(void)snprintf(letter, sizeof(letter), "-%c,", row->letter);
	(void)snprintf(left, sizeof(left), "%s --%s%s%s", letter, row->name,
		       row->value_name ? "=" : "", row->value_name ? row->value_name : "");
	if (strlen(left) > 28) {
		(void)fprintf(to, "  %s\n  %-28s %s\n", left, "", row->help);
	} else {
		(void)fprintf(to, "  %-28s %s\n", left, row->help);
	}
}

void bench_options_help(FILE *to)
{
	(void)fputs("usage: ringsan bench [options] "
		    "iscsi://[user@]host[:port]/target-name/lun\n\n"
		    "Drive a running iSCSI target and report IOPS, throughput and latency.\n"
		    "Writing workloads overwrite the region they are given.\n\n",
		    to);
	for (size_t i = 0; i < bench_option_count; i++)
		help_row(to, &bench_option_rows[i]);
}
