/*
 * The mark of a qcow2 file that is written: who finds it when nobody has the file open knows that
 * it was not closed in order, so that clusters may have leaked (qcow2/ORDER.md, Recovery). It stays
 * with the file, whatever that becomes, a base as well, until they have gone back.
 *
 * Any thread but a loop's. Read next: qcow2_chain.c.
 */
#ifndef LUN_QCOW2_MARK_H
#define LUN_QCOW2_MARK_H

#include <stdbool.h>

bool qcow2_is_marked(int fd);
/* Not durable at once: who loses the mark leaks clusters, no more, and the first of them come with
 * an fdatasync. No mark where the file system has no attributes. */
void qcow2_mark(int fd);
void qcow2_unmark(int fd);

#endif
