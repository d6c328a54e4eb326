/*
 * Compressed clusters in an image that is being formatted, as `qemu-img convert -c` makes them:
 * packed one behind the other, several in a host cluster.
 */
#ifndef TESTS_CRASH_COMPRESSED_H
#define TESTS_CRASH_COMPRESSED_H

#include "lun/qcow2/create.h"

/* Of the image in `bytes` (room_bytes, of them layout->file_bytes in use) every second guest
 * cluster holds `guest`'s bytes. For a guest's disk of one L2 table. Answers the file's new size.
 */
uint64_t compressed_add(const struct qcow2_layout *layout, uint8_t *bytes, uint64_t room_bytes,
			const uint8_t *guest);

#endif
