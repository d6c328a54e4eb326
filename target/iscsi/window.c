/*
 * Windows: the buffers through which a command's data move, and who may have one.
 *
 * Credit is reservation (DESIGN.md 5): every session is sure of its floor, and draws on it for the
 * first window of a command alone, so that each of ISCSI_FLOOR_COMMANDS has one. All other windows
 * come out of what no floor needs, and go to who asks first, within the shares of session and LUN.
 */
#include <assert.h>
#include <string.h>

#include "target/iscsi/conn.h"

static bool lun_has_its_share(const struct task *task)
{
	return task->lun->windows[WINDOW_SHARED] >= SESSION_LUN_WINDOWS_MAX;
}

bool window_is_scarce(const struct task *task)
{
	return task->session->windows[WINDOW_SHARED] < SESSION_WINDOWS_MAX &&
	       !lun_has_its_share(task);
}

/* True when others have to end before it: what it takes now it keeps until they have. Whom a
 * command with a gap before it will find there is not known. */
static bool will_wait(const struct task *task)
{
	return task->stage == TASK_RECEIVING &&
	       (task->session->conn.rx.cmd_sn == CMD_SN_EARLY || !order_permits(task));
}

/* What a further window of the task may be charged to. */
LOOP_ONLY static enum window_charge entitlement(const struct task *task)
{
	const struct session *session = task->session;
	const struct iscsi_loop *home = task->home;
	bool waits = will_wait(task);

	if (waits && session->windows[WINDOW_SHARED] >= SESSION_WINDOWS_MAX / 2u)
		return WINDOW_FREE_OF_CHARGE;
	if (window_is_scarce(task) &&
	    loop_buffers_free(home->loop) > home->floor_unused + home->reserve)
		return WINDOW_SHARED;
	if (!waits && task->window_count == 0 &&
	    session->windows[WINDOW_OF_FLOOR] < ISCSI_FLOOR_BUFFERS &&
	    task->lun->windows[WINDOW_OF_FLOOR] < ISCSI_FLOOR_COMMANDS)
		return WINDOW_OF_FLOOR;
	return WINDOW_FREE_OF_CHARGE;
}

LOOP_ONLY static void charge(struct window *window, enum window_charge charge)
{
	struct task *task = window->task;

	window->charge = charge;
	task->session->windows[charge]++;
	task->lun->windows[charge]++;
	if (charge == WINDOW_OF_FLOOR)
		task->home->floor_unused--;
}

void window_uncharge(struct window *window)
{
	struct task *task = window->task;

	if (window->charge == WINDOW_FREE_OF_CHARGE)
		return;
	task->session->windows[window->charge]--;
	task->lun->windows[window->charge]--;
	if (window->charge == WINDOW_OF_FLOOR)
		task->home->floor_unused++;
	window->charge = WINDOW_FREE_OF_CHARGE;
	/* The disk may hold the buffer for long, but others of the session may go on. */
	iscsi_loop_feed(task->home);
}

struct window *window_acquire(struct task *task, uint64_t offset_bytes, uint32_t length_bytes)
{
	struct iscsi_loop *home = task->home;
	enum window_charge right = entitlement(task);
	uint8_t *buffer = right == WINDOW_FREE_OF_CHARGE ? NULL : loop_buffer_acquire(home->loop);

	if (buffer == NULL)
		return NULL;
	/* There are as many windows as buffers. */
	struct window *window = pool_acquire(&home->windows);

	assert(window != NULL);
	memset(window, 0, offsetof(struct window, piece));
	window->task = task;
	window->buffer = buffer;
	window->offset_bytes = offset_bytes;
	window->length_bytes = length_bytes;
	list_append(&task->windows, &window->link);
	task->window_count++;
	charge(window, right);
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
