/*
 * When a pool is looked at again; see space.h. Pure. Read next: space.c.
 */
#include "target/ctl/space.h"

#define LOOK_MS_MAX 5000u
/* Nothing changes: rarer, though a stream of writes may begin at any moment. */
#define LOOK_MS_QUIET_MAX 2000u
/* Who waits for space waits no longer than that. */
#define LOOK_MS_GUARDED_MAX 1000u
/* What hosts could write meanwhile, at most: 1 GiB a second. */
#define BYTES_PER_MS (UINT64_C(1) << 20)

static uint64_t distance(uint64_t from, uint64_t to)
{
	return from > to ? from - to : UINT64_MAX;
}

uint64_t space_next_look_ms(const struct space_view *view)
{
	uint64_t bytes = distance(view->free_bytes, view->reserve_bytes);
	uint64_t quiet_ms = 2 * view->previous_ms < LOOK_MS_QUIET_MAX ? 2 * view->previous_ms
								      : LOOK_MS_QUIET_MAX;
	uint64_t ms;

	if (distance(view->free_bytes, view->warn_bytes) < bytes)
		bytes = distance(view->free_bytes, view->warn_bytes);
	ms = bytes / BYTES_PER_MS;
	if (ms < SPACE_LOOK_MS_MIN)
		ms = SPACE_LOOK_MS_MIN;
	if (!view->changed && ms < quiet_ms)
		ms = quiet_ms;
	if (view->guarded && ms > LOOK_MS_GUARDED_MAX)
		ms = LOOK_MS_GUARDED_MAX;
	return ms < LOOK_MS_MAX ? ms : LOOK_MS_MAX;
}
