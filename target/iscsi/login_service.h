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

/* The control loop's buffer pool must hold limits.logins_max buffers. -ENOMEM. */
int MUST_CHECK login_service_create(const struct iscsi_server *server, struct login_service **out);
/* All connections must be gone, unless `abandon` is set. NULL is allowed. */
void login_service_free(struct login_service *service, bool abandon);
/* The portals whose guests our connections are; portal `i` of the set is portal `i` of the server.
 */
void login_service_set_portals(struct login_service *service, struct portal_set *portals);

/* A connection came: the service's from here on. `context` is the service (portal_arrived_fn). */
LOOP_ONLY void login_service_arrival(void *context, const struct portal_arrival *arrival);
/* Close everything that has not logged in, admit nobody any more. on_empty runs when all are gone,
 * at once if there are none. */
LOOP_ONLY void login_service_stop(struct login_service *service, void (*on_empty)(void *arg),
				  void *arg);
uint32_t login_service_count(const struct login_service *service);

#endif
