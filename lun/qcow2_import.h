/*
 * What is looked at before an image is written for the first time here: one that this server has
 * not met may be damaged, or made to do damage, and is checked whole. One that it has met is its
 * own work, and a crash leaves that in order; but where the header says that refcounts are out of
 * date, as qemu's lazy ones are after a crash, they are counted anew.
 *
 * Any thread but a loop's; it blocks, for a second or so for each TiB that is mapped. One image at
 * a time, so that memory is bounded. Read next: qcow2_import.c, lun/qcow2/check.h.
 */
#ifndef LUN_QCOW2_IMPORT_H
#define LUN_QCOW2_IMPORT_H

#include "lun/qcow2/qcow2.h"

struct qcow2_import {
	const char *name; /* For logs. */
	const char *path;
	const struct qcow2_file *file; /* For reading, locked for a writer, */
	int fd;                        /* of the same file, with its attributes. */
};

/* 0: it may be written. Negative errno and a sentence in `why`: -EUCLEAN where it is damaged, and
 * nothing was changed then; those of reading, and of repair where it is dirty. */
int MUST_CHECK qcow2_import(const struct qcow2_import *import, char *why, size_t why_bytes);
/* The same, whoever has met it, and nothing is changed: of one that is only read by now. -ENOTSUP:
 * it cannot be written as it is. */
int MUST_CHECK qcow2_import_check(const struct qcow2_import *import, char *why, size_t why_bytes);
/* The process is about to end: what goes on, and what would begin, fails with -ECANCELED, soon. Any
 * thread, for good. */
void qcow2_import_stop(void);

#endif
