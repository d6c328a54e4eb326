/*
 * What the count has to find, planted: two threads take turns, and do in each turn what the first
 * argument says. Instrumented as the product is. The report goes to the file of the second
 * argument, how many turns each takes may be said by the third.
 *
 * The turns are passed on through pipes, which only the kernel writes, so the threads share nothing
 * but what is planted. Read next: selftest.sh.
 */
#include "tests/lines/lines.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Of each thread. */
#define TURNS 1000ul
#define THREADS_STARTED 32u

/* One of a thread's own, a line apart; and what they share. */
static struct padded {
	_Alignas(LINES_LINE_BYTES) uint64_t count;
} own[2];
static _Alignas(LINES_LINE_BYTES) struct {
	uint64_t counts[2];
} neighbours;
static _Alignas(LINES_LINE_BYTES) _Atomic uint64_t shared;
static _Alignas(LINES_LINE_BYTES) char text[LINES_LINE_BYTES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int pipes[2][2];
static char *volatile text_at = text; /* So that the fill is not left out. */

typedef void plant_fn(unsigned me);

static void plant_nothing(unsigned me)
{
	own[me].count++;
}

static void plant_counter(unsigned me)
{
	(void)me;
	atomic_fetch_add_explicit(&shared, 1, memory_order_relaxed);
}

static void plant_neighbours(unsigned me)
{
	neighbours.counts[me]++;
}

/* One writes, the other looks. */
static void plant_flag(unsigned me)
{
	if (me == 0) {
		atomic_store_explicit(&shared, 1, memory_order_release);
	} else {
		own[me].count += atomic_load_explicit(&shared, memory_order_acquire);
	}
}

static void plant_copy(unsigned me)
{
	memset(text_at, (int)me, 40);
}

/* In memory of malloc's. */
static void plant_heap(unsigned me)
{
	static uint64_t *volatile record;

	if (record == NULL)
		record = malloc(48);
	record[me]++;
}

static void plant_allocation(unsigned me)
{
	void *volatile block = malloc(100 + me);

	free(block);
}

static void plant_lock(unsigned me)
{
	(void)pthread_mutex_lock(&lock);
	own[me].count++;
	(void)pthread_mutex_unlock(&lock);
}

static void plant_format(unsigned me)
{
	char line[32];

	(void)snprintf(line, sizeof(line), "thread %u", me);
	own[me].count += (unsigned char)line[0];
}

/* Helpers stay: what a thread gives back at its end would be counted, and is no I/O's. */
static void *run_nothing(void *arg)
{
	for (;;)
		(void)pause();
	return arg;
}

/* As a loop starts helper threads when it first needs them: not for each I/O. */
static void plant_thread(unsigned me)
{
	static unsigned started;
	pthread_t thread;

	if (me == 1 || started == THREADS_STARTED)
		return;
	if (pthread_create(&thread, NULL, run_nothing, NULL) != 0)
		abort();
	(void)pthread_detach(thread);
	started++;
}

static const struct plant {
	const char *name;
	plant_fn *run;
} plants[] = {
	{"nothing", plant_nothing},
	{"counter", plant_counter},
	{"neighbours", plant_neighbours},
	{"flag", plant_flag},
	{"copy", plant_copy},
	{"heap", plant_heap},
	{"allocation", plant_allocation},
	{"lock", plant_lock},
	{"format", plant_format},
	{"thread", plant_thread},
};

static plant_fn *planted;
static unsigned long turns = TURNS;

/* Wait for the other's byte, and send one. */
static void pass_turn(unsigned me)
{
	char byte = 0;

	if (read(pipes[me][0], &byte, 1) != 1)
		abort();
	planted(me);
	lines_count_io();
	if (write(pipes[1 - me][1], &byte, 1) != 1)
		abort();
}

static void *take_turns(void *arg)
{
	unsigned me = arg != NULL;

	(void)prctl(PR_SET_NAME, me == 0 ? "loop0" : "loop1");
	for (unsigned long i = 0; i < turns; i++)
		pass_turn(me);
	return NULL;
}

static plant_fn *plant_of(const char *name)
{
	for (size_t i = 0; i < sizeof(plants) / sizeof(plants[0]); i++) {
		if (strcmp(plants[i].name, name) == 0)
			return plants[i].run;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[2];

	planted = argc >= 3 ? plant_of(argv[1]) : NULL;
	if (argc > 3)
		turns = strtoul(argv[3], NULL, 10);
	if (planted == NULL || pipe(pipes[0]) != 0 || pipe(pipes[1]) != 0)
		return 2;
	if (pthread_create(&threads[0], NULL, take_turns, NULL) != 0 ||
	    pthread_create(&threads[1], NULL, take_turns, &threads) != 0)
		return 2;
	lines_begin();
	if (write(pipes[0][1], "", 1) != 1)
		return 2;
	(void)pthread_join(threads[0], NULL);
	(void)pthread_join(threads[1], NULL);
	lines_end();
	return lines_report(argv[2]) == 0 ? 0 : 1;
}
