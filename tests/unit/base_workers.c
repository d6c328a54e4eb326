/*
 * Calls on helper threads, the sharing of workers among those who punt (one alone gets half, those
 * who are stuck always leave something to the next), and the budget for work on the spot.
 */
#include "tests/unit/base_testing.h"

#include <errno.h>
#include <pthread.h>

struct call {
	struct loop_op op;
	struct loop *loop;
	pthread_t loop_thread;
	int answer;
	unsigned *left;
};

static int call_answer(struct loop_op *op)
{
	struct call *call = CONTAINER_OF(op, struct call, op);

	cr_assert_not(pthread_equal(pthread_self(), call->loop_thread), "it must not block a loop");
	cr_assert_not(loop_is_current(call->loop));
	return call->answer;
}

LOOP_ONLY static void on_called(struct loop_op *op, int res)
{
	struct call *call = CONTAINER_OF(op, struct call, op);

	cr_assert(pthread_equal(pthread_self(), call->loop_thread));
	cr_assert_eq(res, call->answer);
	if (--*call->left == 0)
		loop_stop(call->loop);
}

TEST_ON_ENGINES(workers, a_call_runs_elsewhere_and_its_answer_comes_back)
{
	static const int answers[] = {0, 4711, -ENOSPC, -EAGAIN, -EOPNOTSUPP};
	struct call calls[ARRAY_SIZE(answers)] = {0};
	struct loop *loop = test_loop(engine);
	unsigned left = ARRAY_SIZE(answers);

	for (unsigned i = 0; i < ARRAY_SIZE(answers); i++) {
		calls[i].loop = loop;
		calls[i].loop_thread = pthread_self();
		calls[i].answer = answers[i];
		calls[i].left = &left;
		loop_call(loop, &calls[i].op, call_answer, on_called);
	}
	test_run(loop);
	cr_assert_eq(left, 0);
}

/* As many as it gets. */
LOOP_ONLY static unsigned take_all(struct loop *loop)
{
	unsigned mine = 0;

	while (mine < 1000 && loop_punt_begin(loop, mine))
		mine++;
	return mine;
}

struct shares {
	struct loop_timer timer;
	struct loop *loop;
};

LOOP_ONLY static void on_time_to_share(struct loop_timer *timer)
{
	struct loop *loop = CONTAINER_OF(timer, struct shares, timer)->loop;
	unsigned limit = loop_punt_limit(loop);
	unsigned taken = take_all(loop);
	unsigned before = taken;

	cr_assert_eq(taken, limit, "one alone gets what is said to be the most");
	/* One stuck user after another: each finds something, none more than the one before. */
	for (unsigned users = 1; users < 100; users++) {
		unsigned mine = take_all(loop);

		cr_assert(mine >= 1 && mine <= before);
		before = mine;
		taken += mine;
	}
	while (taken-- > 0)
		loop_punt_end(loop);
	cr_assert_eq(take_all(loop), limit, "all of them came back");
	loop_stop(loop);
}

TEST_ON_ENGINES(workers, who_is_stuck_leaves_workers_to_others)
{
	struct shares shares = {.loop = test_loop(engine)};

	loop_timer_start(shares.loop, &shares.timer, 0, on_time_to_share);
	test_run(shares.loop);
}

struct turn_budget {
	struct loop_timer timer;
	struct loop *loop;
	unsigned turns;
};

/* The same in each turn, and no more. */
LOOP_ONLY static void on_turn(struct loop_timer *timer)
{
	struct turn_budget *budget = CONTAINER_OF(timer, struct turn_budget, timer);
	unsigned granted = 0;

	while (granted < 1000 && loop_inline_begin(budget->loop, 4096))
		granted++;
	cr_assert_eq(granted, 32);
	if (--budget->turns > 0)
		loop_timer_start(budget->loop, timer, 0, on_turn);
	else
		loop_stop(budget->loop);
}

TEST_ON_ENGINES(workers, work_on_the_spot_is_bounded_in_each_turn)
{
	struct turn_budget budget = {.loop = test_loop(engine), .turns = 3};

	loop_timer_start(budget.loop, &budget.timer, 0, on_turn);
	test_run(budget.loop);
}
