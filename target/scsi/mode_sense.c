/*
 * MODE SENSE(6) and (10): SPC-4 6.11, 6.12.
 *
 * Threads: the loop of the command. Read next: mode.h.
 */
#include <assert.h>

#include "target/scsi/op_table.h"

#define ALL_PAGES 0x3Fu
#define ALL_SUBPAGES 0xFFu
#define DBD 0x08u
#define LLBAA 0x10u
#define PS 0x80u
#define WP 0x80u
#define DPOFUA 0x10u
#define LONGLBA 0x01u

static bool page_is_asked(const struct scsi_mode_page *page, const uint8_t *cdb)
{
	uint8_t code = cdb[2] & 0x3F;

	if (cdb[3] == ALL_SUBPAGES)
		return code == page->code || code == ALL_PAGES;
	/* Of all pages there are those without a subpage code, or all subpages, too. */
	return cdb[3] == page->subpage &&
	       (code == page->code || (code == ALL_PAGES && cdb[3] == 0));
}

/* Answers false when no page is what the CDB asks for. */
static bool write_pages(const struct scsi_cmd *cmd, const struct scsi_mode *mode,
			struct byte_writer *writer)
{
	uint8_t ps = scsi_mode_can_save(cmd->lu) ? PS : 0;
	uint8_t bytes[SCSI_MODE_PAGE_BYTES_MAX];
	bool any = false;

	for (unsigned i = 0; i < SCSI_MODE_PAGE_COUNT; i++) {
		if (!page_is_asked(&scsi_mode_pages[i], cmd->cdb))
			continue;
		scsi_mode_read(cmd->lu, mode, i, cmd->cdb[2] >> 6, bytes);
		bytes[0] |= ps;
		byte_writer_bytes(writer, bytes, scsi_mode_pages[i].bytes);
		any = true;
	}
	return any;
}

/* SBC-3 6.4.2: of 8 bytes, or of 16 where block numbers need them. */
static void write_block_descriptor(const struct scsi_lu *lu, bool long_lba,
				   struct byte_writer *writer)
{
	uint64_t count = scsi_lu_block_count(lu);

	if (long_lba) {
		byte_writer_be64(writer, count);
		byte_writer_zero(writer, 4);
		byte_writer_be32(writer, lu->block_bytes);
		return;
	}
	byte_writer_be32(writer, count < UINT32_MAX ? (uint32_t)count : UINT32_MAX);
	byte_writer_u8(writer, 0);
	byte_writer_be24(writer, lu->block_bytes);
}

/* DPO and FUA are honoured in every command that has them. */
static uint8_t device_specific(const struct scsi_lu *lu, const struct scsi_mode *mode)
{
	bool protected = lun_state(lu->lun)->read_only || mode->write_protect;

	return (uint8_t)(DPOFUA | (protected ? WP : 0));
}

/* Mode parameter header, SPC-4 7.5.5. MODE DATA LENGTH does not count itself. */
static void write_header(bool is_long, uint8_t specific, struct byte_writer *writer,
			 size_t rest_bytes, uint8_t descriptor_bytes)
{
	if (!is_long) {
		byte_writer_u8(writer, (uint8_t)(3 + rest_bytes));
		byte_writer_u8(writer, 0);
		byte_writer_u8(writer, specific);
		byte_writer_u8(writer, descriptor_bytes);
		return;
	}
	byte_writer_be16(writer, (uint16_t)(6 + rest_bytes));
	byte_writer_u8(writer, 0);
	byte_writer_u8(writer, specific);
	byte_writer_u8(writer, descriptor_bytes == 16 ? LONGLBA : 0);
	byte_writer_u8(writer, 0);
	byte_writer_be16(writer, descriptor_bytes);
}

/* A page code that is not there is named in the CDB's byte 2, a subpage in byte 3. */
static bool fail_page(struct scsi_cmd *cmd)
{
	if (cmd->cdb[3] != 0 && cmd->cdb[3] != ALL_SUBPAGES)
		return scsi_cmd_fail_field(cmd, 3, 7);
	return scsi_cmd_fail_field(cmd, 2, 5);
}

static void answer_mode_sense(struct scsi_cmd *cmd, bool is_long, struct byte_writer *writer)
{
	/* Loaded once: header and pages are of one moment. */
	const struct scsi_mode *mode = scsi_lu_mode(cmd->lu);
	uint8_t rest[16 + SCSI_MODE_BYTES_MAX];
	struct byte_writer rest_writer = byte_writer_make(rest, sizeof(rest));
	bool long_lba = is_long && (cmd->cdb[1] & LLBAA) != 0;
	uint8_t descriptor_bytes = 0;

	if (cmd->cdb[2] >> 6 == MODE_SAVED && !scsi_mode_can_save(cmd->lu)) {
		scsi_cmd_fail(cmd, SENSE_SAVING_PARAMETERS_NOT_SUPPORTED);
		return;
	}
	if ((cmd->cdb[1] & DBD) == 0) {
		write_block_descriptor(cmd->lu, long_lba, &rest_writer);
		descriptor_bytes = (uint8_t)rest_writer.wanted;
	}
	if (!write_pages(cmd, mode, &rest_writer)) {
		fail_page(cmd);
		return;
	}
	assert(!byte_writer_overran(&rest_writer));
	write_header(is_long, device_specific(cmd->lu, mode), writer, rest_writer.wanted,
		     descriptor_bytes);
	byte_writer_bytes(writer, rest, rest_writer.wanted);
}

void scsi_answer_mode_sense_6(struct scsi_cmd *cmd, struct byte_writer *writer)
{
	answer_mode_sense(cmd, false, writer);
}

void scsi_answer_mode_sense_10(struct scsi_cmd *cmd, struct byte_writer *writer)
{
	answer_mode_sense(cmd, true, writer);
}
