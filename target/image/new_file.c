/*
 * Files without a name; see new_file.h.
 */
#include "target/image/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* As ringsand's own images. */
#define MODE 0600

static int open_nameless(struct new_file *file, const char *folder)
{
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, MODE);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd < 0 ? -errno : fd;
	/* The file system, or an old kernel, has none. */
	if (snprintf(file->temporary, sizeof(file->temporary), "%s.new-XXXXXX", file->file.path) >=
	    (int)sizeof(file->temporary))
		return -ENAMETOOLONG;
	fd = mkostemp(file->temporary, O_CLOEXEC);
	if (fd >= 0)
		return fd;
	file->temporary[0] = '\0';
	return -errno;
}

int new_file_begin(struct image_order *order, const char *path, struct new_file *out)
{
	char folder[FILES_PATH_MAX];
	struct stat st;
	int fd;

	*out = (struct new_file){.file.fd = -1};
	if (strlen(path) >= sizeof(out->file.path) ||
	    files_parent(path, folder, sizeof(folder)) != 0)
		return image_refuse(order, -EINVAL, "go into its folder first",
				    "the path is too long");
	memcpy(out->file.path, path, strlen(path) + 1);
	if (lstat(path, &st) == 0)
		return image_refuse(order, -EEXIST, NULL, "%s exists already", path);
	fd = open_nameless(out, folder);
	if (fd < 0)
		return image_refuse_errno(order, fd, "cannot be made", path);
	return closed_take(order, fd, closed_format_names[CLOSED_QCOW2], CLOSED_LOOK, &out->file);
}

/* A link, as that replaces nothing that has come there meanwhile. */
static int give_name(const struct new_file *file)
{
	char descriptor[64];

	(void)snprintf(descriptor, sizeof(descriptor), "/proc/self/fd/%d", file->file.fd);
	if (linkat(AT_FDCWD, file->temporary[0] != '\0' ? file->temporary : descriptor, AT_FDCWD,
		   file->file.path, AT_SYMLINK_FOLLOW) != 0)
		return -errno;
	return files_sync_parent(file->file.path);
}

int new_file_commit(struct image_order *order, struct new_file *file)
{
	int res = fsync(file->file.fd) == 0 ? 0 : -errno;

	if (res == 0)
		res = give_name(file);
	if (res != 0)
		(void)image_refuse_errno(order, res, "cannot be made durable", file->file.path);
	new_file_drop(file);
	return res;
}

void new_file_drop(struct new_file *file)
{
	if (file->temporary[0] != '\0')
		(void)unlink(file->temporary);
	file->temporary[0] = '\0';
	closed_close(&file->file);
}
