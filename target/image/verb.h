/*
 * `ringsan image`: a table of verbs, the command line, and what every verb shares: its order, its
 * answer as JSON, an error with its remedy. What a verb does stands in a file of its own.
 *
 * One thread, which may wait, but where a file says otherwise. Read next: verb_table.c, image.c,
 * README.md.
 */
#ifndef TARGET_IMAGE_VERB_H
#define TARGET_IMAGE_VERB_H

#include "base/attr.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "target/cli/common.h"

/* Exit statuses, as ringsan.1 lists them. Those of `check` are qemu-img's. */
enum image_exit {
	IMAGE_EXIT_OK = 0,
	IMAGE_EXIT_FAILED = 1, /* Refused, or tried; of a check: it could not be done. */
	IMAGE_EXIT_USAGE = 2,
	IMAGE_EXIT_INTERRUPTED = 130,
	IMAGE_CHECK_CORRUPT = 2,
	IMAGE_CHECK_LEAKS = 3,
};

/* Every option there is; image_options says what each is. */
enum image_option {
	IMAGE_FORMAT,
	IMAGE_OUTPUT_FORMAT,
	IMAGE_SIZE,
	IMAGE_CLUSTER_SIZE,
	IMAGE_EXTENDED_L2,
	IMAGE_BACKING,
	IMAGE_BACKING_FORMAT,
	IMAGE_PREALLOCATION,
	IMAGE_BACKING_CHAIN,
	IMAGE_REPAIR,
	IMAGE_UNSAFE,
	IMAGE_NAME,
	IMAGE_KEEP,
	IMAGE_FORCE,
	IMAGE_BASE,
	IMAGE_RATE,
	IMAGE_BACKGROUND,
	IMAGE_MERGE,
	IMAGE_OPTIONS
};

#define IMAGE_OPTION(name) (UINT32_C(1) << IMAGE_##name)

struct image_option_row {
	const char *name;
	const char *value; /* What it takes, for the help; NULL: nothing. */
	const char *help;
};

extern const struct image_option_row image_options[IMAGE_OPTIONS];

struct image_order;

struct image_verb {
	const char *name;
	const char *operands; /* "FILE SIZE", for the help. */
	unsigned operands_min, operands_max;
	uint32_t options; /* Bits of IMAGE_OPTION. */
	const char *help; /* What it does, in one line. */
	/* 0 with the answer in `result`; or what image_refuse answered. */
	int (*run)(struct image_order *order);
	void (*show)(FILE *to, const json_t *result); /* The answer, for people. */
};

extern const struct image_verb image_verbs[];
extern const size_t image_verb_count;

#define IMAGE_MESSAGE_BYTES 512u
#define IMAGE_WHY_BYTES 256u
#define IMAGE_OPERANDS_MAX 64u

/* A command line, parsed, and what becomes of it. Strings point into argv. */
struct image_order {
	const struct image_verb *verb;
	const char *values[IMAGE_OPTIONS]; /* NULL: not given; "": given, and takes none. */
	char **operands;
	unsigned operand_count;
	struct common_values common;
	/* What the verb fills in. */
	json_t *result; /* Owned. */
	int status;     /* Where all went well; IMAGE_EXIT_OK otherwise said. */
	char message[IMAGE_MESSAGE_BYTES];
	const char *code;
	const char *remedy; /* A constant, or told_remedy. */
	/* Of a daemon. */
	char told_code[32];
	char told_remedy[IMAGE_WHY_BYTES];
};

static inline bool image_has(const struct image_order *order, enum image_option option)
{
	return order->values[option] != NULL;
}

/*
 * Parse argv, whose first word is the verb. 0, or -EINVAL with message and remedy in the order.
 * Not thread-safe (getopt).
 */
int MUST_CHECK image_parse(struct image_order *out, int argc, char **argv);
void image_help_verb(FILE *to, const struct image_verb *verb);
void image_help_all(FILE *to);

/* Keep what went wrong and what mends it; answers `res`. The first one counts. */
int image_refuse(struct image_order *order, int res, const char *remedy, const char *format, ...)
	PRINTF_LIKE(4, 5);
/* An errno of a system call on `path`: the remedy follows from it. */
int image_refuse_errno(struct image_order *order, int res, const char *what, const char *path);

/* A string that others named: bytes that are no UTF-8 become '?'. */
#define IMAGE_TEXT_BYTES 2048u
json_t *image_text(const char *text);

/* An option's value. -EINVAL: it is not what the option takes, and that is said. */
int MUST_CHECK image_take_size(struct image_order *order, enum image_option option, uint64_t *out);
int MUST_CHECK image_take_word(struct image_order *order, enum image_option option,
			       const char *const *words, unsigned count, unsigned *out);

/* All of it: argv[0] is "image". Answers the exit status. */
int image_main(int argc, char **argv);

/* The verbs. */
int image_run_create(struct image_order *order);
int image_run_info(struct image_order *order);
int image_run_check(struct image_order *order);
int image_run_map(struct image_order *order);
int image_run_convert(struct image_order *order);
int image_run_du(struct image_order *order);
int image_run_list(struct image_order *order);
int image_run_snapshot(struct image_order *order);
int image_run_rollback(struct image_order *order);
int image_run_clone(struct image_order *order);
int image_run_remove(struct image_order *order);
int image_run_stream(struct image_order *order);
int image_run_commit(struct image_order *order);
int image_run_jobs(struct image_order *order);
int image_run_cancel(struct image_order *order);
int image_run_resize(struct image_order *order);
int image_run_rebase(struct image_order *order);

/* Answers for people, show.c. */
void image_show_create(FILE *to, const json_t *result);
void image_show_info(FILE *to, const json_t *result);
void image_show_check(FILE *to, const json_t *result);
void image_show_list(FILE *to, const json_t *result);
void image_show_family(FILE *to, const json_t *result);
void image_show_jobs(FILE *to, const json_t *result);
void image_show_done(FILE *to, const json_t *result);
void image_show_du(FILE *to, const json_t *result);
void image_show_map(FILE *to, const json_t *result);

#endif
