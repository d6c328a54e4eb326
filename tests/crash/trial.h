/*
 * A trial: one workload on one image, cut everywhere. All of it follows from its identity, which a
 * report prints and --replay takes. What it finds ends the process with TRIAL_FOUND: the first
 * violation is one too many.
 *
 * Read next: trial.c, guest.h, cuts.h, model.h.
 */
#ifndef TESTS_CRASH_TRIAL_H
#define TESTS_CRASH_TRIAL_H

#include "tests/crash/cuts.h"
#include "tests/crash/guest.h"
#include "tests/crash/seen.h"
#include "tests/crash/subject.h"

#define TRIAL_FOUND 10 /* Exit status. */

struct trial_identity {
	const struct subject *subject;
	unsigned variant;
	bool is_brief; /* A random one of few steps. */
	bool is_short; /* The workload is the short one of this number, else a random one. */
	uint64_t number;
	struct sim_fault fault; /* nth 0: none. */
};

struct tally {
	uint64_t trials, cuts, states, built, reopened, operations, faulted;
	uint64_t log; /* A number for all that happened; the same whenever a trial is run again. */
};

struct trial {
	struct trial_identity identity;
	unsigned level;
	struct sim *sim;
	struct model model;
	struct guest guest;
	struct cuts cuts;
	struct seen seen;
	struct disk *scratch;
	/* What the guest does does not depend on which states are looked at. */
	struct random random, guest_random;
	unsigned reopen_one_in;
	uint64_t looked_version, looked_tight, looked_issued;
	uint64_t words[MODEL_SECTORS_MAX];
	struct changes changes; /* Of the closed image. */
	bool change_first, change_later;
	struct tally *tally;
	struct trial *inner; /* The machine for what a cut left; NULL at the last level. */
	struct trial *outer;
	uint64_t cut_number, state_number;
};

void tally_add(struct tally *sum, const struct tally *tally);

struct trial *trial_create(const struct subject *subject, struct tally *tally);
void trial_free(struct trial *trial);
void trial_run(struct trial *trial, const struct trial_identity *identity);
/* A violation: print all about it and end the process. */
void trial_fail(struct trial *trial, const char *format, ...) PRINTF_LIKE(2, 3)
	__attribute__((noreturn));
void trial_print_identity(const struct trial_identity *identity);

#endif
