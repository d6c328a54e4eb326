/*
 * VERIFY: it really reads (BYTCHK 00b), it really compares (01b, 11b), and it says where.
 */
#include <criterion/criterion.h>

#include "tests/unit/scsi_fake.h"

static struct rig rig;
static uint8_t data[4 * LOOP_BUFFER_BYTES];

enum {
	READ_ONLY = 0x00,
	COMPARE_ALL = 0x02,
	RESERVED = 0x04,
	COMPARE_ONE = 0x06,
};

static void verify_16(uint8_t bits, uint64_t lba, uint32_t count, uint32_t data_bytes)
{
	uint8_t cdb[16] = {0x8F, bits};

	put_be64(cdb + 2, lba);
	put_be32(cdb + 10, count);
	rig_do(&rig, cdb, sizeof(cdb), data, data_bytes);
}

static void expect_miscompare(uint64_t offset)
{
	cr_expect(rig_sense(&rig) == MISCOMPARE);
	cr_expect((rig.cmd.sense[0] & 0x80) != 0 && get_be32(rig.cmd.sense + 3) == offset,
		  "at %u instead of %u", get_be32(rig.cmd.sense + 3), (unsigned)offset);
}

Test(scsi_verify, reads_the_medium)
{
	rig_init(&rig);
	verify_16(READ_ONLY, 1, 4000, 0);
	cr_expect(rig_sense(&rig) == 0 && rig.lun.range_bytes[LUN_READ] == 4000 * 512);
	cr_expect(rig.lun.count[LUN_READ] == 4);
	rig.lun.fail_op = LUN_READ;
	rig.lun.fail_after = 2;
	rig.lun.fail_res = -EIO;
	verify_16(READ_ONLY, 1, 4000, 0);
	cr_expect(rig_sense(&rig) == READ_ERROR);
	rig_clear(&rig);
}

Test(scsi_verify, nothing)
{
	rig_init(&rig);
	for (uint8_t bits = 0; bits <= COMPARE_ONE; bits += 2) {
		verify_16(bits, 0, 0, 0);
		cr_expect(rig_sense(&rig) == (bits == RESERVED ? INVALID_FIELD : 0));
		cr_expect(rig.cmd.data == SCSI_DATA_NONE);
	}
	cr_expect(rig.lun.count[LUN_READ] == 0);
	rig_clear(&rig);
}

Test(scsi_verify, reserved_byte_check)
{
	static const uint8_t opcodes[] = {0x2F, 0xAF, 0x8F};

	rig_init(&rig);
	for (size_t i = 0; i < sizeof(opcodes); i++) {
		cr_expect(!rig_prepare(&rig, CDB(opcodes[i], RESERVED)));
		cr_expect(rig_sense(&rig) == INVALID_FIELD && rig_field(&rig) == 0x102);
	}
	rig_clear(&rig);
}

/* A volatile cache goes to the medium before that is looked at, whatever is compared. */
Test(scsi_verify, flushes_first)
{
	static const uint8_t byte_checks[] = {READ_ONLY, COMPARE_ALL, COMPARE_ONE};

	rig_init(&rig);
	memset(data, 0, 512);
	for (unsigned i = 0; i < sizeof(byte_checks); i++) {
		verify_16(byte_checks[i], 1, 1, 512);
		cr_expect(rig_sense(&rig) == 0);
		cr_expect(rig.lun.count[LUN_FLUSH] == i + 1 && rig.lun.count[LUN_READ] == i + 1);
	}
	rig.lun.fail_op = LUN_FLUSH;
	rig.lun.fail_res = -EIO;
	for (unsigned i = 0; i < sizeof(byte_checks); i++) {
		rig.lun.fail_after = 0;
		verify_16(byte_checks[i], 1, 1, 512);
		cr_expect(rig_sense(&rig) == WRITE_ERROR && rig.lun.count[LUN_READ] == 3);
	}
	rig.lun.state.read_only = true;
	verify_16(READ_ONLY, 1, 1, 512);
	rig.lun.state.read_only = false;
	rig.lun.limits.write_cache = false;
	verify_16(READ_ONLY, 1, 1, 512);
	cr_expect(rig_sense(&rig) == 0);
	cr_expect(rig.lun.count[LUN_FLUSH] == 6 && rig.lun.count[LUN_READ] == 5);
	rig_clear(&rig);
}

Test(scsi_verify, no_buffer_left)
{
	void *taken[FAKE_BUFFERS];
	struct rig_piece piece;

	rig_init(&rig);
	for (unsigned i = 0; i < FAKE_BUFFERS; i++)
		taken[i] = loop_buffer_acquire(&rig.loop);
	cr_assert(rig_prepare(&rig, CDB(0x2F, READ_ONLY, [8] = 1)));
	cr_expect(scsi_cmd_execute(&rig.cmd) && rig_sense(&rig) == BUSY_STATUS);
	cr_assert(rig_prepare(&rig, CDB(0x2F, COMPARE_ALL, [8] = 1)));
	rig_submit(&rig, &piece, 0, 512, data);
	fake_run(&rig);
	cr_expect(piece.done_count == 1 && !piece.piece.ok && rig_sense(&rig) == BUSY_STATUS);
	for (unsigned i = 0; i < FAKE_BUFFERS; i++)
		loop_buffer_release(&rig.loop, taken[i]);
	rig_clear(&rig);
}

Test(scsi_verify, compares_all)
{
	static const uint32_t places[] = {
		0, 1, 511, 512, LOOP_BUFFER_BYTES - 1, LOOP_BUFFER_BYTES, 300 * 512 - 1};

	rig_init(&rig);
	for (size_t i = 0; i < 300 * 512; i++)
		data[i] = rig.lun.bytes[512 + i] = (uint8_t)(i * 31 >> 3);
	verify_16(COMPARE_ALL, 1, 300, 300 * 512);
	cr_expect(rig_sense(&rig) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		data[places[i]] ^= 0x10;
		verify_16(COMPARE_ALL, 1, 300, 300 * 512);
		expect_miscompare(places[i]);
		data[places[i]] ^= 0x10;
	}
	rig_clear(&rig);
}

/* Pieces that come back in any order: the lowest difference is told. */
Test(scsi_verify, lowest_of_several_differences)
{
	struct rig_piece pieces[2];

	rig_init(&rig);
	rig.lun.limits.write_cache = false;
	memset(data, 0, sizeof(data));
	data[5] = 1;
	data[LOOP_BUFFER_BYTES + 9] = 1;
	cr_assert(rig_prepare(&rig, CDB(0x2F, COMPARE_ALL, [7] = 1)));
	rig_submit(&rig, &pieces[0], LOOP_BUFFER_BYTES, LOOP_BUFFER_BYTES,
		   data + LOOP_BUFFER_BYTES);
	rig_submit(&rig, &pieces[1], 0, LOOP_BUFFER_BYTES, data);
	cr_assert(fake_step(&rig.lun));
	expect_miscompare(LOOP_BUFFER_BYTES + 9);
	fake_run(&rig);
	expect_miscompare(5);
	cr_expect(!pieces[0].piece.ok && !pieces[1].piece.ok);
	rig_clear(&rig);
}

/* Also where the one behind was found before this one has been read, or begun at all. */
static void one_behind_is_found_first(unsigned steps_before_the_other)
{
	struct rig_piece pieces[2];

	rig_init(&rig);
	memset(data, 0, sizeof(data));
	data[5] = 1;
	data[LOOP_BUFFER_BYTES + 9] = 1;
	cr_assert(rig_prepare(&rig, CDB(0x2F, COMPARE_ALL, [7] = 1)));
	rig_submit(&rig, &pieces[0], LOOP_BUFFER_BYTES, LOOP_BUFFER_BYTES,
		   data + LOOP_BUFFER_BYTES);
	for (unsigned i = 0; i < steps_before_the_other; i++)
		cr_assert(fake_step(&rig.lun));
	rig_submit(&rig, &pieces[1], 0, LOOP_BUFFER_BYTES, data);
	while (pieces[0].done_count == 0)
		cr_assert(fake_step(&rig.lun));
	expect_miscompare(LOOP_BUFFER_BYTES + 9);
	fake_run(&rig);
	expect_miscompare(5);
	cr_expect(pieces[1].done_count == 1 && !pieces[1].piece.ok);
	rig_clear(&rig);
}

Test(scsi_verify, one_behind_is_found_first)
{
	/* A flush and a read each. */
	for (unsigned steps = 0; steps <= 2; steps++)
		one_behind_is_found_first(steps);
}

/* A failure of another kind that came first is not replaced. */
Test(scsi_verify, difference_after_a_read_error)
{
	struct rig_piece pieces[2];

	rig_init(&rig);
	rig.lun.limits.write_cache = false;
	memset(data, 0xFF, sizeof(data));
	rig.lun.fail_op = LUN_READ;
	rig.lun.fail_res = -EIO;
	cr_assert(rig_prepare(&rig, CDB(0x2F, COMPARE_ALL, [7] = 1)));
	rig_submit(&rig, &pieces[0], 0, LOOP_BUFFER_BYTES, data);
	rig_submit(&rig, &pieces[1], LOOP_BUFFER_BYTES, LOOP_BUFFER_BYTES, data);
	cr_assert(fake_step(&rig.lun));
	rig.lun.fail_res = 0;
	fake_run(&rig);
	cr_expect(rig_sense(&rig) == READ_ERROR);
	rig_clear(&rig);
}

Test(scsi_verify, compares_one_with_all)
{
	rig_init(&rig);
	for (size_t i = 0; i < 512; i++)
		data[i] = (uint8_t)(i + 3);
	for (unsigned b = 5; b < 1005; b++)
		memcpy(rig.lun.bytes + b * 512, data, 512);
	verify_16(COMPARE_ONE, 5, 1000, 512);
	cr_expect(rig_sense(&rig) == 0 && rig.lun.range_bytes[LUN_READ] == 1000 * 512);
	verify_16(COMPARE_ONE, 5, 1001, 512);
	expect_miscompare(1000 * 512);
	rig.lun.bytes[505 * 512 + 17] ^= 1;
	verify_16(COMPARE_ONE, 5, 1000, 512);
	expect_miscompare(500 * 512 + 17);
	rig_clear(&rig);
}

/* Too little data to compare with must not end in GOOD. */
Test(scsi_verify, announced_data)
{
	rig_init(&rig);
	rig.expected_bytes = 1023;
	verify_16(COMPARE_ALL, 0, 2, 0);
	cr_expect(rig_sense(&rig) == INFORMATION_UNIT);
	rig.expected_bytes = 1024;
	memset(data, 0, 1024);
	verify_16(COMPARE_ALL, 0, 2, 1024);
	cr_expect(rig_sense(&rig) == 0);
	rig.expected_bytes = 0;
	verify_16(READ_ONLY, 0, 2, 0);
	cr_expect(rig_sense(&rig) == 0);
	verify_16(COMPARE_ONE, 0, 2, 0);
	cr_expect(rig_sense(&rig) == INFORMATION_UNIT);
	rig_clear(&rig);
}

Test(scsi_verify, abort)
{
	rig_init(&rig);
	rig.lun.limits.write_cache = false;
	cr_assert(rig_prepare(&rig, CDB(0x2F, READ_ONLY, [7] = 0x0F)));
	cr_assert(!scsi_cmd_execute(&rig.cmd));
	scsi_cmd_abort(&rig.cmd);
	/* Its buffer is the kernel's until the read is back. */
	cr_expect(fake_buffers_taken(&rig.loop) == 1 && rig.done_count == 0);
	fake_run(&rig);
	cr_expect(rig.done_count == 1 && rig.lun.count[LUN_READ] == 1);
	rig_clear(&rig);
}
