/*
 * What is changed of an image while it is closed: each has happened or has not, whatever cut it
 * short, and what was reported as done has happened.
 */
#ifndef TESTS_CRASH_CHANGES_H
#define TESTS_CRASH_CHANGES_H

#define CHANGE_GROW 1u   /* The disk becomes larger. */
#define CHANGE_REBASE 2u /* The header names the backing file otherwise. */
#define CHANGE_REPAIR 4u /* Leaks go; it shows in nothing else. */

/* Bits of the above. */
struct changes {
	unsigned begun; /* It may have happened. */
	unsigned done;  /* It has. */
};

#endif
