/*
 * LOG SENSE: every page at every allocation length, and all that is not there.
 */
#include <criterion/criterion.h>

#include "tests/unit/scsi_fake.h"

static struct rig rig;

static void sense(uint8_t page, uint8_t subpage, uint16_t pointer, uint16_t allocation)
{
	uint8_t cdb[10] = {0x4D, 0, page, subpage};

	put_be16(cdb + 5, pointer);
	put_be16(cdb + 7, allocation);
	rig_do(&rig, cdb, sizeof(cdb), NULL, 0);
}

static void expect_at_every_length(uint8_t page, uint8_t subpage, const uint8_t *golden,
				   size_t length)
{
	for (uint8_t pc = 0; pc < 4; pc++)
		for (size_t n = 0; n <= length + 8; n++) {
			size_t expected = n < length ? n : length;

			sense((uint8_t)(pc << 6 | page), subpage, 0, (uint16_t)n);
			cr_assert(rig_sense(&rig) == 0 && rig.cmd.data_bytes == expected);
			cr_assert(memcmp(rig.buffer, golden, expected) == 0);
		}
}

Test(scsi_log, lists)
{
	static const uint8_t pages[] = {0x00, 0x00, 0, 1, 0x00};
	static const uint8_t subpages[] = {0x40, 0xFF, 0, 4, 0x00, 0x00, 0x00, 0xFF};

	rig_init(&rig);
	for (unsigned thin = 0; thin < 2; thin++) {
		rig.lun.limits.thin = thin != 0;
		expect_at_every_length(0x00, 0x00, pages, sizeof(pages));
		expect_at_every_length(0x00, 0xFF, subpages, sizeof(subpages));
	}
	rig_clear(&rig);
}

Test(scsi_log, every_other_page_and_subpage)
{
	rig_init(&rig);
	for (unsigned page = 0; page < 0x40; page++)
		for (unsigned subpage = 0; subpage < 256; subpage++) {
			bool there = page == 0 && (subpage == 0 || subpage == 0xFF);

			sense((uint8_t)page, (uint8_t)subpage, 0, 255);
			cr_assert(rig_sense(&rig) == (there ? 0 : INVALID_FIELD));
			if (!there)
				cr_assert(rig_field(&rig) == (subpage != 0 ? 0x307 : 0x205));
		}
	rig_clear(&rig);
}

/* A list has no parameter 1. */
Test(scsi_log, parameter_pointer)
{
	rig_init(&rig);
	for (unsigned pointer = 1; pointer < 0x10000; pointer = 2 * pointer + 1) {
		sense(0, 0, (uint16_t)pointer, 255);
		cr_expect(rig_sense(&rig) == INVALID_FIELD && rig_field(&rig) == 0x507);
	}
	rig_clear(&rig);
}
