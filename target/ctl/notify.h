/*
 * Telling systemd how the daemon is: sd_notify(3)'s plain protocol, a datagram of "KEY=value" lines
 * to the socket that NOTIFY_SOCKET names. Without that variable nothing is sent.
 *
 * Threads: the control thread.
 */
#ifndef TARGET_CTL_NOTIFY_H
#define TARGET_CTL_NOTIFY_H

#include "base/attr.h"

/* "READY=1", "STOPPING=1". 0 also where nobody listens; negative errno, which only deserves a log
 * line. */
int MUST_CHECK notify_send(const char *state);
/* The same with a copy of a descriptor: "FDSTORE=1\nFDNAME=...". */
int MUST_CHECK notify_send_fd(const char *state, int fd);

#endif
