/*
 * One workload, cut everywhere. See trial.h.
 */
#include "tests/crash/trial.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/crash/oracle.h"
#include "tests/crash/pattern.h"

#define STEPS_LONG 60u
#define STEPS_SHORT 12u
/* What goes on in an image that a cut left: few steps, few states, since there are many images. */
#define STEPS_REOPENED 4u

/* -- Reports -- */

void trial_print_identity(const struct trial_identity *identity)
{
	printf("%s/%s/%s/%llx", identity->subject->name,
	       identity->subject->variants[identity->variant],
	       identity->is_short   ? "short"
	       : identity->is_brief ? "brief"
				    : "random",
	       (unsigned long long)identity->number);
	if (identity->fault.nth) {
		printf("/%llu,%d,%u,%x", (unsigned long long)identity->fault.nth,
		       identity->fault.error, identity->fault.more, identity->fault.kinds);
	}
}

static void print_requests(const struct model *model)
{
	static const char *const names[] = {
		[MODEL_READ] = "read", [MODEL_WRITE] = "write", [MODEL_DISCARD] = "discard",
		[MODEL_ZERO] = "zero", [MODEL_FLUSH] = "flush", [MODEL_PULL] = "pull",
	};

	for (uint32_t i = 1; i < model->request_count; i++) {
		const struct model_request *request = &model->requests[i];

		printf("  #%u%s %s%s sectors %u+%u, submitted at %llu, ", i,
		       request->abandoned ? " (abandoned)" : "", names[request->op],
		       request->durable ? " durable" : "", request->first, request->count,
		       (unsigned long long)request->submitted);
		if (request->answered) {
			printf("answered %s at %llu\n", request->ok ? "well" : "with an error",
			       (unsigned long long)request->answered);
		} else {
			printf("not answered\n");
		}
	}
}

static void print_events(const struct disk *disk, const struct fate *fates)
{
	static const char *const kinds[] = {[DISK_WRITE] = "write",
					    [DISK_ZERO] = "zero",
					    [DISK_GROW] = "grow to",
					    [DISK_CUT] = "cut to"};
	static const char *const names[] = {[FATE_LOST] = "lost",
					    [FATE_KEPT] = "kept",
					    [FATE_PREFIX] = "its beginning",
					    [FATE_SUFFIX] = "its end",
					    [FATE_SPOTS] = "spots of it"};

	for (unsigned i = 0; i < disk->event_count; i++) {
		const struct disk_event *event = disk->events[i];

		printf("  file %u %s %llu+%llu%s, %s: %s", event->file, kinds[event->kind],
		       (unsigned long long)event->offset, (unsigned long long)event->length,
		       event->is_data ? " (data)" : "", event->ended ? "ended" : "under way",
		       event->durable ? "durable" : names[fates[i].kind]);
		if (event->durable || fates[i].kind <= FATE_KEPT) {
			printf("\n");
		} else {
			printf(" (%u bytes, %u)\n", fates[i].unit_bytes, fates[i].at);
		}
	}
}

/* Of this machine and of those whose cuts it stands on. */
static void print_trial(const struct trial *trial)
{
	for (; trial; trial = trial->outer) {
		printf("-- machine %u, cut %llu, state %llu; requests:\n", trial->level,
		       (unsigned long long)trial->cut_number,
		       (unsigned long long)trial->state_number);
		print_requests(&trial->model);
		printf("changes that were not durable, and what the cut made of them:\n");
		print_events(trial->sim->disk, trial->cuts.fates);
	}
}

void trial_fail(struct trial *trial, const char *format, ...)
{
	const struct trial *first = trial;
	va_list args;

	while (first->outer)
		first = first->outer;
	printf("FAIL ");
	va_start(args, format);
	(void)vprintf(format, args);
	va_end(args);
	printf("\nreplay with: --replay=");
	trial_print_identity(&first->identity);
	printf("\n");
	print_trial(trial);
	(void)fflush(stdout);
	oracle_clear();
	_Exit(TRIAL_FOUND);
}

/* -- States -- */

LOOP_ONLY static void reopen(struct trial *trial);

static void judge(struct trial *trial)
{
	const struct subject *subject = trial->identity.subject;
	char why[SUBJECT_WHY_BYTES];

	if (!subject->read(trial->scratch, trial->identity.variant, &trial->changes, trial->words,
			   why))
		trial_fail(trial, "%s", why);
	for (uint32_t i = 0; i < subject->sectors; i++) {
		if (model_allows(&trial->model, i, trial->words[i]))
			continue;
		printf("sector %u has ", i);
		model_print_word(trial->words[i]);
		printf(", allowed: ");
		model_explain(&trial->model, i);
		printf("\n");
		trial_fail(trial, "neither old nor new");
	}
}

static void on_state(void *arg, const struct fate *fates)
{
	struct trial *trial = arg;
	uint64_t key = random_mix(trial->model.tightened);

	loop_role_assume();
	trial->tally->built++;
	disk_crash(trial->sim->disk, fates, trial->scratch);
	key ^= disk_hash(trial->scratch);
	sim_note(trial->sim, key);
	if (!seen_add(&trial->seen, key))
		return;
	trial->tally->states++;
	trial->state_number++;
	judge(trial);
	if (trial->inner && random_one_in(&trial->random, trial->reopen_one_in))
		reopen(trial);
}

static void on_rest(struct sim *sim)
{
	struct trial *trial = sim->user;
	struct disk *disk = sim->disk;

	if (trial->looked_version != disk->version || trial->looked_tight != trial->model.tightened)
		trial->cuts.epoch++;
	else if (trial->looked_issued == disk->issued)
		return;
	trial->looked_version = disk->version;
	trial->looked_tight = trial->model.tightened;
	trial->looked_issued = disk->issued;
	trial->tally->cuts++;
	trial->cut_number++;
	cuts_look(&trial->cuts, disk);
}

/* -- The run -- */

/* What its orderly end leaves is as durable as by a flush. */
LOOP_ONLY static void stop(struct trial *trial)
{
	const struct subject *subject = trial->identity.subject;
	uint32_t flush;
	int res;

	if (!subject->stop)
		return;
	flush = model_submit(&trial->model, (struct model_request){.op = MODEL_FLUSH});
	res = subject->stop(trial->sim, trial->guest.lun);
	if (res == -ETIME || (res && !trial->sim->faults))
		trial_fail(trial, "its orderly end: errno %d", -res);
	model_answer(&trial->model, flush, res == 0);
	on_rest(trial->sim);
}

/* As much of its disk as workloads know. */
static struct workload_shape shape_of(const struct trial *trial)
{
	const struct subject *subject = trial->identity.subject;
	uint64_t sectors = lun_state(trial->guest.lun)->size_bytes / DISK_SECTOR_BYTES;

	if (sectors > subject->sectors)
		sectors = subject->sectors;
	return (struct workload_shape){
		.sectors = (uint32_t)sectors,
		.cluster_sectors = subject->cluster_sectors,
		.pulls = subject->pulls,
		.jobs = subject->has_jobs && subject->has_jobs(trial->identity.variant),
	};
}

static void plan(struct trial *trial)
{
	const struct trial_identity *identity = &trial->identity;
	struct workload_shape shape = shape_of(trial);
	struct workload *workload = &trial->guest.workload;
	struct random *random = &trial->guest_random;
	bool is_long = random_one_in(random, 3) && !identity->is_brief;

	if (trial->level)
		workload_reopened(workload, &shape, random, STEPS_REOPENED);
	else if (identity->is_short)
		workload_short(workload, &shape, identity->number);
	else
		workload_random(workload, &shape, random,
				1 + random_below(random, is_long ? STEPS_LONG : STEPS_SHORT));
}

/* It is opened, used and closed. False: where something failed before, it cannot be opened. */
LOOP_ONLY static bool use(struct trial *trial)
{
	const struct subject *subject = trial->identity.subject;
	char why[SUBJECT_WHY_BYTES] = "";

	trial->guest.lun = subject->open(trial->sim, trial->identity.variant, trial->level,
					 &trial->changes, why);
	if (!trial->guest.lun && !trial->sim->faults)
		trial_fail(trial, "it cannot be opened: %s", why);
	if (!trial->guest.lun)
		return false;
	plan(trial);
	guest_run(&trial->guest);
	stop(trial);
	subject->close(trial->guest.lun);
	sim_unbind(trial->sim);
	return true;
}

/* Changed while it is closed, without the loop. */
static void change(struct trial *trial)
{
	const struct subject *subject = trial->identity.subject;
	char why[SUBJECT_WHY_BYTES] = "";
	int res = 0;

	if (subject->change)
		res = subject->change(trial->sim, trial->identity.variant, &trial->changes,
				      &trial->guest_random, why);
	if (res && !trial->sim->faults)
		trial_fail(trial, "its change: %s", why);
}

/* Of the states of a brief one it is enough to see some: each cut comes back many times. */
static void choose_cuts(struct trial *trial)
{
	if (trial->level) {
		trial->cuts.plan = (struct cut_plan){.subset_bits = 4, .random_states = 2};
		trial->reopen_one_in = 128;
	} else if (trial->identity.is_brief) {
		trial->cuts.plan = (struct cut_plan){.subset_bits = 2, .random_states = 1};
		trial->reopen_one_in = 256;
	} else {
		trial->cuts.plan = (struct cut_plan){.subset_bits = 6, .random_states = 8};
		trial->reopen_one_in = 64;
	}
}

LOOP_ONLY static void run(struct trial *trial)
{
	struct sim *outer = sim_enter(trial->sim);
	bool open = true;

	choose_cuts(trial);
	seen_clear(&trial->seen);
	trial->cuts.epoch = 1;
	trial->cuts.seen_epoch = 0;
	trial->looked_version = UINT64_MAX;
	trial->cut_number = 0;
	trial->state_number = 0;
	trial->sim->at_rest = on_rest;
	if (trial->change_first)
		change(trial);
	open = !trial->sim->faults && use(trial);
	/* After a failed fdatasync nobody knows what a reader finds that is not durable. */
	if (trial->change_later && open && !trial->sim->faults)
		change(trial);
	if (trial->change_later && open && !trial->sim->faults)
		(void)use(trial);
	trial->sim->at_rest = NULL;
	trial->tally->trials++;
	trial->tally->operations += trial->sim->operations;
	trial->tally->faulted += trial->sim->faults;
	trial->tally->log += random_mix(trial->sim->log);
	(void)sim_enter(outer);
}

/* The same image on a machine of its own, after the cut that `scratch` holds. */
LOOP_ONLY static void reopen(struct trial *trial)
{
	const struct subject *subject = trial->identity.subject;
	struct trial *inner = trial->inner;

	trial->tally->reopened++;
	inner->identity = trial->identity;
	inner->random = (struct random){random_next(&trial->random)};
	inner->guest_random = (struct random){random_next(&trial->random)};
	inner->cuts.random = (struct random){random_next(&trial->random)};
	sim_reset(inner->sim, random_next(&trial->random));
	for (unsigned i = 0; i < subject->files; i++)
		disk_copy(inner->sim->disk, i, &trial->scratch->files[i].base);
	model_init(&inner->model, trial->words, subject->sectors,
		   trial->model.number_base + MODEL_WRITES_MAX);
	inner->changes = (struct changes){0};
	if (subject->shown)
		inner->changes.done = subject->shown(trial->scratch, trial->identity.variant);
	inner->changes.begun = inner->changes.done;
	inner->change_first = random_one_in(&inner->guest_random, 4);
	run(inner);
}

void trial_run(struct trial *trial, const struct trial_identity *identity)
{
	const struct subject *subject = identity->subject;
	struct random random = {random_mix(identity->number) ^ identity->variant};

	loop_role_assume();
	trial->identity = *identity;
	trial->random = (struct random){random_next(&random)};
	trial->guest_random = (struct random){random_next(&random)};
	trial->cuts.random = (struct random){random_next(&random)};
	sim_reset(trial->sim, random_next(&random));
	subject->format(trial->sim->disk, identity->variant, &random, trial->words);
	model_init(&trial->model, trial->words, subject->sectors, 0);
	trial->changes = (struct changes){0};
	trial->change_first = !identity->is_short && random_one_in(&random, 8);
	trial->change_later = !identity->is_short && random_one_in(&random, 2);
	if (identity->fault.nth || identity->fault.kinds)
		trial->sim->fault = identity->fault;
	run(trial);
}

void tally_add(struct tally *sum, const struct tally *tally)
{
	sum->trials += tally->trials;
	sum->cuts += tally->cuts;
	sum->states += tally->states;
	sum->built += tally->built;
	sum->reopened += tally->reopened;
	sum->operations += tally->operations;
	sum->faulted += tally->faulted;
	sum->log += tally->log;
}

/* -- Life -- */

static struct trial *create(const struct subject *subject, struct tally *tally, unsigned level)
{
	struct trial *trial = calloc(1, sizeof(*trial));

	assert(trial && subject->sectors <= MODEL_SECTORS_MAX);
	trial->identity.subject = subject;
	trial->tally = tally;
	trial->level = level;
	trial->sim = sim_create(subject->files, subject->room_bytes);
	trial->sim->user = trial;
	trial->scratch = disk_create(subject->files, subject->room_bytes);
	trial->cuts.visit = on_state;
	trial->cuts.arg = trial;
	guest_init(&trial->guest, trial);
	return trial;
}

struct trial *trial_create(const struct subject *subject, struct tally *tally)
{
	struct trial *outer = NULL;
	struct trial *first = NULL;

	for (unsigned level = 0; level < SUBJECT_LEVELS; level++) {
		struct trial *trial = create(subject, tally, level);

		trial->outer = outer;
		if (outer) {
			outer->inner = trial;
		} else {
			first = trial;
		}
		outer = trial;
	}
	return first;
}

void trial_free(struct trial *trial)
{
	while (trial) {
		struct trial *inner = trial->inner;

		guest_clear(&trial->guest);
		seen_free(&trial->seen);
		disk_free(trial->scratch);
		sim_free(trial->sim);
		free(trial);
		trial = inner;
	}
}
