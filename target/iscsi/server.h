/*
 * What the iSCSI layer knows about the whole daemon: its limits, its loops, its targets. Built by
 * target/ctl before the loops run; read-only from then on, but for the view, which is published, so
 * that every loop may look.
 *
 * Not here: sessions (session.h; listed by registry.h, on the control loop) and portals (net/).
 */
#ifndef TARGET_ISCSI_SERVER_H
#define TARGET_ISCSI_SERVER_H

#include "base/group.h"
#include "base/pool.h"
#include "target/iscsi/target.h"
#include "target/scsi/scsi.h"

#include <stdint.h>

struct registry;

/* A session starts with this many commands, each sure of a slot and of a buffer (DESIGN.md 5). */
#define ISCSI_FLOOR_COMMANDS 8u
/* Buffers that are a session's own: one for each of these commands, and a few that one LUN, stuck
 * with as many commands, leaves to the others. */
#define ISCSI_FLOOR_BUFFERS (ISCSI_FLOOR_COMMANDS + 2u)
/* Immediate commands a session may have beyond its window; answered from a reserve. */
#define ISCSI_IMMEDIATE_COMMANDS 4u
/* Task slots that are a session's own. */
#define ISCSI_FLOOR_TASKS (ISCSI_FLOOR_COMMANDS + ISCSI_IMMEDIATE_COMMANDS)

/* The MaxRecvDataSegmentLength that we declare: one loop buffer, so that a data segment crosses at
 * most one border between two. */
#define ISCSI_RECV_DATA_BYTES LOOP_BUFFER_BYTES
/* What we agree to as FirstBurstLength at most: it fits into the one buffer a command starts with.
 */
#define ISCSI_FIRST_BURST_BYTES LOOP_BUFFER_BYTES

/* From the configuration; all set. */
struct iscsi_limits {
	uint32_t sessions_max;
	uint32_t queue_depth_max; /* The command window at its widest, per session. */
	uint32_t login_timeout_ms;
	uint32_t refusal_delay_ms; /* 0: refused logins are answered at once. */
	uint32_t write_stall_timeout_ms;
	uint32_t nop_interval_ms; /* 0: no NOP-In of our own. */
	uint32_t nop_timeout_ms;
	uint32_t data_out_timeout_ms; /* An R2T not served this long ends the connection. */
	uint32_t logins_max;          /* Connections that have not finished login. */
	uint32_t logins_per_source_max;
};

struct iscsi_server {
	struct loop *control;
	struct loop_group group;
	struct iscsi_limits limits;
	struct published view; /* struct iscsi_view: targets, and who may use them. */
	const struct iscsi_portal *portals;
	unsigned portal_count;
	struct registry *registry; /* The control loop's. */
};

/* Targets as they now are: good for this turn. Any loop, and the control loop. */
static inline const struct iscsi_view *iscsi_view_now(const struct iscsi_server *server)
{
	return published_load(&server->view);
}

/* The first view, before the loops run. */
static inline void iscsi_view_set(struct iscsi_server *server, const struct iscsi_view *view)
{
	atomic_store_explicit(&server->view.current, view, memory_order_release);
}

/*
 * A data loop's share of the iSCSI layer: its pools and the sessions that live on it. Set as
 * loop_user of each loop of the group. The sums behind the pool sizes stand in loop_context.c.
 */
struct iscsi_loop;
/* Before the loop starts; control thread. -ENOMEM. */
int MUST_CHECK iscsi_loop_create(struct loop *loop, const struct iscsi_server *server);
/* After the loop ended. Asserts that every task came back unless `abandon` is set. */
void iscsi_loop_free(struct loop *loop, bool abandon);
/* How many sessions with their floor of buffers fit into so many buffers of one loop, and the
 * reverse. Pure. */
uint32_t iscsi_sessions_for_buffers(uint32_t buffers);
uint32_t iscsi_buffers_for_sessions(uint32_t sessions);
/* What the pools of one loop take that has so many buffers: address space, which becomes memory as
 * it is used. Pure. */
struct iscsi_pools {
	uint64_t buffers_bytes;
	uint64_t tasks_bytes; /* And task management functions. */
	uint64_t windows_bytes;
	uint64_t receive_bytes; /* Receive areas, whatever the count of buffers. */
};
void iscsi_loop_pools(uint32_t buffers, struct iscsi_pools *out);
/* And so many sessions themselves. Pure. */
uint64_t iscsi_sessions_bytes(uint32_t sessions);
/* How many a loop can hold. Any thread. */
uint32_t iscsi_loop_sessions_max(const struct loop *loop);

#endif
