/*
 * Locks of image files, those that qemu takes and that of a raw image that is served. They are of
 * an open file description: they go with its last descriptor and the last I/O through it, however
 * the process ends.
 *
 * Any thread. Read next: image_lock.c.
 */
#ifndef LUN_IMAGE_LOCK_H
#define LUN_IMAGE_LOCK_H

#include "base/attr.h"

#include <stdbool.h>

typedef int image_lock_fn(int fd, bool writes);

/* qemu's locks, byte for byte: a writer shares neither writing nor resizing, a reader neither, too,
 * but there may be many. -EBUSY: somebody else does what that forbids. */
int MUST_CHECK image_lock_qemu(int fd, bool writes);
/* Of a raw image: one writer, or readers. -EBUSY, or another negative errno of fcntl(2). */
int MUST_CHECK image_lock_raw(int fd, bool writes);

/*
 * Either of them, for a server, and in the first two seconds of its process again and again: one
 * that was killed is gone before its last I/O is, which keeps the lock, and its successor must not
 * find its images in use. Blocks.
 */
int MUST_CHECK image_lock_patiently(image_lock_fn *lock, int fd, bool writes);
/* Either of them, and where it is taken again and again for two seconds from the call: who looks at
 * files that nobody has open, as qemu-img does, is gone soon. Blocks. */
int MUST_CHECK image_lock_wait(image_lock_fn *lock, int fd, bool writes);
/* Whether somebody else may write to the file, by either lock. Takes none. */
bool image_lock_is_held(int fd);

#endif
