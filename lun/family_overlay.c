/*
 * New overlays, durable under a temporary name, and the files they are put over.
 *
 * Any thread but a loop's. Read next: family_change.c, family_clone.c.
 */
#include "lun/family_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lun/files.h"
#include "lun/lun_internal.h"
#include "lun/qcow2/plain.h"
#include "lun/qcow2/writable.h"
#include "lun/qcow2_chain.h"

#define SECTOR_BYTES 512u

/* -- What is below -- */

static int read_header(int fd, struct qcow2_header *header, const char *name,
		       const struct family_why *why)
{
	struct qcow2_descriptor file;
	char text[128] = "";
	int res = qcow2_descriptor_make(fd, &file);

	if (res == 0)
		res = qcow2_header_read(&file.writable.file, header, text, sizeof(text));
	if (res != 0)
		return family_refuse(why, res, "%s: %s", name, text);
	if ((header->incompatible & QCOW2_INCOMPATIBLE_CORRUPT) != 0)
		return family_refuse(why, -EINVAL,
				     "%s is marked as corrupt; see ringsan image "
				     "check --repair",
				     name);
	return 0;
}

static int open_file(int folder, const char *name, struct stat *st, const struct family_why *why)
{
	int fd = files_open_at(folder, name, O_RDONLY);
	int res = fd;

	if (fd >= 0 && fstat(fd, st) != 0)
		res = -errno;
	if (res < 0) {
		files_close(&fd);
		return family_refuse(why, res, "%s cannot be opened: %s", name, files_error(res));
	}
	if (S_ISREG(st->st_mode))
		return fd;
	files_close(&fd);
	return family_refuse(why, -EINVAL, "%s is no regular file", name);
}

/* The next file below, by the header of the one above. */
static int step_down(int folder, int *fd, struct qcow2_header *header, const char **format,
		     const struct family_why *why)
{
	struct stat st;
	const char *name = header->backing_name;
	const char *wrong = qcow2_backing_name_wrong(name);

	if (wrong != NULL || name[0] == '.')
		return family_refuse(why, -EINVAL,
				     "a backing file of it is not named by a plain name; see "
				     "ringsan image rebase");
	if (strcmp(header->backing_format, "raw") != 0 &&
	    strcmp(header->backing_format, "qcow2") != 0)
		return family_refuse(why, -EINVAL,
				     "it, or a backing file of it, does not say which format its "
				     "backing file has; see ringsan image rebase");
	files_close(fd);
	*fd = open_file(folder, name, &st, why);
	*format = strcmp(header->backing_format, "raw") == 0 ? "raw" : "qcow2";
	if (*fd < 0)
		return *fd;
	if (strcmp(*format, "raw") == 0)
		return 0;
	return read_header(*fd, header, "a backing file of it", why);
}

/* A chain over it would have one file more, and can be opened. */
static int check_chain(int folder, const struct qcow2_header *first, const struct family_why *why)
{
	struct qcow2_header *header = malloc(sizeof(*header));
	const char *format = "qcow2";
	unsigned files = 2;
	int fd CLEANUP(files_close) = -1;
	int res = header ? 0 : -ENOMEM;

	if (res == 0)
		*header = *first;
	while (res == 0 && strcmp(format, "qcow2") == 0 && header->backing_name[0] != '\0' &&
	       files <= QCOW2_CHAIN_FILES) {
		res = step_down(folder, &fd, header, &format, why);
		files++;
	}
	free(header);
	if (res == 0 && files > QCOW2_CHAIN_FILES)
		return family_refuse(why, -ELOOP,
				     "its chain of backing files has %u already; remove a "
				     "snapshot, or see ringsan image stream",
				     QCOW2_CHAIN_FILES);
	return res;
}

static int look_at_base(int folder, const struct stat *st, struct family_base *base,
			const struct family_why *why)
{
	struct qcow2_header *header;
	int res;

	if (strcmp(base->format, "raw") == 0) {
		base->size_bytes =
			((uint64_t)st->st_size + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
		return 0;
	}
	header = malloc(sizeof(*header));
	if (!header)
		return family_refuse(why, -ENOMEM, "no memory");
	res = read_header(base->fd, header, base->name, why);
	base->size_bytes = header->size_bytes;
	if (res == 0)
		res = check_chain(folder, header, why);
	free(header);
	return res;
}

int family_base_open(int folder, const char *name, const char *format, struct family_base *out,
		     const struct family_why *why)
{
	struct stat st;
	int res;

	*out = (struct family_base){.fd = -1};
	if (strcmp(format, "raw") != 0 && strcmp(format, "qcow2") != 0)
		return family_refuse(why, -ENOTSUP, "formats are raw and qcow2, not %s", format);
	if (qcow2_backing_name_wrong(name) != NULL || name[0] == '.')
		return family_refuse(why, -EINVAL,
				     "the name of a base has no colon and begins with no dot");
	(void)snprintf(out->name, sizeof(out->name), "%s", name);
	(void)snprintf(out->format, sizeof(out->format), "%s", format);
	out->fd = open_file(folder, name, &st, why);
	if (out->fd < 0)
		return out->fd;
	res = family_merge_refuse(out->fd, name, why->text, why->bytes);
	if (res == 0)
		res = look_at_base(folder, &st, out, why);
	if (res != 0)
		files_close(&out->fd);
	return res;
}

/* -- What is above -- */

static int create(const struct family_overlay_spec *spec, struct family_overlay *out)
{
	int res = family_temporary_name(out->name);

	if (res != 0)
		return res;
	out->fd = openat(spec->folder, out->name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (out->fd < 0)
		return -errno;
	return flock(out->fd, LOCK_EX | LOCK_NB) == 0 ? 0 : -errno;
}

static int write_image(const struct family_overlay_spec *spec, int fd, const struct family_why *why)
{
	uint32_t bits =
		spec->standard ? QCOW2_CREATE_CLUSTER_BITS_STANDARD : QCOW2_CREATE_CLUSTER_BITS;
	const struct qcow2_create how = {
		.size_bytes = spec->size_bytes,
		.cluster_bits = spec->cluster_bits ? spec->cluster_bits : bits,
		.extended = !spec->standard,
		.backing_name = spec->backing_name,
		.backing_format = spec->backing_format,
	};
	struct qcow2_layout *layout = malloc(sizeof(*layout));
	struct qcow2_descriptor file;
	int res = layout ? qcow2_layout_make(&how, layout, why->text, why->bytes) : -ENOMEM;

	if (res == 0) {
		res = qcow2_descriptor_make(fd, &file);
		if (res == 0)
			res = qcow2_layout_write(layout, &file.writable);
		if (res != 0)
			res = family_refuse(why, res, "the overlay cannot be written: %s",
					    files_error(res));
	}
	free(layout);
	return res;
}

/* Who takes over is opened by the same server as before. A clone is whoever's who makes it, where
 * it cannot be its base's owner's, and is written even where its base may not be. */
static int settle_owner(const struct family_overlay_spec *spec, int fd,
			const struct family_why *why)
{
	struct stat st;

	if (fstat(spec->like, &st) != 0)
		return family_refuse(why, -errno, "%s", files_error(-errno));
	if (fchown(fd, st.st_uid, st.st_gid) != 0 && spec->takes_over)
		return family_refuse(why, -errno,
				     "its owner cannot be kept (%s); let its owner, or root, do it",
				     files_error(-errno));
	st.st_mode = spec->takes_over ? st.st_mode & 0777 : (st.st_mode & 0666) | 0600;
	if (fchmod(fd, st.st_mode) != 0)
		return family_refuse(why, -errno, "its mode cannot be kept: %s",
				     files_error(-errno));
	return 0;
}

static int settle(const struct family_overlay_spec *spec, int fd, const struct family_why *why)
{
	int res = settle_owner(spec, fd, why);

	if (res == 0 && spec->takes_over) {
		res = identity_hand_over(spec->like, fd);
		if (res != 0)
			return family_refuse(why, res, "its identity cannot be kept: %s",
					     files_error(res));
	}
	if (res == 0 && fsync(fd) != 0)
		return family_refuse(why, -errno, "the overlay cannot be made durable: %s",
				     files_error(-errno));
	return res;
}

int family_overlay_make(const struct family_overlay_spec *spec, struct family_overlay *out,
			const struct family_why *why)
{
	int res;

	*out = (struct family_overlay){.fd = -1};
	res = create(spec, out);
	if (res != 0)
		res = family_refuse(why, res, "no file can be made in its folder: %s",
				    files_error(res));
	if (res == 0)
		res = write_image(spec, out->fd, why);
	if (res == 0)
		res = settle(spec, out->fd, why);
	if (res != 0)
		family_overlay_drop(spec->folder, out);
	return res;
}

void family_overlay_drop(int folder, struct family_overlay *overlay)
{
	if (overlay->fd >= 0 && overlay->name[0] != '\0')
		(void)unlinkat(folder, overlay->name, 0);
	overlay->name[0] = '\0';
	files_close(&overlay->fd);
}

bool family_overlay_is_empty(const struct family_overlay *overlay)
{
	struct qcow2_header *header = malloc(sizeof(*header));
	char text[128];
	const struct family_why quiet = {text, sizeof(text)};
	bool empty = header && read_header(overlay->fd, header, "", &quiet) == 0;

	for (uint32_t i = 0; empty && i < header->l1_entries; i++) {
		uint64_t entry = 0;

		empty = files_read_at(overlay->fd, &entry, sizeof(entry),
				      header->l1_offset + i * sizeof(entry)) == 0 &&
			entry == 0;
	}
	free(header);
	return empty;
}
