/*
 * The parameter list of MODE SELECT: header, block descriptor, pages (SPC-4 7.5, SBC-3 6.5.2).
 * Every byte is checked against what the logical unit now has and what may change in it; only then
 * the caller gets an image.
 *
 * Threads: the loop of the command. Read next: mode_select.c.
 */
#include "target/scsi/mode_list.h"

#include <string.h>

#include "base/bytes.h"
#include "target/scsi/device.h"

#define PF 0x10u
#define SPF 0x40u
#define PAGE_CODE 0x3Fu
#define LONGLBA 0x01u
/* WP and DPOFUA: hosts send back what they have read, and nothing of it is for them to set. */
#define SPECIFIC_IGNORED 0x90u

/* A list on its way through. */
struct list {
	struct scsi_cmd *cmd;
	const uint8_t *bytes;
	uint32_t length; /* Of all of it. */
	uint32_t at;     /* The next page. */
	uint8_t *image;
};

static bool is_long(const struct scsi_cmd *cmd)
{
	return cmd->cdb[0] == 0x55;
}

static bool fail_byte(struct list *list, uint32_t byte)
{
	return scsi_cmd_fail_parameter_bit(list->cmd, (uint16_t)byte, 7);
}

static bool fail_length(struct list *list)
{
	return scsi_cmd_fail(list->cmd, SENSE_PARAMETER_LIST_LENGTH);
}

/* NUMBER OF LOGICAL BLOCKS is ignored where it cannot change the capacity (SBC-3 6.5.2.2). The
 * block length is fixed. */
static bool check_descriptor(struct list *list, uint32_t at, uint32_t length)
{
	uint32_t field = length == 16 ? at + 12 : at + 5;
	uint32_t block_bytes;

	if (length == 0)
		return true;
	block_bytes = length == 16 ? get_be32(list->bytes + field) : get_be24(list->bytes + field);
	return block_bytes == list->cmd->lu->block_bytes || fail_byte(list, field);
}

/* MEDIUM TYPE is 0 (SBC-3 6.5.1). MODE DATA LENGTH is reserved here, and hosts that send back what
 * they have read leave it as it was, so it is ignored. */
static bool check_header_6(struct list *list)
{
	uint32_t length;

	if (list->length < 4)
		return fail_length(list);
	length = list->bytes[3];
	if (list->bytes[1] != 0)
		return fail_byte(list, 1);
	if ((list->bytes[2] & ~SPECIFIC_IGNORED) != 0)
		return fail_byte(list, 2);
	if (length != 0 && length != 8)
		return fail_byte(list, 3);
	list->at = 4 + length;
	return list->at <= list->length ? check_descriptor(list, 4, length) : fail_length(list);
}

static bool check_header_10(struct list *list)
{
	uint32_t length;

	if (list->length < 8)
		return fail_length(list);
	length = get_be16(list->bytes + 6);
	if (list->bytes[2] != 0)
		return fail_byte(list, 2);
	if ((list->bytes[3] & ~SPECIFIC_IGNORED) != 0)
		return fail_byte(list, 3);
	if ((list->bytes[4] & ~LONGLBA) != 0)
		return fail_byte(list, 4);
	if (list->bytes[5] != 0)
		return fail_byte(list, 5);
	if (length != 0 && length != ((list->bytes[4] & LONGLBA) != 0 ? 16 : 8))
		return fail_byte(list, 6);
	list->at = 8 + length;
	return list->at <= list->length ? check_descriptor(list, 8, length) : fail_length(list);
}

/* The first bit of the field that a wrong bit belongs to; SPC-4 4.5.2.4.2. Bits count from the
 * first of the page, most significant first. */
static unsigned field_start(const struct scsi_mode_page *page, unsigned bit)
{
	while (bit > 0 && (page->fields[bit / 8] & 0x80u >> bit % 8) == 0)
		bit--;
	return bit;
}

static bool fail_field(struct list *list, const struct scsi_mode_page *page, unsigned byte,
		       unsigned wrong)
{
	/* `wrong` is not 0 and has 8 bits: the most significant one is first. */
	unsigned bit = 8 * byte + (unsigned)__builtin_clz(wrong) - 24;

	bit = field_start(page, bit);
	return scsi_cmd_fail_parameter_bit(list->cmd, (uint16_t)(list->at + bit / 8),
					   (uint8_t)(7 - bit % 8));
}

/* Nothing may differ but what may change. */
static bool check_page(struct list *list, unsigned index)
{
	const struct scsi_mode_page *page = &scsi_mode_pages[index];
	const struct scsi_lu *lu = list->cmd->lu;
	const uint8_t *sent = list->bytes + list->at;
	uint8_t changeable[SCSI_MODE_PAGE_BYTES_MAX];
	uint8_t now[SCSI_MODE_PAGE_BYTES_MAX];

	scsi_mode_read(lu, scsi_lu_mode(lu), index, MODE_CHANGEABLE, changeable);
	scsi_mode_read(lu, scsi_lu_mode(lu), index, MODE_CURRENT, now);
	for (unsigned i = scsi_mode_header_bytes(page); i < page->bytes; i++) {
		unsigned wrong = (unsigned)(sent[i] ^ now[i]) & ~(unsigned)changeable[i];

		if (wrong != 0)
			return fail_field(list, page, i, wrong);
	}
	return true;
}

/* The row of the page at list->at; PS is reserved, and ignored because hosts send it back. */
static bool find_page(struct list *list, unsigned *index)
{
	const uint8_t *sent = list->bytes + list->at;
	bool with_subpage = (sent[0] & SPF) != 0;
	uint8_t subpage = with_subpage ? sent[1] : 0;

	for (*index = 0; *index < SCSI_MODE_PAGE_COUNT; ++*index) {
		const struct scsi_mode_page *page = &scsi_mode_pages[*index];

		if (page->code == (sent[0] & PAGE_CODE) && page->subpage == subpage &&
		    (subpage != 0 || !with_subpage))
			return true;
	}
	return with_subpage ? fail_byte(list, list->at + 1)
			    : scsi_cmd_fail_parameter_bit(list->cmd, (uint16_t)list->at, 5);
}

/* PAGE LENGTH is what MODE SENSE says, SPC-4 7.5.7. */
static bool check_page_length(struct list *list, const struct scsi_mode_page *page)
{
	const uint8_t *sent = list->bytes + list->at;
	unsigned length = page->subpage != 0 ? get_be16(sent + 2) : sent[1];

	if (length == page->bytes - scsi_mode_header_bytes(page))
		return true;
	return fail_byte(list, list->at + (page->subpage != 0 ? 2 : 1));
}

static bool take_page(struct list *list)
{
	uint32_t left = list->length - list->at;
	unsigned header;
	unsigned index;

	if (left < ((list->bytes[list->at] & SPF) != 0 ? 4 : 2))
		return fail_length(list);
	if (!find_page(list, &index) || !check_page_length(list, &scsi_mode_pages[index]))
		return false;
	if (left < scsi_mode_pages[index].bytes)
		return fail_length(list);
	if (!check_page(list, index))
		return false;
	header = scsi_mode_header_bytes(&scsi_mode_pages[index]);
	memcpy(list->image + scsi_mode_offset(index) + header, list->bytes + list->at + header,
	       scsi_mode_pages[index].bytes - header);
	list->at += scsi_mode_pages[index].bytes;
	return true;
}

bool scsi_mode_list_apply(struct scsi_cmd *cmd, uint8_t image[SCSI_MODE_BYTES_MAX])
{
	struct list list = {
		.cmd = cmd, .bytes = cmd->buffer, .length = cmd->buffer_bytes, .image = image};

	/* Less has come than was announced: nothing says that a page ends where the data do. */
	if (cmd->buffer_bytes < cmd->data_bytes)
		return fail_length(&list);
	if (!(is_long(cmd) ? check_header_10 : check_header_6)(&list))
		return false;
	/* Without PF what follows is of the vendor's making, and this one has made nothing. */
	if (list.at < list.length && (cmd->cdb[1] & PF) == 0)
		return scsi_cmd_fail_field(cmd, 1, 4);
	while (list.at < list.length) {
		if (!take_page(&list))
			return false;
	}
	return true;
}
