/*
 * The marks that production code has for the simulator (base/reach.h), which the linker gathers: to
 * plant a bug, and to see which rare paths were met.
 */
#include "base/reach.h"

#include <stdio.h>
#include <string.h>

#include "tests/crash/campaign.h"

/* What no workload here leads to; unit tests of the engine do. */
static const char *const elsewhere[] = {
	"corrupt",
	"leaked",
	"no_memory_for_copy",
	"slice_wait",
};

/* What a short run may miss. */
static const char *const seldom[] = {
	"dirty_wait", "grow_refcount_block", "leak_beyond_end",
	"pull_zero",  "push_zero",           "quarantine_wait",
};

/* Sections that are empty have no such symbols. */
extern struct reach_mark *__start_reach_marks[] __attribute__((weak));
extern struct reach_mark *__stop_reach_marks[] __attribute__((weak));

bool reach_plant(const char *name, bool on)
{
	bool found = false;

	for (struct reach_mark **mark = __start_reach_marks; mark < __stop_reach_marks; mark++) {
		if (!(*mark)->is_plant || strcmp((*mark)->name, name) != 0)
			continue;
		(*mark)->planted = on;
		found = true;
	}
	return found;
}

/* The first mark of its name, and a path, not a bug. */
static bool is_first(struct reach_mark *const *mark)
{
	for (struct reach_mark **other = __start_reach_marks; other < mark; other++) {
		if ((*other)->is_plant == (*mark)->is_plant &&
		    !strcmp((*other)->name, (*mark)->name))
			return false;
	}
	return true;
}

static uint64_t count_of(const char *name)
{
	uint64_t count = 0;

	for (struct reach_mark **mark = __start_reach_marks; mark < __stop_reach_marks; mark++) {
		if (!(*mark)->is_plant && !strcmp((*mark)->name, name))
			count += (*mark)->count;
	}
	return count;
}

void reach_each_plant(void (*visit)(void *arg, const char *name), void *arg)
{
	for (struct reach_mark **mark = __start_reach_marks; mark < __stop_reach_marks; mark++) {
		if ((*mark)->is_plant && is_first(mark))
			visit(arg, (*mark)->name);
	}
}

/* -- Between processes -- */

size_t reach_count(void)
{
	return (size_t)(__stop_reach_marks - __start_reach_marks);
}

void reach_clear(void)
{
	for (size_t i = 0; i < reach_count(); i++)
		__start_reach_marks[i]->count = 0;
}

void reach_add_to(uint64_t *counts)
{
	for (size_t i = 0; i < reach_count(); i++)
		__atomic_fetch_add(&counts[i], __start_reach_marks[i]->count, __ATOMIC_RELAXED);
}

void reach_add_from(const uint64_t *counts)
{
	for (size_t i = 0; i < reach_count(); i++)
		__start_reach_marks[i]->count += counts[i];
}

/* -- Judgement -- */

static bool is_among(const char *name, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (!strcmp(names[i], name))
			return true;
	}
	return false;
}

static uint64_t wanted_of(const char *name, bool is_long)
{
	if (is_long)
		return 1000;
	return is_among(name, seldom, ARRAY_SIZE(seldom)) ? 0 : 1;
}

bool reach_report(bool is_long)
{
	bool good = true;

	for (struct reach_mark **mark = __start_reach_marks; mark < __stop_reach_marks; mark++) {
		const char *name = (*mark)->name;
		bool enough;

		if ((*mark)->is_plant || !is_first(mark) ||
		    is_among(name, elsewhere, ARRAY_SIZE(elsewhere)))
			continue;
		enough = count_of(name) >= wanted_of(name, is_long);
		printf("%s reached %s: %llu times\n", enough ? "PASS" : "FAIL", name,
		       (unsigned long long)count_of(name));
		good &= enough;
	}
	return good;
}
