/*
 * LOG SENSE: SPC-4 6.7. A page is a row. There is no LOG SELECT: no page has a parameter that could
 * be set or reset, and none is saved.
 *
 * Threads: the loop of the command. Read next: op_table.c.
 */
#include <assert.h>

#include "target/scsi/op_table.h"

#define PAGE_BYTES_MAX 1024u
#define SPF 0x40u

static void page_supported(const struct scsi_cmd *cmd, struct byte_writer *writer);
static void page_subpages(const struct scsi_cmd *cmd, struct byte_writer *writer);

/* In order of page code and subpage code. */
static const struct page {
	uint8_t code;
	uint8_t subpage;
	uint16_t parameter_max; /* The largest parameter code. */
	/* What follows the header: parameters from the one that the CDB points to. */
	void (*write)(const struct scsi_cmd *cmd, struct byte_writer *writer);
} pages[] = {
	{.code = 0x00, .write = page_supported},
	{.code = 0x00, .subpage = 0xFF, .write = page_subpages},
};

/* SPC-4 7.3.17: page codes, each once. */
static void page_supported(const struct scsi_cmd *cmd, struct byte_writer *writer)
{
	(void)cmd;
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		if (i == 0 || pages[i].code != pages[i - 1].code)
			byte_writer_u8(writer, pages[i].code);
	}
}

/* SPC-4 7.3.18 */
static void page_subpages(const struct scsi_cmd *cmd, struct byte_writer *writer)
{
	(void)cmd;
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		byte_writer_u8(writer, pages[i].code);
		byte_writer_u8(writer, pages[i].subpage);
	}
}

static const struct page *find_page(const struct scsi_cmd *cmd)
{
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		if (pages[i].code == (cmd->cdb[2] & 0x3F) && pages[i].subpage == cmd->cdb[3])
			return &pages[i];
	}
	return NULL;
}

/* PC makes no difference: there are no thresholds and no counters (SPC-4 7.3.2.2.2). */
void scsi_answer_log_sense(struct scsi_cmd *cmd, struct byte_writer *writer)
{
	const struct page *page = find_page(cmd);
	uint8_t body[PAGE_BYTES_MAX];
	struct byte_writer body_writer = byte_writer_make(body, sizeof(body));

	if (page == NULL) {
		/* A subpage is named where there is one in the CDB, else the page. */
		scsi_cmd_fail_field(cmd, cmd->cdb[3] != 0 ? 3 : 2, cmd->cdb[3] != 0 ? 7 : 5);
		return;
	}
	if (get_be16(cmd->cdb + 5) > page->parameter_max) {
		scsi_cmd_fail_field(cmd, 5, 7);
		return;
	}
	page->write(cmd, &body_writer);
	assert(!byte_writer_overran(&body_writer));
	byte_writer_u8(writer, page->subpage != 0 ? SPF | page->code : page->code);
	byte_writer_u8(writer, page->subpage);
	byte_writer_be16(writer, (uint16_t)body_writer.wanted);
	byte_writer_bytes(writer, body, body_writer.wanted);
}
