/*
 * Clusters in an image that is being formatted: data; compressed, as `qemu-img convert -c` makes
 * them, packed one behind the other, several in a host cluster; zeroes.
 */
#ifndef TESTS_CRASH_CONTENT_H
#define TESTS_CRASH_CONTENT_H

#include "lun/qcow2/create.h"

enum content_kind {
	CONTENT_NOTHING, /* What is below shows. */
	CONTENT_DATA,
	CONTENT_COMPRESSED,
	CONTENT_ZEROES,
};

/* Where it is, and what: of guest cluster i, guest's bytes as kinds[i] says. */
struct content {
	uint8_t *bytes;
	uint64_t room_bytes;
	const uint8_t *guest;
	const enum content_kind *kinds;
	uint64_t at; /* In the file, all of it from there on; 0: behind the layout. */
};

/* For a guest's disk of one L2 table of standard entries that have something. Answers the file's
 * new size. */
uint64_t content_add(const struct qcow2_layout *layout, const struct content *content);

#endif
