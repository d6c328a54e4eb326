/*
 * Drain and switch: the gate, the deadline, the roll back, and a flush that fails for good while
 * others are under way. Over an image that holds every I/O until the test lets it go.
 */
#include "tests/unit/lun_testing.h"

#define BLOCK 4096u

struct tdrain {
	struct lun *lun;
	struct loop *control;
	uint64_t deadline_ms;
	sem_t done;
	atomic_bool ended;
	int res;
};

static void on_drained(struct lun *lun, int res, void *arg)
{
	struct tdrain *t = arg;

	cr_assert_eq(lun, t->lun);
	t->res = res;
	atomic_store(&t->ended, true);
	sem_post(&t->done);
}

static void call_drain(void *arg)
{
	struct tdrain *t = arg;

	loop_role_assume();
	lun_drain(t->lun, t->control, t->deadline_ms, on_drained, t);
}

static void call_resume(void *arg)
{
	struct tdrain *t = arg;

	loop_role_assume();
	lun_resume(t->lun, t->control);
}

static void drain(struct tdrain *t, struct rig *rig, struct lun *lun, uint64_t deadline_ms)
{
	*t = (struct tdrain){.lun = lun, .control = rig->control, .deadline_ms = deadline_ms};
	sem_init(&t->done, 0, 0);
	rig_call(rig->control, call_drain, t);
	rig_settle(rig);
}

static int drain_wait(struct tdrain *t)
{
	cr_assert(wait_for(&t->done, PATIENCE_S * 1000), "a drain does not end");
	return t->res;
}

static struct tio *begin(struct rig *rig, struct lun *lun, unsigned loop, enum lun_op op,
			 uint64_t block)
{
	struct tio *t = tio_new(op, block * BLOCK, BLOCK);

	tio_submit(t, lun, rig->group.loops[loop]);
	rig_settle(rig);
	return t;
}

static void end(struct tio *t, int res)
{
	cr_assert_eq(held_end(t, res), res);
	tio_free(t);
}

TEST_ON_ENGINES(drain, waits_for_every_io_and_for_orphans)
{
	struct rig rig;
	struct tdrain t;
	struct lun *lun = held_lun(&rig, engine);
	struct tio *read = begin(&rig, lun, 0, LUN_READ, 0);
	struct tio *orphan = begin(&rig, lun, 1, LUN_WRITE, 1);

	tio_abandon(orphan);
	drain(&t, &rig, lun, 60000);
	struct tio *late = begin(&rig, lun, 0, LUN_WRITE, 5);
	struct tio *flush = begin(&rig, lun, 1, LUN_FLUSH, 0);
	cr_assert(!held_has(late) && !held_has(flush), "the gate is closed");
	cr_assert(lun_state(lun)->gate_closed);
	end(read, 0);
	rig_settle(&rig);
	cr_assert_not(atomic_load(&t.ended), "the orphan is still there");
	end(orphan, 0);
	cr_assert_eq(drain_wait(&t), 0);
	cr_assert_eq(held.count, 0);
	rig_settle(&rig);
	cr_assert(!held_has(late) && !held_has(flush), "until resume");
	rig_call(rig.control, call_resume, &t);
	rig_settle(&rig);
	cr_assert(held_has(late) && held_has(flush));
	end(late, 0);
	end(flush, 0);
	rig_close(&rig, lun);
}

TEST_ON_ENGINES(drain, on_expiry_rolls_back_and_reopens)
{
	struct rig rig;
	struct tdrain t;
	struct lun *lun = held_lun(&rig, engine);
	struct tio *stuck = begin(&rig, lun, 0, LUN_WRITE, 0);

	drain(&t, &rig, lun, 50);
	struct tio *late = begin(&rig, lun, 1, LUN_WRITE, 5);
	cr_assert_eq(drain_wait(&t), -ETIMEDOUT);
	rig_settle(&rig);
	cr_assert_not(lun_state(lun)->gate_closed);
	cr_assert(held_has(late), "what waited goes on");
	end(late, 0);
	end(stuck, 0);
	/* And it can be done again. */
	drain(&t, &rig, lun, 60000);
	cr_assert_eq(drain_wait(&t), 0);
	rig_call(rig.control, call_resume, &t);
	rig_close(&rig, lun);
}

TEST_ON_ENGINES(drain, one_at_a_time)
{
	struct rig rig;
	struct tdrain t;
	struct tdrain second;
	struct lun *lun = held_lun(&rig, engine);

	drain(&t, &rig, lun, 60000);
	cr_assert_eq(drain_wait(&t), 0);
	drain(&second, &rig, lun, 60000);
	cr_assert_eq(drain_wait(&second), -EBUSY);
	rig_call(rig.control, call_resume, &t);
	rig_close(&rig, lun);
}

TEST_ON_ENGINES(drain, a_waiting_io_can_be_aborted)
{
	struct rig rig;
	struct tdrain t;
	struct lun *lun = held_lun(&rig, engine);

	drain(&t, &rig, lun, 60000);
	struct tio *waiting = begin(&rig, lun, 0, LUN_WRITE, 0);
	tio_abandon(waiting);
	cr_assert_eq(tio_wait(waiting), -ECANCELED);
	cr_assert_eq(drain_wait(&t), 0);
	tio_free(waiting);
	rig_close(&rig, lun); /* Closed while drained, as a removal does. */
}

static void on_drained_close(struct lun *lun, int res, void *arg)
{
	cr_assert_eq(res, 0);
	lun_close(lun);
	on_drained(lun, res, arg);
}

static void call_drain_and_close(void *arg)
{
	struct tdrain *t = arg;

	loop_role_assume();
	lun_drain(t->lun, t->control, t->deadline_ms, on_drained_close, t);
}

/* A removal: the LUN is freed in the very call that says it is drained, beside loops that run. */
TEST_ON_ENGINES(drain, the_lun_can_be_closed_beside_running_loops)
{
	struct rig rig;

	rig_create(&rig, engine, "/tmp");
	rig_run(&rig);
	held.io_align_bytes = 4096;
	for (unsigned i = 0; i < 20; i++) {
		struct lun_spec spec = test_spec(&rig, "held");
		struct tdrain t = {.control = rig.control, .deadline_ms = 60000};
		struct tio *orphan = tio_new(LUN_WRITE, 0, BLOCK);
		struct tio *small = tio_new(LUN_WRITE, 3 * 512, 512);

		cr_assert_eq(lun_open_type(&spec, &rig.group, &held_ops, &t.lun), 0);
		tio_submit(orphan, t.lun, rig.group.loops[0]);
		tio_abandon(orphan);
		tio_submit(small, t.lun, rig.group.loops[1]);
		sem_init(&t.done, 0, 0);
		rig_call(rig.control, call_drain_and_close, &t);
		tio_abandon(small);
		end(orphan, 0);
		cr_assert_eq(tio_wait(small), -ECANCELED);
		cr_assert_eq(drain_wait(&t), 0);
		tio_free(small);
	}
	rig_settle(&rig);
	rig_halt(&rig);
	rig_free(&rig);
}

/* -- A failed flush -- */

TEST_ON_ENGINES(failure, nothing_is_acknowledged_against_a_failed_flush)
{
	struct rig rig;
	struct lun *lun = held_lun(&rig, engine);
	struct tio *write = begin(&rig, lun, 1, LUN_WRITE, 0);
	struct tio *flush = begin(&rig, lun, 1, LUN_FLUSH, 0);
	struct tio *read = begin(&rig, lun, 1, LUN_READ, 0);
	struct tio *failing = begin(&rig, lun, 0, LUN_FLUSH, 0);

	cr_assert_eq(held_end(failing, -EIO), -EIO);
	tio_free(failing);
	cr_assert_eq(held_end(write, 0), -EIO, "begun before, ended after");
	cr_assert_eq(held_end(flush, 0), -EIO, "begun before, ended after");
	cr_assert_eq(held_end(read, 0), 0, "reads go on");
	tio_free(write);
	tio_free(flush);
	tio_free(read);
	for (unsigned i = 0; i < RIG_LOOPS; i++) {
		struct loop *loop = rig.group.loops[i];

		cr_assert_eq(tio_run(lun, loop, LUN_WRITE, 0, BLOCK), -EROFS);
		cr_assert_eq(tio_run(lun, loop, LUN_UNMAP, 0, BLOCK), -EROFS);
		cr_assert_eq(tio_run(lun, loop, LUN_FLUSH, 0, 0), -EIO);
	}
	rig_settle(&rig);
	cr_assert(lun_state(lun)->read_only && lun_state(lun)->online);
	rig_close(&rig, lun);
}

/* Two changes of the state at once: neither may be lost. */
TEST_ON_ENGINES(failure, a_flush_that_fails_while_the_gate_closes)
{
	struct rig rig;
	struct tdrain t;
	struct lun *lun = held_lun(&rig, engine);
	struct tio *flushes[RIG_LOOPS];

	for (unsigned i = 0; i < RIG_LOOPS; i++)
		flushes[i] = begin(&rig, lun, i, LUN_FLUSH, 0);
	drain(&t, &rig, lun, 60000);
	for (unsigned i = 0; i < RIG_LOOPS; i++)
		end(flushes[i], -EIO);
	cr_assert_eq(drain_wait(&t), 0);
	cr_assert(lun_state(lun)->read_only && lun_state(lun)->gate_closed);
	rig_call(rig.control, call_resume, &t);
	rig_settle(&rig);
	cr_assert(lun_state(lun)->read_only && !lun_state(lun)->gate_closed);
	rig_close(&rig, lun);
}

/* -- States that refuse -- */

TEST_ON_ENGINES(state, offline_and_read_only)
{
	struct rig rig;
	struct lun_spec spec;
	struct lun *gone;
	struct lun *frozen;

	rig_create(&rig, engine, "/tmp");
	spec = test_spec(&rig, "null");
	cr_assert_eq(lun_open(&spec, &rig.group, &gone), 0);
	spec.read_only = true;
	cr_assert_eq(lun_open(&spec, &rig.group, &frozen), 0);
	lun_set_offline(gone, "for a test");
	cr_assert_str_eq(lun_state(gone)->offline_reason, "for a test");
	rig_run(&rig);
	cr_assert_eq(tio_run(gone, rig.group.loops[0], LUN_READ, 0, BLOCK), -ENODEV);
	cr_assert_eq(tio_run(frozen, rig.group.loops[1], LUN_WRITE, 0, BLOCK), -EROFS);
	cr_assert_eq(tio_run(frozen, rig.group.loops[1], LUN_READ, 0, BLOCK), 0);
	cr_assert_eq(tio_run(frozen, rig.group.loops[1], LUN_FLUSH, 0, 0), 0);
	rig_settle(&rig);
	rig_halt(&rig);
	lun_close(gone);
	lun_close(frozen);
	rig_free(&rig);
}

TEST_ON_ENGINES(state, null_reads_zeroes_and_never_what_lay_in_the_buffer)
{
	struct rig rig;
	struct lun_spec spec;
	struct lun *lun;

	rig_create(&rig, engine, "/tmp");
	spec = test_spec(&rig, "null");
	spec.size_bytes = 0;
	cr_assert_eq(lun_open(&spec, &rig.group, &lun), 0);
	cr_assert_eq(lun_state(lun)->size_bytes, 1ull << 40);
	rig_run(&rig);
	struct tio *read = tio_new(LUN_READ, 1ull << 39, 3 * 65536);
	tio_submit(read, lun, rig.group.loops[0]);
	cr_assert_eq(tio_wait(read), 0);
	for (unsigned i = 0; i < 3 * 65536; i++)
		cr_assert_eq(read->data[i], 0);
	tio_free(read);
	rig_close(&rig, lun);
}
