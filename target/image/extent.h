/*
 * What a closed chain shows, extent by extent, and from which file: for maps, and for reading what
 * there is without reading what there is not.
 *
 * A walk is one thread's; the chain below it is only read, so there may be several. Read next:
 * extent.c.
 */
#ifndef TARGET_IMAGE_EXTENT_H
#define TARGET_IMAGE_EXTENT_H

#include "target/image/closed.h"

#define EXTENT_SLICE_BYTES 4096u

struct extent {
	uint64_t start, length;
	unsigned depth; /* Of the layer that decides. */
	/* As `qemu-img map` has them. */
	bool present, zero, data;
	bool compressed;
	bool has_offset;
	uint64_t offset; /* In that layer's file. */
	/* Of a compressed cluster, of which the extent may be a part. */
	struct qcow2_l2_entry entry;
};

/* Of one layer: where its mapping was last looked at. */
struct extent_cache {
	bool l1_known;
	uint64_t l1_index;
	uint64_t l2_offset;   /* 0: there is no table. */
	uint64_t slice_index; /* In the table, and one more; 0: none. */
	uint8_t slice[EXTENT_SLICE_BYTES];
};

struct extent_walk {
	const struct closed_chain *chain;
	uint64_t at, end;
	struct extent_cache caches[CLOSED_LAYERS_MAX];
};

void extent_walk_begin(struct extent_walk *walk, const struct closed_chain *chain, uint64_t start,
		       uint64_t end);
/* The next extent, which begins where the last one has ended: 1; 0 at the end. -EIO where an entry
 * is none or leads out of its file, and other errors of reading. */
int MUST_CHECK extent_next(struct extent_walk *walk, struct extent *out);
/* The same, with neighbours that differ in nothing made one. `pending` is kept between calls, its
 * length 0 at first. */
int MUST_CHECK extent_next_merged(struct extent_walk *walk, struct extent *pending,
				  struct extent *out);
/* The bytes of an extent with data, or of its part: `at` and `length` lie in it. `cluster` has room
 * for two clusters and compressed data, extent_room of the chain. */
int MUST_CHECK extent_read(const struct closed_chain *chain, const struct extent *extent,
			   uint64_t at, size_t length, void *buffer, uint8_t *room);
size_t extent_room_bytes(const struct closed_chain *chain);

#endif
