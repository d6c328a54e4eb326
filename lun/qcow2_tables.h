/*
 * Space behind the tables of a qcow2 image that is written, taken when it is opened. For
 * qcow2_chain.c. Control thread; it blocks.
 */
#ifndef LUN_QCOW2_TABLES_H
#define LUN_QCOW2_TABLES_H

#include "base/attr.h"
#include "lun/qcow2/qcow2.h"

/* L1 and refcount table and all refcount blocks may be holes; after this they are none, content and
 * size unchanged. -ENOSPC, -EDQUOT, or what reading failed with. */
int MUST_CHECK qcow2_tables_allocate(int fd, const struct qcow2_file *file,
				     const struct qcow2_header *header);

#endif
