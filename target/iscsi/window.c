/*
 * Windows: the buffers through which a command's data move, and who may have one.
 *
 * Credit is reservation (DESIGN.md 5): every session is sure of its floor of buffers; above it,
 * buffers go to who asks first, but never those that would be missing from somebody's floor.
 */
#include <assert.h>
#include <string.h>

#include "target/iscsi/conn.h"

/* May this session have one more buffer? */
LOOP_ONLY static bool is_entitled(const struct session *session)
{
	const struct iscsi_loop *home = session->home;

	if (session->windows < ISCSI_FLOOR_COMMANDS)
		return true;
	return session->windows < SESSION_WINDOWS_MAX &&
	       loop_buffers_free(home->loop) > home->floor_unused;
}

LOOP_ONLY static void charge(struct window *window)
{
	struct session *session = window->task->session;

	if (session->windows < ISCSI_FLOOR_COMMANDS)
		session->home->floor_unused--;
	session->windows++;
	window->charged = true;
}

void window_uncharge(struct window *window)
{
	struct session *session = window->task->session;

	if (!window->charged)
		return;
	window->charged = false;
	session->windows--;
	if (session->windows < ISCSI_FLOOR_COMMANDS)
		session->home->floor_unused++;
	session->conn.read_bytes -= window->read_bytes;
}

struct window *window_acquire(struct task *task, uint64_t offset_bytes, uint32_t length_bytes)
{
	struct iscsi_loop *home = task->home;
	uint8_t *buffer = is_entitled(task->session) ? loop_buffer_acquire(home->loop) : NULL;

	if (buffer == NULL)
		return NULL;
	/* There are as many windows as buffers. */
	struct window *window = pool_acquire(&home->windows);

	assert(window != NULL);
	memset(window, 0, sizeof(*window));
	window->task = task;
	window->buffer = buffer;
	window->offset_bytes = offset_bytes;
	window->length_bytes = length_bytes;
	list_init(&window->tx.link);
	list_append(&task->windows, &window->link);
	task->window_count++;
	charge(window);
	if (task->cmd.data == SCSI_DATA_IN_MEDIUM)
		window->read_bytes = length_bytes;
	task->session->conn.read_bytes += window->read_bytes;
	return window;
}

void window_release(struct window *window)
{
	struct task *task = window->task;
	struct iscsi_loop *home = task->home;

	assert(!window->in_device && !window->queued);
	window_uncharge(window);
	list_remove(&window->link);
	task->window_count--;
	loop_buffer_release(home->loop, window->buffer);
	pool_release(&home->windows, window);
	iscsi_loop_feed(home);
}

struct window *window_find(const struct task *task, uint64_t at_bytes)
{
	LIST_FOREACH (node, &task->windows) {
		struct window *window = CONTAINER_OF(node, struct window, link);

		if (at_bytes - window->offset_bytes < LOOP_BUFFER_BYTES)
			return window;
	}
	return NULL;
}

/* The medium moves whole blocks, although the initiator may want less of the last one. */
static uint32_t whole_blocks(const struct window *window)
{
	uint32_t block = task_block_bytes(window->task);

	return (window->length_bytes + block - 1u) / block * block;
}

void window_submit(struct window *window, scsi_piece_done_fn *done)
{
	window->piece.cmd = &window->task->cmd;
	window->piece.offset_bytes = window->offset_bytes;
	window->piece.length_bytes = whole_blocks(window);
	window->piece.buffer = window->buffer;
	window->piece.done = done;
	window->in_device = true;
	window->task->device_count++;
	scsi_piece_submit(&window->piece);
}

void windows_release_idle(struct task *task)
{
	LIST_FOREACH (node, &task->windows) {
		struct window *window = CONTAINER_OF(node, struct window, link);

		if (!window->in_device && !window->queued)
			window_release(window);
	}
}

void window_wait(struct task *task)
{
	if (!list_is_linked(&task->wait_link))
		list_append(&task->home->starved, &task->wait_link);
}
