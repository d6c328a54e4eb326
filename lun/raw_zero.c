/*
 * ZERO with LUN_IO_KEEP_HOLES in a file: what has space is zeroed and keeps it, and what is a hole
 * stays one. The kernel's own zeroing (FALLOC_FL_ZERO_RANGE) allocates holes, so a host that wipes
 * a disk that is nearly empty would fill the pool with nothing.
 *
 * The file system is asked for its extents, and the gaps between them are punched nonetheless: data
 * that so far are in the page cache alone may lie there. Whatever changes between the question and
 * the answer's use, all of the range reads as zeroes afterwards; a mistake costs space, or returns
 * some.
 *
 * Runs on a helper thread. Read next: image_raw.c.
 */
#include "lun/raw.h"

#include <errno.h>
#include <fcntl.h>

static int change(int fd, int mode, struct byte_range part)
{
	if (part.end <= part.begin)
		return 0;
	return fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)part.begin,
			 (off_t)(part.end - part.begin))
		       ? -errno
		       : 0;
}

/* The gap before an extent, and the extent; what is left of the range lies behind it. */
static int zero_extent(int fd, const struct fiemap_extent *extent, struct byte_range *range)
{
	struct byte_range gap = {range->begin, extent->fe_logical};
	struct byte_range part = {extent->fe_logical, raw_extent_end(extent)};
	int res;

	if (part.begin < range->begin)
		part.begin = range->begin;
	if (part.end > range->end)
		part.end = range->end;
	if (part.end <= part.begin)
		return 0;
	res = change(fd, FALLOC_FL_PUNCH_HOLE, gap);
	if (!res)
		res = change(fd, FALLOC_FL_ZERO_RANGE, part);
	range->begin = part.end;
	return res;
}

/* One answer of the file system; the range is left behind as far as it went. */
static int zero_some(int fd, struct byte_range *range)
{
	struct raw_extents extents;
	struct byte_range rest;
	int res = raw_extents_read(fd, *range, 0, &extents);
	unsigned count = res ? 0 : extents.map.fm_mapped_extents;

	for (unsigned i = 0; i < count && !res; i++)
		res = zero_extent(fd, &extents.map.fm_extents[i], range);
	if (res || count == RAW_EXTENTS)
		return res;
	rest = *range;
	range->begin = range->end;
	return change(fd, FALLOC_FL_PUNCH_HOLE, rest);
}

int raw_zero_allocated(int fd, struct byte_range range)
{
	int res = 0;

	while (range.begin < range.end && !res)
		res = zero_some(fd, &range);
	return res;
}
