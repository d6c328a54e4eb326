/*
 * Images that are made larger while they are closed; see growth.h.
 *
 * Read next: lun/qcow2/grow.c.
 */
#include "lun/growth.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "lun/files.h"
#include "lun/image_lock.h"
#include "lun/lun_internal.h"
#include "lun/qcow2/grow.h"
#include "lun/qcow2/plain.h"

static int refuse(char *why, int res, const char *text)
{
	return lun_refuse(why, res, "%s: %s", text, files_error(res));
}

/* -- What lies below -- */

/* Of the disk that it shows: without tables, which are not looked at. */
static int measure_backing(int fd, const char *format, uint64_t *out)
{
	uint8_t start[QCOW2_PEEK_BYTES + 8];
	uint32_t cluster_bits;
	struct stat st;

	if (fstat(fd, &st) != 0)
		return -errno;
	*out = (uint64_t)st.st_size;
	if (strcmp(format, "qcow2") != 0)
		return 0;
	if (pread(fd, start, sizeof(start), 0) != (ssize_t)sizeof(start) ||
	    qcow2_header_peek(start, &cluster_bits) != 0)
		return -EINVAL;
	*out = get_be64(start + QCOW2_PEEK_BYTES);
	return 0;
}

static int find_backing_size(int above, const struct qcow2_header *header, uint64_t *out)
{
	int fd CLEANUP(files_close) = -1;

	*out = 0;
	if (header->backing_name[0] == '\0')
		return 0;
	fd = files_open_beside(above, header->backing_name);
	return fd < 0 ? fd : measure_backing(fd, header->backing_format, out);
}

/* -- A closed image -- */

static int grow_file(int fd, uint64_t size_bytes, bool *unsure, char *why)
{
	struct qcow2_descriptor file;
	struct qcow2_grow grow = {.writable = &file.writable, .size_bytes = size_bytes};
	struct qcow2_header header;
	int res = qcow2_descriptor_make(fd, &file);

	if (res != 0)
		return refuse(why, res, "its image cannot be looked at");
	res = qcow2_header_read(&file.writable.file, &header, why, LUN_WHY_MAX);
	if (res != 0 || header.size_bytes > size_bytes)
		return res;
	res = find_backing_size(fd, &header, &grow.backing_bytes);
	if (res != 0)
		return refuse(why, res, "its backing file cannot be looked at");
	res = qcow2_grow(&grow, why, LUN_WHY_MAX);
	*unsure = grow.unsure;
	return res;
}

int image_grow(const char *path, uint64_t size_bytes, bool *unsure, char *why)
{
	int fd CLEANUP(files_close) = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	int res;

	*unsure = false;
	if (fd < 0 || fstat(fd, &st) != 0)
		return refuse(why, -errno, "its image cannot be opened");
	if (!S_ISREG(st.st_mode))
		return refuse(why, -EINVAL, "its image is no file");
	res = image_lock_qemu(fd, true);
	if (res != 0)
		return refuse(why, res, "its image cannot be locked");
	return grow_file(fd, size_bytes, unsure, why);
}

/* -- A LUN -- */

static struct lun_growth *growth_of(struct lun_switch *change)
{
	return CONTAINER_OF(change, struct lun_growth, change);
}

static int grow_closed(struct lun_switch *change, char why[LUN_WHY_MAX])
{
	struct lun_growth *growth = growth_of(change);
	int res = image_grow(growth->lun->spec.path, growth->size_bytes, &change->unsure, why);

	/* From here on its size is told, and not the image's: it stays until lun_grow. */
	if (res == 0)
		growth->lun->spec.size_bytes = growth->size_bytes;
	return res;
}

static void on_changed(struct lun_switch *change, int res)
{
	struct lun_growth *growth = growth_of(change);

	loop_role_assume();
	growth->done(growth, res);
}

bool lun_grows_closed(const struct lun *lun)
{
	return lun->ops->fixed_size;
}

void lun_growth_start(struct lun_growth *growth)
{
	growth->change = (struct lun_switch){.luns = &growth->lun,
					     .count = 1,
					     .control = growth->control,
					     .deadline_ms = growth->deadline_ms,
					     .change = grow_closed,
					     .done = on_changed};
	lun_switch_start(&growth->change);
}
