/*
 * What stands behind the end of a closed image's disk, which nobody sees before it grows: the rest
 * of its last cluster, where another program has left something, or a copy of what its backing file
 * has there.
 *
 * Any thread, one at a time. Read next: tail.c, grow.c.
 */
#ifndef LUN_QCOW2_TAIL_H
#define LUN_QCOW2_TAIL_H

#include "lun/qcow2/writable.h"

/* Zeroes there, not made durable: *wrote says that there is something to be. Negative errno and a
 * sentence in `why`: -ENOTSUP for what would show and is not simply written over; -EINVAL for
 * tables that are not valid; those of reading and writing. */
int MUST_CHECK qcow2_tail_clear(struct qcow2_writable *writable, bool *wrote, char *why,
				size_t why_bytes);

#endif
