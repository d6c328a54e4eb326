/*
 * A file that comes to be whole or not at all, and never in place of another: until its content is
 * durable it has no name, or a temporary one where the file system knows no files without.
 *
 * Any thread but a loop's; it blocks. Read next: new_file.c.
 */
#ifndef LUN_NEW_FILE_H
#define LUN_NEW_FILE_H

#include "lun/files.h"

struct new_file {
	int fd;                         /* Read and write, mode 0600. */
	char temporary[FILES_PATH_MAX]; /* "": it has no name. */
};

/* In the folder of `path`. Negative errno: -EEXIST where something has that name already. */
int MUST_CHECK new_file_begin(const char *path, struct new_file *out);
/* Make it durable, give it its name, and close it. After an error it is gone. */
int MUST_CHECK new_file_commit(struct new_file *file, const char *path);
/* As if it had never been. */
void new_file_drop(struct new_file *file);

#endif
