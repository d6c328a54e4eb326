/*
 * UNMAP: SBC-3 5.28. The whole parameter list is checked before the first descriptor is done, then
 * they are done one after the other, out of the buffer they arrived in. ANCHOR keeps the space,
 * which is what a zeroing does.
 *
 * Threads: the loop of the command. Read next: steps.c.
 */
#include "base/bytes.h"
#include "base/checked.h"
#include "target/scsi/steps.h"

#define HEADER_BYTES 8u
#define DESCRIPTOR_BYTES 16u
#define ANCHOR_BIT 0x01u

struct descriptor {
	uint64_t lba;
	uint32_t block_count;
};

/* Descriptors in the list; one that is cut short does not count (SBC-3 5.28.2). */
static uint32_t descriptor_count(const struct scsi_cmd *cmd)
{
	return get_be16(cmd->buffer + 2) / DESCRIPTOR_BYTES;
}

static struct descriptor descriptor_at(const struct scsi_cmd *cmd, uint32_t index)
{
	const uint8_t *at = cmd->buffer + HEADER_BYTES + (size_t)index * DESCRIPTOR_BYTES;

	return (struct descriptor){.lba = get_be64(at), .block_count = get_be32(at + 8)};
}

/* The two lengths must agree with each other and with what arrived. */
static bool check_header(struct scsi_cmd *cmd)
{
	uint32_t list_bytes;
	uint32_t descriptors_bytes;

	if (cmd->buffer_bytes < HEADER_BYTES)
		return scsi_cmd_fail(cmd, SENSE_PARAMETER_LIST_LENGTH);
	list_bytes = get_be16(cmd->buffer) + 2u;
	descriptors_bytes = get_be16(cmd->buffer + 2);
	if (list_bytes > cmd->buffer_bytes || HEADER_BYTES + descriptors_bytes > cmd->buffer_bytes)
		return scsi_cmd_fail(cmd, SENSE_PARAMETER_LIST_LENGTH);
	if (HEADER_BYTES + descriptors_bytes > list_bytes)
		return scsi_cmd_fail_parameter(cmd, 2);
	return true;
}

static bool check_descriptors(struct scsi_cmd *cmd)
{
	uint64_t capacity = scsi_lu_block_count(cmd->lu);
	uint32_t count = descriptor_count(cmd);

	for (uint32_t i = 0; i < count; i++) {
		struct descriptor d = descriptor_at(cmd, i);

		/* A descriptor of no blocks references none, so it may stand behind the last. */
		if (!checked_range(d.lba, d.block_count, capacity))
			return scsi_cmd_fail(cmd, SENSE_LBA_OUT_OF_RANGE);
	}
	return true;
}

/* One descriptor is finished when progress has reached its end; those of no blocks at once. */
static bool next_unmap(struct scsi_cmd *cmd, struct lun_io *io)
{
	uint32_t count = descriptor_count(cmd);

	for (; cmd->step < count; cmd->step++) {
		struct descriptor d = descriptor_at(cmd, cmd->step);
		uint64_t total = (uint64_t)d.block_count * cmd->lu->block_bytes;

		if (cmd->progress_bytes < total) {
			cmd->lba = d.lba;
			io->op = (cmd->cdb[1] & ANCHOR_BIT) != 0 ? LUN_ZERO : LUN_UNMAP;
			scsi_io_next_range(cmd, io, total, STEP_RANGE_BYTES_MAX);
			return true;
		}
		cmd->progress_bytes = 0;
	}
	return false;
}

static const struct scsi_steps unmap_steps = {.next = next_unmap};

bool scsi_execute_unmap(struct scsi_cmd *cmd)
{
	/* PARAMETER LIST LENGTH 0 is no error. */
	if (cmd->data == SCSI_DATA_NONE)
		return true;
	if (!check_header(cmd) || !check_descriptors(cmd))
		return true;
	return scsi_steps_start(cmd, &unmap_steps);
}
