/*
 * Signals as events of the control loop; see signals.h.
 *
 * A thread that does nothing else waits for them with sigwait. A handler would do as well, except
 * that nothing may be said of when it runs while the loop sleeps inside the ring.
 */
#include "target/ctl/signals.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>

static const int caught[] = {SIGTERM, SIGINT, SIGHUP};

struct signals {
	struct loop *loop;
	signals_fn *on_signal;
	void *context;
	pthread_t thread;
	sem_t go; /* signals_start, or the end. */
	atomic_bool ending;
	atomic_uint pending; /* Bits by signal number; the message is posted with the first. */
	struct loop_msg msg;
};

static bool exists;

static LOOP_ONLY void on_pending(struct loop_msg *msg)
{
	struct signals *signals = CONTAINER_OF(msg, struct signals, msg);
	unsigned pending = atomic_exchange(&signals->pending, 0);

	for (; pending != 0; pending &= pending - 1)
		signals->on_signal(signals->context, __builtin_ctz(pending));
}

static void caught_set(sigset_t *set)
{
	(void)sigemptyset(set);
	for (size_t i = 0; i < ARRAY_SIZE(caught); i++)
		(void)sigaddset(set, caught[i]);
}

static void *wait_for_signals(void *arg)
{
	struct signals *signals = arg;
	sigset_t set;
	int number;

	caught_set(&set);
	while (sem_wait(&signals->go) != 0)
		continue;
	while (!atomic_load(&signals->ending)) {
		if (sigwait(&set, &number) != 0 || atomic_load(&signals->ending))
			continue;
		if (atomic_fetch_or(&signals->pending, 1u << number) == 0)
			loop_post(signals->loop, &signals->msg, on_pending);
	}
	return NULL;
}

/* A peer that is gone is an error of the send, not of the process. */
static void set_masks(void)
{
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigset_t set;

	caught_set(&set);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)sigaction(SIGPIPE, &ignore, NULL);
}

int signals_create(struct loop *loop, signals_fn *on_signal, void *context, struct signals **out)
{
	struct signals *signals = calloc(1, sizeof(*signals));
	int error;

	assert(!exists);
	if (!signals)
		return -ENOMEM;
	signals->loop = loop;
	signals->on_signal = on_signal;
	signals->context = context;
	(void)sem_init(&signals->go, 0, 0);
	set_masks();
	error = pthread_create(&signals->thread, NULL, wait_for_signals, signals);
	if (error != 0) {
		free(signals);
		return -error;
	}
	exists = true;
	*out = signals;
	return 0;
}

void signals_start(struct signals *signals)
{
	(void)sem_post(&signals->go);
}

void signals_free(struct signals *signals)
{
	if (!signals)
		return;
	atomic_store(&signals->ending, true);
	(void)sem_post(&signals->go);
	(void)pthread_kill(signals->thread, caught[0]);
	(void)pthread_join(signals->thread, NULL);
	(void)sem_destroy(&signals->go);
	exists = false;
	free(signals);
}
