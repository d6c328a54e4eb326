/*
 * Files of images: opening, locking, reading, writing. See closed.h.
 */
#include "target/image/closed.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "lun/family_change.h"
#include "lun/image_lock.h"

#define QCOW2_MAGIC 0x514649fbu /* qcow2, "Header": QFI\xfb. */
#define SECTOR_BYTES 512u

const char *const closed_format_names[CLOSED_FORMATS] = {
	[CLOSED_RAW] = "raw",
	[CLOSED_QCOW2] = "qcow2",
};

/* -- Formats -- */

enum closed_format closed_format_of(const char *name)
{
	const char *dot = strrchr(name, '.');

	for (unsigned i = 0; dot != NULL && i < CLOSED_FORMATS; i++) {
		if (strcmp(dot + 1, closed_format_names[i]) == 0)
			return (enum closed_format)i;
	}
	return CLOSED_FORMATS;
}

static int format_named(struct image_order *order, const char *told, enum closed_format *out)
{
	for (*out = CLOSED_RAW; *out < CLOSED_FORMATS; (*out)++) {
		if (strcmp(told, closed_format_names[*out]) == 0)
			return 0;
	}
	return image_refuse(order, -EINVAL, "it is raw or qcow2", "'%s' is no format of images",
			    told);
}

int closed_format_told(struct image_order *order, enum image_option option, enum closed_format *out)
{
	*out = CLOSED_FORMATS;
	return image_has(order, option) ? format_named(order, order->values[option], out) : 0;
}

int closed_require_qcow2(struct image_order *order, const char *path)
{
	enum closed_format format;
	int res = closed_format_told(order, IMAGE_FORMAT, &format);

	if (res != 0)
		return res;
	if (format == CLOSED_FORMATS)
		format = closed_format_of(path);
	if (format == CLOSED_FORMATS)
		return image_refuse(order, -EINVAL, "say --format qcow2 if it is one",
				    "%s: is it raw or qcow2?", path);
	if (format == CLOSED_RAW)
		return image_refuse(order, -ENOTSUP,
				    "clone it, or make a qcow2 image of it with "
				    "'ringsan image convert'",
				    "%s is raw; only qcow2 images have that", path);
	return 0;
}

static int find_format(struct image_order *order, const char *told, struct closed_file *file)
{
	uint8_t start[4];
	int res;

	if (told != NULL)
		return format_named(order, told, &file->format);
	file->format = closed_format_of(file->path);
	if (file->format != CLOSED_FORMATS)
		return 0;
	res = closed_reader(file)->read(closed_reader(file), start, sizeof(start), 0);
	if (res != 0)
		return image_refuse_errno(order, res, "cannot be read", file->path);
	file->format = CLOSED_RAW;
	if (get_be32(start) != QCOW2_MAGIC)
		return 0;
	return image_refuse(order, -EINVAL,
			    "say --format qcow2, or --format raw if a guest may have written that",
			    "%s begins like a qcow2 image, but its name does not say so",
			    file->path);
}

/* -- Opening -- */

static int refuse_locked(struct image_order *order, const struct closed_file *file,
			 enum closed_access access)
{
	const char *remedy = "end the other (a server, a virtual machine, qemu-img) first";

	if (access == CLOSED_REPAIR && family_is_marked_base(file->fd))
		return image_refuse(order, -EBUSY,
				    "end those who have it open, or an image that is based on it; "
				    "leaks cost space, and nothing else, until then",
				    "%s is a base, and in use", file->path);
	/* A snapshot is written by nobody, so it can be read beside a daemon that serves it. */
	if (access == CLOSED_READ && file->format == CLOSED_QCOW2)
		remedy = "take a snapshot ('ringsan image snapshot') and name that, or end the "
			 "other first";
	return image_refuse(order, -EBUSY, remedy, "%s is locked by another program", file->path);
}

static int lock_file(struct image_order *order, const struct closed_file *file,
		     enum closed_access access)
{
	bool writes = access >= CLOSED_WRITE;
	int res = access == CLOSED_LOOK ? 0 : image_lock_qemu(file->fd, writes);

	if (res == 0 && access != CLOSED_LOOK && file->format == CLOSED_RAW)
		res = image_lock_raw(file->fd, writes);
	if (res == -EBUSY)
		return refuse_locked(order, file, access);
	return res == 0 ? 0 : image_refuse_errno(order, res, "cannot be locked", file->path);
}

/* A block device has no size for stat(2). */
static int find_size(struct image_order *order, struct closed_file *file)
{
	off_t size = -1;

	if (S_ISREG(file->st.st_mode))
		size = file->st.st_size;
	else if (S_ISBLK(file->st.st_mode))
		size = lseek(file->fd, 0, SEEK_END);
	if (size < 0)
		return image_refuse(order, -EINVAL, "name the file of an image",
				    "%s is neither a file nor a block device", file->path);
	file->disk.writable.file.size_bytes = (uint64_t)size;
	return 0;
}

static int take_file(struct image_order *order, struct closed_file *file)
{
	if (fstat(file->fd, &file->st) != 0 || qcow2_descriptor_make(file->fd, &file->disk) != 0)
		return image_refuse_errno(order, -errno, "cannot be looked at", file->path);
	if (S_ISDIR(file->st.st_mode))
		return image_refuse(order, -EISDIR, NULL, "%s is a folder", file->path);
	return find_size(order, file);
}

/* Of a family: a base is not written. */
static int admit(struct image_order *order, const struct closed_file *file,
		 enum closed_access access)
{
	char why[IMAGE_WHY_BYTES] = "";
	int res = access == CLOSED_WRITE ? family_admit_writer(file->fd, why, sizeof(why)) : 0;

	return res == 0 ? 0
			: image_refuse(order, res, "clone it, and change the clone", "%s: %s",
				       file->path, why);
}

int closed_take(struct image_order *order, int fd, const char *told, enum closed_access access,
		struct closed_file *out)
{
	int res;

	out->fd = fd;
	res = take_file(order, out);
	if (res == 0)
		res = find_format(order, told, out);
	if (res == 0)
		res = lock_file(order, out, access);
	if (res == 0)
		res = admit(order, out, access);
	if (res != 0)
		closed_close(out);
	return res;
}

int closed_open(struct image_order *order, const char *path, const char *told,
		enum closed_access access, struct closed_file *out)
{
	int flags = access >= CLOSED_WRITE ? O_RDWR : O_RDONLY;
	int fd;

	out->fd = -1;
	if (strlen(path) >= sizeof(out->path))
		return image_refuse(order, -EINVAL, "go into its folder first",
				    "the path is too long");
	memcpy(out->path, path, strlen(path) + 1);
	/* O_NONBLOCK: a FIFO must not hold us up. */
	fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return image_refuse_errno(order, -errno, "cannot be opened", path);
	return closed_take(order, fd, told, access, out);
}

int closed_require_whole(struct image_order *order, const char *path)
{
	struct family_place place;
	char why[IMAGE_WHY_BYTES] = "";
	bool is_whole = true;

	if (family_place_open(path, &place, why, sizeof(why)) == 0) {
		is_whole = !family_merge_is_marked(place.folder, place.name);
		family_place_close(&place);
	}
	return is_whole ? 0
			: image_refuse(order, -EBUSY, "'ringsan image list' shows its family",
				       "%s does not show any more what it did: %s", path,
				       FAMILY_MERGE_REMEDY);
}

void closed_close(struct closed_file *file)
{
	files_close(&file->fd);
}

uint64_t closed_allocated_bytes(const struct closed_file *file)
{
	return (uint64_t)file->st.st_blocks * SECTOR_BYTES;
}

int closed_path_beside(const char *path, const char *name, char out[FILES_PATH_MAX])
{
	const char *slash = strrchr(path, '/');
	int folder = slash != NULL ? (int)(slash - path) + 1 : 0;
	int length = snprintf(out, FILES_PATH_MAX, "%.*s%s", folder, path, name);

	return length >= (int)FILES_PATH_MAX ? -ENAMETOOLONG : 0;
}
