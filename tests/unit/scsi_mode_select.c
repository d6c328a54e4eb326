/*
 * MODE SELECT: what is refused and to which bit the sense data point, that nothing changes unless
 * all of it does. What the parameters then do: scsi_mode_effect.c, scsi_mode_saved.c.
 */
#include <criterion/criterion.h>

#include "tests/unit/scsi_mode_rig.h"

/* -- What is refused -- */

#define CONTROL_PAGE 0x0A, 10, 0x22, 0x10, 0, 0x40, 0, 0, 0xFF, 0xFF, 0, 0
#define GOOD_PAGES 0x0A, 10, 0x26, 0x10, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0

static const struct {
	const char *what;
	uint8_t opcode, byte1, length;
	uint8_t list[64];
	uint32_t sense;
	/* Byte << 8 | bit of the parameter list, or 0x10000 and that of the CDB. */
	uint32_t field;
} refused[] = {
	{"header cut short", 0x15, PF, 3, {0}, LIST_LENGTH, 0},
	{"long header cut short", 0x55, PF, 7, {0}, LIST_LENGTH, 0},
	{"medium type", 0x15, PF, 4, {0, 1}, INVALID_PARAMETER, 0x107},
	{"medium type, long", 0x55, PF, 8, {0, 0, 1}, INVALID_PARAMETER, 0x207},
	{"device-specific", 0x15, PF, 4, {0, 0, 0x20}, INVALID_PARAMETER, 0x207},
	{"device-specific, long", 0x55, PF, 8, {0, 0, 0, 0x01}, INVALID_PARAMETER, 0x307},
	{"reserved beside LONGLBA", 0x55, PF, 8, {[4] = 0x02}, INVALID_PARAMETER, 0x407},
	{"reserved byte", 0x55, PF, 8, {[5] = 1}, INVALID_PARAMETER, 0x507},
	{"descriptor of 4 bytes", 0x15, PF, 12, {[3] = 4}, INVALID_PARAMETER, 0x307},
	{"two descriptors", 0x15, PF, 20, {[3] = 16}, INVALID_PARAMETER, 0x307},
	{"short one where long", 0x55, PF, 16, {[4] = 1, [7] = 8}, INVALID_PARAMETER, 0x607},
	{"long one where short", 0x55, PF, 24, {[7] = 16}, INVALID_PARAMETER, 0x607},
	{"descriptor cut short", 0x15, PF, 11, {[3] = 8}, LIST_LENGTH, 0},
	{"long one cut short", 0x55, PF, 23, {[4] = 1, [7] = 16}, LIST_LENGTH, 0},
	{"block length 0", 0x15, PF, 12, {[3] = 8}, INVALID_PARAMETER, 0x907},
	{"block length 4096", 0x15, PF, 12, {[3] = 8, [10] = 0x10}, INVALID_PARAMETER, 0x907},
	{"block length 4096, short",
	 0x55,
	 PF,
	 16,
	 {[7] = 8, [14] = 0x10},
	 INVALID_PARAMETER,
	 0xD07},
	{"block length 4096, long",
	 0x55,
	 PF,
	 24,
	 {[4] = 1, [7] = 16, [22] = 0x10},
	 INVALID_PARAMETER,
	 0x1407},
	{"no PF", 0x15, 0, 16, {[4] = CONTROL_PAGE}, INVALID_FIELD, 0x10104},
	{"no PF, long", 0x55, 0, 20, {[8] = CONTROL_PAGE}, INVALID_FIELD, 0x10104},
	{"one byte of a page", 0x15, PF, 5, {[4] = 0x0A}, LIST_LENGTH, 0},
	{"three bytes of a subpage", 0x15, PF, 7, {[4] = 0x4A, 1, 0}, LIST_LENGTH, 0},
	{"a page that is not there", 0x15, PF, 6, {[4] = 0x02}, INVALID_PARAMETER, 0x405},
	{"a subpage that is not there", 0x15, PF, 8, {[4] = 0x4A, 2}, INVALID_PARAMETER, 0x507},
	{"page 0A as a subpage", 0x15, PF, 8, {[4] = 0x4A, 0, 0, 8}, INVALID_PARAMETER, 0x507},
	{"all pages", 0x15, PF, 6, {[4] = 0x3F}, INVALID_PARAMETER, 0x405},
	{"page length + 1", 0x15, PF, 17, {[4] = 0x0A, 11}, INVALID_PARAMETER, 0x507},
	{"page length - 1", 0x15, PF, 15, {[4] = 0x0A, 9}, INVALID_PARAMETER, 0x507},
	{"page length 0", 0x15, PF, 6, {[4] = 0x0A, 0}, INVALID_PARAMETER, 0x507},
	{"subpage length", 0x15, PF, 36, {[4] = 0x4A, 1, 0, 27}, INVALID_PARAMETER, 0x607},
	{"subpage length of 16 bits",
	 0x15,
	 PF,
	 36,
	 {[4] = 0x4A, 1, 1, 28},
	 INVALID_PARAMETER,
	 0x607},
	{"page cut short", 0x15, PF, 15, {[4] = CONTROL_PAGE}, LIST_LENGTH, 0},
	{"TST",
	 0x15,
	 PF,
	 16,
	 {[4] = 0x0A, 10, 0x02, 0x10, 0, 0, 0, 0, 0xFF, 0xFF},
	 INVALID_PARAMETER,
	 0x607},
	{"GLTSD",
	 0x15,
	 PF,
	 16,
	 {[4] = 0x0A, 10, 0x20, 0x10, 0, 0, 0, 0, 0xFF, 0xFF},
	 INVALID_PARAMETER,
	 0x601},
	{"QERR",
	 0x15,
	 PF,
	 16,
	 {[4] = 0x0A, 10, 0x22, 0x12, 0, 0, 0, 0, 0xFF, 0xFF},
	 INVALID_PARAMETER,
	 0x702},
	{"ATO",
	 0x15,
	 PF,
	 16,
	 {[4] = 0x0A, 10, 0x22, 0x10, 0, 0xC0, 0, 0, 0xFF, 0xFF},
	 INVALID_PARAMETER,
	 0x907},
	{"second byte of BUSY TIMEOUT",
	 0x15,
	 PF,
	 16,
	 {[4] = 0x0A, 10, 0x22, 0x10, 0, 0x40, 0, 0, 0xFF, 0xFE},
	 INVALID_PARAMETER,
	 0xC07},
	{"SWP good, RLEC not",
	 0x15,
	 PF,
	 16,
	 {[4] = 0x0A, 10, 0x23, 0x10, 0x08, 0, 0, 0, 0xFF, 0xFF},
	 INVALID_PARAMETER,
	 0x600},
	{"WCE off", 0x15, PF, 24, {[4] = 0x08, 18}, INVALID_PARAMETER, 0x602},
	{"RCD", 0x15, PF, 24, {[4] = 0x08, 18, 0x05}, INVALID_PARAMETER, 0x600},
	{"last byte of a prefetch length",
	 0x15,
	 PF,
	 24,
	 {[4] = 0x08, 18, 0x04, [9] = 1},
	 INVALID_PARAMETER,
	 0x807},
	{"AWRE", 0x15, PF, 16, {[4] = 0x01, 10, 0x80}, INVALID_PARAMETER, 0x607},
	{"MRIE", 0x15, PF, 16, {[4] = 0x1C, 10, 0x08, 0x02}, INVALID_PARAMETER, 0x703},
	{"initial priority", 0x15, PF, 36, {[4] = 0x4A, 1, 0, 28, 0, 1}, INVALID_PARAMETER, 0x903},
	{"good page, then a bad one",
	 0x15,
	 PF,
	 28,
	 {[4] = GOOD_PAGES, 0x01, 10, 0x80},
	 INVALID_PARAMETER,
	 0x1207},
	{"good page, then half of one", 0x15, PF, 20, {[4] = GOOD_PAGES, 0x01, 10}, LIST_LENGTH, 0},
	{"SP without a place", 0x15, PF | SP, 16, {[4] = CONTROL_PAGE}, INVALID_FIELD, 0x10100},
	{"SP without a place or list", 0x15, PF | SP, 0, {0}, INVALID_FIELD, 0x10100},
	{"RTD with a list", 0x15, PF | RTD, 16, {[4] = CONTROL_PAGE}, INVALID_FIELD, 0x10407},
	{"RTD with a list, long", 0x55, RTD, 8, {0}, INVALID_FIELD, 0x10707},
};

static void expect_refused(size_t i)
{
	const uint8_t *sense = rig.cmd.sense;

	(refused[i].opcode == 0x15
		 ? (void)select_6(refused[i].byte1, refused[i].list, refused[i].length)
		 : select_10(refused[i].byte1, refused[i].list, refused[i].length));
	cr_expect(rig_sense(&rig) == refused[i].sense, "%s: %06X", refused[i].what,
		  (unsigned)rig_sense(&rig));
	if (refused[i].sense == LIST_LENGTH) {
		cr_expect(sense[15] == 0, "%s", refused[i].what);
		return;
	}
	cr_expect(sense[15] ==
			  (0x88 | (refused[i].field >> 16 ? 0x40 : 0) | (refused[i].field & 7)),
		  "%s: %02X", refused[i].what, sense[15]);
	cr_expect(get_be16(sense + 16) == (refused[i].field >> 8 & 0xFF), "%s: byte %u",
		  refused[i].what, get_be16(sense + 16));
}

Test(scsi_mode_select, refused)
{
	uint8_t before[256];
	size_t length;

	set_up();
	rig_do(&rig, CDB(0x1A, 0, 0x3F, 0xFF, 255), NULL, 0);
	length = (size_t)rig.cmd.data_bytes;
	memcpy(before, rig.buffer, length);
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		expect_refused(i);
		cr_assert(rig.lun.count[LUN_FLUSH] == 0);
		cr_assert(scsi_nexus_pending(other, scsi_target_find_lu(rig.target, 0)) ==
			  SENSE_NONE);
		rig_do(&rig, CDB(0x1A, 0, 0x3F, 0xFF, 255), NULL, 0);
		cr_assert(rig.cmd.data_bytes == length);
		cr_assert(memcmp(rig.buffer, before, length) == 0, "%s", refused[i].what);
	}
	tear_down();
}

/* A list of all pages, cut after every byte: good only between pages. */
Test(scsi_mode_select, cut_everywhere)
{
	static const unsigned ends[] = {0, 4, 16, 36, 48, 80, 92, 124};
	uint8_t list[256] = {0};

	set_up();
	rig_do(&rig, CDB(0x1A, 0x08, 0x3F, 0xFF, 255), NULL, 0);
	cr_assert(rig.cmd.data_bytes == ends[ARRAY_SIZE(ends) - 1]);
	memcpy(list, rig.buffer, (size_t)rig.cmd.data_bytes);
	for (unsigned n = 0, end = 0; n <= 124; n++) {
		bool good = n == ends[end];

		select_6(PF, list, (uint8_t)n);
		cr_assert(rig_sense(&rig) == (good ? 0 : LIST_LENGTH), "%u bytes", n);
		end += good;
		/* The same, where less arrives than was announced. */
		if (n == 124)
			break;
		rig_do(&rig, CDB(0x15, PF, 0, 0, 124), list, n);
		cr_assert(rig_sense(&rig) == LIST_LENGTH, "%u bytes of 124", n);
	}
	tear_down();
}

/* Every bit of every page but those that may change. */
Test(scsi_mode_select, every_bit)
{
	static const struct {
		uint8_t code, subpage, length, header;
	} all[] = {{0x01, 0, 12, 2},
		   {0x08, 0, 20, 2},
		   {0x0A, 0, 12, 2},
		   {0x0A, 1, 32, 4},
		   {0x1C, 0, 12, 2}};

	set_up();
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		for (unsigned bit = 8u * all[i].header; bit < 8u * all[i].length; bit++) {
			uint8_t list[64] = {0};
			bool may = all[i].code == 0x0A && all[i].subpage == 0 &&
				   (bit == 8 * 2 + 5 || bit == 8 * 4 + 4 || bit == 8 * 5 + 1);

			read_page(all[i].code, all[i].subpage, list + 4, all[i].length);
			list[4 + bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
			select_6(PF, list, (uint8_t)(4 + all[i].length));
			if (may) {
				cr_assert(rig.cmd.status == SCSI_GOOD);
				rig_do(&rig, CDB(0x15, RTD), NULL, 0);
				cr_assert(rig.cmd.status == SCSI_GOOD);
				continue;
			}
			cr_assert(rig_sense(&rig) == INVALID_PARAMETER);
			/* The field begins at this bit or before it, at most four bytes. */
			cr_assert(get_be16(rig.cmd.sense + 16) <= 4 + bit / 8 &&
				  get_be16(rig.cmd.sense + 16) + 4u > 4 + bit / 8);
		}
	tear_down();
}

/* -- What is accepted -- */

Test(scsi_mode_select, forms)
{
	static const struct {
		const char *what;
		uint8_t opcode, byte1, length;
		uint8_t list[64];
	} good[] = {
		{"nothing", 0x15, 0, 0, {0}},
		{"nothing, PF", 0x15, PF, 0, {0}},
		{"nothing, long", 0x55, PF, 0, {0}},
		{"a header", 0x15, PF, 4, {0}},
		{"a header without PF", 0x15, 0, 4, {0}},
		{"mode data length left as read", 0x15, PF, 4, {0xFF}},
		{"mode data length left as read, long", 0x55, PF, 8, {0xFF, 0xFF}},
		{"WP and DPOFUA left as read", 0x15, PF, 4, {0, 0, 0x90}},
		{"WP and DPOFUA left as read, long", 0x55, PF, 8, {0, 0, 0, 0x90}},
		{"descriptor", 0x15, PF, 12, {[3] = 8, [10] = 2}},
		{"descriptor of another capacity", 0x15, PF, 12, {[3] = 8, 1, 2, 3, 4, [10] = 2}},
		{"descriptor, long", 0x55, PF, 16, {[7] = 8, [14] = 2}},
		{"long descriptor", 0x55, PF, 24, {[4] = 1, [7] = 16, [22] = 2}},
		{"a page as it is", 0x15, PF, 16, {[4] = CONTROL_PAGE}},
		{"PS left as read",
		 0x15,
		 PF,
		 16,
		 {[4] = 0x8A, 10, 0x22, 0x10, 0, 0x40, 0, 0, 0xFF, 0xFF, 0, 0}},
		{"descriptor and page",
		 0x55,
		 PF,
		 36,
		 {[4] = 1, [7] = 16, [22] = 2, [24] = CONTROL_PAGE}},
		{"the same page twice", 0x15, PF, 28, {[4] = GOOD_PAGES, CONTROL_PAGE}},
		{"RTD", 0x15, RTD, 0, {0}},
		{"RTD, long", 0x55, PF | RTD, 0, {0}},
	};

	set_up();
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		if (good[i].opcode == 0x15)
			select_6(good[i].byte1, good[i].list, good[i].length);
		else
			select_10(good[i].byte1, good[i].list, good[i].length);
		cr_expect(rig_sense(&rig) == 0, "%s: %06X", good[i].what,
			  (unsigned)rig_sense(&rig));
		/* Nothing has changed, so nobody is told. */
		cr_expect(scsi_nexus_pending(other, scsi_target_find_lu(rig.target, 0)) ==
				  SENSE_NONE,
			  "%s", good[i].what);
	}
	tear_down();
}
