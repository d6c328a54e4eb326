/*
 * Files that the tool reads: by descriptor, synchronously.
 */
#ifndef TESTS_QCOW2_DISK_H
#define TESTS_QCOW2_DISK_H

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lun/qcow2/qcow2.h"

/* Words of an order. */
#define WORDS_MAX 8u
#define WHY_BYTES 200u

struct disk_file {
	struct qcow2_file file; /* First. */
	int fd;
};

static inline int disk_read(const struct qcow2_file *file, void *buffer, size_t length,
			    uint64_t offset)
{
	const struct disk_file *disk = (const void *)file;
	char *at = buffer;

	while (length > 0) {
		ssize_t n = pread(disk->fd, at, length, (off_t)offset);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		at += n;
		offset += (uint64_t)n;
		length -= (size_t)n;
	}
	memset(at, 0, length);
	return 0;
}

static inline int disk_open(const char *name, int flags, struct disk_file *out)
{
	struct stat st;

	out->fd = open(name, flags | O_CLOEXEC);
	if (out->fd < 0 || fstat(out->fd, &st) != 0)
		return -errno;
	out->file.read = disk_read;
	out->file.size_bytes = (uint64_t)st.st_size;
	return 0;
}

#endif
