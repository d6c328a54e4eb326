/*
 * Trials with faults: of some workloads each call to the disk fails, with each error that such a
 * call may answer, once, some times and from then on. Every request is answered exactly once, with
 * an error that lun.h promises or well; nothing hangs; and what the content model says holds in
 * every cut, and when the image is opened again.
 */
#include <errno.h>
#include <stdio.h>

#include "tests/crash/campaign.h"
#include "tests/crash/jobs.h"

/* The workload has to end in any case, and a campaign in some seconds. */
#define CALLS_MAX 200u

#define TRANSFERS (1u << LOOP_OP_READ | 1u << LOOP_OP_WRITE)
#define RANGES (1u << LOOP_OP_DISCARD | 1u << LOOP_OP_ZERO)
#define SYNCS (1u << LOOP_OP_SYNC)
#define SPACE (1u << LOOP_OP_ALLOCATE | 1u << LOOP_OP_WRITE | RANGES)

static const struct fault_kind {
	const char *name;
	int error;
	uint32_t kinds;
} fault_kinds[] = {
	{"short transfers", SIM_SHORT, TRANSFERS},
	{"EIO", -EIO, TRANSFERS | RANGES | 1u << LOOP_OP_ALLOCATE | 1u << LOOP_OP_CALL},
	{"EIO of fdatasync", -EIO, SYNCS},
	{"ENOSPC of fdatasync", -ENOSPC, SYNCS},
	{"ENOSPC", -ENOSPC, SPACE},
	{"ENOSPC of fallocate", -ENOSPC, 1u << LOOP_OP_ALLOCATE},
	{"EDQUOT", -EDQUOT, SPACE},
	{"EOPNOTSUPP", -EOPNOTSUPP, RANGES},
	{"EAGAIN", -EAGAIN, TRANSFERS},
	{"EINTR", -EINTR, TRANSFERS | RANGES | SYNCS},
};

/* The n-th call and more, for n from 1 to where the workload ends without it. */
static void run_each(struct trial *trial, struct trial_identity identity)
{
	uint64_t faulted = trial->tally->faulted + 1;

	for (uint64_t nth = 1; nth <= CALLS_MAX && trial->tally->faulted >= faulted - 1; nth++) {
		identity.fault.nth = nth;
		faulted = trial->tally->faulted + 1;
		trial_run(trial, &identity);
		if (trial->tally->faulted < faulted)
			return;
	}
}

static void run_workload(struct trial *trial, const struct trial_identity *identity,
			 const struct fault_kind *kind)
{
	static const unsigned more[] = {0, 5, SIM_FOR_EVER};

	for (unsigned i = 0; i < ARRAY_SIZE(more); i++) {
		struct trial_identity failing = *identity;

		failing.fault = (struct sim_fault){
			.error = kind->error, .more = more[i], .kinds = kind->kinds};
		run_each(trial, failing);
	}
}

static void run_faults(struct trial *trial, const struct campaign *campaign, uint64_t seed)
{
	struct random random = {seed};
	struct trial_identity identity = {.subject = trial->identity.subject, .is_brief = true};

	identity.variant = campaign_variant(campaign, identity.subject, &random);
	identity.number = random_next(&random);
	for (unsigned i = 0; i < ARRAY_SIZE(fault_kinds); i++)
		run_workload(trial, &identity, &fault_kinds[i]);
}

struct run {
	const struct campaign *campaign;
	const struct subject *subject;
};

/* A part is one workload. */
static void run_part(void *arg, unsigned number, void *result)
{
	const struct run *run = arg;
	struct trial *trial = trial_create(run->subject, result);

	run_faults(trial, run->campaign, run->campaign->seed + number);
	trial_free(trial);
}

static bool run_subject(const struct campaign *campaign, const struct subject *subject)
{
	struct run run = {campaign, subject};
	struct jobs jobs = {
		.processes = campaign->jobs,
		.parts = campaign->fault_workloads,
		.run = run_part,
		.arg = &run,
		.result_bytes = sizeof(struct tally),
	};
	uint64_t began_ns = sim_real_ns();
	bool good = jobs_run(&jobs);
	struct tally tally = {0};

	for (unsigned i = 0; i < jobs.parts; i++)
		tally_add(&tally, jobs_result(&jobs, i));
	if (good) {
		printf("PASS faults of %s: %llu trials with faults, %llu calls failed, %llu "
		       "states, %llu opened again, 0 violations, log %016llx, %.1f s\n",
		       subject->name, (unsigned long long)tally.trials,
		       (unsigned long long)tally.faulted, (unsigned long long)tally.states,
		       (unsigned long long)tally.reopened, (unsigned long long)tally.log,
		       (double)(sim_real_ns() - began_ns) / 1e9);
	}
	jobs_free(&jobs);
	return good;
}

bool campaign_faults(const struct campaign *campaign)
{
	bool good = true;

	for (unsigned i = 0; good && subjects[i]; i++) {
		if (campaign_wants(campaign, subjects[i]))
			good = run_subject(campaign, subjects[i]);
	}
	return good;
}
