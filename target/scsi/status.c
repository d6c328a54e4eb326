/*
 * The short answers about a target and its logical units: REQUEST SENSE, REPORT LUNS, READ
 * CAPACITY.
 *
 * Threads: the loop of the command. Read next: inquiry.c, mode.c.
 */
#include "target/scsi/op_table.h"
#include "target/scsi/port_groups.h"

/* An answer cut shorter than this has not told the additional sense code: fixed, descriptors. */
#define SENSE_TOLD_BYTES 14u
#define SENSE_TOLD_DESCRIPTOR_BYTES 4u

/* Why a command would fail now. A unit attention is told once, but not lost in too short an answer.
 */
LOOP_ONLY static enum scsi_sense find_reason(struct scsi_cmd *cmd, bool descriptors)
{
	unsigned told = descriptors ? SENSE_TOLD_DESCRIPTOR_BYTES : SENSE_TOLD_BYTES;
	enum scsi_sense reason;

	if (cmd->lu == NULL)
		return SENSE_LOGICAL_UNIT_NOT_SUPPORTED;
	reason = scsi_nexus_pending(cmd->nexus, cmd->lu);
	if (reason == SENSE_NONE)
		reason = scsi_access_reason(cmd->nexus);
	else if (cmd->data_bytes >= told)
		return scsi_nexus_take(cmd->nexus, cmd->lu);
	return reason != SENSE_NONE ? reason : scsi_lu_readiness(cmd->lu);
}

/* SPC-4 6.39: the status is GOOD, what would be sense data is the answer. Its format is what the
 * CDB asks for: D_SENSE speaks of sense data that come with a status. */
LOOP_ONLY void scsi_answer_request_sense(struct scsi_cmd *cmd, struct byte_writer *writer)
{
	bool descriptors = (cmd->cdb[1] & 0x01) != 0;
	struct scsi_sense_data data = scsi_sense_of(find_reason(cmd, descriptors));
	uint8_t sense[SENSE_DESCRIPTOR_MAX];
	uint8_t length;

	length = sense_write(sense, descriptors ? SENSE_FORMAT_DESCRIPTOR : SENSE_FORMAT_FIXED,
			     &data);
	byte_writer_bytes(writer, sense, length);
}

/* SELECT REPORT of SPC-4 6.33: 01h asks for well known logical units, of which there are none. */
enum {
	SELECT_ADDRESSED = 0x00,
	SELECT_WELL_KNOWN = 0x01,
	SELECT_ALL = 0x02,
};

static void write_lun(struct byte_writer *writer, uint16_t number)
{
	uint8_t field[8];

	scsi_lun_field(number, field);
	byte_writer_bytes(writer, field, sizeof(field));
}

static unsigned count_seen(const struct scsi_nexus *nexus, const struct scsi_lu_table *table)
{
	unsigned count = 0;

	for (unsigned i = 0; i < table->count; i++)
		count += scsi_nexus_sees(nexus, table->lus[i]);
	return count;
}

/*
 * All configured logical units, those that are offline, too: a host that does not find one in the
 * list takes it for removed and gives up its paths.
 */
LOOP_ONLY void scsi_answer_report_luns(struct scsi_cmd *cmd, struct byte_writer *writer)
{
	const struct scsi_lu_table *table = scsi_target_lus(cmd->nexus->target);
	uint8_t select = cmd->cdb[2];
	unsigned count = select == SELECT_WELL_KNOWN ? 0 : count_seen(cmd->nexus, table);

	if (select > SELECT_ALL) {
		scsi_cmd_fail_field(cmd, 2, 7);
		return;
	}
	byte_writer_be32(writer, count * 8);
	byte_writer_zero(writer, 4);
	for (unsigned i = 0; count > 0 && i < table->count; i++) {
		if (scsi_nexus_sees(cmd->nexus, table->lus[i]))
			write_lun(writer, table->lus[i]->number);
	}
	scsi_nexus_luns_reported(cmd->nexus);
}

void scsi_answer_read_capacity_10(struct scsi_cmd *cmd, struct byte_writer *writer)
{
	uint64_t last = scsi_lu_block_count(cmd->lu) - 1;

	/* SBC-3 5.12.2: what does not fit says "ask READ CAPACITY(16)". */
	byte_writer_be32(writer, last < UINT32_MAX ? (uint32_t)last : UINT32_MAX);
	byte_writer_be32(writer, cmd->lu->block_bytes);
}

/* log2 of logical blocks in a physical one. */
static uint8_t physical_exponent(const struct scsi_lu *lu)
{
	uint32_t ratio = lu->limits->physical_block_bytes / lu->block_bytes;

	return ratio > 1 ? (uint8_t)(31 - __builtin_clz(ratio)) : 0;
}

/* SBC-3 5.13.2 */
void scsi_answer_read_capacity_16(struct scsi_cmd *cmd, struct byte_writer *writer)
{
	const struct lun_limits *limits = cmd->lu->limits;
	uint16_t provisioning = 0;

	if (limits->thin)
		provisioning |= 0x8000; /* LBPME */
	if (limits->thin && limits->zeroes_after_unmap)
		provisioning |= 0x4000; /* LBPRZ */
	byte_writer_be64(writer, scsi_lu_block_count(cmd->lu) - 1);
	byte_writer_be32(writer, cmd->lu->block_bytes);
	byte_writer_u8(writer, 0); /* No protection information. */
	byte_writer_u8(writer, physical_exponent(cmd->lu));
	byte_writer_be16(writer, provisioning); /* Lowest aligned LBA: 0. */
	byte_writer_zero(writer, 16);
}
