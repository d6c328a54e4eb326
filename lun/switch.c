/*
 * The switch of one or several LUNs to changed files; see switch.h.
 *
 * The gates of all of them are closed before the first image is, so what hosts wrote in some order
 * to several LUNs is there in that order: what was not acknowledged when the first gate closed is
 * not begun before all are open again.
 *
 * While the helper thread works nobody else touches an image: loops hand nothing down behind a
 * closed gate, and those who look at images from other helper threads take lun->image_lock or do
 * without. What hosts know of a LUN (its limits, its identity) never changes here; what differs is
 * refused, and undone.
 *
 * Threads: the control loop's, but for what `change_files` calls. Read next: drain.c, lun.c.
 */
#include "lun/switch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "lun/files.h"
#include "lun/lun_internal.h"

/* How long an image that somebody else has locked is tried for: qemu-img looks at files that nobody
 * has open, and is gone soon. */
#define OPEN_PATIENCE_NS CLOCK_NS_PER_S
#define OPEN_AGAIN_US 20000u
/* How often it is looked whether what is new has been published. */
#define PUBLISHED_MS 1u

static struct lun_switch *switch_of(struct loop_op *op)
{
	return CONTAINER_OF(op, struct lun_switch, op);
}

/* -- Helper thread: images are closed -- */

static void lock_images(const struct lun_switch *change)
{
	for (unsigned i = 0; i < change->count; i++)
		(void)pthread_rwlock_wrlock(&change->luns[i]->image_lock);
}

static void unlock_images(const struct lun_switch *change)
{
	for (unsigned i = 0; i < change->count; i++)
		(void)pthread_rwlock_unlock(&change->luns[i]->image_lock);
}

/* By this description, so that an error which it has not told yet is told now: afterwards nobody
 * could ask for it. */
static int flush_image(struct lun *lun, char *why)
{
	int fd = lun->info.read_only ? -1 : lun->ops->fd(lun->image);
	int res = fd >= 0 && fdatasync(fd) != 0 ? -errno : 0;

	if (res == 0)
		return 0;
	lun_note_failure(lun, lun->group->loops[0], res);
	return lun_refuse(why, -EIO, "its image cannot be flushed: %s", files_error(res));
}

static int flush_all(struct lun_switch *change)
{
	int res = 0;

	for (unsigned i = 0; i < change->count && res == 0; i++) {
		change->failed = i;
		res = flush_image(change->luns[i], change->why);
	}
	return res;
}

static void close_image(struct lun *lun)
{
	if (!lun->image)
		return;
	lun->ops->close(lun->image);
	lun->image = NULL;
}

static void close_all(const struct lun_switch *change)
{
	for (unsigned i = 0; i < change->count; i++) {
		ahead_release(change->luns[i]);
		close_image(change->luns[i]);
	}
}

/* -- Helper thread: they are opened again -- */

static uint64_t size_of(struct lun *lun)
{
	uint64_t size_bytes;

	pthread_mutex_lock(&lun->mutex);
	size_bytes = lun->states.wanted.size_bytes;
	pthread_mutex_unlock(&lun->mutex);
	return size_bytes;
}

/* Hosts were told once. */
static bool has_limits(const struct lun *lun, const struct image_info *info)
{
	return lun->io_align_bytes % info->io_align_bytes == 0 && info->thin == lun->info.thin &&
	       info->zeroes_after_unmap == lun->info.zeroes_after_unmap &&
	       info->anchors == lun->info.anchors && info->look_ahead == lun->info.look_ahead &&
	       info->read_only == lun->info.read_only;
}

/* In info->size_bytes what the LUN could have, where it grows. */
static int check_size(struct lun *lun, struct image_info *info, char *why)
{
	uint64_t now = size_of(lun);

	info->size_bytes -= info->size_bytes % lun->io_align_bytes;
	if (info->size_bytes < now)
		return lun_refuse(why, -EINVAL, "it has %llu bytes now, hosts have been told %llu",
				  (unsigned long long)info->size_bytes, (unsigned long long)now);
	return 0;
}

static int try_to_open(struct lun *lun, struct image_info *info, char *why)
{
	struct lun_spec spec = lun->spec;
	struct image *image = NULL;
	int res;

	spec.group = lun->group;
	spec.loops = lun->group->count;
	spec.recovery = &lun->recovery;
	/* With neither a size nor a base no image is made where one has gone. */
	spec.size_bytes = spec.path ? 0 : size_of(lun);
	spec.backing_name = NULL;
	res = lun->ops->open(&spec, &image, info, why, LUN_WHY_BYTES);
	if (res == 0)
		lun->image = image;
	return res;
}

/* By the clock: a try may wait for a folder's lock itself. */
static int open_patiently(struct lun *lun, struct image_info *info, char *why)
{
	uint64_t end_ns = clock_now_ns() + OPEN_PATIENCE_NS;
	int res = try_to_open(lun, info, why);

	while (res == -EBUSY && clock_now_ns() < end_ns) {
		(void)usleep(OPEN_AGAIN_US);
		res = try_to_open(lun, info, why);
	}
	return res;
}

static int open_image(struct lun *lun, char *why)
{
	struct image_info info = {0};
	int res = open_patiently(lun, &info, why);

	if (res != 0)
		return res;
	if (!has_limits(lun, &info))
		res = lun_refuse(why, -EINVAL,
				 "it does not do all that hosts were told of it any more "
				 "(block sizes, thin provisioning)");
	if (res == 0)
		res = check_size(lun, &info, why);
	if (res == 0)
		res = identity_confirm(lun, &lun->spec, why);
	if (res != 0)
		close_image(lun);
	else
		lun->info = info;
	return res;
}

/* All, or none. */
static int open_all(struct lun_switch *change)
{
	int res = 0;

	for (unsigned i = 0; i < change->count && res == 0; i++) {
		change->failed = i;
		res = open_image(change->luns[i], change->why);
	}
	for (unsigned i = 0; i < change->count && res != 0; i++)
		close_image(change->luns[i]);
	return res;
}

static void go_offline(struct lun *lun, const char *why)
{
	log_error("lun", "%s: offline: %s", lun->name, why);
	pthread_mutex_lock(&lun->mutex);
	lun->states.wanted.online = false;
	(void)snprintf(lun->states.wanted.offline_reason, LUN_WHY_BYTES, "%s", why);
	pthread_mutex_unlock(&lun->mutex);
}

/* Files are as they were before: what does not open now is lost to hosts until somebody mends it.
 */
static void open_as_before(const struct lun_switch *change)
{
	char why[LUN_WHY_BYTES];

	for (unsigned i = 0; i < change->count; i++) {
		if (open_image(change->luns[i], why) != 0)
			go_offline(change->luns[i], why);
	}
}

static void stay_closed(const struct lun_switch *change)
{
	for (unsigned i = 0; i < change->count; i++)
		go_offline(change->luns[i],
			   "a change of its image may not be durable, as its disk has failed; see "
			   "`ringsan image check`, then restart ringsand");
}

static int change_files(struct lun_switch *change)
{
	int res = change->change(change, change->why);

	if (res != 0) {
		change->failed = change->count;
	} else {
		res = open_all(change);
		if (res == 0)
			return 0;
		if (change->undo)
			change->undo(change);
	}
	if (change->unsure)
		stay_closed(change);
	else
		open_as_before(change);
	return res;
}

static int call_change(struct loop_op *op)
{
	struct lun_switch *change = switch_of(op);
	uint64_t began_ns = clock_now_ns();
	int res;

	lock_images(change);
	res = flush_all(change);
	if (res == 0) {
		close_all(change);
		res = change_files(change);
	}
	unlock_images(change);
	change->changing_ns = clock_now_ns() - began_ns;
	return res;
}

/* -- The control loop: the end -- */

static bool is_published(struct lun *lun)
{
	struct lun_state now;

	lun_state_copy(lun, &now);
	return !now.gate_closed;
}

/* A version that is on its way back may delay the new one by a round. */
static void on_look(struct loop_timer *timer)
{
	struct lun_switch *change = CONTAINER_OF(timer, struct lun_switch, timer);

	loop_role_assume();
	for (unsigned i = 0; i < change->count; i++) {
		/* Somebody else's drain, which has begun since, closes the gate as well. */
		if (change->luns[i]->switching == change && !is_published(change->luns[i])) {
			loop_timer_start(change->control, timer, PUBLISHED_MS, on_look);
			return;
		}
		if (change->luns[i]->switching == change)
			change->luns[i]->switching = NULL;
	}
	change->paused_ns = clock_now_ns() - change->began_ns;
	change->done(change, change->res);
}

LOOP_ONLY static void resume(struct lun_switch *change, struct lun *lun)
{
	bool grows = change->grows && change->res == 0 && lun->spec.size_bytes == 0;

	pthread_mutex_lock(&lun->mutex);
	if (grows && lun->info.size_bytes > lun->states.wanted.size_bytes)
		lun->states.wanted.size_bytes = lun->info.size_bytes;
	pthread_mutex_unlock(&lun->mutex);
	lun_resume(lun, change->control);
}

LOOP_ONLY static void finish(struct lun_switch *change, int res)
{
	change->res = res;
	for (unsigned i = 0; i < change->count; i++) {
		if (change->luns[i]->switching == change)
			resume(change, change->luns[i]);
	}
	on_look(&change->timer);
}

static void on_changed(struct loop_op *op, int res)
{
	loop_role_assume();
	finish(switch_of(op), res);
}

/* -- The control loop: the beginning -- */

static int find_fault(struct lun *lun, char *why)
{
	struct lun_state now;

	lun_state_copy(lun, &now);
	if (!now.online || !lun->image)
		return lun_refuse(why, -ENODEV, "it is offline");
	if (atomic_load_explicit(&lun->failed, memory_order_acquire))
		return lun_refuse(why, -EIO, "a flush of it has failed; it has to be opened again");
	return 0;
}

LOOP_ONLY static int check_all(struct lun_switch *change)
{
	int res = change->res;

	for (unsigned i = 0; i < change->count && res == 0; i++) {
		change->failed = i;
		res = find_fault(change->luns[i], change->why);
	}
	if (res != 0 || !change->admit)
		return res;
	change->failed = change->count;
	return change->admit(change, change->why);
}

static void on_all_drained(struct loop_msg *msg)
{
	struct lun_switch *change = CONTAINER_OF(msg, struct lun_switch, msg);
	int res;

	loop_role_assume();
	res = check_all(change);
	if (res != 0) {
		finish(change, res);
		return;
	}
	loop_op_init(&change->op);
	loop_call(change->control, &change->op, call_change, on_changed);
}

LOOP_ONLY static void drained_one(struct lun_switch *change)
{
	if (--change->pending == 0)
		loop_post(change->control, &change->msg, on_all_drained);
}

static unsigned place_of(const struct lun_switch *change, const struct lun *lun)
{
	unsigned place = 0;

	while (change->luns[place] != lun)
		place++;
	return place;
}

static void on_drained(struct lun *lun, int res, void *arg)
{
	struct lun_switch *change = arg;

	loop_role_assume();
	if (res == 0) {
		lun->switching = change;
	} else if (change->res == 0) {
		change->failed = place_of(change, lun);
		change->res =
			lun_refuse(change->why, res, "%s",
				   res == -EBUSY ? "another change of it is under way, or its end"
						 : "I/O that it has begun does not end");
	}
	drained_one(change);
}

bool lun_claim(struct lun *lun)
{
	if (lun->claimed)
		return false;
	lun->claimed = true;
	return true;
}

void lun_unclaim(struct lun *lun)
{
	lun->claimed = false;
}

void lun_switch_start(struct lun_switch *change)
{
	change->res = 0;
	change->why[0] = '\0';
	change->failed = change->count;
	change->began_ns = clock_now_ns();
	change->changing_ns = 0;
	change->unsure = false;
	change->pending = change->count + 1;
	for (unsigned i = 0; i < change->count; i++)
		lun_drain(change->luns[i], change->control, change->deadline_ms, on_drained,
			  change);
	drained_one(change);
}
