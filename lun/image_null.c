/*
 * The null image: no storage, for measuring the protocol. Writes vanish and reads give zeroes: the
 * buffer is cleared, because what lay in it belongs to somebody else, or not looked at. Not a test
 * aid with faults (image_fault.c).
 *
 * Runs on the loop of each io; shares nothing.
 *
 * Read next: image_raw.c.
 */
#include "lun/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Without a configured size: larger than any test writes, small enough for every initiator. */
#define NULL_SIZE_BYTES (1ull << 40)

struct image {
	uint64_t size_bytes;
};

static int null_open(const struct lun_spec *spec, struct image **out, struct image_info *info,
		     char *why UNUSED, size_t why_size UNUSED)
{
	struct image *image = calloc(1, sizeof(*image));

	if (!image)
		return -ENOMEM;
	image->size_bytes = spec->size_bytes ? spec->size_bytes : NULL_SIZE_BYTES;
	*info = (struct image_info){
		.size_bytes = image->size_bytes,
		.io_align_bytes = 512,
		.allocation_unit_bytes = 4096,
		.thin = true,
		.zeroes_after_unmap = true,
	};
	*out = image;
	return 0;
}

static void null_close(struct image *image)
{
	free(image);
}

static void null_read(struct lun_io *io)
{
	io->zeroes = (io->flags & LUN_IO_ZEROES_SUFFICE) != 0;
	for (uint32_t i = 0; i < io->iov_count && !io->zeroes; i++)
		memset(io->iov[i].iov_base, 0, io->iov[i].iov_len);
}

static void null_submit(struct image *image UNUSED, struct lun_io *io)
{
	loop_role_assume();
	if (io->op == LUN_READ)
		null_read(io);
	/* What is written takes no space and reads as zeroes; so it is. */
	if (io->op == LUN_MAP)
		map_all(io, LUN_DEALLOCATED);
	image_io_done_later(io, 0);
}

static int null_fd(const struct image *image UNUSED)
{
	return -1;
}

const struct image_ops image_null_ops = {
	.type = "null",
	.open = null_open,
	.close = null_close,
	.submit = null_submit,
	.fd = null_fd,
};
