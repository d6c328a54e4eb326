/*
 * Parts of a campaign, each in a process of its own, some at a time. What a part does follows from
 * its number, so that nothing but the time depends on how many run at once.
 *
 * Read next: jobs.c, campaign.h.
 */
#ifndef TESTS_CRASH_JOBS_H
#define TESTS_CRASH_JOBS_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct job {
	int status; /* As of waitpid; of one that was not begun, -1. */
	uint64_t took_ns;
};

struct jobs {
	unsigned processes; /* 0: all parts in this one, one after the other. */
	unsigned parts;
	void (*run)(void *arg, unsigned part, void *result);
	void *arg;
	size_t result_bytes; /* Of each part. */
	bool go_on;          /* Where one has failed; else no more are begun. */
	/* After it: of each part. */
	struct job *job;
	void *results;
};

/* True: each has ended well. What marks counted (reach.h) has come to this process's. */
bool MUST_CHECK jobs_run(struct jobs *jobs);
void *jobs_result(const struct jobs *jobs, unsigned part);
void jobs_free(struct jobs *jobs);

#endif
