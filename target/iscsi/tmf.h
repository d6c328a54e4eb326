/*
 * Task management (RFC 7143 11.5). Its answer never waits for a disk: tasks are aborted, what a
 * disk still holds becomes an orphan whose range is fenced (lun.h), and the answer leaves.
 *
 * Resets concern every session of the logical unit, so they go round all loops first.
 * Threads: the session's loop. Read next: tmf.c.
 */
#ifndef TARGET_ISCSI_TMF_H
#define TARGET_ISCSI_TMF_H

#include "base/group.h"
#include "target/iscsi/pdu.h"
#include "target/scsi/scsi.h"

struct session;
struct reply;

/* A reset under way; from home->resets of the session that asked for it. */
struct tmf_reset {
	struct loop_round round;
	struct session *session;
	struct reply *reply;
	const struct iscsi_target *target;
	const struct scsi_lu *lu; /* NULL: every logical unit of the target. */
	uint32_t itt;
	bool cold; /* Sessions end too (RFC 7143 11.5.1). */
};

/* scsi_nexus_abort_fn of a session, which is `arg`. */
unsigned session_on_preempted(void *arg, const struct scsi_lu *lu, const struct scsi_cmd *but);

#endif
