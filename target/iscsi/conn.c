/*
 * The life of a connection in full feature phase, and its end in steps: shut down, wait until the
 * kernel has given back receive and send and our own messages have arrived, then let go.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "target/iscsi/conn.h"
#include "target/iscsi/task.h"

const char *conn_name(const struct conn *conn, char out[CONN_NAME_BYTES])
{
	char peer[ADDRESS_TEXT_MAX];

	address_format(&conn->session->spec.peer, peer);
	(void)snprintf(out, CONN_NAME_BYTES, "%s at %s", conn->session->initiator_name, peer);
	return out;
}

static void init_lists(struct conn *conn)
{
	list_init(&conn->blocked_link);
	list_init(&conn->read_waiters);
	list_init(&conn->replies);
	for (unsigned i = 0; i < CONN_REPLIES_MAX; i++)
		list_append(&conn->replies, &conn->reply_slots[i].link);
	tx_init(&conn->tx);
}

void conn_start(struct conn *conn)
{
	const struct session_spec *spec = &conn->session->spec;

	init_lists(conn);
	conn->loop = spec->loop;
	conn->fd = spec->fd;
	conn->stat_sn = spec->stat_sn;
	conn->last_heard_ns = loop_now_ns(conn->loop);
	conn->listening_since_ns = conn->last_heard_ns;
	watch_start(conn);
	rx_init(conn);
}

LOOP_ONLY static void on_closing(struct loop_msg *msg)
{
	struct conn *conn = CONTAINER_OF(msg, struct conn, closing);

	conn->closing_posted = false;
	conn_close_step(conn);
}

/* What the peer has not taken is dropped with the connection: a peer that never reads could
 * otherwise make the kernel keep data and socket for as long as it likes. */
LOOP_ONLY static void forsake_data(const struct conn *conn)
{
	const struct linger at_once = {.l_onoff = 1};

	(void)setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

void conn_close(struct conn *conn, const char *why)
{
	char name[CONN_NAME_BYTES];

	if (conn->state >= CONN_CLOSING)
		return;
	conn->state = CONN_CLOSING;
	if (why != NULL)
		log_info("iscsi", "%s: closed: %s", conn_name(conn, name), why);
	/* Not after the answer to a logout, which a reset would overtake at the peer. */
	if (tx_has_unsent(conn))
		forsake_data(conn);
	shutdown(conn->fd, SHUT_RDWR);
	framer_stop(&conn->framer, "closing");
	/* From here on nobody asks the framer again: no message of ours may outlive the session. */
	conn->blocked = false;
	list_remove(&conn->blocked_link);
	session_abort_tasks(conn->session, NULL, NULL);
	/* The caller may stand inside the framer or on a task of ours: go on from the next turn. */
	conn->closing_posted = true;
	loop_post(conn->loop, &conn->closing, on_closing);
}

LOOP_ONLY static void on_last_sent(struct conn *conn)
{
	conn_close(conn, NULL);
}

void conn_leave(struct conn *conn, struct reply *last)
{
	session_abort_tasks(conn->session, NULL, NULL);
	/* SPC-2 7.21: whoever is told of the answer may take what it had reserved at once. */
	if (conn->session->spec.nexus != NULL)
		scsi_nexus_reset(conn->session->spec.nexus, NULL);
	conn->state = CONN_LEAVING;
	framer_pause(&conn->framer);
	last->on_sent = on_last_sent;
}

/* The PDU that was being received will never be complete. */
LOOP_ONLY static void drop_current(struct conn *conn)
{
	struct task *task = conn->rx.task;

	if (task != NULL) {
		task->receiving = false;
		task_settle(task);
	}
	if (conn->rx.reply != NULL)
		reply_release(conn, conn->rx.reply);
	memset(&conn->rx, 0, sizeof(conn->rx));
}

void conn_close_step(struct conn *conn)
{
	if (conn->receiving || tx_is_sending(conn) || tx_is_posted(conn) || conn->resume_posted ||
	    conn->closing_posted || conn->state != CONN_CLOSING)
		return;
	drop_current(conn);
	tx_drop(conn);
	loop_timer_stop(conn->loop, &conn->watch);
	loop_timer_stop(conn->loop, &conn->grace);
	loop_forget_fd(conn->loop, conn->fd);
	close(conn->fd);
	rx_clear(conn);
	conn->state = CONN_CLOSED;
	session_end_if_idle(conn->session);
}
