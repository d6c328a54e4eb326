/*
 * Snapshots into which what is above them is being written (job.h): from the first write on they
 * show neither what they did nor what they will. The attribute user.ringsan.merge, durable before
 * that, is the only name under which the file is whole again: the one that it gets by an exchange
 * at the end. What had that name until then has the same attribute, and another name afterwards.
 *
 * Any thread but a loop's. Read next: family_change.h, job_push.c.
 */
#include "lun/family_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lun/files.h"
#include "lun/lun_internal.h"

#define ATTRIBUTE "user.ringsan.merge"

bool family_merge_may_be(int fd)
{
	return fgetxattr(fd, ATTRIBUTE, NULL, 0) >= 0;
}

static bool says(int fd, const char *name)
{
	char value[FAMILY_NAME_BYTES];
	ssize_t length = fgetxattr(fd, ATTRIBUTE, value, sizeof(value));

	return length >= 0 && (size_t)length == strlen(name) &&
	       memcmp(value, name, (size_t)length) == 0;
}

bool family_merge_is_marked(int folder, const char *name)
{
	int fd CLEANUP(files_close) = files_open_at(folder, name, O_RDONLY);

	return fd >= 0 && family_merge_may_be(fd) && !says(fd, name);
}

bool family_merge_is_spoiled(const char *path)
{
	struct family_place place;
	char why[LUN_WHY_MAX];
	bool is_marked = false;

	if (family_place_open(path, &place, why, sizeof(why)) == 0) {
		is_marked = family_merge_is_marked(place.folder, place.name);
		family_place_close(&place);
	}
	return is_marked;
}

/* As it was before: the mark of another name stays. */
static void put_back(int fd, const char *value, ssize_t length)
{
	if (length >= 0)
		(void)fsetxattr(fd, ATTRIBUTE, value, (size_t)length, 0);
	else
		(void)fremovexattr(fd, ATTRIBUTE);
}

int family_merge_mark(int fd, const char *whole_as, bool *was_there)
{
	char before[FAMILY_NAME_BYTES];
	ssize_t length = fgetxattr(fd, ATTRIBUTE, before, sizeof(before));

	*was_there = says(fd, whole_as);
	if (*was_there)
		return 0;
	if (fsetxattr(fd, ATTRIBUTE, whole_as, strlen(whole_as), 0) != 0)
		return -ENOTSUP;
	if (fsync(fd) == 0)
		return 0;
	put_back(fd, before, length);
	return -EIO;
}

void family_merge_unmark(int folder, const char *name)
{
	int fd CLEANUP(files_close) = files_open_at(folder, name, O_RDONLY);

	if (fd >= 0)
		(void)fremovexattr(fd, ATTRIBUTE);
}

void family_merge_settle(int folder, const char *name)
{
	int fd CLEANUP(files_close) = files_open_at(folder, name, O_RDONLY);

	if (fd >= 0 && says(fd, name))
		(void)fremovexattr(fd, ATTRIBUTE);
}

int family_merge_refuse(int fd, const char *name, char *why, size_t why_bytes)
{
	const struct family_why say = {why, why_bytes};

	if (!family_merge_may_be(fd) || says(fd, name))
		return 0;
	return family_refuse(&say, -EBUSY, "%s does not show any more what it did: %s", name,
			     FAMILY_MERGE_REMEDY);
}

/* Before it is cut off from a name that others know, it is durable with all that goes with it. */
int family_merge_take_over(int above, int below)
{
	struct stat st;
	int res;

	if (fstat(above, &st) != 0 || fchown(below, st.st_uid, st.st_gid) != 0 ||
	    fchmod(below, st.st_mode & 0777) != 0)
		return -errno;
	res = identity_hand_over(above, below);
	if (res != 0)
		return res;
	return fsync(below) == 0 ? 0 : -errno;
}
