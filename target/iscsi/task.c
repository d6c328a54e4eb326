/*
 * The stages of a task: acquire, start, settle. How it is aborted is abort.c, how its data move
 * read.c and write.c.
 */
#include "target/iscsi/task.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "target/iscsi/conn.h"

/* Which stages may follow which. */
static const uint8_t edges[TASK_STAGE_COUNT] = {
	[TASK_FREE] = 1u << TASK_RECEIVING,
	[TASK_RECEIVING] =
		1u << TASK_HELD | 1u << TASK_BLOCKED | 1u << TASK_RUNNING | 1u << TASK_ABORTED,
	[TASK_HELD] = 1u << TASK_BLOCKED | 1u << TASK_RUNNING | 1u << TASK_ABORTED,
	[TASK_BLOCKED] = 1u << TASK_RUNNING | 1u << TASK_RESPONDING | 1u << TASK_ABORTED,
	[TASK_RUNNING] = 1u << TASK_RESPONDING | 1u << TASK_DRAINING | 1u << TASK_ABORTED,
	[TASK_RESPONDING] = 1u << TASK_FREE | 1u << TASK_ABORTED,
	[TASK_DRAINING] = 1u << TASK_ABORTED,
	[TASK_ABORTED] = 1u << TASK_FREE,
};

/* The session's list that a task of a stage is in; 0: none. */
static const uint16_t list_of[TASK_STAGE_COUNT] = {
	[TASK_RECEIVING] = offsetof(struct session, tasks),
	[TASK_HELD] = offsetof(struct session, held),
	[TASK_BLOCKED] = offsetof(struct session, blocked),
	[TASK_RUNNING] = offsetof(struct session, tasks),
	[TASK_RESPONDING] = offsetof(struct session, tasks),
	[TASK_DRAINING] = offsetof(struct session, draining),
};

static void relink(struct task *task, enum task_stage stage)
{
	list_remove(&task->link);
	if (stage == TASK_ABORTED)
		list_append(&task->home->aborted, &task->link);
	else if (list_of[stage] != 0)
		list_append((void *)((uint8_t *)task->session + list_of[stage]), &task->link);
}

void task_move(struct task *task, enum task_stage stage)
{
	assert(edges[task->stage] & 1u << stage);
	if (((1u << task->stage | 1u << stage) & ORDER_STAGES) != 0)
		order_move(task, stage);
	/* From stage to stage it mostly stays where it is. */
	if (list_of[task->stage] != list_of[stage] || list_of[stage] == 0)
		relink(task, stage);
	task->stage = stage;
}

static struct list_node *tag_bucket(struct session *session, uint32_t itt)
{
	return &session->by_tag[itt & (SESSION_TAG_BUCKETS - 1u)];
}

/* What the tasks of a LUN hold is counted together. */
static struct session_lun *find_lun(struct session *session, uint64_t lun)
{
	uint8_t field[8];
	uint16_t number = 0;

	put_be64(field, lun);
	(void)scsi_lun_number(field, &number);
	return &session->luns[number & (SESSION_LUN_BUCKETS - 1u)];
}

struct task *task_find(struct session *session, uint32_t itt)
{
	struct list_node *bucket = tag_bucket(session, itt);

	LIST_FOREACH (node, bucket) {
		struct task *task = CONTAINER_OF(node, struct task, tag_link);

		if (task->request.itt == itt)
			return task;
	}
	return NULL;
}

static void on_executed(struct scsi_cmd *cmd);

/* Of a command whose data are gathered. */
static uint8_t *find_memory(struct scsi_cmd *cmd, uint64_t offset_bytes)
{
	const struct task *task = CONTAINER_OF(cmd, struct task, cmd);
	const struct window *window;

	loop_role_assume();
	window = window_find(task, offset_bytes);
	return window->buffer + (offset_bytes - window->offset_bytes);
}

static void task_init_cmd(struct task *task)
{
	struct scsi_cmd *cmd = &task->cmd;

	scsi_cmd_init(cmd);
	cmd->nexus = task->session->spec.nexus;
	cmd->loop = task->home->loop;
	put_be64(cmd->lun_field, task->request.lun);
	memcpy(cmd->cdb, task->request.cdb, SCSI_CDB_MAX);
	cmd->attribute = task->request.attr;
	cmd->expected_bytes = task->request.write ? task->request.expected_data_len_bytes : 0;
	cmd->at = find_memory;
	cmd->done = on_executed;
}

/* Count it in, so that window and shares know of it. */
LOOP_ONLY static void task_enter(struct task *task)
{
	struct session *session = task->session;

	list_append(tag_bucket(session, task->request.itt), &task->tag_link);
	task->counted = true;
	task->lun->tasks++;
	if (task->request.immediate)
		session->immediate++;
	else
		session->outstanding++;
	session_widen(session);
}

void task_leave(struct task *task)
{
	struct session *session = task->session;

	if (!task->counted)
		return;
	task->counted = false;
	list_remove(&task->tag_link);
	task->lun->tasks--;
	if (task->request.immediate)
		session->immediate--;
	else
		session->outstanding--;
}

/* Beyond its floor a session has what no other's floor needs. */
static bool slot_is_due(const struct session *session)
{
	const struct iscsi_loop *home = session->home;

	return session->slots < SESSION_SLOTS_FLOOR ||
	       pool_free_count(&home->tasks) > home->slots_unused + LOOP_SLOTS_RESERVE;
}

static void slot_take(struct session *session)
{
	if (session->slots++ < SESSION_SLOTS_FLOOR)
		session->home->slots_unused--;
}

void task_give_slot_back(struct session *session)
{
	if (--session->slots < SESSION_SLOTS_FLOOR)
		session->home->slots_unused++;
}

struct task *task_acquire(struct session *session, const struct pdu_scsi_command *request)
{
	struct task *task = slot_is_due(session) ? pool_acquire(&session->home->tasks) : NULL;

	if (task == NULL)
		return NULL;
	slot_take(session);
	memset(task, 0, offsetof(struct task, request));
	task->home = session->home;
	task->session = session;
	task->lun = find_lun(session, request->lun);
	task->request = *request;
	task->unsolicited_due = !request->final;
	list_init(&task->link);
	list_init(&task->tag_link);
	list_init(&task->wait_link);
	list_init(&task->order_link);
	list_init(&task->windows);
	task_init_cmd(task);
	task_move(task, TASK_RECEIVING);
	task_enter(task);
	return task;
}

LOOP_ONLY static void task_free(struct task *task)
{
	struct iscsi_loop *home = task->home;

	assert(list_is_empty(&task->windows) && !task->counted && task->device_count == 0);
	list_remove(&task->wait_link);
	if (task->session != NULL)
		task_give_slot_back(task->session);
	task_move(task, TASK_FREE);
	pool_release(&home->tasks, task);
	iscsi_loop_feed(home);
}

/* The residual of RFC 7143 11.4.5: what was expected against what the command would move. */
struct residual {
	uint32_t count;
	bool overflow;
	bool underflow;
};

static uint64_t moved_or_movable(const struct task *task)
{
	bool in = task->cmd.data == SCSI_DATA_IN_PARAM || task->cmd.data == SCSI_DATA_IN_MEDIUM;

	if (task->cmd.data == SCSI_DATA_NONE || !task->prepared)
		return 0;
	if (task_has_failed(task))
		return task->moved_bytes;
	/* Data the wrong way round cannot move, yet the command has as many as it has. */
	return in || task->request.write ? task->cmd.data_bytes : 0;
}

static struct residual task_residual(const struct task *task)
{
	bool expects = task->request.read || task->request.write;
	uint64_t expected = expects ? task->request.expected_data_len_bytes : 0;
	uint64_t actual = moved_or_movable(task);
	uint64_t gap = actual > expected ? actual - expected : expected - actual;

	return (struct residual){
		.count = gap > UINT32_MAX ? UINT32_MAX : (uint32_t)gap,
		.overflow = actual > expected,
		.underflow = actual < expected,
	};
}

void task_finish_data_in(struct task *task, struct pdu_data_in *pdu)
{
	struct residual residual = task_residual(task);

	pdu->has_status = true;
	pdu->status = task->cmd.status;
	pdu->overflow = residual.overflow;
	pdu->underflow = residual.underflow;
	pdu->residual_count = residual.count;
	task_leave(task);
}

LOOP_ONLY static bool response_encode(struct conn *conn UNUSED, struct tx_item *item,
				      struct tx_frame *frame)
{
	struct task *task = CONTAINER_OF(item, struct task, response);
	struct residual residual = task_residual(task);
	struct pdu_scsi_response pdu = {
		.itt = task->request.itt,
		.status = task->cmd.status,
		.response = PDU_COMMAND_COMPLETED,
		.exp_data_sn = task->data_sn + task->r2t_sn,
		.residual_count = residual.count,
		.overflow = residual.overflow,
		.underflow = residual.underflow,
	};

	if (task->cmd.sense_bytes > 0) {
		put_be16(task->sense, task->cmd.sense_bytes);
		memcpy(task->sense + 2, task->cmd.sense, task->cmd.sense_bytes);
		pdu.data_len_bytes = task->cmd.sense_bytes + 2u;
	}
	pdu_scsi_response_encode(&pdu, frame->bhs);
	frame->data = task->sense;
	frame->data_len_bytes = pdu.data_len_bytes;
	task_leave(task);
	return true;
}

LOOP_ONLY static void response_sent(struct conn *conn UNUSED, struct tx_item *item)
{
	struct task *task = CONTAINER_OF(item, struct task, response);

	task->queue_count--;
	task_settle(task);
}

void task_respond(struct task *task)
{
	/* Of one that was aborted data may still be landing. */
	if (!task->receiving)
		windows_release_idle(task);
	task_move(task, TASK_RESPONDING);
	task->response.encode = response_encode;
	task->response.sent = response_sent;
	task->queue_count++;
	tx_queue(&task->session->conn, &task->response);
}

/* True when all that the command was to do has been done. */
static bool is_complete(const struct task *task)
{
	switch (task->cmd.data) {
	case SCSI_DATA_IN_MEDIUM:
	case SCSI_DATA_OUT_MEDIUM:
		return task->moved_bytes == task->transfer_bytes;
	case SCSI_DATA_NONE:
	case SCSI_DATA_IN_PARAM:
	case SCSI_DATA_OUT_PARAM:
	case SCSI_DATA_OUT_GATHER:
	default:
		return task->executed;
	}
}

void task_settle(struct task *task)
{
	bool idle = task->device_count == 0 && task->queue_count == 0;

	if (task->stage == TASK_RUNNING && task->device_count == 0 && !task->receiving &&
	    !task_awaits_data(task) && (task_has_failed(task) || is_complete(task))) {
		task_respond(task);
	} else if (task->stage == TASK_RESPONDING && task->queue_count == 0) {
		/* Of one that was aborted a disk may still hold something. */
		if (task->dropped) {
			task_part(task);
			return;
		}
		task_leave(task);
		task_free(task);
	} else if (task->dropped && !task->receiving) {
		windows_release_idle(task);
		if (task->stage == TASK_ABORTED && idle)
			task_free(task);
		else if (task->stage == TASK_DRAINING && task->r2ts_active == 0)
			task_drained(task);
	}
}

void task_refuse(struct task *task, enum scsi_status status)
{
	scsi_cmd_set_status(&task->cmd, status);
}

/* -- start -- */

/* All windows of the task are the device server's, or are not any more. */
static void set_in_device(struct task *task, bool in_device)
{
	LIST_FOREACH (node, &task->windows)
		CONTAINER_OF(node, struct window, link)->in_device = in_device;
}

static void on_executed(struct scsi_cmd *cmd)
{
	struct task *task = CONTAINER_OF(cmd, struct task, cmd);

	loop_role_assume();
	task->device_count--;
	task->executed = true;
	set_in_device(task, false);
	if (task->stage == TASK_RUNNING && !task_has_failed(task) &&
	    cmd->data == SCSI_DATA_IN_PARAM)
		task_send_param(task);
	task_settle(task);
}

void task_execute(struct task *task)
{
	struct list_node *first = list_first(&task->windows);

	if (first != NULL)
		task->cmd.buffer = CONTAINER_OF(first, struct window, link)->buffer;
	set_in_device(task, true);
	task->device_count++;
	if (scsi_cmd_execute(&task->cmd))
		on_executed(&task->cmd);
}

LOOP_ONLY static void start_in_param(struct task *task)
{
	if (window_acquire(task, 0, LOOP_BUFFER_BYTES) == NULL) {
		task_refuse(task, SCSI_TASK_SET_FULL);
		task_settle(task);
		return;
	}
	task_execute(task);
}

LOOP_ONLY static void start_out(struct task *task)
{
	struct window *first = window_find(task, 0);

	task->next_bytes = task->unsolicited_bytes;
	if (first != NULL && task->transfer_bytes < first->length_bytes)
		first->length_bytes = (uint32_t)task->transfer_bytes;
	if (first != NULL && first->done_bytes > first->length_bytes)
		first->done_bytes = first->length_bytes;
	if (task->transfer_bytes == 0)
		windows_release_idle(task);
	task_write(task);
}

static bool takes_data(const struct scsi_cmd *cmd)
{
	return cmd->data == SCSI_DATA_OUT_PARAM || cmd->data == SCSI_DATA_OUT_GATHER ||
	       cmd->data == SCSI_DATA_OUT_MEDIUM;
}

/* How far the command's data go: what both sides are ready for. A write ends with a whole block. */
static uint64_t transfer_bytes(const struct task *task)
{
	const struct scsi_cmd *cmd = &task->cmd;
	uint64_t expected = task->request.expected_data_len_bytes;
	uint64_t bytes = cmd->data_bytes < expected ? cmd->data_bytes : expected;

	if (takes_data(cmd) ? !task->request.write : !task->request.read)
		return 0;
	if (cmd->data == SCSI_DATA_OUT_MEDIUM)
		bytes -= bytes % task_block_bytes(task);
	return bytes;
}

static void (*const start_by_data[])(struct task *task) = {
	[SCSI_DATA_NONE] = task_execute,   [SCSI_DATA_IN_PARAM] = start_in_param,
	[SCSI_DATA_OUT_PARAM] = start_out, [SCSI_DATA_OUT_GATHER] = start_out,
	[SCSI_DATA_IN_MEDIUM] = task_read, [SCSI_DATA_OUT_MEDIUM] = start_out,
};

/* DESIGN.md 5: one LUN has at most three quarters of a session's slots, so that a stuck one leaves
 * the others alive. Applies only once the window is as wide as it gets. */
static bool lun_has_its_share(struct task *task)
{
	const struct session *session = task->session;
	uint32_t widest = session->spec.server->limits.queue_depth_max;

	return session->window >= widest && task->lun->tasks > widest - widest / 4u;
}

void task_start(struct task *task)
{
	if (task->dropped)
		task_part(task);
	else if (!task_has_failed(task) && !order_permits(task))
		task_move(task, TASK_BLOCKED);
	else
		task_run(task);
}

void task_run(struct task *task)
{
	task_move(task, TASK_RUNNING);
	if (!task_has_failed(task) && lun_has_its_share(task))
		task_refuse(task, SCSI_TASK_SET_FULL);
	if (!task_has_failed(task) && scsi_cmd_prepare(&task->cmd)) {
		task->prepared = true;
		task->transfer_bytes = transfer_bytes(task);
		/* Immediate data that the command has no use for. */
		if (!takes_data(&task->cmd))
			windows_release_idle(task);
		start_by_data[task->cmd.data](task);
		return;
	}
	task->executed = true;
	task_settle(task);
}
