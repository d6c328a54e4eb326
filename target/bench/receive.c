/*
 * The receiving half of a session: one receive, then every PDU in it, by a table of opcodes. The
 * target is not trusted: tags, offsets, counts and sequence numbers are checked, and what is wrong
 * ends the session with a reason. Runs on the session's worker; nothing here waits or allocates.
 */
#include "target/bench/session.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"

/* The slices of one receive: a task's buffer is one, the receive area another. */
#define RECEIVE_IOV_MAX 4u
/* Dropping a data segment in the kernel costs a call and saves a copy: worth it from here on. */
#define DROP_BLOCK_BYTES_MIN (32u << 10)
/* Then so much is received between two segments: a few headers, and little of the data behind. */
#define DROP_HEAD_BYTES 512u

/* Write the reason and stop the framer; bench_session_receive then reports it. */
static void PRINTF_LIKE(2, 3) fault(struct bench_session *session, const char *format, ...)
{
	va_list args;

	if (framer_error(&session->conn.framer))
		return;
	va_start(args, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
	(void)vsnprintf(session->conn.error, sizeof(session->conn.error), format, args);
	va_end(args);
	framer_stop(&session->conn.framer, "see conn.error");
}

static void take_window(struct bench_session *session, const struct pdu_sns *sns)
{
	bench_window_update(&session->conn.window, sns->exp_cmd_sn, sns->max_cmd_sn);
}

/* A PDU with a StatSN of its own: they come without gaps (RFC 7143 4.2.2.2). */
static void take_stat_sn(struct bench_session *session, const struct pdu_sns *sns)
{
	if (sns->stat_sn != session->conn.exp_stat_sn) {
		fault(session, "protocol error: StatSN %" PRIu32 ", expected %" PRIu32,
		      sns->stat_sn, session->conn.exp_stat_sn);
		return;
	}
	session->conn.exp_stat_sn++;
	take_window(session, sns);
}

static struct bench_task *find_task(struct bench_session *session, uint32_t itt, const char *what)
{
	struct bench_task *task = bench_session_find(session, itt);

	if (!task)
		fault(session, "protocol error: %s for unknown task tag %08" PRIx32, what, itt);
	return task;
}

/* ---- Data-In ---- */

/* NULL, or why this Data-In does not fit its command. */
static const char *data_in_fault(const struct bench_task *task, const struct pdu_data_in *pdu)
{
	if (task->write)
		return "Data-In for a write";
	if (pdu->data_sn != task->data_in_sn)
		return "DataSN out of sequence";
	if (pdu->buffer_offset != task->received_bytes)
		return "Data-In out of order";
	if (pdu->data_len_bytes > task->bytes - task->received_bytes)
		return "more data than asked for";
	return NULL;
}

static enum framer_verdict data_in_header(struct bench_session *session)
{
	struct pdu_data_in *pdu = &session->data_in;
	struct bench_task *task;
	const char *reason;

	pdu_data_in_decode(pdu, framer_bhs(&session->conn.framer));
	task = find_task(session, pdu->itt, "Data-In");
	if (!task)
		return FRAMER_STOP;
	reason = data_in_fault(task, pdu);
	if (reason) {
		fault(session, "protocol error: %s", reason);
		return FRAMER_STOP;
	}
	session->landing = task;
	return task->buffer ? FRAMER_TAKE : FRAMER_DISCARD;
}

/* NULL, or why a command that the target calls good is not. */
static const char *good_fault(const struct bench_task *task, bool has_residual)
{
	if (has_residual)
		return "GOOD status with a residual";
	if (!task->write && task->received_bytes != task->bytes)
		return "GOOD status, but data is missing";
	if (task->write && task->burst_count > 0)
		return "GOOD status before all data was sent";
	return NULL;
}

/* Status has come, in whichever PDU. */
static void take_status(struct bench_session *session, struct bench_task *task, uint8_t status,
			bool has_residual)
{
	const char *reason = status == 0 ? good_fault(task, has_residual) : NULL;

	if (reason) {
		bench_session_task_failed(session, task, reason);
	} else {
		bench_session_answered(session, task, status, 0);
	}
}

static void data_in_end(struct bench_session *session)
{
	const struct pdu_data_in *pdu = &session->data_in;
	struct bench_task *task = session->landing;

	session->landing = NULL;
	task->received_bytes += pdu->data_len_bytes;
	task->data_in_sn++;
	if (!pdu->has_status) {
		take_window(session, &pdu->sns);
		return;
	}
	take_stat_sn(session, &pdu->sns);
	take_status(session, task, pdu->status, pdu->underflow || pdu->overflow);
}

/* ---- SCSI Response ---- */

static void response_end(struct bench_session *session)
{
	struct pdu_scsi_response pdu;
	struct bench_task *task;

	pdu_scsi_response_decode(&pdu, framer_bhs(&session->conn.framer));
	take_stat_sn(session, &pdu.sns);
	task = find_task(session, pdu.itt, "SCSI Response");
	if (!task)
		return;
	if (pdu.response != PDU_COMMAND_COMPLETED) {
		bench_session_task_failed(session, task, "the target failed to carry it out");
	} else if (pdu.data_len_bytes > 0) {
		bench_session_answered(session, task, pdu.status,
				       pdu.data_len_bytes < SESSION_NOTE_BYTES
					       ? pdu.data_len_bytes
					       : SESSION_NOTE_BYTES);
	} else {
		take_status(session, task, pdu.status, pdu.underflow || pdu.overflow);
	}
}

/* ---- R2T ---- */

/* R2Ts whose data has not all been sent; the unsolicited burst is none of them. */
static uint32_t outstanding_r2ts(const struct bench_task *task)
{
	if (task->burst_count > 0 && task->bursts[task->burst_first].ttt == PDU_TAG_RESERVED)
		return task->burst_count - 1;
	return task->burst_count;
}

/* NULL, or why this R2T cannot be served. */
static const char *r2t_fault(const struct bench_session *session, const struct bench_task *task,
			     const struct pdu_r2t *pdu)
{
	const struct iscsi_params *params = &session->conn.params;

	if (!task->write)
		return "R2T for a read";
	if (pdu->r2t_sn != task->data_in_sn)
		return "R2TSN out of sequence";
	if (pdu->ttt == PDU_TAG_RESERVED)
		return "R2T with the reserved tag";
	if (pdu->desired_data_len_bytes == 0 ||
	    pdu->desired_data_len_bytes > params->max_burst_length)
		return "R2T for no data or more than MaxBurstLength";
	if (pdu->buffer_offset > task->bytes ||
	    pdu->desired_data_len_bytes > task->bytes - pdu->buffer_offset)
		return "R2T beyond the end of the write";
	if (outstanding_r2ts(task) >= params->max_outstanding_r2t)
		return "more R2Ts than MaxOutstandingR2T";
	return NULL;
}

static void r2t_end(struct bench_session *session)
{
	struct bench_task *task;
	struct pdu_r2t pdu;
	const char *reason;

	pdu_r2t_decode(&pdu, framer_bhs(&session->conn.framer));
	take_window(session, &pdu.sns);
	task = find_task(session, pdu.itt, "R2T");
	if (!task)
		return;
	reason = r2t_fault(session, task, &pdu);
	if (reason) {
		fault(session, "protocol error: %s", reason);
		return;
	}
	task->data_in_sn++;
	task->bursts[(task->burst_first + task->burst_count++) % TASK_BURSTS_MAX] =
		(struct bench_burst){
			.ttt = pdu.ttt,
			.offset_bytes = pdu.buffer_offset,
			.left_bytes = pdu.desired_data_len_bytes,
		};
	if (task->state == TASK_WAITING)
		bench_session_move(session, task, TASK_READY);
}

/* ---- What is not about a command ---- */

static void nop_in_end(struct bench_session *session)
{
	struct pdu_nop_in pdu;

	pdu_nop_in_decode(&pdu, framer_bhs(&session->conn.framer));
	take_window(session, &pdu.sns);
	if (pdu.ttt == PDU_TAG_RESERVED)
		return;
	if (session->pong_count == SESSION_PONGS_MAX) {
		fault(session, "protocol error: too many unanswered NOP-Ins");
		return;
	}
	session->pongs[session->pong_count++] = (struct bench_pong){pdu.lun, pdu.ttt};
}

static const char *const reject_reasons[] = {
	[PDU_REJECT_DATA_DIGEST_ERROR] = "data digest error",
	[PDU_REJECT_SNACK_REJECT] = "SNACK reject",
	[PDU_REJECT_PROTOCOL_ERROR] = "protocol error",
	[PDU_REJECT_COMMAND_NOT_SUPPORTED] = "command not supported",
	[PDU_REJECT_TOO_MANY_IMMEDIATE] = "too many immediate commands",
	[PDU_REJECT_TASK_IN_PROGRESS] = "task in progress",
	[PDU_REJECT_INVALID_DATA_ACK] = "invalid data acknowledgement",
	[PDU_REJECT_INVALID_PDU_FIELD] = "invalid PDU field",
	[PDU_REJECT_LONG_OPERATION] = "long operation",
	[PDU_REJECT_WAITING_FOR_LOGOUT] = "waiting for logout",
};

/* We sent nothing that may be rejected: one of the two is wrong, and its command will not end. */
static void reject_end(struct bench_session *session)
{
	const char *name = NULL;
	struct pdu_reject pdu;

	pdu_reject_decode(&pdu, framer_bhs(&session->conn.framer));
	if (pdu.reason < ARRAY_SIZE(reject_reasons))
		name = reject_reasons[pdu.reason];
	fault(session, "the target rejected a PDU with opcode %02xh: %s (reason %02xh)",
	      pdu.data_len_bytes >= PDU_BHS_BYTES ? pdu_opcode(session->note) : 0u,
	      name ? name : "unknown reason", pdu.reason);
}

static const char *const async_events[] = {
	[PDU_ASYNC_LOGOUT_REQUEST] = "asks for a logout",
	[PDU_ASYNC_CONNECTION_DROP] = "drops the connection",
	[PDU_ASYNC_ALL_CONNECTIONS_DROP] = "drops all connections",
	[PDU_ASYNC_NEGOTIATION_REQUEST] = "asks for a negotiation",
	[PDU_ASYNC_TASK_TERMINATION] = "has terminated all tasks of the LUN",
};

static void async_end(struct bench_session *session)
{
	struct pdu_async_message pdu;

	pdu_async_message_decode(&pdu, framer_bhs(&session->conn.framer));
	take_stat_sn(session, &pdu.sns);
	/* A SCSI event also shows as a unit attention, which is handled there. */
	if (pdu.async_event == PDU_ASYNC_SCSI_EVENT)
		return;
	if (pdu.async_event < ARRAY_SIZE(async_events)) {
		fault(session, "the target %s", async_events[pdu.async_event]);
	} else {
		fault(session, "the target sent unknown asynchronous event %u", pdu.async_event);
	}
}

/* ---- The table ---- */

/* The data segment goes to the session's note, if it fits. */
static enum framer_verdict note_header(struct bench_session *session)
{
	return session->conn.framer.pdu.data_len_bytes <= SESSION_NOTE_BYTES ? FRAMER_TAKE
									     : FRAMER_DISCARD;
}

static enum framer_verdict no_data_header(struct bench_session *session)
{
	(void)session;
	return FRAMER_DISCARD;
}

struct receive_row {
	enum framer_verdict (*on_header)(struct bench_session *session);
	void (*on_end)(struct bench_session *session);
};

/* An absent row: this PDU has no business here. */
static const struct receive_row receive_table[PDU_OPCODE_COUNT] = {
	[PDU_NOP_IN] = {no_data_header, nop_in_end},
	[PDU_SCSI_RESPONSE] = {note_header, response_end},
	[PDU_DATA_IN] = {data_in_header, data_in_end},
	[PDU_R2T] = {no_data_header, r2t_end},
	[PDU_ASYNC_MESSAGE] = {no_data_header, async_end},
	[PDU_REJECT] = {note_header, reject_end},
};

static enum framer_verdict on_header(struct framer *framer)
{
	struct bench_session *session = CONTAINER_OF(framer, struct bench_session, conn.framer);
	const struct receive_row *row = &receive_table[framer->pdu.opcode];

	if (!row->on_header) {
		fault(session, "protocol error: unexpected opcode %02xh", framer->pdu.opcode);
		return FRAMER_STOP;
	}
	session->landing = NULL;
	return row->on_header(session);
}

static struct framer_slice on_landing(struct framer *framer, uint32_t offset_bytes)
{
	struct bench_session *session = CONTAINER_OF(framer, struct bench_session, conn.framer);
	const struct bench_task *task = session->landing;

	if (!task) {
		return (struct framer_slice){session->note + offset_bytes,
					     SESSION_NOTE_BYTES - offset_bytes};
	}
	offset_bytes += task->received_bytes;
	assert(offset_bytes < task->bytes);
	return (struct framer_slice){task->buffer + offset_bytes, task->bytes - offset_bytes};
}

static void on_end(struct framer *framer, bool data_digest_ok)
{
	struct bench_session *session = CONTAINER_OF(framer, struct bench_session, conn.framer);

	if (data_digest_ok) {
		receive_table[framer->pdu.opcode].on_end(session);
	} else {
		fault(session, "a data digest is wrong");
	}
}

static const struct framer_ops session_ops = {
	.on_header = on_header,
	.on_landing = on_landing,
	.on_end = on_end,
};

void bench_session_start(struct bench_session *session)
{
	const struct iscsi_params *params = &session->conn.params;
	const struct framer_config config = {
		.data_len_bytes_max = params->max_recv_data_segment_length,
		.header_digest = params->header_digest,
		.data_digest = params->data_digest,
	};

	session->drops_data = !session->job->options->verify && !params->data_digest &&
			      !session->job->options->keep_data &&
			      session->job->options->mix.unit_bytes >= DROP_BLOCK_BYTES_MIN;
	framer_reconfigure(&session->conn.framer, &session_ops, &config);
	framer_resume(&session->conn.framer);
}

static int lost(struct bench_session *session, int err, const char *how)
{
	return bench_conn_fail(&session->conn, err, "connection lost: %s (%u commands in flight)",
			       how, session->in_flight);
}

/* Data that nobody looks at need not be copied: TCP counts it and lets it go (MSG_TRUNC, tcp(7)).
 * A socket that does not know this fills the receive area, which does no harm. */
static int drop_data(const struct bench_session *session, struct iovec *first)
{
	uint32_t unread_bytes = framer_unread_bytes(&session->conn.framer);
	uint32_t most_bytes = unread_bytes > 0 ? unread_bytes : DROP_HEAD_BYTES;

	if (first->iov_len > most_bytes)
		first->iov_len = most_bytes;
	return unread_bytes > 0 ? MSG_TRUNC : 0;
}

int bench_session_receive(struct bench_session *session, int flags)
{
	struct framer *framer = &session->conn.framer;
	struct iovec iov[RECEIVE_IOV_MAX];
	struct msghdr msg = {.msg_iov = iov,
			     .msg_iovlen = framer_want(framer, iov, RECEIVE_IOV_MAX)};
	ssize_t received;

	if (msg.msg_iovlen > 0) {
		if (session->drops_data)
			flags |= drop_data(session, iov);
		received = recvmsg(session->conn.fd, &msg, flags);
		if (received == 0)
			return lost(session, -ECONNRESET, "the target closed it");
		if (received < 0) {
			return errno == EAGAIN || errno == EINTR
				       ? 0
				       : lost(session, -errno, strerrordesc_np(errno));
		}
		session->now_ns = clock_now_ns();
		framer_received(framer, (size_t)received);
	}
	if (!framer_error(framer))
		return 0;
	if (session->conn.error[0] == '\0') {
		(void)bench_conn_fail(&session->conn, -EPROTO, "protocol error: %s",
				      framer_error(framer));
	}
	return -EPROTO;
}
