/*
 * The engine on real files, one request at a time: what it reads, and what it writes. A chain is
 * FILE and then FORMAT:FILE downwards. Results are 0, or an errno and a sentence.
 */
#ifndef TESTS_QCOW2_ENGINE_H
#define TESTS_QCOW2_ENGINE_H

#include <stdint.h>

int engine_compare(const char *raw, char **chain, unsigned count, char *why);

struct engine_writes {
	const char *mirror; /* Holds what the disk holds; the same is written to it. */
	uint64_t seed;
};

int engine_write(const struct engine_writes *writes, char **chain, unsigned count, char *why);

#endif
