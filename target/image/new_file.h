/*
 * A file that comes to be whole or not at all: it has no name until its content is durable, where
 * the file system can do that, and a temporary one where it cannot.
 *
 * One thread begins and ends; any writes through its descriptor. Read next: new_file.c.
 */
#ifndef TARGET_IMAGE_NEW_FILE_H
#define TARGET_IMAGE_NEW_FILE_H

#include "target/image/closed.h"

struct new_file {
	struct closed_file file;        /* Its path is the one it will have. */
	char temporary[FILES_PATH_MAX]; /* "": it has no name. */
};

/* There is nothing of that name yet. 0, or what image_refuse answered, and nothing is open. */
int MUST_CHECK new_file_begin(struct image_order *order, const char *path, struct new_file *out);
/* Make it durable and give it its name. It is closed either way. */
int MUST_CHECK new_file_commit(struct image_order *order, struct new_file *file);
/* As if it had never been. */
void new_file_drop(struct new_file *file);

#endif
