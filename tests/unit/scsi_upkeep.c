/*
 * START STOP UNIT, PREVENT ALLOW, READ DEFECT DATA, PRE-FETCH, REPORT SUPPORTED TASK MANAGEMENT
 * FUNCTIONS; and that an offline or write-protected unit says so before anything else.
 */
#include <criterion/criterion.h>

#include "target/scsi/op_table.h"
#include "tests/unit/scsi_fake.h"

static struct rig rig;
static uint8_t data[512];

/* What is stopped stays ready for the other hosts; what was written is made durable. */
Test(scsi_upkeep, start_stop)
{
	static const struct {
		uint8_t immed, start;
		unsigned flushes;
	} cases[] = {
		{0, 0x01, 0}, {0, 0x00, 1}, {1, 0x00, 1}, {0, 0x04, 0}, {1, 0x05, 0},
	};

	rig_init(&rig);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		rig.lun.count[LUN_FLUSH] = 0;
		rig_do(&rig, CDB(0x1B, cases[i].immed, 0, 0, cases[i].start), NULL, 0);
		cr_expect(rig_sense(&rig) == 0, "%zu", i);
		cr_expect(rig.lun.count[LUN_FLUSH] == cases[i].flushes, "%zu", i);
		rig_do(&rig, CDB(0x00), NULL, 0);
		cr_expect(rig_sense(&rig) == 0, "the unit is ready");
	}
	rig.lun.fail_op = LUN_FLUSH;
	rig.lun.fail_res = -EIO;
	rig_do(&rig, CDB(0x1B), NULL, 0);
	cr_expect(rig_sense(&rig) == WRITE_ERROR);
	rig_clear(&rig);
}

/* LOEJ, and any POWER CONDITION. */
Test(scsi_upkeep, start_stop_refusals)
{
	rig_init(&rig);
	for (uint8_t start = 0; start < 2; start++) {
		rig_do(&rig, CDB(0x1B, 0, 0, 0, (uint8_t)(0x02 | start)), NULL, 0);
		cr_expect(rig_sense(&rig) == INVALID_FIELD && rig_field(&rig) == 0x401);
	}
	for (unsigned condition = 1; condition < 16; condition++) {
		rig_do(&rig, CDB(0x1B, 0, 0, 0, (uint8_t)(condition << 4)), NULL, 0);
		cr_expect(rig_sense(&rig) == INVALID_FIELD && rig_field(&rig) >> 8 == 4);
	}
	rig.lun.state.online = false;
	rig_do(&rig, CDB(0x1B, 0, 0, 0, 0x01), NULL, 0);
	cr_expect(rig_sense(&rig) == NOT_READY, "what is offline does not start");
	rig_clear(&rig);
}

Test(scsi_upkeep, prevent_allow)
{
	static const uint32_t expected[] = {0, 0, INVALID_FIELD, INVALID_FIELD};

	rig_init(&rig);
	for (uint8_t prevent = 0; prevent < 4; prevent++) {
		rig_do(&rig, CDB(0x1E, 0, 0, 0, prevent), NULL, 0);
		cr_expect(rig_sense(&rig) == expected[prevent], "%u", prevent);
	}
	rig_clear(&rig);
}

/* Both lists are empty in every format that exists, and each format is echoed. */
Test(scsi_upkeep, defects)
{
	rig_init(&rig);
	for (uint8_t lists = 0; lists < 0x20; lists++) {
		bool good = (lists & 7) < 6;
		const uint8_t answer_10[4] = {0, lists};
		const uint8_t answer_12[8] = {0, lists};

		for (uint8_t n = 0; n <= 12; n++) {
			uint32_t expected = good ? 0 : INVALID_FIELD;

			rig_do(&rig, CDB(0x37, 0, lists, [8] = n), NULL, 0);
			cr_assert(rig_sense(&rig) == expected);
			cr_assert(!good || rig.cmd.data_bytes == (n < 4 ? n : 4));
			cr_assert(!good || memcmp(rig.buffer, answer_10, n < 4 ? n : 4) == 0);
			cr_assert(expected == 0 || rig_field(&rig) == 0x202);
			rig_do(&rig, CDB(0xB7, lists, [9] = n), NULL, 0);
			cr_assert(rig_sense(&rig) == expected);
			cr_assert(!good || rig.cmd.data_bytes == (n < 8 ? n : 8));
			cr_assert(!good || memcmp(rig.buffer, answer_12, n < 8 ? n : 8) == 0);
			cr_assert(expected == 0 || rig_field(&rig) == 0x102);
		}
	}
	rig_clear(&rig);
}

Test(scsi_upkeep, prefetch)
{
	static const uint8_t opcodes[] = {0x34, 0x90};

	rig_init(&rig);
	for (size_t i = 0; i < sizeof(opcodes); i++) {
		const struct scsi_op *op = scsi_op_find_action(opcodes[i], 0);
		uint8_t group_at = opcodes[i] == 0x34 ? 6 : 14;
		uint8_t cdb[SCSI_CDB_MAX] = {opcodes[i]};

		rig_do(&rig, cdb, sizeof(cdb), NULL, 0);
		cr_expect(rig_sense(&rig) == 0, "0 blocks: up to the end");
		cdb[1] = 0x02;
		cdb[group_at] = 0x1F;
		cdb[op->length.at + op->length.bytes - 2] = 0x10; /* 4096 */
		rig_do(&rig, cdb, sizeof(cdb), NULL, 0);
		cr_expect(rig.cmd.status == SCSI_GOOD);
		cdb[op->lba.at + op->lba.bytes - 1] = 1;
		rig_do(&rig, cdb, sizeof(cdb), NULL, 0);
		cr_expect(rig_sense(&rig) == LBA_OUT_OF_RANGE);
		cdb[op->lba.at + op->lba.bytes - 2] = 0x10;
		rig_do(&rig, cdb, sizeof(cdb), NULL, 0);
		cr_expect(rig_sense(&rig) == LBA_OUT_OF_RANGE);
	}
	rig_clear(&rig);
}

Test(scsi_upkeep, task_management_functions)
{
	static const uint8_t basic[4] = {0xDE, 0x07};
	static const uint8_t extended[16] = {0xDE, 7, 0, 12,  1, 0, 0xDC, 7,
					     0,    0, 0, 100, 0, 0, 0,    50};

	rig_init(&rig);
	for (uint8_t n = 0; n <= 20; n++) {
		rig_do(&rig, CDB(0xA3, 0x0D, 0, [9] = n), NULL, 0);
		cr_assert(rig_sense(&rig) == 0 && rig.cmd.data_bytes == (n < 4 ? n : 4));
		cr_assert(memcmp(rig.buffer, basic, (size_t)rig.cmd.data_bytes) == 0);
		rig_do(&rig, CDB(0xA3, 0x0D, 0x80, [9] = n), NULL, 0);
		cr_assert(rig_sense(&rig) == 0 && rig.cmd.data_bytes == (n < 16 ? n : 16));
		cr_assert(memcmp(rig.buffer, extended, (size_t)rig.cmd.data_bytes) == 0);
	}
	rig_clear(&rig);
}

/*
 * Every command that writes is refused as such on a write-protected unit, whatever else is wrong
 * with it, and with NOT READY on one that is offline: 05/20 and 05/24 make hosts give a feature up.
 */
Test(scsi_upkeep, protection_comes_first)
{
	const struct scsi_op *op;
	unsigned at = 0;

	rig_init(&rig);
	rig.lun.limits.thin = false;
	while ((op = scsi_op_next(&at)) != NULL) {
		uint8_t cdb[SCSI_CDB_MAX];

		if ((op->flags & OP_WRITES) == 0 || (op->flags & OP_SERVICE_ACTION) != 0)
			continue;
		memset(cdb, 0xFF, sizeof(cdb));
		cdb[0] = op->opcode;
		rig.lun.state.read_only = true;
		cr_expect(!rig_prepare(&rig, cdb, sizeof(cdb)), "%s", op->name);
		cr_expect(rig_sense(&rig) == WRITE_PROTECTED, "%s", op->name);
		if ((op->flags & OP_MEDIUM) == 0)
			continue;
		rig.lun.state.online = false;
		cr_expect(!rig_prepare(&rig, cdb, sizeof(cdb)), "%s", op->name);
		cr_expect(rig_sense(&rig) == NOT_READY, "%s", op->name);
		rig.lun.state.online = true;
	}
	rig.lun.state.read_only = false;
	rig_do(&rig, CDB(0x42), data, sizeof(data));
	cr_expect(rig_sense(&rig) == INVALID_OPCODE);
	rig_clear(&rig);
}
