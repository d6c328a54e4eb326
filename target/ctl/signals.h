/*
 * Signals as events of the control loop: a thread of its own waits for them and posts them to the
 * loop. All other threads block them.
 *
 * Threads: created and freed on the control thread, before other threads exist and after they
 * ended.
 */
#ifndef TARGET_CTL_SIGNALS_H
#define TARGET_CTL_SIGNALS_H

#include "base/loop.h"

struct signals;
typedef void signals_fn(void *context, int signal_number);

/* Take SIGTERM, SIGINT and SIGHUP, ignore SIGPIPE. What comes before signals_start is kept. One per
 * process; before the loops start, whose threads then block the signals, too. Negative errno. */
int MUST_CHECK signals_create(struct loop *loop, signals_fn *on_signal, void *context,
			      struct signals **out);
LOOP_ONLY void signals_start(struct signals *signals);
/* The loop no longer runs. From here on signals change nothing: all that they could ask for is
 * done, and what is left is to give memory back. NULL is allowed. */
void signals_free(struct signals *signals);

#endif
