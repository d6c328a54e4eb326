/*
 * Task management (RFC 7143 11.5, RFC 7144). Its answer never waits for a disk: tasks are aborted,
 * what a disk still holds becomes an orphan whose range is fenced (lun.h), and the answer leaves.
 *
 * Functions on whole task sets wait for data that the session's own tasks asked for, for a bounded
 * time (RFC 7143 4.2.3.3). Resets concern every session of the logical unit, so they go round all
 * loops first.
 * Threads: the session's loop. Read next: tmf.c.
 */
#ifndef TARGET_ISCSI_TMF_H
#define TARGET_ISCSI_TMF_H

#include "base/group.h"
#include "target/iscsi/pdu.h"
#include "target/scsi/lun_change.h"
#include "target/scsi/scsi.h"

struct session;
struct reply;

/* A function that takes time; from home->functions of the session that asked for it. */
struct tmf {
	struct loop_round round;
	struct list_node link; /* session->managing while it waits for data. */
	struct loop_timer patience;
	struct session *session;
	struct reply *reply;
	const struct scsi_target *target;
	const struct scsi_lu *lu; /* NULL: every logical unit of the target. */
	uint32_t itt;
	bool cold; /* Sessions end too (RFC 7143 11.5.1). */
};

/* None of the session's tasks waits for data any more. */
LOOP_ONLY void tmf_on_drained(struct session *session);

/* scsi_nexus_abort_fn of a session, which is `arg`. */
unsigned session_on_preempted(void *arg, const struct scsi_lu *lu, const struct scsi_cmd *but);

/* scsi_nexus_change_fn of a session, which is `arg`. */
void session_on_luns_changed(void *arg, const struct scsi_lun_change *change);

#endif
