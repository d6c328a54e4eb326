/*
 * Small helpers for files that must be durable and for what sysfs says of block devices. Control
 * thread.
 */
#include "lun/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

const char *files_error(int res)
{
	const char *words = strerrordesc_np(-res);

	return words ? words : "unknown error";
}

void files_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

int files_parent(const char *path, char *out, size_t room)
{
	const char *slash = strrchr(path, '/');
	size_t length = slash ? (size_t)(slash - path) : 0;

	if (!slash)
		path = ".";
	if (!length)
		length = 1;
	if (length >= room)
		return -ENAMETOOLONG;
	memcpy(out, path, length);
	out[length] = '\0';
	return 0;
}

int files_open_again(int fd, int access)
{
	char path[64];
	int res;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	res = open(path, access | O_CLOEXEC);
	return res < 0 ? -errno : res;
}

int files_sync_parent(const char *path)
{
	char folder[FILES_PATH_MAX];
	int fd CLEANUP(files_close) = -1;
	int res = files_parent(path, folder, sizeof(folder));

	if (res)
		return res;
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) ? -errno : 0;
}

int files_open_at(int folder, const char *name, int flags)
{
	struct open_how how = {
		.flags = (unsigned)(flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, folder, name, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

int files_open_folder_of(int fd)
{
	char self[64];
	char path[FILES_PATH_MAX];
	char *slash;
	ssize_t length;
	int folder;

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	length = readlink(self, path, sizeof(path) - 1);
	if (length < 0)
		return -errno;
	if ((size_t)length == sizeof(path) - 1)
		return -ENAMETOOLONG;
	path[length] = '\0';
	slash = strrchr(path, '/');
	if (!slash)
		return -ENOENT;
	slash[slash == path] = '\0';
	folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return folder < 0 ? -errno : folder;
}

int files_open_beside(int fd, const char *name)
{
	int CLEANUP(files_close) folder = files_open_folder_of(fd);

	return folder < 0 ? folder : files_open_at(folder, name, O_RDONLY);
}

int files_read_at(int fd, void *buffer, size_t length, uint64_t offset)
{
	size_t done = 0;

	(void)memset(buffer, 0, length);
	while (done < length) {
		ssize_t res =
			pread(fd, (char *)buffer + done, length - done, (off_t)(offset + done));

		if (res < 0 && errno != EINTR)
			return -errno;
		if (res == 0)
			return 0;
		done += res > 0 ? (size_t)res : 0;
	}
	return 0;
}

int files_read_text(const char *path, char *out, size_t room)
{
	int fd CLEANUP(files_close) = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t res = 1;

	if (fd < 0)
		return -errno;
	while (res > 0 && used < room) {
		res = read(fd, out + used, room - used);
		used += res > 0 ? (size_t)res : 0;
	}
	if (res < 0)
		return -errno;
	if (used >= room)
		return -EFBIG;
	out[used] = '\0';
	return 0;
}

static int write_all(int fd, const char *text, size_t length)
{
	while (length) {
		ssize_t res = write(fd, text, length);

		if (res < 0)
			return -errno;
		text += res;
		length -= (size_t)res;
	}
	return fsync(fd) ? -errno : 0;
}

int files_write_text(const char *path, const char *text)
{
	char temporary[FILES_PATH_MAX];
	int fd CLEANUP(files_close) = -1;
	int res = snprintf(temporary, sizeof(temporary), "%s.new", path);

	if (res < 0 || (size_t)res >= sizeof(temporary))
		return -ENAMETOOLONG;
	fd = open(temporary, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	res = write_all(fd, text, strlen(text));
	if (res || rename(temporary, path)) {
		res = res ? res : -errno;
		unlink(temporary);
		return res;
	}
	return files_sync_parent(path);
}

/* A file of a block device's sysfs folder, or of the disk's where the device is a partition. */
static int read_device_file(uint64_t device, const char *name, char *out, size_t room)
{
	static const char *const folders[] = {"", "../"};
	char path[128];
	int res = -ENOENT;

	for (unsigned i = 0; i < ARRAY_SIZE(folders) && res; i++) {
		(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s%s", major(device),
			       minor(device), folders[i], name);
		res = files_read_text(path, out, room);
	}
	return res;
}

uint64_t files_device_number(uint64_t device, const char *name)
{
	char text[32];

	return read_device_file(device, name, text, sizeof(text)) ? 0 : strtoull(text, NULL, 10);
}

bool files_device_id(uint64_t device, char *out, size_t room)
{
	static const char *const names[] = {"dm/uuid", "wwid", "device/wwid", "serial",
					    "device/serial"};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		char id[256];

		if (read_device_file(device, names[i], id, sizeof(id)))
			continue;
		id[strcspn(id, "\n")] = '\0';
		if (!id[0])
			continue;
		(void)snprintf(out, room, "%s partition %llu", id,
			       (unsigned long long)files_device_number(device, "partition"));
		return true;
	}
	return false;
}

/* -- Direct I/O -- */

/* The alignment of offsets that the kernel names, or 0: it does not say, or there is no direct I/O
 * (*known tells which). */
static uint32_t direct_align_named(int fd, bool *known)
{
	*known = false;
#ifdef STATX_DIOALIGN
	struct statx stx;

	if (!statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) &&
	    (stx.stx_mask & STATX_DIOALIGN)) {
		*known = true;
		return stx.stx_dio_offset_align;
	}
#else
	(void)fd;
#endif
	return 0;
}

/* Older kernels: try. O_DIRECT is set. */
static uint32_t direct_align_probed(int fd)
{
	static const uint32_t sizes[] = {512, 4096};
	void *page = aligned_alloc(4096, 4096);
	uint32_t align = 0;

	for (unsigned i = 0; page && i < ARRAY_SIZE(sizes) && !align; i++) {
		if (pread(fd, page, sizes[i], 0) >= 0)
			align = sizes[i];
	}
	free(page);
	return align;
}

int files_set_flags(int fd, int set, int clear)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, (flags | set) & ~clear) ? -errno : 0;
}

uint32_t files_set_direct(int fd)
{
	bool known;
	uint32_t align = direct_align_named(fd, &known);

	if ((known && !align) || files_set_flags(fd, O_DIRECT, 0))
		return 0;
	return known ? align : direct_align_probed(fd);
}
