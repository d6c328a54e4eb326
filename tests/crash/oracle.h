/*
 * The third opinion, of somebody else's code: qemu-img on a state that was judged, for consistency
 * and for content. A process takes some hundredths of a second, so only some states are shown to
 * it: those whose tables have a shape that was not seen before, and one of so many others.
 *
 * Read next: oracle.c.
 */
#ifndef TESTS_CRASH_ORACLE_H
#define TESTS_CRASH_ORACLE_H

#include "tests/crash/disk.h"

/* How many states may be shown; 0: none. Without qemu-img that is an error of the machine. */
void oracle_permit(uint64_t states);
uint64_t oracle_asked(void);
/* Is this state to be shown? `shape` is a number for what its tables look like. */
bool oracle_wants(uint64_t shape);
/*
 * What `qemu-img check` says of the first file (its exit status), and whether `qemu-img compare`
 * finds that the guest's disk, over the other ones, is `expected`.
 */
struct oracle_question {
	const struct disk_file *files;
	unsigned file_count;
	const uint8_t *expected;
	uint64_t expected_bytes;
};

struct oracle_answer {
	int check;
	int compare; /* 0: the same. */
};

void oracle_ask(const struct oracle_question *question, struct oracle_answer *answer);
/* Remove its files. */
void oracle_clear(void);

#endif
