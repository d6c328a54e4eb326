/*
 * Closed images by descriptor. Any thread; blocks. Read next: rebase.c.
 */
#include "lun/qcow2/writable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fd_read(const struct qcow2_file *file, void *buffer, size_t length, uint64_t offset)
{
	const struct qcow2_descriptor *of = (const void *)file; /* Its first member. */
	size_t done = 0;

	while (done < length) {
		ssize_t res =
			pread(of->fd, (char *)buffer + done, length - done, (off_t)(offset + done));

		if (res < 0 && errno != EINTR)
			return -errno;
		if (res == 0)
			break;
		done += res > 0 ? (size_t)res : 0;
	}
	(void)memset((char *)buffer + done, 0, length - done);
	return 0;
}

static int fd_write(struct qcow2_writable *writable, const void *bytes, size_t length,
		    uint64_t offset)
{
	const struct qcow2_descriptor *of = (const void *)writable;
	size_t done = 0;

	while (done < length) {
		ssize_t res = pwrite(of->fd, (const char *)bytes + done, length - done,
				     (off_t)(offset + done));

		if (res < 0 && errno != EINTR)
			return -errno;
		if (res == 0)
			return -EIO;
		done += res > 0 ? (size_t)res : 0;
	}
	return 0;
}

static int fd_sync(struct qcow2_writable *writable)
{
	const struct qcow2_descriptor *of = (const void *)writable;

	int res = fdatasync(of->fd) == 0 ? 0 : -errno;

	/* What the disk may not have is not to be read from memory. */
	if (res != 0)
		(void)posix_fadvise(of->fd, 0, 0, POSIX_FADV_DONTNEED);
	return res;
}

int qcow2_descriptor_make(int fd, struct qcow2_descriptor *out)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return -errno;
	*out = (struct qcow2_descriptor){
		.writable = {.file = {.read = fd_read, .size_bytes = (uint64_t)st.st_size},
			     .write = fd_write,
			     .sync = fd_sync},
		.fd = fd,
	};
	return 0;
}

int qcow2_layout_write(const struct qcow2_layout *layout, struct qcow2_writable *writable)
{
	uint8_t *piece = malloc(layout->piece_bytes);
	int res = piece != NULL ? 0 : -ENOMEM;

	for (uint32_t i = 0; res == 0 && i < layout->pieces; i++) {
		qcow2_layout_piece(layout, i, piece);
		res = writable->write(writable, piece, layout->piece_bytes,
				      (uint64_t)i * layout->piece_bytes);
	}
	free(piece);
	/* The rest is a hole, up to its last byte. */
	return res == 0 ? writable->write(writable, "", 1, layout->file_bytes - 1) : res;
}
