/*
 * What an image type provides to the LUN layer: raw, qcow2, null, fault. An image knows
 * nothing of gates, ranges or orphans: lun.c checks those first, as a membrane, and hands down only
 * what may run.
 */
#ifndef LUN_IMAGE_H
#define LUN_IMAGE_H

#include "lun/lun.h"

#include <stdatomic.h>

/* Bytes [begin, end). */
struct byte_range {
	uint64_t begin, end;
};

/* What open found out; fixed while the image is open. */
struct image_info {
	uint64_t size_bytes;
	uint32_t io_align_bytes;        /* Offsets and lengths that submit accepts; RMW below it. */
	uint32_t allocation_unit_bytes; /* What UNMAP gives back at least. */
	bool thin;
	bool zeroes_after_unmap;
	bool anchors; /* Of a thin image: ZERO keeps or takes the space. */
	bool read_only;
	bool look_ahead; /* LUN_ALLOCATE and LUN_RELEASE work, and are worth it. */
	bool created;    /* This open made it: no identity of an earlier image of that name fits. */
};

/* Who asked an image to come to rest. */
struct image_rest {
	struct loop_msg msg;
	struct loop *loop;
	loop_msg_fn *fn;
	int res; /* The result: negative errno, what was written last may not be durable. */
};

/* What a LUN's image tells of clusters that a crash leaked. The LUN's, which outlives its images;
 * written by the loop that owns the image, read by any thread. */
struct image_recovery {
	atomic_uint running; /* Files that are looked through, or wait for that. */
	_Atomic uint64_t clusters;
};

struct image_ops {
	const char *type;
	bool fixed_size; /* Images have a size of their own, not that of the file: see growth.h. */
	/* May block; control thread. On failure: negative errno and one sentence in `why` saying
	 * what is wrong and what would mend it. */
	int (*open)(const struct lun_spec *spec, struct image **out, struct image_info *info,
		    char *why, size_t why_size);
	void (*close)(struct image *image);
	/* The LUN is in use from now on, or again after a rest: what the image does by itself may
	 * begin, until a rest. Loops run; control loop; NULL where there is never anything. */
	void (*begin)(struct image *image);
	/* Start the io, on io->loop's thread; ends in image_io_done, never from inside submit. */
	void (*submit)(struct image *image, struct lun_io *io);
	/* The gate is closed and no io under way: end what the image does by itself, as if it were
	 * to be closed, then post rest->msg. Control loop; NULL where there is never anything. */
	void (*rest)(struct image *image, struct image_rest *rest);
	/* LUN_RELEASE when no I/O is under way any more; NULL without look_ahead. Control thread,
	 * may block. */
	int (*release_now)(struct image *image, uint64_t offset_bytes, uint64_t length_bytes);
	/* The descriptor that carries identity attributes, or -1. */
	int (*fd)(const struct image *image);
};

/*
 * LUN_ALLOCATE leaves its answer in image_word: the hole [BEGIN, END) that it filled. An empty one
 * says that all up to BEGIN is allocated already, as far as is known. -ENOSPC also says that the
 * pool is low. With IMAGE_ADJOINING in the flags only a hole at the very beginning is filled.
 */
enum {
	IMAGE_WORD_BEGIN,
	IMAGE_WORD_END,
};
#define IMAGE_ADJOINING (1u << 31)
/* WRITE, ZERO: the pool is guarded (space.h). What would need space that the image does not have
 * ends with -ENOSPC. Types that take no space, and those that cannot tell, may ignore it. */
#define IMAGE_NO_NEW_SPACE (1u << 30)

/*
 * LUN_MAP: an image type begins, adds what it knows from offset_bytes on, in the order of offsets,
 * and ends the io with 0. Bytes may be added up to any end, also beyond the io's: map.c makes whole
 * blocks of them and cuts. Any thread, one at a time; they touch the answer and what is constant.
 */
struct map_builder {
	struct lun_map *map;
	uint32_t extents_max;
	uint32_t block_bytes;
	uint64_t at;  /* All before it has been added. */
	uint64_t end; /* Of the io. */
	/* Of the block that `at` lies in, what has been added of it so far. */
	enum lun_extent_state partial;
};

void map_begin(struct map_builder *builder, const struct lun_io *io);
/* All up to `end` has this state. False: there is no room or need for more. */
bool map_add(struct map_builder *builder, uint64_t end, enum lun_extent_state state);
/* All of the io's range has one state. */
void map_all(const struct lun_io *io, enum lun_extent_state state);
/* Extents that the io has room for. */
uint32_t map_extents_max(const struct lun_io *io);

extern const struct image_ops image_raw_ops;
extern const struct image_ops image_qcow2_ops;
extern const struct image_ops image_null_ops;
extern const struct image_ops image_fault_ops;

/* The image type of that name, or NULL. */
const struct image_ops *image_ops_find(const char *type);

/* An image type ends an io: on the io's loop, not inside submit. */
LOOP_ONLY void image_io_done(struct lun_io *io, int res);
/* The same for a result that is known inside submit: the io ends in the loop's next turn. Uses
 * io->image_link. */
LOOP_ONLY void image_io_done_later(struct lun_io *io, int res);
/*
 * A flush of the image failed for good: from here on no write and no flush of this LUN is
 * acknowledged, also those that are under way, until it is opened again. Before the io that met the
 * failure is ended. A LUN_FLUSH that ends with an error does the same by itself.
 */
LOOP_ONLY void image_failed(struct lun_io *io, int res);

#endif
