/*
 * LOG SENSE: SPC-4 6.7. A page is a row. There is no LOG SELECT: no page has a parameter that could
 * be set or reset, and none is saved.
 *
 * Threads: the loop of the command. Read next: op_table.c.
 */
#include <assert.h>

#include "lun/space.h"
#include "target/scsi/op_table.h"

#define PAGE_BYTES_MAX 1024u
#define SPF 0x40u
#define DS 0x80u
/* FORMAT AND LINKING: binary format list, SPC-4 7.3.2.2.2. */
#define BINARY_LIST 0x03u

static void page_supported(const struct scsi_cmd *cmd, struct byte_writer *writer);
static void page_subpages(const struct scsi_cmd *cmd, struct byte_writer *writer);
static void page_provisioning(const struct scsi_cmd *cmd, struct byte_writer *writer);

enum {
	AVAILABLE_RESOURCE = 0x0001,
	USED_RESOURCE = 0x0002,
};

/* SBC-4 6.4.5.2 */
enum {
	SCOPE_DEDICATED = 0x01,
	SCOPE_SHARED = 0x02,
};

/* In order of page code and subpage code. */
static const struct page {
	uint8_t code;
	uint8_t subpage;
	bool disables_save;     /* DS */
	uint16_t parameter_max; /* The largest parameter code. */
	/* What follows the header: parameters from the one that the CDB points to. */
	void (*write)(const struct scsi_cmd *cmd, struct byte_writer *writer);
	/* NULL: always. */
	bool (*is_there)(const struct scsi_lu *lu);
} pages[] = {
	{.code = 0x00, .write = page_supported},
	{.code = 0x00, .subpage = 0xFF, .write = page_subpages},
	{.code = 0x0C,
	 .disables_save = true,
	 .parameter_max = USED_RESOURCE,
	 .write = page_provisioning,
	 .is_there = scsi_lu_has_space},
};

static bool page_is_there(const struct scsi_cmd *cmd, const struct page *page)
{
	return page->is_there == NULL || page->is_there(cmd->lu);
}

/* SPC-4 7.3.17: page codes, each once. */
static void page_supported(const struct scsi_cmd *cmd, struct byte_writer *writer)
{
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		if (page_is_there(cmd, &pages[i]) && (i == 0 || pages[i].code != pages[i - 1].code))
			byte_writer_u8(writer, pages[i].code);
	}
}

/* SPC-4 7.3.18 */
static void page_subpages(const struct scsi_cmd *cmd, struct byte_writer *writer)
{
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		if (!page_is_there(cmd, &pages[i]))
			continue;
		byte_writer_u8(writer, pages[i].code);
		byte_writer_u8(writer, pages[i].subpage);
	}
}

static void write_resource(const struct scsi_cmd *cmd, struct byte_writer *writer, uint16_t code,
			   uint64_t bytes)
{
	/* The CDB points to the first one that is wanted. */
	if (code < get_be16(cmd->cdb + 5))
		return;
	byte_writer_be16(writer, code);
	byte_writer_u8(writer, BINARY_LIST);
	byte_writer_u8(writer, 8);
	byte_writer_be32(writer, scsi_threshold_sets(cmd->lu, bytes));
	byte_writer_u8(writer, code == AVAILABLE_RESOURCE ? SCOPE_SHARED : SCOPE_DEDICATED);
	byte_writer_zero(writer, 3);
}

/* SBC-4 6.4.5, in threshold sets, as of the last look: what the pool has left, and what the logical
 * unit uses. */
static void page_provisioning(const struct scsi_cmd *cmd, struct byte_writer *writer)
{
	struct lun_space space = {0};

	if (!lun_space(cmd->lu->lun, &space))
		return;
	write_resource(cmd, writer, AVAILABLE_RESOURCE, space.available_bytes);
	write_resource(cmd, writer, USED_RESOURCE, space.used_bytes);
}

static const struct page *find_page(const struct scsi_cmd *cmd)
{
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		if (pages[i].code == (cmd->cdb[2] & 0x3F) && pages[i].subpage == cmd->cdb[3] &&
		    page_is_there(cmd, &pages[i]))
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
	byte_writer_u8(writer, (uint8_t)(page->code | (page->subpage != 0 ? SPF : 0) |
					 (page->disables_save ? DS : 0)));
	byte_writer_u8(writer, page->subpage);
	byte_writer_be16(writer, (uint16_t)body_writer.wanted);
	byte_writer_bytes(writer, body, body_writer.wanted);
}
