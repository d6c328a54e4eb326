/*
 * The marks that production code has for the simulator (base/reach.h), which the linker gathers: to
 * plant a bug, and to see which rare paths were met.
 */
#include "base/reach.h"

#include <stdio.h>
#include <string.h>

#include "tests/crash/campaign.h"

/* What no workload here leads to: unit tests of the engine do, with files that are damaged, more
 * frees than there are records for, and a cache that another image uses up. */
static const struct elsewhere {
	const char *name;
	const char *file, *test;
} elsewhere[] = {
	{"corrupt", "tests/unit/lun_qcow2_corrupt.c", "an_entry_that_means_nothing"},
	{"leaked", "tests/unit/lun_qcow2_corrupt.c", "leaks_what_failed_without_a_record"},
	{"no_memory_for_copy", "tests/unit/lun_qcow2_failed.c", "leaves_a_small_cache_to_others"},
	{"slice_wait", "tests/unit/lun_qcow2_failed.c", "leaves_a_small_cache_to_others"},
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

static bool is_elsewhere(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(elsewhere); i++) {
		if (!strcmp(elsewhere[i].name, name))
			return true;
	}
	return false;
}

/* The unit test is there; it is not run here. */
static bool is_tested(const struct elsewhere *path)
{
	char line[256];
	bool found = false;
	FILE *file = fopen(path->file, "r");

	while (file && !found && fgets(line, sizeof(line), file))
		found = !strncmp(line, "Test(", 5) && strstr(line, path->test);
	if (file)
		(void)fclose(file);
	printf("%s reached %s: by %s, %s\n", found ? "PASS" : "FAIL", path->name, path->file,
	       path->test);
	return found;
}

bool reach_report(bool is_long)
{
	bool good = true;

	for (struct reach_mark **mark = __start_reach_marks; mark < __stop_reach_marks; mark++) {
		const char *name = (*mark)->name;
		bool enough;

		if ((*mark)->is_plant || !is_first(mark) || is_elsewhere(name))
			continue;
		enough = count_of(name) >= wanted_of(name, is_long);
		printf("%s reached %s: %llu times\n", enough ? "PASS" : "FAIL", name,
		       (unsigned long long)count_of(name));
		good &= enough;
	}
	for (size_t i = 0; i < ARRAY_SIZE(elsewhere); i++)
		good &= is_tested(&elsewhere[i]);
	return good;
}
