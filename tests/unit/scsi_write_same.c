/*
 * WRITE SAME: what each combination of UNMAP, NDOB and data becomes, long ranges, steps and abort.
 */
#include <criterion/criterion.h>

#include "tests/unit/scsi_fake.h"

static struct rig rig;
static uint8_t block[4096];

enum {
	ANCHOR = 0x10,
	UNMAP = 0x08,
	NDOB = 0x01,
};

static void write_same_16(uint8_t bits, uint64_t lba, uint32_t count)
{
	uint8_t cdb[16] = {0x93, bits};

	put_be64(cdb + 2, lba);
	put_be32(cdb + 10, count);
	rig_do(&rig, cdb, sizeof(cdb), block, sizeof(block));
}

Test(scsi_write_same, what_becomes_of_it)
{
	static const struct {
		uint8_t bits;
		bool zero;
		bool zeroes_after_unmap;
		enum lun_op op;
	} cases[] = {
		{0, false, true, LUN_WRITE},
		{0, true, true, LUN_ZERO},
		{0, true, false, LUN_ZERO},
		{UNMAP, false, true, LUN_WRITE},
		{UNMAP, false, false, LUN_WRITE},
		{UNMAP, true, true, LUN_UNMAP},
		{UNMAP, true, false, LUN_ZERO},
		{NDOB, false, true, LUN_ZERO},
		{NDOB, false, false, LUN_ZERO},
		{UNMAP | NDOB, false, true, LUN_UNMAP},
		{UNMAP | NDOB, false, false, LUN_ZERO},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t expected = cases[i].zero || (cases[i].bits & NDOB) ? 0 : 0x5A;

		rig_init(&rig);
		rig.lun.limits.zeroes_after_unmap = cases[i].zeroes_after_unmap;
		memset(rig.lun.bytes, 0x33, 100 * 512);
		memset(block, 0, sizeof(block));
		block[511] = cases[i].zero ? 0 : 0x5A;
		write_same_16(cases[i].bits, 10, 20);
		cr_expect(rig_sense(&rig) == 0, "%zu", i);
		for (unsigned op = 0; op < LUN_OP_COUNT; op++)
			cr_expect(rig.lun.count[op] == (op == cases[i].op), "%zu", i);
		for (unsigned b = 10; b < 30; b++)
			cr_expect(rig.lun.bytes[b * 512] == 0 &&
				  rig.lun.bytes[b * 512 + 511] == expected);
		cr_expect(rig.lun.bytes[10 * 512 - 1] == 0x33 && rig.lun.bytes[30 * 512] == 0x33);
		rig_clear(&rig);
	}
}

Test(scsi_write_same, no_data_is_asked_for_with_ndob)
{
	rig_init(&rig);
	cr_assert(rig_prepare(&rig, CDB(0x93, NDOB, [13] = 1)));
	cr_expect(rig.cmd.data == SCSI_DATA_NONE && rig.cmd.data_bytes == 0);
	cr_assert(rig_prepare(&rig, CDB(0x93, 0, [13] = 200)));
	cr_expect(rig.cmd.data == SCSI_DATA_OUT_PARAM && rig.cmd.data_bytes == 512);
	rig_clear(&rig);
}

/* Every length up to some steps, from data that are not zero, on both block sizes. */
Test(scsi_write_same, pattern)
{
	for (uint32_t size = 512; size <= 4096; size *= 8) {
		uint64_t blocks = (UINT64_C(3) << 20) / size;

		rig_init_with(&rig, blocks, size);
		rig_connect(&rig);
		rig_do(&rig, CDB(0x00), NULL, 0);
		for (size_t i = 0; i < size; i++)
			block[i] = (uint8_t)(i * 7 + i / 256 + 1);
		for (uint32_t count = 1; count < blocks - 2; count = count * 3 + 1) {
			memset(rig.lun.bytes, 0, (size_t)rig.lun.state.size_bytes);
			write_same_16(0, 1, count);
			cr_assert(rig_sense(&rig) == 0);
			for (uint32_t b = 0; b < count + 2; b++) {
				const uint8_t *at = rig.lun.bytes + (size_t)b * size;

				if (b == 0 || b == count + 1)
					cr_assert(at[0] == 0 && at[size - 1] == 0);
				else
					cr_assert(memcmp(at, block, size) == 0);
			}
		}
		rig_clear(&rig);
	}
}

Test(scsi_write_same, of_ten_bytes)
{
	rig_init(&rig);
	memset(block, 7, sizeof(block));
	rig_do(&rig, CDB(0x41, 0, 0, 0, 0, 9, 0, 0, 3), block, 512);
	cr_expect(rig_sense(&rig) == 0);
	cr_expect(rig.lun.bytes[9 * 512] == 7 && rig.lun.bytes[12 * 512 - 1] == 7);
	cr_expect(rig.lun.bytes[9 * 512 - 1] == 0 && rig.lun.bytes[12 * 512] == 0);
	memset(block, 0, sizeof(block));
	rig_do(&rig, CDB(0x41, UNMAP, 0, 0, 0, 9, 0, 0, 3), block, 512);
	cr_expect(rig_sense(&rig) == 0 && rig.lun.count[LUN_UNMAP] == 1);
	rig_clear(&rig);
}

/* WSNZ: 0 blocks are refused, never "to the end". */
Test(scsi_write_same, zero_blocks)
{
	rig_init(&rig);
	write_same_16(0, 0, 0);
	cr_expect(rig_sense(&rig) == INVALID_FIELD && rig_field(&rig) == 0xA07);
	rig_do(&rig, CDB(0x41), block, 512);
	cr_expect(rig_sense(&rig) == INVALID_FIELD && rig_field(&rig) == 0x707);
	rig_clear(&rig);
}

/* Zeroes bring no space to a hole, unless ANCHOR asks for it. */
Test(scsi_write_same, a_hole_stays_one)
{
	static const struct {
		uint8_t bits;
		uint8_t hole, data;
	} cases[] = {
		{0, LUN_DEALLOCATED, LUN_ANCHORED},
		{NDOB, LUN_DEALLOCATED, LUN_ANCHORED},
		{UNMAP, LUN_DEALLOCATED, LUN_DEALLOCATED},
		{UNMAP | ANCHOR, LUN_ANCHORED, LUN_ANCHORED},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		rig_init(&rig);
		rig.lun.limits.anchors = true;
		memset(rig.lun.states + 10, LUN_MAPPED, 10);
		memset(block, 0, sizeof(block));
		write_same_16(cases[i].bits, 5, 20);
		cr_expect(rig_sense(&rig) == 0, "%zu", i);
		for (unsigned b = 5; b < 25; b++)
			cr_expect(rig.lun.states[b] ==
					  (b >= 10 && b < 20 ? cases[i].data : cases[i].hole),
				  "%zu: block %u", i, b);
		rig_clear(&rig);
	}
}

/* ANCHOR means something with UNMAP alone, and where blocks can be anchored. */
Test(scsi_write_same, anchor)
{
	static const struct {
		uint8_t bits;
		bool anchors;
		uint32_t sense;
	} cases[] = {
		{ANCHOR, true, INVALID_FIELD},
		{ANCHOR, false, INVALID_FIELD},
		{ANCHOR | UNMAP, true, 0},
		{ANCHOR | UNMAP, false, INVALID_FIELD},
		{ANCHOR | NDOB, true, INVALID_FIELD},
		{ANCHOR | UNMAP | NDOB, true, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		rig_init(&rig);
		rig.lun.limits.anchors = cases[i].anchors;
		memset(block, 0, sizeof(block));
		write_same_16(cases[i].bits, 5, 7);
		cr_expect(rig_sense(&rig) == cases[i].sense, "%zu", i);
		cr_expect(cases[i].sense == 0 || rig_field(&rig) == 0x104, "%zu", i);
		cr_expect(rig.lun.range_bytes[LUN_ZERO] == (cases[i].sense == 0 ? 7 * 512 : 0));
		cr_expect(rig.lun.count[LUN_UNMAP] == 0);
		if ((cases[i].bits & NDOB) == 0) {
			rig_do(&rig, CDB(0x41, cases[i].bits, [8] = 1), block, 512);
			cr_expect(rig_sense(&rig) == cases[i].sense, "%zu", i);
		}
		block[3] = 9;
		write_same_16(cases[i].bits & (uint8_t)~NDOB, 5, 7);
		cr_expect(rig.lun.count[LUN_WRITE] == (cases[i].sense == 0), "%zu", i);
		rig_clear(&rig);
	}
}

/* D4 of another target: byte counts of 32 bits made 4 GiB nothing at all. */
Test(scsi_write_same, beyond_four_gib)
{
	static const uint64_t lengths[] = {(UINT64_C(4) << 30) - 512, UINT64_C(4) << 30,
					   UINT64_C(5) << 30, UINT64_C(0xFFFFFFFF) * 512};

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		rig_init_with(&rig, UINT64_C(1) << 40, 512);
		rig_connect(&rig);
		rig_do(&rig, CDB(0x00), NULL, 0);
		memset(block, 0, sizeof(block));
		write_same_16(UNMAP, 3, (uint32_t)(lengths[i] / 512));
		cr_expect(rig_sense(&rig) == 0);
		cr_expect(rig.lun.range_bytes[LUN_UNMAP] == lengths[i]);
		cr_expect(rig.lun.longest_bytes[LUN_UNMAP] <= UINT64_C(1) << 30);
		if (i < 3) {
			memset(block, 1, sizeof(block));
			write_same_16(0, 3, (uint32_t)(lengths[i] / 512));
			cr_expect(rig_sense(&rig) == 0);
			cr_expect(rig.lun.range_bytes[LUN_WRITE] == lengths[i]);
		}
		rig_clear(&rig);
	}
}

/* Less than a block of data, and an announcement of anything else than a block. */
Test(scsi_write_same, data_of_the_wrong_size)
{
	rig_init(&rig);
	rig_do(&rig, CDB(0x93, 0, [13] = 1), block, 511);
	cr_expect(rig_sense(&rig) == INFORMATION_UNIT);
	for (unsigned expected = 0; expected <= 1024; expected += 256) {
		rig.expected_bytes = expected;
		rig_do(&rig, CDB(0x93, 0, [13] = 1), block, 512);
		cr_expect(rig_sense(&rig) == (expected == 512 ? 0 : INFORMATION_UNIT));
	}
	rig.expected_bytes = 0;
	rig_do(&rig, CDB(0x93, NDOB, [13] = 1), NULL, 0);
	cr_expect(rig_sense(&rig) == 0);
	rig_clear(&rig);
}

Test(scsi_write_same, failure_ends_it)
{
	rig_init(&rig);
	memset(block, 1, sizeof(block));
	rig.lun.fail_op = LUN_WRITE;
	rig.lun.fail_after = 1;
	rig.lun.fail_res = -ENOSPC;
	write_same_16(0, 0, 4096);
	cr_expect(rig_sense(&rig) == NO_SPACE && rig.lun.count[LUN_WRITE] == 2);
	rig_clear(&rig);
}

Test(scsi_write_same, abort_starts_no_further_step)
{
	rig_init(&rig);
	memset(block, 1, sizeof(block));
	cr_assert(rig_prepare(&rig, CDB(0x93, 0, [12] = 0x10)));
	memcpy(rig.buffer, block, 512);
	rig.cmd.buffer_bytes = 512;
	cr_assert(!scsi_cmd_execute(&rig.cmd));
	cr_assert(fake_step(&rig.lun));
	scsi_cmd_abort(&rig.cmd);
	cr_expect(rig.lun.abandoned_count == 1 && rig.done_count == 0);
	fake_run(&rig);
	cr_expect(rig.done_count == 1 && rig.lun.count[LUN_WRITE] == 2);
	rig_clear(&rig);
}
