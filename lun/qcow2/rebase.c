/*
 * The header's way from one backing file to another. Extensions lie between the fields and the
 * name, and the format's is one of them: where it comes, goes or changes its length, all behind it
 * moves. What of that lies in the first sector is switched with it. Of what does not only the names
 * of features are as long as that, and they are optional: so they are left out of the header that
 * switches, and come back with another write.
 *
 * Read next: encode.c.
 */
#include "lun/qcow2/rebase.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "base/reach.h"
#include "lun/qcow2/header_bytes.h"

/* Smaller ones have no room for two names. They are not written by us anyway. */
#define CLUSTER_BITS_MIN 12u

/* One change of a header. */
struct change {
	struct qcow2_rebase *to;
	struct qcow2_writable *writable;
	struct qcow2_header header; /* As it was. */
	uint32_t cluster_bytes;
	uint8_t *before, *after;                    /* The first cluster. */
	uint8_t without_names[HEADER_SECTOR_BYTES]; /* Of features: what switches. */
	uint32_t after_end;                         /* Of the extensions. */
	uint32_t name_at, name_bytes;
	char *why;
	size_t why_bytes;
};

static int refuse(const struct change *change, int res, const char *text)
{
	(void)snprintf(change->why, change->why_bytes, "%s", text);
	return res;
}

/* -- What it shall be -- */

static const char *wrong_with(const struct qcow2_rebase *to)
{
	const char *format = to->backing_format != NULL ? to->backing_format : "";

	if (to->backing_name == NULL)
		return format[0] != '\0' ? "a format without a backing file" : NULL;
	if (strcmp(format, "raw") != 0 && strcmp(format, "qcow2") != 0)
		return "the format of a backing file is raw or qcow2, and has to be told";
	return qcow2_backing_name_wrong(to->backing_name);
}

static int check(const struct change *change)
{
	const char *wrong = wrong_with(change->to);

	if (wrong != NULL)
		return refuse(change, -EINVAL, wrong);
	if ((change->header.incompatible & QCOW2_INCOMPATIBLE_CORRUPT) != 0)
		return refuse(change, -ENOTSUP,
			      "it is marked as corrupt; see `ringsan image check --repair`");
	if (change->header.cluster_bits < CLUSTER_BITS_MIN)
		return refuse(change, -ENOTSUP,
			      "its clusters have less than 4 KiB; `qemu-img rebase -u` changes it");
	return 0;
}

/* The extensions as they shall be. */
static size_t write_extensions(const struct change *change, void *into, size_t room, bool names)
{
	struct byte_writer out = byte_writer_make(into, room);
	uint32_t at = change->header.header_bytes;

	byte_writer_zero(&out, at);
	if (change->to->backing_name != NULL)
		header_write_extension(&out, (uint32_t)EXTENSION_BACKING_FORMAT,
				       change->to->backing_format,
				       strlen(change->to->backing_format));
	while (at + 8 <= change->header.extensions_end) {
		uint32_t type = get_be32(change->before + at);
		uint32_t bytes = get_be32(change->before + at + 4);

		if (type == EXTENSION_END)
			break;
		if (type != (uint32_t)EXTENSION_BACKING_FORMAT &&
		    (names || type != EXTENSION_FEATURE_NAMES))
			header_write_extension(&out, type, change->before + at + 8, bytes);
		at += 8 + (bytes + 7) / 8 * 8;
	}
	header_write_extension(&out, EXTENSION_END, NULL, 0);
	return out.wanted;
}

/* A place for the name: behind the extensions, those there are and those that come, and not where
 * the old name stands. */
static void find_place(struct change *change)
{
	uint32_t old = (uint32_t)get_be64(change->before + AT_BACKING_OFFSET);
	uint32_t old_end = old + get_be32(change->before + AT_BACKING_BYTES);
	uint32_t at = HEADER_SECTOR_BYTES;

	if (at < change->header.extensions_end)
		at = change->header.extensions_end;
	if (at < change->after_end)
		at = change->after_end;
	if (old != 0 && at < old_end && old < at + change->name_bytes && !PLANTED(rebase_over_name))
		at = old_end;
	change->name_at = change->name_bytes > 0 ? (at + 7) / 8 * 8 : 0;
}

/* Fields that say where the name is; and features that were not known here have been forgotten. */
static void set_fields(const struct change *change, uint8_t *sector)
{
	put_be64(sector + AT_BACKING_OFFSET, change->name_at);
	put_be32(sector + AT_BACKING_BYTES, change->name_bytes);
	if (change->header.version >= 3)
		put_be64(sector + AT_AUTOCLEAR, change->header.autoclear & QCOW2_AUTOCLEAR_BITMAPS);
}

static int compose(struct change *change)
{
	uint32_t head = change->header.header_bytes;
	struct qcow2_header parsed;
	size_t end;

	memcpy(change->after, change->before, change->cluster_bytes);
	if (head < HEADER_SECTOR_BYTES) {
		memset(change->after + head, 0, HEADER_SECTOR_BYTES - head);
		end = write_extensions(change, change->without_names, HEADER_SECTOR_BYTES, false);
	} else {
		end = SIZE_MAX;
	}
	if (end > HEADER_SECTOR_BYTES)
		return refuse(change, -ENOTSUP,
			      "it has other header extensions than we know, too large to be moved; "
			      "`qemu-img rebase -u` changes it");
	memset(change->without_names + end, 0, HEADER_SECTOR_BYTES - end);
	memcpy(change->without_names, change->before, head);
	end = write_extensions(change, change->after, change->cluster_bytes, true);
	memcpy(change->after, change->before, head);
	change->after_end = end < change->cluster_bytes ? (uint32_t)end : change->cluster_bytes;
	change->name_bytes =
		change->to->backing_name != NULL ? (uint32_t)strlen(change->to->backing_name) : 0;
	find_place(change);
	if (end > change->cluster_bytes ||
	    change->name_bytes > change->cluster_bytes - change->name_at)
		return refuse(change, -ENOTSUP, "its first cluster has no room for the name");
	if (change->name_bytes > 0)
		memcpy(change->after + change->name_at, change->to->backing_name,
		       change->name_bytes);
	set_fields(change, change->without_names);
	set_fields(change, change->after);
	return qcow2_header_parse(change->after, change->cluster_bytes,
				  change->writable->file.size_bytes, &parsed, change->why,
				  change->why_bytes);
}

/* -- Writing it -- */

static int write_durably(const struct change *change, const uint8_t *bytes, uint32_t from,
			 uint32_t to)
{
	int res;

	if (from >= to)
		return 0;
	res = change->writable->write(change->writable, bytes + from, to - from, from);
	if (PLANTED(rebase_name_late) && from > 0)
		return res;
	if (PLANTED(rebase_is_not_durable) && from == 0)
		return res;
	return res == 0 ? change->writable->sync(change->writable) : res;
}

static int switch_over(const struct change *change)
{
	uint32_t sector = HEADER_SECTOR_BYTES;
	bool moved = change->after_end > sector &&
		     memcmp(change->before + sector, change->after + sector,
			    change->after_end - sector) != 0;
	int res = write_durably(change, change->after, change->name_at,
				change->name_at + change->name_bytes);

	change->to->unsure = res == 0;
	if (res == 0 && moved)
		res = write_durably(change, change->without_names, 0, sector);
	if (res == 0 && moved)
		res = write_durably(change, change->after, sector, change->after_end);
	if (res == 0)
		res = write_durably(change, change->after, 0, sector);
	if (res != 0)
		return refuse(change, res, "its header cannot be written");
	change->to->unsure = false;
	return 0;
}

static int read_first_cluster(struct change *change)
{
	struct qcow2_file *file = &change->writable->file;
	uint8_t peek[QCOW2_PEEK_BYTES];
	uint32_t bits;
	int res = file->read(file, peek, sizeof(peek), 0);

	if (res != 0)
		return refuse(change, res, "its header cannot be read");
	if (qcow2_header_peek(peek, &bits) != 0)
		return refuse(change, -EINVAL, "it is no qcow2 image");
	change->cluster_bytes = UINT32_C(1) << bits;
	change->before = calloc(2, change->cluster_bytes);
	if (change->before == NULL)
		return refuse(change, -ENOMEM, "no memory for its header");
	change->after = change->before + change->cluster_bytes;
	res = file->read(file, change->before, change->cluster_bytes, 0);
	if (res != 0)
		return refuse(change, res, "its header cannot be read");
	return qcow2_header_parse(change->before, change->cluster_bytes, file->size_bytes,
				  &change->header, change->why, change->why_bytes);
}

int qcow2_rebase(struct qcow2_rebase *rebase, char *why, size_t why_bytes)
{
	struct change change = {
		.to = rebase,
		.writable = rebase->writable,
		.why = why,
		.why_bytes = why_bytes,
	};
	int res = read_first_cluster(&change);

	rebase->unsure = false;
	if (res == 0)
		res = check(&change);
	if (res == 0)
		res = compose(&change);
	if (res == 0)
		res = switch_over(&change);
	free(change.before);
	return res;
}
