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
	const char *rule;    /* What it breaks. */
	bool with_faults;    /* It shows only where a call fails. */
	const char *variant; /* And seldom elsewhere. */
} mutants[] = {
	{"raw_durable_write_without_dsync", "raw", "a durable write is durable", false, NULL},
	{"raw_ends_without_flush", "raw", "durable UNMAP, and writes to the page cache", false,
	 NULL},
	{"raw_flush_takes_latecomers", "raw", "a flush covers what ended before it began", false,
	 NULL},
	{"lun_forgets_failed_flush", "raw", "a failed flush is final", true, NULL},
	{"lun_without_write_cache_is_lazy", "raw", "without a cache all is durable", false, NULL},
	{"rmw_loses_neighbours", "raw", "the rest of a block stays", false, NULL},
	{"rmw_without_range", "raw", "one at a time changes a block", false, NULL},
	{"rmw_is_not_durable", "raw", "a part of a block is durable, too", false, NULL},
	{"rmw_trusts_zeroes", "raw", "zeroes that are there are made durable", false, NULL},
	{"no_data_first", "qcow2", "O1: data before the entry", false, NULL},
	{"no_f1", "qcow2", "O1, O3: the first fdatasync of a group", false, NULL},
	{"no_copy", "qcow2", "O1: what a partial write leaves is copied", false, NULL},
	{"no_refcount", "qcow2", "O2: refcounts before references", false, NULL},
	{"entry_with_refcount_block", "qcow2", "O2: a refcount block before its entry", false,
	 NULL},
	{"early_l1", "qcow2", "O3: an L2 table before its L1 entry", false, NULL},
	{"no_f2", "qcow2", "O4: entries before what follows from them", false, NULL},
	{"early_decrement", "qcow2", "O4: references go before refcounts", false, NULL},
	{"early_reuse", "qcow2", "O4: references go before clusters come back", false, NULL},
	{"early_clean", "qcow2", "O4: holes before clusters come back", false, NULL},
	{"size_not_extended", "qcow2", "O5: the size covers what is referred to", false, NULL},
	{"grow_switches_early", "qcow2", "O6: new tables before the header", false, NULL},
	{"grow_frees_early", "qcow2", "O6: the header before old tables are given back", false,
	 NULL},
	{"grow_is_not_durable", "qcow2", "a disk that became larger stays so", false, NULL},
	{"header_with_refcount_table", "qcow2", "O6: a new table before the header", false, NULL},
	{"rebase_over_name", "qcow2", "the name that the header leads to stays", false, NULL},
	{"rebase_is_not_durable", "qcow2", "another backing file stays so", false, NULL},
	{"rebase_name_late", "qcow2", "the name before the header that leads to it", false, NULL},
	{"epochs_ignored", "qcow2", "O7: clusters wait for I/O that began before", false, NULL},
	{"discard_shows_backing", "qcow2", "UNMAP over a backing file is zeroes", false, NULL},
	{"pull_exposes_early", "qcow2", "O1: what was pulled before its entry", false, NULL},
	{"pull_leaves_zeroes", "qcow2", "what is pulled and zero does not show the base", false,
	 "chain"},
	{"pull_forgets_zeroes", "qcow2", "what is read and zero does not show the base", false,
	 "chain-extended"},
	{"frees_not_held", "qcow2", "O7: those above a layer may still read what it frees", false,
	 "extended-job"},
	{"pull_overwrites", "qcow2", "a pull leaves alone what a guest writes", false, NULL},
	{"push_below_is_zero", "qcow2", "a push leaves alone what shows from below", false, NULL},
	{"copied_out_of_place", "qcow2", "what is copied on the spot has its place", false, NULL},
	{"flush_joins_running", "qcow2", "a flush covers what ended before it began", false, NULL},
	{"recover_misses_links", "qcow2", "recovery: what is linked meanwhile is in use", false,
	 NULL},
	{"recover_misses_frees", "qcow2", "recovery: what is freed meanwhile goes its own way",
	 false, "compressed"},
	{"recover_trusts_disk", "qcow2", "recovery: memory is newer than the disk", false, NULL},
	{"recover_takes_held", "qcow2", "recovery: what the engine holds is in use", false, NULL},
	{"change_while_written", "qcow2", "a slice on its way is not changed", false, NULL},
	{"loop_short_transfer_is_whole", "raw", "a short transfer goes on", true, NULL},
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
	own.variant = mutant->variant;
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
