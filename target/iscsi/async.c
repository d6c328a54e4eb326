/*
 * Async Messages (RFC 7143 11.9): what the target says without being asked.
 *
 * When a session is ended by us, its initiator is told that all connections go, and that it need
 * not wait before it comes back (event 3, Parameter2 = 0). open-iscsi waits DefaultTime2Wait
 * otherwise, so this decides how long disks stand still when the daemon is restarted.
 *
 * When its target is removed, it is first asked to log out (event 1), which gives it time to end
 * what it has under way.
 *
 * Threads: the session's loop. Read next: conn.c.
 */
#include "target/iscsi/conn.h"

/* The message has this long to leave: ending must not depend on peers that read nothing. */
#define LEAVE_MS 500u
/* And a logout that was asked for may take so long (Parameter3): less than the end of the daemon.
 */
#define LOGOUT_S 3u

LOOP_ONLY static void on_late(struct loop_timer *timer)
{
	conn_close(CONTAINER_OF(timer, struct conn, watch), "it did not take its last message");
}

LOOP_ONLY static void limit_leaving(struct conn *conn)
{
	loop_timer_stop(conn->loop, &conn->watch);
	loop_timer_start(conn->loop, &conn->watch, LEAVE_MS, on_late);
}

void conn_dismiss(struct conn *conn, const char *why)
{
	const struct pdu_async_message message = {.async_event = PDU_ASYNC_ALL_CONNECTIONS_DROP};
	struct reply *reply = NULL;
	char name[CONN_NAME_BYTES];

	if (conn->state == CONN_LEAVING) {
		/* It asked for that itself; only the answer must not take for ever. */
		limit_leaving(conn);
		return;
	}
	if (conn->state == CONN_RUNNING && !conn->session->spec.discovery)
		reply = reply_acquire(conn);
	if (reply == NULL) {
		conn_close(conn, why);
		return;
	}
	log_info("iscsi", "%s: dismissed: %s", conn_name(conn, name), why);
	pdu_async_message_encode(&message, reply->bhs);
	conn_leave(conn, reply);
	reply_send(conn, reply);
	limit_leaving(conn);
}

LOOP_ONLY static void on_grace_over(struct loop_timer *timer)
{
	struct conn *conn = CONTAINER_OF(timer, struct conn, grace);

	conn_dismiss(conn, conn->grace_why);
}

void conn_request_logout(struct conn *conn, const char *why)
{
	const struct pdu_async_message message = {
		.async_event = PDU_ASYNC_LOGOUT_REQUEST,
		.parameter3 = LOGOUT_S,
	};
	struct reply *reply = NULL;
	char name[CONN_NAME_BYTES];

	if (conn->state == CONN_RUNNING && !conn->session->spec.discovery)
		reply = reply_acquire(conn);
	if (reply == NULL) {
		conn_dismiss(conn, why);
		return;
	}
	log_info("iscsi", "%s: asked to log out: %s", conn_name(conn, name), why);
	pdu_async_message_encode(&message, reply->bhs);
	reply_send(conn, reply);
	conn->grace_why = why;
	loop_timer_start(conn->loop, &conn->grace, LOGOUT_S * 1000u, on_grace_over);
}
