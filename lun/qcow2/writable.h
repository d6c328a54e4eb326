/*
 * A closed image that is changed: read, written and made durable by functions, so that tests and
 * the simulator can stand between. And the one that works on a descriptor.
 *
 * Any thread, one at a time for each file. Read next: repair.h, rebase.h, grow.h.
 */
#ifndef LUN_QCOW2_WRITABLE_H
#define LUN_QCOW2_WRITABLE_H

#include "lun/qcow2/create.h"
#include "lun/qcow2/qcow2.h"

struct qcow2_writable {
	struct qcow2_file
		file; /* First. Its size is what it was at the beginning, and what repair adds. */
	/* All bytes or negative errno. Beyond the end the file grows; gaps are zeroes. */
	int (*write)(struct qcow2_writable *writable, const void *bytes, size_t length,
		     uint64_t offset);
	/* What was written is durable, the size included. After an error that is final for what was
	 * written: only what is written anew can be made durable. */
	int (*sync)(struct qcow2_writable *writable);
};

struct qcow2_descriptor {
	struct qcow2_writable writable; /* First. */
	int fd;                         /* Its caller's; without O_DIRECT. */
};

/* Negative errno where the file cannot be looked at. */
int MUST_CHECK qcow2_descriptor_make(int fd, struct qcow2_descriptor *out);
/* The bytes of a new image into an empty file; not made durable. */
int MUST_CHECK qcow2_layout_write(const struct qcow2_layout *layout,
				  struct qcow2_writable *writable);

#endif
