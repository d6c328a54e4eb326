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
	LUN_WAITING,  /* For its target's sessions, or for memory. */
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
	struct list_node link; /* Those of a target that are removed together stand together. */
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
	struct scsi_lu_end lu_end;
	struct lun_end end;
	struct loop_op close_op;
};

/* LUNs of a target that are unpublished by one change: many of them cost one more table. */
struct batch {
	struct scsi_lun_change change;
	struct retired_lun *first;
	unsigned count;
	struct scsi_lu *lus[];
};

struct retired_target {
	struct list_node link;
	struct retire *retire;
	struct scsi_target *scsi;
	uint64_t generation;
	size_t lun_count; /* That have not gone yet. */
	bool begun;       /* Its sessions have been told. */
	bool deserted;    /* And none of them is left. */
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

/* -- Batches -- */

static struct retired_lun *next_of(const struct retired_lun *item)
{
	struct list_node *node = item->link.next;

	return node == &item->retire->luns ? NULL : CONTAINER_OF(node, struct retired_lun, link);
}

static void on_changed(struct scsi_lun_change *change)
{
	struct batch *batch = CONTAINER_OF(change, struct batch, change);
	struct retired_lun *item = batch->first;

	loop_role_assume();
	for (unsigned i = 0; i < batch->count; i++) {
		struct retired_lun *next = next_of(item);

		item->stage = LUN_LEAVING;
		space_leave(item->lun, on_left, item);
		item = next;
	}
	free(batch);
}

static bool may_begin(const struct retired_lun *item)
{
	return item->stage == LUN_WAITING && (item->owner == NULL || item->owner->deserted);
}

static unsigned count_batch(const struct retired_lun *first)
{
	const struct retired_lun *item = first;
	unsigned count = 0;

	while (item != NULL && item->target == first->target && may_begin(item)) {
		count++;
		item = next_of(item);
	}
	return count;
}

static struct batch *make_batch(struct retired_lun *first, unsigned count)
{
	struct batch *batch = calloc(1, sizeof(*batch) + count * sizeof(struct scsi_lu *));
	const struct retired_lun *item = first;

	if (batch == NULL)
		return NULL;
	for (unsigned i = 0; i < count; i++, item = next_of(item))
		batch->lus[i] = item->lu;
	batch->first = first;
	batch->count = count;
	batch->change = (struct scsi_lun_change){
		.target = first->target,
		.control = control_of(first->retire),
		.removed = batch->lus,
		.removed_count = count,
		.done = on_changed,
	};
	return batch;
}

/* False: memory is short; the next tick tries again. */
LOOP_ONLY static bool begin_batch(struct retired_lun *first)
{
	struct batch *batch = make_batch(first, count_batch(first));
	struct retired_lun *item = first;

	if (batch == NULL || scsi_lun_change_prepare(&batch->change) != 0) {
		free(batch);
		return false;
	}
	for (unsigned i = 0; i < batch->count; i++, item = next_of(item)) {
		item->stage = LUN_CHANGING;
		item->since_ns = loop_now_ns(control_of(item->retire));
	}
	scsi_lun_change_start(&batch->change);
	return true;
}

LOOP_ONLY static void begin_waiting(struct retire *retire)
{
	LIST_FOREACH (node, &retire->luns) {
		struct retired_lun *item = CONTAINER_OF(node, struct retired_lun, link);

		if (may_begin(item) && !begin_batch(item))
			return;
	}
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
	/* Nobody finds it any more, so once it is deserted it remains so. */
	if (target->begun && !target->deserted)
		target->deserted = find_session(target, NULL) == NULL;
	if (!target->deserted || target->lun_count > 0)
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

	if (item->owner != NULL)
		item->owner->lun_count--;
	list_remove(&item->link);
	free(item->image);
	free(item);
	finish_if_empty(retire);
}

LOOP_ONLY static void look_at_lun(struct retired_lun *item)
{
	uint64_t now_ns = loop_now_ns(control_of(item->retire));

	if (item->stage == LUN_DRAINED) {
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
	begin_waiting(retire);
	if (retire_count(retire) > 0)
		loop_timer_start(control_of(retire), &retire->tick, TICK_MS, on_tick);
	finish_if_empty(retire);
}

/* -- What is removed -- */

static struct retired_lun *add_lun(struct retire *retire, const struct scsi_target *target,
				   const struct conf_lun *from)
{
	struct scsi_lu *lu = scsi_target_find_lu(target, from->number);
	struct retired_lun *item = calloc(1, sizeof(*item));

	if (item == NULL)
		return NULL;
	item->image = from->image != NULL ? strdup(from->image) : NULL;
	if (from->image != NULL && item->image == NULL) {
		free(item);
		return NULL;
	}
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
	return add_lun(retire, target, lun) == NULL ? -ENOMEM : 0;
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
		struct retired_lun *item = add_lun(retire, target->scsi, &from->luns[i]);

		if (item == NULL)
			return -ENOMEM;
		item->owner = target;
		target->lun_count++;
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
	}
	begin_waiting(retire);
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
