/*
 * How far long work is, for people: one line on standard error, where that is a terminal.
 *
 * One thread. Read next: progress.c.
 */
#ifndef TARGET_IMAGE_PROGRESS_H
#define TARGET_IMAGE_PROGRESS_H

#include "target/image/verb.h"

struct progress {
	bool shown;
	unsigned permille; /* As it stands there. */
};

void progress_begin(const struct image_order *order, struct progress *out);
/* It goes on: `done` of `total`. Cheap if nothing of it can be seen. */
void progress_show(struct progress *progress, uint64_t done, uint64_t total);
/* Take the line away. */
void progress_end(struct progress *progress);
/* The line, without control characters: for tests. */
#define PROGRESS_LINE_BYTES 64u
void progress_line(unsigned permille, char out[PROGRESS_LINE_BYTES]);

#endif
