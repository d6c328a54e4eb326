/*
 * Data-In: windows are read ahead of the wire, several at a time, and leave in order.
 *
 * A long read never holds more than TASK_READ_WINDOWS_MAX buffers, and none is submitted while
 * CONN_READ_BYTES_MAX of data wait for the peer to take them. Who waits for that is in
 * conn->read_waiters, and the list is empty whenever there is room: the bytes go down in one place,
 * data_in_sent. The last PDU carries the status.
 */
#include <assert.h>

#include "target/iscsi/conn.h"
#include "target/iscsi/task.h"

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* What is sent where an image has nothing: it stays in the cache. */
static const uint8_t zeroes[LOOP_BUFFER_BYTES];

/* One Data-In PDU out of a window (RFC 7143 11.7): a sequence ends at MaxBurstLength (13.13). */
LOOP_ONLY static bool data_in_encode(struct conn *conn, struct tx_item *item,
				     struct tx_frame *frame)
{
	struct window *window = CONTAINER_OF(item, struct window, tx);
	struct task *task = window->task;
	const struct iscsi_params *params = &conn->session->params;
	uint32_t left = window->length_bytes - window->done_bytes;
	uint32_t length = min_u32(min_u32(left, params->max_send_data_segment_length),
				  params->max_burst_length - task->burst_bytes);
	uint64_t offset = window->offset_bytes + window->done_bytes;
	bool last = offset + length == task->transfer_bytes;
	struct pdu_data_in pdu = {
		.itt = task->request.itt,
		.ttt = PDU_TAG_RESERVED,
		.data_sn = task->data_sn++,
		.buffer_offset = (uint32_t)offset,
		.data_len_bytes = length,
	};

	task->burst_bytes += length;
	pdu.final = last || task->burst_bytes == params->max_burst_length;
	if (pdu.final)
		task->burst_bytes = 0;
	frame->data = window->zeroes ? zeroes : window->buffer + window->done_bytes;
	frame->data_len_bytes = length;
	frame->stat_sn = TX_STAT_SN_NONE;
	window->done_bytes += length;
	if (last && task->stage == TASK_RESPONDING && !task->dropped) {
		task_finish_data_in(task, &pdu);
		frame->stat_sn = TX_STAT_SN_USE;
	}
	pdu_data_in_encode(&pdu, frame->bhs);
	return window->done_bytes == window->length_bytes;
}

/* Reads that waited for the peer to take data go on, first come, first served. */
LOOP_ONLY static void wake_readers(struct conn *conn)
{
	while (conn->read_bytes < CONN_READ_BYTES_MAX && !list_is_empty(&conn->read_waiters)) {
		struct task *task =
			CONTAINER_OF(list_first(&conn->read_waiters), struct task, wait_link);

		list_remove(&task->wait_link);
		task_read(task);
	}
}

LOOP_ONLY static void data_in_sent(struct conn *conn, struct tx_item *item)
{
	struct window *window = CONTAINER_OF(item, struct window, tx);
	struct task *task = window->task;

	window->queued = false;
	task->queue_count--;
	conn->read_bytes -= window->length_bytes;
	window_release(window);
	if (task->stage == TASK_RUNNING && conn->state == CONN_RUNNING)
		task_read(task);
	else
		task_settle(task);
	if (conn->state == CONN_RUNNING)
		wake_readers(conn);
}

LOOP_ONLY static void queue_window(struct window *window)
{
	struct task *task = window->task;
	struct conn *conn = &task->session->conn;

	window->queued = true;
	window->tx.encode = data_in_encode;
	window->tx.sent = data_in_sent;
	task->queue_count++;
	task->moved_bytes += window->length_bytes;
	conn->read_bytes += window->length_bytes;
	if (task->moved_bytes == task->transfer_bytes)
		task_move(task, TASK_RESPONDING);
	tx_queue(conn, &window->tx);
}

/* Queue the windows that are ready and have no gap before them. */
LOOP_ONLY static void queue_ready(struct task *task)
{
	LIST_FOREACH (node, &task->windows) {
		struct window *window = CONTAINER_OF(node, struct window, link);

		if (window->queued)
			continue;
		if (!window->ready)
			break;
		queue_window(window);
	}
}

LOOP_ONLY static void on_read(struct scsi_piece *piece)
{
	struct window *window = CONTAINER_OF(piece, struct window, piece);
	struct task *task = window->task;

	window->in_device = false;
	window->ready = piece->ok;
	window->zeroes = piece->zeroes;
	task->device_count--;
	if (task->dropped || task_has_failed(task)) {
		windows_release_idle(task);
		task_settle(task);
	} else {
		queue_ready(task);
	}
}

/* One more window of the read. False: none to be had now. */
LOOP_ONLY static bool read_ahead(struct task *task)
{
	uint64_t left = task->transfer_bytes - task->next_bytes;
	uint32_t length = left < LOOP_BUFFER_BYTES ? (uint32_t)left : LOOP_BUFFER_BYTES;
	struct window *window = window_acquire(task, task->next_bytes, length);

	if (window == NULL)
		return false;
	task->next_bytes += length;
	window_submit(window, on_read);
	return true;
}

/* Nothing of it is under way and there is no room: wait for the room that was short. */
LOOP_ONLY static void wait_for_room(struct task *task)
{
	struct conn *conn = &task->session->conn;

	if (conn->read_bytes >= CONN_READ_BYTES_MAX) {
		if (!list_is_linked(&task->wait_link))
			list_append(&conn->read_waiters, &task->wait_link);
	} else if (task->next_bytes == 0 && window_is_scarce(task)) {
		task_refuse(task, SCSI_TASK_SET_FULL);
	} else {
		window_wait(task);
	}
}

void task_read(struct task *task)
{
	struct conn *conn = &task->session->conn;

	while (task->next_bytes < task->transfer_bytes && !task_has_failed(task) &&
	       task->window_count < TASK_READ_WINDOWS_MAX &&
	       conn->read_bytes < CONN_READ_BYTES_MAX && read_ahead(task))
		;
	if (task->next_bytes < task->transfer_bytes && task->window_count == 0 &&
	    !task_has_failed(task))
		wait_for_room(task);
	task_settle(task);
}

void task_send_param(struct task *task)
{
	struct window *window = CONTAINER_OF(list_first(&task->windows), struct window, link);
	uint64_t expected = task->request.read ? task->request.expected_data_len_bytes : 0;
	uint64_t bytes = task->cmd.data_bytes < expected ? task->cmd.data_bytes : expected;

	assert(task->cmd.data_bytes <= LOOP_BUFFER_BYTES);
	task->transfer_bytes = bytes;
	if (bytes == 0)
		return;
	window->length_bytes = (uint32_t)bytes;
	queue_window(window);
}
