/*
 * The marks that production code has for the simulator (base/reach.h), which the linker gathers: to
 * plant a bug, and to see which rare paths were met.
 */
#include "base/reach.h"

#include <stdio.h>
#include <string.h>

#include "tests/crash/campaign.h"

/* What no workload here leads to; unit tests of the engine may. */
static const char *const elsewhere[] = {
	"leaked",
	"quarantine_wait",
	"refcount_table_relocated",
	"dirty_wait",
	"slice_wait",
	"no_memory_for_copy",
	"copy_wait",
	"inflate_wait",
	"corrupt",
	"autoclear",
	"pull_zero",
	"leak_beyond_end",
	"grow_refcount_block",
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

static bool is_elsewhere(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(elsewhere); i++) {
		if (!strcmp(elsewhere[i], name))
			return true;
	}
	return false;
}

bool reach_report(uint64_t at_least)
{
	bool good = true;

	for (struct reach_mark **mark = __start_reach_marks; mark < __stop_reach_marks; mark++) {
		uint64_t count;

		if ((*mark)->is_plant || !is_first(mark) || is_elsewhere((*mark)->name))
			continue;
		count = count_of((*mark)->name);
		printf("%s reached %s: %llu times\n", count < at_least ? "FAIL" : "PASS",
		       (*mark)->name, (unsigned long long)count);
		good &= count >= at_least;
	}
	return good;
}
