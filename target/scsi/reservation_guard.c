/*
 * What a logical unit keeps of its reservations, and what nexuses know of them: memory, guards, the
 * end of RESERVE with its nexus. Not the commands: reservation.c.
 *
 * Threads: any loop, each nexus on its own.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/aligned.h"
#include "target/scsi/op_table.h"
#include "target/scsi/reservation_lu.h"

/* -- Memory -- */

static struct scsi_reservations *make(struct scsi_lu *lu)
{
	struct scsi_reservations *made = aligned_calloc(sizeof(*made));

	if (made == NULL)
		return NULL;
	made->lu = lu;
	made->versions[0].holder = PR_NOBODY;
	made->versions[1].holder = PR_NOBODY;
	made->next = &made->versions[1];
	atomic_store_explicit(&made->now, &made->versions[0], memory_order_release);
	return made;
}

struct scsi_reservations *scsi_reservations_of(struct scsi_lu *lu)
{
	struct scsi_reservations *there = reservations_find(lu);
	struct scsi_reservations *made;

	if (there != NULL)
		return there;
	made = make(lu);
	if (made == NULL)
		return NULL;
	if (atomic_compare_exchange_strong_explicit(&lu->reservations, &there, made,
						    memory_order_acq_rel, memory_order_acquire))
		return made;
	/* Another loop was quicker. */
	scsi_reservations_free(made);
	return there;
}

void scsi_reservations_free(struct scsi_reservations *reservations)
{
	if (reservations == NULL)
		return;
	free(reservations->versions[0].registrants);
	free(reservations->versions[1].registrants);
	free(reservations->text);
	free(reservations->undo);
	aligned_free(reservations);
}

int scsi_reservations_make_room(struct scsi_reservations *reservations, uint32_t count)
{
	struct pr_state *next = reservations->next;
	struct pr_registrant *registrants;

	if (count <= next->capacity)
		return 0;
	registrants = reallocarray(next->registrants, count, sizeof(*registrants));
	if (registrants == NULL)
		return -ENOMEM;
	next->registrants = registrants;
	next->capacity = count;
	return 0;
}

/* -- May a command pass -- */

/*
 * The session is new, or the logical unit is, which may have brought its reservations with it. A
 * switch under way changes nothing of this: what it has published is found here, and what it will
 * publish goes round.
 */
LOOP_ONLY static enum scsi_guard find_out(struct scsi_nexus *nexus, const struct scsi_lu *lu)
{
	const struct scsi_reservations *reservations = reservations_find(lu);

	if (reservations != NULL)
		scsi_reservations_set_guard(nexus, lu, reservations);
	else
		scsi_nexus_set_guard(nexus, lu, SCSI_GUARD_NONE);
	return scsi_nexus_guard(nexus, lu);
}

bool scsi_reservation_denies(const struct scsi_cmd *cmd, enum scsi_guard guard)
{
	const struct scsi_op *op = cmd->op;
	uint64_t holder;

	if (guard == SCSI_GUARD_UNKNOWN)
		guard = find_out(cmd->nexus, cmd->lu);
	if (guard == SCSI_GUARD_NONE)
		return false;
	if ((op->passes >> guard & 1) != 0 &&
	    (op->passes_mask == 0 || (cmd->cdb[4] & op->passes_mask) == op->passes_value))
		return false;
	if (guard != SCSI_GUARD_RESERVED)
		return true;
	/* The holder may have freed it since nexuses were told, and this one have taken it. */
	holder = reservations_reserved_by(reservations_find(cmd->lu));
	return holder != 0 && holder != cmd->nexus->id;
}

void scsi_reservations_set_guard(struct scsi_nexus *nexus, const struct scsi_lu *lu,
				 const struct scsi_reservations *reservations)
{
	const struct pr_state *state = reservations_now(reservations);
	uint64_t holder = reservations_reserved_by(reservations);
	enum scsi_guard guard = pr_guard(state, pr_find(state, &nexus->name));

	if (holder != 0 && holder != nexus->id)
		guard = SCSI_GUARD_RESERVED;
	scsi_nexus_set_guard(nexus, lu, guard);
}

void scsi_nexus_reset(struct scsi_nexus *nexus, const struct scsi_lu *lu)
{
	const struct scsi_lu_table *table = scsi_target_lus(nexus->target);

	for (unsigned i = 0; nexus->reserves && i < table->count; i++) {
		struct scsi_reservations *reservations = reservations_find(table->lus[i]);
		uint64_t id = nexus->id;

		if (reservations != NULL && (lu == NULL || lu == table->lus[i])) {
			(void)atomic_compare_exchange_strong_explicit(&reservations->reserved_by,
								      &id, 0, memory_order_acq_rel,
								      memory_order_relaxed);
		}
	}
}
