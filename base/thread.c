/*
 * Thread start with signals blocked. Any thread.
 */
#include "base/thread.h"

#include <signal.h>

int thread_start(pthread_t *out, void *(*run)(void *), void *arg)
{
	sigset_t all;
	sigset_t kept;
	int res;

	(void)sigfillset(&all);
	res = pthread_sigmask(SIG_SETMASK, &all, &kept);
	if (res != 0)
		return -res;
	res = pthread_create(out, NULL, run, arg);
	(void)pthread_sigmask(SIG_SETMASK, &kept, NULL);
	return -res;
}
