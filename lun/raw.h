/*
 * What the files of the raw image share. Not for anyone else: image.h is the way in.
 *
 * Read next: image_raw.c (I/O), raw_flush.c, raw_open.c.
 */
#ifndef LUN_RAW_H
#define LUN_RAW_H

#include "base/aligned.h"
#include "lun/image.h"

#include <pthread.h>

/* One loop's part. */
struct raw_lane {
	struct list_node punted; /* lun_io.image_link: needs a worker, order of arrival. */
	unsigned running;        /* Workers in use, at most loop_punt_limit. */
	bool no_nowait[2]; /* For reads, writes: the file cannot tell whether it would wait. */
	uint8_t refused;   /* Bit per raw_method that the file does not have. */
	uint64_t turn_ns;  /* The turn that inline_bytes counts in. */
	uint32_t inline_bytes;
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
