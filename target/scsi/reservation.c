/*
 * Reservations while the target runs; see reservation.h.
 *
 * PERSISTENT RESERVE IN and OUT, RESERVE and RELEASE are switches, PERSISTENT RESERVE IN too: it
 * waits for the change that is under way, so whoever reads of a reservation knows that every loop
 * acts on it. A change is made of the published state, written to the file, and only then
 * published; on its round each nexus gets its guard, its unit attention and, if it lost by PREEMPT
 * AND ABORT, the abort of its commands, in one turn of its own loop.
 *
 * PREEMPT AND ABORT then waits, behind its switch, for the aborted writes that the kernel still
 * holds. Other changes and everybody's I/O go on meanwhile.
 *
 * Threads: the loop of the command, the loop of each nexus, any loop; marked where it is not plain.
 * Read next: reservation_lu.h, pr_out.c.
 */
#include "target/scsi/reservation.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "lun/files.h"
#include "target/scsi/op_table.h"
#include "target/scsi/pr_list.h"
#include "target/scsi/reservation_lu.h"

static const struct pr_state no_state = {.holder = PR_NOBODY};

/* -- The switch -- */

static struct scsi_cmd *cmd_of(struct scsi_switch *change)
{
	return CONTAINER_OF(change, struct scsi_cmd, change);
}

/* On each nexus's loop: what the switch makes of it. */
static void tell(struct scsi_switch *change, struct scsi_nexus *nexus)
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
	/* SAM-5 5.14: who lost commands by another nexus hears of that, too. */
	if (nexus->abort(nexus->abort_arg, change->lu, reservations->sender) > 0 &&
	    nexus != reservations->sender_nexus)
		scsi_nexus_raise(nexus, change->lu, SCSI_UA_COMMANDS_CLEARED);
}

static void on_orphans_gone(struct lun_orphan_wait *wait)
{
	struct scsi_cmd *cmd = CONTAINER_OF(wait, struct scsi_cmd, orphans);

	cmd->done(cmd);
}

static void on_done(struct scsi_switch *change)
{
	struct scsi_cmd *cmd = cmd_of(change);
	struct scsi_reservations *reservations = reservations_find(change->lu);
	bool aborts = reservations->before != NULL && reservations->effect.aborts;

	loop_role_assume();
	reservations->before = NULL;
	if (!aborts) {
		cmd->done(cmd);
		return;
	}
	cmd->orphans.done = on_orphans_gone;
	lun_wait_for_orphans(cmd->lu->lun, cmd->loop, &cmd->orphans);
}

/* Nobody knows what was reserved, so nothing is told or changed, and the damaged file stays as it
 * is: a new one in its place would let hosts in at the next start. */
static bool fail_if_lost(struct scsi_cmd *cmd)
{
	return cmd->lu->reservations_lost &&
	       !scsi_cmd_fail(cmd, SENSE_NOT_READY_MANUAL_INTERVENTION);
}

/* Begin the command's switch; answers as scsi_cmd_execute does. */
LOOP_ONLY static bool start(struct scsi_cmd *cmd,
			    enum scsi_switch_step (*begin)(struct scsi_switch *change))
{
	if (fail_if_lost(cmd))
		return true;
	cmd->change = (struct scsi_switch){
		.lu = cmd->lu, .loop = cmd->loop, .begin = begin, .each = tell, .done = on_done};
	if (scsi_reservations_of(cmd->lu) != NULL && scsi_switch_start(&cmd->change) == 0)
		return false;
	scsi_cmd_set_status(cmd, SCSI_BUSY);
	return true;
}

/* -- PERSISTENT RESERVE OUT -- */

static const enum scsi_sense result_sense[PR_RESULT_COUNT] = {
	[PR_BAD_LENGTH] = SENSE_PARAMETER_LIST_LENGTH,
	[PR_BAD_RELEASE] = SENSE_INVALID_RELEASE,
	[PR_NO_ROOM] = SENSE_INSUFFICIENT_REGISTRATION_RESOURCES,
};

static enum scsi_switch_step refuse(struct scsi_cmd *cmd, enum pr_result result, uint16_t field)
{
	if (result == PR_CONFLICT)
		scsi_cmd_set_status(cmd, SCSI_RESERVATION_CONFLICT);
	else if (result == PR_BAD_ACTION)
		scsi_cmd_fail_field(cmd, 1, 4);
	else if (result == PR_BAD_TYPE)
		scsi_cmd_fail_field(cmd, 2, cmd->cdb[2] >> 4 != 0 ? 7 : 3);
	else if (result == PR_BAD_PARAMETER)
		scsi_cmd_fail_parameter(cmd, field);
	else if (result != PR_GOOD)
		scsi_cmd_fail(cmd, result_sense[result]);
	return SCSI_SWITCH_END;
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
		    "%s: reservations cannot be saved (%s) in %s; the command was refused",
		    lun_name(change->lu->lun), files_error(res), change->lu->state_dir);
	scsi_cmd_fail(cmd_of(change), SENSE_INTERNAL_TARGET_FAILURE);
	scsi_switch_go_on(change, SCSI_SWITCH_END);
}

LOOP_ONLY static enum scsi_switch_step keep(struct scsi_reservations *reservations,
					    struct scsi_switch *change)
{
	struct scsi_cmd *cmd = cmd_of(change);
	const struct scsi_lu *lu = change->lu;

	if (lu->state_dir == NULL)
		return publish(reservations);
	/* The file is named by the identity; a LUN that is offline may have none. */
	if (lun_identity(lu->lun)->naa[0] == 0) {
		scsi_cmd_fail(cmd, SENSE_NOT_READY_MANUAL_INTERVENTION);
		return SCSI_SWITCH_END;
	}
	reservations->text = scsi_reservations_print(lu, reservations->next);
	reservations->undo = scsi_reservations_print(lu, reservations_now(reservations));
	if (reservations->text == NULL || reservations->undo == NULL) {
		free_texts(reservations);
		scsi_cmd_set_status(cmd, SCSI_BUSY);
		return SCSI_SWITCH_END;
	}
	reservations->change = change;
	loop_op_init(&reservations->saving);
	loop_call(change->loop, &reservations->saving, save, on_saved);
	return SCSI_SWITCH_LATER;
}

/* The nexus's own port is always there, whether or not the transport told of ports. */
static void set_origin(struct pr_request *request, const struct scsi_nexus *nexus)
{
	const struct scsi_target *target = nexus->target;

	request->from = &nexus->name;
	request->ports = target->port_count > 0 ? target->ports : &nexus->name.target_port;
	request->port_count = target->port_count > 0 ? target->port_count : 1;
}

static enum scsi_switch_step begin_out(struct scsi_switch *change)
{
	struct scsi_cmd *cmd = cmd_of(change);
	struct scsi_reservations *reservations = reservations_find(change->lu);
	struct pr_request request;
	uint16_t field;
	enum pr_result result;

	loop_role_assume();
	if (cmd->aborted)
		return SCSI_SWITCH_END;
	/* SPC-2 5.5.1: they conflict whoever holds the reservation. */
	if (reservations_reserved_by(reservations) != 0)
		return refuse(cmd, PR_CONFLICT, 0);
	result = pr_list_parse(cmd->cdb, cmd->buffer,
			       cmd->data == SCSI_DATA_NONE ? 0 : cmd->buffer_bytes, &request,
			       &field);
	if (result != PR_GOOD)
		return refuse(cmd, result, field);
	set_origin(&request, cmd->nexus);
	if (scsi_reservations_make_room(reservations,
					pr_room(reservations_now(reservations), &request)) != 0)
		return refuse(cmd, PR_NO_ROOM, 0);
	result = pr_out(reservations_now(reservations), &request, reservations->next,
			&reservations->effect);
	if (result != PR_GOOD || !reservations->effect.changed)
		return refuse(cmd, result, reservations->effect.field);
	reservations->sender = cmd;
	reservations->sender_nexus = cmd->nexus;
	return keep(reservations, change);
}

bool scsi_refine_pr_out(struct scsi_cmd *cmd)
{
	return cmd->data_bytes <= PR_LIST_BYTES_MAX ||
	       scsi_cmd_fail(cmd, SENSE_PARAMETER_LIST_LENGTH);
}

bool scsi_execute_pr_out(struct scsi_cmd *cmd)
{
	return start(cmd, begin_out);
}

/* -- PERSISTENT RESERVE IN -- */

static void answer(struct scsi_cmd *cmd, const struct pr_state *state)
{
	struct byte_writer writer = byte_writer_make(cmd->buffer, (size_t)cmd->data_bytes);

	pr_answer((enum pr_question)cmd->op->service_action, state, &writer);
	cmd->data_bytes = byte_writer_count(&writer);
}

static enum scsi_switch_step begin_in(struct scsi_switch *change)
{
	struct scsi_cmd *cmd = cmd_of(change);
	const struct scsi_reservations *reservations = reservations_find(change->lu);

	if (reservations_reserved_by(reservations) != 0)
		return refuse(cmd, PR_CONFLICT, 0);
	if (!cmd->aborted)
		answer(cmd, reservations_now(reservations));
	return SCSI_SWITCH_END;
}

bool scsi_execute_pr_in(struct scsi_cmd *cmd)
{
	if (reservations_find(cmd->lu) != NULL)
		return start(cmd, begin_in);
	if (!fail_if_lost(cmd))
		answer(cmd, &no_state);
	return true;
}

/* -- RESERVE and RELEASE, SPC-2 7.21 and 7.17 -- */

/*
 * SPC-4 5.13.3, with CRH = 1: for those whom a persistent reservation includes, RESERVE and RELEASE
 * do nothing and succeed. SPC-2 5.5.1: as long as anybody is registered all others conflict. True:
 * that has decided.
 */
static bool persistent_reservation_decides(struct scsi_cmd *cmd, const struct pr_state *state)
{
	uint32_t me = pr_find(state, &cmd->nexus->name);

	if (state->count == 0)
		return false;
	if (!pr_is_holder(state, me) &&
	    (me == PR_NOBODY || !pr_type_admits_registrants(state->type)))
		scsi_cmd_set_status(cmd, SCSI_RESERVATION_CONFLICT);
	return true;
}

static enum scsi_switch_step begin_reserve(struct scsi_switch *change)
{
	struct scsi_cmd *cmd = cmd_of(change);
	struct scsi_reservations *reservations = reservations_find(change->lu);
	uint64_t free_now = 0;

	if (cmd->aborted || persistent_reservation_decides(cmd, reservations_now(reservations)))
		return SCSI_SWITCH_END;
	if (atomic_compare_exchange_strong_explicit(&reservations->reserved_by, &free_now,
						    cmd->nexus->id, memory_order_acq_rel,
						    memory_order_acquire)) {
		cmd->nexus->reserves = true;
		return SCSI_SWITCH_PUBLISH;
	}
	return free_now == cmd->nexus->id ? SCSI_SWITCH_END : refuse(cmd, PR_CONFLICT, 0);
}

bool scsi_execute_reserve(struct scsi_cmd *cmd)
{
	return start(cmd, begin_reserve);
}

static enum scsi_switch_step begin_release(struct scsi_switch *change)
{
	struct scsi_cmd *cmd = cmd_of(change);
	struct scsi_reservations *reservations = reservations_find(change->lu);

	loop_role_assume();
	if (cmd->aborted || persistent_reservation_decides(cmd, reservations_now(reservations)))
		return SCSI_SWITCH_END;
	/* Of others it is no error, and releases nothing. */
	if (reservations_reserved_by(reservations) != cmd->nexus->id)
		return SCSI_SWITCH_END;
	scsi_nexus_reset(cmd->nexus, cmd->lu);
	return SCSI_SWITCH_PUBLISH;
}

bool scsi_execute_release(struct scsi_cmd *cmd)
{
	return reservations_find(cmd->lu) == NULL || start(cmd, begin_release);
}
