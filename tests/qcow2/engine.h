/*
 * The engine on real files, one request at a time: what it reads, and what it writes. A chain is
 * FILE and then FORMAT:FILE downwards. Results are 0, or an errno and a sentence.
 */
#ifndef TESTS_QCOW2_ENGINE_H
#define TESTS_QCOW2_ENGINE_H

#include <stdint.h>

int engine_compare(const char *raw, char **chain, unsigned count, char *why);

struct engine_writes {
	/* Holds what the disk holds; the same is written to it. NULL: whatever happens is fine. */
	const char *mirror;
	uint64_t seed;
};

int engine_write(const struct engine_writes *writes, char **chain, unsigned count, char *why);

#endif
