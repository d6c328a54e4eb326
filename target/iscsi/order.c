/*
 * Task attributes (SAM-5 8.6 to 8.8): which task of a logical unit may begin beside which. The task
 * set is the nexus's own (TST = 001b), so all of it is one session's.
 *
 * An ordered task begins when all before it have ended, and those behind it when it has ended. A
 * head of the queue begins at once, and the others wait for it. Simple tasks, which is nearly all
 * there are, cost two comparisons.
 *
 * Who waits holds little: no buffer of the session's floor, and of the others only while at least
 * half of the session's share is free (window.c). So those before it get on, whatever it holds.
 *
 * Logical units are told apart by the low bits of their numbers, as in conn.h; two that share a
 * record are ordered as one. Threads: the session's loop.
 */
#include "target/iscsi/conn.h"
#include "target/iscsi/task.h"

static bool is_fence(const struct task *task)
{
	return task->request.attr == PDU_ATTR_ORDERED ||
	       task->request.attr == PDU_ATTR_HEAD_OF_QUEUE;
}

/* Nobody of its logical unit waits before it. */
static bool is_first(const struct task *task)
{
	if (task->stage != TASK_BLOCKED)
		return task->lun->blocked == 0;
	LIST_FOREACH (node, &task->session->blocked) {
		const struct task *other = CONTAINER_OF(node, struct task, link);

		if (other->lun == task->lun)
			return other == task;
	}
	return false;
}

bool order_permits(const struct task *task)
{
	const struct session_lun *lun = task->lun;

	if (task->request.attr == PDU_ATTR_HEAD_OF_QUEUE)
		return true;
	if (task->request.attr == PDU_ATTR_ORDERED && lun->running > 0)
		return false;
	return lun->fences == 0 && is_first(task);
}

void order_wait(struct task *task)
{
	task_move(task, TASK_BLOCKED);
	window_wait(task);
}

/* Not while data land in its window, which running it may give back or pass on: their end calls. */
void order_resume(struct task *task)
{
	if (!task->receiving && order_permits(task))
		task_run(task);
	else
		window_wait(task);
}

void order_move(struct task *task, enum task_stage stage)
{
	struct session_lun *lun = task->lun;
	unsigned begins = stage == TASK_RUNNING;
	unsigned ends = task->stage == TASK_RUNNING;

	lun->running = (uint16_t)(lun->running + begins - ends);
	if (is_fence(task))
		lun->fences = (uint16_t)(lun->fences + begins - ends);
	if (stage == TASK_BLOCKED)
		lun->blocked++;
	if (task->stage == TASK_BLOCKED)
		lun->blocked--;
	if (lun->blocked > 0 && stage != TASK_BLOCKED)
		iscsi_loop_feed(task->home);
}
