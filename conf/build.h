/*
 * The steps from syntax to a finished configuration, in the order in which parse.c takes them. Each
 * adds what it finds wrong to `errors` and goes on. Control thread.
 */
#ifndef CONF_BUILD_H
#define CONF_BUILD_H

#include "conf/errors.h"
#include "conf/model.h"
#include "conf/syntax.h"

/* Fill `conf` from the sections of the file, defaults first, each value checked by itself. */
void conf_build(struct conf *conf, struct conf_syntax *syntax, struct conf_errors *errors);

/* What one value cannot tell: what is missing, given twice, or at odds with another. */
void conf_check(const struct conf *conf, struct conf_errors *errors);

/* Open the secrets file, insist on its mode, and read it into secret memory. NULL: see errors. */
char *conf_secrets_read(struct conf *conf, size_t *length, struct conf_errors *errors);
/* Cut `text`, which is secret memory with room for a NUL, into conf->users. */
void conf_secrets_parse(struct conf *conf, char *text, size_t length, const char *file,
			struct conf_errors *errors);
/* Whether the users that sections name exist, and whose secrets may not be equal. */
void conf_check_users(struct conf *conf, const char *secrets_name, struct conf_errors *errors);

#endif
