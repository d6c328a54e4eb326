/*
 * Profiles: mixes of commands with names, made to resemble what a LUN sees in daily use. They are
 * models after common descriptions of such loads, not traces of any one system.
 *
 * A profile is a row of profile_table.c. Pure data, any thread. Read next: profile_table.c, mix.h.
 */
#ifndef TARGET_BENCH_PROFILE_H
#define TARGET_BENCH_PROFILE_H

#include "target/bench/mix.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Leaves room for two sizes each within MIX_CLASSES_MAX. */
#define PROFILE_CLASSES_MAX 8u

struct profile {
	const char *name;
	const char *models; /* One line. */
	uint32_t sessions;
	uint32_t queue_depth;
	uint32_t burst;    /* Commands between two pauses of a session; 0: no pauses. */
	uint32_t pause_ms; /* From the last answer of a burst to the next command. */
	struct mix_class classes[PROFILE_CLASSES_MAX]; /* Ended by a row without bytes. */
};

extern const struct profile bench_profiles[];
extern const size_t bench_profile_count;

/* NULL: there is none of that name. */
const struct profile *bench_profile_find(const char *name);
unsigned bench_profile_class_count(const struct profile *profile);
/* All of them, for people. */
void bench_profiles_print(FILE *to);

#endif
