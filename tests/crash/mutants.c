/*
 * The simulator's own test: each bug that can be planted in production code (PLANTED of
 * base/reach.h) is planted, alone, and has to be found. Each in a process of its own, which ends
 * when it finds something; a crash, or a request that is never answered, is found as well.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/crash/campaign.h"
#include "tests/crash/jobs.h"

/* Of a processor: a mutant that hangs is found by this, one that survives has long ended. */
#define SECONDS_MAX 600u

static const struct mutant {
	const char *name;
	const char *subject;
	const char *rule; /* What it breaks. */
	bool with_faults; /* It shows only where a call fails. */
} mutants[] = {
	{"raw_durable_write_without_dsync", "raw", "a durable write is durable", false},
	{"raw_ends_without_flush", "raw", "durable UNMAP, and writes to the page cache", false},
	{"raw_flush_takes_latecomers", "raw", "a flush covers what ended before it began", false},
	{"lun_forgets_failed_flush", "raw", "a failed flush is final", true},
	{"lun_without_write_cache_is_lazy", "raw", "without a cache all is durable", false},
	{"rmw_loses_neighbours", "raw", "the rest of a block stays", false},
	{"rmw_without_range", "raw", "one at a time changes a block", false},
	{"rmw_is_not_durable", "raw", "a part of a block is durable, too", false},
	{"rmw_trusts_zeroes", "raw", "zeroes that are there are made durable", false},
	{"no_data_first", "qcow2", "O1: data before the entry", false},
	{"no_f1", "qcow2", "O1, O3: the first fdatasync of a group", false},
	{"no_copy", "qcow2", "O1: what a partial write leaves is copied", false},
	{"no_refcount", "qcow2", "O2: refcounts before references", false},
	{"entry_with_refcount_block", "qcow2", "O2: a refcount block before its entry", false},
	{"early_l1", "qcow2", "O3: an L2 table before its L1 entry", false},
	{"no_f2", "qcow2", "O4: entries before what follows from them", false},
	{"early_decrement", "qcow2", "O4: references go before refcounts", false},
	{"early_reuse", "qcow2", "O4: references go before clusters come back", false},
	{"early_clean", "qcow2", "O4: holes before clusters come back", false},
	{"size_not_extended", "qcow2", "O5: the size covers what is referred to", false},
	{"grow_switches_early", "qcow2", "O6: new tables before the header", false},
	{"grow_frees_early", "qcow2", "O6: the header before old tables are given back", false},
	{"rebase_name_late", "qcow2", "the name before the header that leads to it", false},
	{"epochs_ignored", "qcow2", "O7: clusters wait for I/O that began before", false},
	{"discard_shows_backing", "qcow2", "UNMAP over a backing file is zeroes", false},
	{"pull_exposes_early", "qcow2", "O1: what was pulled before its entry", false},
	{"pull_overwrites", "qcow2", "a pull leaves alone what a guest writes", false},
	{"flush_joins_running", "qcow2", "a flush covers what ended before it began", false},
	{"recover_misses_links", "qcow2", "recovery: what is linked meanwhile is in use", false},
	{"recover_takes_held", "qcow2", "recovery: what the engine holds is in use", false},
	{"change_while_written", "qcow2", "a slice on its way is not changed", false},
	{"loop_short_transfer_is_whole", "raw", "a short transfer goes on", true},
};

struct score {
	const struct campaign *campaign;
	unsigned planted, killed, unknown;
	const struct mutant *chosen[ARRAY_SIZE(mutants)];
};

static const struct mutant *find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(mutants); i++) {
		if (!strcmp(mutants[i].name, name))
			return &mutants[i];
	}
	return NULL;
}

/* -- In the process of a mutant -- */

static void run_mutant(const struct campaign *campaign, const struct mutant *mutant)
{
	const struct rlimit limit = {SECONDS_MAX, SECONDS_MAX};
	struct campaign own = *campaign;
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && dup2(fd, STDOUT_FILENO) >= 0 && dup2(fd, STDERR_FILENO) >= 0;

	if (!good || setrlimit(RLIMIT_CPU, &limit))
		_exit(1);
	own.subject = mutant->subject;
	own.states = campaign->mutant_states;
	own.only_random = true;
	own.fault_workloads = 64;
	own.oracles = 0;
	own.jobs = 0;
	good = reach_plant(mutant->name, true);
	if (mutant->with_faults)
		good = good && campaign_faults(&own);
	else
		good = good && campaign_states(&own);
	_exit(good ? 0 : 1);
}

/* -- Outside -- */

static bool is_killed(int status)
{
	if (WIFSIGNALED(status))
		return true;
	return WIFEXITED(status) && WEXITSTATUS(status) == TRIAL_FOUND;
}

static void run_part(void *arg, unsigned part, void *result UNUSED)
{
	const struct score *score = arg;

	run_mutant(score->campaign, score->chosen[part]);
}

static void judge(struct score *score, const struct mutant *mutant, const struct job *job)
{
	bool killed = is_killed(job->status);

	score->killed += killed;
	printf("%s mutant %s %s, %.1f s: %s\n", killed ? "PASS" : "FAIL", mutant->name,
	       killed ? "killed" : "survived", (double)job->took_ns / 1e9, mutant->rule);
}

static void choose(void *arg, const char *name)
{
	struct score *score = arg;
	const struct mutant *mutant = find(name);

	if (!mutant) {
		printf("FAIL mutant %s is in no table (tests/crash/mutants.c)\n", name);
		score->unknown++;
	} else if (!score->campaign->subject ||
		   !strcmp(score->campaign->subject, mutant->subject)) {
		score->chosen[score->planted++] = mutant;
	}
}

static void run_chosen(struct score *score)
{
	struct jobs jobs = {
		.processes = score->campaign->jobs,
		.parts = score->planted,
		.run = run_part,
		.arg = score,
		.go_on = true,
	};

	/* That they fail is what is wanted. */
	(void)!jobs_run(&jobs);
	for (unsigned i = 0; i < score->planted; i++)
		judge(score, score->chosen[i], &jobs.job[i]);
	jobs_free(&jobs);
}

bool campaign_mutants(const struct campaign *campaign)
{
	struct score score = {.campaign = campaign};

	reach_each_plant(choose, &score);
	run_chosen(&score);
	printf("mutants: %u killed of %u planted\n", score.killed, score.planted);
	for (unsigned i = 0; i < ARRAY_SIZE(mutants); i++) {
		if (!reach_plant(mutants[i].name, false)) {
			printf("FAIL mutant %s is nowhere planted\n", mutants[i].name);
			score.unknown++;
		}
	}
	return score.killed == score.planted && !score.unknown;
}
