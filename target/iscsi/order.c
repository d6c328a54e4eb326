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
 * Of those that wait, only the first of a logical unit is looked at, and only when another task of
 * it has ended.
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
	return task->lun->waiting == (task->stage == TASK_BLOCKED ? task : NULL);
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

/* Not while data land in its window, which running it may give back or pass on: their end calls. */
LOOP_ONLY static bool may_begin(const struct task *task)
{
	task->home->order_looks++;
	return !task->receiving && order_permits(task);
}

void order_resume(struct session_lun *lun)
{
	while (lun->waiting != NULL && may_begin(lun->waiting))
		task_run(lun->waiting);
}

/* -- the tasks of a logical unit that wait, in a ring -- */

static void queue(struct task *task)
{
	struct session_lun *lun = task->lun;

	if (lun->waiting == NULL)
		lun->waiting = task;
	else
		list_append(&lun->waiting->order_link, &task->order_link);
}

static void unqueue(struct task *task)
{
	struct session_lun *lun = task->lun;
	struct task *next = CONTAINER_OF(task->order_link.next, struct task, order_link);

	if (lun->waiting == task)
		lun->waiting = next == task ? NULL : next;
	list_remove(&task->order_link);
	list_remove(&task->wait_link);
}

void order_move(struct task *task, enum task_stage stage)
{
	struct session_lun *lun = task->lun;
	unsigned begins = stage == TASK_RUNNING;
	unsigned ends = task->stage == TASK_RUNNING;

	lun->running = (uint16_t)(lun->running + begins - ends);
	if (is_fence(task))
		lun->fences = (uint16_t)(lun->fences + begins - ends);
	if (task->stage == TASK_BLOCKED)
		unqueue(task);
	/* It may be what the first of those that wait waited for. */
	if (stage == TASK_BLOCKED) {
		queue(task);
	} else if (!begins && lun->waiting != NULL) {
		window_wait(lun->waiting);
		iscsi_loop_feed(task->home);
	}
}
