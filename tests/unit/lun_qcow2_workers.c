/*
 * What the images of a loop share is little: its workers, and records and buffers of the engine.
 * Operations of a stuck file keep theirs, so an image leaves some to the others, whatever is asked
 * of it (may_have_another).
 */
#include "tests/unit/lun_qcow2_hand.h"

#include <stdio.h>
#include <zlib.h>

#include "lun/lun_internal.h"

#define BYTES (UINT64_C(1) << 20)
#define REQUESTS 100u

static struct hand_request requests[REQUESTS];
static uint8_t bytes[BYTES] __attribute__((aligned(4096)));

static struct byte_range block(unsigned i)
{
	return (struct byte_range){i * UINT64_C(4096), (i + 1) * UINT64_C(4096)};
}

LOOP_ONLY static struct qcow2 *open_raw(struct hand *hand, unsigned file)
{
	struct qcow2_spec spec = hand_spec(hand, file, NULL);
	struct qcow2 *image;

	hand->files[file].memory.file.size_bytes = BYTES;
	spec.read_only = true;
	cr_assert_eq(qcow2_open_raw(&spec, &image), 0);
	return image;
}

/* In place of the first guest clusters, all alike. */
static void put_compressed(struct hand *hand, unsigned file, unsigned count)
{
	struct memory_file *memory = &hand->files[file].memory;
	struct image image = image_make(BYTES);
	uint8_t cluster[CLUSTER];
	uint32_t l2 = add_data(&image, 0);
	uint32_t first = add_cluster(&image);
	z_stream stream = {.next_in = cluster, .avail_in = sizeof(cluster), .avail_out = CLUSTER};

	memset(cluster, 9, sizeof(cluster));
	stream.next_out = image.bytes + (size_t)first * CLUSTER;
	cr_assert_eq(deflateInit2(&stream, 9, Z_DEFLATED, -12, 8, Z_DEFAULT_STRATEGY), Z_OK);
	cr_assert_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
	(void)deflateEnd(&stream);
	set_refcount(&image, first, count);
	for (uint32_t i = 0; i < count; i++)
		put_be64(image.bytes + (size_t)l2 * CLUSTER + i * 8,
			 QCOW2_COMPRESSED | (uint64_t)first * CLUSTER);
	memory->file.size_bytes = (uint64_t)image.clusters * CLUSTER;
	memcpy(memory->bytes, image.bytes, memory->file.size_bytes);
	free(image.bytes);
}

/* Whatever an image does: compressed and new clusters, copies, groups, holes, the way back of all
 * of it. */
LOOP_ONLY static void use(struct hand *hand, unsigned file)
{
	static uint8_t found[BYTES];
	struct byte_range part = {3 * 512, BYTES / 4};
	struct qcow2 *base = open_raw(hand, file + 1);
	struct qcow2 *image;

	put_compressed(hand, file, 1);
	image = hand_open(hand, file, base);
	cr_assert_eq(hand_do(hand, image, LUN_READ, block(0), found), 0);
	cr_assert_eq(found[0], 9);
	memset(bytes, 7, sizeof(bytes));
	cr_assert_eq(hand_do(hand, image, LUN_WRITE, part, bytes), 0);
	cr_assert_eq(hand_do(hand, image, LUN_FLUSH, block(0), NULL), 0);
	cr_assert_eq(hand_do(hand, image, LUN_READ, part, found), 0);
	cr_assert_eq(memcmp(found, bytes, part.end - part.begin), 0);
	cr_assert_eq(hand_do(hand, image, LUN_UNMAP, block(9), NULL), 0);
	cr_assert_eq(hand_do(hand, image, LUN_FLUSH, block(0), NULL), 0);
	cr_assert_eq(hand_close(hand, image), 0);
	qcow2_close(base);
}

LOOP_ONLY static void submit_all(struct qcow2 *image, enum lun_op op, uint64_t step,
				 uint64_t length)
{
	for (unsigned i = 0; i < REQUESTS; i++) {
		uint64_t begin = i * step;

		hand_submit_to(image, &requests[i], op, (struct byte_range){begin, begin + length},
			       bytes);
	}
}

/* They take all that they can have. */
LOOP_ONLY static void let_take(const struct hand *hand)
{
	for (unsigned i = 0; i < 1000; i++)
		loop_turn(hand->loop);
}

LOOP_ONLY static void end_all(struct hand *hand, struct qcow2 *image)
{
	for (unsigned i = 0; i < HAND_FILES; i++)
		hand->files[i].is_stuck = false;
	for (unsigned i = 0; i < REQUESTS; i++) {
		cr_assert(hand_turn_until(hand, &requests[i].is_done));
		cr_assert_eq(requests[i].res, 0);
	}
	cr_assert_eq(hand_close(hand, image), 0);
}

/* Reads of what only the file below has: many at once, and none of them ends. */
Test(qcow2_workers, a_stuck_chain_leaves_workers_to_others)
{
	struct hand *hand = hand_make(1);
	struct qcow2 *base, *top;

	loop_role_assume();
	base = open_raw(hand, 0);
	hand_format(hand, 1, BYTES);
	top = hand_open(hand, 1, base);
	hand->files[0].is_stuck = true;
	submit_all(top, LUN_READ, 4096, 4096);
	let_take(hand);
	use(hand, 2);
	cr_assert_leq(hand->workers_most, HAND_WORKERS);
	end_all(hand, top);
	qcow2_close(base);
	hand_end(hand);
}

/* Parts of clusters that the file below has. */
Test(qcow2_workers, stuck_copies_leave_buffers_to_others)
{
	struct hand *hand = hand_make(BYTES);
	struct qcow2 *base, *top;

	loop_role_assume();
	base = open_raw(hand, 0);
	hand_format(hand, 1, BYTES);
	top = hand_open(hand, 1, base);
	/* It has clusters in reserve for all that comes. */
	cr_assert_eq(hand_do(hand, top, LUN_WRITE, (struct byte_range){0, BYTES / 4}, bytes), 0);
	hand->files[0].is_stuck = true;
	submit_all(top, LUN_WRITE, 4096, 512);
	let_take(hand);
	use(hand, 2);
	end_all(hand, top);
	qcow2_close(base);
	hand_end(hand);
}

Test(qcow2_workers, stuck_compressed_clusters_leave_buffers_to_others)
{
	struct hand *hand = hand_make(BYTES);
	struct qcow2 *image;

	loop_role_assume();
	put_compressed(hand, 0, REQUESTS);
	image = hand_open(hand, 0, NULL);
	cr_assert_eq(hand_do(hand, image, LUN_READ, block(REQUESTS), bytes), 0);
	hand->files[0].is_stuck = true;
	submit_all(image, LUN_READ, 4096, 4096);
	let_take(hand);
	use(hand, 2);
	end_all(hand, image);
	hand_end(hand);
}

/* Each read needs another L2 table. */
Test(qcow2_workers, stuck_tables_leave_loads_to_others)
{
	static const uint64_t step = UINT64_C(2) << 20;
	struct hand *hand = hand_make(BYTES);
	struct qcow2 *image;

	loop_role_assume();
	hand_format(hand, 0, REQUESTS * step);
	image = hand_open(hand, 0, NULL);
	submit_all(image, LUN_WRITE, step, 4096);
	end_all(hand, image);
	image = hand_open(hand, 0, NULL);
	hand->files[0].is_stuck = true;
	submit_all(image, LUN_READ, step, 4096);
	let_take(hand);
	use(hand, 2);
	end_all(hand, image);
	hand_end(hand);
}

/* Two of them, and the engine's own operations: refcounts, fdatasync, holes. */
Test(qcow2_workers, stuck_writers_leave_workers_to_others)
{
	struct hand *hand = hand_make(UINT64_C(1) << 20);
	struct qcow2 *images[2];

	loop_role_assume();
	for (unsigned k = 0; k < ARRAY_SIZE(images); k++) {
		hand_format(hand, k, BYTES);
		images[k] = hand_open(hand, k, NULL);
		cr_assert_eq(hand_do(hand, images[k], LUN_WRITE, (struct byte_range){0, BYTES / 2},
				     bytes),
			     0);
		hand->files[k].is_stuck = true;
	}
	for (unsigned i = 0; i < REQUESTS; i++) {
		static const enum lun_op ops[] = {LUN_WRITE, LUN_READ, LUN_UNMAP, LUN_FLUSH};

		hand_submit_to(images[i % 2], &requests[i], ops[i / 2 % 4], block(i + 28),
			       bytes + block(i + 28).begin);
	}
	let_take(hand);
	use(hand, 2);
	cr_assert_leq(hand->workers_most, HAND_WORKERS);
	for (unsigned k = 0; k < ARRAY_SIZE(images); k++)
		hand->files[k].is_stuck = false;
	for (unsigned i = 0; i < REQUESTS; i++) {
		cr_assert(hand_turn_until(hand, &requests[i].is_done));
		cr_assert_eq(requests[i].res, 0);
	}
	for (unsigned k = 0; k < ARRAY_SIZE(images); k++)
		cr_assert_eq(hand_close(hand, images[k]), 0);
	hand_end(hand);
}

/* -- Images above one that is at work -- */

/* It needs workers before it ends. */
LOOP_ONLY static void begin_below(struct hand *hand, struct qcow2 *layer)
{
	hand->files[0].is_stuck = true;
	hand_submit_to(layer, &requests[0], LUN_WRITE, block(0), bytes);
	let_take(hand);
	cr_assert_not(requests[0].is_done);
	cr_assert_gt(hand->carried_count, 0);
}

LOOP_ONLY static void end_below(struct hand *hand)
{
	hand->files[0].is_stuck = false;
	cr_assert(hand_turn_until(hand, &requests[0].is_done), "it does not end");
	cr_assert_eq(requests[0].res, 0);
}

LOOP_ONLY static void write_and_flush(struct hand *hand, struct qcow2 *image)
{
	for (unsigned i = 1; i < 20; i++)
		cr_assert_eq(hand_do(hand, image, LUN_WRITE, block(i), bytes), 0);
	cr_assert_eq(hand_do(hand, image, LUN_FLUSH, block(0), NULL), 0);
}

Test(qcow2_workers, a_layer_at_work_survives_the_end_of_the_image_above)
{
	struct hand *hand = hand_make(BYTES);
	struct qcow2 *layer, *top;

	loop_role_assume();
	for (unsigned k = 0; k < 2; k++)
		hand_format(hand, k, BYTES);
	layer = hand_open(hand, 0, NULL);
	top = hand_open(hand, 1, layer);
	begin_below(hand, layer);
	cr_assert_eq(hand_close(hand, top), 0);
	end_below(hand);
	write_and_flush(hand, layer);
	cr_assert_eq(hand_close(hand, layer), 0);
	hand_end(hand);
}

Test(qcow2_workers, an_image_is_opened_above_a_layer_at_work)
{
	struct hand *hand = hand_make(BYTES);
	struct qcow2 *layer, *top;

	loop_role_assume();
	for (unsigned k = 0; k < 2; k++)
		hand_format(hand, k, BYTES);
	layer = hand_open(hand, 0, NULL);
	begin_below(hand, layer);
	top = hand_open(hand, 1, layer);
	end_below(hand);
	write_and_flush(hand, top);
	write_and_flush(hand, layer);
	cr_assert_eq(hand_close(hand, top), 0);
	cr_assert_eq(hand_close(hand, layer), 0);
	hand_end(hand);
}

/* -- LUNs: records that carry their I/O -- */

#define IOS 700u

struct scene {
	struct hand *hand;
	struct loop_group group;
	char dir[32];
	struct lun *luns[2];
};

struct tio {
	struct lun_io io;
	bool is_done;
	int res;
};

static struct tio ios[IOS], other;

static void on_io_done(struct lun_io *io, int res)
{
	struct tio *t = CONTAINER_OF(io, struct tio, io);

	t->is_done = true;
	t->res = res;
}

LOOP_ONLY static void io_submit(struct scene *scene, unsigned lun, struct tio *t, enum lun_op op)
{
	t->io.op = op;
	t->io.length_bytes = 4096;
	t->io.iov[0] = (struct iovec){bytes, 4096};
	t->io.iov_count = 1;
	t->io.done = on_io_done;
	t->is_done = false;
	lun_io_submit(scene->luns[lun], scene->hand->loop, &t->io);
}

LOOP_ONLY static void io_wait(const struct scene *scene, const struct tio *t)
{
	cr_assert(hand_turn_until(scene->hand, &t->is_done), "it does not end");
	cr_assert_eq(t->res, 0, "%d", t->res);
}

static void path_of(const struct scene *scene, unsigned lun, char *path, size_t length)
{
	(void)snprintf(path, length, "%s/%u", scene->dir, lun);
}

static void make_lun(struct scene *scene, unsigned i)
{
	static const char *const identities[] = {"naa.60000000000000000000000000000001",
						 "naa.60000000000000000000000000000002"};
	struct image image = image_make(BYTES);
	char path[64];
	struct lun_spec spec = {
		.name = "lun",
		.type = "qcow2",
		.path = path,
		.logical_block_bytes = 512,
		.write_cache = true,
	};
	int fd;

	spec.identity = identities[i];
	path_of(scene, i, path, sizeof(path));
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	cr_assert_eq(pwrite(fd, image.bytes, image.layout.file_bytes, 0),
		     (ssize_t)image.layout.file_bytes);
	close(fd);
	free(image.bytes);
	cr_assert_eq(lun_open_type(&spec, &scene->group, &image_qcow2_ops, &scene->luns[i]), 0);
	cr_assert(lun_state(scene->luns[i])->online, "%s",
		  lun_state(scene->luns[i])->offline_reason);
}

static void on_drained(struct lun *lun UNUSED, int res, void *arg)
{
	struct tio *t = arg;

	t->is_done = true;
	t->res = res;
}

LOOP_ONLY static void end_lun(struct scene *scene, unsigned i)
{
	struct tio drained = {0};
	char path[64];

	lun_drain(scene->luns[i], scene->hand->loop, 60000, on_drained, &drained);
	io_wait(scene, &drained);
	lun_close(scene->luns[i]);
	path_of(scene, i, path, sizeof(path));
	cr_assert_eq(unlink(path), 0);
}

Test(qcow2_workers, a_stuck_lun_leaves_records_to_others)
{
	struct scene scene = {.hand = hand_make(1), .dir = {"/tmp/ringsan-qcow2-XXXXXX"}};

	loop_role_assume();
	scene.group = (struct loop_group){.loops = {scene.hand->loop}, .count = 1};
	cr_assert(mkdtemp(scene.dir));
	for (unsigned i = 0; i < 2; i++) {
		make_lun(&scene, i);
		io_submit(&scene, i, &other, LUN_WRITE);
		io_wait(&scene, &other);
	}
	scene.hand->stuck_fd = image_qcow2_ops.fd(scene.luns[0]->image);
	for (unsigned i = 0; i < IOS; i++)
		io_submit(&scene, 0, &ios[i], LUN_READ);
	let_take(scene.hand);
	io_submit(&scene, 1, &other, LUN_READ);
	io_wait(&scene, &other);
	scene.hand->stuck_fd = -1;
	for (unsigned i = 0; i < IOS; i++)
		io_wait(&scene, &ios[i]);
	for (unsigned i = 0; i < 2; i++)
		end_lun(&scene, i);
	cr_assert_eq(rmdir(scene.dir), 0);
	hand_end(scene.hand);
}
