/*
 * Recovery (ORDER.md): clusters that a power cut leaked go back, in the background, while the image
 * is used. One image of the loop at a time, a window of its clusters at a time, a little in each
 * step, with a pause behind it.
 *
 *    COUNTS   clusters that are in use become candidates, but for metadata
 *    TABLES   all L2 tables are read, and references counted
 *    FREE     clusters without any go through the quarantine, but for those that the engine itself
 *             holds; refcounts that are higher than that are lowered
 *
 * Whatever the engine links, frees or lowers meanwhile ceases to be a candidate in that turn
 * (recover_note), so that only what nobody has touched since COUNTS is judged by what TABLES found.
 *
 * Runs on the image's loop. Read next: quarantine.c.
 */
#include "lun/qcow2/engine.h"

#include <stdlib.h>

#include "base/bytes.h"
#include "base/log.h"

/* So pages are read at 32 MiB a second at most: some seconds for each TiB that is mapped. */
#define PAUSE_MS 2u
#define READ_BYTES (1u << 16)
/* Of one window; a byte for each. */
#define WINDOW_CLUSTERS (UINT64_C(1) << 23)
/* Candidates: refcount 1 and no reference yet; else what of the refcount no reference accounts for,
 * which is more than 1 where clusters are compressed. Refcounts beyond that are believed. */
#define ALONE UINT8_MAX
/* Over the whole image, because compressed clusters changed meanwhile. */
#define PASSES_MAX 4u
/* Of one step: slices from memory, each as much as so many empty L1 entries, and extents freed. */
#define STEP_WORK 4096u
#define SLICE_WORK 256u
#define STEP_EXTENTS 16u
/* Of one extent. A rest waits for what is on its way, and hosts for the rest: neither may be long.
 */
#define EXTENT_BYTES (UINT64_C(64) << 20)

int recovery_init(struct qcow2_cache *cache)
{
	struct recovery *recovery = &cache->recovery;

	list_init(&recovery->waiting);
	recovery->candidates = calloc(WINDOW_CLUSTERS, 1);
	recovery->bytes = aligned_alloc(4096, READ_BYTES);
	return recovery->candidates && recovery->bytes ? 0 : -ENOMEM;
}

void recovery_clear(struct qcow2_cache *cache)
{
	free(cache->recovery.candidates);
	free(cache->recovery.bytes);
}

/* -- Candidates -- */

static bool is_in_window(const struct recovery *recovery, uint64_t cluster)
{
	return cluster - recovery->window_first < recovery->window_count;
}

static uint8_t *candidate(const struct recovery *recovery, uint64_t cluster)
{
	return &recovery->candidates[cluster - recovery->window_first];
}

static void remove_candidates(struct recovery *recovery, uint64_t first, uint64_t count)
{
	for (uint64_t cluster = first; cluster < first + count; cluster++) {
		if (!is_in_window(recovery, cluster))
			continue;
		/* Its refcount may be too high all the same. */
		if (*candidate(recovery, cluster) != 0 && *candidate(recovery, cluster) != ALONE)
			recovery->has_missed = true;
		*candidate(recovery, cluster) = 0;
	}
}

void recover_note(struct qcow2 *image, uint64_t first, uint64_t count)
{
	struct recovery *recovery = &image->cache->recovery;

	/* What is to be freed by now is known, and adds to whatever else happens. */
	if (recovery->image == image && recovery->stage != RECOVER_FREE)
		remove_candidates(recovery, first, count);
}

/* -- From image to image -- */

/* Its own loop writes, and of all threads some read. */
static void tell_running(const struct qcow2 *image, bool runs)
{
	if (!image->recovery)
		return;
	if (runs)
		(void)atomic_fetch_add_explicit(&image->recovery->running, 1, memory_order_relaxed);
	else
		(void)atomic_fetch_sub_explicit(&image->recovery->running, 1, memory_order_relaxed);
}

static void tell_clusters(const struct qcow2 *image, uint64_t count)
{
	if (image->recovery)
		(void)atomic_fetch_add_explicit(&image->recovery->clusters, count,
						memory_order_relaxed);
}

static void on_pause(struct loop_timer *timer);

LOOP_ONLY static void go_on_later(struct recovery *recovery)
{
	loop_timer_start(recovery->image->loop, &recovery->timer, PAUSE_MS, on_pause);
}

LOOP_ONLY static void enter_window(struct recovery *recovery, uint64_t first)
{
	uint64_t left = recovery->end - first;

	recovery->window_first = recovery->at = first;
	recovery->window_count = left < WINDOW_CLUSTERS ? left : WINDOW_CLUSTERS;
	(void)memset(recovery->candidates, 0, recovery->window_count);
	recovery->stage = RECOVER_COUNTS;
	recovery->is_due = false;
	go_on_later(recovery);
}

LOOP_ONLY static void enter_pass(struct recovery *recovery)
{
	recovery->passes++;
	recovery->has_missed = false;
	recovery->end = counts_covered(recovery->image);
	enter_window(recovery, 0);
}

LOOP_ONLY static void begin_next(struct recovery *recovery)
{
	struct qcow2 *image;

	if (recovery->image || list_is_empty(&recovery->waiting))
		return;
	image = CONTAINER_OF(list_take_first(&recovery->waiting), struct qcow2, recover_link);
	recovery->image = image;
	recovery->found = recovery->passes = 0;
	enter_pass(recovery);
}

/* The image's part is over; not when something is being read for it. */
LOOP_ONLY static void leave(struct recovery *recovery)
{
	assert(!recovery->is_reading);
	loop_timer_stop(recovery->image->loop, &recovery->timer);
	tell_running(recovery->image, false);
	recovery->image = NULL;
	begin_next(recovery);
}

void recover_enter(struct qcow2 *image)
{
	struct recovery *recovery = &image->cache->recovery;

	/* Before its header says so nothing of it may be written (header.c). */
	if (!image->recovers || image->failed || image->start != START_DONE)
		return;
	if (list_is_linked(&image->recover_link) || recovery->image == image)
		return;
	list_append(&recovery->waiting, &image->recover_link);
	tell_running(image, true);
	begin_next(recovery);
}

void recover_leave(struct qcow2 *image)
{
	struct recovery *recovery = &image->cache->recovery;

	if (list_is_linked(&image->recover_link))
		tell_running(image, false);
	list_remove(&image->recover_link);
	if (recovery->image == image && !recovery->is_reading)
		leave(recovery);
}

LOOP_ONLY static void finish(struct recovery *recovery)
{
	struct qcow2 *image = recovery->image;

	if (recovery->has_missed && recovery->passes < PASSES_MAX) {
		REACHED(recovers_again);
		enter_pass(recovery);
		return;
	}
	REACHED(recovered);
	image->recovers = false;
	image->leaked |= recovery->has_missed;
	if (recovery->found > 0)
		log_info("qcow2", "%s: %" PRIu64 " clusters that a crash had leaked are free again",
			 image->name, recovery->found);
	leave(recovery);
}

/* -- COUNTS -- */

bool recover_wants_counts(struct qcow2 *image, uint64_t *cluster)
{
	const struct recovery *recovery = &image->cache->recovery;

	if (recovery->image != image || recovery->stage != RECOVER_COUNTS || !recovery->is_due)
		return false;
	*cluster = recovery->at;
	return true;
}

LOOP_ONLY static void enter_tables(struct recovery *recovery)
{
	recovery->stage = RECOVER_TABLES;
	recovery->l1_at = recovery->inside = 0;
	go_on_later(recovery);
}

static uint64_t window_end(const struct recovery *recovery)
{
	return recovery->window_first + recovery->window_count;
}

LOOP_ONLY static void counted(struct recovery *recovery, uint64_t until)
{
	recovery->is_due = false;
	recovery->at = until;
	if (until < window_end(recovery)) {
		go_on_later(recovery);
	} else {
		enter_tables(recovery);
	}
}

/* It stays as it is: recovery begins again when the image is opened again. */
LOOP_ONLY static void give_up(struct recovery *recovery, const char *why)
{
	log_warn("qcow2", "%s: what a crash had leaked stays leaked: %s", recovery->image->name,
		 why);
	leave(recovery);
}

void recover_counts(struct qcow2 *image, int res)
{
	struct recovery *recovery = &image->cache->recovery;
	const struct reserve *reserve = &image->reserve;
	uint64_t end = reserve->slice_first + counts_of_slice(image);
	uint64_t until = end < window_end(recovery) ? end : window_end(recovery);

	if (recovery->image != image)
		return;
	if (res < 0) {
		give_up(recovery, strerror(-res));
		return;
	}
	for (uint64_t cluster = recovery->at; cluster < until; cluster++) {
		uint64_t count = qcow2_refcount_get(reserve->counts,
						    (uint32_t)(cluster - reserve->slice_first),
						    image->geometry.refcount_order);

		if (count > 0 && count < ALONE && !metadata_has(&image->metadata, cluster))
			*candidate(recovery, cluster) = count == 1 ? ALONE : (uint8_t)count;
	}
	counted(recovery, until);
}

void recover_no_counts(struct qcow2 *image, uint64_t until)
{
	struct recovery *recovery = &image->cache->recovery;

	counted(recovery, until < window_end(recovery) ? until : window_end(recovery));
}

/* -- TABLES -- */

static void count_reference(struct recovery *recovery, uint64_t cluster)
{
	uint8_t *left;

	if (!is_in_window(recovery, cluster))
		return;
	left = candidate(recovery, cluster);
	if (*left > 0)
		*left = *left == ALONE ? 0 : (uint8_t)(*left - 1);
}

/* What an entry leads to is in use. -EINVAL: it means nothing. */
static int mark_entry(struct recovery *recovery, const uint8_t *at)
{
	const struct qcow2_geometry *geometry = &recovery->image->geometry;
	uint64_t bitmap = geometry->extended ? get_be64(at + 8) : 0;
	struct qcow2_l2_entry entry;
	int res = qcow2_l2_decode(get_be64(at), bitmap, geometry, &entry);
	uint64_t first, last;

	if (res != 0 || entry.host_offset == 0)
		return res;
	first = last = cluster_of(recovery->image, entry.host_offset);
	if (entry.compressed)
		last = cluster_of(recovery->image, entry.host_offset + entry.deflated_bytes - 1);
	for (uint64_t cluster = first; cluster <= last; cluster++)
		count_reference(recovery, cluster);
	return 0;
}

/* Entries of the table, `length` bytes of them. */
static int mark_entries(struct recovery *recovery, const uint8_t *bytes, uint32_t length)
{
	const struct qcow2_geometry *geometry = &recovery->image->geometry;
	int res = 0;

	for (uint32_t at = 0; at < length && res == 0; at += geometry->l2_entry_bytes)
		res = mark_entry(recovery, bytes + at);
	recovery->inside += length;
	if (recovery->inside == geometry->cluster_bytes) {
		recovery->inside = 0;
		recovery->l1_at++;
	}
	return res;
}

LOOP_ONLY static void enter_free(struct recovery *recovery);

LOOP_ONLY static void after_tables(struct recovery *recovery, int res)
{
	if (res != 0) {
		give_up(recovery, "an L2 entry means nothing; see `ringsan image check`");
	} else if (recovery->l1_at == recovery->image->l1_count) {
		enter_free(recovery);
	} else {
		go_on_later(recovery);
	}
}

static void on_read(struct qcow2_op *op, int res)
{
	struct recovery *recovery = CONTAINER_OF(op, struct recovery, op);
	struct qcow2 *image = recovery->image;

	loop_role_assume();
	recovery->is_reading = false;
	image->loading--;
	image_kick(image);
	if (image->failed || image->stopping) {
		leave(recovery);
	} else if (res < 0) {
		give_up(recovery, strerror(-res));
	} else {
		vector_zero(op->of.iov, op->of.iov_count);
		after_tables(recovery,
			     mark_entries(recovery, recovery->bytes, recovery->read_bytes));
	}
	requests_run(image->cache, image->loop);
}

static uint64_t table_of(const struct recovery *recovery)
{
	return recovery->image->l1[recovery->l1_at] & QCOW2_OFFSET_MASK;
}

/* Up to what is in memory, which may be newer. What is not in memory is not newer anywhere, and
 * what changes from now on is noted. */
LOOP_ONLY static void read_table(struct recovery *recovery)
{
	struct qcow2 *image = recovery->image;
	const struct qcow2_geometry *geometry = &image->geometry;
	uint64_t offset = table_of(recovery) + recovery->inside;
	uint32_t left = geometry->cluster_bytes - recovery->inside;
	uint32_t length = geometry->slice_bytes;
	struct loop_rw rw = {.iov = &recovery->iov, .iov_count = 1, .offset_bytes = offset};

	left = left < READ_BYTES ? left : READ_BYTES;
	while (length < left && !slice_peek(image, offset + length))
		length += geometry->slice_bytes;
	recovery->read_bytes = length;
	recovery->iov = (struct iovec){recovery->bytes, length};
	recovery->is_reading = true;
	image->loading++;
	op_read(image, &recovery->op, image, &rw, on_read);
}

LOOP_ONLY static void step_tables(struct recovery *recovery)
{
	struct qcow2 *image = recovery->image;
	int res = 0;

	for (unsigned work = 0; work < STEP_WORK && res == 0 && recovery->l1_at < image->l1_count;
	     work++) {
		uint64_t table = table_of(recovery);
		const struct slice *slice = table && !PLANTED(recover_trusts_disk)
						    ? slice_peek(image, table + recovery->inside)
						    : NULL;

		if (slice) {
			res = mark_entries(recovery, slice->bytes, image->geometry.slice_bytes);
			work += SLICE_WORK;
		} else if (table) {
			read_table(recovery);
			return;
		} else {
			recovery->l1_at++;
		}
	}
	after_tables(recovery, res);
}

/* -- FREE -- */

static void remove_all(struct recovery *recovery, const struct list_node *list)
{
	LIST_FOREACH (node, list) {
		const struct hosts *hosts = CONTAINER_OF(node, struct hosts, link);

		remove_candidates(recovery, hosts->first, hosts->count);
	}
}

/* What is the engine's, though no entry leads to it, or none any more. */
static void remove_held(struct recovery *recovery)
{
	const struct qcow2 *image = recovery->image;
	const struct quarantine *quarantine = &image->quarantine;

	if (PLANTED(recover_takes_held))
		return;
	remove_all(recovery, &image->reserve.free);
	remove_all(recovery, &image->reserve.lower);
	remove_all(recovery, &quarantine->freed);
	remove_all(recovery, &quarantine->unlinked);
	remove_all(recovery, &quarantine->punched);
	if (quarantine->stage != QUARANTINE_IDLE)
		remove_candidates(recovery, quarantine->punching->first,
				  quarantine->punching->count);
	for (uint32_t i = 0; i < BUSY_MAX; i++)
		if (image->busy[i].holders > 0)
			remove_candidates(recovery, cluster_of(image, image->busy[i].host_offset),
					  1);
}

static void enter_free(struct recovery *recovery)
{
	/* What the engine has lost sight of may be known to the disk: none of it is to be freed. */
	if (recovery->image->leaked) {
		give_up(recovery, "more was leaked since it was opened");
		return;
	}
	remove_held(recovery);
	recovery->stage = RECOVER_FREE;
	recovery->at = recovery->window_first;
	go_on_later(recovery);
}

/* 0: not leaked. */
static uint8_t leaked(const struct recovery *recovery, uint64_t cluster)
{
	uint8_t left = is_in_window(recovery, cluster) ? *candidate(recovery, cluster) : 0;

	return left != 0 && metadata_has(&recovery->image->metadata, cluster) ? 0 : left;
}

static bool find_leaked(struct recovery *recovery)
{
	uint64_t end = window_end(recovery);

	while (recovery->at < end && leaked(recovery, recovery->at) == 0)
		recovery->at++;
	return recovery->at < end;
}

/* As if an entry had led there until the last group. What lies behind the end of the file, because
 * its size was lost, is not for use. */
LOOP_ONLY static void free_alone(struct recovery *recovery, struct hosts *hosts)
{
	struct qcow2 *image = recovery->image;
	uint64_t file_end = cluster_of(image, image->file_bytes);
	uint64_t most = cluster_of(image, EXTENT_BYTES);
	bool is_inside = recovery->at < file_end;

	while (hosts->count < most && leaked(recovery, recovery->at) == ALONE &&
	       (recovery->at < file_end) == is_inside) {
		hosts->count++;
		recovery->at++;
	}
	if (is_inside) {
		list_append(&image->quarantine.unlinked, &hosts->link);
	} else {
		REACHED(leak_beyond_end);
		reserve_lower(image, hosts);
	}
}

/* Compressed clusters, once for each that was freed and whose refcount had not gone down. */
LOOP_ONLY static void free_shared(struct recovery *recovery, struct hosts *hosts)
{
	REACHED(leak_of_compressed);
	hosts->count = 1;
	hosts->shared = true;
	if (--*candidate(recovery, recovery->at) == 0)
		recovery->at++;
	reserve_lower(recovery->image, hosts);
}

LOOP_ONLY static void free_leaked(struct recovery *recovery)
{
	struct hosts *hosts = hosts_take(recovery->image);

	REACHED(leak_freed);
	assert(hosts);
	hosts->first = recovery->at;
	if (*candidate(recovery, recovery->at) == ALONE) {
		free_alone(recovery, hosts);
	} else {
		free_shared(recovery, hosts);
	}
	recovery->found += hosts->count;
	tell_clusters(recovery->image, hosts->count);
}

static bool is_long(const struct list_node *list)
{
	unsigned count = 0;

	LIST_FOREACH (node, list)
		if (++count == STEP_EXTENTS)
			return true;
	return false;
}

/* What was freed before has not gone far yet. */
static bool must_wait(const struct qcow2 *image)
{
	return is_long(&image->quarantine.unlinked) || is_long(&image->reserve.lower);
}

LOOP_ONLY static void step_free(struct recovery *recovery)
{
	struct qcow2 *image = recovery->image;
	bool more = true;

	for (unsigned i = 0; i < STEP_EXTENTS && more && !must_wait(image); i++) {
		if (image->quarantine.used >= HOSTS_MAX / 2) {
			/* Maybe nobody else will ask for an fdatasync for a long time. */
			reserve_hurry(image);
			break;
		}
		more = find_leaked(recovery);
		if (more)
			free_leaked(recovery);
	}
	quarantine_advance(image);
	if (more) {
		go_on_later(recovery);
	} else if (window_end(recovery) < recovery->end) {
		enter_window(recovery, window_end(recovery));
	} else {
		finish(recovery);
	}
}

/* -- Steps -- */

LOOP_ONLY static void step_counts(struct recovery *recovery)
{
	recovery->is_due = true;
	image_kick(recovery->image);
}

static void on_pause(struct loop_timer *timer)
{
	static void (*const steps[])(struct recovery * recovery) = {
		[RECOVER_COUNTS] = step_counts,
		[RECOVER_TABLES] = step_tables,
		[RECOVER_FREE] = step_free,
	};
	struct recovery *recovery = CONTAINER_OF(timer, struct recovery, timer);
	struct qcow2 *image = recovery->image;

	loop_role_assume();
	if (image->failed || image->stopping) {
		leave(recovery);
	} else {
		steps[recovery->stage](recovery);
	}
	requests_run(image->cache, image->loop);
}
