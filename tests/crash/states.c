/*
 * Trials without faults: every short workload of every variant, then random ones until so many
 * different states were judged.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/campaign.h"
#include "tests/crash/oracle.h"

const struct subject *const subjects[] = {&subject_raw, &subject_qcow2, NULL};

unsigned subject_variants(const struct subject *subject)
{
	unsigned count = 0;

	while (subject->variants[count])
		count++;
	return count;
}

bool campaign_wants(const struct campaign *campaign, const struct subject *subject)
{
	return !campaign->subject || !strcmp(campaign->subject, subject->name);
}

/* All of them, or as many as come to so many states: in an order of the seed's, so that another
 * seed looks at others. How many there were. */
static uint64_t run_short(struct trial *trial, const struct subject *subject, uint64_t seed,
			  uint64_t states)
{
	unsigned variants = subject_variants(subject);
	uint64_t count = workload_short_count() * variants;
	uint64_t i = 0;

	for (; i < count && trial->tally->states < states; i++) {
		/* The stride is a prime number that is no divisor of the count. */
		uint64_t number = (i * 1000003 + seed) % count;

		trial_run(trial, &(struct trial_identity){.subject = subject,
							  .variant = (unsigned)(number % variants),
							  .is_short = true,
							  .number = number / variants});
	}
	return i;
}

static void run_random(struct trial *trial, const struct subject *subject, uint64_t seed,
		       uint64_t states)
{
	struct random random = {seed};

	while (trial->tally->states < states) {
		struct trial_identity identity = {.subject = subject};

		identity.variant = random_below(&random, subject_variants(subject));
		identity.number = random_next(&random);
		trial_run(trial, &identity);
	}
}

static void report(const struct subject *subject, const struct tally *tally, uint64_t shorts,
		   uint64_t took_ns)
{
	printf("PASS states of %s: %llu trials (%llu of %llu short), %llu cuts, %llu states (%llu "
	       "built), %llu opened "
	       "again, "
	       "%llu disk operations, 0 violations, %.1f s, %.0f states/s\n",
	       subject->name, (unsigned long long)tally->trials, (unsigned long long)shorts,
	       (unsigned long long)workload_short_count() * subject_variants(subject),
	       (unsigned long long)tally->cuts, (unsigned long long)tally->states,
	       (unsigned long long)tally->built, (unsigned long long)tally->reopened,
	       (unsigned long long)tally->operations, (double)took_ns / 1e9,
	       (double)tally->states * 1e9 / (double)(took_ns + 1));
}

static void run_subject(const struct campaign *campaign, const struct subject *subject,
			uint64_t states)
{
	struct tally tally = {0};
	struct trial *trial = trial_create(subject, &tally);
	uint64_t began_ns = sim_real_ns();
	uint64_t shorts = 0;

	run_random(trial, subject, campaign->seed, states / 2);
	if (!campaign->only_random)
		shorts = run_short(trial, subject, campaign->seed, states * 3 / 4);
	run_random(trial, subject, campaign->seed + 1, states);
	report(subject, &tally, shorts, sim_real_ns() - began_ns);
	trial_free(trial);
}

bool campaign_states(const struct campaign *campaign)
{
	unsigned wanted = 0;

	for (unsigned i = 0; subjects[i]; i++)
		wanted += campaign_wants(campaign, subjects[i]);
	printf("seed %llu\n", (unsigned long long)campaign->seed);
	for (unsigned i = 0; subjects[i]; i++) {
		if (campaign_wants(campaign, subjects[i]))
			run_subject(campaign, subjects[i], campaign->states / wanted);
	}
	printf("qemu-img agreed on %llu states\n", (unsigned long long)oracle_asked());
	return wanted > 0;
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
	int error = 0, persistent = 0;
	unsigned kinds = UINT32_MAX;
	int found = sscanf(text, "%15[^/]/%31[^/]/%15[^/]/%llx/%llu,%d,%d,%x", subject, variant,
			   kind, &number, &nth, &error, &persistent, &kinds);

	if (found != 4 && found != 8)
		return false;
	identity.subject = find_subject(subject);
	if (!identity.subject || !find_variant(identity.subject, variant, &identity.variant))
		return false;
	identity.is_short = !strcmp(kind, "short");
	identity.is_brief = !strcmp(kind, "brief");
	identity.number = number;
	identity.fault = (struct sim_fault){
		.nth = nth, .error = error, .persistent = persistent, .kinds = kinds};
	trial_run(trial_create(identity.subject, &tally), &identity);
	printf("no violation: %llu states\n", (unsigned long long)tally.states);
	return true;
}
