/*
 * Lists of JSON objects as aligned columns for people, and single values with their units. What
 * others named (hosts, files) is printed without control characters.
 *
 * One thread. Read next: verb_show.c.
 */
#ifndef TARGET_CLI_COLUMNS_H
#define TARGET_CLI_COLUMNS_H

#include "base/attr.h"

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

enum column_kind {
	COLUMN_TEXT,
	COLUMN_NUMBER,
	COLUMN_BYTES,   /* "1.5 GiB" */
	COLUMN_SECONDS, /* "3d 4h" */
	COLUMN_YES_NO,
	COLUMN_KINDS
};

/* A column of a list: what `member` of each object is. */
struct column {
	const char *title;
	const char *member;
	enum column_kind kind;
};

#define COLUMN_CELL_BYTES 260u

/* One value; "-" for null and what is of another type. */
void column_text(enum column_kind kind, const json_t *value, char out[COLUMN_CELL_BYTES]);
/* The list, a line an object, below a line of titles; `none` where it is empty. */
void columns_print(FILE *to, const json_t *list, const struct column *columns, size_t count,
		   const char *none);

#endif
