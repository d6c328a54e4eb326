/*
 * MODE SELECT(6) and (10): SPC-4 6.9, 6.10. A switch: the list is checked when the switch begins,
 * against what the one before it has left; then the saved pages are written to their file, if they
 * are to be saved; only then something is published. So nothing changes unless all of it does.
 *
 * Threads: the loop of the command; the file is written on a helper thread. Read next: mode_list.c.
 */
#include <assert.h>
#include <string.h>

#include "base/log.h"
#include "lun/files.h"
#include "target/scsi/mode_list.h"
#include "target/scsi/reservation.h"
#include "target/scsi/steps.h"

#define SP 0x01u
#define RTD 0x02u

/* Lies in the scratch buffer of its command. */
struct mode_select {
	struct scsi_switch change;
	struct scsi_cmd *cmd;
	struct loop_op saving;
	struct scsi_mode next;
	bool flushes; /* What is in the cache has to go to the medium before the answer. */
	char path[SCSI_MODE_PATH_MAX];
	char text[SCSI_MODE_TEXT_MAX];
	char undo[SCSI_MODE_TEXT_MAX]; /* What is saved now. */
};
static_assert(sizeof(struct mode_select) <= LOOP_BUFFER_BYTES, "it fits a scratch buffer");

static struct mode_select *select_of(struct scsi_switch *change)
{
	return CONTAINER_OF(change, struct mode_select, change);
}

bool scsi_refine_mode_select(struct scsi_cmd *cmd)
{
	/* SPC-5: with RTD there is no list. */
	if ((cmd->cdb[1] & RTD) != 0 && cmd->data_bytes != 0)
		return scsi_cmd_fail_field(cmd, cmd->op->length.at, 7);
	if ((cmd->cdb[1] & SP) != 0 && !scsi_mode_can_save(cmd->lu))
		return scsi_cmd_fail_field(cmd, 1, 0);
	return true;
}

/* What the command makes of the parameters as they now are. */
static bool make_next(struct scsi_cmd *cmd, struct scsi_mode *next)
{
	*next = *scsi_lu_mode(cmd->lu);
	if ((cmd->cdb[1] & RTD) != 0) {
		scsi_mode_defaults(cmd->lu, next->current);
	} else if (cmd->data != SCSI_DATA_NONE && !scsi_mode_list_apply(cmd, next->current)) {
		return false;
	}
	/* SP saves all pages, those that were not sent, too. */
	if ((cmd->cdb[1] & SP) != 0)
		memcpy(next->saved, next->current, sizeof(next->saved));
	return true;
}

static void tell(struct scsi_switch *change, struct scsi_nexus *nexus)
{
	loop_role_assume();
	if (nexus != select_of(change)->cmd->nexus)
		scsi_nexus_raise(nexus, change->lu, SCSI_UA_MODE_PARAMETERS_CHANGED);
}

/* SWP comes into force when what is cached has been written, and WCE = 0 speaks of the blocks that
 * were written before, too. */
static bool needs_flush(const struct scsi_lu *lu, const struct scsi_mode *before,
			const struct scsi_mode *now)
{
	const struct lun_state *state = lun_state(lu->lun);

	return lu->limits->write_cache && state->online && !state->read_only &&
	       ((now->write_protect && !before->write_protect) ||
		(now->write_through && !before->write_through));
}

LOOP_ONLY static enum scsi_switch_step publish(struct mode_select *select)
{
	struct scsi_lu *lu = select->change.lu;
	const struct scsi_mode *before = scsi_lu_mode(lu);
	bool changes = memcmp(before->current, select->next.current, sizeof(before->current)) != 0;

	/* `before` stays what it was: the other version is overwritten. */
	scsi_mode_publish(lu, &select->next);
	select->flushes = needs_flush(lu, before, scsi_lu_mode(lu));
	select->change.each = changes ? tell : NULL;
	return SCSI_SWITCH_PUBLISH;
}

static int save(struct loop_op *op)
{
	static struct log_limit limit = LOG_LIMIT(5, 10000);
	const struct mode_select *select = CONTAINER_OF(op, struct mode_select, saving);
	int res = files_write_text(select->path, select->text);

	/* The new file may stand there already and only its folder be out of order: parameters that
	 * were refused must not be in force after a restart. */
	if (res != 0 && files_write_text(select->path, select->undo) != 0)
		log_limited(&limit, LOG_LEVEL_ERROR, "scsi",
			    "%s: its file of mode pages may hold what was refused",
			    lun_name(select->change.lu->lun));
	return res;
}

static void on_saved(struct loop_op *op, int res)
{
	static struct log_limit limit = LOG_LIMIT(5, 10000);
	struct mode_select *select = CONTAINER_OF(op, struct mode_select, saving);

	loop_role_assume();
	if (res == 0) {
		scsi_switch_go_on(&select->change, publish(select));
		return;
	}
	log_limited(&limit, LOG_LEVEL_ERROR, "scsi", "%s: mode pages cannot be saved (%s): %s",
		    lun_name(select->change.lu->lun), files_error(res), select->path);
	scsi_cmd_fail(select->cmd, SENSE_INTERNAL_TARGET_FAILURE);
	scsi_switch_go_on(&select->change, SCSI_SWITCH_END);
}

LOOP_ONLY static enum scsi_switch_step start_saving(struct mode_select *select)
{
	const struct scsi_lu *lu = select->change.lu;

	if (!scsi_mode_file(lu, scsi_lu_mode(lu)->saved, select->path, select->undo) ||
	    !scsi_mode_file(lu, select->next.saved, select->path, select->text)) {
		scsi_cmd_fail_field(select->cmd, 1, 0);
		return SCSI_SWITCH_END;
	}
	loop_op_init(&select->saving);
	loop_call(select->change.loop, &select->saving, save, on_saved);
	return SCSI_SWITCH_LATER;
}

/* Reservations change by switches, too, so what is asked here holds until it is published. */
LOOP_ONLY static bool may_go_on(struct scsi_cmd *cmd)
{
	if (!cmd->aborted && scsi_reservation_conflicts(cmd))
		scsi_cmd_set_status(cmd, SCSI_RESERVATION_CONFLICT);
	return !cmd->aborted && !scsi_cmd_has_failed(cmd);
}

static enum scsi_switch_step begin(struct scsi_switch *change)
{
	struct mode_select *select = select_of(change);
	struct scsi_cmd *cmd = select->cmd;
	const struct scsi_mode *now = scsi_lu_mode(change->lu);

	loop_role_assume();
	if (!may_go_on(cmd) || !make_next(cmd, &select->next))
		return SCSI_SWITCH_END;
	/* Saved again even if nothing differs: a host that asks wants to know that it is there. */
	if ((cmd->cdb[1] & SP) != 0)
		return start_saving(select);
	if (memcmp(now->current, select->next.current, sizeof(now->current)) == 0)
		return SCSI_SWITCH_END;
	return publish(select);
}

static void on_done(struct scsi_switch *change)
{
	struct mode_select *select = select_of(change);
	struct scsi_cmd *cmd = select->cmd;

	loop_role_assume();
	/* The flush gives the scratch buffer back, too. */
	if (!select->flushes) {
		scsi_cmd_give_scratch(cmd);
	} else if (!scsi_execute_flush(cmd)) {
		return;
	}
	cmd->done(cmd);
}

bool scsi_execute_mode_select(struct scsi_cmd *cmd)
{
	struct mode_select *select;

	/* PARAMETER LIST LENGTH 0 is no error. */
	if (cmd->data == SCSI_DATA_NONE && (cmd->cdb[1] & (SP | RTD)) == 0)
		return true;
	if (!scsi_cmd_take_scratch(cmd))
		return true;
	select = (struct mode_select *)(void *)cmd->scratch;
	select->cmd = cmd;
	select->flushes = false;
	select->change = (struct scsi_switch){
		.lu = cmd->lu, .loop = cmd->loop, .begin = begin, .done = on_done};
	if (scsi_switch_start(&select->change) == 0)
		return false;
	scsi_cmd_give_scratch(cmd);
	scsi_cmd_set_status(cmd, SCSI_BUSY);
	return true;
}
