/*
 * What a write leaves of a cluster, and compressed clusters, on their way to a request: cow.c and
 * deflated.c. Not for anyone outside of the engine.
 *
 * The image's loop. Read next: cow.c, deflated.c.
 */
#ifndef LUN_QCOW2_COW_H
#define LUN_QCOW2_COW_H

#include "lun/qcow2/engine.h"

/* What a partial write leaves, on its way from the chain to a host cluster. */
struct copy {
	struct list_node link; /* Of the free ones. */
	struct qcow2_request read;
	struct qcow2_request *owner;
	uint8_t *buffer;
	struct iovec iov;
	struct byte_range around, range; /* Guest offsets: all of it, and the owner's part. */
	uint64_t host_offset;            /* Of `around`. */
};

int MUST_CHECK copies_init(struct qcow2_cache *cache);
void copies_clear(struct qcow2_cache *cache);
/* False: all are in use, the request waits. */
LOOP_ONLY bool MUST_CHECK copy_is_there(struct qcow2_request *request);
LOOP_ONLY void copy_begin(struct qcow2_request *request, struct byte_range around,
			  struct byte_range range, uint64_t host_offset);
/* The request has none any more. */
LOOP_ONLY void copy_end(struct qcow2_request *request);
/* A compressed cluster on its way to a request, and afterwards kept for the next. */
struct inflate {
	struct list_node link; /* Of the free ones, oldest use first. */
	struct qcow2_op op;
	struct iovec iov;
	struct qcow2_request *owner;
	struct extent extent; /* As the owner looked it up. */
	uint8_t *deflated, *cluster;
	bool is_kept; /* `cluster` is that of `extent`, which never changes. */
};

int MUST_CHECK inflates_init(struct qcow2_cache *cache);
void inflates_clear(struct qcow2_cache *cache);
/* The image is closed: what is kept of it is nobody's. */
void inflates_forget(const struct qcow2 *image);
/* The request's next bytes lie in a compressed cluster. 0: they are there. QCOW2_WAIT. */
LOOP_ONLY int MUST_CHECK inflate_begin(struct qcow2_request *request, const struct extent *extent);

#endif
