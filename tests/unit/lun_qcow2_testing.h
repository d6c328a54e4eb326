/*
 * What tests of lun/qcow2 share: an image in memory as a file, and a header to change.
 */
#ifndef TESTS_UNIT_LUN_QCOW2_TESTING_H
#define TESTS_UNIT_LUN_QCOW2_TESTING_H

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "lun/qcow2/format.h"
#include "lun/qcow2/qcow2.h"

#define WHY_BYTES 200u

/* Offsets of the header's fields. */
enum {
	AT_VERSION = 4,
	AT_BACKING_OFFSET = 8,
	AT_BACKING_BYTES = 16,
	AT_CLUSTER_BITS = 20,
	AT_SIZE = 24,
	AT_ENCRYPTION = 32,
	AT_L1_ENTRIES = 36,
	AT_L1_OFFSET = 40,
	AT_REFCOUNT_TABLE_OFFSET = 48,
	AT_REFCOUNT_TABLE_CLUSTERS = 56,
	AT_SNAPSHOT_COUNT = 60,
	AT_SNAPSHOTS_OFFSET = 64,
	AT_INCOMPATIBLE = 72,
	AT_COMPATIBLE = 80,
	AT_AUTOCLEAR = 88,
	AT_REFCOUNT_ORDER = 96,
	AT_HEADER_LENGTH = 100,
	AT_COMPRESSION = 104,
};

struct memory_file {
	struct qcow2_file file;
	uint8_t *bytes;
};

static inline int memory_file_read(const struct qcow2_file *file, void *buffer, size_t length,
				   uint64_t offset)
{
	const struct memory_file *memory = (const void *)file; /* Its first member. */
	uint64_t left = offset < file->size_bytes ? file->size_bytes - offset : 0;
	size_t there = left < length ? (size_t)left : length;

	memset(buffer, 0, length);
	if (there > 0)
		memcpy(buffer, memory->bytes + offset, there);
	return 0;
}

static inline struct memory_file memory_file_make(void *bytes, uint64_t count)
{
	return (struct memory_file){.file = {.read = memory_file_read, .size_bytes = count},
				    .bytes = bytes};
}

#endif
