/*
 * The receiving half of a connection: one receive at a time into the places that the framer names,
 * then each PDU is judged by opcode_table.h and CmdSN and handed to its row of request_table.c.
 *
 * Back-pressure is a PDU that stays unread: a handler that lacks a slot answers rx_wait, and
 * rx_unblock asks again. Data-Out is never held up (DESIGN.md 5): its room was reserved before.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "target/iscsi/conn.h"
#include "target/iscsi/task.h"

/* Who has requests waiting for longer makes room for others. */
#define LEFT_OVER_PATIENCE_NS CLOCK_NS_PER_S

static struct framer_slice common_area(const struct conn *conn)
{
	return (struct framer_slice){conn->session->home->receive, LOOP_RECEIVE_BYTES};
}

void rx_clear(struct conn *conn)
{
	conn->session->home->left_over_bytes -= conn->left_over_bytes;
	conn->left_over_bytes = 0;
	free(conn->left_over);
	conn->left_over = NULL;
}

/* Of those whose requests have waited for long, whose have longest; or NULL. */
LOOP_ONLY static struct conn *slowest(const struct iscsi_loop *home)
{
	uint64_t now_ns = loop_now_ns(home->loop);
	uint64_t longest_ns = LEFT_OVER_PATIENCE_NS;
	struct conn *found = NULL;

	LIST_FOREACH (node, &home->sessions) {
		struct conn *conn = &CONTAINER_OF(node, struct session, link)->conn;

		if (conn->left_over == NULL || now_ns - conn->left_over_since_ns < longest_ns)
			continue;
		longest_ns = now_ns - conn->left_over_since_ns;
		found = conn;
	}
	return found;
}

/*
 * Memory for what is left over, out of the loop's share; NULL: the connection has to go. Rather go
 * those who do not take their answers: a few of them could have all of it, and whoever has a moment
 * to wait would be closed in their place.
 */
LOOP_ONLY static uint8_t *take_left_over(struct conn *conn, uint32_t left_bytes)
{
	struct iscsi_loop *home = conn->session->home;
	struct conn *slow;

	while (left_bytes > LOOP_LEFT_OVER_BYTES_MAX - home->left_over_bytes) {
		slow = slowest(home);
		if (slow == NULL)
			return NULL;
		conn_close(slow, "others need the memory in which its requests wait");
		/* Nothing is received into it, and nobody looks at it any more. */
		rx_clear(slow);
	}
	conn->left_over = malloc(left_bytes);
	if (conn->left_over == NULL)
		return NULL;
	conn->left_over_bytes = left_bytes;
	conn->left_over_since_ns = loop_now_ns(home->loop);
	home->left_over_bytes += left_bytes;
	return conn->left_over;
}

/*
 * The next connection will receive into the loop's area, too. What is left over in it, because the
 * framer was paused, moves to memory of its own until it has been looked at. It takes a peer that
 * uses up its replies, so this allocates: once, as many bytes as came.
 */
LOOP_ONLY static void clear_area(struct conn *conn)
{
	uint32_t left_bytes = framer_left_bytes(&conn->framer);
	uint8_t *left_over;

	if ((left_bytes > 0) == (conn->left_over != NULL) || conn->state != CONN_RUNNING)
		return;
	if (left_bytes == 0) {
		framer_set_area(&conn->framer, common_area(conn));
		rx_clear(conn);
		return;
	}
	left_over = take_left_over(conn, left_bytes);
	if (left_over == NULL) {
		conn_close(conn, "there is no memory for requests that have to wait");
		return;
	}
	framer_set_area(&conn->framer, (struct framer_slice){left_over, left_bytes});
}

LOOP_ONLY static void on_received(struct loop_op *op, int res)
{
	struct conn *conn = CONTAINER_OF(op, struct conn, recv_op);

	conn->receiving = false;
	if (conn->state == CONN_CLOSING) {
		conn_close_step(conn);
		return;
	}
	if (res <= 0) {
		conn_close(conn, res == 0 && framer_is_between_pdus(&conn->framer)
					 ? NULL
					 : "the connection broke");
		return;
	}
	conn->last_heard_ns = loop_now_ns(conn->loop);
	framer_received(&conn->framer, (size_t)res);
	clear_area(conn);
	rx_start(conn);
}

void rx_start(struct conn *conn)
{
	if (conn->state == CONN_RUNNING && framer_error(&conn->framer) != NULL)
		conn_close(conn, framer_error(&conn->framer));
	if (conn->state != CONN_RUNNING || conn->receiving)
		return;
	unsigned count = framer_want(&conn->framer, conn->recv_iov, ARRAY_SIZE(conn->recv_iov));

	if (count == 0)
		return;
	conn->receiving = true;
	loop_recv(conn->loop, &conn->recv_op, conn->fd, conn->recv_iov, count, on_received);
}

enum framer_verdict rx_stop_early(struct conn *conn)
{
	conn_close(conn, "a request came before its CmdSN was due");
	return FRAMER_STOP;
}

enum framer_verdict rx_reject(struct conn *conn, uint8_t reason, const char *why)
{
	if (conn->rx.cmd_sn == CMD_SN_EARLY)
		return rx_stop_early(conn);
	struct reply *reply = reply_acquire(conn);

	if (reply == NULL)
		return rx_wait(conn);
	conn->rx.reply = reply;
	conn->rx.reject_reason = reason;
	conn->rx.why = why;
	return FRAMER_DISCARD;
}

enum framer_verdict rx_ignore(struct conn *conn)
{
	conn->rx.ignored = true;
	conn->rx.takes_cmd_sn = false;
	return FRAMER_DISCARD;
}

enum framer_verdict rx_wait(struct conn *conn)
{
	conn->blocked = true;
	watch_deaf(conn);
	if (!list_is_linked(&conn->blocked_link))
		list_append(&conn->session->home->blocked, &conn->blocked_link);
	return FRAMER_NOT_NOW;
}

LOOP_ONLY static void on_resume(struct loop_msg *msg)
{
	struct conn *conn = CONTAINER_OF(msg, struct conn, resume);

	conn->resume_posted = false;
	if (conn->state == CONN_CLOSING) {
		conn_close_step(conn);
		return;
	}
	framer_resume(&conn->framer);
	if (!conn->blocked)
		watch_listening(conn);
	clear_area(conn);
	rx_start(conn);
}

void rx_unblock(struct conn *conn)
{
	if (!conn->blocked || conn->resume_posted)
		return;
	conn->blocked = false;
	list_remove(&conn->blocked_link);
	conn->resume_posted = true;
	loop_post(conn->loop, &conn->resume, on_resume);
}

/* Judge the CmdSN of the PDU in hand. False: it is to be ignored or ends the connection. */
LOOP_ONLY static bool judge_cmd_sn(struct conn *conn, const struct opcode_row *row)
{
	const struct pdu_common *pdu = &conn->framer.pdu;

	conn->rx.cmd_sn = CMD_SN_DUE;
	if (!row->carries_cmd_sn || pdu->immediate)
		return true;
	conn->rx.cmd_sn =
		session_judge_cmd_sn(conn->session, get_be32(framer_bhs(&conn->framer) + 24));
	conn->rx.takes_cmd_sn = conn->rx.cmd_sn == CMD_SN_DUE;
	return conn->rx.cmd_sn != CMD_SN_OUTSIDE;
}

LOOP_ONLY static enum framer_verdict on_header(struct framer *framer)
{
	struct conn *conn = CONTAINER_OF(framer, struct conn, framer);
	uint8_t opcode = framer->pdu.opcode;
	enum opcode_phase phase =
		conn->session->spec.discovery ? OPCODE_IN_DISCOVERY : OPCODE_IN_FULL_FEATURE;

	if (conn->state != CONN_RUNNING)
		return FRAMER_STOP;
	conn->rx = (struct rx_current){.row = &request_table[opcode]};
	if (!judge_cmd_sn(conn, &opcode_table[opcode]))
		return rx_ignore(conn);
	const struct opcode_refusal *refusal = opcode_check(&framer->pdu, phase);

	if (refusal != NULL)
		return rx_reject(conn, (uint8_t)refusal->reason, refusal->why);
	if (conn->rx.cmd_sn == CMD_SN_EARLY && opcode != PDU_SCSI_COMMAND)
		return rx_stop_early(conn);
	return conn->rx.row->on_header(conn);
}

static struct framer_slice on_landing(struct framer *framer, uint32_t offset_bytes)
{
	struct conn *conn = CONTAINER_OF(framer, struct conn, framer);

	return conn->rx.row->on_landing(conn, offset_bytes);
}

/* RFC 7143 11.17: the header of the offending PDU travels back as data. */
void rx_send_reject(struct conn *conn, uint8_t reason, const char *why)
{
	static struct log_limit limit = LOG_LIMIT(20, 1000);
	struct reply *reply = conn->rx.reply;
	struct pdu_reject pdu = {.data_len_bytes = PDU_BHS_BYTES, .reason = reason};
	char name[CONN_NAME_BYTES];

	log_limited(&limit, LOG_LEVEL_INFO, "iscsi", "%s: rejected opcode 0x%02x: %s",
		    conn_name(conn, name), conn->framer.pdu.opcode, why);
	pdu_reject_encode(&pdu, reply->bhs);
	memcpy(reply->data, framer_bhs(&conn->framer), PDU_BHS_BYTES);
	reply->data_len_bytes = PDU_BHS_BYTES;
	conn->rx.reply = NULL;
	reply_send(conn, reply);
}

/*
 * Error recovery level 0 recovers by a new session (RFC 7143 7.1.5), but the initiator is told why
 * first (7.8). The task whose data these were ends with all others; nothing was believed of them.
 */
LOOP_ONLY static void leave_for_digest(struct conn *conn)
{
	struct rx_current *rx = &conn->rx;

	if (rx->reply == NULL)
		rx->reply = reply_acquire(conn);
	if (rx->reply == NULL) {
		conn_close(conn, "a data digest was wrong");
		return;
	}
	if (rx->task != NULL)
		rx->task->receiving = false;
	rx->task = NULL;
	rx->reply->payload = rx->reply->data;
	conn_leave(conn, rx->reply);
	rx_send_reject(conn, PDU_REJECT_DATA_DIGEST_ERROR, "a data digest was wrong");
}

LOOP_ONLY static void on_end(struct framer *framer, bool data_digest_ok)
{
	struct conn *conn = CONTAINER_OF(framer, struct conn, framer);

	if (conn->state != CONN_RUNNING)
		return;
	if (!data_digest_ok && !conn->rx.ignored) {
		leave_for_digest(conn);
		return;
	}
	if (conn->rx.takes_cmd_sn)
		conn->session->exp_cmd_sn++;
	if (conn->rx.why != NULL)
		rx_send_reject(conn, conn->rx.reject_reason, conn->rx.why);
	else if (!conn->rx.ignored)
		conn->rx.row->on_end(conn);
	if (conn->state == CONN_RUNNING && conn->rx.takes_cmd_sn)
		session_release_held(conn->session);
}

void rx_init(struct conn *conn)
{
	static const struct framer_ops ops = {
		.on_header = on_header,
		.on_landing = on_landing,
		.on_end = on_end,
	};
	const struct iscsi_params *params = &conn->session->spec.params;
	struct framer_config config = {
		.data_len_bytes_max = params->max_recv_data_segment_length,
		.header_digest = params->header_digest,
		.data_digest = params->data_digest,
	};

	framer_init(&conn->framer, &ops, &config, common_area(conn));
	rx_start(conn);
}
