/*
 * A LUN becomes larger while it is in use. Not smaller: hosts would lose what lies behind the end.
 *
 * Threads: measuring blocks and is for a helper thread; growing is the control loop's. Read next:
 * state.c.
 */
#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lun/files.h"
#include "lun/lun_internal.h"

/* What the image holds now. */
static int image_size(int fd, struct stat *st, uint64_t *out)
{
	if (fstat(fd, st) != 0)
		return -errno;
	*out = (uint64_t)st->st_size;
	if (S_ISBLK(st->st_mode) && ioctl(fd, BLKGETSIZE64, out) != 0)
		return -errno;
	return 0;
}

/* A file can be made as long as is wanted, and takes no space by that. */
static int lengthen(int fd, const struct stat *st, uint64_t wanted, char *why)
{
	if (!S_ISREG(st->st_mode))
		return lun_refuse(why, -EINVAL,
				  "its device is smaller than the configured size; make it larger "
				  "first");
	if (ftruncate(fd, (off_t)wanted) != 0 || fsync(fd) != 0) {
		int res = -errno;

		return lun_refuse(why, res, "its image cannot be made longer: %s",
				  files_error(res));
	}
	return 0;
}

static int measure_image(const struct lun *lun, int fd, uint64_t wanted, uint64_t *out, char *why)
{
	struct stat st;
	int res = image_size(fd, &st, out);

	if (res != 0)
		return lun_refuse(why, res, "its image cannot be looked at: %s", files_error(res));
	if (wanted == 0) {
		*out -= *out % lun->io_align_bytes;
		return 0;
	}
	if (wanted > *out)
		res = lengthen(fd, &st, wanted, why);
	*out = wanted;
	return res;
}

/* It can have any size, later: see growth.h. */
static int measure_fixed(const struct lun_state *now, uint64_t configured_bytes, uint64_t *out,
			 char *why)
{
	if (configured_bytes <= now->size_bytes)
		return 0;
	if (now->read_only)
		return lun_refuse(why, -EROFS, "it is read-only, so its image cannot grow");
	*out = configured_bytes;
	return 0;
}

static int measure(struct lun *lun, uint64_t configured_bytes, uint64_t *out, char *why)
{
	int fd = lun->ops->fd(lun->image);
	struct lun_state now;
	int res = 0;

	lun_state_copy(lun, &now);
	if (configured_bytes % lun->io_align_bytes != 0)
		return lun_refuse(why, -EINVAL, "its size is not a multiple of %u, the block size",
				  lun->io_align_bytes);
	if (lun->ops->fixed_size)
		return measure_fixed(&now, configured_bytes, out, why);
	if (fd >= 0 && !(now.read_only && configured_bytes > now.size_bytes))
		res = measure_image(lun, fd, configured_bytes, out, why);
	else if (configured_bytes != 0 && fd < 0)
		*out = configured_bytes;
	if (res == 0 && *out < now.size_bytes)
		res = lun_refuse(why, -EINVAL, "its image has become shorter than the LUN is");
	return res;
}

int lun_measure(struct lun *lun, uint64_t configured_bytes, uint64_t *out, char why[LUN_WHY_MAX])
{
	struct lun_state now;
	int res;

	lun_state_copy(lun, &now);
	*out = now.size_bytes;
	if (!now.online)
		return 0;
	if (!lun_image_hold(lun))
		return lun_refuse(why, -EBUSY, "its image is being changed; try again");
	res = measure(lun, configured_bytes, out, why);
	lun_image_release(lun);
	return res;
}

void lun_grow(struct lun *lun, struct loop *control, uint64_t size_bytes)
{
	pthread_mutex_lock(&lun->mutex);
	if (size_bytes > lun->states.wanted.size_bytes) {
		lun->states.wanted.size_bytes = size_bytes;
		states_publish_locked(lun, control);
	}
	pthread_mutex_unlock(&lun->mutex);
}
