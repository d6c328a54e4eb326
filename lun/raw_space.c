/*
 * Writes to a file whose pool is guarded (space.h): a helper thread asks the file system whether
 * all of the range has space already, and the write goes on or ends with -ENOSPC. It has been
 * admitted by then, so for all others it is a write that the disk is slow with.
 *
 * Space that is allocated and unwritten counts, and so does what is dirty in the page cache, for
 * which room was promised when it came there. What is shared with another file does not: the file
 * system makes a copy of it. Where it cannot tell (no FIEMAP, no SEEK_HOLE), the write is tried.
 *
 * Between the look and the write a neighbour may have unmapped a block; then that takes a block of
 * the reserve, which is what it is for.
 *
 * Runs on the loop of each io, but for the look. Read next: raw_map.c.
 */
#include "lun/raw.h"

#include <errno.h>
#include <unistd.h>

/* How far from `at` on the extents have space of the file's own. */
static uint64_t covered_to(const struct raw_extents *extents, uint64_t at)
{
	for (unsigned i = 0; i < extents->map.fm_mapped_extents; i++) {
		const struct fiemap_extent *extent = &extents->map.fm_extents[i];
		uint64_t end = raw_extent_end(extent);

		if (end <= at)
			continue;
		if (extent->fe_logical > at || (extent->fe_flags & FIEMAP_EXTENT_SHARED))
			break;
		at = end;
	}
	return at;
}

/* 0: all of it has space. -ENOSPC: not all. Others: it cannot be told. */
static int look_at_extents(int fd, struct byte_range range)
{
	while (range.begin < range.end) {
		struct raw_extents extents;
		uint64_t covered;
		int res = raw_extents_read(fd, range, 0, &extents);

		if (res)
			return res;
		covered = covered_to(&extents, range.begin);
		if (covered == range.begin)
			return -ENOSPC;
		range.begin = covered;
	}
	return 0;
}

static int look_for_hole(int fd, struct byte_range range)
{
	off_t hole = lseek(fd, (off_t)range.begin, SEEK_HOLE);

	return hole >= 0 && (uint64_t)hole < range.end ? -ENOSPC : 0;
}

static int call_look(struct loop_op *op)
{
	const struct lun_io *io = CONTAINER_OF(op, struct lun_io, loop_op);
	struct byte_range range = {io->offset_bytes, io->offset_bytes + io->length_bytes};
	int res = look_at_extents(io->image->fd, range);

	if (res == 0 || res == -ENOSPC)
		return res;
	return look_for_hole(io->image->fd, range);
}

static void on_looked(struct loop_op *op, int res)
{
	struct lun_io *io = CONTAINER_OF(op, struct lun_io, loop_op);
	struct image *image = io->image;

	loop_role_assume();
	if (res == 0 && io->stage == LUN_IO_ORPHANED)
		res = -ECANCELED;
	if (res == 0) {
		raw_start_punted(image, io);
		return;
	}
	raw_give_worker_back(image, io);
	raw_finish(image, io, res);
}

void raw_start_look(struct image *image UNUSED, struct lun_io *io)
{
	io->flags &= ~IMAGE_NO_NEW_SPACE;
	loop_call(io->loop, &io->loop_op, call_look, on_looked);
}
