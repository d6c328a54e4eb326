/*
 * Marks for the crash simulator (tests/crash), in code that the product runs. They cost nothing and
 * are not there but in the variant V=crash.
 *
 *  REACHED(name)   counts that a rare path ran, so that a test that never meets it is seen.
 *  PLANTED(name)   a condition that is false, but true while the simulator has planted the bug of
 *                  that name, to see whether it would find it:
 *                      if (!PLANTED(flush_too_early))
 *                              wait_for_data(...);
 *
 *  SCARCE(few, many)  a number of things: few for the simulator, so that short workloads meet who
 *                  has to wait for one.
 *
 * Names are plain identifiers; several marks may have the same. What the simulator knows of a name
 * (which rule it breaks) is in its own tables. One thread: the simulator's.
 *
 * Read next: tests/crash/README.md.
 */
#ifndef BASE_REACH_H
#define BASE_REACH_H

#include <stdbool.h>

#ifdef RINGSAN_CRASH

#include <stdint.h>

struct reach_mark {
	const char *name;
	const char *file;
	int line;
	bool is_plant;
	bool planted;   /* The simulator's. */
	uint64_t count; /* How often control came here. */
};

/* The linker gathers pointers to all marks between __start_reach_marks and __stop_reach_marks. */
#define REACH_MARK(text, plant)                                                               \
	static struct reach_mark reach_mark = {                                               \
		.name = (text), .file = __FILE__, .line = __LINE__, .is_plant = (plant)};     \
	static struct reach_mark *reach_entry __attribute__((section("reach_marks"), used)) = \
		&reach_mark;                                                                  \
	reach_mark.count++

#define REACHED(name)                     \
	do {                              \
		REACH_MARK(#name, false); \
	} while (0)

#define PLANTED(name)                    \
	(__extension__({                 \
		REACH_MARK(#name, true); \
		reach_mark.planted;      \
	}))

#define SCARCE(few, many) (few)

#else

#define REACHED(name) ((void)0)
#define PLANTED(name) false
#define SCARCE(few, many) (many)

#endif

#endif
