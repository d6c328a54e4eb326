/*
 * Prints what was counted, one fact a line, for judge.py, and opens and closes the window at the
 * wish of signals: SIGRTMIN begins, SIGRTMIN+1 ends and writes the report $RINGSAN_LINES.N for the
 * N-th window. Without that variable nothing is ever counted by itself.
 *
 * The signals have a thread of their own, so that the program need not know of them. Code is named
 * as FILE+OFFSET, as addr2line wants it.
 */
#include "tests/lines/lines.h"

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define PATH_ROOM 512
/* How far from the noted address a stack reaches: the default size. */
#define STACK_BYTES ((uintptr_t)8 << 20)

static const char *const call_names[LINES_CALL_COUNT] = {
	[LINES_CALL_ALLOCATE] = "allocate",
	[LINES_CALL_LOCK] = "lock",
	[LINES_CALL_FORMAT] = "format",
	[LINES_CALL_THREAD] = "thread",
};

/* An address of code or static data. */
static void print_address(FILE *to, uintptr_t address)
{
	Dl_info info;

	/* NOLINTNEXTLINE(performance-no-int-to-ptr) */
	if (dladdr((void *)address, &info) != 0) {
		(void)fprintf(to, " %s+0x%" PRIxPTR, info.dli_fname,
			      address - (uintptr_t)info.dli_fbase);
	} else {
		(void)fprintf(to, " ?+0x%" PRIxPTR, address);
	}
}

static bool is_near(uintptr_t address, uintptr_t stack)
{
	return address > stack - STACK_BYTES && address < stack + LINES_LINE_BYTES * 64;
}

/* Whose memory a byte is: block OFFSET BYTES CALLER, stack THREAD, or static FILE+OFFSET. */
static void print_object(FILE *to, uintptr_t address)
{
	const struct lines_block *block = lines_block_of(address);

	if (block != NULL) {
		(void)fprintf(to, " block %" PRIdPTR " %" PRIuPTR,
			      (intptr_t)(address - block->begin), block->end - block->begin);
		print_address(to, block->pc);
		return;
	}
	for (unsigned i = 0; i < lines_thread_count(); i++) {
		if (is_near(address, lines_thread_at(i)->stack)) {
			(void)fprintf(to, " stack %u 0 ?+0x0", i);
			return;
		}
	}
	(void)fprintf(to, " static 0 0");
	print_address(to, address);
}

static void print_threads(FILE *to)
{
	for (unsigned i = 0; i < lines_thread_count(); i++) {
		const struct lines_thread *thread = lines_thread_at(i);

		(void)fprintf(to, "thread %u %s %" PRIu64 "\n", i, thread->name, thread->ios);
		for (unsigned j = 0; j < lines_thread_count(); j++) {
			if (lines_moves(i, j) > 0)
				(void)fprintf(to, "moves %u %u %" PRIu64 "\n", i, j,
					      lines_moves(i, j));
		}
	}
}

static void print_calls(FILE *to)
{
	for (enum lines_call kind = 0; kind < LINES_CALL_COUNT; kind++) {
		const struct lines_caller *caller;
		size_t at = 0;

		(void)fprintf(to, "calls %s %" PRIu64 "\n", call_names[kind],
			      lines_calls_count(kind));
		while ((caller = lines_calls_next(kind, &at)) != NULL) {
			(void)fprintf(to, "caller %s %u %" PRIu64, call_names[kind], caller->thread,
				      caller->count);
			print_address(to, caller->pc);
			(void)fputc('\n', to);
		}
	}
}

static void print_access(FILE *to, unsigned thread, const struct lines_access *access)
{
	(void)fprintf(to, " %u %s %u", thread, access->writes ? "writes" : "reads", access->offset);
	print_address(to, access->pc);
}

static void print_line(FILE *to, const struct lines_line *line)
{
	uintptr_t address = atomic_load(&line->number) * LINES_LINE_BYTES;

	(void)fprintf(to, "line 0x%" PRIxPTR " %" PRIu64, address, line->moves);
	print_object(to, address + line->pairs[0].to.offset);
	(void)fputc('\n', to);
	for (unsigned i = 0; i < LINES_PAIRS_MAX && line->pairs[i].moves > 0; i++) {
		const struct lines_pair *pair = &line->pairs[i];

		(void)fprintf(to, "pair %" PRIu64, pair->moves);
		print_access(to, pair->from_thread, &pair->from);
		print_access(to, pair->to_thread, &pair->to);
		(void)fputc('\n', to);
	}
}

int lines_report(const char *path)
{
	const struct lines_line *line;
	size_t at = 0;
	FILE *to = fopen(path, "we");

	if (to == NULL)
		return -errno;
	print_threads(to);
	(void)fprintf(to, "dropped %" PRIu64 "\n", lines_dropped());
	print_calls(to);
	while ((line = lines_next_moved(&at)) != NULL)
		print_line(to, line);
	(void)fprintf(to, "end\n");
	return fclose(to) == 0 ? 0 : -errno;
}

/* -- Signals -- */

static void report_window(const char *prefix, unsigned window)
{
	char path[PATH_ROOM];
	char part[PATH_ROOM];

	(void)snprintf(path, sizeof(path), "%s.%u", prefix, window);
	(void)snprintf(part, sizeof(part), "%s.part", prefix);
	if (lines_report(part) != 0 || rename(part, path) != 0)
		(void)fprintf(stderr, "lines: cannot write %s\n", path);
}

static void signals_set(sigset_t *set)
{
	(void)sigemptyset(set);
	(void)sigaddset(set, SIGRTMIN);
	(void)sigaddset(set, SIGRTMIN + 1);
}

static void *serve_signals(void *arg)
{
	unsigned window = 0;
	sigset_t set;
	int number;

	signals_set(&set);
	while (sigwait(&set, &number) == 0) {
		if (number == SIGRTMIN) {
			lines_begin();
		} else {
			lines_end();
			report_window(arg, ++window);
		}
	}
	return NULL;
}

/* Before main(), so that every thread inherits the mask. */
static void __attribute__((constructor)) start(void)
{
	char *prefix = getenv("RINGSAN_LINES");
	pthread_t thread;
	sigset_t before;
	sigset_t set;

	if (prefix == NULL)
		return;
	/* No other signal is for the thread that waits for these. */
	(void)sigfillset(&set);
	(void)pthread_sigmask(SIG_SETMASK, &set, &before);
	if (pthread_create(&thread, NULL, serve_signals, prefix) != 0)
		abort();
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	signals_set(&set);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)pthread_detach(thread);
}
