/*
 * The switch of LUNs to changed files: all or none of them, what each step's failure leaves, and
 * what becomes of those who drain, measure or write meanwhile. Over an image that holds every I/O
 * and opens as it is told to; lun_switch_files.c does it over files.
 */
#include "tests/unit/lun_switch_testing.h"

/* -- Scenes -- */

static void scene_open(struct scene *s, enum loop_engine engine)
{
	rig_create(&s->rig, engine, "/tmp");
	for (unsigned i = 0; i < LUNS; i++) {
		char name[16];
		struct lun_spec spec = test_spec(&s->rig, "shelf");

		(void)snprintf(name, sizeof(name), "test:lun %u", i);
		spec.name = name;
		cr_assert_eq(lun_open_type(&spec, &s->rig.group, &shelf_ops, &s->luns[i]), 0);
	}
	rig_run(&s->rig);
}

static void scene_close(struct scene *s)
{
	rig_settle(&s->rig);
	rig_halt(&s->rig);
	for (unsigned i = 0; i < LUNS; i++)
		lun_close(s->luns[i]);
	rig_free(&s->rig);
}

static struct tio *submit(struct scene *s, unsigned at, enum lun_op op)
{
	struct tio *t = tio_new(op, 0, BLOCK);

	tio_submit(t, s->luns[at], s->rig.group.loops[at % RIG_LOOPS]);
	rig_settle(&s->rig);
	return t;
}

static void expect_serving(struct scene *s, unsigned at)
{
	struct tio *t = submit(s, at, LUN_WRITE);

	cr_expect(state_of(s, at).online && !state_of(s, at).gate_closed);
	cr_assert_eq(held_end(t, 0), 0);
	tio_free(t);
}

/* -- What goes well -- */

TEST_ON_ENGINES(switch, closes_all_before_it_changes_anything)
{
	struct scene s;
	struct tswitch t;

	scene_open(&s, engine);
	cr_assert_eq(run(&t, &s, LUNS, 0), 0, "%s", t.change.why);
	cr_expect_eq(t.open_at_change, 0);
	cr_expect_eq(atomic_load(&shelf.open), (int)LUNS);
	cr_expect_eq(t.changes, 1);
	cr_expect_eq(t.undos, 0);
	cr_expect_geq(t.change.paused_ns, t.change.changing_ns);
	for (unsigned i = 0; i < LUNS; i++)
		expect_serving(&s, i);
	scene_close(&s);
}

TEST_ON_ENGINES(switch, io_waits_and_goes_on)
{
	struct scene s;
	struct tswitch t;
	struct tio *before;
	struct tio *during;
	sem_t hold;

	sem_init(&hold, 0, 0);
	scene_open(&s, engine);
	before = submit(&s, 1, LUN_WRITE);
	begin(&t, &s, LUNS, 0);
	t.hold = &hold;
	start(&t);
	rig_settle(&s.rig);
	cr_expect_eq(t.changes, 0, "an I/O is under way");
	cr_assert_eq(held_end(before, 0), 0);
	cr_assert(wait_for(&t.changing, PATIENCE_S * 1000));
	during = submit(&s, 0, LUN_READ);
	cr_expect(!held_has(during));
	sem_post(&hold);
	cr_assert_eq(finish(&t), 0);
	rig_settle(&s.rig);
	cr_assert_eq(held_end(during, 0), 0);
	tio_free(before);
	tio_free(during);
	scene_close(&s);
}

Test(switch, an_image_that_has_grown_makes_the_lun_larger)
{
	struct scene s;
	struct tswitch t;
	uint64_t before;

	scene_open(&s, LOOP_ENGINE_AIO);
	before = state_of(&s, 0).size_bytes;
	/* One whose configuration does not fix the size. */
	s.luns[0]->spec.size_bytes = 0;
	atomic_store(&shelf.growth, 1 << 20);
	/* Not by the way, nor where it failed: nobody would tell hosts. */
	cr_assert_eq(run(&t, &s, LUNS, 0), 0);
	cr_expect_eq(state_of(&s, 0).size_bytes, before);
	begin(&t, &s, LUNS, -EIO);
	t.change.grows = true;
	start(&t);
	cr_assert_eq(finish(&t), -EIO);
	cr_expect_eq(state_of(&s, 0).size_bytes, before);
	begin(&t, &s, LUNS, 0);
	t.change.grows = true;
	start(&t);
	cr_assert_eq(finish(&t), 0);
	cr_expect_eq(state_of(&s, 0).size_bytes, before + (1 << 20));
	cr_expect_eq(state_of(&s, 1).size_bytes, before);
	scene_close(&s);
}

/* -- What does not -- */

static int look_and_refuse(struct lun_switch *change, char why[LUN_WHY_MAX])
{
	struct tswitch *t = CONTAINER_OF(change, struct tswitch, change);

	for (unsigned i = 0; i < change->count; i++) {
		struct lun_state state;

		lun_state_copy(change->luns[i], &state);
		cr_expect(state.gate_closed);
	}
	cr_expect_eq(atomic_load(&shelf.open), (int)LUNS);
	(void)snprintf(why, LUN_WHY_MAX, "the test says no");
	return t->answer;
}

/* Asked when nothing is under way any more and nothing is closed yet. */
TEST_ON_ENGINES(switch, one_that_is_not_admitted_leaves_all_as_they_were)
{
	struct scene s;
	struct tswitch t;
	struct tio *before;

	scene_open(&s, engine);
	before = submit(&s, 1, LUN_WRITE);
	begin(&t, &s, LUNS, -EROFS);
	t.change.admit = look_and_refuse;
	start(&t);
	rig_settle(&s.rig);
	cr_expect(!atomic_load(&t.ended));
	cr_assert_eq(held_end(before, 0), 0);
	cr_expect_eq(finish(&t), -EROFS);
	cr_expect_str_eq(t.change.why, "the test says no");
	cr_expect_eq(t.change.failed, LUNS);
	cr_expect_eq(t.changes, 0);
	for (unsigned i = 0; i < LUNS; i++)
		expect_serving(&s, i);
	tio_free(before);
	scene_close(&s);
}

TEST_ON_ENGINES(switch, one_that_cannot_be_drained_leaves_all_as_they_were)
{
	struct scene s;
	struct tswitch t;
	struct tio *stuck;

	scene_open(&s, engine);
	stuck = submit(&s, 1, LUN_READ);
	begin(&t, &s, LUNS, 0);
	t.change.deadline_ms = 50;
	start(&t);
	cr_expect_eq(finish(&t), -ETIMEDOUT);
	cr_expect_eq(t.change.failed, 1);
	cr_expect_neq(t.change.why[0], '\0');
	cr_expect_eq(t.changes, 0);
	expect_serving(&s, 0);
	cr_assert_eq(held_end(stuck, 0), 0);
	expect_serving(&s, 1);
	tio_free(stuck);
	cr_expect_eq(run(&t, &s, LUNS, 0), 0, "later it can be");
	scene_close(&s);
}

TEST_ON_ENGINES(switch, a_change_that_fails_changes_nothing)
{
	struct scene s;
	struct tswitch t;

	scene_open(&s, engine);
	cr_expect_eq(run(&t, &s, LUNS, -ENOSPC), -ENOSPC);
	cr_expect_str_eq(t.change.why, "the test says no");
	cr_expect_eq(t.undos, 0);
	cr_expect_eq(atomic_load(&shelf.open), (int)LUNS);
	for (unsigned i = 0; i < LUNS; i++)
		expect_serving(&s, i);
	scene_close(&s);
}

TEST_ON_ENGINES(switch, what_does_not_open_afterwards_is_undone)
{
	struct scene s;
	struct tswitch t;

	scene_open(&s, engine);
	refuse_opens(1, 1, -EINVAL);
	cr_expect_eq(run(&t, &s, LUNS, 0), -EINVAL);
	cr_expect_eq(t.change.failed, 1);
	cr_expect_str_eq(t.change.why, "the shelf does not have it");
	cr_expect_eq(t.undos, 1);
	cr_expect_eq(atomic_load(&shelf.open), (int)LUNS);
	for (unsigned i = 0; i < LUNS; i++)
		expect_serving(&s, i);
	scene_close(&s);
}

TEST_ON_ENGINES(switch, what_does_not_open_at_all_goes_offline_with_the_reason)
{
	struct scene s;
	struct tswitch t;
	struct lun_state state;

	scene_open(&s, engine);
	/* The second one: after the change, and again after it was undone. */
	refuse_opens(0, 2, -EINVAL);
	cr_expect_eq(run(&t, &s, LUNS, 0), -EINVAL);
	cr_expect_eq(t.undos, 1);
	state = state_of(&s, 0);
	cr_expect(!state.online && !state.gate_closed);
	cr_expect_str_eq(state.offline_reason, "the shelf does not have it");
	cr_expect_eq(tio_run(s.luns[0], s.rig.group.loops[0], LUN_READ, 0, BLOCK), -ENODEV);
	expect_serving(&s, 1);
	/* Once offline it is not switched any more. */
	cr_expect_eq(run(&t, &s, LUNS, 0), -ENODEV);
	cr_expect_eq(t.change.failed, 0);
	expect_serving(&s, 1);
	scene_close(&s);
}

Test(switch, an_image_that_somebody_looks_at_is_waited_for)
{
	struct scene s;
	struct tswitch t;

	scene_open(&s, LOOP_ENGINE_AIO);
	refuse_opens(0, 3, -EBUSY);
	cr_expect_eq(run(&t, &s, LUNS, 0), 0);
	cr_expect_eq(t.undos, 0);
	scene_close(&s);
}

Test(switch, an_image_that_can_do_less_is_refused)
{
	struct scene s;
	struct tswitch t;

	scene_open(&s, LOOP_ENGINE_AIO);
	atomic_store(&shelf.less, true);
	cr_expect_eq(run(&t, &s, 1, 0), -EINVAL);
	cr_expect_eq(t.undos, 1);
	expect_serving(&s, 0);
	scene_close(&s);
}

Test(switch, a_lun_whose_flush_failed_is_not_opened_again)
{
	struct scene s;
	struct tswitch t;
	struct tio *flush;

	scene_open(&s, LOOP_ENGINE_AIO);
	flush = submit(&s, 0, LUN_FLUSH);
	cr_assert_eq(held_end(flush, -EIO), -EIO);
	tio_free(flush);
	cr_expect_eq(run(&t, &s, LUNS, 0), -EIO);
	cr_expect_eq(t.changes, 0);
	cr_expect(state_of(&s, 0).read_only, "it stays as it is");
	expect_serving(&s, 1);
	scene_close(&s);
}

/* Each try may wait for a folder's lock for seconds: what counts is the time, not the tries. */
Test(switch, an_image_that_stays_locked_is_given_up)
{
	struct scene s;
	struct tswitch t;

	scene_open(&s, LOOP_ENGINE_AIO);
	atomic_store(&shelf.slowness_us, 400000);
	refuse_opens(0, 1000, -EBUSY);
	cr_expect_eq(run(&t, &s, 1, 0), -EBUSY);
	cr_expect_eq(t.undos, 1);
	cr_expect_geq(atomic_load(&shelf.refusals), 1000 - 2 * 4);
	atomic_store(&shelf.slowness_us, 0);
	atomic_store(&shelf.refusals, 0);
	expect_serving(&s, 1);
	scene_close(&s);
}

/* -- Others meanwhile -- */

static void on_drained(struct lun *lun, int res, void *arg)
{
	(void)lun;
	*(int *)arg = res;
}

struct other {
	struct scene *s;
	int res;
};

static void call_drain(void *arg)
{
	struct other *other = arg;

	loop_role_assume();
	lun_drain(other->s->luns[1], other->s->rig.control, 1000, on_drained, &other->res);
}

static void call_resume(void *arg)
{
	struct other *other = arg;

	loop_role_assume();
	lun_resume(other->s->luns[1], other->s->rig.control);
}

TEST_ON_ENGINES(switch, one_that_is_drained_by_others_is_left_to_them)
{
	struct scene s;
	struct tswitch t;
	struct other other = {.s = &s, .res = 1};

	scene_open(&s, engine);
	rig_call(s.rig.control, call_drain, &other);
	cr_expect_eq(run(&t, &s, LUNS, 0), -EBUSY);
	cr_expect_eq(t.changes, 0);
	rig_settle(&s.rig);
	cr_assert_eq(other.res, 0);
	cr_expect(state_of(&s, 1).gate_closed, "it is theirs");
	expect_serving(&s, 0);
	rig_call(s.rig.control, call_resume, &other);
	expect_serving(&s, 1);
	scene_close(&s);
}

TEST_ON_ENGINES(switch, others_find_it_busy)
{
	struct scene s;
	struct tswitch t;
	struct tswitch second;
	struct other other = {.s = &s, .res = 1};
	char why[LUN_WHY_MAX] = "";
	uint64_t size;
	sem_t hold;

	sem_init(&hold, 0, 0);
	scene_open(&s, engine);
	begin(&t, &s, LUNS, 0);
	t.hold = &hold;
	start(&t);
	cr_assert(wait_for(&t.changing, PATIENCE_S * 1000));
	rig_call(s.rig.control, call_drain, &other);
	cr_expect_eq(other.res, -EBUSY);
	cr_expect_eq(run(&second, &s, 1, 0), -EBUSY);
	cr_expect_eq(lun_measure(s.luns[0], 0, &size, why), -EBUSY);
	cr_expect_neq(why[0], '\0');
	/* Who only wants to know what it uses keeps what he knows. */
	lun_space_look(s.luns[0]);
	sem_post(&hold);
	cr_expect_eq(finish(&t), 0);
	for (unsigned i = 0; i < LUNS; i++)
		expect_serving(&s, i);
	scene_close(&s);
}

/* A loop that does not take its turn, so that no round ends. */
struct stall {
	struct loop_msg msg;
	sem_t go, began;
};

static void on_stall(struct loop_msg *msg)
{
	struct stall *stall = CONTAINER_OF(msg, struct stall, msg);

	sem_post(&stall->began);
	(void)wait_for(&stall->go, PATIENCE_S * 1000);
}

static void call_grow(void *arg)
{
	struct other *other = arg;

	loop_role_assume();
	lun_grow(other->s->luns[1], other->s->rig.control,
		 state_of(other->s, 1).size_bytes + (1 << 20));
}

static bool is_resumed(struct lun *lun)
{
	bool resumed;

	pthread_mutex_lock(&lun->mutex);
	resumed = lun->drain.stage == DRAIN_IDLE;
	pthread_mutex_unlock(&lun->mutex);
	return resumed;
}

/* The opening of the gate waits for a version that is on its way back; a drain that begins then
 * keeps it from ever being published. */
TEST_ON_ENGINES(switch, ends_where_others_drain_before_the_gate_is_seen_open)
{
	struct scene s;
	struct tswitch t;
	struct other other = {.s = &s, .res = 1};
	struct stall stall;
	sem_t hold;

	sem_init(&hold, 0, 0);
	sem_init(&stall.go, 0, 0);
	sem_init(&stall.began, 0, 0);
	scene_open(&s, engine);
	begin(&t, &s, LUNS, 0);
	t.hold = &hold;
	start(&t);
	cr_assert(wait_for(&t.changing, PATIENCE_S * 1000));
	loop_post(s.rig.group.loops[1], &stall.msg, on_stall);
	cr_assert(wait_for(&stall.began, PATIENCE_S * 1000));
	rig_call(s.rig.control, call_grow, &other);
	sem_post(&hold);
	for (unsigned i = 0; i < PATIENCE_S * 1000 && !is_resumed(s.luns[1]); i++)
		(void)usleep(1000);
	cr_expect(!atomic_load(&t.ended), "the gate is not open");
	rig_call(s.rig.control, call_drain, &other);
	sem_post(&stall.go);
	cr_assert_eq(finish(&t), 0);
	rig_settle(&s.rig);
	rig_settle(&s.rig);
	cr_assert_eq(other.res, 0);
	rig_call(s.rig.control, call_resume, &other);
	for (unsigned i = 0; i < LUNS; i++)
		expect_serving(&s, i);
	scene_close(&s);
}
