/*
 * The simulator's own test: a trial follows from its identity alone. Trials are run, and then again
 * in the opposite order on machines that lie elsewhere in memory: what was left over from another
 * trial, an address, or memory that nobody wrote would show in what happens, and all that happens
 * is summed up in one number.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/crash/campaign.h"
#include "tests/crash/jobs.h"

/* Two of three fail somewhere. */
static struct trial_identity choose(struct random *random, const struct subject *subject)
{
	static const struct sim_fault faults[] = {
		{.nth = 0},
		{.error = -EIO, .kinds = UINT32_MAX},
		{.error = -ENOSPC,
		 .more = 5,
		 .kinds = 1u << LOOP_OP_WRITE | 1u << LOOP_OP_ALLOCATE},
	};
	struct trial_identity identity = {.subject = subject};

	identity.variant = random_below(random, subject_variants(subject));
	identity.is_brief = !random_one_in(random, 4);
	identity.number = random_next(random);
	identity.fault = faults[random_below(random, ARRAY_SIZE(faults))];
	if (identity.fault.error)
		identity.fault.nth = 1 + random_below(random, 50);
	return identity;
}

static uint64_t log_of(struct trial *trial, const struct trial_identity *identity)
{
	trial->tally->log = 0;
	trial_run(trial, identity);
	return trial->tally->log;
}

struct run {
	const struct campaign *campaign;
	struct trial_identity *trials;
	uint64_t *logs;
};

/* Those before it took the same course; 0: all did. */
static unsigned run_twice(const struct run *run, const struct subject *subject)
{
	unsigned count = run->campaign->steady_trials;
	struct tally tally = {0};
	struct random random = {random_mix(run->campaign->seed)};
	struct trial *one = trial_create(subject, &tally);
	struct trial *other = trial_create(subject, &tally);
	unsigned i = 0;

	for (; i < count; i++) {
		run->trials[i] = choose(&random, subject);
		run->logs[i] = log_of(one, &run->trials[i]);
	}
	while (i > 0 && log_of(other, &run->trials[i - 1]) == run->logs[i - 1])
		i--;
	trial_free(one);
	trial_free(other);
	return i;
}

/* A part is a subject. */
static void run_part(void *arg, unsigned number, void *result UNUSED)
{
	const struct run *run = arg;
	const struct subject *subject = subjects[number];
	unsigned differs;

	if (!campaign_wants(run->campaign, subject))
		return;
	differs = run_twice(run, subject);
	if (!differs) {
		printf("PASS steadiness of %s: %u trials, run twice\n", subject->name,
		       run->campaign->steady_trials);
		return;
	}
	printf("FAIL steadiness of %s: run again it takes another course: ", subject->name);
	trial_print_identity(&run->trials[differs - 1]);
	printf("\n");
	(void)fflush(stdout);
	_Exit(TRIAL_FOUND);
}

bool campaign_steady(const struct campaign *campaign)
{
	struct run run = {
		.campaign = campaign,
		.trials = calloc(campaign->steady_trials, sizeof(*run.trials)),
		.logs = calloc(campaign->steady_trials, sizeof(*run.logs)),
	};
	struct jobs jobs = {.processes = campaign->jobs, .run = run_part, .arg = &run};
	bool good;

	if (!run.trials || !run.logs)
		abort();
	while (subjects[jobs.parts])
		jobs.parts++;
	good = jobs_run(&jobs);
	jobs_free(&jobs);
	free(run.trials);
	free(run.logs);
	return good;
}
