/*
 * An open qcow2 image: what image_qcow2.c (hosts) and the simulator (tests/crash) stand on. It
 * knows files only as descriptors given to the loop's operations, and as a reader while it is
 * opened; names, locks and chains are its callers'.
 *
 * Threads: an image belongs to one loop. Opening and closing happen on the control thread while
 * nothing runs; everything between on the loop.
 *
 * Read next: README.md (invariants), ORDER.md (how a write becomes durable).
 */
#ifndef LUN_QCOW2_QCOW2_H
#define LUN_QCOW2_QCOW2_H

#include "base/loop.h"
#include "lun/image.h"
#include "lun/qcow2/format.h"

struct qcow2;
struct qcow2_cache;

/* A file while it is opened: all bytes or negative errno; reading beyond its end gives zeroes. May
 * block. */
struct qcow2_file {
	int (*read)(const struct qcow2_file *file, void *buffer, size_t length, uint64_t offset);
	uint64_t size_bytes;
};

struct qcow2_spec {
	const char *name; /* For logs; copied. */
	struct loop *loop;
	struct qcow2_cache *cache;
	const struct qcow2_file *file; /* Used during qcow2_open only. */
	int fd;                        /* For the loop's operations. Its caller's. */
	int sync_fd;                   /* For fdatasync alone: its errors are reported once. */
	bool read_only;
	bool direct; /* fd takes direct I/O, io_align_bytes aligned. */
	uint32_t io_align_bytes;
	/* What shows where the image has nothing, or NULL; its caller's, open for longer than this
	 * one. */
	struct qcow2 *backing;
};

/*
 * One I/O. The caller's memory until done has run: later, on the loop, never inside qcow2_submit,
 * exactly once. res as of image_io_done. READ, WRITE, FLUSH, UNMAP, ZERO and MAP with the flags of
 * lun_io; offsets and lengths of READ and WRITE are multiples of io_align_bytes.
 */
struct qcow2_request;
typedef void qcow2_done_fn(struct qcow2_request *request, int res);

/* Open what the file holds. Negative errno and a sentence in `why`. The slices that it may use come
 * from the cache. */
int MUST_CHECK qcow2_open(const struct qcow2_spec *spec, struct qcow2 **out, char *why,
			  size_t why_bytes);
/* A raw file as the last of a chain: it has data up to its end. Read-only. */
int MUST_CHECK qcow2_open_raw(const struct qcow2_spec *spec, struct qcow2 **out);
const struct qcow2_header *qcow2_header(const struct qcow2 *image);
LOOP_ONLY void qcow2_submit(struct qcow2 *image, struct qcow2_request *request);
/* Commit everything, give the reservation back; done runs when nothing of the image is under way
 * any more. */
LOOP_ONLY void qcow2_stop(struct qcow2 *image, void (*done)(void *arg, int res), void *arg);
void qcow2_close(struct qcow2 *image);

/* One loop's slices: 4 KiB each, LRU over all its images. -ENOMEM. */
int MUST_CHECK qcow2_cache_create(uint64_t bytes, struct qcow2_cache **out);
void qcow2_cache_free(struct qcow2_cache *cache);

#endif
