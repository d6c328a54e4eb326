/*
 * The command window of one session, as the initiator sees it: what CmdSN comes next, and up to
 * where the target lets it go (RFC 7143 4.2.2.1). Serial numbers wrap, so they are compared as
 * RFC 1982 says. Pure functions, any thread.
 */
#ifndef TARGET_BENCH_WINDOW_H
#define TARGET_BENCH_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

struct bench_window {
	uint32_t cmd_sn; /* Of the next command. */
	uint32_t exp_cmd_sn;
	uint32_t max_cmd_sn;
};

/* True if `a` comes before `b`. Numbers exactly 2^31 apart have no order: false both ways. */
static inline bool bench_serial_before(uint32_t a, uint32_t b)
{
	return a != b && b - a < 0x80000000u;
}

/* Commands that may be sent now. */
static inline uint32_t bench_window_open(const struct bench_window *window)
{
	uint32_t end = window->max_cmd_sn + 1;

	return bench_serial_before(window->cmd_sn, end) ? end - window->cmd_sn : 0;
}

/*
 * Take over what a PDU of the target says. A MaxCmdSN below ExpCmdSN - 1 makes both void; older
 * numbers than those known are ignored (RFC 7143 4.2.2.1).
 */
static inline void bench_window_update(struct bench_window *window, uint32_t exp_cmd_sn,
				       uint32_t max_cmd_sn)
{
	if (bench_serial_before(max_cmd_sn, exp_cmd_sn - 1))
		return;
	if (bench_serial_before(window->max_cmd_sn, max_cmd_sn))
		window->max_cmd_sn = max_cmd_sn;
	if (bench_serial_before(window->exp_cmd_sn, exp_cmd_sn))
		window->exp_cmd_sn = exp_cmd_sn;
}

#endif
