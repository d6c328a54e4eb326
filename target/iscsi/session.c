/*
 * A session: made on the control loop, handed to its own, ended and handed back. In between, the
 * command window (RFC 7143 4.2.2).
 *
 * A session starts with a window of ISCSI_FLOOR_COMMANDS, for which slots and buffers are reserved,
 * and is given more as it uses it. MaxCmdSN cannot be taken back, so the window only grows; it
 * shrinks by not advancing.
 */
#include "target/iscsi/session.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/aligned.h"
#include "target/iscsi/conn.h"
#include "target/iscsi/task.h"
#include "target/iscsi/tmf.h"

static void copy_names(struct session *session, const struct session_spec *spec)
{
	strncpy(session->initiator_name, spec->initiator_name, ISCSI_NAME_MAX);
	if (spec->target_name != NULL)
		strncpy(session->target_name, spec->target_name, ISCSI_NAME_MAX);
	session->spec.initiator_name = session->initiator_name;
	session->spec.target_name = spec->target_name != NULL ? session->target_name : NULL;
}

int session_create(const struct session_spec *spec, struct session **out)
{
	/* Its loop writes it all the time; pages that stay unused stay unmapped. */
	struct session *session = aligned_calloc(sizeof(*session));

	if (session == NULL)
		return -ENOMEM;
	session->spec = *spec;
	copy_names(session, spec);
	session->negotiation = *spec->negotiation;
	session->params = spec->params;
	session->spec.negotiation = &session->negotiation;
	session->exp_cmd_sn = spec->exp_cmd_sn;
	session->window = ISCSI_FLOOR_COMMANDS;
	session->max_cmd_sn = spec->exp_cmd_sn + session->window - 1u;
	session->conn.session = session;
	*out = session;
	return 0;
}

void session_free(struct session *session)
{
	if (session->spec.nexus != NULL)
		scsi_nexus_free(session->spec.nexus);
	aligned_free(session);
}

const struct session_spec *session_spec(const struct session *session)
{
	return &session->spec;
}

/* -- control loop to session's loop and back -- */

LOOP_ONLY static void on_start(struct loop_msg *msg)
{
	struct session *session = CONTAINER_OF(msg, struct session, start_msg);
	struct iscsi_loop *home = iscsi_loop_of(session->spec.loop);

	session->home = home;
	home->floor_unused += ISCSI_FLOOR_BUFFERS;
	home->slots_unused += SESSION_SLOTS_FLOOR;
	list_init(&session->tasks);
	list_init(&session->held);
	list_init(&session->blocked);
	list_init(&session->draining);
	list_init(&session->managing);
	for (unsigned i = 0; i < SESSION_TAG_BUCKETS; i++)
		list_init(&session->by_tag[i]);
	list_append(&home->sessions, &session->link);
	if (session->spec.nexus != NULL) {
		scsi_nexus_on_abort(session->spec.nexus, session_on_preempted, session);
		scsi_nexus_on_change(session->spec.nexus, session_on_luns_changed, session);
		scsi_nexus_on_event(session->spec.nexus, session_on_event, session);
		scsi_nexus_attach(session->spec.nexus, home->loop);
	}
	conn_start(&session->conn);
}

void session_start(struct session *session)
{
	loop_post(session->spec.loop, &session->start_msg, on_start);
}

static const struct closing {
	const char *why;
	bool dismisses; /* The initiator is told, and that it may come back at once. */
	bool requests;  /* It is asked to log out first. */
} closings[] = {
	[SESSION_CLOSE_NONE] = {NULL, false, false},
	[SESSION_CLOSE_REINSTATED] = {"its initiator port logged in again", false, false},
	[SESSION_CLOSE_SHUTDOWN] = {"the target shuts down", true, false},
	[SESSION_CLOSE_ADMIN] = {"the administrator asked for it", true, false},
	[SESSION_CLOSE_REMOVED] = {"its target is removed", true, true},
	[SESSION_CLOSE_CROWDED] = {"discovery makes room for another login", false, false},
};

LOOP_ONLY static void on_close(struct loop_msg *msg)
{
	struct session *session = CONTAINER_OF(msg, struct session, close_msg);

	const struct closing *closing = &closings[atomic_load(&session->close_reason)];

	session->close_seen = true;
	if (session->conn.state >= CONN_CLOSING)
		session_end_if_idle(session);
	else if (closing->requests)
		conn_request_logout(&session->conn, closing->why);
	else if (closing->dismisses)
		conn_dismiss(&session->conn, closing->why);
	else
		conn_close(&session->conn, closing->why);
}

void session_close(struct session *session, enum session_close_reason reason)
{
	if (atomic_exchange(&session->close_posted, true))
		return;
	atomic_store(&session->close_reason, (uint32_t)reason);
	loop_post(session->spec.loop, &session->close_msg, on_close);
}

static void on_ended(struct loop_msg *msg)
{
	struct session *session = CONTAINER_OF(msg, struct session, ended_msg);

	session->spec.on_ended(session, session->spec.arg);
}

void session_end_if_idle(struct session *session)
{
	struct iscsi_loop *home = session->home;

	if (session->conn.state != CONN_CLOSED || session->functions > 0)
		return;
	/* From here on nobody posts a close any more; one that was posted is waited for. */
	if (atomic_exchange(&session->close_posted, true) && !session->close_seen)
		return;
	assert(list_is_empty(&session->tasks) && list_is_empty(&session->held));
	assert(list_is_empty(&session->blocked) && list_is_empty(&session->draining));
	assert(session->windows[WINDOW_OF_FLOOR] == 0 && session->windows[WINDOW_SHARED] == 0);
	assert(session->outstanding == 0 && session->immediate == 0 && session->slots == 0);
	home->floor_unused -= ISCSI_FLOOR_BUFFERS;
	home->slots_unused -= SESSION_SLOTS_FLOOR;
	iscsi_loop_feed(home);
	list_remove(&session->link);
	if (session->spec.nexus != NULL)
		scsi_nexus_detach(session->spec.nexus);
	loop_post(session->spec.server->control, &session->ended_msg, on_ended);
}

/* -- the command window -- */

/* RFC 1982 comparison: a is before b. */
static bool is_before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

enum cmd_sn_verdict session_judge_cmd_sn(const struct session *session, uint32_t cmd_sn)
{
	if (cmd_sn == session->exp_cmd_sn)
		return is_before(session->max_cmd_sn, cmd_sn) ? CMD_SN_OUTSIDE : CMD_SN_DUE;
	if (is_before(cmd_sn, session->exp_cmd_sn) || is_before(session->max_cmd_sn, cmd_sn))
		return CMD_SN_OUTSIDE;
	LIST_FOREACH (node, &session->held)
		if (CONTAINER_OF(node, struct task, link)->request.cmd_sn == cmd_sn)
			return CMD_SN_OUTSIDE;
	return CMD_SN_EARLY;
}

LOOP_ONLY static struct task *find_held(struct session *session)
{
	LIST_FOREACH (node, &session->held) {
		struct task *task = CONTAINER_OF(node, struct task, link);

		if (task->request.cmd_sn == session->exp_cmd_sn)
			return task;
	}
	return NULL;
}

void session_release_held(struct session *session)
{
	struct task *task;

	while ((task = find_held(session)) != NULL) {
		session->exp_cmd_sn++;
		task_start(task);
	}
}

bool session_plug(struct session *session, uint32_t cmd_sn, uint32_t itt)
{
	const struct pdu_scsi_command request = {.cmd_sn = cmd_sn, .itt = itt, .final = true};
	struct task *task;

	if (cmd_sn == session->exp_cmd_sn) {
		session->exp_cmd_sn++;
		session_release_held(session);
		return true;
	}
	task = task_acquire(session, &request);
	if (task == NULL)
		return false;
	task_move(task, TASK_HELD);
	task_abort(task, TASK_ABORT_SILENTLY);
	return true;
}

uint32_t session_max_cmd_sn(struct session *session)
{
	uint32_t room =
		session->window > session->outstanding ? session->window - session->outstanding : 0;
	uint32_t max = session->exp_cmd_sn + room - 1u;

	if (is_before(session->max_cmd_sn, max))
		session->max_cmd_sn = max;
	return session->max_cmd_sn;
}

void session_widen(struct session *session)
{
	uint32_t widest = session->spec.server->limits.queue_depth_max;

	if (session->outstanding * 4u < session->window * 3u || session->window >= widest)
		return;
	session->window = session->window * 2u < widest ? session->window * 2u : widest;
}

/* -- tasks -- */

LOOP_ONLY static unsigned
abort_in(struct list_node *tasks,
	 enum task_abort (*judge)(const struct task *task, const void *arg), const void *arg)
{
	unsigned count = 0;

	LIST_FOREACH (node, tasks) {
		struct task *task = CONTAINER_OF(node, struct task, link);
		enum task_abort how = judge == NULL ? TASK_ABORT_SILENTLY : judge(task, arg);

		if (how == TASK_ABORT_NOT)
			continue;
		task_abort(task, how);
		count++;
	}
	return count;
}

unsigned session_abort_tasks(struct session *session,
			     enum task_abort (*judge)(const struct task *task, const void *arg),
			     const void *arg)
{
	unsigned count = abort_in(&session->tasks, judge, arg) +
			 abort_in(&session->blocked, judge, arg) +
			 abort_in(&session->held, judge, arg);

	/* These were aborted before; now nobody waits for their data any more. */
	if (judge == NULL)
		(void)abort_in(&session->draining, NULL, NULL);
	return count;
}
