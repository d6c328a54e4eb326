/*
 * ORWRITE: every bit that was sent is set and no other, at every length, and nobody in between.
 */
#include <criterion/criterion.h>

#include "tests/unit/scsi_fake.h"

#define BLOCK 512u
#define BLOCKS_MAX 256u

static struct rig rig;
static uint8_t data[BLOCKS_MAX * 4096];
static uint8_t image[BLOCKS_MAX * 4096];

static void fill(uint8_t *bytes, size_t count, unsigned seed)
{
	for (size_t i = 0; i < count; i++)
		bytes[i] = (uint8_t)(seed = seed * 1103515245u + 12345u, seed >> 16);
}

static bool prepare(uint64_t lba, uint32_t count, uint8_t bits)
{
	uint8_t cdb[SCSI_CDB_MAX] = {0x8B, bits};

	put_be64(cdb + 2, lba);
	put_be32(cdb + 10, count);
	return rig_prepare(&rig, cdb, sizeof(cdb));
}

Test(scsi_orwrite, every_length)
{
	rig_init(&rig);
	rig.lun.limits.io_align_bytes = 4096;
	for (uint32_t count = 1; count <= BLOCKS_MAX; count++) {
		size_t bytes = count * BLOCK;
		uint8_t *at = rig.lun.bytes + 5 * BLOCK;

		fill(rig.lun.bytes, FAKE_BLOCKS * BLOCK, count);
		fill(data, bytes, count + 1000);
		for (size_t i = 0; i < bytes; i++)
			image[i] = at[i] | data[i];
		cr_assert(prepare(5, count, 0));
		rig_execute(&rig, data, sizeof(data));
		cr_assert(rig_sense(&rig) == 0 && memcmp(at, image, bytes) == 0, "%u", count);
		cr_assert(rig.lun.count[LUN_READ] == count && rig.lun.count[LUN_WRITE] == count);
	}
	rig_clear(&rig);
}

Test(scsi_orwrite, longest_4kn)
{
	rig_init_with(&rig, 1024, 4096);
	rig_connect(&rig);
	rig_do(&rig, CDB(0x00), NULL, 0);
	fill(data, sizeof(data), 1);
	memset(rig.lun.bytes, 0x0F, (size_t)rig.lun.state.size_bytes);
	cr_assert(prepare(768, BLOCKS_MAX, 0));
	rig_execute(&rig, data, sizeof(data));
	cr_expect(rig_sense(&rig) == 0 && rig.lun.count[LUN_WRITE] == 1);
	for (size_t i = 0; i < sizeof(data); i++)
		cr_assert(rig.lun.bytes[768 * 4096 + i] == (data[i] | 0x0F));
	cr_expect(rig.lun.bytes[768 * 4096 - 1] == 0x0F);
	rig_clear(&rig);
}

Test(scsi_orwrite, limits)
{
	rig_init(&rig);
	cr_expect(!prepare(0, BLOCKS_MAX + 1, 0));
	cr_expect(rig_sense(&rig) == INVALID_FIELD && rig_field(&rig) == 0xA07);
	cr_expect(!prepare(4095, 2, 0) && rig_sense(&rig) == LBA_OUT_OF_RANGE);
	cr_expect(!prepare(0, 1, 0x20) && rig_sense(&rig) == INVALID_FIELD);
	cr_expect(prepare(4095, 0, 0) && rig.cmd.data == SCSI_DATA_NONE);
	rig_execute(&rig, NULL, 0);
	cr_expect(rig_sense(&rig) == 0 && rig.lun.count[LUN_READ] == 0);
	rig.expected_bytes = 511;
	cr_expect(!prepare(0, 1, 0) && rig_sense(&rig) == INFORMATION_UNIT);
	rig.expected_bytes = 1024;
	cr_expect(prepare(0, 1, 0) && rig.cmd.data_bytes == 512);
	rig_clear(&rig);
}

Test(scsi_orwrite, fua)
{
	rig_init(&rig);
	cr_assert(prepare(0, 1, 0x18));
	rig_execute(&rig, data, sizeof(data));
	cr_expect(rig_sense(&rig) == 0 && rig.lun.durable_count == 1);
	rig_clear(&rig);
}

Test(scsi_orwrite, abort_of_the_write)
{
	loop_role_assume();
	rig_init(&rig);
	memset(data, 0xFF, sizeof(data));
	cr_assert(prepare(3, 200, 0));
	rig_gather(&rig, data);
	cr_assert(!scsi_cmd_execute(&rig.cmd));
	cr_assert(fake_message(&rig.loop) && fake_step(&rig.lun));
	scsi_cmd_abort(&rig.cmd);
	fake_run(&rig);
	cr_expect(rig.done_count == 1 && rig.cmd.status == SCSI_TASK_ABORTED);
	cr_expect(memcmp(rig.lun.bytes + 3 * BLOCK, data, 200 * BLOCK) == 0);
	rig_clear(&rig);
}
