/*
 * What all verbs of `ringsan` have in common on their command lines: options, their values, and how
 * they are read, also where a verb has options of its own.
 *
 * Main thread only (getopt). Read next: common.c.
 */
#ifndef TARGET_CLI_COMMON_H
#define TARGET_CLI_COMMON_H

#include "base/attr.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>

struct common_values {
	const char *socket; /* Points into argv, or is the one that everybody has. */
	unsigned
		timeout_s; /* For an answer; long work that tells of its progress starts it anew. */
	bool json;
	bool help;
};

#define COMMON_OPTIONS 4u
/* Values of a verb's own options begin here. */
#define COMMON_OWN 512
#define COMMON_WHY_BYTES 256u

extern const struct option common_options[COMMON_OPTIONS];
extern const struct common_values common_defaults;

/* An option of the verb's own, its number behind COMMON_OWN; `value` is NULL where it takes none.
 */
typedef void common_own_fn(void *arg, int option, const char *value);

/*
 * Read the options of argv, whose first word is passed by: those that `options` has, the common
 * ones first, up to a row of zeroes. optind is then that of the first operand. -EINVAL with what is
 * wrong in `why`.
 */
int MUST_CHECK common_read(struct common_values *out, int argc, char **argv,
			   const struct option *options, common_own_fn *own, void *arg,
			   char why[COMMON_WHY_BYTES]);
/* Help about them, what they do in column `width`. */
void common_help(FILE *to, int width);

#endif
