/*
 * The backing file of a closed image, as its header names it: another name, another format, or
 * none. What the guest sees is the caller's matter: nothing is copied.
 *
 * The new name is made durable at a free place of the first cluster, then one write of the first
 * 512 bytes switches. Cut short anywhere, or failed, the header is the old one or the new one;
 * after an error of the switch nobody knows which (`unsure`). Names of features, which are for
 * messages only, are missing where it is cut short behind the switch.
 *
 * Any thread, one at a time. Read next: rebase.c.
 */
#ifndef LUN_QCOW2_REBASE_H
#define LUN_QCOW2_REBASE_H

#include "lun/qcow2/writable.h"

struct qcow2_rebase {
	struct qcow2_writable *writable;
	const char *backing_name; /* NULL: none. Both or none. */
	const char *backing_format;
	/* Told: the header was written, and an error says that it may not be durable. What is read
	 * of it may be lost later. */
	bool unsure;
};

/* 0: the header says so, durably. Negative errno and a sentence in `why`: -EINVAL, -ENOTSUP and
 * those of qcow2_header_parse, and nothing was changed; those of writing. */
int MUST_CHECK qcow2_rebase(struct qcow2_rebase *rebase, char *why, size_t why_bytes);

#endif
