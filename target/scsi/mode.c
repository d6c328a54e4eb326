/*
 * MODE SENSE(6) and (10): SPC-4 6.11, 6.12. A page is a row: its bytes, what MODE SELECT may change
 * in them, and a function for those that depend on the logical unit. Nothing can be changed or
 * saved yet.
 *
 * Threads: the loop of the command.
 */
#include <assert.h>
#include <string.h>

#include "target/scsi/op_table.h"

#define PAGE_CONTROL_BYTES_MAX 20u
#define ALL_PAGES 0x3Fu
#define ALL_SUBPAGES 0xFFu

enum page_control {
	PC_CURRENT = 0,
	PC_CHANGEABLE = 1,
	PC_DEFAULT = 2,
	PC_SAVED = 3,
};

struct mode_page {
	uint8_t code;
	uint8_t subpage;
	uint8_t bytes; /* With the header. */
	uint8_t values[PAGE_CONTROL_BYTES_MAX];
	uint8_t changeable[PAGE_CONTROL_BYTES_MAX];
	/* Bytes that follow the logical unit: current and default values. */
	void (*follow)(const struct scsi_lu *lu, uint8_t *values);
};

/* SBC-3 6.4.5. WCE is the truth about the LUN's cache. */
static void follow_caching(const struct scsi_lu *lu, uint8_t *values)
{
	if (lu->limits->write_cache)
		values[2] |= 0x04;
}

/* In order of page code: MODE SENSE of all pages answers in that order. */
static const struct mode_page pages[] = {
	{
		.code = 0x08,
		.bytes = 20,
		.values = {0x08, 18},
		.changeable = {0x08, 18},
		.follow = follow_caching,
	},
	{
		/* Control, SPC-4 7.5.8: a task set per I_T nexus (TST), commands in any order
		 * (QUEUE ALGORITHM MODIFIER), unlimited busy time. */
		.code = 0x0A,
		.bytes = 12,
		.values = {0x0A, 10, 0x20, 0x10, 0, 0, 0, 0, 0xFF, 0xFF},
		.changeable = {0x0A, 10},
	},
	{
		/* Informational exceptions, SPC-4 7.5.12: there are none to report (DEXCPT). */
		.code = 0x1C,
		.bytes = 12,
		.values = {0x1C, 10, 0x08},
		.changeable = {0x1C, 10},
	},
};

/* What the two commands differ in. */
struct mode_form {
	uint8_t header_bytes;
	bool has_long_lba;
};

static bool page_is_asked(const struct mode_page *page, const uint8_t *cdb)
{
	uint8_t code = cdb[2] & 0x3F;

	return (code == page->code || code == ALL_PAGES) &&
	       (cdb[3] == page->subpage || cdb[3] == ALL_SUBPAGES);
}

static void write_page(const struct scsi_cmd *cmd, const struct mode_page *page,
		       struct byte_writer *writer)
{
	uint8_t values[PAGE_CONTROL_BYTES_MAX];
	bool changeable = cmd->cdb[2] >> 6 == PC_CHANGEABLE;

	memcpy(values, changeable ? page->changeable : page->values, sizeof(values));
	if (!changeable && page->follow != NULL)
		page->follow(cmd->lu, values);
	byte_writer_bytes(writer, values, page->bytes);
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

/* Answers false when no page is what the CDB asks for. */
static bool write_pages(const struct scsi_cmd *cmd, struct byte_writer *writer)
{
	bool any = false;

	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		if (!page_is_asked(&pages[i], cmd->cdb))
			continue;
		write_page(cmd, &pages[i], writer);
		any = true;
	}
	return any;
}

/* WP, and DPOFUA: both bits are honoured in every command that has them. */
static uint8_t device_specific(const struct scsi_lu *lu)
{
	return (uint8_t)(0x10 | (lun_state(lu->lun)->read_only ? 0x80 : 0));
}

/* Mode parameter header, SPC-4 7.5.5. MODE DATA LENGTH does not count itself. */
static void write_header(const struct scsi_cmd *cmd, const struct mode_form *form,
			 struct byte_writer *writer, size_t rest_bytes, uint8_t descriptor_bytes)
{
	uint8_t specific = device_specific(cmd->lu);

	if (form->header_bytes == 4) {
		byte_writer_u8(writer, (uint8_t)(3 + rest_bytes));
		byte_writer_u8(writer, 0);
		byte_writer_u8(writer, specific);
		byte_writer_u8(writer, descriptor_bytes);
		return;
	}
	byte_writer_be16(writer, (uint16_t)(6 + rest_bytes));
	byte_writer_u8(writer, 0);
	byte_writer_u8(writer, specific);
	byte_writer_u8(writer, descriptor_bytes == 16 ? 1 : 0); /* LONGLBA */
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

static void answer_mode_sense(struct scsi_cmd *cmd, const struct mode_form *form,
			      struct byte_writer *writer)
{
	uint8_t rest[16 + ARRAY_SIZE(pages) * PAGE_CONTROL_BYTES_MAX];
	struct byte_writer rest_writer = byte_writer_make(rest, sizeof(rest));
	bool long_lba = form->has_long_lba && (cmd->cdb[1] & 0x10) != 0;
	uint8_t descriptor_bytes = 0;

	if (cmd->cdb[2] >> 6 == PC_SAVED) {
		scsi_cmd_fail(cmd, SENSE_SAVING_PARAMETERS_NOT_SUPPORTED);
		return;
	}
	if ((cmd->cdb[1] & 0x08) == 0) { /* DBD */
		write_block_descriptor(cmd->lu, long_lba, &rest_writer);
		descriptor_bytes = (uint8_t)rest_writer.wanted;
	}
	if (!write_pages(cmd, &rest_writer)) {
		fail_page(cmd);
		return;
	}
	assert(!byte_writer_overran(&rest_writer));
	write_header(cmd, form, writer, rest_writer.wanted, descriptor_bytes);
	byte_writer_bytes(writer, rest, rest_writer.wanted);
}

void scsi_answer_mode_sense_6(struct scsi_cmd *cmd, struct byte_writer *writer)
{
	static const struct mode_form form = {.header_bytes = 4};

	answer_mode_sense(cmd, &form, writer);
}

void scsi_answer_mode_sense_10(struct scsi_cmd *cmd, struct byte_writer *writer)
{
	static const struct mode_form form = {.header_bytes = 8, .has_long_lba = true};

	answer_mode_sense(cmd, &form, writer);
}
