/*
 * The options of `ringsan bench`: one table of names, kinds, bounds and help lines, and the plain
 * struct that comes out of it.
 *
 * It opens nothing but the secret file and starts nothing. Main thread, before any other exists.
 * Read next: options_table.c (the rows), options.c (the parser).
 */
#ifndef TARGET_BENCH_OPTIONS_H
#define TARGET_BENCH_OPTIONS_H

#include "base/attr.h"
#include "base/units.h"
#include "target/bench/mix.h"
#include "target/bench/url.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A thousand sessions are the product's own goal for one daemon. */
#define BENCH_SESSIONS_MAX 1024u
/* Task tags have ten bits of index. */
#define BENCH_QUEUE_DEPTH_MAX 1024u
#define BENCH_THREADS_MAX 256u
/* The largest transfer anybody measures; one verifying task holds a buffer of this size. */
#define BENCH_BLOCK_BYTES_MAX (16u << 20)
/* R2Ts that one command may have open; a task has room for as many. */
#define BENCH_R2T_MAX 8u
/* Buffers of a verifying run, over all sessions. */
#define BENCH_BUFFERS_BYTES_MAX (1ull << 30)
/* Four bytes are kept for each I/O-sized unit of a verified region: 512 MiB at most. */
#define BENCH_UNITS_VERIFIED_MAX (1ull << 27)

/* Records that a run keeps, one for each interval. */
#define BENCH_INTERVALS_MAX 100000u
/* Ten rates are kept for each. */
#define BENCH_STEADY_WINDOWS_MAX 1000u

enum bench_workload {
	BENCH_READ,
	BENCH_WRITE,
	BENCH_MIX,
};

enum bench_pattern {
	BENCH_RANDOM,
	BENCH_SEQUENTIAL,
};

enum bench_digests {
	BENCH_DIGEST_NONE = 0,
	BENCH_DIGEST_HEADER = 1,
	BENCH_DIGEST_DATA = 2,
	BENCH_DIGEST_BOTH = BENCH_DIGEST_HEADER | BENCH_DIGEST_DATA,
};

struct bench_options {
	struct bench_url url; /* Its secret is the one to use, wherever it came from. */
	uint64_t sessions;
	uint64_t queue_depth; /* Per session. */
	uint64_t threads;     /* Never above sessions. */
	struct units_cpus cpus;

	const char *profile;    /* NULL: none. */
	struct mix_sizes sizes; /* As given; each a multiple of 512. */
	struct mix mix;         /* What comes of all options about commands. */
	uint64_t burst;         /* Commands of a session between two pauses; 0: no pauses. */
	uint64_t pause_ms;
	uint64_t offset_bytes;
	uint64_t size_bytes; /* 0: to the end of the LUN. */
	uint64_t workload;   /* enum bench_workload */
	uint64_t read_percent;
	uint64_t pattern; /* enum bench_pattern */
	uint64_t ramp_ms;
	uint64_t time_ms;
	uint64_t interval_ms;      /* Of the measured time; never 0 after parsing. */
	uint64_t steady_window_ms; /* These four with steady_state. */
	uint64_t steady_range_percent;
	uint64_t steady_slope_percent;
	uint64_t steady_limit_ms;
	uint64_t timeout_ms; /* For one command, and for every step of a login. */
	uint64_t seed;
	bool fill;
	bool verify;
	bool keep_data;
	bool steady_state;
	bool progress;
	bool json;
	bool histogram;
	bool help;
	bool compare; /* Nothing runs; two result files are compared. */

	bool immediate_data; /* What is offered; the target may agree to less. */
	bool initial_r2t;
	uint64_t digests; /* enum bench_digests */
	uint64_t max_recv_segment_bytes;
	uint64_t max_burst_bytes;
	uint64_t first_burst_bytes;
	uint64_t max_r2t;
	const char *initiator_name;

	uint64_t target_pid; /* 0: none. */
	const char *secret_file;
	const char *plot_file; /* NULL: none. */
	const char *files[2];  /* To compare. */
	uint64_t tolerance_percent;

	uint64_t given; /* Bit i: row i of the table was on the command line. */
};

/*
 * Parse argv[1..]. Strings in *out point into argv. The secret is taken from, in this order, the
 * file of --secret-file, the environment variable RINGSAN_CHAP_SECRET, the URL. 0; or -EINVAL and
 * one line on what is wrong and what would be right in `error`. With --help or --profile=list
 * nothing else is checked. Not thread-safe (getopt).
 */
int MUST_CHECK bench_options_parse(struct bench_options *out, int argc, char **argv, char *error,
				   size_t error_bytes);
void bench_options_help(FILE *to);
/* The mix of a run without a profile: a class for each of `sizes`, as workload, read_percent and
 * pattern say. bench_options_parse has called it. */
void bench_options_make_mix(struct bench_options *options);
/* --profile=list: show the profiles and do nothing else. */
bool bench_options_list_profiles(const struct bench_options *options);

/* ---- The table, for the parser, the help text and the test of the manual. ---- */

enum option_kind {
	OPTION_NUMBER,
	OPTION_SIZE,
	OPTION_DURATION,
	OPTION_CHOICE,
	OPTION_YES_NO,
	OPTION_FLAG, /* Takes no value. */
	OPTION_TEXT,
	OPTION_CPUS,
	OPTION_SIZES,
	OPTION_KIND_COUNT
};

struct option_row {
	const char *name;
	char letter; /* 0: none. */
	enum option_kind kind;
	size_t offset; /* Of the field in struct bench_options; its type follows from the kind. */
	uint64_t min;
	uint64_t max;
	const char *const *choices; /* Index is the value; ended by NULL. */
	const char *value_name;
	const char *help;
};

extern const struct option_row bench_option_rows[];
extern const size_t bench_option_count;
extern const struct bench_options bench_option_defaults;

#endif
