/*
 * A loop whose turns its creator makes, on an engine of the test's own: what the crash simulator
 * (tests/crash) builds on.
 */
#include "base/loop_engine.h"

#include "tests/unit/base_testing.h"

#include "base/clock.h"

/* It keeps one operation, and says how long it was told to wait. */
struct fake {
	struct loop_op *op;
	uint64_t timeout_ns;
};

static bool submit(struct loop *loop, struct loop_op *op)
{
	struct fake *fake = loop->engine_state;

	if (fake->op != NULL)
		return false;
	fake->op = op;
	return true;
}

static void wait(struct loop *loop, uint64_t timeout_ns)
{
	struct fake *fake = loop->engine_state;

	fake->timeout_ns = timeout_ns;
}

static unsigned punt_limit(const struct loop *loop)
{
	(void)loop;
	return 3;
}

static const struct loop_engine_ops fake_ops = {
	.name = "fake",
	.submit = submit,
	.wait = wait,
	.punt_limit = punt_limit,
};

LOOP_ONLY static struct loop *make(struct fake *fake)
{
	struct loop_config config = {.name = "hand", .index = 2};
	struct loop *loop;

	*fake = (struct fake){0};
	cr_assert_eq(loop_create_on(&config, &fake_ops, fake, &loop), 0);
	return loop;
}

static bool was_current;

static void on_op(struct loop_op *op, int res)
{
	struct test_op *test = CONTAINER_OF(op, struct test_op, op);

	was_current = loop_is_current(op->loop);
	test->res = res;
	test->done_count++;
}

Test(hand, operations_go_to_the_engine_and_end_in_a_turn)
{
	struct fake fake;
	struct loop *loop = make(&fake);
	struct test_op first = {0};
	struct test_op second = {0};

	loop_role_assume();
	cr_assert_str_eq(loop_engine_name(loop), "fake");
	cr_assert_eq(loop_punt_limit(loop), 3);
	loop_sync(loop, &first.op, 7, on_op);
	cr_assert_eq(fake.op, &first.op);
	/* There is no room: it waits, and gets its place in a turn. */
	loop_allocate(loop, &second.op, 7, (struct loop_range){0, 1}, on_op);
	cr_assert_eq(loop_op_step(fake.op, -EIO), OP_NEXT_DONE);
	fake.op = NULL;
	cr_assert_eq(first.done_count, 0);
	loop_turn(loop);
	cr_assert(was_current && !loop_is_current(loop));
	cr_assert_eq(first.done_count, 1);
	cr_assert_eq(first.res, -EIO);
	cr_assert_eq(fake.op, &second.op);
	cr_assert_eq(second.op.kind, LOOP_OP_ALLOCATE);
	cr_assert_eq(loop_op_step(fake.op, 0), OP_NEXT_DONE);
	loop_turn(loop);
	cr_assert_eq(second.done_count, 1);
	loop_free(loop, false);
}

static void on_timer(struct loop_timer *timer)
{
	(void)timer;
}

/* The message of loop_stop may be taken by the very turn that began before it: there is no other
 * that would wake the loop. */
Test(hand, a_turn_that_meets_the_stop_does_not_sleep)
{
	struct fake fake;
	struct loop *loop = make(&fake);

	loop_role_assume();
	loop_stop(loop);
	loop_turn(loop);
	cr_assert_eq(fake.timeout_ns, 0);
	loop_free(loop, false);
}

Test(hand, the_engine_is_told_how_long_nothing_is_due)
{
	struct loop_timer timer = {0};
	struct fake fake;
	struct loop *loop = make(&fake);

	loop_role_assume();
	loop_turn(loop);
	cr_assert_eq(fake.timeout_ns, LOOP_FOREVER);
	loop_timer_start(loop, &timer, 3600 * 1000, on_timer);
	loop_turn(loop);
	cr_assert_gt(fake.timeout_ns, 3000 * CLOCK_NS_PER_S);
	cr_assert_leq(fake.timeout_ns, 3600 * CLOCK_NS_PER_S);
	loop_timer_stop(loop, &timer);
	loop_free(loop, false);
}
