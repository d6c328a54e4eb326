/*
 * A file of a simulated disk, as what is durable of it, for code that reads closed images.
 */
#ifndef TESTS_CRASH_VIEW_H
#define TESTS_CRASH_VIEW_H

#include "lun/qcow2/qcow2.h"
#include "tests/crash/durable.h"

struct view {
	struct qcow2_file file; /* First. */
	const struct durable *of;
};

void view_init(struct view *view, const struct durable *of);

#endif
