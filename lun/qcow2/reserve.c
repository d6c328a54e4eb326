/*
 * The reservation (ORDER.md): clusters that may be handed out, because the file covers them, their
 * refcount is 1 on the disk, and they are zero. Here they are given out and come back, and it is
 * decided when more are made so (run.c), and when some go back to be free.
 *
 * Runs on the image's loop. Read next: run.c, quarantine.c.
 */
#include "lun/qcow2/engine.h"

/* Bytes, as far as clusters of a size allow it. */
#define RUN_FIRST_BYTES (UINT64_C(1) << 20)
#define RUN_LAST_BYTES (UINT64_C(32) << 20)
#define RUN_FIRST_MIN 4u
#define RUN_FIRST_MAX 16u
#define RUN_LAST_MIN 8u
#define RUN_LAST_MAX 512u

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
	return value < low ? low : value > high ? high : value;
}

static uint64_t run_first(const struct qcow2 *image)
{
	return clamp(RUN_FIRST_BYTES >> image->geometry.cluster_bits, RUN_FIRST_MIN, RUN_FIRST_MAX);
}

static uint64_t run_last(const struct qcow2 *image)
{
	return clamp(RUN_LAST_BYTES >> image->geometry.cluster_bits, RUN_LAST_MIN, RUN_LAST_MAX);
}

void reserve_run_size(struct qcow2 *image, uint64_t clusters)
{
	image->reserve.run_clusters = clamp(clusters, run_first(image), run_last(image));
}

uint64_t reserve_keep(const struct qcow2 *image)
{
	return image->reserve.run_clusters;
}

/* Each run brings a struct hosts, and where free space is scattered not many clusters. Those who
 * wait find the list of free ones empty, so that theirs is among those that are kept. */
LOOP_ONLY static bool wants_run(const struct qcow2 *image)
{
	const struct reserve *reserve = &image->reserve;

	if (!list_is_empty(&reserve->waiting))
		return !reserve->exhausted;
	/* An image that is only read reserves nothing. */
	return reserve->is_used && reserve->free_clusters < reserve->run_clusters / 2 &&
	       !reserve->exhausted && hosts_are_plenty(image);
}

/* -- Giving out, and taking back -- */

/* The first that has enough in a row, else the first. */
static struct hosts *choose(const struct reserve *reserve, uint64_t want)
{
	LIST_FOREACH (node, &reserve->free) {
		struct hosts *hosts = CONTAINER_OF(node, struct hosts, link);

		if (hosts->count >= want)
			return hosts;
	}
	return hosts_first(&reserve->free);
}

bool reserve_take(struct qcow2 *image, uint64_t want, struct qcow2_request *waiter, uint64_t *first,
		  uint64_t *count)
{
	struct reserve *reserve = &image->reserve;
	struct hosts *hosts = choose(reserve, want);

	reserve->is_used = true;
	if (!hosts) {
		REACHED(reservation_wait);
		if (waiter) {
			reserve->exhausted = false;
			request_wait(waiter, &reserve->waiting);
		}
		image_kick(image);
		return false;
	}
	*first = hosts->first;
	*count = hosts->count < want ? hosts->count : want;
	hosts->first += *count;
	hosts->count -= *count;
	reserve->free_clusters -= *count;
	if (hosts->count == 0) {
		hosts_drop(image, hosts);
		reserve->free_extents--;
	}
	if (wants_run(image))
		image_kick(image);
	return true;
}

void reserve_give(struct qcow2 *image, struct hosts *hosts)
{
	struct reserve *reserve = &image->reserve;

	hosts->clean = true;
	reserve->free_clusters += hosts->count;
	request_wake_all(&reserve->waiting, 0);
	LIST_FOREACH (node, &reserve->free) {
		struct hosts *before = CONTAINER_OF(node, struct hosts, link);

		if (before->first + before->count == hosts->first) {
			before->count += hosts->count;
			hosts_drop(image, hosts);
			return;
		}
	}
	/* What has been used goes first: the file stays small. */
	list_prepend(&reserve->free, &hosts->link);
	reserve->free_extents++;
}

void reserve_untake(struct qcow2 *image, uint64_t cluster)
{
	struct reserve *reserve = &image->reserve;
	struct hosts *next = hosts_first(&reserve->free);

	if (next && next->first == cluster + 1) {
		next->first--;
		next->count++;
		reserve->free_clusters++;
		return;
	}
	next = quarantine_has_room(image, NULL) ? hosts_take(image) : NULL;
	if (next) {
		next->first = cluster;
		next->count = 1;
		reserve_give(image, next);
	} else {
		quarantine_free(image, cluster, 1, false);
	}
}

void reserve_lower(struct qcow2 *image, struct hosts *hosts)
{
	list_append(&image->reserve.lower, &hosts->link);
	image_kick(image);
}

/* There is space behind them, which others may need: they are punched once more. */
void reserve_give_back(struct qcow2 *image)
{
	struct reserve *reserve = &image->reserve;
	struct quarantine *quarantine = &image->quarantine;

	list_splice(&quarantine->unlinked, &reserve->free);
	list_splice(&quarantine->unlinked, &quarantine->punched);
	reserve->free_clusters = reserve->free_extents = 0;
	reserve->is_used = false;
	quarantine_advance(image);
	image_kick(image);
}

/* -- Having more -- */

/* Are clusters on their way back to here? */
static bool is_coming_back(const struct qcow2 *image)
{
	const struct quarantine *quarantine = &image->quarantine;
	bool is_held = image->holds_frees && !image->stopping;

	return (!list_is_empty(&quarantine->freed) && !is_held) ||
	       !list_is_empty(&quarantine->unlinked) || !list_is_empty(&quarantine->punched) ||
	       quarantine->stage != QUARANTINE_IDLE;
}

static void on_hurried(struct qcow2 *image, int res)
{
	(void)image;
	(void)res;
}

void reserve_hurry(struct qcow2 *image)
{
	if (list_is_empty(&image->quarantine.punched) || image->syncer.running)
		return;
	image->hurry_sync.done = on_hurried;
	sync_add(image, &image->hurry_sync);
}

/* Who waits can have nothing but what is on its way back: hurry that. */
LOOP_ONLY static void hurry(struct qcow2 *image)
{
	struct quarantine *quarantine = &image->quarantine;
	struct hosts *freed = hosts_first(&quarantine->freed);

	if (list_is_empty(&image->reserve.waiting) && list_is_empty(&quarantine->waiting))
		return;
	if (freed && freed->group > image->commit.done) {
		commit_want(image);
	} else if (!list_is_empty(&quarantine->punched) && !image->syncer.running) {
		reserve_hurry(image);
	} else if (!is_coming_back(image) && list_is_empty(&image->reserve.lower)) {
		request_wake_all(&image->reserve.waiting, -ENOSPC);
	}
}

void qcow2_guard(struct qcow2 *image, bool guarded)
{
	image->guarded = guarded;
}

/* As if there were no space. */
LOOP_ONLY static void keep_off(struct qcow2 *image)
{
	image->reserve.exhausted = true;
	reserve_run_size(image, 0);
	image_kick(image);
}

void reserve_run(struct qcow2 *image)
{
	struct reserve *reserve = &image->reserve;
	uint64_t cluster;

	if (reserve->stage != RESERVE_IDLE || image->failed || image->read_only)
		return;
	/* While it is stopped, only for those who wait. */
	if (wants_run(image) && !(image->stopping && list_is_empty(&reserve->waiting))) {
		if (image->guarded)
			keep_off(image);
		else
			run_begin(image);
	} else if (!list_is_empty(&reserve->lower)) {
		lower_begin(image);
	} else {
		hurry(image);
		if (!image->stopping && recover_wants_counts(image, &cluster))
			look_begin(image, cluster);
	}
}
