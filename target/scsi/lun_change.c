/*
 * Changes of a target's table of logical units while loops run; see lun_change.h.
 *
 * Why a logical unit may be freed after a settled change, a drain and one more round: whoever had
 * found it before the change did so in a turn that has ended since; what such a turn left behind is
 * I/O (drained), a switch (settled), a record of task management that only compares its address, or
 * a message to a loop, which is older than the last round's.
 *
 * Runs on the control loop, rounds on all. Read next: scsi_target.c.
 */
#include "target/scsi/lun_change.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "target/scsi/device.h"

struct scsi_target *scsi_lu_target(const struct scsi_lu *lu)
{
	return lu->target;
}

bool scsi_lun_change_removes(const struct scsi_lun_change *change, const struct scsi_lu *lu)
{
	return atomic_load_explicit(&lu->removed_by, memory_order_relaxed) == change;
}

/* -- The table -- */

static void give_slot_back(struct scsi_lu *lu)
{
	struct scsi_target *target = lu->target;
	uint16_t *slots =
		reallocarray(target->slots_free, target->slots_free_count + 1u, sizeof(*slots));

	/* Without memory the slot is not used again, which is all that is lost. */
	if (slots == NULL)
		return;
	target->slots_free = slots;
	slots[target->slots_free_count++] = lu->slot;
}

/* Beside all that there are, those that are removed, too. */
static int place(struct scsi_lun_change *change, struct scsi_lu *lu)
{
	const struct scsi_lu_table *now = scsi_target_lus(change->target);
	struct scsi_lu_table *next = change->next;
	int res;

	if (scsi_lu_table_find(now, lu->number) != NULL ||
	    scsi_lu_table_find(next, lu->number) != NULL)
		return -EEXIST;
	res = scsi_lu_place(lu, (size_t)now->count + next->count);
	if (res == 0)
		scsi_lu_table_insert(next, lu);
	return res;
}

void scsi_lun_change_cancel(struct scsi_lun_change *change)
{
	for (unsigned i = 0; i < change->next->count; i++)
		give_slot_back(change->next->lus[i]);
	free(change->next);
	change->next = NULL;
}

int scsi_lun_change_prepare(struct scsi_lun_change *change)
{
	int res = 0;

	change->room = (size_t)scsi_target_lus(change->target)->count + change->added_count;
	change->next = malloc(sizeof(*change->next) + change->room * sizeof(void *));
	if (change->next == NULL)
		return -ENOMEM;
	change->next->count = 0;
	for (unsigned i = 0; res == 0 && i < change->added_count; i++)
		res = place(change, change->added[i]);
	if (res != 0)
		scsi_lun_change_cancel(change);
	return res;
}

/* Fixed format: D_SENSE speaks of sense data that come with a status. */
LOOP_ONLY static void tell(struct scsi_nexus *nexus, const struct scsi_lu *lu,
			   enum scsi_sense reason)
{
	const struct scsi_sense_data data = {.reason = reason};
	struct scsi_event event;

	if (nexus->on_event == NULL)
		return;
	scsi_lun_field(lu != NULL ? lu->number : 0, event.lun_field);
	event.sense_bytes = sense_write(event.sense, SENSE_FORMAT_FIXED, &data);
	nexus->on_event(nexus->event_arg, &event);
}

static bool on_each_loop(struct loop_round *round, struct loop *loop)
{
	struct scsi_lun_change *change = CONTAINER_OF(round, struct scsi_lun_change, round);
	struct list_node *nexuses = &change->target->nexuses[loop_index(loop)];

	loop_role_assume();
	LIST_FOREACH (node, nexuses) {
		struct scsi_nexus *nexus = CONTAINER_OF(node, struct scsi_nexus, link);

		scsi_nexus_raise_all(nexus, SCSI_UA_LUNS_CHANGED);
		tell(nexus, NULL, SENSE_REPORTED_LUNS_CHANGED);
		if (nexus->on_change != NULL)
			nexus->on_change(nexus->change_arg, change);
	}
	return true;
}

static void on_all_loops(struct loop_round *round)
{
	struct scsi_lun_change *change = CONTAINER_OF(round, struct scsi_lun_change, round);

	free(change->old);
	change->done(change);
}

void scsi_lun_change_start(struct scsi_lun_change *change)
{
	const struct scsi_lu_table *now = scsi_target_lus(change->target);

	/* Others may have removed some since, and nobody has added any. */
	assert((size_t)now->count + change->added_count <= change->room);
	for (unsigned i = 0; i < change->removed_count; i++)
		atomic_store_explicit(&change->removed[i]->removed_by, change,
				      memory_order_relaxed);
	for (unsigned i = 0; i < now->count; i++) {
		if (!scsi_lun_change_removes(change, now->lus[i]))
			scsi_lu_table_insert(change->next, now->lus[i]);
	}
	change->old = (struct scsi_lu_table *)(uintptr_t)now;
	atomic_store_explicit(&change->target->lus.current, change->next, memory_order_release);
	loop_round_start(&change->round, change->target->group, change->control, on_each_loop,
			 on_all_loops);
}

/* -- The end of one -- */

static enum scsi_switch_step begin_nothing(struct scsi_switch *change UNUSED)
{
	return SCSI_SWITCH_END;
}

static void on_settled(struct scsi_switch *change)
{
	struct scsi_lu_end *end = CONTAINER_OF(change, struct scsi_lu_end, barrier);

	end->done(end);
}

int scsi_lu_settle(struct scsi_lu_end *end)
{
	end->barrier = (struct scsi_switch){
		.lu = end->lu, .loop = end->control, .begin = begin_nothing, .done = on_settled};
	return scsi_switch_start(&end->barrier);
}

static bool forget_on_loop(struct loop_round *round, struct loop *loop)
{
	struct scsi_lu_end *end = CONTAINER_OF(round, struct scsi_lu_end, round);
	struct list_node *nexuses = &end->lu->target->nexuses[loop_index(loop)];

	loop_role_assume();
	LIST_FOREACH (node, nexuses)
		scsi_nexus_clear_slot(CONTAINER_OF(node, struct scsi_nexus, link), end->lu->slot);
	return true;
}

static void on_forgotten(struct loop_round *round)
{
	struct scsi_lu_end *end = CONTAINER_OF(round, struct scsi_lu_end, round);

	give_slot_back(end->lu);
	scsi_lu_free(end->lu);
	end->lu = NULL;
	end->done(end);
}

void scsi_lu_forget(struct scsi_lu_end *end)
{
	loop_round_start(&end->round, end->lu->target->group, end->control, forget_on_loop,
			 on_forgotten);
}

/* -- News -- */

static struct scsi_lu_news *news_of(struct scsi_switch *change)
{
	return CONTAINER_OF(change, struct scsi_lu_news, change);
}

static enum scsi_switch_step begin_telling(struct scsi_switch *change)
{
	struct scsi_lu_news *news = news_of(change);
	bool follows;

	loop_role_assume();
	atomic_store_explicit(&change->lu->warn_percent, news->warn_percent, memory_order_relaxed);
	follows = scsi_mode_follow(change->lu, &news->mode_changed);
	return follows || news->grown || news->replaced ? SCSI_SWITCH_PUBLISH : SCSI_SWITCH_END;
}

static void tell_news(struct scsi_switch *change, struct scsi_nexus *nexus)
{
	const struct scsi_lu_news *news = news_of(change);

	loop_role_assume();
	if (!scsi_nexus_sees(nexus, change->lu))
		return;
	if (news->replaced) {
		scsi_nexus_raise(nexus, change->lu, SCSI_UA_MEDIUM_CHANGED);
		tell(nexus, change->lu, SENSE_MEDIUM_CHANGED);
	}
	if (news->grown) {
		scsi_nexus_raise(nexus, change->lu, SCSI_UA_CAPACITY_CHANGED);
		tell(nexus, change->lu, SENSE_CAPACITY_CHANGED);
	}
	if (news->mode_changed)
		scsi_nexus_raise(nexus, change->lu, SCSI_UA_MODE_PARAMETERS_CHANGED);
}

static void on_news_over(struct loop_msg *msg)
{
	struct scsi_lu_news *news = CONTAINER_OF(msg, struct scsi_lu_news, msg);

	news->done(news);
}

static void on_told(struct scsi_switch *change)
{
	struct scsi_lu_news *news = news_of(change);

	loop_post(news->control, &news->msg, on_news_over);
}

static void on_renew(struct loop_msg *msg)
{
	struct scsi_lu_news *news = CONTAINER_OF(msg, struct scsi_lu_news, msg);

	loop_role_assume();
	news->res = scsi_switch_start(&news->change);
	if (news->res != 0)
		loop_post(news->control, &news->msg, on_news_over);
}

/* What mode pages say depends on what loops publish, so one of them does it. */
void scsi_lu_renew(struct scsi_lu_news *news)
{
	struct loop *loop = news->lu->target->group->loops[0];

	news->change = (struct scsi_switch){.lu = news->lu,
					    .loop = loop,
					    .begin = begin_telling,
					    .each = tell_news,
					    .done = on_told};
	loop_post(loop, &news->msg, on_renew);
}

/* -- The end of a target -- */

static void on_target_settled(struct scsi_switch *change)
{
	struct scsi_target_end *end = CONTAINER_OF(change, struct scsi_target_end, barrier);

	end->done(end);
}

int scsi_target_settle(struct scsi_target_end *end)
{
	end->barrier = (struct scsi_switch){.target = end->target,
					    .loop = end->control,
					    .begin = begin_nothing,
					    .done = on_target_settled};
	return scsi_switch_start(&end->barrier);
}

/* -- Nexuses -- */

void scsi_nexus_on_change(struct scsi_nexus *nexus, scsi_nexus_change_fn *on_change, void *arg)
{
	nexus->on_change = on_change;
	nexus->change_arg = arg;
}

void scsi_nexus_on_event(struct scsi_nexus *nexus, scsi_nexus_event_fn *on_event, void *arg)
{
	nexus->on_event = on_event;
	nexus->event_arg = arg;
}
