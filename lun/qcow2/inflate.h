/*
 * Compressed clusters: bytes to one cluster. Any thread; blocks for as long as a cluster takes, so
 * a loop hands it to a worker (loop_call). What comes in is believed in nothing: neither output nor
 * memory go beyond what one cluster needs.
 */
#ifndef LUN_QCOW2_INFLATE_H
#define LUN_QCOW2_INFLATE_H

#include "lun/qcow2/format.h"

/* `deflated_bytes` from an entry's host_offset on; what follows the compressed data there is
 * ignored. -EIO: it does not give exactly a cluster, which then holds anything. -ENOMEM. */
int MUST_CHECK qcow2_inflate(enum qcow2_compression type, const void *deflated,
			     size_t deflated_bytes, void *cluster, size_t cluster_bytes);

#endif
