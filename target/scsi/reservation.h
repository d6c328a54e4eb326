/*
 * Reservations of logical units while the target runs: PERSISTENT RESERVE IN and OUT, RESERVE and
 * RELEASE, and the question on the way of every command whether it may pass.
 *
 * What a reservation keeps a nexus from is cached in the nexus, beside its unit attentions, and
 * refreshed on the nexus's own loop by the switch that changes it; so the question costs a load of
 * memory that is the loop's alone. RESERVATIONS.md has the invariants.
 *
 * Threads: any loop, each function as marked. Read next: reservation.c, pr_state.h.
 */
#ifndef TARGET_SCSI_RESERVATION_H
#define TARGET_SCSI_RESERVATION_H

#include "target/scsi/device.h"

struct scsi_reservations;

/* The answer where the nexus's guard is not SCSI_GUARD_NONE. It may have to be found out. */
LOOP_ONLY bool scsi_reservation_denies(const struct scsi_cmd *cmd, enum scsi_guard guard);

/* Whether a reservation keeps this command, of a row and a logical unit, from being done now. The
 * command's loop; the command is not aborted. */
LOOP_ONLY static inline bool scsi_reservation_conflicts(const struct scsi_cmd *cmd)
{
	enum scsi_guard guard = scsi_nexus_guard(cmd->nexus, cmd->lu);

	return guard != SCSI_GUARD_NONE && scsi_reservation_denies(cmd, guard);
}

/* NULL is allowed. No switch may be under way. */
void scsi_reservations_free(struct scsi_reservations *reservations);

#endif
