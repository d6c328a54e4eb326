/*
 * The parser of `ringsan bench` options: walks the table of options_table.c with getopt_long, then
 * checks what single options cannot know. Main thread only. Read next: options.h.
 */
#include "target/bench/options.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "target/bench/profile.h"

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

static int take_sizes(const struct option_row *row, const char *value, struct bench_options *to,
		      const struct complaint *error)
{
	struct mix_sizes sizes;
	int err = 0;

	if (mix_sizes_parse(value, &sizes)) {
		return complain(error,
				"--%s: '%s' is not a size, as in 4096, 4K or 1M, nor at most %u "
				"sizes with shares, as in 4K:70,64K:30",
				row->name, value, MIX_SIZES_MAX);
	}
	for (unsigned i = 0; i < sizes.count && !err; i++) {
		err = in_bounds(row, value, sizes.sizes[i].bytes, error);
		if (!err && sizes.sizes[i].bytes % 512 != 0)
			err = complain(error, "--%s: must be a multiple of 512", row->name);
	}
	if (!err)
		*(struct mix_sizes *)field_of(row, to) = sizes;
	return err;
}

static value_fn *const take_value[OPTION_KIND_COUNT] = {
	[OPTION_NUMBER] = take_number,   [OPTION_SIZE] = take_number,
	[OPTION_DURATION] = take_number, [OPTION_CHOICE] = take_choice,
	[OPTION_YES_NO] = take_yes_no,   [OPTION_FLAG] = take_flag,
	[OPTION_TEXT] = take_text,       [OPTION_CPUS] = take_cpus,
	[OPTION_SIZES] = take_sizes,
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
		to->given |= 1ull << (row - bench_option_rows);
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
	if (options->verify &&
	    options->sessions * options->queue_depth * options->mix.largest_bytes >
		    BENCH_BUFFERS_BYTES_MAX) {
		return complain(error, "--verify: sessions x queue depth x block size must not "
				       "exceed 1 GiB");
	}
	if (options->time_ms / options->interval_ms > BENCH_INTERVALS_MAX) {
		return complain(error, "--interval: more than %u intervals in --time",
				BENCH_INTERVALS_MAX);
	}
	if (options->steady_limit_ms < options->steady_window_ms)
		return complain(error, "--steady-limit: must not be shorter than --steady-window");
	if (options->steady_limit_ms / options->steady_window_ms > BENCH_STEADY_WINDOWS_MAX) {
		return complain(error, "--steady-limit: more than %u times --steady-window",
				BENCH_STEADY_WINDOWS_MAX);
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

/* ---- Profiles ---- */

static bool is_given(const struct bench_options *options, size_t offset)
{
	for (size_t i = 0; i < bench_option_count; i++) {
		if (bench_option_rows[i].offset == offset)
			return options->given >> i & 1u;
	}
	return false;
}
#define IS_GIVEN(options, field) is_given(options, offsetof(struct bench_options, field))

static uint32_t read_percent_of(const struct bench_options *options)
{
	if (IS_GIVEN(options, workload) && options->workload != BENCH_MIX)
		return options->workload == BENCH_READ ? 100 : 0;
	return (uint32_t)options->read_percent;
}

/* A class of a profile, as far as no option says otherwise. */
static bool add_class(struct bench_options *options, struct mix_class class)
{
	const struct mix_sizes own = {.count = 1, .sizes = {{class.bytes, 1}}};
	bool sizes_given = IS_GIVEN(options, sizes);

	if (IS_GIVEN(options, pattern))
		class.run = options->pattern == BENCH_RANDOM ? MIX_RUN_RANDOM : MIX_RUN_SEQUENTIAL;
	if (IS_GIVEN(options, workload) || IS_GIVEN(options, read_percent))
		class.read_percent = read_percent_of(options);
	return mix_add(&options->mix, &class, sizes_given ? &options->sizes : &own);
}

static int use_profile(struct bench_options *options, const struct complaint *error)
{
	const struct profile *profile = bench_profile_find(options->profile);

	if (!profile) {
		return complain(error, "--profile: there is no '%s'; --profile=list shows them",
				options->profile);
	}
	if (!IS_GIVEN(options, sessions))
		options->sessions = profile->sessions;
	if (!IS_GIVEN(options, queue_depth))
		options->queue_depth = profile->queue_depth;
	if (!IS_GIVEN(options, burst))
		options->burst = profile->burst;
	if (!IS_GIVEN(options, pause_ms) && profile->burst > 0)
		options->pause_ms = profile->pause_ms;
	for (unsigned i = 0; i < bench_profile_class_count(profile); i++) {
		if (!add_class(options, profile->classes[i])) {
			return complain(error,
					"--block-size: with this profile there would be more than "
					"%u classes of commands",
					MIX_CLASSES_MAX);
		}
	}
	mix_finish(&options->mix);
	options->workload = BENCH_MIX;
	if (!mix_writes(&options->mix))
		options->workload = BENCH_READ;
	if (!mix_reads(&options->mix))
		options->workload = BENCH_WRITE;
	return 0;
}

void bench_options_make_mix(struct bench_options *options)
{
	bool fits;

	const struct mix_class class = {
		.name = "",
		.weight = 1,
		.read_percent = options->workload == BENCH_MIX    ? (uint32_t)options->read_percent
				: options->workload == BENCH_READ ? 100
								  : 0,
		.run = options->pattern == BENCH_RANDOM ? MIX_RUN_RANDOM : MIX_RUN_SEQUENTIAL,
		.area_end_percent = 100,
	};

	options->mix = (struct mix){.count = 0};
	_Static_assert(MIX_SIZES_MAX <= MIX_CLASSES_MAX, "a class for each size");
	fits = mix_add(&options->mix, &class, &options->sizes);
	assert(fits);
	mix_finish(&options->mix);
}

static int make_mix(struct bench_options *options, const struct complaint *error)
{
	if (options->profile)
		return use_profile(options, error);
	bench_options_make_mix(options);
	return 0;
}

/* About forty samples, so that a comparison has something to go by. */
static uint64_t default_interval_ms(const struct bench_options *options)
{
	uint64_t ms = options->time_ms / 40;

	if (ms < 50)
		ms = options->time_ms < 50 ? options->time_ms : 50;
	return ms < 1000 ? ms : 1000;
}

static int take_files(struct bench_options *to, int argc, char **argv,
		      const struct complaint *error)
{
	if (argc - optind != 2)
		return complain(error, "--compare needs two files, the old and the new one");
	to->files[0] = argv[optind];
	to->files[1] = argv[optind + 1];
	return 0;
}

static void set_threads(struct bench_options *options)
{
	if (options->threads == 0)
		options->threads = default_threads(options);
	if (options->threads > options->sessions)
		options->threads = options->sessions;
	if (options->threads > BENCH_THREADS_MAX)
		options->threads = BENCH_THREADS_MAX;
}

bool bench_options_list_profiles(const struct bench_options *options)
{
	return options->profile && strcmp(options->profile, "list") == 0;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the message is written there. */
int bench_options_parse(struct bench_options *out, int argc, char **argv, char *error,
			size_t error_bytes)
{
	const struct complaint complaint = {error, error_bytes};
	int err;

	*out = bench_option_defaults;
	err = walk(out, argc, argv, &complaint);
	if (err || out->help || bench_options_list_profiles(out))
		return err;
	if (out->compare)
		return take_files(out, argc, argv, &complaint);
	if (out->interval_ms == 0)
		out->interval_ms = default_interval_ms(out);
	err = make_mix(out, &complaint);
	if (!err)
		err = take_url(out, argc, argv, &complaint);
	if (!err)
		err = check_together(out, &complaint);
	if (!err)
		set_threads(out);
	return err;
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
		    "iscsi://[user@]host[:port]/target-name/lun\n"
		    "       ringsan bench compare [--json] [--tolerance=N] OLD NEW\n\n"
		    "Drive a running iSCSI target and report IOPS, throughput and latency.\n"
		    "Writing workloads overwrite the region they are given.\n\n",
		    to);
	for (size_t i = 0; i < bench_option_count; i++)
		help_row(to, &bench_option_rows[i]);
}
