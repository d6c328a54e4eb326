/*
 * READ and WRITE on the spot: what is a copy between a buffer and one place of one file in memory
 * needs no request, no round and no turn. Most I/O of a disk that has been written through is that.
 * Whatever is different goes the long way (request.c), which looks everything up again.
 *
 * Nothing of it is under way when this returns, so that it meets the invariants by being alone:
 * reads and writes in place wait for nobody but slices (5, 6), and no cluster is freed under it
 * (4).
 *
 * Runs on the image's loop. Read next: op.c.
 */
#include "lun/qcow2/engine.h"

#include <errno.h>

#include "lun/image.h"

LOOP_ONLY static bool is_in_one_place(struct qcow2 *image, struct byte_range range,
				      struct extent *extent)
{
	return mapping_find(image, range, NULL, extent) == 0 && extent->kind == EXTENT_DATA &&
	       extent->length == range.end - range.begin;
}

LOOP_ONLY static bool is_in_its_place(struct qcow2 *image, struct byte_range range,
				      struct extent *extent)
{
	extent->image = image;
	return write_is_in_place(image, range, &extent->host_offset);
}

int qcow2_copy(struct qcow2 *image, enum lun_op op, struct byte_range range, struct iovec *iov,
	       uint32_t iov_count)
{
	enum loop_op_kind kind = op == LUN_READ ? LOOP_OP_READ : LOOP_OP_WRITE;
	struct loop_rw rw = {.iov = iov, .iov_count = iov_count};
	struct extent extent;
	int res;

	/* Before the first request of an image the cache does not know it. */
	if (image->direct || image->stopping || !list_is_linked(&image->link))
		return -EAGAIN;
	if (op == LUN_READ ? !is_in_one_place(image, range, &extent)
			   : !is_in_its_place(image, range, &extent))
		return -EAGAIN;
	rw.offset_bytes = extent.host_offset;
	if (op == LUN_WRITE)
		unpushed_add(image, range.begin, range.end - range.begin);
	res = op_copy(image->loop, extent.image, kind, &rw, range.end - range.begin);
	if (res == 0 && op == LUN_READ)
		REACHED(copied_read);
	else if (res == 0)
		REACHED(copied_write);
	return res;
}
