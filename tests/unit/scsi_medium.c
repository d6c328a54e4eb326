/*
 * READ, WRITE and SYNCHRONIZE CACHE: ranges and limits, FUA, pieces in any order, failures, abort.
 */
#include <criterion/criterion.h>

#include "target/scsi/op_table.h"
#include "tests/unit/scsi_fake.h"

static struct rig rig;
static uint8_t data[8 * LOOP_BUFFER_BYTES];

static const struct form {
	uint8_t read;
	uint8_t write;
	struct scsi_field lba;
	struct scsi_field length;
} forms[] = {
	{0x08, 0x0A, {1, 3}, {4, 1}},
	{0x28, 0x2A, {2, 4}, {7, 2}},
	{0xA8, 0xAA, {2, 4}, {6, 4}},
	{0x88, 0x8A, {2, 8}, {10, 4}},
};

static void put_field(uint8_t *cdb, struct scsi_field field, uint64_t value)
{
	for (unsigned i = field.bytes; i-- > 0; value >>= 8)
		cdb[field.at + i] = (uint8_t)value;
	cr_assert(value == 0);
}

static uint64_t field_max(struct scsi_field field)
{
	return field.bytes == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * field.bytes) - 1;
}

static void make_cdb(uint8_t *cdb, uint8_t opcode, const struct form *form, uint64_t lba,
		     uint64_t count)
{
	memset(cdb, 0, SCSI_CDB_MAX);
	cdb[0] = opcode;
	put_field(cdb, form->lba, lba);
	put_field(cdb, form->length, count);
}

static void fill(uint8_t *bytes, size_t count, unsigned seed)
{
	for (size_t i = 0; i < count; i++)
		bytes[i] = (uint8_t)(seed = seed * 1103515245u + 12345u, seed >> 16);
}

Test(scsi_medium, written_data_are_read)
{
	uint8_t cdb[SCSI_CDB_MAX];
	static uint8_t back[sizeof(data)];

	rig_init(&rig);
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		uint32_t count = i == 0 ? 255 : 1000;

		fill(data, count * 512, (unsigned)i);
		make_cdb(cdb, forms[i].write, &forms[i], 77, count);
		cr_assert(rig_prepare(&rig, cdb, sizeof(cdb)));
		cr_assert(rig.cmd.data == SCSI_DATA_OUT_MEDIUM &&
			  rig.cmd.data_bytes == count * 512);
		rig_move(&rig, data);
		cr_assert(rig_sense(&rig) == 0);
		cr_assert(memcmp(rig.lun.bytes + 77 * 512, data, count * 512) == 0);
		make_cdb(cdb, forms[i].read, &forms[i], 77, count);
		cr_assert(rig_prepare(&rig, cdb, sizeof(cdb)));
		cr_assert(rig.cmd.data == SCSI_DATA_IN_MEDIUM);
		rig_move(&rig, back);
		cr_assert(rig_sense(&rig) == 0 && memcmp(back, data, count * 512) == 0);
	}
	rig_clear(&rig);
}

/* 0 blocks are 256 in a CDB of six bytes and none in the others. */
Test(scsi_medium, zero_blocks)
{
	uint8_t cdb[SCSI_CDB_MAX];

	rig_init(&rig);
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
		for (int write = 0; write < 2; write++) {
			make_cdb(cdb, write ? forms[i].write : forms[i].read, &forms[i], 4095, 0);
			if (i == 0) {
				cr_assert(!rig_prepare(&rig, cdb, sizeof(cdb)));
				cr_assert(rig_sense(&rig) == LBA_OUT_OF_RANGE);
				make_cdb(cdb, cdb[0], &forms[i], 4096 - 256, 0);
				cr_assert(rig_prepare(&rig, cdb, sizeof(cdb)));
				cr_assert(rig.cmd.data_bytes == 256 * 512);
				continue;
			}
			cr_assert(rig_prepare(&rig, cdb, sizeof(cdb)));
			cr_assert(rig.cmd.data == SCSI_DATA_NONE && rig.cmd.data_bytes == 0);
			rig_execute(&rig, NULL, 0);
			cr_assert(rig_sense(&rig) == 0);
		}
	cr_expect(rig.lun.count[LUN_READ] == 0 && rig.lun.count[LUN_WRITE] == 0);
	rig_clear(&rig);
}

/* The last block and the one behind it, and sums that would wrap, for every row with an LBA and a
 * number of blocks. */
Test(scsi_medium, range)
{
	const struct scsi_op *op;
	unsigned at = 0;

	rig_init(&rig);
	while ((op = scsi_op_next(&at)) != NULL) {
		struct form form = {.lba = op->lba, .length = op->length};
		uint64_t lba_max = op->cdb_bytes == 6 ? 0x1FFFFF : field_max(op->lba);
		struct {
			uint64_t lba;
			uint64_t count;
			bool good;
		} cases[] = {
			{0, 1, true},
			{4095, 1, true},
			{4096, 1, false},
			{4095, 2, false},
			{4000, 96, true},
			{4000, 97, false},
			{4096 - 255, 255, true},
			{lba_max, 1, false},
			{lba_max, field_max(op->length), false},
			{lba_max - 1, 2, false},
			{1, field_max(op->length), op->length.bytes == 1},
			{4097, 1, false},
		};

		if (op->lba.bytes == 0 || op->length_rule == LENGTH_ALLOCATION)
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
			uint8_t cdb[SCSI_CDB_MAX];

			make_cdb(cdb, op->opcode, &form, cases[i].lba, cases[i].count);
			cr_assert(rig_prepare(&rig, cdb, sizeof(cdb)) == cases[i].good, "%s %zu",
				  op->name, i);
			cr_assert(rig_sense(&rig) == (cases[i].good ? 0 : LBA_OUT_OF_RANGE));
		}
		/* No block is referenced that does not exist, even if none is moved. */
		if (op->length_rule == LENGTH_BLOCKS) {
			uint8_t cdb[SCSI_CDB_MAX];

			make_cdb(cdb, op->opcode, &form, 4096, 0);
			cr_assert(!rig_prepare(&rig, cdb, sizeof(cdb)));
			cr_assert(rig_sense(&rig) == LBA_OUT_OF_RANGE, "%s", op->name);
		}
	}
	rig_clear(&rig);
}

/* The whole of 2^64 bytes less a bit: nothing wraps on the way to byte offsets. */
Test(scsi_medium, huge_unit)
{
	uint64_t blocks = (UINT64_C(1) << 55) - 8;
	uint8_t cdb[SCSI_CDB_MAX];
	struct rig_piece piece;

	rig_init_with(&rig, blocks, 512);
	rig_connect(&rig);
	rig_do(&rig, CDB(0x00), NULL, 0);
	make_cdb(cdb, 0x88, &forms[3], blocks - 0xFFFFFFFF, 0xFFFFFFFF);
	cr_assert(rig_prepare(&rig, cdb, sizeof(cdb)));
	cr_expect(rig.cmd.data_bytes == UINT64_C(0xFFFFFFFF) * 512);
	rig_submit(&rig, &piece, rig.cmd.data_bytes - 512, 512, data);
	cr_expect(piece.piece.io.offset_bytes == blocks * 512 - 512);
	fake_run(&rig);
	cr_expect(piece.piece.ok);
	make_cdb(cdb, 0x88, &forms[3], blocks - 0xFFFFFFFF + 1, 0xFFFFFFFF);
	cr_expect(!rig_prepare(&rig, cdb, sizeof(cdb)) && rig_sense(&rig) == LBA_OUT_OF_RANGE);
	rig_clear(&rig);
}

/* Every row that writes, and no other, is refused on what is read-only. */
Test(scsi_medium, read_only)
{
	static const uint8_t writers[] = {0x0A, 0x2A, 0x2E, 0x41, 0x42, 0x89,
					  0x8A, 0x8B, 0x8E, 0x93, 0xAA, 0xAE};
	const struct scsi_op *op;
	unsigned at = 0;

	rig_init(&rig);
	rig.lun.state.read_only = true;
	while ((op = scsi_op_next(&at)) != NULL) {
		bool writes = memchr(writers, op->opcode, sizeof(writers)) != NULL;
		uint8_t cdb[SCSI_CDB_MAX] = {op->opcode, op->service_action};

		if (op->length.bytes > 0)
			cdb[op->length.at + op->length.bytes - 1] = 1;
		if (op->opcode == 0x1A || op->opcode == 0x5A)
			cdb[2] = 0x3F;
		cr_expect(rig_prepare(&rig, cdb, sizeof(cdb)) == !writes, "%s", op->name);
		cr_expect(rig_sense(&rig) == (writes ? WRITE_PROTECTED : 0), "%s", op->name);
	}
	rig_clear(&rig);
}

Test(scsi_medium, fua_of_a_write)
{
	rig_init(&rig);
	rig_do(&rig, CDB(0x2A, 0x08, [8] = 1), data, 512);
	cr_expect(rig_sense(&rig) == 0 && rig.lun.durable_count == 1);
	rig_do(&rig, CDB(0x2A, 0x10, [8] = 1), data, 512);
	cr_expect(rig_sense(&rig) == 0 && rig.lun.durable_count == 1);
	rig_do(&rig, CDB(0x8A, 0x18, [13] = 1), data, 512);
	cr_expect(rig.lun.durable_count == 2 && rig.lun.count[LUN_FLUSH] == 0);
	rig_clear(&rig);
}

/* What a volatile cache holds is written before a read with FUA. */
Test(scsi_medium, fua_of_a_read)
{
	rig_init(&rig);
	rig_do(&rig, CDB(0x28, 0x08, [8] = 1), data, 512);
	cr_expect(rig_sense(&rig) == 0);
	cr_expect(rig.lun.count[LUN_FLUSH] == 1 && rig.lun.count[LUN_READ] == 1);
	rig.lun.limits.write_cache = false;
	rig_do(&rig, CDB(0x28, 0x08, [8] = 1), data, 512);
	cr_expect(rig.lun.count[LUN_FLUSH] == 1 && rig.lun.count[LUN_READ] == 2);
	rig_do(&rig, CDB(0x28, 0x10, [8] = 1), data, 512);
	cr_expect(rig.lun.count[LUN_FLUSH] == 1 && rig.lun.count[LUN_READ] == 3);
	rig_clear(&rig);
}

Test(scsi_medium, fua_of_a_read_whose_flush_fails)
{
	rig_init(&rig);
	rig.lun.fail_op = LUN_FLUSH;
	rig.lun.fail_res = -EIO;
	rig_do(&rig, CDB(0x28, 0x08, [8] = 1), data, 512);
	cr_expect(rig_sense(&rig) == WRITE_ERROR && rig.lun.count[LUN_READ] == 0);
	rig_clear(&rig);
}

Test(scsi_medium, synchronize_cache)
{
	rig_init(&rig);
	rig_do(&rig, CDB(0x35), NULL, 0);
	cr_expect(rig_sense(&rig) == 0 && rig.lun.count[LUN_FLUSH] == 1);
	rig_do(&rig, CDB(0x91, 0x02, [9] = 5, [13] = 7), NULL, 0);
	cr_expect(rig_sense(&rig) == 0 && rig.lun.count[LUN_FLUSH] == 2);
	rig.lun.fail_op = LUN_FLUSH;
	rig.lun.fail_res = -EIO;
	rig_do(&rig, CDB(0x35), NULL, 0);
	cr_expect(rig_sense(&rig) == WRITE_ERROR);
	rig_clear(&rig);
}

/* A read-only LUN has nothing to flush, and one that lost a flush answers for itself. */
Test(scsi_medium, synchronize_cache_of_what_is_read_only)
{
	rig_init(&rig);
	rig.lun.state.read_only = true;
	rig_do(&rig, CDB(0x35), NULL, 0);
	cr_expect(rig_sense(&rig) == 0);
	rig.lun.fail_op = LUN_FLUSH;
	rig.lun.fail_res = -EROFS;
	rig_do(&rig, CDB(0x35), NULL, 0);
	cr_expect(rig_sense(&rig) == WRITE_PROTECTED);
	rig_clear(&rig);
}

Test(scsi_medium, several_pieces_under_way)
{
	struct rig_piece pieces[4];
	static uint8_t back[4 * LOOP_BUFFER_BYTES];

	rig_init(&rig);
	fill(rig.lun.bytes, sizeof(back), 1);
	cr_assert(rig_prepare(&rig, CDB(0x28, [7] = 2)));
	for (unsigned i = 4; i-- > 0;)
		rig_submit(&rig, &pieces[i], i * LOOP_BUFFER_BYTES, LOOP_BUFFER_BYTES,
			   back + i * LOOP_BUFFER_BYTES);
	fake_run(&rig);
	for (unsigned i = 0; i < 4; i++)
		cr_expect(pieces[i].done_count == 1 && pieces[i].piece.ok);
	cr_expect(memcmp(back, rig.lun.bytes, sizeof(back)) == 0);
	rig_clear(&rig);
}

/* The first failure is the command's; later pieces start nothing and still come back. */
Test(scsi_medium, first_failure_wins)
{
	struct rig_piece pieces[3];

	rig_init(&rig);
	rig.lun.fail_op = LUN_WRITE;
	rig.lun.fail_res = -ENOSPC;
	cr_assert(rig_prepare(&rig, CDB(0x2A, [7] = 2)));
	rig_submit(&rig, &pieces[0], 0, LOOP_BUFFER_BYTES, data);
	rig_submit(&rig, &pieces[1], LOOP_BUFFER_BYTES, LOOP_BUFFER_BYTES, data);
	cr_assert(fake_step(&rig.lun));
	cr_expect(!pieces[0].piece.ok && rig_sense(&rig) == NO_SPACE);
	rig.lun.fail_res = -EIO;
	rig.lun.fail_after = 0;
	rig_submit(&rig, &pieces[2], 2 * LOOP_BUFFER_BYTES, LOOP_BUFFER_BYTES, data);
	cr_expect(rig.lun.count[LUN_WRITE] == 2);
	fake_run(&rig);
	cr_expect(pieces[1].done_count == 1 && pieces[2].done_count == 1);
	cr_expect(!pieces[1].piece.ok && !pieces[2].piece.ok);
	cr_expect(rig_sense(&rig) == NO_SPACE);
	rig_clear(&rig);
}

static void go_offline(struct lun *lun)
{
	lun->state.online = false;
}

static void go_read_only(struct lun *lun)
{
	lun->state.read_only = true;
}

static void shrink(struct lun *lun)
{
	lun->state.size_bytes = 512;
}

/* What changes between the check of the CDB and the turn in which the image gets the write. */
Test(scsi_medium, admission_looks_again)
{
	static const struct {
		void (*before)(struct lun *lun);
		uint32_t write;
		uint32_t read;
	} cases[] = {
		{go_offline, NOT_READY, NOT_READY},
		{go_read_only, WRITE_PROTECTED, 0},
		{shrink, LBA_OUT_OF_RANGE, LBA_OUT_OF_RANGE},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		rig_init(&rig);
		rig.lun.before = cases[i].before;
		rig_do(&rig, CDB(0x2A, [8] = 2), data, 1024);
		cr_expect(rig_sense(&rig) == cases[i].write, "%zu", i);
		rig_clear(&rig);
		rig_init(&rig);
		rig.lun.before = cases[i].before;
		rig_do(&rig, CDB(0x28, [8] = 2), data, 1024);
		cr_expect(rig_sense(&rig) == cases[i].read, "%zu", i);
		rig_clear(&rig);
	}
}

/* The same when it changed before the piece was submitted: nothing reaches the LUN. */
Test(scsi_medium, submission_looks_again)
{
	rig_init(&rig);
	cr_assert(rig_prepare(&rig, CDB(0x2A, [8] = 2)));
	rig.lun.state.read_only = true;
	rig_move(&rig, data);
	cr_expect(rig_sense(&rig) == WRITE_PROTECTED && rig.lun.count[LUN_WRITE] == 0);
	rig_clear(&rig);
}

Test(scsi_medium, abort_of_pieces)
{
	struct rig_piece pieces[3];

	rig_init(&rig);
	cr_assert(rig_prepare(&rig, CDB(0x2A, [7] = 2)));
	rig_submit(&rig, &pieces[0], 0, LOOP_BUFFER_BYTES, data);
	rig_submit(&rig, &pieces[1], LOOP_BUFFER_BYTES, LOOP_BUFFER_BYTES, data);
	scsi_cmd_abort(&rig.cmd);
	cr_expect(rig.lun.abandoned_count == 2);
	cr_expect(pieces[0].done_count == 0 && pieces[1].done_count == 0);
	rig_submit(&rig, &pieces[2], 2 * LOOP_BUFFER_BYTES, LOOP_BUFFER_BYTES, data);
	scsi_cmd_abort(&rig.cmd);
	cr_expect(rig.lun.count[LUN_WRITE] == 2 && rig.lun.abandoned_count == 2);
	fake_run(&rig);
	for (unsigned i = 0; i < 3; i++)
		cr_expect(pieces[i].done_count == 1 && !pieces[i].piece.ok);
	cr_expect(rig.cmd.status == SCSI_TASK_ABORTED);
	rig_clear(&rig);
}

Test(scsi_medium, abort_between_prepare_and_execute)
{
	rig_init(&rig);
	cr_assert(rig_prepare(&rig, CDB(0x35)));
	scsi_cmd_abort(&rig.cmd);
	cr_expect(scsi_cmd_execute(&rig.cmd));
	cr_expect(rig.lun.count[LUN_FLUSH] == 0);
	rig_clear(&rig);
}
