/*
 * Data-Out: unsolicited data, R2T, and the hand-over of complete windows to the device server.
 *
 * Room is reserved before data are asked for: an R2T covers only windows that the task holds, so
 * Data-Out is never held up. A task that holds a window always gets on with that one, so tasks that
 * wait for buffers cannot wait for each other. A task that needs several before it can begin gets
 * them all at once or is refused.
 */
#include <assert.h>

#include "base/clock.h"
#include "target/iscsi/conn.h"
#include "target/iscsi/task.h"

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

struct framer_slice task_landing(struct task *task, uint64_t at_bytes)
{
	struct window *window = window_find(task, at_bytes);
	uint64_t end = window == NULL ? 0 : window->offset_bytes + window->length_bytes;

	if (at_bytes >= end)
		return (struct framer_slice){task->home->trash, LOOP_BUFFER_BYTES};
	return (struct framer_slice){window->buffer + (at_bytes - window->offset_bytes),
				     (uint32_t)(end - at_bytes)};
}

void task_landed(struct task *task, uint64_t at_bytes, uint32_t length_bytes)
{
	uint64_t end = at_bytes + length_bytes;

	LIST_FOREACH (node, &task->windows) {
		struct window *window = CONTAINER_OF(node, struct window, link);
		uint64_t window_end = window->offset_bytes + window->length_bytes;
		uint64_t from = at_bytes > window->offset_bytes ? at_bytes : window->offset_bytes;
		uint64_t to = min_u64(end, window_end);

		if (from < to)
			window->done_bytes += (uint32_t)(to - from);
	}
}

uint64_t task_data_deadline_ns(const struct task *task)
{
	uint64_t deadline = task->unsolicited_due ? task->unsolicited_deadline_ns : UINT64_MAX;

	for (unsigned i = 0; i < TASK_R2TS_MAX; i++)
		if ((task->r2ts_active & 1u << i) != 0)
			deadline = min_u64(deadline, task->r2ts[i].deadline_ns);
	return deadline;
}

/* -- R2T -- */

static uint8_t r2t_bit(const struct task_r2t *r2t)
{
	return (uint8_t)(1u << (r2t - r2t->task->r2ts));
}

/* Owed data are due so long from now. */
LOOP_ONLY static uint64_t data_deadline_ns(const struct conn *conn)
{
	return loop_now_ns(conn->loop) +
	       conn->session->spec.server->limits.data_out_timeout_ms * CLOCK_NS_PER_MS;
}

LOOP_ONLY static bool r2t_encode(struct conn *conn, struct tx_item *item, struct tx_frame *frame)
{
	struct task_r2t *r2t = CONTAINER_OF(item, struct task_r2t, tx);
	struct pdu_r2t pdu = {
		.lun = r2t->task->request.lun,
		.itt = r2t->task->request.itt,
		.ttt = r2t->ttt,
		.r2t_sn = r2t->r2t_sn,
		.buffer_offset = r2t->offset_bytes,
		.desired_data_len_bytes = r2t->end_bytes - r2t->offset_bytes,
	};

	/* What waits behind data that the peer takes slowly is not overdue. */
	r2t->deadline_ns = data_deadline_ns(conn);
	pdu_r2t_encode(&pdu, frame->bhs);
	frame->stat_sn = TX_STAT_SN_SHOW;
	return true;
}

LOOP_ONLY static void r2t_sent(struct conn *conn UNUSED, struct tx_item *item)
{
	struct task_r2t *r2t = CONTAINER_OF(item, struct task_r2t, tx);

	struct task *task = r2t->task;

	task->r2ts_queued &= (uint8_t)~r2t_bit(r2t);
	task->queue_count--;
	/* Its data may have come before the send was seen to end. */
	if (task->stage == TASK_RUNNING)
		task_write(task);
	else
		task_settle(task);
}

static uint32_t next_ttt(struct conn *conn)
{
	if (conn->next_ttt == PDU_TAG_RESERVED)
		conn->next_ttt = 0;
	return conn->next_ttt++;
}

LOOP_ONLY static void send_r2t(struct task_r2t *r2t, struct task *task, uint64_t end_bytes)
{
	struct conn *conn = &task->session->conn;

	*r2t = (struct task_r2t){
		.tx = {.encode = r2t_encode, .sent = r2t_sent},
		.task = task,
		.ttt = next_ttt(conn),
		.offset_bytes = (uint32_t)task->next_bytes,
		.next_bytes = (uint32_t)task->next_bytes,
		.end_bytes = (uint32_t)end_bytes,
		.r2t_sn = task->r2t_sn++,
		.deadline_ns = UINT64_MAX,
	};
	task->r2ts_active |= r2t_bit(r2t);
	task->r2ts_queued |= r2t_bit(r2t);
	task->next_bytes = end_bytes;
	task->queue_count++;
	tx_queue(conn, &r2t->tx);
}

/* A record for one more R2T, or NULL when as many as agreed are outstanding. */
static struct task_r2t *free_r2t(struct task *task)
{
	uint32_t limit = task->session->params.max_outstanding_r2t;

	for (uint32_t i = 0; i < TASK_R2TS_MAX && i < limit; i++)
		if (((task->r2ts_active | task->r2ts_queued) & 1u << i) == 0)
			return &task->r2ts[i];
	return NULL;
}

/* Get windows from the first byte not asked for up to `end_bytes`; returns how far they reach. */
LOOP_ONLY static uint64_t reserve(struct task *task, uint64_t end_bytes)
{
	uint64_t at = task->next_bytes;

	while (at < end_bytes) {
		uint64_t start = at - at % LOOP_BUFFER_BYTES;
		uint32_t length =
			(uint32_t)min_u64(LOOP_BUFFER_BYTES, task->transfer_bytes - start);

		if (window_find(task, at) == NULL && window_acquire(task, start, length) == NULL)
			break;
		at = min_u64(end_bytes, start + length);
	}
	return at;
}

/* All that a gathering command needs. False: not all of it is to be had; what was got goes back
 * with the refusal. */
LOOP_ONLY static bool reserve_whole(struct task *task)
{
	for (uint64_t at = 0; at < task->cmd.reserve_bytes; at += LOOP_BUFFER_BYTES) {
		uint64_t left = at < task->transfer_bytes ? task->transfer_bytes - at : 0;

		if (window_find(task, at) == NULL &&
		    window_acquire(task, at, (uint32_t)min_u64(LOOP_BUFFER_BYTES, left)) == NULL)
			return false;
	}
	return true;
}

/* One that fits a single window waits for it like any other: it holds nothing meanwhile. */
static bool needs_several(const struct task *task)
{
	return task->cmd.data == SCSI_DATA_OUT_GATHER &&
	       task->cmd.reserve_bytes > LOOP_BUFFER_BYTES;
}

/* Ask for more data, as far as agreement and buffers reach. */
LOOP_ONLY static void solicit(struct task *task)
{
	uint32_t max_burst = task->session->params.max_burst_length;
	struct task_r2t *r2t;

	if (needs_several(task) && !reserve_whole(task)) {
		task_refuse(task, SCSI_TASK_SET_FULL);
		return;
	}
	while (task->next_bytes < task->transfer_bytes && (r2t = free_r2t(task)) != NULL) {
		uint64_t end =
			reserve(task, min_u64(task->next_bytes + max_burst, task->transfer_bytes));

		if (end == task->next_bytes)
			break;
		send_r2t(r2t, task, end);
	}
	if (task->next_bytes == task->transfer_bytes || task->window_count > 0)
		return;
	/* Not one buffer: nothing has moved yet, so the initiator may as well come again. */
	if (task->next_bytes == 0 && window_is_scarce(task))
		task_refuse(task, SCSI_TASK_SET_FULL);
	else
		window_wait(task);
}

/* -- windows to the device server -- */

LOOP_ONLY static void on_written(struct scsi_piece *piece)
{
	struct window *window = CONTAINER_OF(piece, struct window, piece);
	struct task *task = window->task;

	window->in_device = false;
	task->device_count--;
	if (piece->ok)
		task->moved_bytes += window->length_bytes;
	window_release(window);
	if (task->stage == TASK_RUNNING)
		task_write(task);
	else
		task_settle(task);
}

LOOP_ONLY static void submit_complete(struct task *task)
{
	LIST_FOREACH (node, &task->windows) {
		struct window *window = CONTAINER_OF(node, struct window, link);

		if (!window->in_device && window->done_bytes == window->length_bytes)
			window_submit(window, on_written);
	}
}

LOOP_ONLY static void execute_if_complete(struct task *task)
{
	if (task->executed || task->device_count > 0 || task->next_bytes < task->transfer_bytes ||
	    task_has_failed(task))
		return;
	task->cmd.buffer_bytes = (uint32_t)task->transfer_bytes;
	task->moved_bytes = task->transfer_bytes;
	task_execute(task);
}

/* The part of the next step that needs a healthy command. */
LOOP_ONLY static void advance(struct task *task)
{
	if (task->cmd.data == SCSI_DATA_OUT_MEDIUM)
		submit_complete(task);
	/* Data already on their way come first: only then is it known what to ask for. */
	if (task->unsolicited_due)
		return;
	if (task->next_bytes < task->unsolicited_bytes)
		task->next_bytes = min_u64(task->unsolicited_bytes, task->transfer_bytes);
	solicit(task);
	if (task->cmd.data != SCSI_DATA_OUT_MEDIUM && !task_awaits_data(task))
		execute_if_complete(task);
}

void task_write(struct task *task)
{
	if (!task_has_failed(task))
		advance(task);
	task_settle(task);
}

/* -- the Data-Out PDU (RFC 7143 11.7) -- */

static struct task_r2t *find_r2t(struct task *task, uint32_t ttt)
{
	for (unsigned i = 0; i < TASK_R2TS_MAX; i++)
		if ((task->r2ts_active & 1u << i) != 0 && task->r2ts[i].ttt == ttt)
			return &task->r2ts[i];
	return NULL;
}

static const char *check_solicited(const struct task_r2t *r2t, const struct pdu_data_out *pdu)
{
	uint32_t room = r2t->end_bytes - r2t->next_bytes;

	if (pdu->buffer_offset != r2t->next_bytes)
		return "Data-Out has another offset than the R2T's data so far";
	if (pdu->data_sn != r2t->data_sn)
		return "Data-Out has the wrong DataSN";
	if (pdu->data_len_bytes > room)
		return "Data-Out exceeds its R2T";
	if (pdu->final != (pdu->data_len_bytes == room))
		return "Data-Out has its F bit elsewhere than at the end of the burst";
	return NULL;
}

static const char *check_unsolicited(const struct task *task, const struct pdu_data_out *pdu)
{
	uint64_t end = (uint64_t)pdu->buffer_offset + pdu->data_len_bytes;

	if (!task->unsolicited_due)
		return "unsolicited Data-Out came after its sequence had ended";
	if (pdu->buffer_offset != task->unsolicited_bytes)
		return "unsolicited Data-Out has a gap";
	if (pdu->data_sn != task->unsolicited_data_sn)
		return "Data-Out has the wrong DataSN";
	if (end > task->session->params.first_burst_length ||
	    end > task->request.expected_data_len_bytes)
		return "unsolicited Data-Out exceeds FirstBurstLength or the expected data";
	return NULL;
}

/*
 * RFC 7143 7.9: data that break their sequence end the command, and the command alone. What else of
 * them is on its way finds no R2T and is dropped.
 */
LOOP_ONLY static void fail_data(struct conn *conn, struct task *task, const char *why)
{
	static struct log_limit limit = LOG_LIMIT(20, 1000);
	char name[CONN_NAME_BYTES];

	log_limited(&limit, LOG_LEVEL_INFO, "iscsi", "%s: command failed: %s",
		    conn_name(conn, name), why);
	scsi_cmd_fail_data_phase(&task->cmd);
	task->r2ts_active = 0;
	task->unsolicited_due = false;
	task_settle(task);
}

enum framer_verdict data_out_on_header(struct conn *conn)
{
	struct pdu_data_out pdu;
	const char *why = NULL;

	pdu_data_out_decode(&pdu, framer_bhs(&conn->framer));
	struct task *task = task_find(conn->session, pdu.itt);
	struct task_r2t *r2t = task == NULL ? NULL : find_r2t(task, pdu.ttt);

	/* Data of a task that was aborted meanwhile are expected to arrive (RFC 7143 4.2.3.3). */
	if (task == NULL || (r2t == NULL && (task->dropped || pdu.ttt != PDU_TAG_RESERVED)))
		return rx_ignore(conn);
	/* It has its status already, which a stray Data-Out must not change. */
	if (task->stage == TASK_RESPONDING)
		return rx_ignore(conn);
	why = r2t != NULL ? check_solicited(r2t, &pdu) : check_unsolicited(task, &pdu);
	if (why != NULL) {
		fail_data(conn, task, why);
		return rx_ignore(conn);
	}
	conn->rx.task = task;
	conn->rx.r2t = r2t;
	conn->rx.offset_bytes = pdu.buffer_offset;
	task->receiving = true;
	return FRAMER_TAKE;
}

struct framer_slice data_out_on_landing(struct conn *conn, uint32_t offset_bytes)
{
	return task_landing(conn->rx.task, (uint64_t)conn->rx.offset_bytes + offset_bytes);
}

/* Book a Data-Out that has come whole. */
static void book(struct task *task, struct task_r2t *r2t, const struct pdu_common *pdu)
{
	if (r2t != NULL) {
		r2t->next_bytes += pdu->data_len_bytes;
		r2t->data_sn++;
		if (pdu->final)
			task->r2ts_active &= (uint8_t)~r2t_bit(r2t);
	} else {
		task->unsolicited_bytes += pdu->data_len_bytes;
		task->unsolicited_data_sn++;
		task->unsolicited_due = !pdu->final;
	}
}

void data_out_on_end(struct conn *conn)
{
	struct task *task = conn->rx.task;
	const struct pdu_common *pdu = &conn->framer.pdu;

	conn->rx.task = NULL;
	task->receiving = false;
	/* It is over for one of which nothing more is wanted. */
	if (!task->dropped)
		task_landed(task, conn->rx.offset_bytes, pdu->data_len_bytes);
	if (!task->dropped || task->stage == TASK_DRAINING)
		book(task, conn->rx.r2t, pdu);
	if (task->stage == TASK_RUNNING)
		task_write(task);
	else if (task->stage == TASK_BLOCKED)
		order_resume(task->lun);
	else if (task->dropped)
		task_settle(task);
}
