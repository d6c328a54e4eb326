/*
 * Connections before the full feature phase, all of them: takes each from a portal, leads it
 * through login, and ends by handing a session to a data loop or by closing the connection.
 *
 * Memory is bounded by limits.logins_max: one record and one buffer of the control loop each.
 *
 * Threads: the control loop's. Read next: login_conn.h, login_policy.h, admission.h.
 */
#ifndef TARGET_ISCSI_LOGIN_SERVICE_H
#define TARGET_ISCSI_LOGIN_SERVICE_H

#include "target/iscsi/server.h"
#include "target/net/portal.h"

struct login_service;

/* What became of connections, since the start. */
struct login_counters {
	uint64_t admitted;
	uint64_t redirected;
	uint64_t refused;  /* With a status of class 2 or 3; of these */
	uint64_t unproved; /* 02/01: so many could not prove who they are. */
	uint64_t closed;   /* Without a word: strangers, deadlines, those that hung up. */
};

/* The control loop's buffer pool must hold limits.logins_max buffers. -ENOMEM. */
int MUST_CHECK login_service_create(const struct iscsi_server *server, struct login_service **out);
/* All connections must be gone, unless `abandon` is set. NULL is allowed. */
void login_service_free(struct login_service *service, bool abandon);
/* The portals whose guests our connections are; portal `i` of the set is portal `i` of the server.
 */
void login_service_set_portals(struct login_service *service, struct portal_set *portals);

/* A connection came: the service's from here on. `context` is the service (portal_arrived_fn). */
LOOP_ONLY void login_service_arrival(void *context, const struct portal_arrival *arrival);
/* The server has another view: close every login that may have looked at the one before. Initiators
 * come again. */
LOOP_ONLY void login_service_renew(struct login_service *service);
/* Close everything that has not logged in, admit nobody any more. on_empty runs when all are gone,
 * at once if there are none. */
LOOP_ONLY void login_service_stop(struct login_service *service, void (*on_empty)(void *arg),
				  void *arg);
uint32_t login_service_count(const struct login_service *service);
/* To be read on the control loop. */
const struct login_counters *login_service_counters(const struct login_service *service);

#endif
