/*
 * Fuzz whole images: check, repair, then read all of the disk. What is repaired is clean. Where the
 * check finds nothing corrupt, reading meets no error but in compressed data, whose content no
 * check looks at.
 *
 * Input: a byte of settings, then the image; or, by the settings, a compressed cluster alone. Read
 * next: lun/qcow2/check.h, plain.h, inflate.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "lun/qcow2/check.h"
#include "lun/qcow2/inflate.h"
#include "lun/qcow2/plain.h"
#include "lun/qcow2/repair.h"

#define CLUSTER_BYTES 4096u
#define SMALL_MEMORY_BYTES 16u
/* More of a disk is not read: tables of holes take time, and show nothing. */
#define DISK_BYTES_MAX (UINT64_C(4) << 20)

enum {
	INFLATE = 1 << 0,
	ZSTD = 1 << 1,
	SMALL_MEMORY = 1 << 2, /* The check has to pass several times. */
	REPAIR = 1 << 3,
};

struct input {
	struct qcow2_writable writable; /* First, and first in it the file. */
	uint8_t *bytes;
	size_t room;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static int input_read(const struct qcow2_file *file, void *buffer, size_t length, uint64_t offset)
{
	const struct input *input = (const void *)file;
	uint64_t left = offset < file->size_bytes ? file->size_bytes - offset : 0;
	size_t there = left < length ? (size_t)left : length;

	memset(buffer, 0, length);
	if (there > 0)
		memcpy(buffer, input->bytes + offset, there);
	return 0;
}

static int input_write(struct qcow2_writable *writable, const void *bytes, size_t length,
		       uint64_t offset)
{
	struct input *input = (void *)writable;
	uint64_t end = input->room;

	require(offset <= end && length <= end - offset);
	require(offset + length <= writable->file.size_bytes);
	memcpy(input->bytes + offset, bytes, length);
	return 0;
}

static int input_sync(struct qcow2_writable *writable UNUSED)
{
	return 0;
}

static void try_inflate(const uint8_t *data, size_t size, bool zstd)
{
	uint8_t *cluster = malloc(CLUSTER_BYTES);
	int res = qcow2_inflate(zstd ? QCOW2_ZSTD : QCOW2_ZLIB, data, size, cluster, CLUSTER_BYTES);

	require(res == 0 || res == -EIO);
	free(cluster);
}

static int read_disk(const struct qcow2_plain *plain)
{
	static uint8_t piece[65536];
	int res = 0;

	for (uint64_t at = 0; res == 0 && at < plain->guest.size_bytes && at < DISK_BYTES_MAX;
	     at += sizeof(piece))
		res = plain->guest.read(&plain->guest, piece, sizeof(piece), at);
	require(res == 0 || res == -EIO);
	return res;
}

/* Not of a file that ends within a cluster, which has no room to write all of it. */
static void try_repair(struct input *input, uint64_t memory_bytes)
{
	static struct qcow2_check found;
	struct qcow2_check_spec spec = {.file = &input->writable.file};
	static struct qcow2_repair repair;
	char why[200] = "";
	uint32_t cluster_bits;
	int res;

	if (spec.file->size_bytes < QCOW2_PEEK_BYTES ||
	    qcow2_header_peek(input->bytes, &cluster_bits) != 0 ||
	    spec.file->size_bytes % (UINT64_C(1) << cluster_bits) != 0)
		return;
	repair.writable = &input->writable;
	repair.memory_bytes = memory_bytes;
	res = qcow2_repair(&repair, why, sizeof(why));
	require(res == 0 || why[0] != '\0');
	if (res != 0)
		return;
	require(qcow2_check(&spec, &found, why, sizeof(why)) == 0);
	require(qcow2_check_verdict(&found) == QCOW2_CLEAN);
}

static void judge(struct input *input, bool small_memory)
{
	static struct qcow2_check found;
	struct qcow2_check_spec spec = {.file = &input->writable.file};
	struct qcow2_plain plain;
	char why[200] = "";
	int res;

	if (small_memory)
		spec.memory_bytes = SMALL_MEMORY_BYTES;
	res = qcow2_check(&spec, &found, why, sizeof(why));
	require(res == 0 || why[0] != '\0');
	require(res != 0 || found.referenced <= found.clusters);
	require(res != 0 || (found.finding_count > 0) == (found.corruptions + found.leaks > 0));
	if (qcow2_plain_open(&plain, &input->writable.file, NULL, why, sizeof(why)) != 0) {
		require(res != 0);
		return;
	}
	require(res == 0 || res == -EFBIG);
	if (read_disk(&plain) != 0)
		require(res != 0 || found.corruptions > 0 || found.guest_compressed > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {.writable = {.write = input_write, .sync = input_sync}};
	bool small_memory;

	if (size < 1)
		return 0;
	small_memory = (data[0] & SMALL_MEMORY) != 0;
	input.writable.file.read = input_read;
	input.writable.file.size_bytes = size - 1;
	if ((data[0] & INFLATE) != 0) {
		try_inflate(data + 1, size - 1, (data[0] & ZSTD) != 0);
		return 0;
	}
	/* Refcounts that get a new place take some clusters, of at most all of the file. */
	input.room = 8 * size;
	input.bytes = calloc(1, input.room);
	memcpy(input.bytes, data + 1, size - 1);
	if ((data[0] & REPAIR) != 0)
		try_repair(&input, small_memory ? SMALL_MEMORY_BYTES : 0);
	judge(&input, small_memory);
	free(input.bytes);
	return 0;
}
