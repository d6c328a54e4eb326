/*
 * UNMAP: parameter lists good and malformed, all bounds before the first deed, long ranges, abort.
 */
#include <criterion/criterion.h>

#include "tests/unit/scsi_fake.h"

static struct rig rig;

struct range {
	uint64_t lba;
	uint32_t count;
};

static uint8_t list[SCSI_PARAM_MAX];

static uint32_t make_list(const struct range *ranges, unsigned count)
{
	memset(list, 0, sizeof(list));
	put_be16(list, (uint16_t)(6 + count * 16));
	put_be16(list + 2, (uint16_t)(count * 16));
	for (unsigned i = 0; i < count; i++) {
		put_be64(list + 8 + i * 16, ranges[i].lba);
		put_be32(list + 16 + i * 16, ranges[i].count);
	}
	return 8 + count * 16;
}

static void unmap(uint32_t cdb_length, uint32_t arrived)
{
	rig_do(&rig, CDB(0x42, [7] = (uint8_t)(cdb_length >> 8), [8] = (uint8_t)cdb_length), list,
	       arrived);
}

Test(scsi_unmap, descriptors_in_order)
{
	static const struct range ranges[] = {{10, 5}, {0, 0}, {100, 1}, {4095, 1}, {4096, 0}};
	uint32_t length = make_list(ranges, ARRAY_SIZE(ranges));

	rig_init(&rig);
	memset(rig.lun.bytes, 1, FAKE_BLOCKS * 512);
	unmap(length, length);
	cr_expect(rig_sense(&rig) == 0 && rig.lun.count[LUN_UNMAP] == 3);
	for (unsigned b = 0; b < FAKE_BLOCKS; b++) {
		bool unmapped = (b >= 10 && b < 15) || b == 100 || b == 4095;

		cr_assert(rig.lun.bytes[b * 512] == !unmapped);
		cr_assert(rig.lun.bytes[b * 512 + 511] == !unmapped);
	}
	rig_clear(&rig);
}

/* Lists of descriptors that overlap, in any order: what one of them names is unmapped. */
Test(scsi_unmap, overlapping_and_unordered)
{
	static const struct range ranges[] = {{50, 10}, {45, 10}, {50, 10},
					      {40, 1},  {0, 100}, {7, 0}};
	uint32_t length = make_list(ranges, ARRAY_SIZE(ranges));

	rig_init(&rig);
	memset(rig.lun.bytes, 1, FAKE_BLOCKS * 512);
	unmap(length, length);
	cr_expect(rig_sense(&rig) == 0 && rig.lun.count[LUN_UNMAP] == 5);
	for (unsigned b = 0; b < FAKE_BLOCKS; b++)
		cr_assert(rig.lun.bytes[b * 512] == (b >= 100));
	rig_clear(&rig);
}

/* ANCHOR keeps the space; where there is none to keep, ANC_SUP says so and it is refused. */
Test(scsi_unmap, anchor)
{
	static const struct range ranges[] = {{10, 5}, {100, 1}};
	uint32_t length = make_list(ranges, ARRAY_SIZE(ranges));

	rig_init(&rig);
	memset(rig.lun.bytes, 1, FAKE_BLOCKS * 512);
	rig_do(&rig, CDB(0x42, 1, [8] = (uint8_t)length), list, length);
	cr_expect(rig_sense(&rig) == 0);
	cr_expect(rig.lun.count[LUN_ZERO] == 2 && rig.lun.count[LUN_UNMAP] == 0);
	cr_expect(rig.lun.bytes[10 * 512] == 0 && rig.lun.bytes[15 * 512] == 1);
	rig.lun.limits.anchors = false;
	rig_do(&rig, CDB(0x42, 1, [8] = (uint8_t)length), list, length);
	cr_expect(rig_sense(&rig) == INVALID_FIELD && rig_field(&rig) == 0x100);
	cr_expect(rig.lun.count[LUN_ZERO] == 2);
	rig_clear(&rig);
}

/* Write protection is told before what is wrong with the CDB or the list: a host that hears of an
 * unknown bit gives the command up for good. */
Test(scsi_unmap, write_protection_first)
{
	static const struct range ranges[] = {{5000, 5}};
	uint32_t length = make_list(ranges, ARRAY_SIZE(ranges));

	rig_init(&rig);
	rig.lun.limits.anchors = false;
	rig.lun.state.read_only = true;
	unmap(length, length);
	cr_expect(rig_sense(&rig) == WRITE_PROTECTED);
	rig_do(&rig, CDB(0x42, 1, [8] = 7), list, 7);
	cr_expect(rig_sense(&rig) == WRITE_PROTECTED);
	rig_do(&rig, CDB(0x93, 0x10), NULL, 0);
	cr_expect(rig_sense(&rig) == WRITE_PROTECTED);
	rig_do(&rig, CDB(0x93, 0, 0xFF, [13] = 1), list, 512);
	cr_expect(rig_sense(&rig) == WRITE_PROTECTED);
	rig_clear(&rig);
}

Test(scsi_unmap, as_many_descriptors_as_announced)
{
	static struct range ranges[4095];
	uint32_t length;

	for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++)
		ranges[i] = (struct range){i, 1};
	length = make_list(ranges, ARRAY_SIZE(ranges));
	rig_init(&rig);
	unmap(length, length);
	cr_expect(rig_sense(&rig) == 0 && rig.lun.count[LUN_UNMAP] == 4095);
	rig_clear(&rig);
}

/* One bad descriptor, wherever it stands: nothing is done. */
Test(scsi_unmap, all_is_checked_first)
{
	static const struct range bad[] = {
		{4096, 1},
		{4095, 2},
		{4097, 0},
		{UINT64_MAX, 1},
		{UINT64_MAX, UINT32_MAX},
		{UINT64_MAX - 1, 2},
		{1, UINT32_MAX},
		{UINT64_C(1) << 55, 1},
	};

	rig_init(&rig);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		for (unsigned place = 0; place < 3; place++) {
			struct range ranges[3] = {{1, 1}, {2, 2}, {3, 3}};
			uint32_t length;

			ranges[place] = bad[i];
			length = make_list(ranges, 3);
			unmap(length, length);
			cr_expect(rig_sense(&rig) == LBA_OUT_OF_RANGE);
			cr_expect(rig.lun.count[LUN_UNMAP] == 0);
		}
	rig_clear(&rig);
}

Test(scsi_unmap, nothing_to_do)
{
	rig_init(&rig);
	unmap(0, 0);
	cr_expect(rig_sense(&rig) == 0);
	(void)make_list(NULL, 0);
	unmap(8, 8);
	cr_expect(rig_sense(&rig) == 0 && rig.lun.count[LUN_UNMAP] == 0);
	rig_clear(&rig);
}

Test(scsi_unmap, malformed_lists)
{
	static const struct {
		const char *what;
		uint32_t cdb_length;
		uint32_t arrived;
		uint16_t data_length;
		uint16_t descriptors_length;
		uint32_t sense;
	} cases[] = {
		{"one byte", 1, 1, 22, 16, LIST_LENGTH},
		{"seven bytes", 7, 7, 22, 16, LIST_LENGTH},
		{"no descriptor although announced", 8, 8, 22, 16, LIST_LENGTH},
		{"a descriptor cut short", 23, 23, 22, 16, LIST_LENGTH},
		{"less arrived than the CDB says", 24, 23, 22, 16, LIST_LENGTH},
		{"nothing arrived", 24, 0, 22, 16, LIST_LENGTH},
		{"data length beyond the list", 24, 24, 23, 16, LIST_LENGTH},
		{"data length at its largest", 24, 24, 0xFFFF, 16, LIST_LENGTH},
		{"descriptors beyond the list", 24, 24, 22, 32, LIST_LENGTH},
		{"descriptors at their largest", 24, 24, 22, 0xFFFF, LIST_LENGTH},
		{"descriptors beyond the data length", 24, 24, 21, 16, INVALID_PARAMETER},
		{"descriptors although data length is 0", 24, 24, 0, 16, INVALID_PARAMETER},
		{"more bytes than used", 40, 40, 22, 16, 0},
		{"a last descriptor that is not whole", 39, 39, 37, 31, 0},
		{"less than one descriptor", 23, 23, 21, 15, 0},
	};

	rig_init(&rig);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		(void)make_list((struct range[]){{5, 1}, {6, 1}}, 2);
		put_be16(list, cases[i].data_length);
		put_be16(list + 2, cases[i].descriptors_length);
		rig.lun.count[LUN_UNMAP] = 0;
		unmap(cases[i].cdb_length, cases[i].arrived);
		cr_expect(rig_sense(&rig) == cases[i].sense, "%s: %06X", cases[i].what,
			  (unsigned)rig_sense(&rig));
		cr_expect(rig.lun.count[LUN_UNMAP] ==
				  (cases[i].sense == 0 ? cases[i].descriptors_length / 16u : 0),
			  "%s", cases[i].what);
	}
	rig_clear(&rig);
}

Test(scsi_unmap, beyond_four_gib)
{
	static const struct range ranges[] = {{7, 0xFFFFFFFF}, {0, 8388608}, {1, 10485760}};
	uint32_t length = make_list(ranges, ARRAY_SIZE(ranges));

	rig_init_with(&rig, UINT64_C(1) << 40, 512);
	rig_connect(&rig);
	rig_do(&rig, CDB(0x00), NULL, 0);
	unmap(length, length);
	cr_expect(rig_sense(&rig) == 0);
	cr_expect(rig.lun.range_bytes[LUN_UNMAP] ==
		  (UINT64_C(0xFFFFFFFF) + 8388608 + 10485760) * 512);
	cr_expect(rig.lun.longest_bytes[LUN_UNMAP] <= UINT64_C(1) << 30);
	rig_clear(&rig);
}

Test(scsi_unmap, failure_and_abort_end_it)
{
	static const struct range ranges[] = {{1, 1}, {2, 1}, {3, 1}};
	uint32_t length = make_list(ranges, ARRAY_SIZE(ranges));

	rig_init(&rig);
	rig.lun.fail_op = LUN_UNMAP;
	rig.lun.fail_after = 1;
	rig.lun.fail_res = -EIO;
	unmap(length, length);
	cr_expect(rig_sense(&rig) == WRITE_ERROR && rig.lun.count[LUN_UNMAP] == 2);
	rig.lun.fail_res = 0;
	cr_assert(rig_prepare(&rig, CDB(0x42, [8] = (uint8_t)length)));
	memcpy(rig.buffer, list, length);
	rig.cmd.buffer_bytes = length;
	cr_assert(!scsi_cmd_execute(&rig.cmd));
	scsi_cmd_abort(&rig.cmd);
	fake_run(&rig);
	cr_expect(rig.done_count == 1 && rig.lun.count[LUN_UNMAP] == 3);
	rig_clear(&rig);
}
