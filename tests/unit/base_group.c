/*
 * Rounds over several loops, also with acknowledgements that come late, and published snapshots.
 */
#include "base/group.h"

#include "tests/unit/base_testing.h"

#include "base/clock.h"

#define LOOPS 3u

static void start_group(struct loop_group *group, enum loop_engine engine)
{
	*group = (struct loop_group){.count = LOOPS};
	for (unsigned i = 0; i < LOOPS; i++) {
		struct loop_config config = {.name = "member", .engine = engine, .index = i};

		cr_assert_eq(loop_create(&config, &group->loops[i]), 0);
		cr_assert_eq(loop_start(group->loops[i]), 0);
	}
}

static void end_group(struct loop_group *group)
{
	for (unsigned i = 0; i < group->count; i++) {
		loop_stop(group->loops[i]);
		loop_join(group->loops[i]);
		loop_free(group->loops[i], false);
	}
}

/* -- Rounds ---------------------------------------------------------------------------------- */

struct trip {
	struct loop_round round;
	struct loop_timer late; /* Of loop 1, which answers later. */
	struct loop *origin;
	atomic_uint visited; /* A bit for each loop. */
	bool is_late;
};

LOOP_ONLY static void on_late(struct loop_timer *timer)
{
	loop_round_ack(&CONTAINER_OF(timer, struct trip, late)->round);
}

LOOP_ONLY static bool visit(struct loop_round *round, struct loop *loop)
{
	struct trip *trip = CONTAINER_OF(round, struct trip, round);

	cr_assert(loop_is_current(loop));
	atomic_fetch_or(&trip->visited, 1u << loop_index(loop));
	if (!trip->is_late || loop_index(loop) != 1)
		return true;
	loop_timer_start(loop, &trip->late, 30, on_late);
	return false;
}

static void on_back(struct loop_round *round)
{
	struct trip *trip = CONTAINER_OF(round, struct trip, round);

	cr_assert(loop_is_current(trip->origin));
	loop_stop(trip->origin);
}

LOOP_ONLY static void travel(enum loop_engine engine, struct loop_group *group, bool is_late)
{
	struct trip trip = {.is_late = is_late, .origin = test_loop(engine)};
	uint64_t started_ns = clock_now_ns();

	loop_round_start(&trip.round, group, trip.origin, visit, on_back);
	test_run(trip.origin);
	cr_assert_eq(trip.visited, (1u << group->count) - 1);
	if (is_late)
		cr_assert_geq(clock_now_ns() - started_ns, 25 * CLOCK_NS_PER_MS);
}

TEST_ON_ENGINES(group, round_visits_every_loop_and_comes_back)
{
	struct loop_group group;

	start_group(&group, engine);
	travel(engine, &group, false);
	travel(engine, &group, true);
	end_group(&group);
}

TEST_ON_ENGINES(group, round_over_no_loops_comes_back)
{
	struct loop_group group = {0};

	travel(engine, &group, false);
}

/* -- Published ------------------------------------------------------------------------------- */

struct swap {
	struct published_swap swap;
	struct loop *origin;
	const void *retired;
};

static void on_retired(struct published_swap *swap, const void *old)
{
	struct swap *test = CONTAINER_OF(swap, struct swap, swap);

	cr_assert(loop_is_current(test->origin));
	test->retired = old;
	loop_stop(test->origin);
}

TEST_ON_ENGINES(group, swap_retires_the_old_snapshot)
{
	struct loop_group group;
	struct published published;
	struct swap swap = {.origin = test_loop(engine)};
	int old;
	int next;

	start_group(&group, engine);
	atomic_init(&published.current, &old);
	published_swap(&published, &next, &swap.swap, &group, swap.origin, on_retired);
	cr_assert_eq(published_load(&published), &next);
	test_run(swap.origin);
	cr_assert_eq(swap.retired, &old);
	end_group(&group);
}
