/*
 * What a logical unit keeps of its reservations: private to reservation*.c. Read next:
 * reservation.c.
 */
#ifndef TARGET_SCSI_RESERVATION_LU_H
#define TARGET_SCSI_RESERVATION_LU_H

#include "target/scsi/pr_state.h"
#include "target/scsi/reservation.h"

/* A change could not be kept: -ENODEV (the LUN is offline and has no name for a file), -ENOMEM, or
 * why the file cannot be written. It ends right after. The change's loop. */
typedef void scsi_reservations_unkept_fn(struct scsi_switch *change, int res);

struct scsi_reservations {
	/* Published by switches: good for this turn. Never NULL. */
	_Atomic(const struct pr_state *) now;
	/* scsi_nexus.id of who holds RESERVE(6) or (10); 0: nobody. Set by switches; its holder
	 * may free it at any time. */
	_Atomic uint64_t reserved_by;
	struct scsi_lu *lu;
	/*
	 * Of the switch under way. Its loop writes this before it publishes; while the switch goes
	 * round, every loop reads it.
	 */
	const struct pr_state *before; /* NULL: nothing is to be told. */
	const struct scsi_cmd *sender;
	const struct scsi_nexus *sender_nexus; /* To be compared, not looked into. */
	struct pr_effect effect;
	/* A switch has gone round before the next one begins, so two are enough. */
	struct pr_state versions[2];
	struct pr_state *next; /* The one that is not published. */
	struct loop_op saving;
	struct scsi_switch *change; /* For which it is saved. */
	scsi_reservations_unkept_fn *unkept;
	char *text;
	char *undo; /* The text of `before`, should `text` not become durable. */
};

/* The logical unit's, or NULL. */
static inline struct scsi_reservations *reservations_find(const struct scsi_lu *lu)
{
	return atomic_load_explicit(&lu->reservations, memory_order_acquire);
}

/* Persistent reservations as they now are; good for this turn. */
static inline const struct pr_state *reservations_now(const struct scsi_reservations *reservations)
{
	return atomic_load_explicit(&reservations->now, memory_order_acquire);
}

/* Who holds RESERVE(6) or (10). */
static inline uint64_t reservations_reserved_by(const struct scsi_reservations *reservations)
{
	return atomic_load_explicit(&reservations->reserved_by, memory_order_acquire);
}

/* The same, made if there is none; NULL: no memory. */
struct scsi_reservations *scsi_reservations_of(struct scsi_lu *lu);
/* Room for so many registrants in reservations->next. -ENOMEM. */
int MUST_CHECK scsi_reservations_make_room(struct scsi_reservations *reservations, uint32_t count);

/* Have the nexus know what reservations keep it from. Its loop. */
LOOP_ONLY void scsi_reservations_set_guard(struct scsi_nexus *nexus, const struct scsi_lu *lu,
					   const struct scsi_reservations *reservations);

/* -- reservation_change.c -- */

/* From `begin` of a switch: reservations->next is to be the new state. What `effect`, `sender` and
 * `sender_nexus` say is told with it. */
LOOP_ONLY enum scsi_switch_step scsi_reservations_keep(struct scsi_reservations *reservations,
						       struct scsi_switch *change,
						       scsi_reservations_unkept_fn *unkept);
/* `each` of a switch: tells that of the nexus which concerns it. */
void scsi_reservations_tell(struct scsi_switch *change, struct scsi_nexus *nexus);

/* -- reservation_store.c; both block -- */

/* The text of a state of this logical unit, to be freed; NULL: no memory. */
char *scsi_reservations_print(const struct scsi_lu *lu, const struct pr_state *state);
/* Write it to the logical unit's file, durably. */
int MUST_CHECK scsi_reservations_save(const struct scsi_lu *lu, const char *text);

#endif
