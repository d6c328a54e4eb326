/*
 * Numbers of the header that those share who read it (format.c), write it (encode.c), or change a
 * field where it stands. Nobody else's.
 */
#ifndef LUN_QCOW2_HEADER_BYTES_H
#define LUN_QCOW2_HEADER_BYTES_H

#include <stdint.h>

#include "base/bytes.h"

#define MAGIC UINT32_C(0x514649fb) /* "QFI\xfb" */
#define V3_HEADER_BYTES 104u
/* What a disk writes whole or not at all. All fields lie in the first one. */
#define HEADER_SECTOR_BYTES 512u

/* qcow2, "Header": offsets in bytes. */
enum header_at {
	AT_BACKING_OFFSET = 8,
	AT_BACKING_BYTES = 16,
	AT_SIZE = 24,
	AT_L1_ENTRIES = 36,
	AT_L1_OFFSET = 40,
	AT_REFCOUNT_TABLE_OFFSET = 48,
	AT_REFCOUNT_TABLE_CLUSTERS = 56,
	AT_INCOMPATIBLE = 72,
	AT_AUTOCLEAR = 88,
};

enum extension_type {
	EXTENSION_END = 0,
	EXTENSION_BACKING_FORMAT = (int)0xe2792aca,
	EXTENSION_FEATURE_NAMES = 0x6803f857,
	EXTENSION_BITMAPS = 0x23852875,
	EXTENSION_ENCRYPTION = 0x0537be77,
	EXTENSION_DATA_FILE = 0x44415441,
};

/* "Feature name table" */
#define FEATURE_BYTES 48u
#define FEATURE_NAME_BYTES 46u

/* encode.c: one header extension, padded. */
void header_write_extension(struct byte_writer *out, uint32_t type, const void *data, size_t bytes);

#endif
