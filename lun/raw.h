/*
 * What the files of the raw image share. Not for anyone else: image.h is the way in.
 *
 * Read next: image_raw.c, raw_transfer.c, raw_ahead.c, raw_map.c, raw_flush.c, raw_open.c.
 */
#ifndef LUN_RAW_H
#define LUN_RAW_H

#include "base/aligned.h"
#include "lun/image.h"
#include "lun/nowait.h"

#include <linux/fiemap.h>
#include <pthread.h>

/* What image_word means for every io: 1 while it has one of the workers. */
#define RAW_WORD_PUNTED 3

/* One loop's part. */
struct raw_lane {
	struct list_node punted; /* lun_io.image_link: needs a worker, order of arrival. */
	unsigned running;        /* Workers in use, as granted by loop_punt_begin. */
	struct nowait nowait[2]; /* For reads, writes. */
	uint8_t refused;         /* Bit per raw_method that the file does not have. */
	uint64_t range_step;     /* Bytes of an UNMAP or ZERO at once. */
	/* MAP: those under way, and who waits for one of them (lun_io.image_link). */
	unsigned maps_running;
	struct list_node maps;
	/* Transfers on the spot. */
	struct list_node deferred; /* lun_io.image_link: beyond this turn's budget. */
	struct loop_msg deferred_msg;
	struct image *image;
	uint64_t turn_ns; /* The last turn in which something was done on the spot. */
} CACHE_LINE_ALIGNED;

/* fdatasync, one at a time for all loops. */
struct raw_flush {
	pthread_mutex_t mutex;
	struct list_node waiting; /* mutex; came while one was running. */
	bool running;             /* mutex */
	/* The loop's that runs it. */
	struct loop *loop;
	struct list_node batch;
	struct loop_op op;
};

struct image {
	int fd;      /* Data, lock and attributes. */
	int sync_fd; /* fdatasync: a description of its own, so that no other call eats its errors.
		      */
	bool read_only;
	bool is_block_device;
	bool is_tmpfs;   /* Transfers are memory copies: done inline. */
	bool page_cache; /* Data stay in memory until a flush. */
	bool zeroes_after_unmap;
	uint64_t size_bytes;
	/* Constant up to here. */
	struct raw_flush flush CACHE_LINE_ALIGNED;
	struct raw_lane lanes[]; /* By loop_index. */
};

static inline struct raw_lane *raw_lane(struct image *image, const struct lun_io *io)
{
	return &image->lanes[loop_index(io->loop)];
}

/* -- image_raw.c -- */

/* Let it wait for a worker and then run it. */
LOOP_ONLY void raw_punt(struct image *image, struct lun_io *io);
/* If it has a worker, that is free for the next in the queue. */
LOOP_ONLY void raw_give_worker_back(struct image *image, struct lun_io *io);
/* End it, flushed if that was asked for. */
LOOP_ONLY void raw_finish(struct image *image, struct lun_io *io, int res);
/* The same inside submit. */
LOOP_ONLY void raw_finish_later(struct image *image, struct lun_io *io, int res);
/* What a worker was granted for. */
LOOP_ONLY void raw_start_punted(struct image *image, struct lun_io *io);

/*
 * One step of an UNMAP or ZERO is what a file system does in milliseconds, where the file is in one
 * piece there. In crumbs it takes seconds, in which nobody else changes the file and an abort
 * waits. So they begin small and grow while they are quick; after one that took too long they are
 * smaller, but not so small that a slow disk would be asked for TiB forever.
 */
#define RAW_STEP_MAX_BYTES (UINT64_C(1) << 30)
#define RAW_STEP_MIN_BYTES (UINT64_C(1) << 25)
#define RAW_STEP_LONG_MS 500u
#define RAW_STEP_QUICK_MS 250u
/* How long steps are from now on, after one of step_bytes. */
uint64_t raw_range_step(uint64_t now_bytes, uint64_t step_bytes, uint64_t took_ns);

/* -- raw_transfer.c -- */

LOOP_ONLY void raw_submit_transfer(struct image *image, struct lun_io *io);
/* By a worker that was granted. */
LOOP_ONLY void raw_start_transfer(struct image *image, struct lun_io *io);

/* -- raw_ahead.c -- */

/* Whether LUN_ALLOCATE and LUN_RELEASE can work on this file. */
bool raw_can_look_ahead(int fd);
LOOP_ONLY void raw_start_allocate(struct image *image, struct lun_io *io);
LOOP_ONLY void raw_start_release(struct image *image, struct lun_io *io);
/* LUN_RELEASE where no I/O is under way any more; blocks. Control thread. */
int raw_release_now(struct image *image, uint64_t offset_bytes, uint64_t length_bytes);

/* -- raw_space.c -- */

/* By a worker that was granted: of an io with IMAGE_NO_NEW_SPACE, see whether it needs any, and
 * start it. */
LOOP_ONLY void raw_start_look(struct image *image, struct lun_io *io);

/* -- raw_map.c -- */

/* Extents asked for at once. Writes meet one or two, a release of some megabytes rarely more than
 * these. */
#define RAW_EXTENTS 32u

struct raw_extents {
	union {
		struct fiemap map;
		char room[sizeof(struct fiemap) + RAW_EXTENTS * sizeof(struct fiemap_extent)];
	};
};

/* The first extents that overlap the range; negative errno. Blocks. */
int raw_extents_read(int fd, struct byte_range range, uint32_t flags, struct raw_extents *out);

static inline uint64_t raw_extent_end(const struct fiemap_extent *extent)
{
	return extent->fe_logical + extent->fe_length;
}

/* At once, of each lane. Each computes for milliseconds, all of it in the kernel: many would leave
 * no CPU to others. */
#define RAW_MAPS_MAX 2u

LOOP_ONLY void raw_submit_map(struct image *image, struct lun_io *io);
LOOP_ONLY void raw_start_map(struct image *image, struct lun_io *io);

/* -- raw_zero.c -- */

/* All of the range reads as zeroes afterwards; what has space keeps it, holes stay holes. 0 or
 * negative errno; -EOPNOTSUPP where the file system lacks what it takes. Blocks. */
int MUST_CHECK raw_zero_allocated(int fd, struct byte_range range);

/* -- raw_open.c -- */

int raw_open(const struct lun_spec *spec, struct image **out, struct image_info *info, char *why,
	     size_t why_size);
void raw_close(struct image *image);

/* -- raw_flush.c -- */

void raw_flush_init(struct raw_flush *flush);
void raw_flush_destroy(struct raw_flush *flush);
/* End the io when an fdatasync that began after this call has ended. */
LOOP_ONLY void raw_flush_add(struct image *image, struct lun_io *io);

#endif
