/*
 * How a task ends that is not done: at its own initiator's wish, at another's, or with its session.
 *
 * Nothing more is begun for it from then on. What a disk still holds is fenced (lun.h), what the
 * send queue or the receiver hold is waited for, on home->aborted and without the session. In
 * between, a task may stay with its session for as long as data come that it asked for, or for
 * the response that tells its host.
 *
 * Not here: who aborts what (tmf.c, logout.c, conn.c). Threads: the session's loop.
 */
#include "target/iscsi/conn.h"
#include "target/iscsi/task.h"
#include "target/iscsi/tmf.h"

/* Nothing more is begun for it, and what it holds no longer counts. */
LOOP_ONLY static void withdraw(struct task *task)
{
	list_remove(&task->wait_link);
	LIST_FOREACH (node, &task->windows)
		window_uncharge(CONTAINER_OF(node, struct window, link));
	task->unsolicited_due = false;
	task->dropped = true;
	if (task->prepared && !task->cmd.aborted)
		scsi_cmd_abort(&task->cmd);
	if (!task->receiving)
		windows_release_idle(task);
}

void task_part(struct task *task)
{
	struct session *session = task->session;

	task_leave(task);
	task->r2ts_active = 0;
	task_move(task, TASK_ABORTED);
	task_give_slot_back(session);
	task->session = NULL;
	task_settle(task);
}

void task_drained(struct task *task)
{
	struct session *session = task->session;

	task_part(task);
	if (list_is_empty(&session->draining))
		tmf_on_drained(session);
}

/* A command that failed of itself says so. */
LOOP_ONLY static void tell(struct task *task)
{
	if (!task_has_failed(task))
		task_refuse(task, SCSI_TASK_ABORTED);
	task->r2ts_active = 0;
	task_respond(task);
}

void task_abort(struct task *task, enum task_abort how)
{
	bool owed = task->stage == TASK_RUNNING && task->r2ts_active != 0;

	if (task->stage == TASK_RESPONDING || task->stage == TASK_ABORTED)
		return;
	withdraw(task);
	if (how == TASK_ABORT_TELL) {
		tell(task);
	} else if (how == TASK_ABORT_DRAIN && owed) {
		task_move(task, TASK_DRAINING);
	} else if (task->stage == TASK_DRAINING) {
		task_drained(task);
	} else if (task->stage == TASK_HELD && task->session->conn.state < CONN_CLOSING) {
		/* It was received, so its CmdSN must not be missing (RFC 7143 4.2.2.1). */
		task_leave(task);
	} else {
		task_part(task);
	}
}
