/*
 * Opening a raw image: make it if it is not there, lock it, find out how it wants to be used. Not
 * here: identity (identity.c) and I/O (image_raw.c). Nothing here changes an image that exists.
 *
 * Control thread; it blocks.
 *
 * Read next: identity.c.
 */
#include "lun/raw.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/aligned.h"
#include "base/log.h"
#include "lun/family_change.h"
#include "lun/files.h"
#include "lun/image_lock.h"
#include "lun/new_file.h"

/* More would be announced as the unit of UNMAP, and hosts then give back nothing smaller. */
#define UNIT_BYTES_MAX 65536u

/* A file may be larger, but the end of each transfer has to be an offset, too (loop_op.c). */
#define SIZE_BYTES_MAX ((uint64_t)1 << 62)

struct raw_opening {
	const struct lun_spec *spec;
	struct image *image;
	struct image_info *info;
	struct stat st;
	char *why;
	size_t why_size;
};

/* The sentence for the operator, and the error to answer with. */
static int PRINTF_LIKE(3, 4)
	raw_refuse(const struct raw_opening *o, int res, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
	(void)vsnprintf(o->why, o->why_size, format, args);
	va_end(args);
	return res;
}

/* -- Creation -- */

static int raw_create_file(const struct lun_spec *spec)
{
	struct new_file fresh;
	int res = new_file_begin(spec->path, &fresh);

	if (res)
		return res;
	if (!ftruncate(fresh.fd, (off_t)spec->size_bytes))
		return new_file_commit(&fresh, spec->path);
	res = -errno;
	new_file_drop(&fresh);
	return res;
}

static int raw_create(struct raw_opening *o)
{
	const struct lun_spec *spec = o->spec;
	uint32_t block = spec->logical_block_bytes ? spec->logical_block_bytes : 512;
	int res;

	if (spec->read_only)
		return raw_refuse(o, -ENOENT, "%s does not exist", spec->path);
	if (!spec->size_bytes) {
		return raw_refuse(o, -ENOENT, "no size is configured to create %s with",
				  spec->path);
	}
	if (spec->size_bytes % block)
		return raw_refuse(o, -EINVAL, "its configured size is not a multiple of %u", block);
	if (spec->size_bytes > SIZE_BYTES_MAX)
		return raw_refuse(o, -EFBIG, "its configured size is too large");
	res = raw_create_file(spec);
	if (res) {
		return raw_refuse(o, res, "cannot create it (%s): %s", files_error(res),
				  spec->path);
	}
	o->info->created = true;
	log_info("lun", "%s: created %s, %llu bytes, thin", spec->name, spec->path,
		 (unsigned long long)spec->size_bytes);
	return 0;
}

/* -- Opening -- */

static int raw_open_fd(struct raw_opening *o, int flags)
{
	int access = o->spec->read_only ? O_RDONLY : O_RDWR;

	/* O_NONBLOCK: opening a FIFO that somebody put there must not hang the start. */
	o->image->fd = open(o->spec->path, access | flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return o->image->fd < 0 ? -errno : 0;
}

static int raw_explain_open(struct raw_opening *o, int res)
{
	if (res == -EACCES || res == -EROFS || res == -EPERM) {
		return raw_refuse(o, res, "it may not be %s (%s): %s",
				  o->spec->read_only ? "read" : "written", files_error(res),
				  o->spec->path);
	}
	if (res == -EBUSY) {
		return raw_refuse(o, res, "the block device is in use (mounted?): %s",
				  o->spec->path);
	}
	return raw_refuse(o, res, "cannot open it (%s): %s", files_error(res), o->spec->path);
}

static int raw_check_kind(const struct raw_opening *o)
{
	if (S_ISREG(o->st.st_mode) || S_ISBLK(o->st.st_mode))
		return 0;
	return raw_refuse(o, -EINVAL, "it is neither a file nor a block device: %s", o->spec->path);
}

static int raw_find(struct raw_opening *o)
{
	bool exists = !stat(o->spec->path, &o->st);
	int res = 0;

	/* What is something else is not even opened: some devices act on that alone. */
	if (exists) {
		res = raw_check_kind(o);
	} else if (errno == ENOENT) {
		res = raw_create(o);
	}
	if (res)
		return res;
	/* O_EXCL claims a block device against mounts and other such users. */
	res = raw_open_fd(o, exists && S_ISBLK(o->st.st_mode) && !o->spec->read_only ? O_EXCL : 0);
	if (res)
		return raw_explain_open(o, res);
	if (fstat(o->image->fd, &o->st))
		return raw_refuse(o, -errno, "fstat: %s", files_error(-errno));
	o->image->is_block_device = S_ISBLK(o->st.st_mode);
	return raw_check_kind(o);
}

/* For fdatasync alone. The path may have been changed since; then it is not our image. */
static int raw_open_sync(struct raw_opening *o)
{
	struct stat st;

	o->image->sync_fd = open(o->spec->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (o->image->sync_fd < 0 || fstat(o->image->sync_fd, &st)) {
		return raw_refuse(o, -errno, "cannot open it again to flush it (%s): %s",
				  files_error(-errno), o->spec->path);
	}
	if (st.st_dev != o->st.st_dev || st.st_ino != o->st.st_ino) {
		return raw_refuse(o, -ESTALE, "it was replaced while it was opened: %s",
				  o->spec->path);
	}
	return 0;
}

/* On the description that does the I/O: the kernel keeps it until the last I/O has ended, even that
 * of a server that was killed. qemu's locks too: it may be the base of an image that is open, or in
 * use by a virtual machine. */
static int raw_lock(struct raw_opening *o)
{
	int res = image_lock_patiently(image_lock_raw, o->image->fd, !o->spec->read_only);

	if (!res)
		res = image_lock_patiently(image_lock_qemu, o->image->fd, !o->spec->read_only);
	if (res == -EBUSY)
		return raw_refuse(o, res, "it is locked, another server, LUN or qemu uses it: %s",
				  o->spec->path);
	if (res)
		return raw_refuse(o, res, "cannot lock it (%s): %s", files_error(res),
				  o->spec->path);
	return o->spec->read_only ? 0 : family_admit_writer(o->image->fd, o->why, o->why_size);
}

/* -- Size -- */

static int raw_find_size(struct raw_opening *o)
{
	uint64_t found = (uint64_t)o->st.st_size;
	uint64_t wanted = o->spec->size_bytes;

	if (o->image->is_block_device && ioctl(o->image->fd, BLKGETSIZE64, &found))
		return raw_refuse(o, -errno, "cannot find its size: %s", files_error(-errno));
	if (found < wanted) {
		return raw_refuse(o, -EINVAL, "it has %llu bytes, configured are %llu: %s",
				  (unsigned long long)found, (unsigned long long)wanted,
				  o->spec->path);
	}
	if (wanted && wanted < found) {
		log_warn("lun", "%s: %s has %llu bytes; hosts see the configured %llu",
			 o->spec->name, o->spec->path, (unsigned long long)found,
			 (unsigned long long)wanted);
	}
	o->image->size_bytes = wanted ? wanted : found;
	if (o->image->size_bytes > SIZE_BYTES_MAX)
		return raw_refuse(o, -EFBIG, "it is too large: %s", o->spec->path);
	return 0;
}

/* -- Direct I/O -- */

static int raw_choose_mode(struct raw_opening *o)
{
	struct image *image = o->image;
	struct statfs fs;
	uint32_t align = 0;
	int res = files_set_flags(image->fd, 0, O_NONBLOCK);

	if (res)
		return raw_refuse(o, res, "fcntl: %s", files_error(res));
	image->is_tmpfs =
		!image->is_block_device && !fstatfs(image->fd, &fs) && fs.f_type == TMPFS_MAGIC;
	if (!image->is_tmpfs && !o->spec->page_cache)
		align = files_set_direct(image->fd);
	image->page_cache = !align;
	if (!align && files_set_flags(image->fd, 0, O_DIRECT))
		return raw_refuse(o, -EIO, "cannot leave direct I/O");
	if (!align && !image->is_tmpfs && !o->spec->page_cache) {
		log_warn("lun", "%s: no direct I/O on %s; it goes through the page cache",
			 o->spec->name, o->spec->path);
	}
	if (align > 65536)
		return raw_refuse(o, -EINVAL, "it wants %u-byte blocks for direct I/O", align);
	o->info->io_align_bytes = align > 512 ? align : 512;
	return 0;
}

/* -- Thin provisioning -- */

/* A power of two that is fit to be announced, next below what is there. */
static uint32_t unit_fit(uint64_t bytes, uint32_t least)
{
	uint32_t unit = least < 4096 ? 4096 : least;

	while (unit * 2ull <= bytes && unit < UNIT_BYTES_MAX)
		unit *= 2;
	return unit;
}

/* Whether holes can be punched; beyond the end of the file there is nothing to lose. A file without
 * room there, which no offset reaches, counts as one that takes none. */
static bool file_takes_holes(const struct raw_opening *o)
{
	uint32_t align = o->info->io_align_bytes < 4096 ? 4096 : o->info->io_align_bytes;
	off_t beyond = o->st.st_size - o->st.st_size % align;

	if (beyond > INT64_MAX - 2 * (off_t)align)
		return false;
	beyond += align;

	return !fallocate(o->image->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, beyond, align);
}

/* Whether zeroing keeps space, and takes it where there was none: by what is known of the file
 * systems, because a trial would leave a block behind. ext4 has files without extents, too. */
static bool file_anchors(const struct raw_opening *o)
{
	struct statfs fs;
	int flags = 0;

	if (fstatfs(o->image->fd, &fs))
		return false;
	if (fs.f_type == EXT4_SUPER_MAGIC)
		return !ioctl(o->image->fd, FS_IOC_GETFLAGS, &flags) && (flags & FS_EXTENT_FL);
	return fs.f_type == XFS_SUPER_MAGIC;
}

/* Where UNMAP gives something back, it does so by PUNCH_HOLE, which guarantees zeroes: on a file
 * always, on a block device by failing where the device cannot zero by itself. */
static void raw_find_thinness(struct raw_opening *o)
{
	struct image_info *info = o->info;
	uint64_t device = o->st.st_rdev;

	if (o->image->is_block_device) {
		info->thin = files_device_number(device, "queue/discard_max_bytes") &&
			     files_device_number(device, "queue/write_zeroes_max_bytes");
		info->allocation_unit_bytes =
			unit_fit(files_device_number(device, "queue/discard_granularity"),
				 info->io_align_bytes);
	} else {
		info->thin = !o->spec->read_only && file_takes_holes(o);
		info->allocation_unit_bytes =
			unit_fit((uint64_t)o->st.st_blksize, info->io_align_bytes);
	}
	info->zeroes_after_unmap = info->thin;
	info->anchors = info->thin && !o->image->is_block_device && file_anchors(o);
	o->image->zeroes_after_unmap = info->thin;
}

/* -- The whole -- */

static int raw_open_steps(struct raw_opening *o)
{
	static int (*const steps[])(struct raw_opening *) = {
		raw_find, raw_lock, raw_open_sync, raw_find_size, raw_choose_mode,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		int res = steps[i](o);

		if (res)
			return res;
	}
	raw_find_thinness(o);
	o->info->look_ahead = o->info->thin && !o->image->is_block_device &&
			      !o->image->page_cache && raw_can_look_ahead(o->image->fd);
	o->info->size_bytes = o->image->size_bytes;
	o->info->read_only = o->spec->read_only;
	return 0;
}

static struct image *raw_alloc(unsigned lanes)
{
	struct image *image = aligned_calloc(sizeof(*image) + lanes * sizeof(image->lanes[0]));

	if (!image)
		return NULL;
	image->fd = -1;
	image->sync_fd = -1;
	raw_flush_init(&image->flush);
	for (unsigned i = 0; i < lanes; i++) {
		list_init(&image->lanes[i].punted);
		list_init(&image->lanes[i].deferred);
		list_init(&image->lanes[i].maps);
		image->lanes[i].range_step = RAW_STEP_MIN_BYTES;
	}
	return image;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): `why` is written to by raw_refuse. */
int raw_open(const struct lun_spec *spec, struct image **out, struct image_info *info, char *why,
	     size_t why_size)
{
	struct raw_opening o = {.spec = spec, .info = info, .why = why, .why_size = why_size};
	int res;

	if (!spec->path)
		return raw_refuse(&o, -EINVAL, "no image is configured");
	o.image = raw_alloc(spec->loops);
	if (!o.image)
		return -ENOMEM;
	*info = (struct image_info){0};
	res = raw_open_steps(&o);
	if (res) {
		raw_close(o.image);
	} else {
		*out = o.image;
	}
	return res;
}

void raw_close(struct image *image)
{
	files_close(&image->fd);
	files_close(&image->sync_fd);
	raw_flush_destroy(&image->flush);
	aligned_free(image);
}
