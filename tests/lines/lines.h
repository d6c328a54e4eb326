/*
 * Counts cache lines that threads take from each other: a runtime for programs that the compiler
 * has instrumented (make V=lines). Not a race detector, and not the hardware: caches are taken to
 * be endless, one for each thread, so that a count depends on the program alone.
 *
 * The model: a thread that touches a line holds it; a thread that writes it is the only holder from
 * then on. A *move* is a write to a line that another thread holds, or a read of one that another
 * thread wrote since this one held it. What the kernel writes and reads is not seen.
 *
 * Any thread, unless it says otherwise. The runtime's own files are not instrumented, allocate
 * nothing and take no lock of the program's. Read next: README.md, lines.c.
 */
#ifndef TESTS_LINES_LINES_H
#define TESTS_LINES_LINES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Two loops of the aio engine and their helpers. */
#define LINES_THREADS_MAX 128u
#define LINES_PAIRS_MAX 8u
#define LINES_LINE_BYTES 64u

/* One access: where in the code, which byte of the line. */
struct lines_access {
	uintptr_t pc;
	uint8_t offset;
	bool writes;
};

/* Two accesses between which the line moved, and how often it did. */
struct lines_pair {
	struct lines_access from, to;
	uint64_t moves;
	uint8_t from_thread, to_thread;
};

typedef unsigned __int128 lines_threads;

struct lines_line {
	_Atomic uintptr_t number; /* Its address / 64; 0: a free record. */
	atomic_flag busy;         /* Guards what follows. */
	uint8_t writer;           /* Thread + 1; 0: nobody wrote it. */
	lines_threads holders;    /* Bit per thread. */
	uint64_t moves;           /* Also those that found no room in `pairs`. */
	struct lines_pair pairs[LINES_PAIRS_MAX];
	struct lines_access last[LINES_THREADS_MAX];
};

/* What must not happen for each I/O. */
enum lines_call {
	LINES_CALL_ALLOCATE,
	LINES_CALL_LOCK,
	LINES_CALL_FORMAT,
	LINES_CALL_THREAD, /* With the memory that its start asks for. */
	LINES_CALL_COUNT
};

/* A piece of memory that somebody asked for. */
struct lines_block {
	uintptr_t begin, end;
	uintptr_t pc; /* Who asked. */
};

/* -- lines.c -- */

/* True between lines_begin and lines_end. */
extern atomic_bool lines_counting;

/* Forget all and count from here on; stop counting. One thread, not instrumented code. */
void lines_begin(void);
void lines_end(void);
/* The instrumented code is about to touch memory. */
void lines_touch(const volatile void *at, size_t bytes, bool writes, uintptr_t pc);
/* The program has begun one more I/O. */
void lines_count_io(void);
/* The caller's number, 0 .. LINES_THREADS_MAX - 1. */
unsigned lines_thread(void);

struct lines_thread {
	char name[16];
	uint64_t ios;
	uintptr_t stack; /* Some address on it. */
};

/* For the report, while nothing counts. */
unsigned lines_thread_count(void);
const struct lines_thread *lines_thread_at(unsigned index);
uint64_t lines_moves(unsigned from, unsigned to);
/* Accesses to lines for which there was no record: beyond 0 the counts are too low. */
uint64_t lines_dropped(void);
/* The next line that moved, from record *at on; NULL at the end. */
const struct lines_line *lines_next_moved(size_t *at);

/* -- calls.c -- */

struct lines_caller {
	uintptr_t pc;
	uint64_t count;
	uint8_t thread;
};

void lines_calls_forget(void);
uint64_t lines_calls_count(enum lines_call kind);
/* Callers in no order; NULL at the end. */
const struct lines_caller *lines_calls_next(enum lines_call kind, size_t *at);
/* The block of memory that an address lies in, or NULL. */
const struct lines_block *lines_block_of(uintptr_t address);

/* -- report.c -- */

/* Write what was counted, for judge.py; negative errno. */
int lines_report(const char *path);

#endif
