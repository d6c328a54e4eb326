/*
 * A file of a machine for synchronous code: what changes closed images, and what opens them. Each
 * call has ended when it returns; before that, and after, a cut is looked at.
 *
 * Read next: sim_file.c, sim.h.
 */
#ifndef TESTS_CRASH_SIM_FILE_H
#define TESTS_CRASH_SIM_FILE_H

#include "lun/qcow2/writable.h"
#include "tests/crash/sim.h"

struct sim_file {
	struct qcow2_writable writable; /* First. */
	struct sim *sim;
	unsigned file;
};

/* As large as it is now. */
void sim_file_open(struct sim_file *file, struct sim *sim, unsigned number);

#endif
