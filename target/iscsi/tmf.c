/*
 * Task management functions by table; see tmf.h.
 */
#include "target/iscsi/tmf.h"

#include "base/bytes.h"
#include "target/iscsi/conn.h"
#include "target/iscsi/task.h"

/* Data that aborted tasks asked for are waited for so long. */
#define PATIENCE_MS 500u
/* An answer that leaves later: FUNCTION_COMPLETE as a rule, and never this code, which is reserved.
 */
#define ANSWER_LATER 128u

LOOP_ONLY static void answer(struct conn *conn, struct reply *reply,
			     const struct pdu_tmf_response *response)
{
	pdu_tmf_response_encode(response, reply->bhs);
	reply_send(conn, reply);
}

static struct scsi_lu *find_lu(const struct session *session, uint64_t lun)
{
	uint8_t field[8];
	uint16_t number;

	put_be64(field, lun);
	if (!scsi_lun_number(field, &number))
		return NULL;
	return scsi_nexus_find_lu(session->spec.nexus, number);
}

/* A logical unit has a number in each addressing method, and whichever a host uses names it. */
static bool is_same_lun(const struct session *session, uint64_t one, uint64_t other)
{
	const struct scsi_lu *lu = find_lu(session, one);

	return one == other || (lu != NULL && lu == find_lu(session, other));
}

/* -- functions that take time -- */

LOOP_ONLY static void on_cold_answered(struct conn *conn)
{
	conn_close(conn, "target cold reset");
}

/* The session may end with this. */
LOOP_ONLY static void finish(struct tmf *tmf)
{
	const struct pdu_tmf_response complete = {.itt = tmf->itt,
						  .response = PDU_TMF_FUNCTION_COMPLETE};
	struct session *session = tmf->session;
	struct conn *conn = &session->conn;

	session->functions--;
	/* Nothing may follow the answer to a logout (RFC 7143 11.15). */
	if (conn->state != CONN_RUNNING) {
		reply_release(conn, tmf->reply);
	} else {
		if (tmf->cold)
			tmf->reply->on_sent = on_cold_answered;
		answer(conn, tmf->reply, &complete);
	}
	pool_release(&session->home->functions, tmf);
	session_end_if_idle(session);
}

void tmf_on_drained(struct session *session)
{
	struct list_node waiting;

	list_init(&waiting);
	list_splice(&waiting, &session->managing);
	LIST_FOREACH (node, &waiting) {
		struct tmf *tmf = CONTAINER_OF(node, struct tmf, link);

		list_remove(&tmf->link);
		loop_timer_stop(session->conn.loop, &tmf->patience);
		finish(tmf);
	}
}

/* What has not come by now is dropped when it does. */
LOOP_ONLY static void give_up_draining(struct session *session)
{
	LIST_FOREACH (node, &session->draining)
		task_abort(CONTAINER_OF(node, struct task, link), TASK_ABORT_SILENTLY);
}

LOOP_ONLY static void on_impatient(struct loop_timer *timer)
{
	give_up_draining(CONTAINER_OF(timer, struct tmf, patience)->session);
}

/* Answer, if need be when data have come that aborted tasks asked for. */
LOOP_ONLY static void finish_drained(struct tmf *tmf)
{
	struct session *session = tmf->session;

	if (list_is_empty(&session->draining)) {
		finish(tmf);
		return;
	}
	list_append(&session->managing, &tmf->link);
	loop_timer_start(session->conn.loop, &tmf->patience, PATIENCE_MS, on_impatient);
}

/* A session is sure of one, whatever others have under way. */
LOOP_ONLY static struct tmf *acquire(const struct session *session)
{
	struct pool *pool = &session->home->functions;

	if (session->functions > 0 &&
	    pool_free_count(pool) <= iscsi_loop_sessions_max(session->home->loop))
		return NULL;
	return pool_acquire(pool);
}

/* NULL: too many are under way. */
LOOP_ONLY static struct tmf *begin(struct conn *conn, const struct pdu_tmf_request *request,
				   const struct scsi_lu *lu)
{
	struct session *session = conn->session;
	struct tmf *tmf = acquire(session);

	if (tmf == NULL)
		return NULL;
	*tmf = (struct tmf){
		.session = session,
		.reply = conn->rx.reply,
		.target = session->spec.target,
		.lu = lu,
		.itt = request->itt,
		.cold = request->function == PDU_TMF_TARGET_COLD_RESET,
	};
	list_init(&tmf->link);
	session->functions++;
	return tmf;
}

/* The session's own tasks were aborted; nobody else is concerned. */
LOOP_ONLY static uint8_t answer_drained(struct conn *conn, const struct pdu_tmf_request *request)
{
	struct session *session = conn->session;
	struct tmf *tmf;

	if (list_is_empty(&session->draining))
		return PDU_TMF_FUNCTION_COMPLETE;
	tmf = begin(conn, request, NULL);
	if (tmf == NULL) {
		give_up_draining(session);
		return PDU_TMF_FUNCTION_COMPLETE;
	}
	finish_drained(tmf);
	return ANSWER_LATER;
}

/* -- functions inside the session -- */

/* A task that has its status is as good as answered. */
LOOP_ONLY static struct task *find_task(struct conn *conn, const struct pdu_tmf_request *request)
{
	struct task *task = task_find(conn->session, request->referenced_task_tag);

	if (task == NULL || task->dropped || task->stage == TASK_RESPONDING ||
	    !is_same_lun(conn->session, task->request.lun, request->lun))
		return NULL;
	return task;
}

/* RFC 7143 11.5.5: the command that it names was lost before it came here, and never will. */
LOOP_ONLY static bool names_a_hole(struct session *session, const struct pdu_tmf_request *request)
{
	return task_find(session, request->referenced_task_tag) == NULL &&
	       session_judge_cmd_sn(session, request->ref_cmd_sn) != CMD_SN_OUTSIDE &&
	       (int32_t)(request->ref_cmd_sn - request->cmd_sn) < 0;
}

LOOP_ONLY static uint8_t abort_task(struct conn *conn, const struct pdu_tmf_request *request,
				    struct pdu_tmf_response *response UNUSED)
{
	struct task *task = find_task(conn, request);

	if (task != NULL) {
		task_abort(task, TASK_ABORT_SILENTLY);
		return PDU_TMF_FUNCTION_COMPLETE;
	}
	if (!names_a_hole(conn->session, request))
		return PDU_TMF_TASK_DOES_NOT_EXIST;
	return session_plug(conn->session, request->ref_cmd_sn, request->referenced_task_tag)
		       ? PDU_TMF_FUNCTION_COMPLETE
		       : PDU_TMF_FUNCTION_REJECTED;
}

static bool is_on_lun(const struct task *task, const struct scsi_lu *lu)
{
	return find_lu(task->session, task->request.lun) == lu;
}

static enum task_abort abort_on_lun(const struct task *task, const void *arg)
{
	return is_on_lun(task, arg) ? TASK_ABORT_DRAIN : TASK_ABORT_NOT;
}

/* The task set is per nexus (TST = 001b), so clearing it and aborting one's own are the same. */
LOOP_ONLY static uint8_t abort_task_set(struct conn *conn, const struct pdu_tmf_request *request,
					struct pdu_tmf_response *response UNUSED)
{
	const struct scsi_lu *lu = find_lu(conn->session, request->lun);

	if (lu == NULL)
		return PDU_TMF_LUN_DOES_NOT_EXIST;
	session_abort_tasks(conn->session, abort_on_lun, lu);
	return answer_drained(conn, request);
}

static enum task_abort abort_any(const struct task *task UNUSED, const void *arg UNUSED)
{
	return TASK_ABORT_DRAIN;
}

/* SAM-5 6.3.4: as if the nexus had been lost and were there again. */
LOOP_ONLY static uint8_t reset_nexus(struct conn *conn, const struct pdu_tmf_request *request,
				     struct pdu_tmf_response *response UNUSED)
{
	struct scsi_nexus *nexus = conn->session->spec.nexus;

	session_abort_tasks(conn->session, abort_any, NULL);
	scsi_nexus_reset(nexus, NULL);
	scsi_nexus_raise_all(nexus, SCSI_UA_POWER_ON);
	return answer_drained(conn, request);
}

LOOP_ONLY static uint8_t no_reassign(struct conn *conn UNUSED,
				     const struct pdu_tmf_request *request UNUSED,
				     struct pdu_tmf_response *response UNUSED)
{
	return PDU_TMF_REASSIGN_NOT_SUPPORTED;
}

/* -- questions -- */

LOOP_ONLY static uint8_t query_task(struct conn *conn, const struct pdu_tmf_request *request,
				    struct pdu_tmf_response *response UNUSED)
{
	return find_task(conn, request) == NULL ? PDU_TMF_FUNCTION_COMPLETE
						: PDU_TMF_FUNCTION_SUCCEEDED;
}

static bool has_task(const struct list_node *tasks, const struct scsi_lu *lu)
{
	LIST_FOREACH (node, tasks) {
		const struct task *task = CONTAINER_OF(node, struct task, link);

		if (task->stage != TASK_RESPONDING && is_on_lun(task, lu))
			return true;
	}
	return false;
}

LOOP_ONLY static uint8_t query_task_set(struct conn *conn, const struct pdu_tmf_request *request,
					struct pdu_tmf_response *response UNUSED)
{
	const struct session *session = conn->session;
	const struct scsi_lu *lu = find_lu(session, request->lun);

	if (lu == NULL)
		return PDU_TMF_LUN_DOES_NOT_EXIST;
	return has_task(&session->tasks, lu) || has_task(&session->blocked, lu)
		       ? PDU_TMF_FUNCTION_SUCCEEDED
		       : PDU_TMF_FUNCTION_COMPLETE;
}

/* SAM-5 7.10: the unit attention that the next command would hear; there may be more. */
LOOP_ONLY static uint8_t query_event(struct conn *conn, const struct pdu_tmf_request *request,
				     struct pdu_tmf_response *response)
{
	const struct scsi_lu *lu = find_lu(conn->session, request->lun);

	if (lu == NULL)
		return PDU_TMF_LUN_DOES_NOT_EXIST;
	return scsi_nexus_describe_pending(conn->session->spec.nexus, lu, response->additional)
		       ? PDU_TMF_FUNCTION_SUCCEEDED
		       : PDU_TMF_FUNCTION_COMPLETE;
}

/* -- tasks of others -- */

/* What is not in the task set yet is not concerned by what others do to it. TAS is the logical
 * unit's. */
static enum task_abort abort_of_others(const struct task *task, const struct scsi_lu *lu)
{
	if ((task->stage != TASK_BLOCKED && task->stage != TASK_RUNNING) || !is_on_lun(task, lu))
		return TASK_ABORT_NOT;
	return scsi_lu_tells_aborted(lu) ? TASK_ABORT_TELL : TASK_ABORT_SILENTLY;
}

struct preempted {
	const struct scsi_lu *lu;
	const struct scsi_cmd *but;
};

static enum task_abort abort_preempted(const struct task *task, const void *arg)
{
	const struct preempted *preempted = arg;

	return &task->cmd == preempted->but ? TASK_ABORT_NOT : abort_of_others(task, preempted->lu);
}

unsigned session_on_preempted(void *arg, const struct scsi_lu *lu, const struct scsi_cmd *but)
{
	const struct preempted preempted = {lu, but};

	loop_role_assume();
	return session_abort_tasks(arg, abort_preempted, &preempted);
}

/* -- logical units that are removed -- */

/* What is in the task set of one that has gone ends, and its host hears that it was aborted; it
 * will not find the logical unit again. What has not begun finds that out by itself. */
static enum task_abort abort_removed(const struct task *task, const void *arg)
{
	return task->stage == TASK_RUNNING && task->cmd.lu != NULL &&
			       scsi_lun_change_removes(arg, task->cmd.lu)
		       ? TASK_ABORT_TELL
		       : TASK_ABORT_NOT;
}

void session_on_luns_changed(void *arg, const struct scsi_lun_change *change)
{
	loop_role_assume();
	if (change->removed_count > 0)
		session_abort_tasks(arg, abort_removed, change);
}

/* -- resets: every session of every loop -- */

static enum task_abort abort_reset(const struct task *task, const void *arg)
{
	const struct tmf *tmf = arg;
	const struct scsi_lu *lu = tmf->lu;

	if (task->session == tmf->session)
		return lu == NULL || is_on_lun(task, lu) ? TASK_ABORT_DRAIN : TASK_ABORT_NOT;
	if (lu == NULL)
		lu = find_lu(task->session, task->request.lun);
	return lu == NULL ? TASK_ABORT_NOT : abort_of_others(task, lu);
}

/* SAM-5 6.3.3: a unit attention for every I_T nexus, that of who asked for the reset as well: Linux
 * expects it, and libiscsi's MultipathIO.Reset counts it. */
LOOP_ONLY static void raise(struct session *session, const struct tmf *tmf)
{
	if (tmf->lu != NULL)
		scsi_nexus_raise(session->spec.nexus, tmf->lu, SCSI_UA_BUS_DEVICE_RESET);
	else
		scsi_nexus_raise_all(session->spec.nexus, SCSI_UA_BUS_DEVICE_RESET);
}

LOOP_ONLY static void reset_session(struct session *session, const struct tmf *tmf)
{
	session_abort_tasks(session, abort_reset, tmf);
	scsi_nexus_reset(session->spec.nexus, tmf->lu);
	raise(session, tmf);
}

LOOP_ONLY static bool reset_on_loop(struct loop_round *round, struct loop *loop)
{
	struct tmf *tmf = CONTAINER_OF(round, struct tmf, round);

	LIST_FOREACH (node, &iscsi_loop_of(loop)->sessions) {
		struct session *session = CONTAINER_OF(node, struct session, link);

		if (session->spec.target != tmf->target || session == tmf->session)
			continue;
		reset_session(session, tmf);
		if (tmf->cold)
			conn_close(&session->conn, "target cold reset");
	}
	return true;
}

LOOP_ONLY static void on_reset_done(struct loop_round *round)
{
	struct tmf *tmf = CONTAINER_OF(round, struct tmf, round);
	const struct session *session = tmf->session;

	/* Not before: tasks end as the mode parameters said when it came. */
	scsi_target_reset(scsi_nexus_target(session->spec.nexus), tmf->lu, session->conn.loop);
	finish_drained(tmf);
}

LOOP_ONLY static uint8_t reset(struct conn *conn, const struct pdu_tmf_request *request,
			       const struct scsi_lu *lu)
{
	struct session *session = conn->session;
	struct tmf *tmf = begin(conn, request, lu);

	if (tmf == NULL)
		return PDU_TMF_FUNCTION_REJECTED;
	/* At once: what the session sends from here on is not concerned. */
	reset_session(session, tmf);
	loop_round_start(&tmf->round, &session->spec.server->group, conn->loop, reset_on_loop,
			 on_reset_done);
	return ANSWER_LATER;
}

LOOP_ONLY static uint8_t reset_lu(struct conn *conn, const struct pdu_tmf_request *request,
				  struct pdu_tmf_response *response UNUSED)
{
	const struct scsi_lu *lu = find_lu(conn->session, request->lun);

	return lu == NULL ? PDU_TMF_LUN_DOES_NOT_EXIST : reset(conn, request, lu);
}

LOOP_ONLY static uint8_t reset_target(struct conn *conn, const struct pdu_tmf_request *request,
				      struct pdu_tmf_response *response UNUSED)
{
	return reset(conn, request, NULL);
}

/* -- the table -- */

/* A function without a row is answered "not supported": CLEAR ACA, because there is no ACA. */
static const struct function {
	uint8_t (*run)(struct conn *conn, const struct pdu_tmf_request *request,
		       struct pdu_tmf_response *response);
	uint8_t level; /* The iSCSIProtocolLevel that brought it (RFC 7143 13.24). */
} functions[] = {
	[PDU_TMF_ABORT_TASK] = {abort_task, 0},
	[PDU_TMF_ABORT_TASK_SET] = {abort_task_set, 0},
	[PDU_TMF_CLEAR_TASK_SET] = {abort_task_set, 0},
	[PDU_TMF_LOGICAL_UNIT_RESET] = {reset_lu, 0},
	[PDU_TMF_TARGET_WARM_RESET] = {reset_target, 0},
	[PDU_TMF_TARGET_COLD_RESET] = {reset_target, 0},
	[PDU_TMF_TASK_REASSIGN] = {no_reassign, 0},
	[PDU_TMF_QUERY_TASK] = {query_task, 2},
	[PDU_TMF_QUERY_TASK_SET] = {query_task_set, 2},
	[PDU_TMF_I_T_NEXUS_RESET] = {reset_nexus, 2},
	[PDU_TMF_QUERY_ASYNC_EVENT] = {query_event, 2},
};

LOOP_ONLY static uint8_t run(struct conn *conn, const struct pdu_tmf_request *request,
			     struct pdu_tmf_response *response)
{
	const struct function *function = &functions[request->function % ARRAY_SIZE(functions)];

	if (request->function >= ARRAY_SIZE(functions) || function->run == NULL ||
	    conn->session->params.protocol_level < function->level)
		return PDU_TMF_NOT_SUPPORTED;
	return function->run(conn, request, response);
}

enum framer_verdict tmf_on_header(struct conn *conn)
{
	conn->rx.reply = reply_acquire(conn);
	return conn->rx.reply == NULL ? rx_wait(conn) : FRAMER_TAKE;
}

void tmf_on_end(struct conn *conn)
{
	static struct log_limit limit = LOG_LIMIT(20, 1000);
	struct pdu_tmf_request request;
	struct pdu_tmf_response response = {0};
	struct reply *reply = conn->rx.reply;
	char name[CONN_NAME_BYTES];

	pdu_tmf_request_decode(&request, framer_bhs(&conn->framer));
	log_limited(&limit, LOG_LEVEL_INFO, "iscsi",
		    "%s: task management function %u on LUN 0x%016llx", conn_name(conn, name),
		    request.function, (unsigned long long)request.lun);
	response.itt = request.itt;
	response.response = run(conn, &request, &response);
	conn->rx.reply = NULL;
	if (response.response != ANSWER_LATER)
		answer(conn, reply, &response);
}
