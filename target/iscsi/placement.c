/*
 * Placing sessions by load; see placement.h. Control loop. Read next: registry.c.
 */
#include "target/iscsi/placement.h"

#include <stddef.h>

#include "base/clock.h"

/* How far back the average looks. */
#define HORIZON_NS (10u * CLOCK_NS_PER_S)
/* Two notes this near to each other say nothing about load. */
#define INTERVAL_NS_MIN (100u * CLOCK_NS_PER_MS)
/* Load of which no account is taken, per loop: a hundredth of a processor. */
#define QUIET (PLACEMENT_WHOLE / 100u)

void placement_note(struct placement_loop *loop, uint64_t cpu_ns, uint64_t now_ns)
{
	uint64_t passed_ns = now_ns - loop->at_ns;
	uint64_t used_ns = cpu_ns - loop->cpu_ns;
	int64_t rate;

	if (loop->at_ns != 0 && passed_ns < INTERVAL_NS_MIN)
		return;
	if (loop->at_ns != 0) {
		/* In parts of 65 us, so that years between two logins do not overflow. */
		rate = (int64_t)((used_ns >> 16) * PLACEMENT_WHOLE / (passed_ns >> 16));
		rate = rate < PLACEMENT_WHOLE ? rate : PLACEMENT_WHOLE;
		rate -= loop->busy;
		/* An average that forgets, with a weight of 1 - HORIZON / (HORIZON + passed). */
		loop->busy += (uint32_t)(rate - rate * (int64_t)(HORIZON_NS >> 16) /
							(int64_t)((HORIZON_NS + passed_ns) >> 16));
	}
	loop->cpu_ns = cpu_ns;
	loop->at_ns = now_ns;
}

static uint64_t share(uint64_t part, uint64_t sum)
{
	return sum == 0 ? 0 : part * PLACEMENT_WHOLE / sum;
}

unsigned placement_choose(const struct placement_loop loops[], unsigned count)
{
	uint64_t busy = (uint64_t)count * QUIET;
	uint64_t sessions = 0;
	uint64_t least = UINT64_MAX;
	unsigned best = count;

	for (unsigned i = 0; i < count; i++) {
		busy += loops[i].busy;
		sessions += loops[i].sessions;
	}
	for (unsigned i = 0; i < count; i++) {
		uint64_t weight = share(loops[i].sessions, sessions) + share(loops[i].busy, busy);

		if (loops[i].sessions < loops[i].sessions_max && weight < least) {
			least = weight;
			best = i;
		}
	}
	return best;
}
