/*
 * INQUIRY: every byte of standard data and of each page, at every allocation length.
 */
#include <criterion/criterion.h>

#include "tests/unit/scsi_fake.h"

#define NAA 0x65, 0x25, 0x34, 0xE0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12

static struct rig rig;

static void inquire(bool evpd, uint8_t page, uint16_t allocation)
{
	rig_do(&rig, CDB(0x12, evpd, page, (uint8_t)(allocation >> 8), (uint8_t)allocation), NULL,
	       0);
}

/* The canaries of the rig prove that nothing is written behind what is answered. */
static void expect_at_every_length(bool evpd, uint8_t page, const uint8_t *golden, size_t length)
{
	inquire(evpd, page, 4096);
	cr_assert(rig_sense(&rig) == 0 && rig.cmd.data_bytes == length, "page %02X: %u bytes", page,
		  (unsigned)rig.cmd.data_bytes);
	for (size_t n = 0; n <= length + 8; n++) {
		size_t expected = n < length ? n : length;

		inquire(evpd, page, (uint16_t)n);
		cr_assert(rig_sense(&rig) == 0 && rig.cmd.data_bytes == expected);
		for (size_t i = 0; i < expected; i++)
			cr_assert(rig.buffer[i] == golden[i], "page %02X byte %zu is %02X", page, i,
				  rig.buffer[i]);
	}
}

static const uint8_t standard[96] = {
	0x00,        0x00, 0x06, 0x12, 91,   0x30, 0x10, 0x02, /* header */
	'R',         'I',  'N',  'G',  'S',  'A',  'N',  ' ',  /* vendor */
	'V',         'I',  'R',  'T',  'U',  'A',  'L',  '-',  'D', 'I',
	'S',         'K',  ' ',  ' ',  ' ',  ' ',  '0',  '0',  '0', '1', /* revision */
	[58] = 0x00, 0xA0, 0x04, 0x60, 0x04, 0xC0, 0x09, 0x60,           /* versions */
};

Test(scsi_inquiry, standard)
{
	rig_init(&rig);
	expect_at_every_length(false, 0, standard, sizeof(standard));
	rig_clear(&rig);
}

Test(scsi_inquiry, configured_identification)
{
	struct scsi_lu_spec spec = {
		.lun = &rig.lun, .vendor = "ACME", .product = "Disk 5000", .revision = "2.1"};

	rig_init_with(&rig, FAKE_BLOCKS, 512);
	cr_assert(scsi_target_add_lu(rig.target, 9, &spec) == 0);
	rig_connect(&rig);
	rig.lun_number = 9;
	inquire(false, 0, 36);
	cr_expect(memcmp(rig.buffer + 8, "ACME    Disk 5000       2.1 ", 28) == 0);
	rig_clear(&rig);
}

Test(scsi_inquiry, no_logical_unit)
{
	uint8_t absent[sizeof(standard)];
	static const uint8_t pages[] = {0x7F, 0x00, 0, 1, 0x00};

	memcpy(absent, standard, sizeof(absent));
	absent[0] = 0x7F;
	absent[5] = 0; /* No target port groups, either. */
	rig_init(&rig);
	rig.lun_number = 5;
	expect_at_every_length(false, 0, absent, sizeof(absent));
	expect_at_every_length(true, 0x00, pages, sizeof(pages));
	inquire(true, 0x83, 255);
	cr_expect(rig_sense(&rig) == INVALID_FIELD && rig_field(&rig) == 0x207);
	rig_clear(&rig);
}

Test(scsi_inquiry, page_00)
{
	static const uint8_t golden[] = {0,    0x00, 0,    8,    0x00, 0x80,
					 0x83, 0x86, 0x87, 0xB0, 0xB1, 0xB2};

	rig_init(&rig);
	expect_at_every_length(true, 0x00, golden, sizeof(golden));
	rig_clear(&rig);
}

Test(scsi_inquiry, page_80)
{
	static const uint8_t golden[] = {0, 0x80, 0, 8, '1', '2', '3', '4', 'A', 'B', 'C', 'D'};

	rig_init(&rig);
	expect_at_every_length(true, 0x80, golden, sizeof(golden));
	rig_clear(&rig);
}

/* clang-format off */
static const uint8_t page_83[] = {
	0, 0x83, 0, 20 + 20 + 8 + 8 + 44 + 32,
	0x01, 0x03, 0, 16, NAA,
	0x02, 0x01, 0, 16, 'R', 'I', 'N', 'G', 'S', 'A', 'N', ' ', '1', '2', '3', '4', 'A', 'B', 'C', 'D',
	0x51, 0x94, 0, 4, 0, 0, 0, 1,
	0x51, 0x95, 0, 4, 0, 0, 0, 1,
	0x53, 0x98, 0, 40, 'i', 'q', 'n', '.', '2', '0', '2', '6', '-', '1', '1', '.', 'i', 'o', '.',
		'r', 'i', 'n', 'g', 's', 'a', 'n', ':', 'f', 'a', 'k', 'e', ',', 't', ',', '0', 'x',
		'0', '0', '0', '1', 0, 0, 0, 0,
	0x53, 0xA8, 0, 28, 'i', 'q', 'n', '.', '2', '0', '2', '6', '-', '1', '1', '.', 'i', 'o', '.',
		'r', 'i', 'n', 'g', 's', 'a', 'n', ':', 'f', 'a', 'k', 'e', 0,
};
/* clang-format on */

Test(scsi_inquiry, page_83)
{
	rig_init(&rig);
	expect_at_every_length(true, 0x83, page_83, sizeof(page_83));
	rig_clear(&rig);
}

/* Names as long as they may be: every designator still ends where its length says. */
Test(scsi_inquiry, page_83_with_long_names)
{
	char name[224] = {0};
	size_t at = 4;
	unsigned count = 0;
	struct scsi_lu_spec spec = {.lun = &rig.lun};

	rig_init_with(&rig, FAKE_BLOCKS, 512);
	scsi_target_free(rig.target);
	memset(name, 'n', 223);
	memset(rig.lun.identity.serial, 's', LUN_SERIAL_MAX);
	cr_assert(scsi_target_create(name, NULL, &rig.target) == 0);
	cr_assert(scsi_target_add_lu(rig.target, 0, &spec) == 0);
	rig_connect(&rig);
	inquire(true, 0x83, 4096);
	cr_assert(rig_sense(&rig) == 0);
	cr_expect(get_be16(rig.buffer + 2) + 4u == rig.cmd.data_bytes);
	for (; at < rig.cmd.data_bytes; at += 4u + rig.buffer[at + 3], count++)
		if ((rig.buffer[at + 1] & 0x0F) == 8)
			cr_expect(rig.buffer[at + 3] % 4 == 0 &&
				  rig.buffer[at + 3 + rig.buffer[at + 3]] == 0);
	cr_expect(at == rig.cmd.data_bytes && count == 6);
	rig_clear(&rig);
}

/* A LUN that is offline and of which nothing is known shows its ports only. */
Test(scsi_inquiry, page_83_without_identity)
{
	rig_init(&rig);
	rig.lun.state.online = false;
	memset(&rig.lun.identity, 0, sizeof(rig.lun.identity));
	inquire(true, 0x83, 255);
	cr_expect(rig_sense(&rig) == 0 && rig.buffer[5] == 0x94);
	inquire(true, 0x80, 255);
	cr_expect(rig_sense(&rig) == 0 && rig.cmd.data_bytes == 4);
	rig_clear(&rig);
}

Test(scsi_inquiry, page_86)
{
	uint8_t golden[64] = {0, 0x86, 0, 60, 0, 0x07, 0x01, 0x01, 0x08, [13] = 28};

	rig_init(&rig);
	expect_at_every_length(true, 0x86, golden, sizeof(golden));
	rig.lun.limits.write_cache = false;
	golden[6] = 0; /* V_SUP */
	expect_at_every_length(true, 0x86, golden, sizeof(golden));
	rig_clear(&rig);
}

Test(scsi_inquiry, page_87)
{
	static const uint8_t golden[] = {0, 0x87, 0, 4, 0x3F, 0xFF, 0, 0};

	rig_init(&rig);
	expect_at_every_length(true, 0x87, golden, sizeof(golden));
	rig_clear(&rig);
}

static const uint8_t page_b0[64] = {
	0,           0xB0, 0,    60,   0x01, 0xFF, 0,    8,    /* WSNZ, CAW, granularity 4 KiB */
	[20] = 0xFF, 0xFF, 0xFF, 0xFF, 0,    0,    0x0F, 0xFF, /* UNMAP */
	[28] = 0,    0,    0,    128,  0x80, 0,    0,    0,    /* 64 KiB, UGAVALID */
	[36] = 0,    0,    0,    0,    0xFF, 0xFF, 0xFF, 0xFF, /* WRITE SAME */
};

Test(scsi_inquiry, page_b0)
{
	rig_init(&rig);
	expect_at_every_length(true, 0xB0, page_b0, sizeof(page_b0));
	rig_clear(&rig);
}

Test(scsi_inquiry, page_b0_fully_provisioned)
{
	uint8_t golden[sizeof(page_b0)];

	memcpy(golden, page_b0, sizeof(golden));
	memset(golden + 20, 0, 16);
	rig_init(&rig);
	rig.lun.limits.thin = false;
	expect_at_every_length(true, 0xB0, golden, sizeof(golden));
	rig_clear(&rig);
}

Test(scsi_inquiry, page_b1)
{
	static const uint8_t golden[64] = {0, 0xB1, 0, 60, 0, 1, 0, 0, 0x03};

	rig_init(&rig);
	expect_at_every_length(true, 0xB1, golden, sizeof(golden));
	rig_clear(&rig);
}

Test(scsi_inquiry, page_b2)
{
	static const struct {
		bool thin;
		bool zeroes;
		bool anchors;
		uint8_t golden[8];
	} cases[] = {
		{true, true, true, {0, 0xB2, 0, 4, 0, 0xE6, 2, 0}},
		{true, true, false, {0, 0xB2, 0, 4, 0, 0xE4, 2, 0}},
		{true, false, false, {0, 0xB2, 0, 4, 0, 0xE0, 2, 0}},
		{false, true, false, {0, 0xB2, 0, 4, 0, 0, 0, 0}},
		{false, true, true, {0, 0xB2, 0, 4, 0, 0, 0, 0}},
		{false, false, false, {0, 0xB2, 0, 4, 0, 0, 0, 0}},
	};

	rig_init(&rig);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		rig.lun.limits.thin = cases[i].thin;
		rig.lun.limits.zeroes_after_unmap = cases[i].zeroes;
		rig.lun.limits.anchors = cases[i].anchors;
		expect_at_every_length(true, 0xB2, cases[i].golden, sizeof(cases[i].golden));
	}
	rig_clear(&rig);
}

Test(scsi_inquiry, every_other_page_is_refused)
{
	static const uint8_t there[] = {0x00, 0x80, 0x83, 0x86, 0x87, 0xB0, 0xB1, 0xB2};

	rig_init(&rig);
	for (unsigned page = 0; page < 256; page++) {
		inquire(true, (uint8_t)page, 255);
		if (memchr(there, (int)page, sizeof(there)) != NULL) {
			cr_expect(rig_sense(&rig) == 0 && rig.buffer[1] == page);
			continue;
		}
		cr_expect(rig_sense(&rig) == INVALID_FIELD && rig_field(&rig) == 0x207);
		cr_expect(rig.cmd.data_bytes == 0);
	}
	rig_clear(&rig);
}

/* Also with an allocation length of 0, which moves no data. */
Test(scsi_inquiry, page_code_without_evpd)
{
	rig_init(&rig);
	for (unsigned page = 1; page < 256; page++) {
		inquire(false, (uint8_t)page, page % 2 ? 255 : 0);
		cr_expect(rig_sense(&rig) == INVALID_FIELD && rig_field(&rig) == 0x207);
	}
	rig_clear(&rig);
}

/* Offline is not gone: 00h, not 7Fh, and no sense data. */
Test(scsi_inquiry, offline)
{
	rig_init(&rig);
	rig.lun.state.online = false;
	expect_at_every_length(false, 0, standard, sizeof(standard));
	rig_clear(&rig);
}
