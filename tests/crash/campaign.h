/*
 * What is run: many trials. Each kind of campaign prints its figures, and answers whether all is
 * well.
 *
 * Read next: states.c, faults.c, mutants.c.
 */
#ifndef TESTS_CRASH_CAMPAIGN_H
#define TESTS_CRASH_CAMPAIGN_H

#include "base/attr.h"
#include "tests/crash/trial.h"

struct campaign {
	uint64_t seed;
	uint64_t states;          /* So many different ones, of all subjects together. */
	uint64_t oracles;         /* States that are shown to qemu-img. */
	const char *subject;      /* NULL: all. */
	const char *variant;      /* Random workloads are of those with this in their name. */
	unsigned fault_workloads; /* Of each subject and kind of fault. */
	bool only_random;         /* Without the short workloads. */
	unsigned jobs;            /* Processes at once; 0: all in this one. */
	unsigned steady_trials;   /* Of each subject. */
	uint64_t mutant_states;   /* In so many different states a planted bug has to show. */
};

/* All short workloads and then random ones, cut everywhere. */
bool MUST_CHECK campaign_states(const struct campaign *campaign);
/* Fail each call, one at a time, and all from it on. */
bool MUST_CHECK campaign_faults(const struct campaign *campaign);
/* Run trials twice, and see that they take the same course. */
bool MUST_CHECK campaign_steady(const struct campaign *campaign);
/* Open images while memory runs out. */
bool MUST_CHECK campaign_memory(const struct campaign *campaign);
/* Change closed images while each call fails. */
bool MUST_CHECK campaign_closed(const struct campaign *campaign);
/* Plant each bug and see that it is found. */
bool MUST_CHECK campaign_mutants(const struct campaign *campaign);
/* One trial by its identity, as a report prints it. False: there is no such. */
bool MUST_CHECK campaign_replay(const char *text);

/* The subjects, NULL at the end; the campaign's only one. */
extern const struct subject *const subjects[];
bool campaign_wants(const struct campaign *campaign, const struct subject *subject);
unsigned subject_variants(const struct subject *subject);
/* One of those that are wanted. */
unsigned campaign_variant(const struct campaign *campaign, const struct subject *subject,
			  struct random *random);

/* -- The table of marks (reach.h) -- */

/* Set on or off the planted bug of that name; false: there is none. */
bool reach_plant(const char *name, bool on);
/* What of the table is not as it should be is printed; see reach.c. */
bool MUST_CHECK reach_report(bool is_long);
/* Visit the names of all planted bugs. */
void reach_each_plant(void (*visit)(void *arg, const char *name), void *arg);
/* How many marks there are; and what they count, between processes. */
size_t reach_count(void);
void reach_clear(void);
void reach_add_to(uint64_t *counts);
void reach_add_from(const uint64_t *counts);

#endif
