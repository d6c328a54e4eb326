/*
 * The rest of a last cluster is cleared where it lies. Clusters behind that are nobody's work but
 * of a program that went wrong: they are not cleared, which would need their refcounts too. L2
 * tables there are normal (qemu keeps what a running machine has in its memory behind the end, and
 * takes it away again).
 */
#include "lun/qcow2/tail.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "lun/qcow2/plain.h"

#define ENTRY_BYTES 8u

struct tail {
	struct qcow2_writable *writable;
	struct qcow2_plain plain;
	uint8_t *cluster; /* Room for one. */
	bool wrote;
	char *why;
	size_t why_bytes;
};

static int refuse(const struct tail *tail, int res, const char *text)
{
	(void)snprintf(tail->why, tail->why_bytes, "%s", text);
	return res;
}

static bool is_zero(const uint8_t *bytes, size_t length)
{
	return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

static int clear_piece(struct tail *tail, uint64_t guest, size_t length,
		       const struct qcow2_piece *piece)
{
	const struct qcow2_file *disk = &tail->plain.guest;
	int res;

	if (piece->state != QCOW2_ALLOCATED && piece->state != QCOW2_DEFLATED)
		return 0;
	res = disk->read(disk, tail->cluster, length, guest);
	if (res != 0 || is_zero(tail->cluster, length))
		return res;
	if (piece->state == QCOW2_DEFLATED)
		return refuse(
			tail, -ENOTSUP,
			"its last cluster is compressed, with data behind the end of the disk; "
			"`ringsan image convert` leaves them out");
	memset(tail->cluster, 0, length);
	tail->wrote = true;
	return tail->writable->write(tail->writable, tail->cluster, length, piece->host_offset);
}

static int clear_cluster(struct tail *tail, uint64_t from, uint64_t to)
{
	int res = 0;

	/* As if the disk ended there, so that it can be read. */
	tail->plain.guest.size_bytes = to;
	while (res == 0 && from < to) {
		size_t length = (size_t)(to - from);
		struct qcow2_piece piece;

		res = qcow2_plain_find(&tail->plain, from, &length, &piece);
		if (res == 0)
			res = clear_piece(tail, from, length, &piece);
		from += length;
	}
	return res;
}

static int check_entry(const struct tail *tail, const uint8_t *at)
{
	const struct qcow2_geometry *g = &tail->plain.geometry;
	uint64_t bitmap = g->extended ? get_be64(at + ENTRY_BYTES) : 0;
	struct qcow2_l2_entry entry;

	if (qcow2_l2_decode(get_be64(at), bitmap, g, &entry) != 0)
		return refuse(tail, -EINVAL, "an L2 table is not valid; see `ringsan image check`");
	if (entry.allocated != 0 || entry.compressed)
		return refuse(tail, -ENOTSUP,
			      "it has data behind the end of the disk; `ringsan image convert` "
			      "leaves them out");
	return 0;
}

/* From the entry `first` on. */
static int check_table(struct tail *tail, uint64_t l1_index, uint32_t first)
{
	const struct qcow2_geometry *g = &tail->plain.geometry;
	const struct qcow2_file *file = &tail->writable->file;
	uint8_t bytes[ENTRY_BYTES];
	uint64_t offset;
	int res = file->read(file, bytes, sizeof(bytes),
			     tail->plain.header.l1_offset + l1_index * ENTRY_BYTES);

	if (res == 0 &&
	    (qcow2_l1_decode(get_be64(bytes), g, &offset) != 0 || offset >= file->size_bytes))
		return refuse(tail, -EINVAL,
			      "its L1 table is not valid; see `ringsan image check`");
	if (res != 0 || offset == 0)
		return res;
	res = file->read(file, tail->cluster, g->cluster_bytes, offset);
	for (uint32_t i = first; res == 0 && i < g->l2_entries; i++)
		res = check_entry(tail, tail->cluster + (size_t)i * g->l2_entry_bytes);
	return res;
}

static int check_clusters(struct tail *tail, uint64_t from)
{
	const struct qcow2_geometry *g = &tail->plain.geometry;
	uint32_t first = (uint32_t)(from >> g->cluster_bits & (g->l2_entries - 1));
	int res = 0;

	for (uint64_t i = from >> g->l1_shift; res == 0 && i < tail->plain.header.l1_entries; i++) {
		res = check_table(tail, i, first);
		first = 0;
	}
	return res;
}

int qcow2_tail_clear(struct qcow2_writable *writable, bool *wrote, char *why, size_t why_bytes)
{
	struct tail tail = {.writable = writable, .why = why, .why_bytes = why_bytes};
	int res = qcow2_plain_open(&tail.plain, &writable->file, NULL, why, why_bytes);
	uint64_t end = tail.plain.header.size_bytes;
	uint64_t next;

	*wrote = false;
	if (res != 0)
		return res;
	(void)snprintf(why, why_bytes, "the rest of its last cluster cannot be cleared");
	next = (end + tail.plain.geometry.cluster_bytes - 1) >>
	       tail.plain.geometry.cluster_bits << tail.plain.geometry.cluster_bits;
	tail.cluster = malloc(tail.plain.geometry.cluster_bytes);
	res = tail.cluster != NULL ? check_clusters(&tail, next) : -ENOMEM;
	if (res == 0 && end < next)
		res = clear_cluster(&tail, end, next);
	free(tail.cluster);
	*wrote = tail.wrote;
	return res;
}
