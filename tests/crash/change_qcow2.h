/*
 * Changes of closed qcow2 images, by the code that makes them for users: on a simulated disk while
 * power is cut (subject_qcow2.c), and where each call fails (closed.c).
 */
#ifndef TESTS_CRASH_CHANGE_QCOW2_H
#define TESTS_CRASH_CHANGE_QCOW2_H

#include "lun/qcow2/writable.h"
#include "tests/crash/variant_qcow2.h"

enum change_qcow2 {
	CHANGE_QCOW2_GROW,
	CHANGE_QCOW2_REBASE,
	CHANGE_QCOW2_REPAIR,
	CHANGE_QCOW2_COUNT
};

struct change_of_qcow2 {
	const char *name;
	unsigned bit; /* Of changes.h. */
	/* The raw file below the top is so large, where there is one. Negative errno and a sentence
	 * in why[SUBJECT_WHY_BYTES]. */
	int (*make)(struct qcow2_writable *top, const struct variant *variant, uint64_t raw_bytes,
		    char *why);
};

extern const struct change_of_qcow2 changes_qcow2[CHANGE_QCOW2_COUNT];
/* Names are changed in clusters of 4 KiB and more. */
bool change_is_possible(enum change_qcow2 kind, const struct variant *variant);

#endif
