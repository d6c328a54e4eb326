/*
 * Copying. A thread takes the next piece that has data, reads it, and writes what is not zero: a
 * raw disk at its place, a qcow2 image where the next clusters are. See copy.h.
 */
#include "target/image/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "target/image/interrupt.h"
#include "target/image/progress.h"

/* A multiple of every size of clusters. */
#define PIECE_BYTES (UINT64_C(2) << 20)
#define BLOCK_BYTES 4096u
#define WORKERS_MIN 4u
#define WORKERS_MAX 16u
#define SHOW_NS 100000000
/* Below this it costs more to ask whether there is a hole than to read it. */
#define HOLE_BYTES_MIN 65536u
#define IDLE UINT64_MAX

struct worker {
	struct copy *copy;
	pthread_t thread;
	uint64_t start; /* Of its piece, or IDLE. Under the lock. */
	struct extent_walk walk;
	uint8_t *piece;
	uint8_t *room;
	uint32_t masks[PIECE_BYTES >> QCOW2_CLUSTER_BITS_MIN]; /* Of the piece's clusters. */
};

struct copy {
	const struct copy_spec *spec;
	pthread_mutex_t lock; /* For all below, and for `build`. */
	pthread_cond_t ended;
	struct extent_walk plan;
	struct extent next;
	unsigned running, workers;
	int res;         /* The first error. */
	bool is_reading; /* Of reading, not of writing. */
	struct worker worker[WORKERS_MAX];
};

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static bool is_zero(const uint8_t *bytes, size_t length)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

/* -- What to do -- */

static void keep_error(struct copy *copy, int res, bool is_reading)
{
	if (copy->res != 0 || res == 0)
		return;
	copy->res = res;
	copy->is_reading = is_reading;
}

/* Tables of which no piece is under way are complete. */
static int pass(struct copy *copy)
{
	uint64_t lowest = copy->plan.at;

	for (unsigned i = 0; i < copy->workers; i++)
		lowest = least(lowest, copy->worker[i].start);
	return copy->spec->build != NULL ? qcow2_build_pass(copy->spec->build, lowest) : 0;
}

/* The next piece with data: true. */
static bool plan_piece(struct copy *copy, uint64_t *start)
{
	int res = 0;

	while (copy->res == 0 && (res = extent_next(&copy->plan, &copy->next)) == 1) {
		if (!copy->next.data)
			continue;
		*start = copy->next.start / PIECE_BYTES * PIECE_BYTES;
		copy->plan.at = least(*start + PIECE_BYTES, copy->plan.end);
		return true;
	}
	keep_error(copy, res, true);
	return false;
}

static bool take_piece(struct worker *worker, uint64_t *start)
{
	struct copy *copy = worker->copy;
	bool found;

	(void)pthread_mutex_lock(&copy->lock);
	worker->start = IDLE;
	if (interrupted())
		keep_error(copy, -EINTR, true);
	found = plan_piece(copy, start);
	if (found) {
		worker->start = *start;
		keep_error(copy, pass(copy), false);
	}
	(void)pthread_mutex_unlock(&copy->lock);
	return found;
}

/* -- One piece -- */

static bool is_hole(const struct closed_chain *chain, const struct extent *e)
{
	off_t data;

	if (e->compressed || e->length < HOLE_BYTES_MIN)
		return false;
	data = lseek(chain->layers[e->depth].file.fd, (off_t)e->offset, SEEK_DATA);
	return data < 0 ? errno == ENXIO : (uint64_t)data >= e->offset + e->length;
}

static int read_piece(struct worker *worker, uint64_t start)
{
	const struct closed_chain *chain = worker->copy->spec->source;
	uint64_t end = least(start + PIECE_BYTES, worker->copy->spec->size_bytes);
	struct extent e;
	int res;

	extent_walk_begin(&worker->walk, chain, start, end);
	while ((res = extent_next(&worker->walk, &e)) == 1) {
		uint8_t *at = worker->piece + (e.start - start);

		if (!e.data || is_hole(chain, &e))
			memset(at, 0, e.length);
		else
			res = extent_read(chain, &e, e.start, e.length, at, worker->room);
		if (res < 0)
			return res;
	}
	memset(worker->piece + (end - start), 0, start + PIECE_BYTES - end);
	return res;
}

/* Of `length` bytes at `from`, which go to `offset`: what is not zero, in whole blocks. */
static int write_blocks(struct worker *worker, const uint8_t *from, size_t length, uint64_t offset,
			size_t block)
{
	struct qcow2_descriptor *to = worker->copy->spec->to;
	size_t first = 0;
	int res = 0;

	for (size_t at = 0; res == 0 && at <= length; at += block) {
		if (at < length && !is_zero(from + at, block))
			continue;
		if (at > first)
			res = to->writable.write(&to->writable, from + first, at - first,
						 offset + first);
		first = at + block;
	}
	/* The disk begins while we go on; without this the sync at the end is most of the time. */
	(void)sync_file_range(to->fd, (off_t)offset, (off_t)length, SYNC_FILE_RANGE_WRITE);
	return res;
}

/* Bit for each subcluster that is not zero; of a cluster without any for all of it. */
static uint32_t mask_of(const struct qcow2_geometry *g, const uint8_t *cluster)
{
	uint32_t bytes = 1u << g->subcluster_bits;
	uint32_t mask = 0;

	if (is_zero(cluster, g->cluster_bytes))
		return 0;
	for (uint32_t i = 0; g->extended && i < QCOW2_SUBCLUSTERS; i++) {
		if (!is_zero(cluster + (size_t)i * bytes, bytes))
			mask |= UINT32_C(1) << i;
	}
	return g->extended ? mask : UINT32_MAX;
}

/* Clusters in a row with something in each. */
struct cluster_run {
	uint64_t guest; /* Cluster. */
	uint64_t count;
	const uint32_t *masks;
	uint64_t host_offset;
};

static int map_run(struct worker *worker, struct cluster_run *run)
{
	struct qcow2_build *build = worker->copy->spec->build;
	uint32_t bits = qcow2_build_geometry(build)->cluster_bits;
	int res = 0;

	(void)pthread_mutex_lock(&worker->copy->lock);
	run->host_offset = qcow2_build_take(build, run->count);
	for (uint64_t i = 0; res == 0 && i < run->count; i++)
		res = qcow2_build_map(build, run->guest + i, run->host_offset + (i << bits),
				      run->masks[i]);
	(void)pthread_mutex_unlock(&worker->copy->lock);
	return res;
}

static int write_clusters(struct worker *worker, uint64_t start)
{
	const struct qcow2_geometry *g = qcow2_build_geometry(worker->copy->spec->build);
	uint32_t *masks = worker->masks;
	uint64_t clusters = PIECE_BYTES >> g->cluster_bits;
	uint32_t block = g->extended ? 1u << g->subcluster_bits
				     : (uint32_t)least(BLOCK_BYTES, g->cluster_bytes);
	int res = 0;

	for (uint64_t i = 0; i < clusters; i++)
		masks[i] = mask_of(g, worker->piece + (i << g->cluster_bits));
	for (uint64_t i = 0, first; res == 0 && i < clusters; i++) {
		struct cluster_run run = {.guest = (start >> g->cluster_bits) + i,
					  .masks = masks + i};

		for (first = i; i < clusters && masks[i] != 0; i++)
			run.count++;
		if (run.count == 0)
			continue;
		res = map_run(worker, &run);
		if (res == 0)
			res = write_blocks(worker, worker->piece + (first << g->cluster_bits),
					   run.count << g->cluster_bits, run.host_offset, block);
	}
	return res;
}

static int write_piece(struct worker *worker, uint64_t start)
{
	if (worker->copy->spec->build != NULL)
		return write_clusters(worker, start);
	return write_blocks(worker, worker->piece, PIECE_BYTES, start, BLOCK_BYTES);
}

/* -- Threads -- */

static void copy_pieces(struct worker *worker)
{
	bool is_reading;
	uint64_t start;

	while (take_piece(worker, &start)) {
		int res = read_piece(worker, start);

		is_reading = res != 0;
		if (res == 0)
			res = write_piece(worker, start);
		if (res == 0)
			continue;
		(void)pthread_mutex_lock(&worker->copy->lock);
		keep_error(worker->copy, res, is_reading);
		(void)pthread_mutex_unlock(&worker->copy->lock);
	}
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	struct copy *copy = worker->copy;

	copy_pieces(worker);
	(void)pthread_mutex_lock(&copy->lock);
	worker->start = IDLE;
	copy->running--;
	(void)pthread_cond_signal(&copy->ended);
	(void)pthread_mutex_unlock(&copy->lock);
	return NULL;
}

static int start_worker(struct copy *copy, struct worker *worker)
{
	size_t room = extent_room_bytes(copy->spec->source);

	worker->copy = copy;
	worker->start = IDLE;
	worker->piece = malloc(PIECE_BYTES);
	worker->room = malloc(room > 0 ? room : 1);
	if (worker->piece == NULL || worker->room == NULL)
		return -ENOMEM;
	return -pthread_create(&worker->thread, NULL, work, worker);
}

/* As many as there are CPUs; some wait for the disk. One is enough. */
static void start_workers(struct copy *copy)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t wanted =
		cpus > (long)WORKERS_MIN ? least((uint64_t)cpus, WORKERS_MAX) : WORKERS_MIN;
	int res = 0;

	(void)pthread_mutex_lock(&copy->lock);
	while (res == 0 && copy->workers < wanted) {
		res = start_worker(copy, &copy->worker[copy->workers]);
		if (res == 0)
			copy->running = ++copy->workers;
	}
	if (copy->workers == 0)
		keep_error(copy, res, true);
	(void)pthread_mutex_unlock(&copy->lock);
}

static void wait_for_workers(struct copy *copy)
{
	struct progress progress;

	progress_begin(copy->spec->order, &progress);
	(void)pthread_mutex_lock(&copy->lock);
	while (copy->running > 0) {
		struct timespec until;

		(void)clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += SHOW_NS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		(void)pthread_cond_timedwait(&copy->ended, &copy->lock, &until);
		progress_show(&progress, copy->plan.at, copy->spec->size_bytes);
	}
	(void)pthread_mutex_unlock(&copy->lock);
	progress_end(&progress);
}

static void end_workers(struct copy *copy)
{
	for (unsigned i = 0; i < WORKERS_MAX; i++) {
		if (i < copy->workers)
			(void)pthread_join(copy->worker[i].thread, NULL);
		free(copy->worker[i].piece);
		free(copy->worker[i].room);
	}
}

static int answer(const struct copy *copy)
{
	const struct copy_spec *spec = copy->spec;

	if (copy->res == 0)
		return 0;
	if (copy->res == -EINTR)
		return image_refuse(spec->order, copy->res, NULL, "interrupted; nothing was made");
	if (copy->is_reading)
		return image_refuse(spec->order, copy->res,
				    "'ringsan image check' says more, if its disk is good (dmesg)",
				    "%s cannot be read: %s", spec->source->layers[0].file.path,
				    files_error(copy->res));
	return image_refuse(spec->order, copy->res, NULL, "the copy cannot be written: %s",
			    files_error(copy->res));
}

int copy_run(const struct copy_spec *spec)
{
	struct copy *copy = calloc(1, sizeof(*copy));
	int res;

	if (copy == NULL)
		return image_refuse(spec->order, -ENOMEM, NULL, "memory is short");
	copy->spec = spec;
	(void)pthread_mutex_init(&copy->lock, NULL);
	(void)pthread_cond_init(&copy->ended, NULL);
	extent_walk_begin(&copy->plan, spec->source, 0, spec->size_bytes);
	start_workers(copy);
	wait_for_workers(copy);
	end_workers(copy);
	res = answer(copy);
	(void)pthread_cond_destroy(&copy->ended);
	(void)pthread_mutex_destroy(&copy->lock);
	free(copy);
	return res;
}
