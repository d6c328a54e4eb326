/*
 * What is removed, on its way out; see retire.h.
 *
 * A tick looks now and then whether what is waited for has come that tells nobody: sessions of a
 * target that have ended, generations that are not held any more, a disk that is well again.
 *
 * Runs on the control loop.
 */
#include "target/ctl/retire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "target/ctl/lun_end.h"
#include "target/scsi/lun_change.h"

#define TICK_MS 50u
/* A drain holds up nobody, because nobody finds the LUN; it is begun anew. */
#define DRAIN_NS (2 * CLOCK_NS_PER_S)
/* Somebody should know by then. */
#define STUCK_NS (5 * CLOCK_NS_PER_S)

enum lun_stage {
	LUN_RECORDED, /* Nothing has happened yet. */
	LUN_WAITING,  /* For its target's sessions. */
	LUN_CHANGING, /* Being unpublished. */
	LUN_LEAVING,  /* Looks at its space. */
	LUN_SETTLING, /* Switches. */
	LUN_ENDING,   /* Flush and drain. */
	LUN_DRAINED,  /* For generations. */
	LUN_FORGETTING,
	LUN_CLOSING, /* A helper thread does. */
	LUN_GONE,
};

struct retired_lun {
	struct list_node link;
	struct retire *retire;
	struct retired_target *owner; /* NULL: its target stays. */
	struct lun *lun;
	char *image; /* NULL: none. */
	struct scsi_lu *lu;
	struct scsi_target *target;
	uint64_t generation; /* The last one that has it. */
	uint64_t since_ns;
	enum lun_stage stage;
	bool told;
	struct scsi_lun_change change;
	struct scsi_lu_end lu_end;
	struct lun_end end;
	struct loop_op close_op;
};

struct retired_target {
	struct list_node link;
	struct retire *retire;
	struct scsi_target *scsi;
	uint64_t generation;
	bool begun;
	bool closing; /* Its sessions have been told. */
	bool settling;
	bool settled;
	struct scsi_target_end end;
};

struct retire {
	struct runtime *runtime;
	struct list_node luns;
	struct list_node targets;
	struct loop_timer tick;
	unsigned next_loop;
	void (*on_empty)(void *arg);
	void *arg;
};

static struct loop *control_of(const struct retire *retire)
{
	return retire->runtime->server.control;
}

/* -- Generations -- */

struct generation *retire_hold(struct runtime *runtime)
{
	runtime->now->holds++;
	return runtime->now;
}

static void free_unheld(struct runtime *runtime)
{
	LIST_FOREACH (node, &runtime->generations) {
		struct generation *generation = CONTAINER_OF(node, struct generation, link);

		/* One that was replaced a moment ago is held by its round. */
		if (generation == runtime->now || generation->holds > 0)
			continue;
		list_remove(&generation->link);
		generation_free(generation);
	}
}

void retire_release(struct runtime *runtime, struct generation *generation)
{
	generation->holds--;
	free_unheld(runtime);
}

/* Nobody can have anything of this one in hand. */
static bool is_past(const struct retire *retire, uint64_t generation)
{
	struct list_node *oldest = retire->runtime->generations.next;

	return CONTAINER_OF(oldest, struct generation, link)->view.generation > generation;
}

/* -- A LUN -- */

LOOP_ONLY static void lun_gone(struct retired_lun *item);

static void on_closed(struct loop_op *op, int res UNUSED)
{
	struct retired_lun *item = CONTAINER_OF(op, struct retired_lun, close_op);

	loop_role_assume();
	lun_gone(item);
}

static int call_close(struct loop_op *op)
{
	lun_close(CONTAINER_OF(op, struct retired_lun, close_op)->lun);
	return 0;
}

static void on_forgotten(struct scsi_lu_end *end)
{
	struct retired_lun *item = CONTAINER_OF(end, struct retired_lun, lu_end);

	loop_role_assume();
	log_info("ctl", "%s: removed, its image is free", lun_name(item->lun));
	item->stage = LUN_CLOSING;
	loop_op_init(&item->close_op);
	loop_call(control_of(item->retire), &item->close_op, call_close, on_closed);
}

LOOP_ONLY static void forget_if_past(struct retired_lun *item)
{
	if (!is_past(item->retire, item->generation))
		return;
	item->stage = LUN_FORGETTING;
	item->lu_end.done = on_forgotten;
	scsi_lu_forget(&item->lu_end);
}

LOOP_ONLY static void end_lun(struct retired_lun *item);

LOOP_ONLY static void on_lun_ended(struct lun_end *end)
{
	struct retired_lun *item = CONTAINER_OF(end, struct retired_lun, end);

	if (end->drain_res != 0) {
		end_lun(item);
		return;
	}
	if (end->flush_res != 0)
		log_error("ctl", "%s: the last flush failed: %s; writes may be lost",
			  lun_name(item->lun), strerrordesc_np(-end->flush_res));
	item->stage = LUN_DRAINED;
	forget_if_past(item);
}

static void end_lun(struct retired_lun *item)
{
	const struct loop_group *group = &item->retire->runtime->server.group;

	item->stage = LUN_ENDING;
	item->end = (struct lun_end){
		.lun = item->lun,
		.control = control_of(item->retire),
		.loop = group->loops[item->retire->next_loop++ % group->count],
		.deadline_ns = loop_now_ns(control_of(item->retire)) + DRAIN_NS,
		.done = on_lun_ended,
	};
	lun_end_start(&item->end);
}

static void on_settled(struct scsi_lu_end *end)
{
	loop_role_assume();
	end_lun(CONTAINER_OF(end, struct retired_lun, lu_end));
}

static void on_left(void *arg)
{
	struct retired_lun *item = arg;

	loop_role_assume();
	item->stage = LUN_SETTLING;
	item->lu_end = (struct scsi_lu_end){
		.lu = item->lu, .control = control_of(item->retire), .done = on_settled};
	/* Without memory for a queue there is none, so no switch has ever run. */
	if (scsi_lu_settle(&item->lu_end) != 0)
		end_lun(item);
}

static void on_changed(struct scsi_lun_change *change)
{
	struct retired_lun *item = CONTAINER_OF(change, struct retired_lun, change);

	loop_role_assume();
	item->stage = LUN_LEAVING;
	space_leave(item->lun, on_left, item);
}

/* Each by itself: who has many of them hears of one change, because 3Fh/0Eh is pending once. */
LOOP_ONLY static void begin_lun(struct retired_lun *item)
{
	item->stage = LUN_CHANGING;
	item->since_ns = loop_now_ns(control_of(item->retire));
	item->change = (struct scsi_lun_change){
		.target = item->target,
		.control = control_of(item->retire),
		.removed = &item->lu,
		.removed_count = 1,
		.done = on_changed,
	};
	/* Tried again by the tick. */
	if (scsi_lun_change_start(&item->change) != 0)
		item->stage = LUN_WAITING;
}

static bool target_has_luns(const struct retired_target *target)
{
	LIST_FOREACH (node, &target->retire->luns) {
		if (CONTAINER_OF(node, struct retired_lun, link)->owner == target)
			return true;
	}
	return false;
}

/* -- A target -- */

static const struct registry_entry *find_session(const struct retired_target *target,
						 const struct registry_entry *after)
{
	const struct registry *registry = target->retire->runtime->server.registry;
	const struct registry_entry *entry = after;

	while ((entry = registry_next(registry, entry)) != NULL) {
		if (registry_spec(entry)->target == target->scsi)
			return entry;
	}
	return NULL;
}

static void close_sessions(const struct retired_target *target)
{
	const struct registry_entry *entry = NULL;

	while ((entry = find_session(target, entry)) != NULL)
		registry_close((struct registry_entry *)(uintptr_t)entry, SESSION_CLOSE_REMOVED);
}

static void on_target_settled(struct scsi_target_end *end)
{
	CONTAINER_OF(end, struct retired_target, end)->settled = true;
}

LOOP_ONLY static void settle_target(struct retired_target *target)
{
	target->settling = true;
	target->end = (struct scsi_target_end){.target = target->scsi,
					       .control = control_of(target->retire),
					       .done = on_target_settled};
	if (scsi_target_settle(&target->end) != 0)
		target->settled = true;
}

LOOP_ONLY static void look_at_target(struct retired_target *target)
{
	if (!target->begun || find_session(target, NULL) != NULL || target_has_luns(target))
		return;
	if (!target->settling)
		settle_target(target);
	if (!target->settled || !is_past(target->retire, target->generation))
		return;
	log_info("ctl", "%s: removed", scsi_target_name(target->scsi));
	scsi_target_free(target->scsi);
	list_remove(&target->link);
	free(target);
}

/* -- The tick -- */

LOOP_ONLY static void finish_if_empty(struct retire *retire)
{
	void (*on_empty)(void *arg) = retire->on_empty;

	if (on_empty == NULL || retire_count(retire) > 0)
		return;
	retire->on_empty = NULL;
	on_empty(retire->arg);
}

static void lun_gone(struct retired_lun *item)
{
	struct retire *retire = item->retire;

	list_remove(&item->link);
	free(item->image);
	free(item);
	finish_if_empty(retire);
}

LOOP_ONLY static void look_at_lun(struct retired_lun *item)
{
	uint64_t now_ns = loop_now_ns(control_of(item->retire));

	if (item->stage == LUN_WAITING &&
	    (item->owner == NULL || find_session(item->owner, NULL) == NULL)) {
		begin_lun(item);
	} else if (item->stage == LUN_DRAINED) {
		forget_if_past(item);
	} else if (item->stage > LUN_CHANGING && !item->told &&
		   now_ns - item->since_ns > STUCK_NS) {
		item->told = true;
		log_error("ctl",
			  "%s: it is removed, but its disk is stuck, or a request of the control "
			  "socket looks at it: its image stays in use until that ends",
			  lun_name(item->lun));
	}
}

static void on_tick(struct loop_timer *timer)
{
	struct retire *retire = CONTAINER_OF(timer, struct retire, tick);

	loop_role_assume();
	LIST_FOREACH (node, &retire->luns)
		look_at_lun(CONTAINER_OF(node, struct retired_lun, link));
	LIST_FOREACH (node, &retire->targets)
		look_at_target(CONTAINER_OF(node, struct retired_target, link));
	if (retire_count(retire) > 0)
		loop_timer_start(control_of(retire), &retire->tick, TICK_MS, on_tick);
	finish_if_empty(retire);
}

/* -- What is removed -- */

static struct retired_lun *add_lun(struct retire *retire, struct scsi_lu *lu,
				   const struct conf_lun *from)
{
	struct retired_lun *item = calloc(1, sizeof(*item));

	if (item == NULL)
		return NULL;
	item->image = from->image != NULL ? strdup(from->image) : NULL;
	item->retire = retire;
	item->lun = scsi_lu_lun(lu);
	item->lu = lu;
	item->target = scsi_lu_target(lu);
	item->generation = retire->runtime->now->view.generation;
	list_append(&retire->luns, &item->link);
	return item;
}

int retire_add_lun(struct retire *retire, struct scsi_target *target, const struct conf_lun *lun)
{
	struct scsi_lu *lu = scsi_target_find_lu(target, lun->number);

	return lu != NULL && add_lun(retire, lu, lun) == NULL ? -ENOMEM : 0;
}

int retire_add_target(struct retire *retire, const struct conf_target *from)
{
	struct retired_target *target = calloc(1, sizeof(*target));

	if (target == NULL)
		return -ENOMEM;
	target->retire = retire;
	target->scsi = generation_target(retire->runtime->now, from->name)->scsi;
	target->generation = retire->runtime->now->view.generation;
	list_append(&retire->targets, &target->link);
	for (size_t i = 0; i < from->lun_count; i++) {
		struct scsi_lu *lu = scsi_target_find_lu(target->scsi, from->luns[i].number);
		struct retired_lun *item = lu != NULL ? add_lun(retire, lu, &from->luns[i]) : NULL;

		if (item == NULL)
			return -ENOMEM;
		item->owner = target;
	}
	return 0;
}

void retire_cancel(struct retire *retire)
{
	LIST_FOREACH (node, &retire->luns) {
		struct retired_lun *item = CONTAINER_OF(node, struct retired_lun, link);

		if (item->stage == LUN_RECORDED) {
			list_remove(&item->link);
			free(item->image);
			free(item);
		}
	}
	LIST_FOREACH (node, &retire->targets) {
		struct retired_target *target = CONTAINER_OF(node, struct retired_target, link);

		if (!target->begun) {
			list_remove(&target->link);
			free(target);
		}
	}
}

void retire_begin(struct retire *retire)
{
	LIST_FOREACH (node, &retire->targets) {
		struct retired_target *target = CONTAINER_OF(node, struct retired_target, link);

		if (!target->begun)
			close_sessions(target);
		target->begun = true;
	}
	LIST_FOREACH (node, &retire->luns) {
		struct retired_lun *item = CONTAINER_OF(node, struct retired_lun, link);

		if (item->stage == LUN_RECORDED)
			item->stage = LUN_WAITING;
		if (item->stage == LUN_WAITING && item->owner == NULL)
			begin_lun(item);
	}
	free_unheld(retire->runtime);
	loop_timer_start(control_of(retire), &retire->tick, TICK_MS, on_tick);
}

/* -- From outside -- */

bool retire_has_image(const struct retire *retire, const char *image)
{
	LIST_FOREACH (node, &retire->luns) {
		const struct retired_lun *item = CONTAINER_OF(node, struct retired_lun, link);

		if (image != NULL && item->image != NULL && strcmp(item->image, image) == 0)
			return true;
	}
	return false;
}

static size_t count_list(const struct list_node *list)
{
	size_t count = 0;

	LIST_FOREACH (node, list)
		count++;
	return count;
}

size_t retire_count(const struct retire *retire)
{
	return count_list(&retire->luns) + count_list(&retire->targets);
}

void retire_wait(struct retire *retire, void (*done)(void *arg), void *arg)
{
	retire->on_empty = done;
	retire->arg = arg;
	finish_if_empty(retire);
}

void retire_tell_stuck(const struct retire *retire)
{
	LIST_FOREACH (node, &retire->luns)
		log_error("ctl", "%s: stuck: it was removed, and its disk still holds I/O",
			  lun_name(CONTAINER_OF(node, struct retired_lun, link)->lun));
}

int retire_create(struct runtime *runtime, struct retire **out)
{
	struct retire *retire = calloc(1, sizeof(*retire));

	if (retire == NULL)
		return -ENOMEM;
	retire->runtime = runtime;
	list_init(&retire->luns);
	list_init(&retire->targets);
	*out = retire;
	return 0;
}

void retire_free(struct retire *retire)
{
	free(retire);
}
