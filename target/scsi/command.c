/*
 * The life of a command: the checks that come before any function of its own, in the order of SAM-5
 * 5.3 and SPC-4, then running it, then abort. No command is named here; rows of op_table.c say what
 * each allows.
 *
 * Threads: the loop of the command's nexus. Read next: op_table.h, steps.c, medium.c.
 */
#include "target/scsi/scsi.h"

#include <assert.h>
#include <string.h>

#include "base/checked.h"
#include "target/scsi/device.h"
#include "target/scsi/op_table.h"
#include "target/scsi/port_groups.h"
#include "target/scsi/reservation.h"
#include "target/scsi/rewrite.h"

void scsi_cmd_init(struct scsi_cmd *cmd)
{
	memset(cmd, 0, offsetof(struct scsi_cmd, sense));
	cmd->expected_bytes = SCSI_EXPECTED_UNKNOWN;
	cmd->miscompare_bytes = UINT64_MAX;
	list_init(&cmd->pieces);
}

void scsi_cmd_set_status(struct scsi_cmd *cmd, enum scsi_status status)
{
	cmd->status = (uint8_t)status;
	cmd->sense_bytes = 0;
}

static bool check_lu(struct scsi_cmd *cmd)
{
	if (cmd->lu != NULL || (cmd->op != NULL && scsi_op_supported(cmd->op, NULL)))
		return true;
	return scsi_cmd_fail(cmd, SENSE_LOGICAL_UNIT_NOT_SUPPORTED);
}

/* A power on or a reset is what the nexus has to hear of first. */
LOOP_ONLY static bool hears_of_reset(const struct scsi_cmd *cmd)
{
	enum scsi_sense pending = scsi_nexus_pending(cmd->nexus, cmd->lu);

	return (cmd->op->flags & OP_PASSES_ATTENTION) == 0 &&
	       (pending == SENSE_POWER_ON || pending == SENSE_BUS_DEVICE_RESET);
}

/* SAM-5 5.3.3: RESERVATION CONFLICT comes before unit attentions, but behind those of 29h. */
LOOP_ONLY static bool check_reservation(struct scsi_cmd *cmd)
{
	if (cmd->lu == NULL || cmd->op == NULL || !scsi_reservation_conflicts(cmd) ||
	    hears_of_reset(cmd))
		return true;
	scsi_cmd_set_status(cmd, SCSI_RESERVATION_CONFLICT);
	return false;
}

LOOP_ONLY static bool check_unit_attention(struct scsi_cmd *cmd)
{
	enum scsi_sense reason;

	if (cmd->lu == NULL || (cmd->op != NULL && (cmd->op->flags & OP_PASSES_ATTENTION) != 0))
		return true;
	reason = scsi_nexus_take(cmd->nexus, cmd->lu);
	return reason == SENSE_NONE || scsi_cmd_fail(cmd, reason);
}

/* SAM-5 8.6.5: there never is an ACA (NORMACA = 0) that such a command could be part of. */
static bool check_attribute(struct scsi_cmd *cmd)
{
	return cmd->attribute != SCSI_ACA || scsi_cmd_fail(cmd, SENSE_INVALID_MESSAGE);
}

static bool check_known(struct scsi_cmd *cmd)
{
	if (cmd->op == NULL && scsi_op_has_actions(cmd->cdb[0]))
		return scsi_cmd_fail_field(cmd, 1, 4);
	if (cmd->op == NULL)
		return scsi_cmd_fail(cmd, SENSE_INVALID_COMMAND_OPERATION_CODE);
	return true;
}

static bool check_supported(struct scsi_cmd *cmd)
{
	if (cmd->lu == NULL || scsi_op_supported(cmd->op, cmd->lu))
		return true;
	/* As of a service action that no logical unit has. */
	if ((cmd->op->flags & OP_SERVICE_ACTION) != 0)
		return scsi_cmd_fail_field(cmd, 1, 4);
	return scsi_cmd_fail(cmd, SENSE_INVALID_COMMAND_OPERATION_CODE);
}

/* True when all 16 bytes are within the usage mask, as of nearly every command; the opcode's byte
 * apart, and no bit is set that only some logical units understand. */
static bool is_plainly_within(const struct scsi_op *op, const uint8_t *cdb)
{
	uint64_t low = get_le64(cdb) & ~get_le64(op->usage);
	uint64_t high = get_le64(cdb + 8) & ~get_le64(op->usage + 8);

	return (low >> 8 | high) == 0 && (cdb[1] & (op->thin_bits | op->anchor_bits)) == 0;
}

static bool check_usage(struct scsi_cmd *cmd)
{
	if (is_plainly_within(cmd->op, cmd->cdb))
		return true;
	for (unsigned at = 1; at < cmd->op->cdb_bytes; at++) {
		unsigned extra = cmd->cdb[at] & ~(unsigned)scsi_op_usage(cmd->op, cmd->lu, at);

		/* SPC-4 4.5.2.4.2: the leftmost bit of the field in error. */
		if (extra != 0) {
			return scsi_cmd_fail_field(cmd, (uint16_t)at,
						   (uint8_t)(31 - __builtin_clz(extra)));
		}
	}
	return true;
}

/* What the state of the target port group still serves, SPC-4 5.15.2.4. */
static bool check_target_port(struct scsi_cmd *cmd)
{
	if (cmd->lu == NULL || scsi_access_serves(cmd))
		return true;
	return scsi_cmd_fail(cmd, scsi_access_reason(cmd->nexus));
}

static bool check_ready(struct scsi_cmd *cmd)
{
	enum scsi_sense reason;

	if ((cmd->op->flags & OP_MEDIUM) == 0)
		return true;
	reason = scsi_lu_readiness(cmd->lu);
	return reason == SENSE_NONE || scsi_cmd_fail(cmd, reason);
}

/* Fields of the CDB into numbers, and how data move if nothing refines it. */
static bool decode(struct scsi_cmd *cmd)
{
	const struct scsi_op *op = cmd->op;
	uint64_t length = scsi_cdb_field(cmd->cdb, op->length);

	cmd->lba = scsi_cdb_field(cmd->cdb, op->lba);
	cmd->durable = (op->flags & OP_FUA) != 0 && (cmd->cdb[1] & 0x08) != 0;
	cmd->data = op->data;
	switch (op->length_rule) {
	case LENGTH_NONE:
		cmd->data_bytes = op->fixed_bytes;
		break;
	case LENGTH_BLOCKS_6:
		length = length == 0 ? 256 : length;
		FALLTHROUGH;
	case LENGTH_BLOCKS:
		cmd->block_count = length;
		cmd->data_bytes = length * cmd->lu->block_bytes;
		break;
	case LENGTH_ALLOCATION:
		cmd->data_bytes = length < SCSI_PARAM_MAX ? length : SCSI_PARAM_MAX;
		break;
	case LENGTH_PARAMETER_LIST:
		cmd->data_bytes = length;
		break;
	}
	return true;
}

/*
 * SBC-3 4.4: an LBA that is referenced must exist, even where no block is transferred, so the block
 * behind the last one is out of range with a count of 0, too.
 */
static bool check_range(struct scsi_cmd *cmd)
{
	uint64_t capacity;

	if (cmd->op->lba.bytes == 0)
		return true;
	capacity = scsi_lu_block_count(cmd->lu);
	if (cmd->lba < capacity && checked_range(cmd->lba, cmd->block_count, capacity))
		return true;
	return scsi_cmd_fail(cmd, SENSE_LBA_OUT_OF_RANGE);
}

static bool check_access(struct scsi_cmd *cmd)
{
	if ((cmd->op->flags & OP_WRITES) == 0)
		return true;
	if (lun_state(cmd->lu->lun)->read_only)
		return scsi_cmd_fail(cmd, SENSE_WRITE_PROTECTED);
	if (scsi_lu_mode(cmd->lu)->write_protect)
		return scsi_cmd_fail(cmd, SENSE_SOFTWARE_WRITE_PROTECTED);
	return true;
}

static bool refine(struct scsi_cmd *cmd)
{
	if (cmd->op->refine != NULL && !cmd->op->refine(cmd))
		return false;
	if (cmd->data == SCSI_DATA_NONE) {
		cmd->data_bytes = 0;
	} else if (cmd->data_bytes == 0) {
		cmd->data = SCSI_DATA_NONE;
	}
	return true;
}

/*
 * Readiness and write protection come before what this logical unit lacks of a command and before
 * the rest of the CDB: a host that is told of an unknown command or bit (05/20, 05/24) stops using
 * the feature for good, though all it met was a unit that is offline or write-protected for now.
 */
static bool checks_pass(struct scsi_cmd *cmd)
{
	return check_target_port(cmd) && check_ready(cmd) && check_access(cmd) &&
	       check_supported(cmd) && check_usage(cmd) && decode(cmd) && check_range(cmd) &&
	       refine(cmd);
}

bool scsi_cmd_prepare(struct scsi_cmd *cmd)
{
	uint16_t number;

	if (scsi_lun_number(cmd->lun_field, &number))
		cmd->lu = scsi_nexus_find_lu(cmd->nexus, number);
	cmd->op = scsi_op_find(cmd->cdb);
	if (check_lu(cmd) && check_attribute(cmd) && check_reservation(cmd) &&
	    check_unit_attention(cmd) && check_known(cmd) && checks_pass(cmd))
		return true;
	cmd->data = SCSI_DATA_NONE;
	cmd->data_bytes = 0;
	return false;
}

/* The answer is built once, cut at what the initiator takes; lengths in it stay whole. */
static bool answer(struct scsi_cmd *cmd)
{
	struct byte_writer writer = byte_writer_make(cmd->buffer, (size_t)cmd->data_bytes);

	cmd->op->answer(cmd, &writer);
	cmd->data_bytes = scsi_cmd_has_failed(cmd) ? 0 : byte_writer_count(&writer);
	return true;
}

/* A host that was fenced while its data were on their way changes nothing any more, nor does one
 * through a port that has been closed. */
LOOP_ONLY static bool may_still_pass(struct scsi_cmd *cmd)
{
	if (cmd->lu == NULL || !scsi_reservation_conflicts(cmd))
		return check_target_port(cmd);
	scsi_cmd_set_status(cmd, SCSI_RESERVATION_CONFLICT);
	return false;
}

bool scsi_cmd_execute(struct scsi_cmd *cmd)
{
	assert(!cmd->running && list_is_empty(&cmd->pieces));
	if (cmd->aborted || scsi_cmd_has_failed(cmd) || !may_still_pass(cmd))
		return true;
	if (cmd->op->answer != NULL)
		return answer(cmd);
	return cmd->op->execute == NULL || cmd->op->execute(cmd);
}

void scsi_cmd_abort(struct scsi_cmd *cmd)
{
	cmd->aborted = true;
	if (!scsi_cmd_has_failed(cmd))
		scsi_cmd_set_status(cmd, SCSI_TASK_ABORTED);
	if (cmd->running)
		lun_io_abandon(&cmd->io);
	if (cmd->rewrite != NULL)
		scsi_rewrite_abort(cmd);
	LIST_FOREACH (node, &cmd->pieces)
		lun_io_abandon(&CONTAINER_OF(node, struct scsi_piece, link)->io);
}
