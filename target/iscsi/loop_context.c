/*
 * A data loop's share of the iSCSI layer: the pools of tasks and windows, and those who wait for
 * them. The sums behind the sizes stand here.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/aligned.h"
#include "target/iscsi/conn.h"
#include "target/iscsi/task.h"
#include "target/iscsi/tmf.h"

/* Buffers that belong to no session's floor: scratch of VERIFY and WRITE SAME, text, pings, and the
 * account of orphans. */
#define RESERVE_BUFFERS 64u
/* Task management functions that take time, at once, beyond the one that is each session's own. One
 * more reset is rejected and its sender tries again. */
#define FUNCTIONS_SPARE 16u

uint32_t iscsi_sessions_for_buffers(uint32_t buffers)
{
	return buffers <= RESERVE_BUFFERS ? 0 : (buffers - RESERVE_BUFFERS) / ISCSI_FLOOR_BUFFERS;
}

uint32_t iscsi_buffers_for_sessions(uint32_t sessions)
{
	return RESERVE_BUFFERS + sessions * ISCSI_FLOOR_BUFFERS;
}

uint32_t iscsi_loop_sessions_max(const struct loop *loop)
{
	return iscsi_sessions_for_buffers(loop_buffer_count(loop));
}

/* Every session's floor and immediate commands, whole windows for as many sessions as have buffers
 * to fill them, and what disks may keep. */
static uint32_t task_count(uint32_t buffers)
{
	uint32_t sessions = iscsi_sessions_for_buffers(buffers);

	return sessions * SESSION_SLOTS_FLOOR + buffers + LOOP_SLOTS_RESERVE;
}

static uint32_t function_count(uint32_t buffers)
{
	return FUNCTIONS_SPARE + iscsi_sessions_for_buffers(buffers);
}

void iscsi_loop_pools(uint32_t buffers, struct iscsi_pools *out)
{
	*out = (struct iscsi_pools){
		.buffers_bytes = (uint64_t)buffers * LOOP_BUFFER_BYTES,
		.tasks_bytes = (uint64_t)task_count(buffers) * sizeof(struct task) +
			       (uint64_t)function_count(buffers) * sizeof(struct tmf),
		.windows_bytes = (uint64_t)buffers * sizeof(struct window),
		.receive_bytes = LOOP_RECEIVE_BYTES + LOOP_BUFFER_BYTES + LOOP_LEFT_OVER_BYTES_MAX,
	};
}

uint64_t iscsi_sessions_bytes(uint32_t sessions)
{
	return (uint64_t)sessions * sizeof(struct session);
}

/* Loops too small for all of it (tests have such) keep a part. */
static uint32_t reserve_of(const struct loop *loop)
{
	uint32_t most = loop_buffer_count(loop) / 8u;

	return most < RESERVE_BUFFERS ? most : RESERVE_BUFFERS;
}

static void init_lists(struct iscsi_loop *home)
{
	list_init(&home->sessions);
	list_init(&home->aborted);
	list_init(&home->starved);
	list_init(&home->blocked);
}

static void release(struct iscsi_loop *home, bool abandon)
{
	pool_clear(&home->functions, abandon);
	if (abandon) {
		/* Records of I/O that the kernel holds are in there (loop.h, loop_free). */
		pool_leave_mapped(&home->windows);
		pool_leave_mapped(&home->tasks);
		return;
	}
	pool_clear(&home->windows, false);
	pool_clear(&home->tasks, false);
	free(home->trash);
	aligned_free(home->receive);
	aligned_free(home);
}

int iscsi_loop_create(struct loop *loop, const struct iscsi_server *server)
{
	struct iscsi_loop *home = aligned_calloc(sizeof(*home));
	int res = -ENOMEM;

	if (home == NULL)
		return res;
	home->loop = loop;
	home->server = server;
	home->reserve = reserve_of(loop);
	init_lists(home);
	home->trash = malloc(LOOP_BUFFER_BYTES);
	home->receive = aligned_calloc(LOOP_RECEIVE_BYTES);
	if (home->trash == NULL || home->receive == NULL)
		goto fail;
	res = pool_init(&home->tasks, task_count(loop_buffer_count(loop)), sizeof(struct task), 0);
	if (res == 0)
		res = pool_init(&home->windows, loop_buffer_count(loop), sizeof(struct window), 0);
	if (res == 0)
		res = pool_init(&home->functions, function_count(loop_buffer_count(loop)),
				sizeof(struct tmf), 0);
	if (res < 0)
		goto fail;
	loop_set_user(loop, home);
	return 0;
fail:
	release(home, false);
	return res;
}

void iscsi_loop_free(struct loop *loop, bool abandon)
{
	struct iscsi_loop *home = iscsi_loop_of(loop);

	if (home == NULL)
		return;
	loop_set_user(loop, NULL);
	release(home, abandon);
}

LOOP_ONLY static void feed_starved(struct list_node *starved)
{
	while (!list_is_empty(starved)) {
		struct task *task = CONTAINER_OF(list_first(starved), struct task, wait_link);

		list_remove(&task->wait_link);
		if (task->stage == TASK_BLOCKED)
			order_resume(task->lun);
		else if (task->cmd.data == SCSI_DATA_IN_MEDIUM)
			task_read(task);
		else
			task_write(task);
	}
}

LOOP_ONLY static void on_feed(struct loop_msg *msg)
{
	struct iscsi_loop *home = CONTAINER_OF(msg, struct iscsi_loop, feed);
	struct list_node starved;

	home->feed_posted = false;
	/* Who finds nothing queues again, behind the others; one round each is enough. */
	list_init(&starved);
	list_splice(&starved, &home->starved);
	feed_starved(&starved);
	LIST_FOREACH (node, &home->blocked)
		rx_unblock(CONTAINER_OF(node, struct conn, blocked_link));
}

void iscsi_loop_feed(struct iscsi_loop *home)
{
	if (home->feed_posted || (list_is_empty(&home->starved) && list_is_empty(&home->blocked)))
		return;
	home->feed_posted = true;
	loop_post(home->loop, &home->feed, on_feed);
}
