/*
 * Signals as events of the control loop. A handler writes the signal's number to a socket pair,
 * whose other end the loop receives from: the loop's sockets are the one thing that both engines
 * serve.
 *
 * Threads: the control thread, the only one that takes signals (all others block them).
 */
#ifndef TARGET_CTL_SIGNALS_H
#define TARGET_CTL_SIGNALS_H

#include "base/loop.h"

struct signals;
typedef void signals_fn(void *context, int signal_number);

/* Catch SIGTERM, SIGINT and SIGHUP, ignore SIGPIPE. What comes before signals_start is kept. One
 * per process. Negative errno. */
int MUST_CHECK signals_create(struct loop *loop, signals_fn *on_signal, void *context,
			      struct signals **out);
LOOP_ONLY void signals_start(struct signals *signals);
/* Back to the default actions. The loop no longer runs. NULL is allowed. */
void signals_free(struct signals *signals);

#endif
