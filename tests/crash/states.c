/*
 * Trials without faults: every short workload of every variant, then random ones until so many
 * different states were judged.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/campaign.h"
#include "tests/crash/jobs.h"
#include "tests/crash/oracle.h"

const struct subject *const subjects[] = {&subject_raw, &subject_qcow2, NULL};

unsigned subject_variants(const struct subject *subject)
{
	unsigned count = 0;

	while (subject->variants[count])
		count++;
	return count;
}

static bool is_wanted(const struct campaign *campaign, const char *name)
{
	return !campaign->variant || strstr(name, campaign->variant);
}

unsigned campaign_variant(const struct campaign *campaign, const struct subject *subject,
			  struct random *random)
{
	unsigned count = subject_variants(subject);
	unsigned wanted = 0;
	unsigned left;

	for (unsigned i = 0; i < count; i++)
		wanted += is_wanted(campaign, subject->variants[i]);
	if (!wanted)
		return random_below(random, count);
	left = random_below(random, wanted);
	for (unsigned i = 0;; i++) {
		if (is_wanted(campaign, subject->variants[i]) && left-- == 0)
			return i;
	}
}

bool campaign_wants(const struct campaign *campaign, const struct subject *subject)
{
	return !campaign->subject || !strcmp(campaign->subject, subject->name);
}

/* -- A part -- */

/* So many states make a part, and no more parts than these. */
#define PART_STATES 12500u
#define PARTS_MAX 64u

struct part {
	struct tally tally;
	uint64_t shorts; /* Of the short workloads, so many were run. */
	uint64_t asked;  /* Of qemu-img. */
	uint64_t cpu_ns;
};

struct run {
	const struct campaign *campaign;
	const struct subject *subject;
	uint64_t states;
	unsigned parts;
};

/* What of `total` is the part's. */
static uint64_t share(const struct run *run, unsigned part, uint64_t total)
{
	return total * (part + 1) / run->parts - total * part / run->parts;
}

/* All of its short ones, or as many as come to so many states: in an order of the seed's, so that
 * another seed looks at others. How many there were. */
static uint64_t run_short(struct trial *trial, const struct run *run, unsigned part,
			  uint64_t states)
{
	unsigned variants = subject_variants(run->subject);
	uint64_t count = workload_short_count() * variants;
	uint64_t first = count * part / run->parts;
	uint64_t i = 0;

	for (; i < share(run, part, count) && trial->tally->states < states; i++) {
		/* The stride is a prime number that is no divisor of the count. */
		uint64_t number = ((first + i) * 1000003 + run->campaign->seed) % count;

		trial_run(trial, &(struct trial_identity){.subject = run->subject,
							  .variant = (unsigned)(number % variants),
							  .is_short = true,
							  .number = number / variants});
	}
	return i;
}

static void run_random(struct trial *trial, const struct run *run, struct random *random,
		       uint64_t states)
{
	while (trial->tally->states < states) {
		struct trial_identity identity = {.subject = run->subject};

		identity.variant = campaign_variant(run->campaign, run->subject, random);
		identity.number = random_next(random);
		trial_run(trial, &identity);
	}
}

static void run_part(void *arg, unsigned number, void *result)
{
	const struct run *run = arg;
	struct part *part = result;
	struct trial *trial = trial_create(run->subject, &part->tally);
	struct random random = {random_mix(run->campaign->seed) + number};
	uint64_t states = share(run, number, run->states);
	uint64_t began_ns = sim_cpu_ns();

	oracle_permit(share(run, number, run->campaign->oracles));
	run_random(trial, run, &random, states / 2);
	if (!run->campaign->only_random)
		part->shorts = run_short(trial, run, number, states * 3 / 4);
	run_random(trial, run, &random, states);
	part->asked = oracle_asked();
	part->cpu_ns = sim_cpu_ns() - began_ns;
	trial_free(trial);
}

/* -- All of them -- */

static struct part sum_up(const struct jobs *jobs)
{
	struct part sum = {0};

	for (unsigned i = 0; i < jobs->parts; i++) {
		const struct part *part = jobs_result(jobs, i);

		tally_add(&sum.tally, &part->tally);
		sum.shorts += part->shorts;
		sum.asked += part->asked;
		sum.cpu_ns += part->cpu_ns;
	}
	return sum;
}

static void report(const struct run *run, const struct part *sum)
{
	const struct tally *tally = &sum->tally;

	printf("PASS states of %s: %llu trials (%llu of %llu short), %llu cuts, %llu states (%llu "
	       "built), %llu opened again, %llu disk operations, %llu shown to qemu-img, 0 "
	       "violations, log %016llx, %.1f s of one processor, %.0f states/s\n",
	       run->subject->name, (unsigned long long)tally->trials,
	       (unsigned long long)sum->shorts,
	       (unsigned long long)workload_short_count() * subject_variants(run->subject),
	       (unsigned long long)tally->cuts, (unsigned long long)tally->states,
	       (unsigned long long)tally->built, (unsigned long long)tally->reopened,
	       (unsigned long long)tally->operations, (unsigned long long)sum->asked,
	       (unsigned long long)tally->log, (double)sum->cpu_ns / 1e9,
	       (double)tally->states * 1e9 / (double)(sum->cpu_ns + 1));
}

static bool run_subject(const struct campaign *campaign, const struct subject *subject,
			uint64_t states)
{
	struct run run = {
		.campaign = campaign,
		.subject = subject,
		.states = states,
		.parts = (unsigned)(states / PART_STATES < PARTS_MAX ? states / PART_STATES + 1
								     : PARTS_MAX),
	};
	struct jobs jobs = {
		.processes = campaign->jobs,
		.parts = run.parts,
		.run = run_part,
		.arg = &run,
		.result_bytes = sizeof(struct part),
	};
	bool good = jobs_run(&jobs);
	struct part sum = sum_up(&jobs);

	if (good)
		report(&run, &sum);
	jobs_free(&jobs);
	return good;
}

bool campaign_states(const struct campaign *campaign)
{
	unsigned wanted = 0;
	bool good = true;

	for (unsigned i = 0; subjects[i]; i++)
		wanted += campaign_wants(campaign, subjects[i]);
	printf("seed %llu\n", (unsigned long long)campaign->seed);
	for (unsigned i = 0; good && subjects[i]; i++) {
		if (campaign_wants(campaign, subjects[i]))
			good = run_subject(campaign, subjects[i], campaign->states / wanted);
	}
	return good && wanted > 0;
}

/* -- One again -- */

static const struct subject *find_subject(const char *name)
{
	for (unsigned i = 0; subjects[i]; i++) {
		if (!strcmp(subjects[i]->name, name))
			return subjects[i];
	}
	return NULL;
}

static bool find_variant(const struct subject *subject, const char *name, unsigned *out)
{
	for (*out = 0; subject->variants[*out]; (*out)++) {
		if (!strcmp(subject->variants[*out], name))
			return true;
	}
	return false;
}

bool campaign_replay(const char *text)
{
	struct trial_identity identity = {0};
	struct tally tally = {0};
	char subject[16], variant[32], kind[16];
	unsigned long long number, nth = 0;
	int error = 0;
	unsigned more = 0, kinds = UINT32_MAX;
	int found = sscanf(text, "%15[^/]/%31[^/]/%15[^/]/%llx/%llu,%d,%u,%x", subject, variant,
			   kind, &number, &nth, &error, &more, &kinds);

	if (found != 4 && found != 8)
		return false;
	identity.subject = find_subject(subject);
	if (!identity.subject || !find_variant(identity.subject, variant, &identity.variant))
		return false;
	identity.is_short = !strcmp(kind, "short");
	identity.is_brief = !strcmp(kind, "brief");
	identity.number = number;
	identity.fault =
		(struct sim_fault){.nth = nth, .error = error, .more = more, .kinds = kinds};
	trial_run(trial_create(identity.subject, &tally), &identity);
	printf("no violation: %llu states\n", (unsigned long long)tally.states);
	return true;
}
