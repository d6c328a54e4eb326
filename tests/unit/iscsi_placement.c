/*
 * Where new sessions go: by count while all is quiet, by load when it is uneven, and never so far
 * by load that a busy loop's idle neighbour gets everybody for ever.
 */
#include "target/iscsi/placement.h"

#include <criterion/criterion.h>

#include "base/clock.h"

#define LOOPS 4u

static struct placement_loop loops[LOOPS];

static void setup(void)
{
	for (unsigned i = 0; i < LOOPS; i++)
		loops[i] = (struct placement_loop){.sessions_max = UINT32_MAX};
}

TestSuite(iscsi_placement, .init = setup);

static void place(unsigned sessions, unsigned count)
{
	for (unsigned i = 0; i < sessions; i++)
		loops[placement_choose(loops, count)].sessions++;
}

/* `percent[i]` of a processor each, for so many seconds, noted every second. */
static void work(const unsigned percent[], unsigned seconds)
{
	for (unsigned s = 0; s < seconds; s++) {
		for (unsigned i = 0; i < LOOPS; i++) {
			if (loops[i].at_ns == 0)
				placement_note(&loops[i], 0, 1);
			placement_note(&loops[i],
				       loops[i].cpu_ns + percent[i] * CLOCK_NS_PER_S / 100u,
				       loops[i].at_ns + CLOCK_NS_PER_S);
		}
	}
}

Test(iscsi_placement, by_count_while_all_is_quiet)
{
	static const unsigned idle[LOOPS] = {0, 0, 0, 0};

	work(idle, 3);
	for (unsigned n = 0; n < 10000; n++) {
		place(1, LOOPS);
		cr_assert_eq(loops[n % LOOPS].sessions, n / LOOPS + 1, "session %u", n);
	}
	loops[2].sessions -= 100;
	place(100, LOOPS);
	cr_expect_eq(loops[2].sessions, 2500);
}

/* Ten that work and ten that do not: the eleventh goes where nobody works. */
Test(iscsi_placement, by_load_where_counts_are_equal)
{
	static const unsigned percent[LOOPS] = {80, 1, 0, 0};

	loops[0].sessions = 10;
	loops[1].sessions = 10;
	work(percent, 30);
	cr_expect_eq(placement_choose(loops, 2), 1);
	place(10, 2);
	cr_expect_eq(loops[1].sessions, 20);
}

/* A little noise is no load: counts go on deciding. */
Test(iscsi_placement, quiet_loops_differ_by_nothing)
{
	static const unsigned percent[LOOPS] = {0, 0, 0, 0};

	work(percent, 10);
	loops[0].busy = PLACEMENT_WHOLE / 10000;
	place(400, LOOPS);
	for (unsigned i = 0; i < LOOPS; i++)
		cr_expect(loops[i].sessions >= 99 && loops[i].sessions <= 101, "loop %u has %u", i,
			  loops[i].sessions);
}

/* Load that is spread unevenly moves counts by as much and no more. */
Test(iscsi_placement, imbalance_is_bounded)
{
	static const unsigned percent[LOOPS] = {60, 40, 0, 0};

	work(percent, 60);
	place(1000, 2);
	cr_expect(loops[0].sessions >= 390 && loops[0].sessions <= 410, "%u", loops[0].sessions);
}

Test(iscsi_placement, load_is_forgotten)
{
	static const unsigned busy[LOOPS] = {90, 0, 0, 0};
	static const unsigned idle[LOOPS] = {0, 0, 0, 0};

	work(busy, 60);
	cr_expect_gt(loops[0].busy, PLACEMENT_WHOLE / 100 * 80);
	work(idle, 120);
	cr_expect_lt(loops[0].busy, PLACEMENT_WHOLE / 1000);
}

/* A note after a long time is the average of it; one after no time changes nothing. */
Test(iscsi_placement, notes_at_any_distance)
{
	const uint64_t year_ns = 366 * 86400 * CLOCK_NS_PER_S;

	placement_note(&loops[0], 0, 1);
	placement_note(&loops[0], 10 * year_ns / 2, 1 + 10 * year_ns);
	cr_expect(loops[0].busy > PLACEMENT_WHOLE / 100 * 49 &&
			  loops[0].busy < PLACEMENT_WHOLE / 100 * 51,
		  "%u", loops[0].busy);
	setup();
	placement_note(&loops[0], 0, 1);
	for (unsigned i = 0; i < 50; i++)
		placement_note(&loops[0], i * CLOCK_NS_PER_MS, 1 + i * CLOCK_NS_PER_MS);
	cr_expect_eq(loops[0].busy, 0);
	cr_expect_eq(loops[0].at_ns, 1);
	/* Clocks of processors are not that exact. */
	placement_note(&loops[0], 2 * CLOCK_NS_PER_S, 1 + CLOCK_NS_PER_S);
	cr_expect_leq(loops[0].busy, PLACEMENT_WHOLE);
}

Test(iscsi_placement, full_loops_take_none)
{
	static const unsigned percent[LOOPS] = {0, 90, 90, 90};

	work(percent, 30);
	loops[0].sessions_max = 3;
	for (unsigned i = 1; i < LOOPS; i++)
		loops[i].sessions_max = 2;
	place(9, LOOPS);
	for (unsigned i = 0; i < LOOPS; i++)
		cr_expect_eq(loops[i].sessions, loops[i].sessions_max);
	cr_expect_eq(placement_choose(loops, LOOPS), LOOPS);
	cr_expect_eq(placement_choose(loops, 0), 0);
}
