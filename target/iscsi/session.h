/*
 * A session after login: made and freed on the control loop, living on its own loop in between.
 *
 *   session_create   control loop, when login has succeeded; registry lists it.
 *   session_start    hands it to its loop: from here on the loop owns everything but `control`.
 *   session_close    any thread, any number of times until session_free: asks it to end.
 *   spec.on_ended    control loop, exactly once: nothing of it is left on its loop, the descriptor
 *                    is closed, no command of it will change anything; session_free may follow.
 *
 * A command that the disk still holds keeps its task slot on the loop but not the session.
 * Read next: conn.h, task.h.
 */
#ifndef TARGET_ISCSI_SESSION_H
#define TARGET_ISCSI_SESSION_H

#include "target/iscsi/negotiate.h"
#include "target/iscsi/server.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct session;
typedef void session_ended_fn(struct session *session, void *arg);

#define ISCSI_NAME_MAX 223u /* RFC 7143 4.2.7.1 */

enum session_close_reason {
	SESSION_CLOSE_NONE,
	SESSION_CLOSE_REINSTATED, /* The same initiator port logged in again (RFC 7143 6.3.5). */
	SESSION_CLOSE_SHUTDOWN,   /* The daemon ends. */
	SESSION_CLOSE_ADMIN,
	SESSION_CLOSE_REMOVED, /* Its target is removed: it is asked to log out, and has a while. */
	SESSION_CLOSE_CROWDED, /* A discovery session makes room for a login. */
};

/* Everything login found out. Strings are copied by session_create. Login receives one PDU
 * at a time, so there are no bytes left over. */
struct session_spec {
	const struct iscsi_server *server;
	struct loop *loop; /* Where it will live. */
	int fd;            /* The session's from session_start on. */
	bool discovery;
	const char *initiator_name;
	const struct scsi_target *target; /* NULL for discovery. */
	const char *target_name;          /* NULL for discovery. */
	struct scsi_nexus *nexus;         /* The session's from create on; NULL for discovery. */
	uint8_t isid[6];
	uint16_t tsih;
	uint16_t cid;
	uint16_t portal_group_tag;
	struct sockaddr_storage local; /* Of the connection. */
	struct sockaddr_storage peer;
	struct iscsi_params params;
	const struct negotiation *negotiation; /* login_negotiation(); copied. */
	uint32_t exp_cmd_sn;                   /* The next CmdSN expected. */
	uint32_t stat_sn;                      /* The next StatSN to send. */
	session_ended_fn *on_ended;
	void *arg;
};

/* -ENOMEM; the spec's fd and nexus stay the caller's then. Control thread. */
int MUST_CHECK session_create(const struct session_spec *spec, struct session **out);
void session_start(struct session *session);
void session_close(struct session *session, enum session_close_reason reason);
void session_free(struct session *session);

/* The spec it was made from, for the registry and for operators; constant (`params` as of login).
 * Its strings live as long as the session. Any thread. */
const struct session_spec *session_spec(const struct session *session);

#endif
