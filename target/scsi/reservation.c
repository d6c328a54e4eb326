/*
 * Reservations while the target runs; see reservation.h.
 *
 * PERSISTENT RESERVE IN and OUT, RESERVE and RELEASE are switches, PERSISTENT RESERVE IN too: it
 * waits for the change that is under way, so whoever reads of a reservation knows that every loop
 * acts on it. A change is made of the published state; reservation_change.c has it written to the
 * file, published and told.
 *
 * PREEMPT AND ABORT then waits, behind its switch, for the aborted writes that the kernel still
 * holds. Other changes and everybody's I/O go on meanwhile.
 *
 * Threads: the loop of the command, the loop of each nexus, any loop; marked where it is not plain.
 * Read next: reservation_change.c, pr_out.c.
 */
#include "target/scsi/reservation.h"

#include <errno.h>

#include "target/scsi/op_table.h"
#include "target/scsi/pr_list.h"
#include "target/scsi/reservation_lu.h"

static const struct pr_state no_state = {.holder = PR_NOBODY};

/* -- The switch -- */

static struct scsi_cmd *cmd_of(struct scsi_switch *change)
{
	return CONTAINER_OF(change, struct scsi_cmd, change);
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
	cmd->change = (struct scsi_switch){.lu = cmd->lu,
					   .loop = cmd->loop,
					   .begin = begin,
					   .each = scsi_reservations_tell,
					   .done = on_done};
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

/* It was not kept, so it is not done. */
static void on_unkept(struct scsi_switch *change, int res)
{
	struct scsi_cmd *cmd = cmd_of(change);

	if (res == -ENOMEM)
		scsi_cmd_set_status(cmd, SCSI_BUSY);
	else
		scsi_cmd_fail(cmd, res == -ENODEV ? SENSE_NOT_READY_MANUAL_INTERVENTION
						  : SENSE_INTERNAL_TARGET_FAILURE);
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
	return scsi_reservations_keep(reservations, change, on_unkept);
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
