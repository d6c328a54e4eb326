/*
 * The command window: serial number arithmetic of RFC 1982 and the rules of RFC 7143 4.2.2.1.
 */
#include "target/bench/window.h"

#include <criterion/criterion.h>

#include "base/attr.h"

struct serial_case {
	uint32_t a;
	uint32_t b;
	bool before;
};

Test(bench_window, serial_numbers_wrap)
{
	static const struct serial_case cases[] = {
		{0, 1, true},
		{1, 0, false},
		{5, 5, false},
		{0xffffffff, 0, true},
		{0, 0xffffffff, false},
		{0xfffffff0, 0x10, true},
		{0, 0x7fffffff, true},
		{0x7fffffff, 0, false},
		/* Exactly half way round there is no order. */
		{0, 0x80000000, false},
		{0x80000000, 0, false},
		{0x7fffffff, 0xffffffff, false},
		{0x80000001, 0, true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		cr_assert_eq(bench_serial_before(cases[i].a, cases[i].b), cases[i].before,
			     "%x before %x", cases[i].a, cases[i].b);
}

Test(bench_window, open_counts_up_to_and_including_max)
{
	struct bench_window window = {.cmd_sn = 10, .exp_cmd_sn = 10, .max_cmd_sn = 9};

	cr_assert_eq(bench_window_open(&window), 0);
	window.max_cmd_sn = 10;
	cr_assert_eq(bench_window_open(&window), 1);
	window.max_cmd_sn = 41;
	cr_assert_eq(bench_window_open(&window), 32);
	/* Closed below what was sent already: nothing, not billions. */
	window.max_cmd_sn = 5;
	cr_assert_eq(bench_window_open(&window), 0);
}

Test(bench_window, open_across_the_wrap)
{
	struct bench_window window = {.cmd_sn = 0xfffffffe, .max_cmd_sn = 1};

	cr_assert_eq(bench_window_open(&window), 4);
	window.cmd_sn += 4;
	cr_assert_eq(bench_window_open(&window), 0);
}

Test(bench_window, update_never_goes_back)
{
	struct bench_window window = {.cmd_sn = 100, .exp_cmd_sn = 100, .max_cmd_sn = 131};

	bench_window_update(&window, 90, 120);
	cr_assert_eq(window.exp_cmd_sn, 100);
	cr_assert_eq(window.max_cmd_sn, 131);
	bench_window_update(&window, 101, 132);
	cr_assert_eq(window.exp_cmd_sn, 101);
	cr_assert_eq(window.max_cmd_sn, 132);
}

Test(bench_window, update_ignores_a_contradiction)
{
	struct bench_window window = {.cmd_sn = 100, .exp_cmd_sn = 100, .max_cmd_sn = 131};

	/* MaxCmdSN below ExpCmdSN - 1: both are void. */
	bench_window_update(&window, 150, 148);
	cr_assert_eq(window.exp_cmd_sn, 100);
	cr_assert_eq(window.max_cmd_sn, 131);
	/* Equal to ExpCmdSN - 1 is a closed window, and legal. */
	bench_window_update(&window, 133, 132);
	cr_assert_eq(window.max_cmd_sn, 132);
}

Test(bench_window, update_across_the_wrap)
{
	struct bench_window window = {.exp_cmd_sn = 0xfffffff0, .max_cmd_sn = 0xffffffff};

	bench_window_update(&window, 0xfffffff8, 7);
	cr_assert_eq(window.max_cmd_sn, 7);
	bench_window_update(&window, 0xfffffffa, 0xfffffffe);
	cr_assert_eq(window.max_cmd_sn, 7);
	cr_assert_eq(window.exp_cmd_sn, 0xfffffffa);
}
