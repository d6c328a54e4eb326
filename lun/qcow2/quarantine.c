/*
 * How clusters come back (ORDER.md): an entry led to them until a group took it away. They wait
 * here until that group is durable and all I/O that may have found them has ended; then they are
 * punched; and when the hole is durable they are as good as new.
 *
 * Runs on the image's loop. Read next: reserve.c, commit.c.
 */
#include "lun/qcow2/engine.h"

void quarantine_init(struct qcow2 *image)
{
	struct quarantine *quarantine = &image->quarantine;

	list_init(&quarantine->unused);
	list_init(&quarantine->freed);
	list_init(&quarantine->unlinked);
	list_init(&quarantine->punched);
	list_init(&quarantine->waiting);
}

void quarantine_make_room(struct qcow2 *image)
{
	struct quarantine *quarantine = &image->quarantine;

	for (uint32_t i = 0; i < HOSTS_MAX; i++)
		list_append(&quarantine->unused, &quarantine->hosts[i].link);
}

static struct hosts *last_of(const struct list_node *list)
{
	return list_is_empty(list) ? NULL : CONTAINER_OF(list->prev, struct hosts, link);
}

/* The last ones are kept for the reservation, which these wait for. */
#define HOSTS_KEPT 16u

struct hosts *hosts_take(struct qcow2 *image)
{
	struct quarantine *quarantine = &image->quarantine;
	struct hosts *hosts = hosts_first(&quarantine->unused);

	if (!hosts)
		return NULL;
	list_remove(&hosts->link);
	quarantine->used++;
	*hosts = (struct hosts){0};
	list_init(&hosts->link);
	return hosts;
}

void hosts_drop(struct qcow2 *image, struct hosts *hosts)
{
	list_remove(&hosts->link);
	list_append(&image->quarantine.unused, &hosts->link);
	image->quarantine.used--;
	request_wake_all(&image->quarantine.waiting, 0);
}

bool hosts_are_plenty(const struct qcow2 *image)
{
	return image->quarantine.used < HOSTS_MAX - HOSTS_KEPT;
}

/* Those above a layer may hold all that there is, until it is stopped: some are leaked then. */
LOOP_ONLY static void leak_held(struct qcow2 *image)
{
	struct hosts *hosts = hosts_first(&image->quarantine.freed);

	if (!hosts)
		return;
	image->leaked = true;
	hosts_drop(image, hosts);
}

bool quarantine_has_room(struct qcow2 *image, struct qcow2_request *waiter)
{
	if (hosts_are_plenty(image))
		return true;
	if (image->holds_frees && !image->stopping) {
		leak_held(image);
		return true;
	}
	REACHED(quarantine_wait);
	if (waiter)
		request_wait(waiter, &image->quarantine.waiting);
	image_kick(image);
	return false;
}

void quarantine_free(struct qcow2 *image, uint64_t first, uint64_t count, bool shared)
{
	struct quarantine *quarantine = &image->quarantine;
	struct hosts *last = last_of(&quarantine->freed);
	struct hosts *hosts;

	commit_note(image);
	if (!PLANTED(recover_misses_frees))
		recover_note(image, first, count);
	if (last && !shared && !last->shared && last->group == image->commit.open &&
	    last->first + last->count == first) {
		last->count += count;
		return;
	}
	if (quarantine->used >= HOSTS_MAX - HOSTS_KEPT / 2) {
		/* Only after an I/O error: nobody may wait then. They are leaked. */
		REACHED(leaked);
		image->leaked = true;
		return;
	}
	hosts = hosts_take(image);
	assert(hosts);
	hosts->first = first;
	hosts->count = count;
	hosts->group = image->commit.open;
	hosts->shared = shared;
	if (PLANTED(early_decrement)) {
		reserve_lower(image, hosts);
		return;
	}
	list_append(&quarantine->freed, &hosts->link);
}

/* -- FREED to UNLINKED -- */

/* Rule O4: the change is durable. Rule O7: nothing that began before it is under way. */
LOOP_ONLY static bool is_unlinked(const struct qcow2 *image, const struct hosts *hosts)
{
	struct list_node *oldest = list_first(&image->in_flight);
	const struct qcow2_request *request =
		oldest ? CONTAINER_OF(oldest, struct qcow2_request, in_flight) : NULL;

	if (hosts->group > image->commit.done && !PLANTED(early_reuse))
		return false;
	/* Those above it may have found them, and it cannot tell when they have ended. */
	if (image->holds_frees && !image->stopping && !PLANTED(frees_not_held))
		return false;
	if (!request || request->group > hosts->group || PLANTED(epochs_ignored))
		return true;
	REACHED(quarantine_io);
	return false;
}

/* -- UNLINKED to PUNCHED -- */

LOOP_ONLY static struct loop_range range_of(const struct qcow2 *image, const struct hosts *hosts)
{
	return (struct loop_range){offset_of(image, hosts->first), offset_of(image, hosts->count)};
}

/* The next fdatasync to begin makes the hole durable. */
LOOP_ONLY static void to_punched(struct qcow2 *image, struct hosts *hosts)
{
	hosts->group = image->syncer.begun + 1;
	hosts->clean = true;
	list_append(&image->quarantine.punched, &hosts->link);
}

LOOP_ONLY static bool is_kept(const struct qcow2 *image)
{
	uint64_t clusters = image->reserve.free_clusters + image->quarantine.punching->count;

	/* An image that is only recovered takes no space for writes that never come. */
	return image->reserve.is_used && !image->stopping && !image->guarded &&
	       clusters <= reserve_keep(image) && image->reserve.free_extents < HOSTS_MAX / 4;
}

static void on_stepped(struct qcow2_op *op, int res);

LOOP_ONLY static void on_punched(struct qcow2 *image, int res)
{
	struct quarantine *quarantine = &image->quarantine;

	if (res < 0 && !quarantine->punching->clean) {
		REACHED(punch_refused);
		quarantine->stage = QUARANTINE_ZERO;
		op_range(image, &quarantine->op, LOOP_OP_ZERO,
			 range_of(image, quarantine->punching), on_stepped);
	} else if (is_kept(image)) {
		quarantine->stage = QUARANTINE_ALLOCATE;
		op_range(image, &quarantine->op, LOOP_OP_ALLOCATE,
			 range_of(image, quarantine->punching), on_stepped);
	} else {
		quarantine->stage = QUARANTINE_IDLE;
		reserve_lower(image, quarantine->punching);
	}
}

/* Neither punched nor zeroed: not for the reservation. Runs use only what they can punch. */
LOOP_ONLY static void on_zeroed(struct qcow2 *image, int res)
{
	struct quarantine *quarantine = &image->quarantine;

	quarantine->stage = QUARANTINE_IDLE;
	if (res < 0) {
		REACHED(zero_refused);
		reserve_lower(image, quarantine->punching);
	} else {
		to_punched(image, quarantine->punching);
	}
}

LOOP_ONLY static void on_allocated(struct qcow2 *image, int res)
{
	struct quarantine *quarantine = &image->quarantine;

	quarantine->stage = QUARANTINE_IDLE;
	/* A cluster without space behind it would be a promise that a table's write breaks. */
	if (res == -ENOSPC || res == -EDQUOT) {
		reserve_lower(image, quarantine->punching);
	} else {
		to_punched(image, quarantine->punching);
	}
}

static void on_stepped(struct qcow2_op *op, int res)
{
	struct quarantine *quarantine = CONTAINER_OF(op, struct quarantine, op);
	struct qcow2 *image = CONTAINER_OF(quarantine, struct qcow2, quarantine);

	loop_role_assume();
	if (quarantine->stage == QUARANTINE_PUNCH) {
		on_punched(image, res);
	} else if (quarantine->stage == QUARANTINE_ZERO) {
		on_zeroed(image, res);
	} else {
		on_allocated(image, res);
	}
	quarantine_advance(image);
	image_kick(image);
	requests_run(image->cache, image->loop);
}

LOOP_ONLY static void punch_next(struct qcow2 *image)
{
	struct quarantine *quarantine = &image->quarantine;
	struct hosts *hosts = hosts_first(&quarantine->unlinked);

	if (quarantine->stage != QUARANTINE_IDLE || !hosts || image->failed)
		return;
	list_remove(&hosts->link);
	quarantine->punching = hosts;
	quarantine->stage = QUARANTINE_PUNCH;
	op_range(image, &quarantine->op, LOOP_OP_DISCARD, range_of(image, hosts), on_stepped);
}

/* -- PUNCHED to CLEAN -- */

LOOP_ONLY static void take_clean(struct qcow2 *image)
{
	struct hosts *hosts = hosts_first(&image->quarantine.punched);

	while (hosts && (hosts->group <= image->syncer.ended || PLANTED(early_clean))) {
		list_remove(&hosts->link);
		/* Many may have come at once: more would leave no struct hosts to others. Space was
		 * taken for them, so they are punched once more. */
		if (image->reserve.free_extents < HOSTS_MAX / 4)
			reserve_give(image, hosts);
		else
			list_append(&image->quarantine.unlinked, &hosts->link);
		hosts = hosts_first(&image->quarantine.punched);
	}
}

void quarantine_advance(struct qcow2 *image)
{
	struct quarantine *quarantine = &image->quarantine;
	struct hosts *hosts = hosts_first(&quarantine->freed);

	if (hosts || !list_is_empty(&quarantine->punched))
		image_kick(image);
	while (hosts && is_unlinked(image, hosts)) {
		list_remove(&hosts->link);
		if (hosts->shared) {
			reserve_lower(image, hosts);
		} else {
			list_append(&quarantine->unlinked, &hosts->link);
		}
		hosts = hosts_first(&quarantine->freed);
	}
	take_clean(image);
	punch_next(image);
}
