/*
 * Task management functions by table; see tmf.h.
 */
#include "target/iscsi/tmf.h"

#include "base/bytes.h"
#include "target/iscsi/conn.h"
#include "target/iscsi/task.h"

LOOP_ONLY static void answer(struct conn *conn, struct reply *reply, uint32_t itt, uint8_t response)
{
	struct pdu_tmf_response pdu = {.itt = itt, .response = response};

	pdu_tmf_response_encode(&pdu, reply->bhs);
	reply_send(conn, reply);
}

static struct scsi_lu *find_lu(const struct session *session, uint64_t lun)
{
	uint8_t field[8];
	uint16_t number;

	put_be64(field, lun);
	if (!scsi_lun_number(field, &number))
		return NULL;
	return scsi_target_find_lu(scsi_nexus_target(session->spec.nexus), number);
}

/* A logical unit has a number in each addressing method, and whichever a host uses names it. */
static bool is_same_lun(const struct session *session, uint64_t one, uint64_t other)
{
	const struct scsi_lu *lu = find_lu(session, one);

	return one == other || (lu != NULL && lu == find_lu(session, other));
}

/* -- functions inside the session -- */

LOOP_ONLY static uint8_t abort_task(struct conn *conn, const struct pdu_tmf_request *request)
{
	struct task *task = task_find(conn->session, request->referenced_task_tag);

	if (task == NULL || !is_same_lun(conn->session, task->request.lun, request->lun) ||
	    task->stage == TASK_RESPONDING)
		return PDU_TMF_TASK_DOES_NOT_EXIST;
	task_abort(task);
	return PDU_TMF_FUNCTION_COMPLETE;
}

static bool is_on_lun(const struct task *task, const void *arg)
{
	const struct scsi_lu *lu = arg;

	return find_lu(task->session, task->request.lun) == lu;
}

/* The task set is per nexus (TST = 001b), so clearing it and aborting one's own are the same. */
LOOP_ONLY static uint8_t abort_task_set(struct conn *conn, const struct pdu_tmf_request *request)
{
	const struct scsi_lu *lu = find_lu(conn->session, request->lun);

	if (lu == NULL)
		return PDU_TMF_LUN_DOES_NOT_EXIST;
	session_abort_tasks(conn->session, is_on_lun, lu);
	return PDU_TMF_FUNCTION_COMPLETE;
}

LOOP_ONLY static uint8_t no_reassign(struct conn *conn UNUSED,
				     const struct pdu_tmf_request *request UNUSED)
{
	return PDU_TMF_REASSIGN_NOT_SUPPORTED;
}

/* -- for the device server: PREEMPT AND ABORT -- */

struct preempted {
	const struct scsi_lu *lu;
	const struct scsi_cmd *but;
};

static bool is_preempted(const struct task *task, const void *arg)
{
	const struct preempted *preempted = arg;

	return &task->cmd != preempted->but &&
	       find_lu(task->session, task->request.lun) == preempted->lu;
}

unsigned session_on_preempted(void *arg, const struct scsi_lu *lu, const struct scsi_cmd *but)
{
	const struct preempted preempted = {lu, but};

	loop_role_assume();
	return session_abort_tasks(arg, is_preempted, &preempted);
}

/* -- resets: every session of every loop -- */

static bool is_of_lu(const struct task *task, const void *arg)
{
	const struct tmf_reset *reset = arg;

	return reset->lu == NULL || task->cmd.lu == reset->lu ||
	       find_lu(task->session, task->request.lun) == reset->lu;
}

/* SAM-5 6.3.3: a unit attention for every I_T nexus, that of who asked for the reset as well: Linux
 * expects it, and libiscsi's MultipathIO.Reset counts it. */
LOOP_ONLY static void raise(struct session *session, const struct tmf_reset *reset)
{
	if (reset->lu != NULL)
		scsi_nexus_raise(session->spec.nexus, reset->lu, SCSI_UA_BUS_DEVICE_RESET);
	else
		scsi_nexus_raise_all(session->spec.nexus, SCSI_UA_BUS_DEVICE_RESET);
}

LOOP_ONLY static bool reset_on_loop(struct loop_round *round, struct loop *loop)
{
	const struct tmf_reset *reset = CONTAINER_OF(round, struct tmf_reset, round);

	LIST_FOREACH (node, &iscsi_loop_of(loop)->sessions) {
		struct session *session = CONTAINER_OF(node, struct session, link);

		if (session->spec.target != reset->target)
			continue;
		session_abort_tasks(session, is_of_lu, reset);
		scsi_nexus_reset(session->spec.nexus, reset->lu);
		raise(session, reset);
		if (reset->cold && session != reset->session)
			conn_close(&session->conn, "target cold reset");
	}
	return true;
}

LOOP_ONLY static void on_cold_answered(struct conn *conn)
{
	conn_close(conn, "target cold reset");
}

LOOP_ONLY static void on_reset_done(struct loop_round *round)
{
	struct tmf_reset *reset = CONTAINER_OF(round, struct tmf_reset, round);
	struct session *session = reset->session;
	struct conn *conn = &session->conn;

	session->resets--;
	if (conn->state >= CONN_CLOSING) {
		reply_release(conn, reset->reply);
	} else {
		if (reset->cold)
			reset->reply->on_sent = on_cold_answered;
		answer(conn, reset->reply, reset->itt, PDU_TMF_FUNCTION_COMPLETE);
	}
	pool_release(&session->home->resets, reset);
	session_end_if_idle(session);
}

/* Returns PDU_TMF_FUNCTION_SUCCEEDED, which ERL 0 never sends, when the answer comes later. */
#define ANSWER_LATER PDU_TMF_FUNCTION_SUCCEEDED

LOOP_ONLY static uint8_t reset(struct conn *conn, const struct pdu_tmf_request *request,
			       const struct scsi_lu *lu)
{
	struct session *session = conn->session;
	struct tmf_reset *reset = pool_acquire(&session->home->resets);

	if (reset == NULL)
		return PDU_TMF_FUNCTION_REJECTED;
	*reset = (struct tmf_reset){
		.session = session,
		.reply = conn->rx.reply,
		.target = session->spec.target,
		.lu = lu,
		.itt = request->itt,
		.cold = request->function == PDU_TMF_TARGET_COLD_RESET,
	};
	session->resets++;
	scsi_target_reset(scsi_nexus_target(session->spec.nexus), lu, conn->loop);
	loop_round_start(&reset->round, &session->spec.server->group, conn->loop, reset_on_loop,
			 on_reset_done);
	return ANSWER_LATER;
}

LOOP_ONLY static uint8_t reset_lu(struct conn *conn, const struct pdu_tmf_request *request)
{
	const struct scsi_lu *lu = find_lu(conn->session, request->lun);

	return lu == NULL ? PDU_TMF_LUN_DOES_NOT_EXIST : reset(conn, request, lu);
}

LOOP_ONLY static uint8_t reset_target(struct conn *conn, const struct pdu_tmf_request *request)
{
	return reset(conn, request, NULL);
}

/* -- the table -- */

/* A function without a row is answered "not supported". */
static uint8_t (*const functions[])(struct conn *, const struct pdu_tmf_request *) = {
	[PDU_TMF_ABORT_TASK] = abort_task,          [PDU_TMF_ABORT_TASK_SET] = abort_task_set,
	[PDU_TMF_CLEAR_TASK_SET] = abort_task_set,  [PDU_TMF_LOGICAL_UNIT_RESET] = reset_lu,
	[PDU_TMF_TARGET_WARM_RESET] = reset_target, [PDU_TMF_TARGET_COLD_RESET] = reset_target,
	[PDU_TMF_TASK_REASSIGN] = no_reassign,
};

enum framer_verdict tmf_on_header(struct conn *conn)
{
	conn->rx.reply = reply_acquire(conn);
	return conn->rx.reply == NULL ? rx_wait(conn) : FRAMER_TAKE;
}

void tmf_on_end(struct conn *conn)
{
	static struct log_limit limit = LOG_LIMIT(20, 1000);
	struct pdu_tmf_request request;
	uint8_t response = PDU_TMF_NOT_SUPPORTED;
	struct reply *reply = conn->rx.reply;
	char name[CONN_NAME_BYTES];

	pdu_tmf_request_decode(&request, framer_bhs(&conn->framer));
	if (request.function < ARRAY_SIZE(functions) && functions[request.function] != NULL)
		response = functions[request.function](conn, &request);
	log_limited(&limit, LOG_LEVEL_INFO, "iscsi",
		    "%s: task management function %u on LUN 0x%016llx", conn_name(conn, name),
		    request.function, (unsigned long long)request.lun);
	conn->rx.reply = NULL;
	if (response != ANSWER_LATER)
		answer(conn, reply, request.itt, response);
}
