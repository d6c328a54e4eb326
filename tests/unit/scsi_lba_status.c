/*
 * GET LBA STATUS: what is answered byte by byte, at each allocation length, in one step and in
 * many, of units of every kind.
 */
#include <criterion/criterion.h>

#include "tests/unit/scsi_fake.h"

static struct rig rig;

struct descriptor {
	uint64_t lba;
	uint32_t count;
	uint8_t status;
};

enum {
	MAPPED = 0,
	DEALLOCATED = 1,
	ANCHORED = 2,
	/* COMPLETION CONDITION and RTP. */
	FULL = 3,
	CAPACITY = 7,
	NO_CONDITION = 1,
};

static void ask(uint64_t lba, uint32_t allocation, uint8_t type)
{
	uint8_t cdb[16] = {0x9E, 0x12, [14] = type};

	put_be64(cdb + 2, lba);
	put_be32(cdb + 10, allocation);
	rig_do(&rig, cdb, sizeof(cdb), NULL, 0);
}

/* The whole answer, as the initiator that takes so much must see it. */
static void expect(uint32_t allocation, uint8_t byte_7, const struct descriptor *all,
		   unsigned count)
{
	static uint8_t golden[SCSI_PARAM_MAX];
	uint32_t bytes = 8 + count * 16;

	memset(golden, 0, sizeof(golden));
	put_be32(golden, bytes - 4);
	golden[7] = byte_7;
	for (unsigned i = 0; i < count; i++) {
		put_be64(golden + 8 + i * 16, all[i].lba);
		put_be32(golden + 16 + i * 16, all[i].count);
		golden[20 + i * 16] = all[i].status;
	}
	cr_assert(rig_sense(&rig) == 0, "%06X", (unsigned)rig_sense(&rig));
	cr_assert(rig.cmd.data_bytes == (allocation < bytes ? allocation : bytes), "%u: %u",
		  allocation, (unsigned)rig.cmd.data_bytes);
	cr_assert(memcmp(rig.buffer, golden, (size_t)rig.cmd.data_bytes) == 0,
		  "length %u, byte 7 %u", get_be32(rig.buffer), rig.buffer[7]);
}

static void init(uint64_t blocks, uint32_t block_bytes)
{
	rig_init_with(&rig, blocks, block_bytes);
	rig_connect(&rig);
	rig_do(&rig, CDB(0x00), NULL, 0);
}

static void set(uint64_t block, uint64_t count, enum lun_extent_state state)
{
	memset(rig.lun.states + block, state, (size_t)count);
}

/* Ten blocks of data, ten anchored, a hole, one block of data at the end. */
static const struct descriptor scene[] = {
	{0, 10, MAPPED}, {10, 10, ANCHORED}, {20, 4075, DEALLOCATED}, {4095, 1, MAPPED}};

static void init_scene(uint32_t block_bytes)
{
	init(4096, block_bytes);
	set(0, 10, LUN_MAPPED);
	set(10, 10, LUN_ANCHORED);
	set(4095, 1, LUN_MAPPED);
}

Test(scsi_lba_status, every_allocation_length)
{
	for (uint32_t size = 512; size <= 4096; size *= 8) {
		init_scene(size);
		for (uint32_t room = 1; room < 100; room++) {
			unsigned fit = room <= 24 ? 1 : (room - 8 + 15) / 16;
			unsigned count = fit < ARRAY_SIZE(scene) ? fit : ARRAY_SIZE(scene);

			ask(0, room, 0);
			expect(room, count < ARRAY_SIZE(scene) ? FULL : CAPACITY, scene, count);
		}
		ask(0, UINT32_MAX, 0);
		expect(SCSI_PARAM_MAX, CAPACITY, scene, ARRAY_SIZE(scene));
		ask(0, 0, 0);
		cr_expect(rig_sense(&rig) == 0 && rig.cmd.data_bytes == 0);
		rig_clear(&rig);
	}
}

/* The first descriptor begins with the block that was asked for, wherever its extent began. */
Test(scsi_lba_status, from_every_place)
{
	init_scene(512);
	ask(15, 4096, 0);
	expect(4096, CAPACITY,
	       (struct descriptor[]){{15, 5, ANCHORED}, {20, 4075, DEALLOCATED}, {4095, 1, MAPPED}},
	       3);
	ask(4094, 24, 0);
	expect(24, FULL, (struct descriptor[]){{4094, 1, DEALLOCATED}}, 1);
	ask(4095, 24, 0);
	expect(24, CAPACITY, (struct descriptor[]){{4095, 1, MAPPED}}, 1);
	rig_clear(&rig);
}

Test(scsi_lba_status, beyond_the_end)
{
	static const uint64_t beyond[] = {4096, 4097, UINT64_C(1) << 55, UINT64_MAX};

	init_scene(512);
	for (size_t i = 0; i < ARRAY_SIZE(beyond); i++) {
		ask(beyond[i], 24, 0);
		cr_expect(rig_sense(&rig) == LBA_OUT_OF_RANGE);
		ask(beyond[i], 0, 0);
		cr_expect(rig_sense(&rig) == LBA_OUT_OF_RANGE);
	}
	cr_expect(rig.lun.count[LUN_MAP] == 0);
	rig_clear(&rig);
}

/* An answer of the LUN that ends in the middle of an extent does not show. */
Test(scsi_lba_status, in_many_steps)
{
	init_scene(512);
	for (unsigned extents = 1; extents < 5; extents++) {
		rig.lun.map_extents = extents;
		ask(0, 4096, 0);
		expect(4096, CAPACITY, scene, ARRAY_SIZE(scene));
	}
	rig_clear(&rig);
}

/* Where there is no anchored state, what look-ahead keeps is told as mapped, in one descriptor. */
Test(scsi_lba_status, without_anchors)
{
	init_scene(512);
	rig.lun.limits.anchors = false;
	rig.lun.map_extents = 1;
	ask(0, 4096, 0);
	expect(4096, CAPACITY,
	       (struct descriptor[]){{0, 20, MAPPED}, {20, 4075, DEALLOCATED}, {4095, 1, MAPPED}},
	       3);
	rig_clear(&rig);
}

Test(scsi_lba_status, fully_provisioned)
{
	init_scene(512);
	rig.lun.limits.thin = false;
	rig.lun.limits.anchors = false;
	ask(7, 4096, 0);
	expect(4096, CAPACITY, (struct descriptor[]){{7, 4089, MAPPED}}, 1);
	ask(7, 4096, 3);
	expect(4096, CAPACITY, NULL, 0);
	cr_expect(rig.lun.count[LUN_MAP] == 0);
	rig_clear(&rig);
}

/* 4 TiB and a block: more than a descriptor can count. */
Test(scsi_lba_status, longer_than_32_bits)
{
	static const struct descriptor all[] = {{0, 0xFFFFF800, DEALLOCATED},
						{0xFFFFF800, 0xFFFFF800, DEALLOCATED},
						{UINT64_C(0x1FFFFF000), 0x1001, DEALLOCATED}};

	init((UINT64_C(1) << 33) + 1, 512);
	for (unsigned count = 1; count <= 3; count++) {
		ask(0, 8 + 16 * count, 0);
		expect(8 + 16 * count, count < 3 ? FULL : CAPACITY, all, count);
	}
	ask(all[1].lba, 24, 0);
	expect(24, FULL, all + 1, 1);
	rig_clear(&rig);
}

Test(scsi_lba_status, report_types)
{
	static const struct {
		uint8_t type;
		unsigned count;
		struct descriptor all[3];
	} cases[] = {
		{1, 2, {{10, 10, ANCHORED}, {20, 4075, DEALLOCATED}}},
		{2, 2, {{0, 10, MAPPED}, {4095, 1, MAPPED}}},
		{3, 1, {{20, 4075, DEALLOCATED}}},
		{4, 1, {{10, 10, ANCHORED}}},
	};

	init_scene(512);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		ask(0, 4096, cases[i].type);
		expect(4096, CAPACITY, cases[i].all, cases[i].count);
		ask(0, 24, cases[i].type);
		expect(24, cases[i].count > 1 ? FULL : CAPACITY, cases[i].all, 1);
	}
	for (unsigned type = 5; type < 256; type++) {
		ask(0, 24, (uint8_t)type);
		cr_expect(rig_sense(&rig) == INVALID_FIELD && rig_field(&rig) == 0xE07);
	}
	rig_clear(&rig);
}

/* Every other block has data: more descriptors than there is room for, and asking goes on where the
 * answer has ended. */
Test(scsi_lba_status, as_many_as_there_is_room_for)
{
	static struct descriptor all[2047];

	init(4096, 512);
	for (unsigned i = 0; i < 4096; i += 2)
		set(i, 1, LUN_MAPPED);
	for (uint64_t from = 0; from < 4096; from += 2047) {
		unsigned count = from + 2047 <= 4096 ? 2047 : (unsigned)(4096 - from);

		for (unsigned i = 0; i < count; i++)
			all[i] = (struct descriptor){from + i, 1,
						     (from + i) & 1 ? DEALLOCATED : MAPPED};
		ask(from, UINT32_MAX, 0);
		expect(SCSI_PARAM_MAX, from + count < 4096 ? FULL : CAPACITY, all, count);
	}
	rig_clear(&rig);
}

/* A LUN that answers little at once is not asked for ever, but until there is something to tell. */
Test(scsi_lba_status, enough_is_enough)
{
	init(4096, 512);
	for (unsigned i = 0; i < 4096; i += 2)
		set(i, 1, LUN_MAPPED);
	set(4095, 1, LUN_ANCHORED);
	rig.lun.map_extents = 1;
	ask(0, 4096, 0);
	cr_expect(rig_sense(&rig) == 0 && rig.lun.count[LUN_MAP] == 16);
	cr_expect(get_be32(rig.buffer) == 4 + 16 * 16 && rig.buffer[7] == NO_CONDITION);
	ask(0, 4096, 4);
	expect(4096, CAPACITY, (struct descriptor[]){{4095, 1, ANCHORED}}, 1);
	rig_clear(&rig);
}

/* QEMU asks with room for one descriptor, for every few sectors that it copies: the LUN is asked
 * for two extents then, not for all of them. */
Test(scsi_lba_status, asks_for_no_more_than_it_tells)
{
	init_scene(512);
	ask(0, 24, 0);
	cr_expect(rig.lun.count[LUN_MAP] == 1);
	cr_expect(rig.cmd.io.iov[0].iov_len ==
		  sizeof(struct lun_map) + 2 * sizeof(struct lun_extent));
	rig_clear(&rig);
}

Test(scsi_lba_status, failure_and_abort)
{
	init_scene(512);
	rig.lun.map_extents = 1;
	rig.lun.fail_op = LUN_MAP;
	rig.lun.fail_after = 1;
	rig.lun.fail_res = -EIO;
	ask(0, 4096, 0);
	cr_expect(rig_sense(&rig) == READ_ERROR && rig.cmd.data_bytes == 0);
	rig.lun.fail_res = 0;
	cr_assert(rig_prepare(&rig, CDB(0x9E, 0x12, [12] = 1)));
	cr_assert(!scsi_cmd_execute(&rig.cmd));
	cr_assert(fake_step(&rig.lun));
	scsi_cmd_abort(&rig.cmd);
	fake_run(&rig);
	cr_expect(rig.done_count == 1 && rig.cmd.status == SCSI_TASK_ABORTED);
	cr_expect(rig.cmd.data_bytes == 0 && fake_buffers_taken(&rig.loop) == 0);
	rig_clear(&rig);
}

/* It reads nothing of the medium, and works on what is write-protected; not on what is offline. */
Test(scsi_lba_status, states_of_the_unit)
{
	init_scene(512);
	rig.lun.state.read_only = true;
	ask(0, 24, 0);
	expect(24, FULL, scene, 1);
	rig.lun.state.online = false;
	ask(0, 24, 0);
	cr_expect(rig_sense(&rig) == NOT_READY);
	rig_clear(&rig);
}

/* No scratch buffer is left: BUSY, and nothing was asked. */
Test(scsi_lba_status, without_memory)
{
	void *taken[FAKE_BUFFERS];

	init_scene(512);
	for (unsigned i = 0; i < FAKE_BUFFERS; i++)
		taken[i] = loop_buffer_acquire(&rig.loop);
	cr_assert(rig_prepare(&rig, CDB(0x9E, 0x12, [13] = 24)));
	cr_expect(scsi_cmd_execute(&rig.cmd) && rig_sense(&rig) == BUSY_STATUS);
	for (unsigned i = 0; i < FAKE_BUFFERS; i++)
		loop_buffer_release(&rig.loop, taken[i]);
	cr_expect(rig.lun.count[LUN_MAP] == 0);
	rig_clear(&rig);
}
