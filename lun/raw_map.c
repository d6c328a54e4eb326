/*
 * The file's side of LUN_MAP: where it has data, where space without data, where nothing.
 *
 * FIEMAP tells the three apart, but of extents on the disk: data that so far are in the page cache
 * alone lie in what it calls unwritten, or in a hole. Its own remedy, FIEMAP_FLAG_SYNC, writes all
 * dirty pages of the file first, for gigabytes seconds in which nothing else of the file goes on.
 * SEEK_DATA sees those pages without writing them. So what FIEMAP calls empty is asked a second
 * time by SEEK_DATA, and an extent whose allocation is delayed is data. FIEMAP comes first: what is
 * written back between the two questions has become data when the second is asked.
 *
 * Without FIEMAP (tmpfs) SEEK_DATA alone decides; a file system that has neither answers the whole
 * file as data, and so do block devices, which tell nobody what they have.
 *
 * The calls run on a helper thread, because either may wait for the disk. They look at what is
 * constant in the image, and at the io that they are for. Read next: map.c.
 */
#include "lun/raw.h"

#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Rounds of one question: 2,048 extents take a few milliseconds. */
#define ROUNDS_MAX 64u

int raw_extents_read(int fd, struct byte_range range, uint32_t flags, struct raw_extents *out)
{
	memset(out, 0, sizeof(*out));
	out->map.fm_flags = flags;
	out->map.fm_start = range.begin;
	out->map.fm_length = range.end - range.begin;
	out->map.fm_extent_count = RAW_EXTENTS;
	if (ioctl(fd, FS_IOC_FIEMAP, &out->map) != 0)
		return -errno;
	return 0;
}

/* One question on its way through the file. */
struct raw_walk {
	int fd;
	uint64_t at;      /* All before it is in the answer. */
	uint64_t data_at; /* Between `at` and there SEEK_DATA knows of no data. */
	struct map_builder builder;
};

/* False: the answer is complete, or full. */
static bool walk_add(struct raw_walk *walk, uint64_t end, enum lun_extent_state state)
{
	walk->at = end;
	return map_add(&walk->builder, end, state);
}

/* Behind the last data there is no more (ENXIO); without an answer it is all data. */
static void walk_seek_data(struct raw_walk *walk)
{
	off_t found = lseek(walk->fd, (off_t)walk->at, SEEK_DATA);

	if (found >= 0) {
		walk->data_at = (uint64_t)found;
	} else {
		walk->data_at = errno == ENXIO ? UINT64_MAX : walk->at;
	}
}

/* Where the data at `at` end, at most `end`. */
static uint64_t walk_seek_hole(const struct raw_walk *walk, uint64_t end)
{
	off_t found = lseek(walk->fd, (off_t)walk->at, SEEK_HOLE);

	return found > (off_t)walk->at && (uint64_t)found < end ? (uint64_t)found : end;
}

/* FIEMAP calls it empty. Bounded: every turn adds something, and the answer has little room. */
static bool walk_add_empty(struct raw_walk *walk, uint64_t end, enum lun_extent_state state)
{
	bool goes_on = true;

	while (walk->at < end && goes_on) {
		if (walk->data_at <= walk->at)
			walk_seek_data(walk);
		if (walk->data_at > walk->at) {
			goes_on = walk_add(walk, walk->data_at < end ? walk->data_at : end, state);
		} else {
			goes_on = walk_add(walk, walk_seek_hole(walk, end), LUN_MAPPED);
		}
	}
	return goes_on;
}

static bool extent_is_unwritten(const struct fiemap_extent *extent)
{
	const uint32_t doubtful =
		FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_DATA_INLINE;

	return (extent->fe_flags & FIEMAP_EXTENT_UNWRITTEN) && !(extent->fe_flags & doubtful);
}

static bool walk_add_extent(struct raw_walk *walk, const struct fiemap_extent *extent)
{
	uint64_t end = raw_extent_end(extent);

	if (extent->fe_logical > walk->at &&
	    !walk_add_empty(walk, extent->fe_logical, LUN_DEALLOCATED))
		return false;
	if (end <= walk->at)
		return true;
	if (extent_is_unwritten(extent))
		return walk_add_empty(walk, end, LUN_ANCHORED);
	return walk_add(walk, end, LUN_MAPPED);
}

/* One answer of FIEMAP. 1: go on; 0: that was all; or negative errno. */
static int walk_round(struct raw_walk *walk)
{
	struct raw_extents extents;
	uint64_t end = walk->builder.end;
	int res = raw_extents_read(walk->fd, (struct byte_range){walk->at, end}, 0, &extents);
	unsigned count = res ? 0 : extents.map.fm_mapped_extents;

	if (res && res != -EOPNOTSUPP && res != -ENOTTY)
		return res;
	for (unsigned i = 0; i < count; i++) {
		if (!walk_add_extent(walk, &extents.map.fm_extents[i]))
			return 0;
	}
	if (count == RAW_EXTENTS)
		return 1;
	(void)walk_add_empty(walk, end, LUN_DEALLOCATED);
	return 0;
}

static int call_map(struct loop_op *op)
{
	struct lun_io *io = CONTAINER_OF(op, struct lun_io, loop_op);
	struct raw_walk walk = {.fd = io->image->fd, .at = io->offset_bytes};
	int res = 1;

	map_begin(&walk.builder, io);
	for (unsigned i = 0; i < ROUNDS_MAX && res == 1; i++)
		res = walk_round(&walk);
	return res < 0 ? res : 0;
}

LOOP_ONLY static void start(struct raw_lane *lane, struct image *image, struct lun_io *io)
{
	lane->maps_running++;
	raw_punt(image, io);
}

/* One has ended. Those that were aborted while they waited end as well: nobody wants to know. */
LOOP_ONLY static void start_next(struct raw_lane *lane, struct image *image)
{
	struct list_node *node;

	lane->maps_running--;
	while (lane->maps_running < RAW_MAPS_MAX && (node = list_first(&lane->maps))) {
		struct lun_io *io = CONTAINER_OF(node, struct lun_io, image_link);

		list_remove(node);
		if (io->stage == LUN_IO_ORPHANED) {
			image_io_done_later(io, -ECANCELED);
		} else {
			start(lane, image, io);
		}
	}
}

static void on_called(struct loop_op *op, int res)
{
	struct lun_io *io = CONTAINER_OF(op, struct lun_io, loop_op);
	struct image *image = io->image;

	loop_role_assume();
	raw_give_worker_back(image, io);
	start_next(raw_lane(image, io), image);
	image_io_done(io, res);
}

void raw_start_map(struct image *image UNUSED, struct lun_io *io)
{
	loop_call(io->loop, &io->loop_op, call_map, on_called);
}

void raw_submit_map(struct image *image, struct lun_io *io)
{
	struct raw_lane *lane = raw_lane(image, io);

	if (image->is_block_device) {
		map_all(io, LUN_MAPPED);
		image_io_done_later(io, 0);
	} else if (lane->maps_running < RAW_MAPS_MAX) {
		start(lane, image, io);
	} else {
		list_append(&lane->maps, &io->image_link);
	}
}
