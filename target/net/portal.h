/*
 * Listening sockets, and how many strangers may stand in the doorway at once.
 *
 * A portal_set owns every listening socket of the daemon. It accepts on one loop, gives each new
 * connection the socket options a storage connection wants, and refuses it if too many others from
 * the same source have not logged in yet. While too many have not in total, it accepts nobody: they
 * wait in the kernel's queue. What a connection says is not read here.
 *
 * Threads: the control loop's; before that loop runs, its creator's.
 * Read next: portal.c, ../iscsi/login_conn.h (who takes the connections).
 */
#ifndef TARGET_NET_PORTAL_H
#define TARGET_NET_PORTAL_H

#include "base/loop.h"
#include "target/net/address.h"

/* Listening sockets in a set; the configuration allows as many. */
#define PORTALS_MAX 64u
/* How long a portal rests when no descriptor or memory is left to accept with. */
#define PORTAL_BACK_OFF_MS 100u
/* A sentence that says why a portal cannot be opened. */
#define PORTAL_WHY_BYTES 256u

struct portal_set;

/* A connection as it came; the descriptor is the callee's. Addresses are normalised. */
struct portal_arrival {
	int fd;
	unsigned portal_index; /* In the order of portal_set_open. */
	struct sockaddr_storage local;
	struct sockaddr_storage peer;
};
typedef void portal_arrived_fn(void *context, const struct portal_arrival *arrival);

/* A connection that counts against the limits. Embed it; zero-initialise. */
struct portal_guest {
	struct list_node link;
	struct portal_set *set;
	struct sockaddr_storage peer;
};

struct portal_limits {
	uint32_t guests_max;
	uint32_t guests_per_source_max;
};

/* `on_arrival` runs on the loop. -ENOMEM. */
int MUST_CHECK portal_set_create(struct loop *loop, const struct portal_limits *limits,
				 portal_arrived_fn *on_arrival, void *context,
				 struct portal_set **out);

/*
 * Bind and listen; nothing is accepted yet. `address` has its port filled in if it was 0. On
 * failure returns negative errno, and one sentence in `why` that names the address, the likely
 * cause and what would mend it.
 */
int MUST_CHECK portal_set_open(struct portal_set *set, struct sockaddr_storage *address,
			       char why[PORTAL_WHY_BYTES]);

/*
 * The same with a socket that listens at that address already; it is the set's then. Negative
 * errno: it cannot be used, and stays the caller's.
 */
int MUST_CHECK portal_set_adopt(struct portal_set *set, int fd,
				const struct sockaddr_storage *address);
unsigned portal_set_count(const struct portal_set *set);
/* In the order of opening. */
int portal_set_fd(const struct portal_set *set, unsigned index);
/* Others hold these sockets, too, and go on with them when this daemon has ended: they are closed
 * then, but not shut down, and who comes meanwhile waits in the kernel's queue. */
void portal_set_keep(struct portal_set *set);

/* Accept from now on. */
LOOP_ONLY void portal_set_start(struct portal_set *set);
/* Accept nothing any more. The sockets are closed when their accepts have ended, a turn or two
 * later, or those that are kept in portal_set_free; guests are not touched. May be called more than
 * once. */
LOOP_ONLY void portal_set_stop(struct portal_set *set);
/* Close and free. The loop no longer runs, or the set never started. No guest may be left. NULL is
 * allowed. */
void portal_set_free(struct portal_set *set);

/* From on_arrival: this connection is a guest now, until it leaves. */
void portal_guest_enter(struct portal_set *set, struct portal_guest *guest,
			const struct sockaddr_storage *peer);
/* It logged in or was closed. A guest that never entered is left alone. */
void portal_guest_leave(struct portal_guest *guest);
uint32_t portal_set_guests(const struct portal_set *set);

#endif
