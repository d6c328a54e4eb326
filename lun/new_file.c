/*
 * Files without a name; see new_file.h.
 */
#include "lun/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_named(const char *path, struct new_file *file)
{
	int res = snprintf(file->temporary, sizeof(file->temporary), "%s.new-XXXXXX", path);

	if (res < 0 || (size_t)res >= sizeof(file->temporary)) {
		file->temporary[0] = '\0';
		return -ENAMETOOLONG;
	}
	file->fd = mkostemp(file->temporary, O_CLOEXEC);
	if (file->fd >= 0)
		return 0;
	res = -errno;
	file->temporary[0] = '\0';
	return res;
}

int new_file_begin(const char *path, struct new_file *out)
{
	char folder[FILES_PATH_MAX];
	struct stat st;
	int res = files_parent(path, folder, sizeof(folder));

	*out = (struct new_file){.fd = -1};
	if (res != 0)
		return res;
	if (lstat(path, &st) == 0)
		return -EEXIST;
	out->fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (out->fd >= 0)
		return 0;
	/* The file system has none, or the kernel. */
	return errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL ? open_named(path, out)
									 : -errno;
}

/* A link, because that takes no name that somebody has; where there are none, a rename that does
 * not either. */
static int give_name(const struct new_file *file, const char *path)
{
	char self[64];
	const char *from = file->temporary;

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", file->fd);
	if (from[0] == '\0')
		from = self;
	if (linkat(AT_FDCWD, from, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	if (errno != EPERM || from == self)
		return -errno;
	return renameat2(AT_FDCWD, from, AT_FDCWD, path, RENAME_NOREPLACE) == 0 ? 0 : -errno;
}

int new_file_commit(struct new_file *file, const char *path)
{
	int res = fsync(file->fd) == 0 ? 0 : -errno;

	if (res == 0)
		res = give_name(file, path);
	if (res == 0) {
		res = files_sync_parent(path);
		if (res != 0)
			(void)unlink(path);
	}
	new_file_drop(file);
	return res;
}

void new_file_drop(struct new_file *file)
{
	if (file->temporary[0] != '\0')
		(void)unlink(file->temporary);
	file->temporary[0] = '\0';
	files_close(&file->fd);
}
