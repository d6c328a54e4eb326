/*
 * Reading closed images, cluster by cluster. Read next: check.c.
 */
#include "lun/qcow2/plain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "base/bytes.h"
#include "lun/qcow2/inflate.h"

static int read_first_cluster(const struct qcow2_file *file, uint32_t cluster_bits,
			      struct qcow2_header *out, char *why, size_t why_bytes)
{
	size_t length = QCOW2_HEADER_READ_BYTES(cluster_bits);
	void *bytes;
	int res;

	if (length > file->size_bytes)
		length = (size_t)file->size_bytes;
	bytes = malloc(length);
	if (bytes == NULL)
		return -ENOMEM;
	res = file->read(file, bytes, length, 0);
	if (res == 0)
		res = qcow2_header_parse(bytes, length, file->size_bytes, out, why, why_bytes);
	free(bytes);
	return res;
}

int qcow2_header_read(const struct qcow2_file *file, struct qcow2_header *out, char *why,
		      size_t why_bytes)
{
	uint8_t start[QCOW2_PEEK_BYTES];
	uint32_t cluster_bits;
	int res;

	(void)snprintf(why, why_bytes, "its first cluster cannot be read");
	res = file->read(file, start, sizeof(start), 0);
	if (res != 0)
		return res;
	/* Where even this is wrong, parsing says what. */
	if (qcow2_header_peek(start, &cluster_bits) != 0)
		cluster_bits = QCOW2_CLUSTER_BITS_MIN;
	return read_first_cluster(file, cluster_bits, out, why, why_bytes);
}

static int read_entry(const struct qcow2_file *file, uint64_t offset, uint64_t *out)
{
	uint8_t bytes[8];
	int res = file->read(file, bytes, sizeof(bytes), offset);

	*out = get_be64(bytes);
	return res;
}

static int find_entry(const struct qcow2_plain *p, uint64_t guest, struct qcow2_l2_entry *out)
{
	const struct qcow2_geometry *g = &p->geometry;
	uint64_t l1_index = guest >> g->l1_shift;
	uint64_t l1;
	uint64_t l2;
	uint64_t raw;
	uint64_t bitmap = 0;
	uint64_t l2_index = guest >> g->cluster_bits & (g->l2_entries - 1);
	int res = read_entry(p->file, p->header.l1_offset + l1_index * 8, &l1);

	*out = (struct qcow2_l2_entry){0};
	if (res != 0 || l1 == 0)
		return res;
	if (qcow2_l1_decode(l1, g, &l2) != 0 || l2 >= p->file->size_bytes)
		return -EIO;
	res = read_entry(p->file, l2 + l2_index * g->l2_entry_bytes, &raw);
	if (res == 0 && g->extended)
		res = read_entry(p->file, l2 + l2_index * g->l2_entry_bytes + 8, &bitmap);
	if (res != 0)
		return res;
	if (qcow2_l2_decode(raw, bitmap, g, out) != 0 || out->host_offset >= p->file->size_bytes)
		return -EIO;
	return 0;
}

/* A part of a compressed cluster: all of it is needed first. */
static int read_compressed(const struct qcow2_plain *p, const struct qcow2_piece *piece,
			   void *buffer, size_t length, uint64_t in_cluster)
{
	size_t cluster_bytes = p->geometry.cluster_bytes;
	uint8_t *cluster = malloc(cluster_bytes + piece->deflated_bytes);
	uint8_t *deflated;
	int res;

	if (cluster == NULL)
		return -ENOMEM;
	deflated = cluster + cluster_bytes;
	res = p->file->read(p->file, deflated, piece->deflated_bytes, piece->host_offset);
	if (res == 0)
		res = qcow2_inflate(p->header.compression, deflated, piece->deflated_bytes, cluster,
				    cluster_bytes);
	if (res == 0)
		memcpy(buffer, cluster + in_cluster, length);
	free(cluster);
	return res;
}

static int read_state(const struct qcow2_plain *p, const struct qcow2_piece *piece, void *buffer,
		      size_t length, uint64_t guest)
{
	if (piece->state == QCOW2_DEFLATED)
		return read_compressed(p, piece, buffer, length,
				       guest & (p->geometry.cluster_bytes - 1));
	if (piece->state == QCOW2_ALLOCATED)
		return p->file->read(p->file, buffer, length, piece->host_offset);
	if (piece->state == QCOW2_UNALLOCATED && p->backing != NULL)
		return p->backing->read(p->backing, buffer, length, guest);
	memset(buffer, 0, length);
	return 0;
}

int qcow2_plain_find(const struct qcow2_plain *p, uint64_t guest, size_t *length,
		     struct qcow2_piece *out)
{
	const struct qcow2_geometry *g = &p->geometry;
	uint64_t in_cluster = guest & (g->cluster_bytes - 1);
	uint64_t end;
	struct qcow2_l2_entry entry;
	unsigned first = (unsigned)(in_cluster >> g->subcluster_bits);
	unsigned count;
	int res = find_entry(p, guest, &entry);

	if (res != 0)
		return res;
	out->state = qcow2_l2_state(&entry, first, &count);
	out->host_offset = entry.host_offset + (entry.compressed ? 0 : in_cluster);
	out->deflated_bytes = entry.deflated_bytes;
	end = (uint64_t)(first + count) << g->subcluster_bits;
	if (end > g->cluster_bytes)
		end = g->cluster_bytes;
	if (*length > end - in_cluster)
		*length = (size_t)(end - in_cluster);
	return 0;
}

static int read_guest(const struct qcow2_file *guest, void *buffer, size_t length, uint64_t offset)
{
	const struct qcow2_plain *plain = (const void *)guest; /* Its first member. */
	uint8_t *at = buffer;
	int res = 0;

	while (res == 0 && length > 0 && offset < guest->size_bytes) {
		uint64_t left = guest->size_bytes - offset;
		size_t there = left < length ? (size_t)left : length;
		struct qcow2_piece piece;

		res = qcow2_plain_find(plain, offset, &there, &piece);
		if (res == 0)
			res = read_state(plain, &piece, at, there, offset);
		at += there;
		offset += there;
		length -= there;
	}
	if (length > 0)
		memset(at, 0, length);
	return res;
}

int qcow2_plain_open(struct qcow2_plain *plain, const struct qcow2_file *file,
		     const struct qcow2_file *backing, char *why, size_t why_bytes)
{
	int res;

	plain->file = file;
	plain->backing = backing;
	res = qcow2_header_read(file, &plain->header, why, why_bytes);
	if (res != 0)
		return res;
	qcow2_geometry_of(&plain->header, &plain->geometry);
	plain->guest.read = read_guest;
	plain->guest.size_bytes = plain->header.size_bytes;
	return 0;
}
