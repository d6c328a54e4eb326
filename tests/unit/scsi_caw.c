/*
 * COMPARE AND WRITE: lengths and bits, what it compares and where it says that something differs,
 * what keeps others out, and what an abort at each stage leaves: all of the write or nothing.
 */
#include <criterion/criterion.h>

#include "tests/unit/scsi_fake.h"

#define BLOCK 512u
#define BLOCKS_MAX 255u

static struct rig rig;
static uint8_t data[SCSI_GATHER_MAX];
static uint8_t image[FAKE_BLOCKS * BLOCK];

static void fill(uint8_t *bytes, size_t count, unsigned seed)
{
	for (size_t i = 0; i < count; i++)
		bytes[i] = (uint8_t)(seed = seed * 1103515245u + 12345u, seed >> 16);
}

static bool prepare(uint64_t lba, uint8_t count, uint8_t bits)
{
	uint8_t cdb[SCSI_CDB_MAX] = {0x89, bits, [13] = count};

	put_be64(cdb + 2, lba);
	return rig_prepare(&rig, cdb, sizeof(cdb));
}

/* Data whose first half is what stands there and whose second half is new. */
static void make_data(uint64_t lba, uint32_t count, unsigned seed)
{
	uint32_t bytes = count * rig.lun.limits.logical_block_bytes;

	memcpy(data, rig.lun.bytes + lba * rig.lun.limits.logical_block_bytes, bytes);
	fill(data + bytes, bytes, seed);
}

static void run(uint64_t lba, uint8_t count)
{
	cr_assert(prepare(lba, count, 0));
	rig_execute(&rig, data, sizeof(data));
}

static void begin(uint32_t io_align_bytes)
{
	rig_init(&rig);
	rig.lun.limits.io_align_bytes = io_align_bytes;
	fill(rig.lun.bytes, sizeof(image), 7);
	memcpy(image, rig.lun.bytes, sizeof(image));
}

static void expect_image(void)
{
	cr_expect(memcmp(image, rig.lun.bytes, sizeof(image)) == 0);
}

static void expect_miscompare(uint64_t offset)
{
	cr_expect(rig_sense(&rig) == MISCOMPARE);
	cr_expect(rig.cmd.sense[0] == 0xF0 && get_be32(rig.cmd.sense + 3) == offset,
		  "at %u instead of %u", get_be32(rig.cmd.sense + 3), (unsigned)offset);
}

/* Every length, on images that move 512 bytes, 4 KiB and 64 KiB: the blocks change, and no others;
 * each command reads once and writes once. */
static void every_length(uint32_t io_align_bytes)
{
	begin(io_align_bytes);
	for (uint32_t count = 1; count <= BLOCKS_MAX; count++) {
		uint64_t lba = count * 7 % 1000;

		make_data(lba, count, count);
		run(lba, (uint8_t)count);
		cr_assert(rig_sense(&rig) == 0, "%u blocks", count);
		memcpy(image + lba * BLOCK, data + count * BLOCK, count * BLOCK);
		cr_assert(memcmp(image, rig.lun.bytes, sizeof(image)) == 0, "%u blocks", count);
		cr_assert(rig.lun.count[LUN_READ] == count && rig.lun.count[LUN_WRITE] == count);
	}
	rig_clear(&rig);
}

Test(scsi_caw, every_length_512)
{
	every_length(512);
}

Test(scsi_caw, every_length_4k)
{
	every_length(4096);
}

Test(scsi_caw, every_length_64k)
{
	every_length(65536);
}

/* The longest there is: 255 blocks of 4 KiB, still one read and one write. */
static void longest(uint32_t io_align_bytes)
{
	rig_init_with(&rig, 1024, 4096);
	rig.lun.limits.io_align_bytes = io_align_bytes;
	rig_connect(&rig);
	rig_do(&rig, CDB(0x00), NULL, 0);
	fill(rig.lun.bytes, (size_t)rig.lun.state.size_bytes, 3);
	make_data(17, BLOCKS_MAX, 5);
	run(17, BLOCKS_MAX);
	cr_expect(rig_sense(&rig) == 0);
	cr_expect(memcmp(rig.lun.bytes + 17 * 4096, data + BLOCKS_MAX * 4096, BLOCKS_MAX * 4096) ==
		  0);
	cr_expect(rig.lun.count[LUN_READ] == 1 && rig.lun.count[LUN_WRITE] == 1);
	data[BLOCKS_MAX * 4096 - 1] ^= 1;
	run(17, BLOCKS_MAX);
	cr_expect(rig_sense(&rig) == MISCOMPARE && rig.lun.count[LUN_WRITE] == 1);
	rig_clear(&rig);
}

Test(scsi_caw, longest_4kn)
{
	longest(4096);
}

Test(scsi_caw, longest_of_huge_units)
{
	longest(65536);
}

/* The first byte that differs, wherever it stands; nothing is written. */
Test(scsi_caw, miscompare)
{
	static const uint32_t places[] = {
		0, 1, 511, 512, 513, 32767, 65535, 65536, 254 * 512 + 511};

	begin(4096);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		make_data(3, BLOCKS_MAX, 1);
		data[places[i]] ^= 0x40;
		data[BLOCKS_MAX * BLOCK - 1] ^= 0x01; /* A later one is not told. */
		if (places[i] == BLOCKS_MAX * BLOCK - 1)
			data[places[i]] ^= 0x02;
		run(3, BLOCKS_MAX);
		expect_miscompare(places[i]);
	}
	for (uint32_t at = 0; at < BLOCK; at++) {
		make_data(9, 1, 2);
		data[at] ^= 0xFF;
		run(9, 1);
		expect_miscompare(at);
	}
	expect_image();
	cr_expect(rig.lun.count[LUN_WRITE] == 0 && list_is_empty(&rig.lun.exclusives));
	rig_clear(&rig);
}

Test(scsi_caw, zero_blocks)
{
	begin(512);
	cr_assert(prepare(4095, 0, 0x18));
	cr_expect(rig.cmd.data == SCSI_DATA_NONE && rig.cmd.data_bytes == 0);
	rig_execute(&rig, NULL, 0);
	cr_expect(rig_sense(&rig) == 0 && rig.lun.count[LUN_READ] == 0);
	cr_expect(!prepare(4096, 0, 0) && rig_sense(&rig) == LBA_OUT_OF_RANGE);
	rig_clear(&rig);
}

Test(scsi_caw, ends_of_the_unit)
{
	begin(4096);
	make_data(4095, 1, 1);
	run(4095, 1);
	cr_expect(rig_sense(&rig) == 0);
	make_data(4096 - 255, 255, 1);
	run(4096 - 255, 255);
	cr_expect(rig_sense(&rig) == 0);
	cr_expect(!prepare(4096 - 254, 255, 0) && rig_sense(&rig) == LBA_OUT_OF_RANGE);
	cr_expect(!prepare(UINT64_MAX, 1, 0) && rig_sense(&rig) == LBA_OUT_OF_RANGE);
	rig_clear(&rig);
}

/* WRPROTECT and what else has no meaning; FUA makes the write durable, DPO nothing. */
Test(scsi_caw, bits)
{
	begin(512);
	for (unsigned wrprotect = 1; wrprotect < 8; wrprotect++)
		cr_expect(!prepare(0, 1, (uint8_t)(wrprotect << 5)) &&
			  rig_sense(&rig) == INVALID_FIELD);
	make_data(0, 1, 1);
	cr_assert(prepare(0, 1, 0x10));
	rig_execute(&rig, data, sizeof(data));
	cr_expect(rig_sense(&rig) == 0 && rig.lun.durable_count == 0);
	make_data(0, 1, 2);
	cr_assert(prepare(0, 1, 0x08));
	rig_execute(&rig, data, sizeof(data));
	cr_expect(rig_sense(&rig) == 0 && rig.lun.durable_count == 1);
	rig_clear(&rig);
}

/* The data-out that is announced must be exactly two times the blocks. */
Test(scsi_caw, announced_data)
{
	static const uint64_t wrong[] = {0, 1, 511, 512, 1023, 1025, 2048, UINT32_MAX};

	begin(512);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		rig.expected_bytes = wrong[i];
		cr_expect(!prepare(0, 1, 0) && rig_sense(&rig) == INFORMATION_UNIT);
	}
	rig.expected_bytes = 1024;
	cr_expect(prepare(0, 1, 0));
	cr_expect(rig.cmd.data == SCSI_DATA_OUT_GATHER && rig.cmd.data_bytes == 1024);
	cr_expect(rig.cmd.reserve_bytes <= LOOP_BUFFER_BYTES);
	rig.expected_bytes = 0;
	cr_expect(prepare(0, 0, 0));
	rig.expected_bytes = 512 * 512;
	cr_expect(!prepare(0, 0, 0) && rig_sense(&rig) == INVALID_FIELD);
	cr_expect(rig_field(&rig) == 0xD07);
	rig_clear(&rig);
}

/* A lock of one block must never need more than the one buffer that a session is sure of. */
Test(scsi_caw, small_ones_fit_one_buffer)
{
	begin(4096);
	for (uint8_t count = 1; count <= 32; count++) {
		cr_assert(prepare(0, count, 0));
		cr_expect(rig.cmd.reserve_bytes <= LOOP_BUFFER_BYTES, "%u", count);
	}
	rig_clear(&rig);
}

Test(scsi_caw, failures_of_the_image)
{
	static const struct {
		enum lun_op op;
		int res;
		uint32_t sense;
	} cases[] = {
		{LUN_READ, -EIO, READ_ERROR},     {LUN_WRITE, -EIO, WRITE_ERROR},
		{LUN_WRITE, -ENOSPC, NO_SPACE},   {LUN_WRITE, -EROFS, WRITE_PROTECTED},
		{LUN_READ, -EBUSY, IN_PROGRESS},  {LUN_READ, -ENODEV, NOT_READY},
		{LUN_READ, -ENOMEM, BUSY_STATUS}, {LUN_WRITE, -ENOMEM, BUSY_STATUS},
	};

	begin(4096);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		rig.lun.fail_op = cases[i].op;
		rig.lun.fail_res = cases[i].res;
		rig.lun.fail_after = 0;
		make_data(1, 200, 1);
		run(1, 200);
		cr_expect(rig_sense(&rig) == cases[i].sense, "%zu: %06x", i, rig_sense(&rig));
		cr_expect(list_is_empty(&rig.lun.exclusives));
	}
	expect_image();
	rig_clear(&rig);
}

static void turn_read_only(struct lun *lun)
{
	if (lun->count[LUN_WRITE] > 0)
		lun->state.read_only = true;
}

/* Access is asked once more in the turn of the write. */
Test(scsi_caw, access_lost_before_the_write)
{
	begin(512);
	rig.lun.before = turn_read_only;
	make_data(0, 1, 1);
	run(0, 1);
	cr_expect(rig_sense(&rig) == WRITE_PROTECTED);
	expect_image();
	rig_clear(&rig);
}

/* -- Two at once -- */

/* A second command beside the rig's. */
struct second {
	struct rig rig; /* Its cmd and gather alone are used, so that rig_at finds them. */
};
static struct second second;

static void second_start(uint64_t lba, uint8_t count, const uint8_t *out)
{
	struct scsi_cmd *cmd = &second.rig.cmd;

	loop_role_assume();
	memset(cmd, 0xA5, sizeof(*cmd));
	scsi_cmd_init(cmd);
	cmd->nexus = rig.nexus;
	cmd->loop = &rig.loop;
	cmd->at = rig_at;
	cmd->done = rig_on_done;
	cmd->cdb[0] = 0x89;
	put_be64(cmd->cdb + 2, lba);
	cmd->cdb[13] = count;
	second.rig.done_count = 0;
	cr_assert(scsi_cmd_prepare(cmd));
	rig_gather(&second.rig, out);
	cr_assert(!scsi_cmd_execute(cmd));
}

static void first_start(uint64_t lba, uint8_t count)
{
	loop_role_assume();
	cr_assert(prepare(lba, count, 0));
	rig_gather(&rig, data);
	cr_assert(!scsi_cmd_execute(&rig.cmd));
}

static void messages(void)
{
	while (fake_message(&rig.loop))
		continue;
}

/* The second compares with what the first has written, not with what stood there before. */
Test(scsi_caw, one_after_the_other)
{
	uint8_t other[1024];

	begin(4096);
	make_data(5, 1, 1);
	memcpy(other, data, sizeof(other));
	first_start(5, 1);
	second_start(5, 1, other);
	messages();
	cr_expect(rig.lun.count[LUN_READ] == 1, "the second one waits");
	fake_run(&rig);
	cr_expect(rig.cmd.status == SCSI_GOOD && rig.done_count == 1);
	cr_expect(second.rig.cmd.status == SCSI_CHECK_CONDITION && second.rig.done_count == 1);
	cr_expect(second.rig.cmd.sense[2] == SENSE_KEY_MISCOMPARE);
	free(second.rig.gather);
	rig_clear(&rig);
}

/* Blocks of one physical block are each other's neighbours: both succeed, one after the other. */
Test(scsi_caw, neighbours_in_one_physical_block)
{
	uint8_t other[1024];

	begin(4096);
	make_data(6, 1, 2);
	memcpy(other, data, sizeof(other));
	make_data(5, 1, 1);
	first_start(5, 1);
	second_start(6, 1, other);
	fake_run(&rig);
	cr_expect(rig.cmd.status == SCSI_GOOD && second.rig.cmd.status == SCSI_GOOD);
	memcpy(image + 5 * BLOCK, data + BLOCK, BLOCK);
	memcpy(image + 6 * BLOCK, other + BLOCK, BLOCK);
	expect_image();
	free(second.rig.gather);
	rig_clear(&rig);
}

/* -- Abort -- */

static void expect_aborted(void)
{
	fake_run(&rig);
	cr_expect(rig.done_count == 1 && rig.cmd.status == SCSI_TASK_ABORTED);
	cr_expect(list_is_empty(&rig.lun.exclusives) && rig.cmd.rewrite == NULL);
}

/* Before the range is its own: it is withdrawn, and nothing is read. */
Test(scsi_caw, abort_while_it_asks)
{
	begin(512);
	make_data(0, 9, 1);
	first_start(0, 9);
	scsi_cmd_abort(&rig.cmd);
	cr_expect(rig.done_count == 0);
	expect_aborted();
	cr_expect(rig.lun.count[LUN_READ] == 0);
	expect_image();
	rig_clear(&rig);
}

/* Behind another one. */
Test(scsi_caw, abort_while_it_waits)
{
	uint8_t other[1024];

	begin(512);
	make_data(0, 1, 1);
	memcpy(other, data, sizeof(other));
	second_start(0, 1, other);
	first_start(0, 1);
	messages();
	scsi_cmd_abort(&rig.cmd);
	expect_aborted();
	cr_expect(second.rig.cmd.status == SCSI_GOOD && rig.lun.count[LUN_WRITE] == 1);
	free(second.rig.gather);
	rig_clear(&rig);
}

/* While the disk reads: the range goes back at once, the memory when the disk lets go. */
Test(scsi_caw, abort_while_it_reads)
{
	begin(4096);
	make_data(1, 20, 1);
	first_start(1, 20);
	messages();
	scsi_cmd_abort(&rig.cmd);
	cr_expect(list_is_empty(&rig.lun.exclusives) && rig.lun.abandoned_count == 1);
	messages();
	cr_expect(rig.done_count == 0, "the disk still has its memory");
	expect_aborted();
	cr_expect(rig.lun.count[LUN_WRITE] == 0);
	expect_image();
	rig_clear(&rig);
}

/* While the disk writes: an orphan, and all of it lands. */
Test(scsi_caw, abort_while_it_writes)
{
	begin(4096);
	make_data(1, BLOCKS_MAX, 1);
	first_start(1, BLOCKS_MAX);
	messages();
	cr_assert(fake_step(&rig.lun) && rig.lun.count[LUN_WRITE] == 1);
	scsi_cmd_abort(&rig.cmd);
	cr_expect(list_is_empty(&rig.lun.exclusives) && rig.lun.abandoned_count == 1);
	expect_aborted();
	cr_expect(rig.lun.count[LUN_WRITE] == 1);
	memcpy(image + BLOCK, data + BLOCKS_MAX * BLOCK, BLOCKS_MAX * BLOCK);
	expect_image();
	rig_clear(&rig);
}

/* When only the range is still on its way back: the status stands. */
Test(scsi_caw, abort_at_the_end)
{
	begin(512);
	make_data(0, 1, 1);
	first_start(0, 1);
	messages();
	cr_assert(fake_step(&rig.lun) && fake_step(&rig.lun));
	cr_expect(rig.done_count == 0);
	scsi_cmd_abort(&rig.cmd);
	expect_aborted();
	memcpy(image, data + BLOCK, BLOCK);
	expect_image();
	rig_clear(&rig);
}

/* After so many messages and I/Os; true: it had ended before that. */
static bool abort_after(unsigned events)
{
	bool ended;
	bool written;

	begin(4096);
	make_data(1, BLOCKS_MAX, 1);
	first_start(1, BLOCKS_MAX);
	while (events-- > 0 && (fake_message(&rig.loop) || fake_step(&rig.lun)))
		continue;
	ended = rig.done_count == 1;
	if (!ended)
		scsi_cmd_abort(&rig.cmd);
	fake_run(&rig);
	cr_assert(rig.done_count == 1 && rig.cmd.rewrite == NULL);
	cr_assert(list_is_empty(&rig.lun.exclusives));
	written = memcmp(rig.lun.bytes + BLOCK, image + BLOCK, BLOCK) != 0;
	cr_expect(rig.cmd.status == (ended ? SCSI_GOOD : SCSI_TASK_ABORTED));
	cr_expect(!ended || written, "GOOD, and not written");
	if (written)
		memcpy(image + BLOCK, data + BLOCKS_MAX * BLOCK, BLOCKS_MAX * BLOCK);
	expect_image();
	rig_clear(&rig);
	return ended;
}

/* At every moment there is: all of the write, or nothing. */
Test(scsi_caw, abort_after_each_event)
{
	unsigned events = 0;

	while (!abort_after(events))
		events++;
	cr_expect(events >= 4, "a grant, two I/Os, and the way back");
}

Test(scsi_caw, write_protected_unit)
{
	begin(512);
	rig.lun.state.read_only = true;
	cr_expect(!prepare(0, 1, 0) && rig_sense(&rig) == WRITE_PROTECTED);
	cr_expect(!prepare(9999, 1, 0xE0) && rig_sense(&rig) == WRITE_PROTECTED);
	rig_clear(&rig);
}
