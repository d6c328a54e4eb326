/*
 * The file's side of look-ahead: space allocated before hosts write to it, and given back where
 * they did not. Not here: when and where (ahead.c), and who is kept out meanwhile.
 *
 * Both ask the file system for its extents, because nobody else knows. What is allocated is only
 * what was a hole; what an administrator allocated before is not ours to take. What is given back
 * is only what is unwritten at that moment, under an exclusive range, so that no data can be lost,
 * whatever ahead.c believes: an unwritten extent reads as zeroes, and so does a hole. Dirty pages
 * over an unwritten extent (direct I/O may leave some where it has to fall back) are written first.
 *
 * The calls run on a helper thread: each may wait for the disk. They look at what is constant in
 * the image, and at the io that they are for. Read next: ahead.c.
 */
#include "lun/raw.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>

/* Rounds of one release: an answer to a file of crumbs. What is left stays allocated. */
#define ROUNDS_MAX 64u
/* Look-ahead wants to see so many times its size in free space: a pool that is short of that is for
 * what hosts really write. */
#define FREE_TIMES 64u

bool raw_can_look_ahead(int fd)
{
	struct raw_extents extents;

	return raw_extents_read(fd, (struct byte_range){0, 4096}, 0, &extents) == 0;
}

/* -- Allocation -- */

/*
 * The first hole in the span. When there is none, it is empty and lies at the end of what is known
 * to be allocated.
 */
static struct byte_range find_hole(const struct raw_extents *extents, struct byte_range span)
{
	struct byte_range hole = span;

	for (unsigned i = 0; i < extents->map.fm_mapped_extents; i++) {
		const struct fiemap_extent *extent = &extents->map.fm_extents[i];

		if (extent->fe_logical > hole.begin) {
			hole.end = extent->fe_logical < span.end ? extent->fe_logical : span.end;
			return hole;
		}
		if (raw_extent_end(extent) > hole.begin)
			hole.begin = raw_extent_end(extent);
	}
	if (hole.begin >= span.end || extents->map.fm_mapped_extents == RAW_EXTENTS)
		hole.end = hole.begin;
	return hole;
}

/* A pool that is nearly full, or one that cannot tell. */
static bool pool_is_low(int fd, uint64_t wanted_bytes)
{
	struct statvfs fs;

	if (fstatvfs(fd, &fs) != 0)
		return true;
	return fs.f_bavail / FREE_TIMES < wanted_bytes / (fs.f_frsize ? fs.f_frsize : 1);
}

static int call_allocate(struct loop_op *op)
{
	struct lun_io *io = CONTAINER_OF(op, struct lun_io, loop_op);
	struct byte_range span = {io->offset_bytes, io->offset_bytes + io->length_bytes};
	struct raw_extents extents;
	struct byte_range hole;
	int res;

	if (pool_is_low(io->image->fd, io->length_bytes))
		return -ENOSPC;
	res = raw_extents_read(io->image->fd, span, 0, &extents);
	if (res)
		return res;
	hole = find_hole(&extents, span);
	if ((io->flags & IMAGE_ADJOINING) && hole.begin != span.begin)
		hole.end = hole.begin;
	io->image_word[IMAGE_WORD_BEGIN] = hole.begin;
	io->image_word[IMAGE_WORD_END] = hole.end;
	if (hole.begin == hole.end)
		return 0;
	return fallocate(io->image->fd, FALLOC_FL_KEEP_SIZE, (off_t)hole.begin,
			 (off_t)(hole.end - hole.begin))
		       ? -errno
		       : 0;
}

/* -- Release -- */

/* What of the extent lies in the span and is allocated without ever having been written. */
static struct byte_range unwritten_part(const struct fiemap_extent *extent, struct byte_range span)
{
	const uint32_t doubtful = FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC |
				  FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_SHARED;
	struct byte_range part = {extent->fe_logical, raw_extent_end(extent)};

	if (part.begin < span.begin)
		part.begin = span.begin;
	if (part.end > span.end)
		part.end = span.end;
	if (!(extent->fe_flags & FIEMAP_EXTENT_UNWRITTEN) || extent->fe_flags & doubtful ||
	    part.end < part.begin)
		part.end = part.begin;
	return part;
}

static int punch(int fd, struct byte_range part)
{
	if (part.end == part.begin)
		return 0;
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)part.begin,
			 (off_t)(part.end - part.begin))
		       ? -errno
		       : 0;
}

/* One answer of the file system; the span is left behind as far as it went. */
static int release_some(int fd, struct byte_range *span)
{
	struct raw_extents extents;
	int res = raw_extents_read(fd, *span, FIEMAP_FLAG_SYNC, &extents);
	unsigned count = res ? 0 : extents.map.fm_mapped_extents;
	uint64_t reached = span->end;

	for (unsigned i = 0; i < count && !res; i++)
		res = punch(fd, unwritten_part(&extents.map.fm_extents[i], *span));
	if (count == RAW_EXTENTS)
		reached = raw_extent_end(&extents.map.fm_extents[count - 1]);
	span->begin = reached < span->end ? reached : span->end;
	return res;
}

static int release(int fd, struct byte_range span)
{
	int res = 0;

	for (unsigned i = 0; i < ROUNDS_MAX && span.begin < span.end && !res; i++)
		res = release_some(fd, &span);
	return res;
}

static int call_release(struct loop_op *op)
{
	const struct lun_io *io = CONTAINER_OF(op, struct lun_io, loop_op);

	return release(io->image->fd,
		       (struct byte_range){io->offset_bytes, io->offset_bytes + io->length_bytes});
}

int raw_release_now(struct image *image, uint64_t offset_bytes, uint64_t length_bytes)
{
	return release(image->fd, (struct byte_range){offset_bytes, offset_bytes + length_bytes});
}

/* -- On the loop -- */

static void on_called(struct loop_op *op, int res)
{
	struct lun_io *io = CONTAINER_OF(op, struct lun_io, loop_op);
	struct image *image = io->image;

	loop_role_assume();
	raw_give_worker_back(image, io);
	image_io_done(io, res);
}

void raw_start_allocate(struct image *image UNUSED, struct lun_io *io)
{
	loop_call(io->loop, &io->loop_op, call_allocate, on_called);
}

void raw_start_release(struct image *image UNUSED, struct lun_io *io)
{
	loop_call(io->loop, &io->loop_op, call_release, on_called);
}
