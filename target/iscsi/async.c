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
 * Where the configuration has it so, a changed LUN is told of (event 0) when it changes, and not
 * only by the unit attention that the next command meets. RFC 7143 11.9.1 leaves that to what
 * INQUIRY and the Control mode page say of asynchronous event reporting, which SPC-3 took out of
 * both; so the administrator decides, who knows his hosts.
 *
 * Threads: the session's loop. Read next: conn.c.
 */
#include <string.h>

#include "base/bytes.h"
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

LOOP_ONLY static bool hears_events(const struct session *session)
{
	const struct iscsi_target *target =
		iscsi_target_of(iscsi_view_now(session->spec.server), session->spec.target);

	return session->conn.state == CONN_RUNNING && target != NULL && target->scsi_events;
}

void session_on_event(void *arg, const struct scsi_event *event)
{
	struct session *session = arg;
	struct pdu_async_message message = {
		.async_event = PDU_ASYNC_SCSI_EVENT,
		.lun = get_be64(event->lun_field),
		.data_len_bytes = 2u + event->sense_bytes,
	};

	loop_role_assume();
	/* A peer that reads nothing goes without: the unit attention waits for it. */
	struct reply *reply = hears_events(session) ? reply_acquire(&session->conn) : NULL;

	if (reply == NULL)
		return;
	/* RFC 7143 11.9.4: SenseLength and sense data. */
	put_be16(reply->data, event->sense_bytes);
	memcpy(reply->data + 2, event->sense, event->sense_bytes);
	reply->data_len_bytes = message.data_len_bytes;
	pdu_async_message_encode(&message, reply->bhs);
	reply_send(&session->conn, reply);
}
