/*
 * A change of reservations on its way, whoever asked for it: written to the file, published, told.
 * The file comes first. On its round each nexus gets its guard, its unit attention and, if it lost
 * by PREEMPT AND ABORT, the abort of its commands, in one turn of its own loop.
 *
 * Not what a change is: pr_out.c; nor commands: reservation.c; nor an administrator's orders:
 * reservation_admin.c.
 *
 * Threads: the loop of the change, but for telling: the loop of each nexus.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "lun/files.h"
#include "target/scsi/reservation_lu.h"

void scsi_reservations_tell(struct scsi_switch *change, struct scsi_nexus *nexus)
{
	static const enum scsi_ua attentions[] = {SCSI_UA_RESERVATIONS_PREEMPTED,
						  SCSI_UA_REGISTRATIONS_PREEMPTED,
						  SCSI_UA_RESERVATIONS_RELEASED};
	const struct scsi_reservations *reservations = reservations_find(change->lu);
	const struct pr_state *before = reservations->before;
	uint32_t was = before != NULL ? pr_find(before, &nexus->name) : PR_NOBODY;
	unsigned marks = was != PR_NOBODY ? reservations->effect.marks[was] : 0;

	loop_role_assume();
	scsi_reservations_set_guard(nexus, change->lu, reservations);
	for (unsigned bit = 0; bit < ARRAY_SIZE(attentions); bit++) {
		if ((marks & 1u << bit) != 0)
			scsi_nexus_raise(nexus, change->lu, attentions[bit]);
	}
	if ((marks & PR_ABORTED) == 0 || nexus->abort == NULL)
		return;
	/* SAM-5 5.14: who lost commands by another nexus and gets no answers to them. */
	if (nexus->abort(nexus->abort_arg, change->lu, reservations->sender) > 0 &&
	    nexus != reservations->sender_nexus && !scsi_lu_tells_aborted(change->lu))
		scsi_nexus_raise(nexus, change->lu, SCSI_UA_COMMANDS_CLEARED);
}

/* The new state is in force from here on. */
static enum scsi_switch_step publish(struct scsi_reservations *reservations)
{
	struct pr_state *next = reservations->next;

	reservations->before = reservations_now(reservations);
	reservations->next = &reservations->versions[next == &reservations->versions[0]];
	atomic_store_explicit(&reservations->now, next, memory_order_release);
	return SCSI_SWITCH_PUBLISH;
}

static int save(struct loop_op *op)
{
	const struct scsi_reservations *reservations =
		CONTAINER_OF(op, struct scsi_reservations, saving);

	static struct log_limit limit = LOG_LIMIT(5, 10000);
	int res = scsi_reservations_save(reservations->lu, reservations->text);

	/* The new file may stand there already and only its folder be out of order: a change that
	 * was refused must not be in force after a restart. */
	if (res != 0 && scsi_reservations_save(reservations->lu, reservations->undo) != 0) {
		log_limited(&limit, LOG_LEVEL_ERROR, "scsi",
			    "%s: its file of reservations may hold the change that was refused",
			    lun_name(reservations->lu->lun));
	}
	return res;
}

static void free_texts(struct scsi_reservations *reservations)
{
	free(reservations->text);
	free(reservations->undo);
	reservations->text = NULL;
	reservations->undo = NULL;
}

/* A change that cannot be kept is none: a fence that a restart removes is worse than no fence. */
static void on_saved(struct loop_op *op, int res)
{
	static struct log_limit limit = LOG_LIMIT(5, 10000);
	struct scsi_reservations *reservations = CONTAINER_OF(op, struct scsi_reservations, saving);
	struct scsi_switch *change = reservations->change;

	loop_role_assume();
	free_texts(reservations);
	if (res == 0) {
		scsi_switch_go_on(change, publish(reservations));
		return;
	}
	log_limited(&limit, LOG_LEVEL_ERROR, "scsi",
		    "%s: reservations cannot be saved (%s) in %s; the change was refused",
		    lun_name(change->lu->lun), files_error(res), change->lu->state_dir);
	reservations->unkept(change, res == -ENOMEM || res == -ENODEV ? -EIO : res);
	scsi_switch_go_on(change, SCSI_SWITCH_END);
}

static enum scsi_switch_step give_up(struct scsi_switch *change,
				     scsi_reservations_unkept_fn *unkept, int res)
{
	unkept(change, res);
	return SCSI_SWITCH_END;
}

enum scsi_switch_step scsi_reservations_keep(struct scsi_reservations *reservations,
					     struct scsi_switch *change,
					     scsi_reservations_unkept_fn *unkept)
{
	const struct scsi_lu *lu = change->lu;

	if (lu->state_dir == NULL)
		return publish(reservations);
	/* The file is named by the identity; a LUN that is offline may have none. */
	if (lun_identity(lu->lun)->naa[0] == 0)
		return give_up(change, unkept, -ENODEV);
	reservations->text = scsi_reservations_print(lu, reservations->next);
	reservations->undo = scsi_reservations_print(lu, reservations_now(reservations));
	if (reservations->text == NULL || reservations->undo == NULL) {
		free_texts(reservations);
		return give_up(change, unkept, -ENOMEM);
	}
	reservations->change = change;
	reservations->unkept = unkept;
	loop_op_init(&reservations->saving);
	loop_call(change->loop, &reservations->saving, save, on_saved);
	return SCSI_SWITCH_LATER;
}
