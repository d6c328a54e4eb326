/*
 * What a chain shows, copied into a new raw or qcow2 file: data only, in pieces, by several threads
 * at once. What is zero, in whole blocks, takes no space there.
 *
 * One thread calls and waits; it has its own. Read next: copy.c.
 */
#ifndef TARGET_IMAGE_COPY_H
#define TARGET_IMAGE_COPY_H

#include "lun/qcow2/build.h"
#include "target/image/extent.h"

struct copy_spec {
	struct image_order *order;
	const struct closed_chain *source;
	uint64_t size_bytes; /* Of the disk. */
	struct qcow2_descriptor *to;
	struct qcow2_build *build; /* NULL: raw. */
};

/* 0, or what image_refuse answered; -EINTR where a signal asked for an end. */
int MUST_CHECK copy_run(const struct copy_spec *spec);

#endif
