/*
 * VERIFY(10), (12), (16): SBC-3 5.30. BYTCHK 00b reads the blocks and drops them, 01b compares them
 * with as many blocks of the initiator (pieces, medium.c), 11b with one block that stands for all.
 * All look at the medium, so a volatile cache is flushed first.
 *
 * Threads: the loop of the command. Read next: steps.c.
 */
#include "target/scsi/verify.h"

#include <assert.h>
#include <string.h>

#include "target/scsi/pattern.h"
#include "target/scsi/steps.h"

enum {
	BYTCHK_NONE = 0,
	BYTCHK_ALL = 1,
	BYTCHK_ONE = 3,
};

/* Data-out that does not hold the blocks to compare with must not end in GOOD. */
static bool expects_enough(const struct scsi_cmd *cmd)
{
	return cmd->data == SCSI_DATA_NONE || cmd->expected_bytes >= cmd->data_bytes;
}

bool scsi_refine_verify(struct scsi_cmd *cmd)
{
	cmd->byte_check = cmd->cdb[1] >> 1 & 0x3;
	cmd->durable = true;
	if (cmd->byte_check == BYTCHK_NONE) {
		cmd->data = SCSI_DATA_NONE;
	} else if (cmd->byte_check == BYTCHK_ONE) {
		cmd->data = SCSI_DATA_OUT_PARAM;
		cmd->data_bytes = cmd->block_count != 0 ? cmd->lu->block_bytes : 0;
	} else if (cmd->byte_check != BYTCHK_ALL) {
		return scsi_cmd_fail_field(cmd, 1, 2);
	}
	if (!expects_enough(cmd))
		return scsi_cmd_fail(cmd, SENSE_INVALID_FIELD_IN_INFORMATION_UNIT);
	return true;
}

/* The first byte that differs, of two areas that do differ. */
static uint32_t first_difference(const uint8_t *a, const uint8_t *b, uint32_t length_bytes)
{
	uint32_t at = 0;

	while (at < length_bytes && a[at] == b[at])
		at++;
	return at;
}

bool scsi_verify_compare(struct scsi_cmd *cmd, uint64_t offset_bytes, const uint8_t *sent,
			 const uint8_t *read, uint32_t length_bytes)
{
	struct scsi_sense_data data = {
		.reason = SENSE_MISCOMPARE_DURING_VERIFY,
		.has_information = true,
	};

	if (memcmp(sent, read, length_bytes) == 0)
		return true;
	data.information = offset_bytes + first_difference(sent, read, length_bytes);
	if (data.information >= cmd->miscompare_bytes)
		return false;
	/* Pieces come back in any order: a lower offset replaces the one that is there. */
	if (cmd->miscompare_bytes != UINT64_MAX) {
		scsi_cmd_set_status(cmd, SCSI_GOOD);
	} else if (scsi_cmd_has_failed(cmd)) {
		return false;
	}
	cmd->miscompare_bytes = data.information;
	return scsi_cmd_fail_with(cmd, &data);
}

static bool next_read(struct scsi_cmd *cmd, struct lun_io *io)
{
	uint64_t total = cmd->block_count * cmd->lu->block_bytes;

	io->op = cmd->step++ == 0 && scsi_cmd_flushes_first(cmd) ? LUN_FLUSH : LUN_READ;
	if (io->op == LUN_FLUSH)
		return true;
	if (cmd->progress_bytes == total)
		return false;
	scsi_io_next_range(cmd, io, total,
			   cmd->byte_check == BYTCHK_NONE ? STEP_MOVE_BYTES_MAX
							  : LOOP_BUFFER_BYTES);
	scsi_io_repeat(io, cmd->scratch, io->length_bytes);
	return true;
}

static bool check_read(struct scsi_cmd *cmd)
{
	return cmd->io.op != LUN_READ ||
	       scsi_verify_compare(cmd, cmd->progress_bytes, cmd->buffer, cmd->scratch,
				   (uint32_t)cmd->io.length_bytes);
}

static const struct scsi_steps read_steps = {.next = next_read};
static const struct scsi_steps compare_steps = {.next = next_read, .check = check_read};

bool scsi_execute_verify(struct scsi_cmd *cmd)
{
	bool compares = cmd->byte_check != BYTCHK_NONE;

	if (cmd->block_count == 0)
		return true;
	assert(cmd->byte_check == BYTCHK_NONE || cmd->byte_check == BYTCHK_ONE);
	if (compares && !scsi_block_arrived(cmd))
		return true;
	if (!scsi_cmd_take_scratch(cmd))
		return true;
	if (compares)
		scsi_pattern_fill(cmd);
	return scsi_steps_start(cmd, compares ? &compare_steps : &read_steps);
}
