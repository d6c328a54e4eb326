/*
 * A look at the text before libConfuse gets it. Comments become blanks, so that the parser never
 * sees one; what it would misread in silence is refused. See scan.c for the list. Not a parser.
 */
#ifndef CONF_SCAN_H
#define CONF_SCAN_H

#include "base/attr.h"

#include <stddef.h>

enum {
	CONF_SECTIONS_MAX = 20000, /* Some 100 MB in libConfuse; bounds time and memory. */
	CONF_WORD_BYTES_MAX =
		4095,       /* PATH_MAX without its terminator: nothing sensible is longer. */
	CONF_DEPTH_MAX = 8, /* Braces in braces; three are ever right. */
};

struct conf_scan {
	/* The line on which the n-th section to be closed was opened. malloc'ed. */
	int *section_lines;
	size_t section_count;
	/* The first thing refused: everything from there on has been cut off. NULL: nothing. */
	const char *reason;
	int line;
};

/* Scan `text` in place; it ends in a NUL that `length` does not count. 0 or -ENOMEM. */
int MUST_CHECK conf_scan_text(char *text, size_t length, struct conf_scan *out);
void conf_scan_clear(struct conf_scan *scan);

#endif
