/*
 * How a configuration file becomes a struct conf, and back. libConfuse knows the syntax; what the
 * words mean is checked here. Not thread-safe: libConfuse keeps its lexer in static memory, so all
 * of this runs on the control thread.
 *
 * Read next: options_table.c (every option), scan.c (what libConfuse must never see), build.c,
 * check.c.
 */
#ifndef CONF_PARSE_H
#define CONF_PARSE_H

#include "base/attr.h"
#include "conf/errors.h"
#include "conf/model.h"

/* A configuration file larger than this is refused; 10000 LUNs with every option written out need a
 * half of it. */
#define CONF_FILE_BYTES_MAX (16u << 20)
#define CONF_SECRETS_BYTES_MAX (1u << 20)

/* Texts instead of files, for tests and fuzzing. Borrowed for the call. */
struct conf_text {
	const char *name; /* Stands in messages. */
	const char *text;
	size_t length;
	const char *secrets; /* Content of the secrets file; NULL: whether users exist is not
				checked. */
	size_t secrets_length;
};

/*
 * Read and check the file, and the secrets file that it names. Returns 0 and the configuration, to
 * be released with conf_free; or -EINVAL with all that is wrong in `errors` (every error of
 * meaning, the first of syntax); or -ENOMEM. A file that cannot be read counts as an error in
 * `errors`, too.
 */
int MUST_CHECK conf_load(const char *path, struct conf **out, struct conf_errors *errors);

/* The same from memory; opens no file. */
int MUST_CHECK conf_parse_text(const struct conf_text *text, struct conf **out,
			       struct conf_errors *errors);

/* Release everything; secrets are overwritten first. NULL is allowed. */
void conf_free(struct conf *conf);

/*
 * The configuration as text that conf_parse_text accepts and that yields an equal configuration:
 * every option, defaults included; never a secret. malloc'ed, NULL when memory is short.
 */
char *MUST_CHECK conf_dump(const struct conf *conf);

/* True if both say the same; lines and secrets are not compared. */
bool conf_equal(const struct conf *a, const struct conf *b);

#endif
