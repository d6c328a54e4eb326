/*
 * TEST UNIT READY, READ CAPACITY, REPORT LUNS, REQUEST SENSE and what holds where there is no
 * logical unit.
 */
#include <criterion/criterion.h>

#include "target/scsi/op_table.h"
#include "tests/unit/scsi_fake.h"

static struct rig rig;

static void capacity_16(uint32_t allocation)
{
	uint8_t cdb[16] = {0x9E, 0x10};

	put_be32(cdb + 10, allocation);
	rig_do(&rig, cdb, sizeof(cdb), NULL, 0);
}

Test(scsi_status, read_capacity_16_at_every_length)
{
	static const uint8_t golden[32] = {0, 0, 0, 0, 0, 0, 0x0F, 0xFF, 0, 0, 2, 0, 0, 3, 0xC0, 0};

	rig_init(&rig);
	for (uint32_t n = 0; n <= 40; n++) {
		capacity_16(n);
		cr_assert(rig_sense(&rig) == 0 && rig.cmd.data_bytes == (n < 32 ? n : 32));
		cr_assert(memcmp(rig.buffer, golden, (size_t)rig.cmd.data_bytes) == 0);
	}
	rig_clear(&rig);
}

Test(scsi_status, provisioning_bits)
{
	static const struct {
		bool thin;
		bool zeroes;
		uint8_t byte14;
	} cases[] = {{true, true, 0xC0}, {true, false, 0x80}, {false, true, 0}, {false, false, 0}};

	rig_init(&rig);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		rig.lun.limits.thin = cases[i].thin;
		rig.lun.limits.zeroes_after_unmap = cases[i].zeroes;
		capacity_16(32);
		cr_expect(rig.buffer[14] == cases[i].byte14);
	}
	rig_clear(&rig);
}

Test(scsi_status, block_sizes)
{
	static const struct {
		uint32_t logical;
		uint32_t physical;
		uint8_t exponent;
	} cases[] = {{512, 512, 0}, {512, 4096, 3}, {4096, 4096, 0}, {4096, 512, 0}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		rig_init_with(&rig, 100, cases[i].logical);
		rig.lun.limits.physical_block_bytes = cases[i].physical;
		rig_connect(&rig);
		capacity_16(32); /* The unit attention. */
		capacity_16(32);
		cr_expect(get_be64(rig.buffer) == 99);
		cr_expect(get_be32(rig.buffer + 8) == cases[i].logical);
		cr_expect(rig.buffer[13] == cases[i].exponent);
		rig_clear(&rig);
	}
}

Test(scsi_status, read_capacity_10)
{
	static const struct {
		uint64_t blocks;
		uint32_t last;
	} cases[] = {
		{1, 0},
		{4096, 4095},
		{UINT64_C(0xFFFFFFFF), 0xFFFFFFFE},
		{UINT64_C(0x100000000), 0xFFFFFFFF},
		{UINT64_C(0x100000001), 0xFFFFFFFF},
		{UINT64_C(1) << 50, 0xFFFFFFFF},
	};

	rig_init(&rig);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		rig.lun.state.size_bytes = cases[i].blocks * 512;
		rig_do(&rig, CDB(0x25), NULL, 0);
		cr_expect(rig.cmd.data_bytes == 8 && get_be32(rig.buffer + 4) == 512);
		cr_expect(get_be32(rig.buffer) == cases[i].last);
		capacity_16(32);
		cr_expect(get_be64(rig.buffer) == cases[i].blocks - 1);
	}
	rig_clear(&rig);
}

/* What is not a whole block at the end of an image is no block. */
Test(scsi_status, size_that_is_no_multiple)
{
	rig_init(&rig);
	rig.lun.state.size_bytes = 10 * 512 + 511;
	capacity_16(32);
	cr_expect(get_be64(rig.buffer) == 9);
	rig_clear(&rig);
}

static void report_luns(uint8_t select, uint32_t allocation)
{
	uint8_t cdb[12] = {0xA0, 0, select};

	put_be32(cdb + 6, allocation);
	rig_do(&rig, cdb, sizeof(cdb), NULL, 0);
}

/* Numbers in order, the two addressing methods, and lengths that stay whole when cut. */
Test(scsi_status, report_luns_at_every_length)
{
	struct scsi_lu_spec spec = {.lun = &rig.lun};
	static const uint8_t golden[] = {
		0, 0,   0, 40, 0, 0, 0, 0, 0,    0, 0, 0, 0, 0, 0, 0, 0,    7,    0, 0, 0, 0, 0, 0,
		0, 255, 0, 0,  0, 0, 0, 0, 0x41, 0, 0, 0, 0, 0, 0, 0, 0x7F, 0xFF, 0, 0, 0, 0, 0, 0,
	};
	static const uint16_t numbers[] = {256, 7, 16383, 255};

	rig_init_with(&rig, FAKE_BLOCKS, 512);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		cr_assert(scsi_target_add_lu(rig.target, numbers[i], &spec) == 0);
	rig_connect(&rig);
	for (uint8_t select = 0; select <= 2; select += 2)
		for (uint32_t n = 0; n <= sizeof(golden) + 8; n++) {
			report_luns(select, n);
			cr_assert(rig_sense(&rig) == 0);
			cr_assert(rig.cmd.data_bytes == (n < sizeof(golden) ? n : sizeof(golden)));
			cr_assert(memcmp(rig.buffer, golden, (size_t)rig.cmd.data_bytes) == 0);
		}
	report_luns(1, 64);
	cr_expect(rig.cmd.data_bytes == 8 && get_be64(rig.buffer) == 0);
	rig_clear(&rig);
}

Test(scsi_status, report_luns_select)
{
	rig_init(&rig);
	for (unsigned select = 3; select < 256; select++) {
		report_luns((uint8_t)select, select % 2 ? 64 : 0);
		cr_expect(rig_sense(&rig) == INVALID_FIELD && rig_field(&rig) == 0x207);
	}
	rig_clear(&rig);
}

Test(scsi_status, report_luns_of_a_full_target)
{
	struct scsi_lu_spec spec = {.lun = &rig.lun};

	rig_init_with(&rig, FAKE_BLOCKS, 512);
	for (uint16_t i = 1; i < SCSI_TARGET_LUS_MAX; i++)
		cr_assert(scsi_target_add_lu(rig.target, i, &spec) == 0);
	rig_connect(&rig);
	report_luns(0, UINT32_MAX);
	cr_expect(rig.cmd.data_bytes == SCSI_PARAM_MAX);
	cr_expect(get_be32(rig.buffer) == SCSI_PARAM_MAX - 8);
	rig_clear(&rig);
}

/* An offline unit is listed: one that is not is taken for removed. */
Test(scsi_status, report_luns_offline)
{
	rig_init(&rig);
	rig.lun.state.online = false;
	report_luns(0, 64);
	cr_expect(rig_sense(&rig) == 0 && get_be32(rig.buffer) == 8);
	rig_clear(&rig);
}

/* Every row, where the number has no unit: those that must, answer; no other has 05/20/00 or worse.
 */
Test(scsi_status, no_logical_unit)
{
	rig_init(&rig);
	rig.lun_number = 1;
	for (unsigned opcode = 0; opcode < 256; opcode++)
		for (uint8_t action = 0; action < 32; action++) {
			bool answers = opcode == 0x12 || opcode == 0xA0 || opcode == 0x03;
			uint8_t cdb[16] = {(uint8_t)opcode, answers ? 0 : action};

			if (answers) {
				cr_assert(rig_prepare(&rig, cdb, sizeof(cdb)));
				rig_execute(&rig, NULL, 0);
				cr_assert(rig_sense(&rig) == 0);
				continue;
			}
			cr_assert(!rig_prepare(&rig, cdb, sizeof(cdb)));
			cr_assert(rig_sense(&rig) == NO_LOGICAL_UNIT);
		}
	rig_clear(&rig);
}

Test(scsi_status, well_known_logical_unit)
{
	rig_init(&rig);
	rig.lun_number = 0xC101;
	report_luns(0, 64);
	cr_expect(rig_sense(&rig) == 0 && get_be32(rig.buffer) == 8);
	rig_do(&rig, CDB(0x00), NULL, 0);
	cr_expect(rig_sense(&rig) == NO_LOGICAL_UNIT);
	rig_clear(&rig);
}

/* Every row that needs the medium, and no other, fails while the LUN is offline or overrun. */
Test(scsi_status, not_ready)
{
	const struct scsi_op *op;
	unsigned at = 0;

	rig_init(&rig);
	while ((op = scsi_op_next(&at)) != NULL) {
		uint8_t cdb[16] = {op->opcode, op->service_action};

		if (op->opcode == 0x1A || op->opcode == 0x5A)
			cdb[2] = 0x3F;
		for (int overrun = 0; overrun < 2; overrun++) {
			uint32_t expected = overrun ? IN_PROGRESS : NOT_READY;

			rig.lun.state.online = overrun;
			rig.lun.overrun = overrun;
			if ((op->flags & OP_MEDIUM) == 0)
				expected = 0;
			cr_expect(rig_prepare(&rig, cdb, sizeof(cdb)) == (expected == 0));
			cr_expect(rig_sense(&rig) == expected, "%s", op->name);
		}
	}
	rig_clear(&rig);
}

static void request_sense(uint8_t desc, uint8_t allocation)
{
	rig_do(&rig, CDB(0x03, desc, 0, 0, allocation), NULL, 0);
}

Test(scsi_status, request_sense_at_every_length)
{
	static const uint8_t fixed[18] = {0x70, 0, 0x05, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x25};
	static const uint8_t descriptors[8] = {0x72, 0x05, 0x25};

	rig_init(&rig);
	rig.lun_number = 3;
	for (uint8_t n = 0; n <= 26; n++) {
		request_sense(0, n);
		cr_assert(rig_sense(&rig) == 0 && rig.cmd.data_bytes == (n < 18 ? n : 18));
		cr_assert(memcmp(rig.buffer, fixed, (size_t)rig.cmd.data_bytes) == 0);
		request_sense(1, n);
		cr_assert(rig_sense(&rig) == 0 && rig.cmd.data_bytes == (n < 8 ? n : 8));
		cr_assert(memcmp(rig.buffer, descriptors, (size_t)rig.cmd.data_bytes) == 0);
	}
	rig_clear(&rig);
}

Test(scsi_status, request_sense_tells_readiness)
{
	rig_init(&rig);
	request_sense(0, 18);
	cr_expect(rig.buffer[2] == 0 && rig.buffer[12] == 0);
	rig.lun.state.online = false;
	request_sense(0, 18);
	cr_expect(rig.buffer[2] == 0x02 && get_be16(rig.buffer + 12) == 0x0403);
	rig_clear(&rig);
}

Test(scsi_status, test_unit_ready)
{
	rig_init(&rig);
	cr_expect(rig_prepare(&rig, CDB(0x00)) && rig.cmd.data == SCSI_DATA_NONE);
	rig_execute(&rig, NULL, 0);
	cr_expect(rig_sense(&rig) == 0);
	rig_clear(&rig);
}

Test(scsi_status, unit_of_no_blocks)
{
	rig_init(&rig);
	rig.lun.state.size_bytes = 511;
	capacity_16(32);
	cr_expect(rig_sense(&rig) == NOT_READY);
	rig_do(&rig, CDB(0x25), NULL, 0);
	cr_expect(rig_sense(&rig) == NOT_READY);
	rig_clear(&rig);
}
