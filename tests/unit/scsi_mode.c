/*
 * MODE SENSE: headers, block descriptors and pages, every page control, every allocation length.
 */
#include <criterion/criterion.h>

#include "tests/unit/scsi_fake.h"

static struct rig rig;

enum {
	DBD = 0x08,
	LLBAA = 0x10,
};

static const uint8_t recovery[12] = {0x01, 10};
static const uint8_t caching[20] = {0x08, 18, 0x04};
static const uint8_t control[12] = {0x0A, 10, 0x22, 0x10, 0, 0x40, 0, 0, 0xFF, 0xFF, 0, 0};
static const uint8_t extension[32] = {0x4A, 0x01, 0, 28};
static const uint8_t exceptions[12] = {0x1C, 10, 0x08};

static const uint8_t provisioning[32] = {
	0x5C, 0x02, 0, 28, [16] = 0x01, 0x02, [24] = 0x00, 0x01,
};

static const struct {
	const uint8_t *bytes;
	size_t length;
	uint8_t code, subpage;
	/* Bits that may change: byte << 8 | mask. */
	uint16_t changeable[3];
} pages[] = {
	{recovery, sizeof(recovery), 0x01, 0, {0}},
	{caching, sizeof(caching), 0x08, 0, {0}},
	{control, sizeof(control), 0x0A, 0, {0x204, 0x408, 0x540}},
	{extension, sizeof(extension), 0x0A, 1, {0}},
	{exceptions, sizeof(exceptions), 0x1C, 0, {0}},
	/* With thresholds: scsi_threshold.c. */
	{provisioning, sizeof(provisioning), 0x1C, 2, {0}},
};

static void sense_6(uint8_t byte1, uint8_t page, uint8_t subpage, uint8_t allocation)
{
	rig_do(&rig, CDB(0x1A, byte1, page, subpage, allocation), NULL, 0);
}

static void sense_10(uint8_t byte1, uint8_t page, uint8_t subpage, uint16_t allocation)
{
	rig_do(&rig,
	       CDB(0x5A, byte1, page, subpage, 0, 0, 0, (uint8_t)(allocation >> 8),
		   (uint8_t)allocation),
	       NULL, 0);
}

static void append(uint8_t *to, size_t *length, const uint8_t *bytes, size_t count)
{
	memcpy(to + *length, bytes, count);
	*length += count;
}

/* The pages that MODE SENSE of all pages answers, with subpages or without. */
static size_t golden_pages(uint8_t *golden, bool subpages)
{
	size_t length = 0;

	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		if (subpages || pages[i].subpage == 0)
			append(golden, &length, pages[i].bytes, pages[i].length);
	return length;
}

Test(scsi_mode, all_pages_at_every_length)
{
	static const uint8_t descriptor[] = {0, 0, 0x10, 0, 0, 0, 2, 0};

	rig_init(&rig);
	for (unsigned subpage = 0; subpage < 256; subpage += 255) {
		uint8_t golden[192] = {[2] = 0x10, 8};
		size_t length = 4;

		append(golden, &length, descriptor, sizeof(descriptor));
		length += golden_pages(golden + length, subpage != 0);
		golden[0] = (uint8_t)(length - 1);
		for (size_t n = 0; n <= length + 8; n++) {
			sense_6(0, 0x3F, (uint8_t)subpage, (uint8_t)n);
			cr_assert(rig_sense(&rig) == 0);
			cr_assert(rig.cmd.data_bytes == (n < length ? n : length));
			cr_assert(memcmp(rig.buffer, golden, (size_t)rig.cmd.data_bytes) == 0);
		}
	}
	rig_clear(&rig);
}

Test(scsi_mode, long_form_at_every_length)
{
	static const uint8_t header[] = {0, 6 + 16 + 20, 0, 0x10, 1, 0, 0, 16};
	static const uint8_t descriptor[16] = {[6] = 0x10, [14] = 2};
	uint8_t golden[64];
	size_t length = 0;

	append(golden, &length, header, sizeof(header));
	append(golden, &length, descriptor, sizeof(descriptor));
	append(golden, &length, caching, sizeof(caching));
	rig_init(&rig);
	for (size_t n = 0; n <= length + 8; n++) {
		sense_10(LLBAA, 0x08, 0, (uint16_t)n);
		cr_assert(rig_sense(&rig) == 0);
		cr_assert(rig.cmd.data_bytes == (n < length ? n : length));
		cr_assert(memcmp(rig.buffer, golden, (size_t)rig.cmd.data_bytes) == 0);
	}
	rig_clear(&rig);
}

Test(scsi_mode, short_block_descriptor_of_a_large_unit)
{
	static const uint8_t golden[] = {0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 2, 0};

	rig_init(&rig);
	rig.lun.state.size_bytes = UINT64_C(3) << 41;
	sense_10(0, 0x08, 0, 255);
	cr_expect(rig.buffer[4] == 0 && get_be16(rig.buffer + 6) == 8);
	cr_expect(memcmp(rig.buffer + 8, golden, sizeof(golden)) == 0);
	rig_clear(&rig);
}

/* Each page alone at every length: current, changeable, default, saved (refused: no place for it).
 */
static void expect_page(size_t i, uint8_t pc)
{
	uint8_t golden[64] = {(uint8_t)(3 + pages[i].length), 0, 0x10, 0};
	size_t length = 4;

	append(golden, &length, pages[i].bytes, pages[i].length);
	if (pc == 1) {
		size_t header = pages[i].subpage != 0 ? 4 : 2;

		memset(golden + 4 + header, 0, pages[i].length - header);
		for (unsigned k = 0; k < ARRAY_SIZE(pages[i].changeable); k++)
			golden[4 + (pages[i].changeable[k] >> 8)] |=
				(uint8_t)pages[i].changeable[k];
	}
	for (size_t n = 0; n <= length + 1; n++) {
		sense_6(DBD, (uint8_t)(pc << 6 | pages[i].code), pages[i].subpage, (uint8_t)n);
		if (pc == 3) {
			cr_assert(n == 0 || rig_sense(&rig) == NO_SAVING);
			continue;
		}
		cr_assert(rig_sense(&rig) == 0);
		cr_assert(rig.cmd.data_bytes == (n < length ? n : length));
		cr_assert(memcmp(rig.buffer, golden, (size_t)rig.cmd.data_bytes) == 0,
			  "page %02X/%02X, page control %u", pages[i].code, pages[i].subpage, pc);
	}
}

Test(scsi_mode, every_page_control)
{
	rig_init(&rig);
	/* The header is no part of what is changeable. */
	cr_assert(control[0] == 0x0A && extension[0] == 0x4A);
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		for (uint8_t pc = 0; pc < 4; pc++)
			expect_page(i, pc);
	rig_clear(&rig);
}

Test(scsi_mode, truth_of_the_unit)
{
	rig_init(&rig);
	rig.lun.limits.write_cache = false;
	rig.lun.state.read_only = true;
	sense_6(DBD, 0x08, 0, 255);
	cr_expect(rig.buffer[2] == 0x90); /* WP, DPOFUA */
	cr_expect(rig.buffer[4 + 2] == 0x00);
	sense_10(DBD, 0x08, 0, 255);
	cr_expect(rig.buffer[3] == 0x90 && rig.buffer[8 + 2] == 0x00);
	rig_clear(&rig);
}

static bool is_there(unsigned page, unsigned subpage)
{
	if (page == 0x3F)
		return subpage == 0 || subpage == 255;
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		if (page == pages[i].code && (subpage == pages[i].subpage || subpage == 255))
			return true;
	return false;
}

Test(scsi_mode, every_page_and_subpage_code)
{
	rig_init(&rig);
	for (unsigned page = 0; page < 0x40; page++)
		for (unsigned subpage = 0; subpage < 256; subpage++) {
			sense_6(0, (uint8_t)page, (uint8_t)subpage, 255);
			cr_assert(rig_sense(&rig) == (is_there(page, subpage) ? 0 : INVALID_FIELD));
			if (!is_there(page, subpage))
				cr_assert(rig_field(&rig) ==
					  (subpage == 0 || subpage == 255 ? 0x205 : 0x307));
		}
	rig_clear(&rig);
}

Test(scsi_mode, all_subpages_of_a_page)
{
	rig_init(&rig);
	sense_6(DBD, 0x0A, 255, 255);
	cr_expect(rig.cmd.data_bytes == 4 + sizeof(control) + sizeof(extension));
	cr_expect(memcmp(rig.buffer + 4, control, sizeof(control)) == 0);
	cr_expect(memcmp(rig.buffer + 16, extension, sizeof(extension)) == 0);
	rig_clear(&rig);
}

Test(scsi_mode, offline)
{
	rig_init(&rig);
	rig.lun.state = (struct lun_state){.online = false};
	sense_6(0, 0x3F, 0, 255);
	cr_expect(rig_sense(&rig) == 0 && get_be32(rig.buffer + 4) == 0);
	rig_clear(&rig);
}
