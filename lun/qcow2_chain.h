/*
 * The files of a qcow2 image and of what is below it: found, locked, opened. For image_qcow2.c.
 *
 * Control thread; it blocks. Read next: qcow2_chain.c, lun/qcow2/qcow2.h.
 */
#ifndef LUN_QCOW2_CHAIN_H
#define LUN_QCOW2_CHAIN_H

#include "lun/qcow2/qcow2.h"

#include <sys/stat.h>

/* An image and what is below it. */
#define QCOW2_CHAIN_FILES 8u

struct chain_file {
	struct qcow2_file file; /* First: the reader gets it. */
	struct stat st;
	int fd;      /* Reads and writes, and holds the lock. */
	int sync_fd; /* A description of its own: fdatasync, and reading while it is opened. */
	uint32_t io_align_bytes; /* Of direct I/O; 0: through the page cache. */
	bool is_raw;
	bool is_written;
	struct qcow2 *image;
};

struct chain {
	struct chain_file files[QCOW2_CHAIN_FILES]; /* From above to below. */
	unsigned count;
	bool created; /* The uppermost, by chain_open. */
};

/*
 * Open `spec`'s image, which is made where there is none and its size is known, and all below it on
 * `loop` with its cache; negative errno and one sentence in `why`. A backing file lies in the
 * folder of its image, and is named by the plain name in the header, with the format beside it:
 * neither is guessed.
 */
int MUST_CHECK chain_open(const struct lun_spec *spec, struct loop *loop, struct qcow2_cache *cache,
			  struct chain *chain, char *why, size_t why_bytes);
/* When nothing is under way in any of them. */
void chain_close(struct chain *chain);

#endif
