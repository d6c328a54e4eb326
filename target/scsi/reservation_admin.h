/*
 * Reservations as an administrator sees them, and how he frees a disk whose hosts are dead. Not a
 * host's commands: reservation.h.
 *
 * Threads: any running loop that the order names, the control loop mostly; it need not be one that
 * serves nexuses. Read next: reservation_admin.c, RESERVATIONS.md.
 */
#ifndef TARGET_SCSI_RESERVATION_ADMIN_H
#define TARGET_SCSI_RESERVATION_ADMIN_H

#include "target/scsi/pr_state.h"
#include "target/scsi/scsi.h"

/* What was done, and to what. Zero-initialise, set the first group; the owner's again in `done`. */
struct scsi_reservation_order {
	struct scsi_lu *lu;
	struct loop *loop;
	/*
	 * The order's turn has come, and nothing changes meanwhile: look at who is registered and
	 * what is reserved, and whether a session holds RESERVE(6) or (10) besides. Good for this
	 * call. May be NULL.
	 */
	void (*seen)(struct scsi_reservation_order *order, const struct pr_state *state,
		     bool reserved);
	void (*done)(struct scsi_reservation_order *order);
	/* Results. */
	int res;     /* 0; -ENOMEM, -ENODEV (offline, or its file is damaged), or why it cannot be
			written. */
	bool clears; /* It was started by scsi_reservations_clear. */
	/* Private. */
	uint64_t reserved_by; /* Whose RESERVE was taken away; 0: nobody's. */
	struct scsi_switch change;
};

/* Whether the logical unit has ever had a reservation: if not, looking is of no use. Any thread. */
bool scsi_reservations_known(const struct scsi_lu *lu);
/* `seen` runs once, then `done`; later, but where nothing was ever reserved before this returns. */
LOOP_ONLY void scsi_reservations_look(struct scsi_reservation_order *order);
/*
 * The same, and all is free afterwards: registrations, reservation, RESERVE. Hosts are told as by
 * the service action CLEAR (SPC-4 5.13.11.2.7): RESERVATIONS PREEMPTED, to all that were registered
 * or had it by RESERVE. What they have under way is not aborted. In force and durable in `done`.
 */
LOOP_ONLY void scsi_reservations_clear(struct scsi_reservation_order *order);

#endif
