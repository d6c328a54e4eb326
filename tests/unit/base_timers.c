/*
 * The timers' heap against a plain model: thousands of starts and stops, in random order.
 */
#include "base/timers.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define COUNT 500u
#define STEPS 20000u

static uint32_t random_below(uint32_t *seed, uint32_t limit)
{
	*seed = *seed * 1664525 + 1013904223;
	return (*seed >> 8) % limit;
}

/* The earliest by looking at all of them. */
static uint64_t earliest_ns(const struct loop_timer *timers)
{
	uint64_t earliest = UINT64_MAX;

	for (unsigned i = 0; i < COUNT; i++) {
		if (timers[i].armed && timers[i].expires_ns < earliest)
			earliest = timers[i].expires_ns;
	}
	return earliest;
}

static void toggle(struct timers *heap, struct loop_timer *timer, uint64_t expires_ns)
{
	if (timer->armed) {
		timers_remove(heap, timer);
	} else {
		timer->expires_ns = expires_ns;
		timers_insert(heap, timer);
	}
	timer->armed = !timer->armed;
}

Test(timers, heap_agrees_with_a_model)
{
	struct timers heap = {0};
	static struct loop_timer timers[COUNT];
	uint32_t seed = 42;

	for (unsigned step = 0; step < STEPS; step++) {
		const struct loop_timer *first;

		toggle(&heap, &timers[random_below(&seed, COUNT)], random_below(&seed, 1000));
		first = timers_first(&heap);
		cr_assert_eq(first != NULL ? first->expires_ns : UINT64_MAX, earliest_ns(timers));
	}
}

Test(timers, come_out_in_order)
{
	struct timers heap = {0};
	static struct loop_timer timers[COUNT];
	uint32_t seed = 7;
	uint64_t last = 0;

	for (unsigned i = 0; i < COUNT; i++)
		toggle(&heap, &timers[i], random_below(&seed, 10000));
	for (unsigned i = 0; i < COUNT; i++) {
		struct loop_timer *first = timers_first(&heap);

		cr_assert_not_null(first);
		cr_assert_geq(first->expires_ns, last);
		last = first->expires_ns;
		timers_remove(&heap, first);
	}
	cr_assert_null(timers_first(&heap));
}
