/*
 * Numbers of the header that reading (format.c) and writing it (encode.c) share. Nobody else's.
 */
#ifndef LUN_QCOW2_HEADER_BYTES_H
#define LUN_QCOW2_HEADER_BYTES_H

#include <stdint.h>

#define MAGIC UINT32_C(0x514649fb) /* "QFI\xfb" */
#define V3_HEADER_BYTES 104u

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

#endif
