/*
 * The verbs of `ringsan` that speak with a running daemon: a table of them, the command line, and
 * what is printed. What the daemon does is target/ctl's; how the two speak is ../ctl/CONTROL.md.
 *
 * One thread, which may wait. Read next: verb_table.c, cli.c, README.md.
 */
#ifndef TARGET_CLI_CLI_H
#define TARGET_CLI_CLI_H

#include "base/attr.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "target/cli/common.h"

/* Exit statuses, as ringsan.1 lists them. */
enum cli_exit {
	CLI_EXIT_OK = 0,
	CLI_EXIT_REFUSED = 1, /* The daemon said no, or failed. */
	CLI_EXIT_USAGE = 2,
	CLI_EXIT_NO_DAEMON = 3, /* Nobody listens, or nobody answers. */
};

enum cli_kind {
	CLI_TEXT,
	CLI_NUMBER,
	/* Options without a value; the others are positional. */
	CLI_FLAG,
	CLI_FLAG_OFF, /* "not-NAME": makes the parameter NAME false. */
};

static inline bool cli_is_flag(enum cli_kind kind)
{
	return kind == CLI_FLAG || kind == CLI_FLAG_OFF;
}

/* An argument on the command line, which becomes the parameter of its name. */
struct cli_argument {
	const char *name;
	enum cli_kind kind;
	bool optional; /* Positional ones that are stand last. A flag always is. */
	const char *help;
};

#define CLI_ARGUMENTS_MAX 6u

typedef void cli_show_fn(FILE *to, const json_t *result);

struct cli_verb {
	const char *words[2]; /* "alua", "set"; the second may be NULL. */
	const char *request;
	const char *help; /* What it does, in one line. */
	struct cli_argument arguments[CLI_ARGUMENTS_MAX];
	cli_show_fn *show; /* The answer, for people. */
};

extern const struct cli_verb cli_verbs[];
extern const size_t cli_verb_count;

/* A command line, parsed. Strings point into argv. */
struct cli_order {
	const struct cli_verb *verb;
	struct common_values common;
	json_t *parameters; /* Owned. */
};

/*
 * Parse argv, whose first word is the verb's. 0, or -EINVAL with one line on what is wrong and what
 * would be right in `error`. cli_order_clear follows either way. Not thread-safe (getopt).
 */
#define CLI_ERROR_BYTES 512u
int MUST_CHECK cli_parse(struct cli_order *out, int argc, char **argv, char error[CLI_ERROR_BYTES]);
void cli_order_clear(struct cli_order *order);
void cli_help_verb(FILE *to, const struct cli_verb *verb);
/* One line for each verb. */
void cli_help_all(FILE *to);

/* All of it: argv[0] is the verb's first word. Answers the exit status. */
int cli_main(int argc, char **argv);

/* How verbs show what they were answered, verb_show.c. */
void cli_show_status(FILE *to, const json_t *result);
void cli_show_sessions(FILE *to, const json_t *result);
void cli_show_luns(FILE *to, const json_t *result);
void cli_show_alua(FILE *to, const json_t *result);
void cli_show_alua_set(FILE *to, const json_t *result);
void cli_show_reload(FILE *to, const json_t *result);
void cli_show_reservations(FILE *to, const json_t *result);
void cli_show_cleared(FILE *to, const json_t *result);

#endif
