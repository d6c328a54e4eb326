/*
 * The data of a rebase: what the disk shows of its old backing file, and the new one does not have,
 * becomes the overlay's own. Then the header may name the new one, and the disk reads as before.
 *
 * One thread calls and waits. Read next: rebase_data.c.
 */
#ifndef TARGET_IMAGE_REBASE_DATA_H
#define TARGET_IMAGE_REBASE_DATA_H

#include "target/image/closed.h"

/* What the data were compared with, and what it cost. */
struct rebase_seen {
	uint64_t size_bytes; /* Of the disk. */
	char backing_name[QCOW2_BACKING_NAME_MAX + 1];
	uint64_t moved_bytes;
};

/*
 * `path`, which nobody has open, is to stand on `below`; NULL: on nothing. What was moved is
 * durable when it answers 0. Or as image_refuse; then, -EINTR for a signal as well,
 * the disk is what it was and takes a little more space.
 */
int MUST_CHECK rebase_data(struct image_order *order, const char *path,
			   const struct closed_chain *below, struct rebase_seen *seen);

#endif
