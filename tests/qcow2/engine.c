/*
 * Requests for the engine, from the tool's thread to its loop's and back. Read next: tool.c.
 */
#include "tests/qcow2/engine.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/attr.h"
#include "tests/qcow2/disk.h"

#define SECTOR 512u
#define PIECE_BYTES (1u << 20)
#define CACHE_BYTES (64u * 4096u)
#define WRITES 60u

struct engine {
	struct loop *loop;
	struct qcow2_cache *cache;
	struct qcow2 *images[WORDS_MAX]; /* The top first. */
	struct disk_file disks[WORDS_MAX];
	unsigned count;
	char *why;
	sem_t done;
	int res;
	struct qcow2_request request;
	struct iovec iov;
	struct loop_msg msg;
	uint8_t *buffer;
	struct disk_file raw;
	uint64_t random;
};

/* -- One request -- */

static void on_done(struct qcow2_request *request, int res)
{
	struct engine *engine = CONTAINER_OF(request, struct engine, request);

	engine->res = res;
	sem_post(&engine->done);
}

static void on_submit(struct loop_msg *msg)
{
	struct engine *engine = CONTAINER_OF(msg, struct engine, msg);

	loop_role_assume();
	qcow2_submit(engine->images[0], &engine->request);
}

static int engine_do(struct engine *engine, enum lun_op op, uint32_t flags, uint64_t offset,
		     uint64_t length)
{
	engine->iov = (struct iovec){engine->buffer, length};
	engine->request.op = op;
	engine->request.flags = flags;
	engine->request.offset = offset;
	engine->request.length = length;
	engine->request.iov = &engine->iov;
	engine->request.iov_count = 1;
	engine->request.done = on_done;
	loop_post(engine->loop, &engine->msg, on_submit);
	sem_wait(&engine->done);
	return engine->res;
}

static void on_stopped(void *arg, int res)
{
	struct engine *engine = arg;

	engine->res = res;
	sem_post(&engine->done);
}

static void on_stop(struct loop_msg *msg)
{
	struct engine *engine = CONTAINER_OF(msg, struct engine, msg);

	loop_role_assume();
	qcow2_stop(engine->images[0], on_stopped, engine);
}

/* -- Opening and closing -- */

static int open_image(struct engine *engine, unsigned i, char *word, bool writable)
{
	char *colon = i > 0 ? strchr(word, ':') : NULL;
	bool raw = colon != NULL && strncmp(word, "raw:", 4) == 0;
	struct disk_file *disk = &engine->disks[i];
	struct qcow2_spec spec = {
		.name = word,
		.loop = engine->loop,
		.cache = engine->cache,
		.file = &disk->file,
		.read_only = !writable,
		.io_align_bytes = SECTOR,
		.backing = i + 1 < engine->count ? engine->images[i + 1] : NULL,
	};
	int res = disk_open(colon != NULL ? colon + 1 : word, writable ? O_RDWR : O_RDONLY, disk);

	if (res != 0)
		return res;
	spec.fd = spec.sync_fd = disk->fd;
	return raw ? qcow2_open_raw(&spec, &engine->images[i])
		   : qcow2_open(&spec, &engine->images[i], engine->why, WHY_BYTES);
}

static int engine_begin(struct engine *engine, char **chain, unsigned count, bool writable)
{
	struct loop_config config = {.name = "engine", .buffer_count = 8};
	int res = loop_create(&config, &engine->loop);

	engine->count = count;
	if (res == 0)
		res = qcow2_cache_create(CACHE_BYTES, &engine->cache);
	if (res == 0)
		res = loop_start(engine->loop);
	if (res != 0 || sem_init(&engine->done, 0, 0) != 0)
		abort();
	engine->buffer = aligned_alloc(4096, PIECE_BYTES);
	for (unsigned i = 0; i < count; i++) {
		engine->disks[i].fd = -1;
		engine->images[i] = NULL;
	}
	for (unsigned i = count; res == 0 && i-- > 0;)
		res = open_image(engine, i, chain[i], writable && i == 0);
	return res;
}

static void engine_end(struct engine *engine)
{
	loop_stop(engine->loop);
	loop_join(engine->loop);
	for (unsigned i = 0; i < engine->count; i++) {
		if (engine->images[i] != NULL)
			qcow2_close(engine->images[i]);
		if (engine->disks[i].fd >= 0)
			(void)close(engine->disks[i].fd);
	}
	qcow2_cache_free(engine->cache);
	loop_free(engine->loop, false);
	free(engine->buffer);
}

/* -- Reading -- */

/* [offset, offset + length) by the engine, and what the raw file has there. */
static int compare_piece(struct engine *engine, uint64_t offset, uint64_t length)
{
	static uint8_t wanted[PIECE_BYTES];
	int res = engine_do(engine, LUN_READ, 0, offset, length);

	if (res == 0)
		res = engine->raw.file.read(&engine->raw.file, wanted, length, offset);
	if (res == 0 && memcmp(engine->buffer, wanted, length) != 0)
		res = -EILSEQ;
	if (res != 0)
		(void)snprintf(engine->why, WHY_BYTES, "%s at %llu, %llu bytes", strerror(-res),
			       (unsigned long long)offset, (unsigned long long)length);
	return res;
}

static int compare_all(struct engine *engine)
{
	uint64_t size = qcow2_header(engine->images[0])->size_bytes, length = SECTOR;
	int res = 0;

	if (size != engine->raw.file.size_bytes) {
		(void)snprintf(engine->why, WHY_BYTES, "sizes differ");
		return -EINVAL;
	}
	/* In pieces of all sizes. */
	for (uint64_t at = 0; res == 0 && at < size; at += length) {
		length = length * 2 + SECTOR < PIECE_BYTES ? length * 2 + SECTOR : SECTOR;
		if (length > size - at)
			length = size - at;
		res = compare_piece(engine, at, length);
	}
	return res;
}

int engine_compare(const char *raw, char **chain, unsigned count, char *why)
{
	static struct engine engine;
	int res;

	engine.why = why;
	res = engine_begin(&engine, chain, count, false);
	if (res == 0)
		res = disk_open(raw, O_RDONLY, &engine.raw);
	if (res == 0) {
		res = compare_all(&engine);
		(void)close(engine.raw.fd);
	}
	engine_end(&engine);
	return res;
}

/* -- Writing -- */

static uint64_t next_random(struct engine *engine, uint64_t below)
{
	engine->random = engine->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (engine->random >> 33) % below;
}

static int mirror(struct engine *engine, uint64_t offset, uint64_t length)
{
	return pwrite(engine->raw.fd, engine->buffer, length, (off_t)offset) == (ssize_t)length
		       ? 0
		       : -EIO;
}

static int write_once(struct engine *engine)
{
	static const enum lun_op ops[] = {LUN_WRITE, LUN_WRITE, LUN_WRITE, LUN_ZERO,
					  LUN_UNMAP, LUN_FLUSH, LUN_READ};
	const struct qcow2_header *header = qcow2_header(engine->images[0]);
	uint64_t cluster = UINT64_C(1) << header->cluster_bits;
	enum lun_op op = ops[next_random(engine, ARRAY_SIZE(ops))];
	uint64_t offset = next_random(engine, header->size_bytes / SECTOR) * SECTOR;
	uint64_t most = next_random(engine, 2) != 0 ? cluster / 4 : 3 * cluster;
	uint64_t length = (1 + next_random(engine, most / SECTOR + 1)) * SECTOR;
	uint32_t flags = op == LUN_WRITE && next_random(engine, 4) == 0 ? LUN_IO_DURABLE : 0;
	int res;

	if (op == LUN_UNMAP) {
		/* Of whole clusters alone it is promised that they are zeroes afterwards. */
		offset &= ~(cluster - 1);
		length = cluster;
	}
	if (length > header->size_bytes - offset)
		length = header->size_bytes - offset;
	if (length > PIECE_BYTES)
		length = PIECE_BYTES;
	if (op == LUN_READ)
		return compare_piece(engine, offset, length);
	if (op == LUN_FLUSH)
		return engine_do(engine, op, 0, 0, 0);
	if (op == LUN_UNMAP && length < cluster)
		return 0;
	memset(engine->buffer, op == LUN_WRITE ? (int)next_random(engine, 256) : 0, length);
	res = engine_do(engine, op, flags, offset, length);
	return res == 0 ? mirror(engine, offset, length) : res;
}

static int write_all(struct engine *engine)
{
	int res = 0;

	for (unsigned i = 0; res == 0 && i < WRITES; i++)
		res = write_once(engine);
	if (res == 0)
		res = compare_all(engine);
	loop_post(engine->loop, &engine->msg, on_stop);
	sem_wait(&engine->done);
	return res != 0 ? res : engine->res;
}

int engine_write(const struct engine_writes *writes, char **chain, unsigned count, char *why)
{
	static struct engine engine;
	int res;

	engine.why = why;
	engine.random = writes->seed;
	res = engine_begin(&engine, chain, count, true);
	if (res == 0)
		res = disk_open(writes->mirror, O_RDWR, &engine.raw);
	if (res == 0) {
		res = write_all(&engine);
		(void)close(engine.raw.fd);
	}
	if (res != 0 && why[0] == '\0')
		(void)snprintf(why, WHY_BYTES, "%s", strerror(-res));
	engine_end(&engine);
	return res;
}
