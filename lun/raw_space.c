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
 * Runs on the loop of each io, but for the look. Read next: raw_ahead.c.
 */
#include "lun/raw.h"

#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Extents asked for at once: writes meet one or two, only WRITE SAME may meet thousands. */
#define EXTENTS 32u

struct window {
	union {
		struct fiemap map;
		char room[sizeof(struct fiemap) + EXTENTS * sizeof(struct fiemap_extent)];
	};
};

/* How far from `at` on the extents have space of the file's own. */
static uint64_t covered_to(const struct window *window, uint64_t at)
{
	for (unsigned i = 0; i < window->map.fm_mapped_extents; i++) {
		const struct fiemap_extent *extent = &window->map.fm_extents[i];
		uint64_t end = extent->fe_logical + extent->fe_length;

		if (end <= at)
			continue;
		if (extent->fe_logical > at || (extent->fe_flags & FIEMAP_EXTENT_SHARED))
			break;
		at = end;
	}
	return at;
}

/* 0: all of it has space. -ENOSPC: not all. Others: it cannot be told. */
static int look_at_extents(int fd, uint64_t at, uint64_t end)
{
	while (at < end) {
		struct window window;
		uint64_t covered;

		memset(&window, 0, sizeof(window));
		window.map.fm_start = at;
		window.map.fm_length = end - at;
		window.map.fm_extent_count = EXTENTS;
		if (ioctl(fd, FS_IOC_FIEMAP, &window.map) != 0)
			return -errno;
		covered = covered_to(&window, at);
		if (covered == at)
			return -ENOSPC;
		at = covered;
	}
	return 0;
}

static int look_for_hole(int fd, uint64_t at, uint64_t end)
{
	off_t hole = lseek(fd, (off_t)at, SEEK_HOLE);

	return hole >= 0 && (uint64_t)hole < end ? -ENOSPC : 0;
}

static int call_look(struct loop_op *op)
{
	const struct lun_io *io = CONTAINER_OF(op, struct lun_io, loop_op);
	uint64_t end = io->offset_bytes + io->length_bytes;
	int res = look_at_extents(io->image->fd, io->offset_bytes, end);

	if (res == 0 || res == -ENOSPC)
		return res;
	return look_for_hole(io->image->fd, io->offset_bytes, end);
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
