/*
 * WRITE AND VERIFY: it writes durably, it reads back what stands there, and with BYTCHK it
 * compares.
 */
#include <criterion/criterion.h>

#include "tests/unit/scsi_fake.h"

static struct rig rig;
static uint8_t data[4 * LOOP_BUFFER_BYTES];

static const struct form {
	uint8_t opcode;
	struct {
		uint8_t at, bytes;
	} length;
	uint8_t lba_end;
} forms[] = {
	{0x2E, {7, 2}, 5},
	{0xAE, {6, 4}, 5},
	{0x8E, {10, 4}, 9},
};

static bool prepare(const struct form *form, uint8_t bits, uint8_t lba, uint16_t count)
{
	uint8_t cdb[SCSI_CDB_MAX] = {form->opcode, bits};

	cdb[form->lba_end] = lba;
	put_be16(cdb + form->length.at + form->length.bytes - 2, count);
	return rig_prepare(&rig, cdb, sizeof(cdb));
}

Test(scsi_write_and_verify, writes_and_reads_back)
{
	static const uint8_t all_bits[] = {0, 0x02, 0x12};

	rig_init(&rig);
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
		for (size_t b = 0; b < sizeof(all_bits); b++) {
			uint8_t bits = all_bits[b];
			unsigned before = rig.lun.count[LUN_WRITE];

			memset(data, (int)(0x11 * (i + 1) + bits), sizeof(data));
			cr_assert(prepare(&forms[i], bits, 9, 300));
			cr_assert(rig.cmd.data == SCSI_DATA_OUT_MEDIUM);
			cr_assert(rig.cmd.data_bytes == 300 * 512);
			rig_move(&rig, data);
			cr_assert(rig_sense(&rig) == 0);
			cr_assert(memcmp(rig.lun.bytes + 9 * 512, data, 300 * 512) == 0);
			cr_assert(rig.lun.count[LUN_WRITE] == before + 3);
			cr_assert(rig.lun.count[LUN_READ] == rig.lun.count[LUN_WRITE]);
			cr_assert(rig.lun.durable_count == rig.lun.count[LUN_WRITE]);
			cr_assert(fake_buffers_taken(&rig.loop) == 0);
		}
	rig_clear(&rig);
}

Test(scsi_write_and_verify, zero_blocks_and_bits)
{
	rig_init(&rig);
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		cr_expect(prepare(&forms[i], 0x02, 0, 0) && rig.cmd.data == SCSI_DATA_NONE);
		rig_execute(&rig, NULL, 0);
		cr_expect(rig_sense(&rig) == 0);
		cr_expect(!prepare(&forms[i], 0x04, 0, 1) && rig_field(&rig) == 0x102);
		cr_expect(!prepare(&forms[i], 0x06, 0, 1) && rig_field(&rig) == 0x102);
		cr_expect(!prepare(&forms[i], 0x20, 0, 1) && rig_field(&rig) == 0x105);
	}
	cr_expect(rig.lun.count[LUN_WRITE] == 0);
	rig_clear(&rig);
}

/* The disk, or another host, changes the block between write and read. */
static void spoil(struct lun *lun)
{
	if (lun->count[LUN_READ] > 0)
		lun->bytes[1000 * 512 + 700] ^= 0x80;
}

Test(scsi_write_and_verify, a_disk_that_lies)
{
	rig_init(&rig);
	memset(data, 0, sizeof(data));
	rig.lun.before = spoil;
	rig_do(&rig, CDB(0x2E, 0x00, 0, 0, 3, 0xE8, 0, 0, 4), data, 0);
	cr_expect(rig_sense(&rig) == 0, "without BYTCHK what can be read is good");
	rig_do(&rig, CDB(0x2E, 0x02, 0, 0, 3, 0xE8, 0, 0, 4), data, 0);
	cr_expect(rig_sense(&rig) == MISCOMPARE);
	cr_expect(rig.cmd.sense[0] == 0xF0 && get_be32(rig.cmd.sense + 3) == 700);
	rig_clear(&rig);
}

Test(scsi_write_and_verify, failures)
{
	rig_init(&rig);
	rig.lun.fail_op = LUN_READ;
	rig.lun.fail_res = -EIO;
	rig_do(&rig, CDB(0x2E, [8] = 1), data, 0);
	cr_expect(rig_sense(&rig) == READ_ERROR && rig.lun.count[LUN_WRITE] == 1);
	rig.lun.fail_op = LUN_WRITE;
	rig.lun.fail_after = 0;
	rig_do(&rig, CDB(0x2E, [8] = 1), data, 0);
	cr_expect(rig_sense(&rig) == WRITE_ERROR && rig.lun.count[LUN_READ] == 1);
	rig_clear(&rig);
}

Test(scsi_write_and_verify, no_buffer_left)
{
	void *taken[FAKE_BUFFERS];
	struct rig_piece piece;

	rig_init(&rig);
	for (unsigned i = 0; i < FAKE_BUFFERS; i++)
		taken[i] = loop_buffer_acquire(&rig.loop);
	cr_assert(rig_prepare(&rig, CDB(0x2E, [8] = 1)));
	rig_submit(&rig, &piece, 0, 512, data);
	fake_run(&rig);
	cr_expect(piece.done_count == 1 && rig_sense(&rig) == BUSY_STATUS);
	cr_expect(rig.lun.count[LUN_WRITE] == 0, "what cannot be verified is not written");
	for (unsigned i = 0; i < FAKE_BUFFERS; i++)
		loop_buffer_release(&rig.loop, taken[i]);
	rig_clear(&rig);
}

Test(scsi_write_and_verify, abort)
{
	struct rig_piece piece;

	loop_role_assume();
	rig_init(&rig);
	cr_assert(rig_prepare(&rig, CDB(0x2E, [8] = 1)));
	rig_submit(&rig, &piece, 0, 512, data);
	scsi_cmd_abort(&rig.cmd);
	fake_run(&rig);
	cr_expect(piece.done_count == 1 && !piece.piece.ok && rig.lun.count[LUN_READ] == 0);
	cr_expect(rig.cmd.status == SCSI_TASK_ABORTED);
	rig_clear(&rig);
}
