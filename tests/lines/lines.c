/*
 * The model and its records: which thread holds which line, and how often lines moved. Not here:
 * where the accesses come from (tsan_calls.c) and how they are printed (report.c).
 *
 * Any thread. A record is taken once by its line and guarded by a flag of its own, so threads wait
 * for each other only at a line that they share. Read next: tsan_calls.c.
 */
#include "tests/lines/lines.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#define RECORDS ((size_t)1 << 18)
#define PROBES_MAX 64u

atomic_bool lines_counting;

static struct lines_line *records;
static struct lines_thread threads[LINES_THREADS_MAX];
static atomic_uint thread_count;
static _Thread_local unsigned own_number; /* Plus one. */
static _Atomic uint64_t moves[LINES_THREADS_MAX][LINES_THREADS_MAX];
static _Atomic uint64_t dropped;

static void die(const char *why)
{
	(void)fprintf(stderr, "lines: %s\n", why);
	abort();
}

/* -- Threads -- */

unsigned lines_thread(void)
{
	if (own_number == 0) {
		own_number = atomic_fetch_add(&thread_count, 1) + 1;
		if (own_number > LINES_THREADS_MAX)
			die("more threads than LINES_THREADS_MAX");
		(void)prctl(PR_GET_NAME, threads[own_number - 1].name);
		threads[own_number - 1].stack = (uintptr_t)__builtin_frame_address(0);
	}
	return own_number - 1;
}

unsigned lines_thread_count(void)
{
	return atomic_load(&thread_count);
}

const struct lines_thread *lines_thread_at(unsigned index)
{
	return &threads[index];
}

void lines_count_io(void)
{
	if (atomic_load_explicit(&lines_counting, memory_order_relaxed))
		threads[lines_thread()].ios++;
}

/* -- Records -- */

static size_t place_of(uintptr_t number)
{
	return (size_t)((uint64_t)number * UINT64_C(0x9E3779B97F4A7C15) >> 40) & (RECORDS - 1);
}

/* The line's record, taken if it has none yet; NULL when there is no room. */
static struct lines_line *record_of(uintptr_t number)
{
	size_t place = place_of(number);

	for (unsigned i = 0; i < PROBES_MAX; i++) {
		struct lines_line *line = &records[(place + i) & (RECORDS - 1)];
		uintptr_t found = atomic_load_explicit(&line->number, memory_order_relaxed);

		if (found == 0 && atomic_compare_exchange_strong(&line->number, &found, number))
			return line;
		if (found == number)
			return line;
	}
	return NULL;
}

/* -- The model -- */

static lines_threads bit_of(unsigned thread)
{
	return (lines_threads)1 << thread;
}

/* The lowest thread of a set that is not empty. */
static unsigned lowest(lines_threads set)
{
	uint64_t low = (uint64_t)set;

	return low != 0 ? (unsigned)__builtin_ctzll(low)
			: 64 + (unsigned)__builtin_ctzll((uint64_t)(set >> 64));
}

/* Whom a thread takes the line from: the last writer if it holds it still, else any holder. */
static unsigned holder_of(const struct lines_line *line, unsigned me)
{
	if (line->writer != 0 && line->writer != me + 1)
		return line->writer - 1u;
	return lowest(line->holders & ~bit_of(me));
}

static bool same_access(const struct lines_access *a, const struct lines_access *b)
{
	return a->pc == b->pc && a->offset == b->offset && a->writes == b->writes;
}

/* The pair's entry, a new one if there is room, or NULL. */
static struct lines_pair *pair_of(struct lines_line *line, const struct lines_pair *wanted)
{
	for (unsigned i = 0; i < LINES_PAIRS_MAX; i++) {
		struct lines_pair *pair = &line->pairs[i];

		if (pair->moves == 0) {
			*pair = *wanted;
			return pair;
		}
		if (pair->from_thread == wanted->from_thread &&
		    pair->to_thread == wanted->to_thread &&
		    same_access(&pair->from, &wanted->from) && same_access(&pair->to, &wanted->to))
			return pair;
	}
	return NULL;
}

static void count_move(struct lines_line *line, unsigned me, const struct lines_access *access)
{
	unsigned from = holder_of(line, me);
	struct lines_pair wanted = {
		.from = line->last[from],
		.to = *access,
		.from_thread = (uint8_t)from,
		.to_thread = (uint8_t)me,
	};
	struct lines_pair *pair = pair_of(line, &wanted);

	if (pair != NULL)
		pair->moves++;
	line->moves++;
	atomic_fetch_add_explicit(&moves[from][me], 1, memory_order_relaxed);
}

static bool is_move(const struct lines_line *line, unsigned me, bool writes)
{
	lines_threads mine = bit_of(me);

	if (writes)
		return (line->holders & ~mine) != 0;
	return (line->holders & mine) == 0 && line->writer != 0;
}

static void touch_line(uintptr_t number, unsigned me, const struct lines_access *access)
{
	struct lines_line *line = record_of(number);

	if (line == NULL) {
		atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
		return;
	}
	while (atomic_flag_test_and_set_explicit(&line->busy, memory_order_acquire))
		continue;
	if (is_move(line, me, access->writes))
		count_move(line, me, access);
	if (access->writes) {
		line->holders = 0;
		line->writer = (uint8_t)(me + 1);
	}
	line->holders |= bit_of(me);
	line->last[me] = *access;
	atomic_flag_clear_explicit(&line->busy, memory_order_release);
}

void lines_touch(const volatile void *at, size_t bytes, bool writes, uintptr_t pc)
{
	uintptr_t begin = (uintptr_t)at;
	struct lines_access access = {.pc = pc, .writes = writes};
	unsigned me;

	if (!atomic_load_explicit(&lines_counting, memory_order_relaxed) || bytes == 0)
		return;
	me = lines_thread();
	access.offset = (uint8_t)(begin % LINES_LINE_BYTES);
	for (uintptr_t i = begin / LINES_LINE_BYTES; i <= (begin + bytes - 1) / LINES_LINE_BYTES;
	     i++) {
		touch_line(i, me, &access);
		access.offset = 0;
	}
}

/* -- The window -- */

/* Threads may be inside lines_touch with what they saw before; let them leave. */
static void let_all_leave(void)
{
	struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};

	(void)nanosleep(&pause, NULL);
}

void lines_begin(void)
{
	size_t bytes = RECORDS * sizeof(*records);

	lines_end();
	if (records == NULL)
		records = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	/* Zeroes again, but never unmapped: a thread that was late to leave may still look. */
	if (records == MAP_FAILED || madvise(records, bytes, MADV_DONTNEED) != 0)
		die("no memory for the records");
	for (unsigned i = 0; i < LINES_THREADS_MAX; i++) {
		threads[i].ios = 0;
		for (unsigned j = 0; j < LINES_THREADS_MAX; j++)
			atomic_store(&moves[i][j], 0);
	}
	atomic_store(&dropped, 0);
	lines_calls_forget();
	atomic_store(&lines_counting, true);
}

void lines_end(void)
{
	atomic_store(&lines_counting, false);
	let_all_leave();
}

uint64_t lines_moves(unsigned from, unsigned to)
{
	return atomic_load(&moves[from][to]);
}

uint64_t lines_dropped(void)
{
	return atomic_load(&dropped);
}

const struct lines_line *lines_next_moved(size_t *at)
{
	while (*at < RECORDS) {
		const struct lines_line *line = &records[(*at)++];

		if (line->moves > 0)
			return line;
	}
	return NULL;
}
