/*
 * What is wrong with a configuration: a bounded list of lines in the form
 * "file:line: what is wrong; what would be right". Not a log: the caller prints it.
 */
#ifndef CONF_ERRORS_H
#define CONF_ERRORS_H

#include "base/attr.h"

#include <stddef.h>

enum {
	CONF_ERRORS_MAX = 64, /* More than anybody mends in one go; `dropped` counts the rest. */
	CONF_ERROR_BYTES_MAX = 512,
};

/* Zero-initialise. Some 32 KiB: static or allocated, not on the stack. */
struct conf_errors {
	size_t count;
	size_t dropped;
	struct conf_error {
		int line; /* 0: about the file as a whole. */
		char text[CONF_ERROR_BYTES_MAX];
	} items[CONF_ERRORS_MAX];
};

/* Where an error is. */
struct conf_place {
	const char *file;
	int line;
};

/* Append one error; too long a message is cut. */
void conf_errors_add(struct conf_errors *errors, struct conf_place place, const char *format, ...)
	PRINTF_LIKE(3, 4);

/* Order by line; errors on one line keep theirs. */
void conf_errors_sort(struct conf_errors *errors);

#endif
