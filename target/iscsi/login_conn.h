/*
 * One connection on its way to the full feature phase: receives login requests, sends the answers
 * of the login machine (login.h), keeps the deadline. What to answer is decided there, who may come
 * in by login_policy.c, and how a session begins by admission.c.
 *
 * It never receives a byte beyond the request in hand, so when login is over the next byte of the
 * stream is the session's and nothing has to be carried over.
 *
 * Exactly one thing is under way at any time: a receive, a send, or a wait: for the end of
 * the session to be replaced, or before it is refused (refusals.h). That makes an end simple: shut
 * the socket down, and the completion of that one thing closes it.
 *
 * Private to login_*.c and admission.c. Threads: the control loop's.
 */
#ifndef TARGET_ISCSI_LOGIN_CONN_H
#define TARGET_ISCSI_LOGIN_CONN_H

#include "base/pool.h"
#include "target/iscsi/login.h"
#include "target/iscsi/login_service.h"
#include "target/iscsi/refusals.h"
#include "target/iscsi/registry.h"

struct login_service {
	const struct iscsi_server *server;
	struct portal_set *portals;
	struct login_policy policy;
	struct pool conns;
	struct list_node list;
	uint32_t count;
	struct refusals refusals;
	struct login_counters counters;
	struct loop_timer crowd; /* While the doorway is full. */
	bool stopping;
	void (*on_empty)(void *arg);
	void *on_empty_arg;
};

enum login_conn_stage {
	LOGIN_CONN_HEAD,    /* Receiving 48 bytes of header. */
	LOGIN_CONN_DATA,    /* Receiving the data segment and its padding. */
	LOGIN_CONN_SENDING, /* An answer is on its way; `step` says what comes after it. */
	LOGIN_CONN_WAITING, /* For the end of a session that makes room, or to be refused. */
	LOGIN_CONN_STAGES,
};

struct login_conn {
	struct login_service *service;
	struct list_node link;
	struct portal_guest guest;
	struct loop_op op;
	struct loop_timer deadline;
	struct loop_timer pause;
	struct iovec iov[2];
	int fd;
	uint64_t since_ns; /* When it came. */
	enum login_conn_stage stage;
	enum login_step step;
	uint32_t have_bytes; /* Of the header or of the data segment. */
	uint32_t want_bytes;
	const struct iscsi_portal *portal;
	struct sockaddr_storage local;
	struct sockaddr_storage peer;
	struct login login;
	void *work;      /* A loop buffer. */
	const char *why; /* Why it is being closed: a constant for the log; NULL: not yet. */
	/* Of admission.c. */
	struct registry_waiter waiter;
	struct registry_entry *entry; /* Its session, once it has one. */
	uint16_t tsih;                /* To be kept, when a connection is reinstated; else 0. */
	uint32_t refusals;            /* How often its source was refused, once it is. */
	uint8_t bhs[PDU_BHS_BYTES];
	char peer_text[ADDRESS_TEXT_MAX];
	char redirect[LOGIN_ADDRESS_BYTES_MAX + 1u]; /* Where it was sent. */
};

/* Begin with a fresh record: service, work, link and guest are set. */
LOOP_ONLY void login_conn_start(struct login_conn *conn, const struct portal_arrival *arrival);
/* What the machine answered has to be acted on. */
LOOP_ONLY void login_conn_step(struct login_conn *conn, enum login_step step);
/* End it: at once when nothing is under way, else as soon as that has completed. */
LOOP_ONLY void login_conn_close(struct login_conn *conn, const char *why);

/* It is the peer's turn to say something, or it waits to be refused: no loss to a host. */
bool login_conn_may_make_room(const struct login_conn *conn);

/* Give the record back; its descriptor is closed or another's. login_service.c */
LOOP_ONLY void login_service_release(struct login_conn *conn);

#endif
