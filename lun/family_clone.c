/*
 * Clones, and the removal of what nothing is based on.
 *
 * A clone costs three fsyncs: of the base, which has its mark, of the new file, and of the folder
 * when that has its name.
 *
 * Any thread but a loop's. Read next: family_overlay.c.
 */
#include "lun/family_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lun/files.h"
#include "lun/image_lock.h"
#include "lun/qcow2/format.h"

/* -- Clone -- */

struct cloning {
	const struct family_clone *clone;
	struct family_place from, to;
	struct family_base base;
	const struct family_why *why;
};

static bool is_same_folder(int one, int other)
{
	struct stat a;
	struct stat b;

	return fstat(one, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

static int check_names(const struct cloning *cloning)
{
	const char *name = cloning->to.name;
	struct stat st;

	if (!is_same_folder(cloning->from.folder, cloning->to.folder))
		return family_refuse(cloning->why, -EXDEV,
				     "a clone lies in the folder of its base: copy %s there, or "
				     "name the clone there",
				     cloning->clone->base);
	if (qcow2_backing_name_wrong(name) != NULL || name[0] == '.')
		return family_refuse(cloning->why, -EINVAL,
				     "\"%s\": the name of an image has no colon and begins with "
				     "no dot",
				     name);
	if (fstatat(cloning->to.folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return family_refuse(cloning->why, -EEXIST, "there is a file %s already", name);
	return 0;
}

static int open_base(struct cloning *cloning)
{
	const struct family_clone *clone = cloning->clone;
	struct family_base *base = &cloning->base;
	int res = family_base_open(cloning->from.folder, cloning->from.name, clone->base_format,
				   base, cloning->why);

	if (res != 0)
		return res;
	if (image_lock_qemu(base->fd, false) != 0)
		return family_refuse(cloning->why, -EBUSY,
				     "%s is locked: it is open for writing; close it, or clone a "
				     "snapshot of it",
				     base->name);
	if (clone->size_bytes != 0 && clone->size_bytes < base->size_bytes)
		return family_refuse(cloning->why, -EINVAL,
				     "a clone is not smaller than its base, which has %llu bytes",
				     (unsigned long long)base->size_bytes);
	return family_become_base(base->fd, cloning->why);
}

static int give_name(const struct cloning *cloning, const struct family_overlay *overlay)
{
	int folder = cloning->to.folder;
	const char *name = cloning->to.name;
	int res = 0;

	if (linkat(folder, overlay->name, folder, name, 0) != 0)
		res = -errno;
	if (res == 0 && fsync(folder) != 0) {
		res = -errno;
		(void)unlinkat(folder, name, 0);
	}
	return res == 0 ? 0
			: family_refuse(cloning->why, res, "%s cannot be made: %s", name,
					files_error(res));
}

static int make_clone(struct cloning *cloning)
{
	const struct family_clone *clone = cloning->clone;
	const struct family_base *base = &cloning->base;
	const struct family_overlay_spec spec = {
		.folder = cloning->to.folder,
		.backing_name = base->name,
		.backing_format = base->format,
		.size_bytes = clone->size_bytes ? clone->size_bytes : base->size_bytes,
		.cluster_bits = clone->cluster_bits,
		.standard = clone->standard,
		.like = base->fd,
	};
	struct family_overlay overlay;
	int res = family_overlay_make(&spec, &overlay, cloning->why);

	if (res != 0)
		return res;
	res = give_name(cloning, &overlay);
	family_overlay_drop(cloning->to.folder, &overlay);
	return res;
}

int family_clone(const struct family_clone *clone, char *why, size_t why_bytes)
{
	const struct family_why say = {why, why_bytes};
	struct cloning cloning = {
		.clone = clone,
		.from.folder = -1,
		.to.folder = -1,
		.base.fd = -1,
		.why = &say,
	};
	struct family_temporaries found = {.count = 0};
	int res = family_place_open(clone->base, &cloning.from, why, why_bytes);

	if (res == 0)
		res = family_place_open(clone->name, &cloning.to, why, why_bytes);
	if (res == 0)
		res = family_lock(cloning.to.folder, why, why_bytes);
	if (res == 0)
		res = check_names(&cloning);
	if (res == 0)
		res = open_base(&cloning);
	if (res == 0) {
		family_find_temporaries(cloning.to.folder, &found);
		res = make_clone(&cloning);
		family_remove_temporaries(cloning.to.folder, &found, NULL);
	}
	files_close(&cloning.base.fd);
	family_place_close(&cloning.to);
	family_place_close(&cloning.from);
	return res;
}

/* -- Remove -- */

static int check_file(const struct family_place *place, int fd, const struct family_why *why)
{
	const struct family_image *image;
	struct family *family;
	int res = image_lock_qemu(fd, true);

	if (res != 0)
		return family_refuse(
			why, -EBUSY,
			"%s is locked: a server, a virtual machine or qemu-img has it open",
			place->name);
	res = family_read(place->folder, NULL, &family, why->text, why->bytes);
	if (res != 0)
		return res;
	image = family_find(family, place->name);
	if (image)
		res = family_may_remove(family, image, why->text, why->bytes);
	else
		res = family_refuse(why, -EINVAL, "%s is no regular file", place->name);
	family_free(family);
	return res;
}

int family_unlink(int folder, const char *name, int fd)
{
	char temporary[FAMILY_TEMPORARY_BYTES];
	int res = family_temporary_name(temporary);

	if (res != 0)
		return res;
	/* Held, so that nobody else removes it with the folder locked. */
	(void)flock(fd, LOCK_EX | LOCK_NB);
	if (renameat(folder, name, folder, temporary) != 0 || fsync(folder) != 0)
		return -errno;
	/* The rest takes long, for large files. */
	family_unlock(folder);
	return unlinkat(folder, temporary, 0) == 0 ? 0 : -errno;
}

static int remove_file(const struct family_place *place, const struct family_why *why)
{
	int fd CLEANUP(files_close) = files_open_at(place->folder, place->name, O_RDONLY);
	int res;

	if (fd < 0)
		return family_refuse(why, fd, "%s cannot be opened: %s", place->name,
				     files_error(fd));
	res = check_file(place, fd, why);
	if (res != 0)
		return res;
	res = family_unlink(place->folder, place->name, fd);
	return res == 0 ? 0
			: family_refuse(why, res, "%s cannot be removed: %s", place->name,
					files_error(res));
}

int family_remove(const char *path, char *why, size_t why_bytes)
{
	const struct family_why say = {why, why_bytes};
	struct family_temporaries found = {.count = 0};
	struct family_place place;
	int res = family_place_open(path, &place, why, why_bytes);

	if (res != 0)
		return res;
	if (place.name[0] == '\0')
		res = family_refuse(&say, -EINVAL, "%s is a folder", path);
	if (res == 0)
		res = family_lock(place.folder, why, why_bytes);
	if (res == 0) {
		family_find_temporaries(place.folder, &found);
		res = remove_file(&place, &say);
		family_remove_temporaries(place.folder, &found, NULL);
	}
	family_place_close(&place);
	return res;
}
