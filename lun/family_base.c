/*
 * Bases: a file that others are based on says so in its attribute user.ringsan.base, so that
 * whoever is to write to it looks for them first. The attribute alone decides nothing: the headers
 * in the folder do. It is there so that a thousand images can be opened without reading their
 * folder a thousand times.
 *
 * Any thread but a loop's. Read next: family_change.h.
 */
#include "lun/family_internal.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lun/files.h"

#define ATTRIBUTE "user.ringsan.base"

bool family_may_be_base(int fd)
{
	return fgetxattr(fd, ATTRIBUTE, NULL, 0) >= 0 || errno != ENODATA;
}

bool family_is_marked_base(int fd)
{
	return fgetxattr(fd, ATTRIBUTE, NULL, 0) >= 0;
}

int family_mark_base(int fd)
{
	if (family_is_marked_base(fd))
		return 0;
	if (errno != ENODATA)
		return -ENOTSUP;
	/* What is immutable nobody writes anyway. */
	if (fsetxattr(fd, ATTRIBUTE, "1", 1, 0) != 0)
		return errno == EPERM ? 0 : -errno;
	return fsync(fd) == 0 ? 0 : -errno;
}

static const struct family_image *find_file(const struct family *family, const struct stat *st)
{
	for (size_t i = 0; i < family->count; i++)
		if (family->images[i].device == st->st_dev && family->images[i].inode == st->st_ino)
			return &family->images[i];
	return NULL;
}

static int look_around(int folder, int fd, const struct stat *st, struct family_temporaries *found,
		       const struct family_why *why)
{
	const struct family_image *image;
	struct family *family;
	int res;

	/* A second name that a cut left is not one in another folder. */
	family_find_temporaries(folder, found);
	res = family_read(folder, NULL, &family, why->text, why->bytes);
	if (res != 0)
		return res;
	image = find_file(family, st);
	family_recover_links(folder, family);
	if (image)
		res = family_may_change(family, image, why->text, why->bytes);
	if (image && res == 0)
		res = family_merge_refuse(fd, image->name, why->text, why->bytes);
	if (image && res == 0) {
		(void)fremovexattr(fd, ATTRIBUTE);
		family_merge_settle(folder, image->name);
	}
	family_free(family);
	return res;
}

int family_admit_writer(int fd, char *why, size_t why_bytes)
{
	const struct family_why say = {why, why_bytes};
	struct family_temporaries found = {.count = 0};
	int folder = -1;
	struct stat st;
	int res;

	if (fstat(fd, &st) != 0)
		return family_refuse(&say, -errno, "it cannot be looked at: %s",
				     files_error(-errno));
	if (!S_ISREG(st.st_mode) ||
	    (st.st_nlink == 1 && !family_may_be_base(fd) && !family_merge_may_be(fd)))
		return 0;
	folder = files_open_folder_of(fd);
	if (folder < 0)
		return family_refuse(&say, folder, "its folder cannot be opened: %s",
				     files_error(folder));
	res = family_lock(folder, why, why_bytes);
	/* Where there are no such locks there are no operations either. */
	if (res != -EBUSY)
		res = look_around(folder, fd, &st, &found, &say);
	/* What takes long to be removed is left to others: a LUN waits. */
	while (found.count > 0)
		files_close(&found.files[--found.count].fd);
	files_close(&folder);
	return res;
}
