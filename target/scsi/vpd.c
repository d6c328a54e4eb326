/*
 * Vital product data: a table of pages, each with a function that writes what comes after the four
 * bytes of its header (SPC-4 7.8, SBC-3 6.6). Numbers come from lun_limits; nothing is announced
 * that the LUN does not do.
 *
 * Threads: the loop of the command. Read next: designators.c.
 */
#include "target/scsi/vpd.h"

#include <assert.h>
#include <string.h>

/* Longer than any page: page 83h with two names of 223 characters has less than 800 bytes. */
#define PAGE_BYTES_MAX 1024u

/* Optimal transfers are multiples of this, or of a physical block if that is longer. */
#define TRANSFER_GRANULARITY_BYTES 4096u
/* UNMAP: as many descriptors as a parameter list of SCSI_PARAM_MAX holds; a range has no limit. */
#define UNMAP_DESCRIPTORS_MAX ((SCSI_PARAM_MAX - 8u) / 16u)
/* WRITE SAME: whatever NUMBER OF BLOCKS can say. Linux takes "not reported" (0) for 65,535. */
#define WRITE_SAME_BLOCKS_MAX UINT32_MAX

static void page_supported(const struct scsi_cmd *cmd, struct byte_writer *writer);
static void page_serial(const struct scsi_cmd *cmd, struct byte_writer *writer);
static void page_extended(const struct scsi_cmd *cmd, struct byte_writer *writer);
static void page_policy(const struct scsi_cmd *cmd, struct byte_writer *writer);
static void page_limits(const struct scsi_cmd *cmd, struct byte_writer *writer);
static void page_characteristics(const struct scsi_cmd *cmd, struct byte_writer *writer);
static void page_provisioning(const struct scsi_cmd *cmd, struct byte_writer *writer);

/* In order of page code. */
static const struct page {
	uint8_t code;
	bool without_lu;
	void (*write)(const struct scsi_cmd *cmd, struct byte_writer *writer);
} pages[] = {
	{.code = 0x00, .without_lu = true, .write = page_supported},
	{.code = 0x80, .write = page_serial},
	{.code = 0x83, .write = scsi_vpd_designators},
	{.code = 0x86, .write = page_extended},
	{.code = 0x87, .write = page_policy},
	{.code = 0xB0, .write = page_limits},
	{.code = 0xB1, .write = page_characteristics},
	{.code = 0xB2, .write = page_provisioning},
};

static bool page_is_there(const struct scsi_cmd *cmd, const struct page *page)
{
	return page->without_lu || cmd->lu != NULL;
}

static void page_supported(const struct scsi_cmd *cmd, struct byte_writer *writer)
{
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		if (page_is_there(cmd, &pages[i]))
			byte_writer_u8(writer, pages[i].code);
	}
}

static void page_serial(const struct scsi_cmd *cmd, struct byte_writer *writer)
{
	const char *serial = lun_identity(cmd->lu->lun)->serial;

	byte_writer_bytes(writer, serial, strlen(serial));
}

#define HEADSUP 0x04u
#define ORDSUP 0x02u
#define SIMPSUP 0x01u
#define V_SUP 0x01u
#define LUICLR 0x01u
#define RTD_SUP 0x08u

/*
 * SPC-4 7.8.7, and RTD_SUP of SPC-5. The transport keeps the order that task attributes ask for.
 */
static void page_extended(const struct scsi_cmd *cmd, struct byte_writer *writer)
{
	byte_writer_u8(writer, 0); /* No microcode, no protection information. */
	byte_writer_u8(writer, HEADSUP | ORDSUP | SIMPSUP);
	byte_writer_u8(writer, cmd->lu->limits->write_cache ? V_SUP : 0);
	byte_writer_u8(writer, LUICLR);
	byte_writer_u8(writer, RTD_SUP);
	byte_writer_zero(writer, 4);
	byte_writer_u8(writer, SENSE_DESCRIPTOR_MAX);
	byte_writer_zero(writer, 50);
}

/* SPC-4 7.8.10: all pages and subpages are shared by all nexuses, and not by logical units. */
static void page_policy(const struct scsi_cmd *cmd, struct byte_writer *writer)
{
	(void)cmd;
	byte_writer_u8(writer, 0x3F);
	byte_writer_u8(writer, 0xFF);
	byte_writer_zero(writer, 2);
}

/* SBC-3 6.6.4. Zero says "no limit", or for UNMAP "not done". */
static void page_limits(const struct scsi_cmd *cmd, struct byte_writer *writer)
{
	const struct lun_limits *limits = cmd->lu->limits;
	uint32_t block = cmd->lu->block_bytes;
	uint32_t granularity = TRANSFER_GRANULARITY_BYTES;

	if (limits->physical_block_bytes > granularity)
		granularity = limits->physical_block_bytes;
	byte_writer_u8(writer, 0x01);      /* WSNZ */
	byte_writer_u8(writer, UINT8_MAX); /* COMPARE AND WRITE: all that its CDB can say. */
	byte_writer_be16(writer, (uint16_t)(granularity / block));
	byte_writer_zero(writer, 12); /* Transfer lengths: no limit, no optimum. */
	byte_writer_be32(writer, limits->thin ? UINT32_MAX : 0);
	byte_writer_be32(writer, limits->thin ? UNMAP_DESCRIPTORS_MAX : 0);
	byte_writer_be32(writer, limits->thin ? limits->allocation_unit_bytes / block : 0);
	byte_writer_be32(writer, limits->thin ? 0x80000000 : 0); /* UGAVALID, alignment 0 */
	byte_writer_be64(writer, WRITE_SAME_BLOCKS_MAX);
	byte_writer_zero(writer, 20);
}

/* SBC-3 6.6.3 */
static void page_characteristics(const struct scsi_cmd *cmd, struct byte_writer *writer)
{
	(void)cmd;
	byte_writer_be16(writer, 0x0001); /* Does not rotate. */
	byte_writer_u8(writer, 0);
	byte_writer_u8(writer, 0);
	byte_writer_u8(writer, 0x03); /* FUAB; VBULS: unmapped blocks can be compared with. */
	byte_writer_zero(writer, 55);
}

/* SBC-4 6.6.7. Thresholds count sets, not percentages, so THRESHOLD PERCENTAGE is 0. */
static void page_provisioning(const struct scsi_cmd *cmd, struct byte_writer *writer)
{
	const struct lun_limits *limits = cmd->lu->limits;
	uint8_t does = limits->thin ? 0xE0 : 0; /* LBPU, LBPWS, LBPWS10 */

	if (limits->thin && limits->zeroes_after_unmap)
		does |= 0x04; /* LBPRZ */
	if (limits->thin && limits->anchors)
		does |= 0x02; /* ANC_SUP */
	byte_writer_u8(writer, (uint8_t)scsi_threshold_exponent(cmd->lu));
	byte_writer_u8(writer, does);
	byte_writer_u8(writer, limits->thin ? 0x02 : 0); /* Thin, or fully provisioned. */
	byte_writer_u8(writer, 0);
}

static const struct page *find_page(const struct scsi_cmd *cmd)
{
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		if (pages[i].code == cmd->cdb[2] && page_is_there(cmd, &pages[i]))
			return &pages[i];
	}
	return NULL;
}

void scsi_vpd_answer(struct scsi_cmd *cmd, struct byte_writer *writer)
{
	const struct page *page = find_page(cmd);
	uint8_t body[PAGE_BYTES_MAX];
	struct byte_writer body_writer = byte_writer_make(body, sizeof(body));

	if (page == NULL) {
		scsi_cmd_fail_field(cmd, 2, 7);
		return;
	}
	page->write(cmd, &body_writer);
	assert(!byte_writer_overran(&body_writer));
	byte_writer_u8(writer, scsi_peripheral(cmd));
	byte_writer_u8(writer, page->code);
	byte_writer_be16(writer, (uint16_t)body_writer.wanted);
	byte_writer_bytes(writer, body, body_writer.wanted);
}
