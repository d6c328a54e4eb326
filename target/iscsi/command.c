/*
 * The SCSI Command PDU (RFC 7143 11.3): checks against what was negotiated, immediate data, and
 * delivery in CmdSN order.
 */
#include "target/iscsi/conn.h"
#include "target/iscsi/task.h"

/* The rules of RFC 7143 11.3 and 13.10, 13.11, 13.14. NULL, or what is wrong. */
static const char *check(const struct iscsi_params *params, const struct pdu_scsi_command *request)
{
	uint32_t data = request->data_len_bytes;

	if (request->read && request->write)
		return "bidirectional commands are not supported";
	if (request->itt == PDU_TAG_RESERVED)
		return "a command needs an initiator task tag";
	if (request->attr > PDU_ATTR_ACA)
		return "the task attribute is reserved";
	if (request->ahs_len_bytes > 0)
		return "extended CDBs are not supported";
	if (data > 0 && (!request->write || !params->immediate_data))
		return "immediate data were not agreed to";
	if (data > params->first_burst_length || data > request->expected_data_len_bytes)
		return "immediate data exceed FirstBurstLength or the expected data";
	if (!request->final && (!request->write || params->initial_r2t))
		return "unsolicited data were not agreed to";
	return NULL;
}

/*
 * Without a slot the command is read, dropped, and answered by a PDU of our own (DESIGN.md 5): were
 * it left unread, Data-Out behind it would be, too, and slots wait for Data-Out. What is lacking
 * then is a reply at most, and those come back as the peer reads.
 */
LOOP_ONLY static enum framer_verdict refuse(struct conn *conn)
{
	/* Its number could not be kept for it. */
	if (conn->rx.cmd_sn == CMD_SN_EARLY)
		return rx_stop_early(conn);
	conn->rx.reply = reply_acquire(conn);
	return conn->rx.reply == NULL ? rx_wait(conn) : FRAMER_DISCARD;
}

LOOP_ONLY static void send_refusal(struct conn *conn)
{
	struct reply *reply = conn->rx.reply;
	struct pdu_scsi_command request;

	pdu_scsi_command_decode(&request, framer_bhs(&conn->framer));
	bool expects = (request.read || request.write) && request.expected_data_len_bytes > 0;
	struct pdu_scsi_response pdu = {
		.itt = request.itt,
		.status = SCSI_TASK_SET_FULL,
		.response = PDU_COMMAND_COMPLETED,
		.underflow = expects,
		.residual_count = expects ? request.expected_data_len_bytes : 0,
	};

	pdu_scsi_response_encode(&pdu, reply->bhs);
	conn->rx.reply = NULL;
	reply_send(conn, reply);
}

enum framer_verdict command_on_header(struct conn *conn)
{
	struct session *session = conn->session;
	struct pdu_scsi_command request;

	pdu_scsi_command_decode(&request, framer_bhs(&conn->framer));
	const char *why = check(&session->params, &request);

	if (why != NULL)
		return rx_reject(conn, PDU_REJECT_INVALID_PDU_FIELD, why);
	if (task_find(session, request.itt) != NULL)
		return rx_reject(conn, PDU_REJECT_TASK_IN_PROGRESS,
				 "the initiator task tag is in use");
	if (request.immediate && session->immediate >= ISCSI_IMMEDIATE_COMMANDS)
		return rx_reject(conn, PDU_REJECT_TOO_MANY_IMMEDIATE,
				 "too many immediate commands");
	struct task *task = task_acquire(session, &request);

	if (task == NULL)
		return refuse(conn);
	if ((request.data_len_bytes > 0 || !request.final) &&
	    window_acquire(task, 0, LOOP_BUFFER_BYTES) == NULL)
		task_refuse(task, SCSI_TASK_SET_FULL);
	conn->rx.task = task;
	task->receiving = true;
	return FRAMER_TAKE;
}

struct framer_slice command_on_landing(struct conn *conn, uint32_t offset_bytes)
{
	return task_landing(conn->rx.task, offset_bytes);
}

/* Unsolicited data have until then to arrive. */
LOOP_ONLY static void set_deadline(struct conn *conn, struct task *task)
{
	uint64_t patience_ns =
		(uint64_t)conn->session->spec.server->limits.data_out_timeout_ms * 1000000u;

	task->unsolicited_deadline_ns = loop_now_ns(conn->loop) + patience_ns;
}

void command_on_end(struct conn *conn)
{
	struct task *task = conn->rx.task;

	if (task == NULL) {
		send_refusal(conn);
		return;
	}
	conn->rx.task = NULL;
	task->receiving = false;
	if (task->dropped) {
		task_settle(task);
		return;
	}
	task->unsolicited_bytes = task->request.data_len_bytes;
	task_landed(task, 0, task->request.data_len_bytes);
	set_deadline(conn, task);
	if (conn->rx.cmd_sn == CMD_SN_EARLY)
		task_move(task, TASK_HELD);
	else
		task_start(task);
}
