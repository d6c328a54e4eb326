/*
 * Listening sockets that outlive the daemon. The supervisor holds a copy of each (FDSTORE=1 of
 * sd_notify(3), FileDescriptorStoreMax= of its unit) and hands them to the next daemon
 * (sd_listen_fds(3)). So hosts that come back while nobody runs wait in the kernel's queue: they
 * were told to come at once (event 3, Parameter2 = 0), and one that is refused then, as open-iscsi,
 * takes seconds to try again. Sockets of a .socket unit are taken in the same way.
 *
 * Threads: the control thread's.
 */
#ifndef TARGET_CTL_HANDOVER_H
#define TARGET_CTL_HANDOVER_H

#include "target/net/portal.h"

struct handover {
	unsigned count;
	int fds[PORTALS_MAX]; /* -1: claimed. */
};

/* What was handed to this process; whatever of it is no listening TCP socket is closed. Once. */
void handover_take(struct handover *out);
/* The socket that listens at the very address, or -1. It is the caller's then. */
int handover_claim(struct handover *handover, const struct sockaddr_storage *address);
/* End those that nobody claimed, for everybody who holds them: portals that the configuration no
 * longer has. */
void handover_end(struct handover *handover);
/* Give the supervisor a copy of each. True: it may have kept them, as far as one can know. */
bool handover_offer(const struct portal_set *set);

#endif
