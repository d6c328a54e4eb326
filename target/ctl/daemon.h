/*
 * The life of the daemon: from a checked configuration to the exit status.
 *
 * Threads: the control thread, which becomes the control loop.
 * Read next: daemon.c, build.h, stop.h.
 */
#ifndef TARGET_CTL_DAEMON_H
#define TARGET_CTL_DAEMON_H

#include "conf/errors.h"
#include "conf/model.h"
#include "target/ctl/sizing.h"

/* Exit statuses of ringsand, as its manual page lists them. */
enum daemon_exit {
	DAEMON_EXIT_OK = 0,      /* An orderly end; -t: the configuration is good. */
	DAEMON_EXIT_REFUSED = 1, /* Not started: configuration, portal, memory, limits. */
	DAEMON_EXIT_USAGE = 2,   /* Wrong command line. */
	DAEMON_EXIT_UNCLEAN = 3, /* Ended, but a LUN was stuck or could not be flushed. */
	DAEMON_EXIT_AT_ONCE = 4, /* Ended at once by a second signal; nothing was flushed. */
};

/*
 * What can be checked of a configuration without touching anything but this machine's CPUs: all
 * that the parser does not know. `out` says how large the daemon would be. False, with errors
 * added.
 */
bool MUST_CHECK daemon_check(const struct conf *conf, struct sizing *out,
			     struct conf_errors *errors);

/* Build, run until a signal ends it, take down. Once it runs, the configuration is the daemon's:
 * `*conf` is NULL then. Answers the exit status; does not return when LUNs
 * are stuck. Errors of the configuration that show only now are in `errors`. */
enum daemon_exit daemon_run(struct conf **conf, struct conf_errors *errors);

#endif
