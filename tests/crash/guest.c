/*
 * The guest's requests, through lun/. See guest.h. Runs on the machine's loop.
 */
#include "tests/crash/guest.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/crash/pattern.h"
#include "tests/crash/trial.h"

/* More turns than any workload takes: something goes round in circles. */
#define TURNS_MAX 200000u
#define BUFFER_BYTES ((size_t)MODEL_SECTORS_MAX * DISK_SECTOR_BYTES)

void guest_init(struct guest *guest, struct trial *trial)
{
	guest->trial = trial;
	for (unsigned i = 0; i < GUEST_DEPTH_MAX; i++) {
		guest->slots[i].guest = guest;
		guest->slots[i].buffer = aligned_alloc(4096, BUFFER_BYTES);
		assert(guest->slots[i].buffer);
	}
}

void guest_clear(struct guest *guest)
{
	for (unsigned i = 0; i < GUEST_DEPTH_MAX; i++)
		free(guest->slots[i].buffer);
}

/* -- Answers -- */

/* What was not flushed when the image failed may be gone. */
static bool is_allowed(const struct guest_slot *slot, uint32_t sector, uint64_t word)
{
	const struct trial *trial = slot->guest->trial;
	const struct subject *subject = trial->identity.subject;

	if (model_allows_read(&trial->model, slot->number, sector, word))
		return true;
	return subject->has_failed && subject->has_failed(slot->guest->lun) &&
	       model_allows(&trial->model, sector, word);
}

static void judge_read(struct guest_slot *slot)
{
	struct trial *trial = slot->guest->trial;

	for (uint32_t i = 0; i < slot->step.count; i++) {
		uint32_t sector = slot->step.first + i;
		uint64_t word = pattern_parse(slot->buffer + (size_t)i * DISK_SECTOR_BYTES);

		if (is_allowed(slot, sector, word))
			continue;
		printf("sector %u was read as ", sector);
		model_print_word(word);
		printf("\n");
		trial_fail(trial, "request #%u read what it must not", slot->number);
	}
}

/* Without a fault everything goes well; with one, what may be answered is among these; and when
 * space has come back, all goes well again. */
static bool is_permitted(const struct guest_slot *slot, int res)
{
	if (res == 0)
		return true;
	if (slot->abandoned && res == -ECANCELED)
		return true;
	return slot->guest->trial->sim->faults && !slot->must_succeed &&
	       (res == -EIO || res == -ENOSPC || res == -EROFS);
}

static void judge_result(struct guest_slot *slot, int res)
{
	if (!is_permitted(slot, res))
		trial_fail(slot->guest->trial, "request #%u was answered with errno %d",
			   slot->number, -res);
}

static void on_done(struct lun_io *io, int res)
{
	struct guest_slot *slot = CONTAINER_OF(io, struct guest_slot, io);
	struct guest *guest = slot->guest;

	if (!slot->busy)
		trial_fail(guest->trial, "request #%u was answered twice", slot->number);
	sim_note(guest->trial->sim, slot->number);
	sim_note(guest->trial->sim, (uint64_t)res);
	judge_result(slot, res);
	if (res == 0 && slot->step.op == MODEL_READ)
		judge_read(slot);
	model_answer(&guest->trial->model, slot->number, res == 0);
	slot->busy = false;
	guest->busy--;
	guest->answered++;
}

/* -- Requests -- */

static void fill_buffer(const struct guest_slot *slot)
{
	const struct model *model = &slot->guest->trial->model;

	for (uint32_t i = 0; i < slot->step.count; i++) {
		uint64_t word = model_word(model, slot->number, slot->step.first + i);

		pattern_fill(slot->buffer + (size_t)i * DISK_SECTOR_BYTES, word);
	}
}

LOOP_ONLY static void submit(struct guest *guest, struct guest_slot *slot, struct step step)
{
	static const enum lun_op ops[] = {
		[MODEL_READ] = LUN_READ, [MODEL_WRITE] = LUN_WRITE, [MODEL_DISCARD] = LUN_UNMAP,
		[MODEL_ZERO] = LUN_ZERO, [MODEL_FLUSH] = LUN_FLUSH, [MODEL_PULL] = LUN_PULL,
	};
	struct trial *trial = guest->trial;
	struct lun_io *io = &slot->io;
	bool always_durable = !lun_limits(guest->lun)->write_cache;

	slot->step = step;
	slot->number = model_submit(
		&trial->model, (struct model_request){.op = step.op,
						      .durable = step.durable || always_durable,
						      .first = step.first,
						      .count = step.count});
	if (step.op == MODEL_WRITE)
		fill_buffer(slot);
	slot->must_succeed = !guest->busy && sim_has_space_again(trial->sim);
	slot->abandoned = false;
	slot->busy = true;
	guest->busy++;
	lun_io_init(io);
	io->op = ops[step.op];
	io->flags = step.durable ? LUN_IO_DURABLE : 0;
	if (step.op == MODEL_ZERO && random_one_in(&trial->guest_random, 2))
		io->flags |= LUN_IO_KEEP_HOLES;
	io->offset_bytes = (uint64_t)step.first * DISK_SECTOR_BYTES;
	io->length_bytes = (uint64_t)step.count * DISK_SECTOR_BYTES;
	if (step.op == MODEL_WRITE || step.op == MODEL_READ || step.op == MODEL_PULL) {
		io->iov[0] = (struct iovec){slot->buffer, io->length_bytes};
		io->iov_count = 1;
	}
	io->done = on_done;
	lun_io_submit(guest->lun, trial->sim->loop, io);
}

static struct guest_slot *find_free(struct guest *guest)
{
	for (unsigned i = 0; i < guest->workload.depth; i++) {
		if (!guest->slots[i].busy)
			return &guest->slots[i];
	}
	return NULL;
}

/* What may be submitted now; sometimes not all of it, so that requests meet others half-way. */
LOOP_ONLY static void submit_some(struct guest *guest)
{
	while (guest->next < guest->workload.count) {
		struct step step = guest->workload.steps[guest->next];
		struct guest_slot *slot = find_free(guest);

		if (!slot || (step.alone && guest->busy))
			return;
		if (guest->busy && random_one_in(&guest->trial->guest_random, 3))
			return;
		guest->next++;
		submit(guest, slot, step);
	}
}

/* While the gate, a range, the image or the disk have it. */
LOOP_ONLY static void abandon_some(struct guest *guest)
{
	for (unsigned i = 0; i < guest->workload.depth; i++) {
		struct guest_slot *slot = &guest->slots[i];

		if (!slot->busy || !slot->step.abandon || slot->abandoned ||
		    !random_one_in(&guest->trial->guest_random, 4))
			continue;
		slot->abandoned = true;
		model_abandon(&guest->trial->model, slot->number);
		lun_io_abandon(&slot->io);
	}
}

LOOP_ONLY static void run_turns(struct guest *guest)
{
	struct trial *trial = guest->trial;
	unsigned turns = 0;

	while (guest->next < guest->workload.count || guest->busy || !trial->sim->idle) {
		submit_some(guest);
		abandon_some(guest);
		sim_turn(trial->sim);
		if (trial->sim->idle && guest->busy)
			trial_fail(trial, "%u requests are never answered", guest->busy);
		if (++turns > TURNS_MAX)
			trial_fail(trial, "it goes round in circles");
	}
}

void guest_run(struct guest *guest)
{
	guest->next = 0;
	guest->busy = 0;
	guest->answered = 0;
	guest->trial->sim->idle = false;
	run_turns(guest);
	if (guest->answered != guest->workload.count)
		trial_fail(guest->trial, "answers: %u, requests: %u", guest->answered,
			   guest->workload.count);
}
