/*
 * How results of the kernel are judged: each kind of operation against each kind of result, without
 * a kernel. loop_op_step is what both engines share.
 */
#include "base/loop_engine.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>

/* An engine that takes everything and does nothing. */
static bool take(struct loop *loop, struct loop_op *op)
{
	(void)loop;
	(void)op;
	return true;
}

static const struct loop_engine_ops idle_engine = {.name = "idle", .submit = take};

static void never(struct loop_op *op, int res)
{
	(void)op;
	(void)res;
	cr_assert_fail("callbacks run from the turn only");
}

struct scene {
	struct loop loop;
	struct loop_op op;
	struct iovec iov[3];
	char bytes[300];
};

static void scene_init(struct scene *scene)
{
	*scene = (struct scene){.loop.engine = &idle_engine};
	list_init(&scene->loop.waiting);
	list_init(&scene->loop.done);
	for (unsigned i = 0; i < 3; i++)
		scene->iov[i] = (struct iovec){scene->bytes + i * 100, 100};
}

static int never_called(struct loop_op *op)
{
	(void)op;
	cr_assert_fail("there is no engine that would call it");
	return 0;
}

LOOP_ONLY static void begin(struct scene *scene, enum loop_op_kind kind, uint8_t flags)
{
	struct loop_rw rw = {.fd = -1, .iov = scene->iov, .iov_count = 3, .flags = flags};
	struct loop_range range = {0, 300};

	scene_init(scene);
	switch (kind) {
	case LOOP_OP_ACCEPT:
		loop_accept(&scene->loop, &scene->op, -1, never);
		break;
	case LOOP_OP_RECV:
		loop_recv(&scene->loop, &scene->op, -1, scene->iov, 3, never);
		break;
	case LOOP_OP_SEND:
		loop_send(&scene->loop, &scene->op, -1, scene->iov, 3, never);
		break;
	case LOOP_OP_READ:
		loop_read(&scene->loop, &scene->op, &rw, never);
		break;
	case LOOP_OP_WRITE:
		loop_write(&scene->loop, &scene->op, &rw, never);
		break;
	case LOOP_OP_SYNC:
		loop_sync(&scene->loop, &scene->op, -1, never);
		break;
	case LOOP_OP_DISCARD:
		loop_discard(&scene->loop, &scene->op, -1, range, never);
		break;
	case LOOP_OP_ZERO:
		loop_zero(&scene->loop, &scene->op, -1, range, never);
		break;
	case LOOP_OP_ALLOCATE:
		loop_allocate(&scene->loop, &scene->op, -1, range, never);
		break;
	case LOOP_OP_CALL:
		loop_call(&scene->loop, &scene->op, never_called, never);
		break;
	case LOOP_OP_COUNT:
		break;
	}
}

#define MORE INT_MIN /* In `expected`: the operation is to be carried on. */

static const struct {
	const char *what;
	enum loop_op_kind kind;
	uint8_t flags;
	int results[3]; /* The last one is judged by `expected`; 0 after the first ends them early.
			 */
	unsigned result_count;
	int expected;
	uint64_t transferred_bytes;
} cases[] = {
	{"accept gives the descriptor", LOOP_OP_ACCEPT, 0, {7}, 1, 7, 0},
	{"accept reports EMFILE", LOOP_OP_ACCEPT, 0, {-EMFILE}, 1, -EMFILE, 0},
	{"a signal means once more", LOOP_OP_ACCEPT, 0, {-EINTR}, 1, MORE, 0},
	{"one receive is enough", LOOP_OP_RECV, 0, {30}, 1, 30, 30},
	{"end of stream", LOOP_OP_RECV, 0, {0}, 1, 0, 0},
	{"send goes on", LOOP_OP_SEND, 0, {150}, 1, MORE, 150},
	{"send goes on to the end", LOOP_OP_SEND, 0, {150, 1, 149}, 3, 300, 300},
	{"send fails after a part", LOOP_OP_SEND, 0, {150, -EPIPE}, 2, -EPIPE, 150},
	{"send moves nothing", LOOP_OP_SEND, 0, {0}, 1, -EIO, 0},
	{"read goes on", LOOP_OP_READ, 0, {100}, 1, MORE, 100},
	{"read ends at the end", LOOP_OP_READ, 0, {100, 0}, 2, 100, 100},
	{"read of the whole", LOOP_OP_READ, 0, {300}, 1, 300, 300},
	{"a misaligned rest is the device's fault", LOOP_OP_READ, 0, {10, -EINVAL}, 2, -EIO, 10},
	{"a misaligned whole is the caller's", LOOP_OP_READ, 0, {-EINVAL}, 1, -EINVAL, 0},
	{"NOWAIT takes all", LOOP_OP_READ, LOOP_NOWAIT, {300}, 1, 300, 300},
	{"NOWAIT takes nothing short", LOOP_OP_READ, LOOP_NOWAIT, {299}, 1, -EAGAIN, 0},
	{"NOWAIT is told why", LOOP_OP_WRITE, LOOP_NOWAIT, {-EOPNOTSUPP}, 1, -EOPNOTSUPP, 0},
	{"NOWAIT writes nothing short", LOOP_OP_WRITE, LOOP_NOWAIT, {299}, 1, -EAGAIN, 0},
	{"write goes on", LOOP_OP_WRITE, LOOP_DSYNC, {299}, 1, MORE, 299},
	{"write of nothing is a full disk", LOOP_OP_WRITE, 0, {100, 0}, 2, -ENOSPC, 100},
	{"write fails after a part", LOOP_OP_WRITE, 0, {100, -EIO}, 2, -EIO, 100},
	{"sync", LOOP_OP_SYNC, 0, {0}, 1, 0, 0},
	{"sync fails", LOOP_OP_SYNC, 0, {-EIO}, 1, -EIO, 0},
	{"discard", LOOP_OP_DISCARD, 0, {0}, 1, 0, 0},
	{"discard again after a signal", LOOP_OP_DISCARD, 0, {-EINTR, 0}, 2, 0, 0},
	{"a call answers", LOOP_OP_CALL, 0, {17}, 1, 17, 0},
	{"a call fails", LOOP_OP_CALL, 0, {-ENOSPC}, 1, -ENOSPC, 0},
	{"allocate finds no space", LOOP_OP_ALLOCATE, 0, {-ENOSPC}, 1, -ENOSPC, 0},
	{"zero cannot", LOOP_OP_ZERO, 0, {-EOPNOTSUPP}, 1, -EOPNOTSUPP, 0},
};

Test(op, each_result_is_judged)
{
	struct scene scene;

	loop_role_assume();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		enum op_next next = OP_NEXT_MORE;

		begin(&scene, cases[i].kind, cases[i].flags);
		for (unsigned r = 0; r < cases[i].result_count; r++) {
			cr_assert_eq(next, OP_NEXT_MORE, "%s", cases[i].what);
			next = loop_op_step(&scene.op, cases[i].results[r]);
		}
		cr_assert_eq(next == OP_NEXT_MORE, cases[i].expected == MORE, "%s", cases[i].what);
		cr_assert_eq(next == OP_NEXT_DONE, !list_is_empty(&scene.loop.done));
		cr_assert_eq(scene.op.transferred_bytes, cases[i].transferred_bytes, "%s",
			     cases[i].what);
		if (next == OP_NEXT_DONE)
			cr_assert_eq(scene.op.res, cases[i].expected, "%s: %d", cases[i].what,
				     scene.op.res);
	}
}

/* The vector after each count of bytes: what is left begins where the count ended. */
Test(op, vector_is_consumed_in_place)
{
	struct scene scene;

	loop_role_assume();
	for (int count = 1; count < 300; count++) {
		begin(&scene, LOOP_OP_WRITE, 0);
		cr_assert_eq(loop_op_step(&scene.op, count), OP_NEXT_MORE);
		cr_assert_eq(scene.op.iov->iov_base, scene.bytes + count);
		cr_assert_eq(scene.op.iov_count, 3 - (unsigned)count / 100);
		cr_assert_eq(scene.op.iov->iov_len, 100 - (size_t)count % 100);
		cr_assert_eq(loop_op_position(&scene.op), count);
	}
}

Test(op, refused_nowait_leaves_the_vector)
{
	struct scene scene;

	loop_role_assume();
	begin(&scene, LOOP_OP_WRITE, LOOP_NOWAIT);
	cr_assert_eq(loop_op_step(&scene.op, 150), OP_NEXT_DONE);
	cr_assert_eq(scene.op.iov, scene.iov);
	cr_assert_eq(scene.iov[0].iov_base, scene.bytes);
	cr_assert_eq(scene.iov[0].iov_len, 100);
}

/* -- An engine without room ------------------------------------------------------------------ */

static unsigned room;

static bool take_while_room(struct loop *loop, struct loop_op *op)
{
	(void)loop;
	(void)op;
	return room > 0 && room-- > 0;
}

static const struct loop_engine_ops narrow_engine = {.name = "narrow", .submit = take_while_room};

Test(op, operations_wait_in_order_for_room)
{
	struct scene scene;
	struct loop_op ops[4] = {0};

	loop_role_assume();
	scene_init(&scene);
	scene.loop.engine = &narrow_engine;
	room = 1;
	for (unsigned i = 0; i < 4; i++)
		loop_sync(&scene.loop, &ops[i], -1, never);
	cr_assert_eq(ops[0].state, OP_CARRIED);
	cr_assert_eq(list_first(&scene.loop.waiting), &ops[1].link);
	room = 2;
	loop_op_flush_waiting(&scene.loop);
	cr_assert_eq(ops[2].state, OP_CARRIED);
	cr_assert_eq(ops[3].state, OP_WAITING);
	cr_assert_eq(scene.loop.disk_in_flight, 4);
	cr_assert_eq(scene.loop.in_flight, 4);
}
