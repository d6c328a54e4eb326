/*
 * The table of commands: each row refuses what is not in its usage masks, and REPORT SUPPORTED
 * OPERATION CODES tells the same that the checks do.
 */
#include <criterion/criterion.h>

#include "target/scsi/op_table.h"
#include "tests/unit/scsi_fake.h"
#include "tests/unit/scsi_op_cdb.h"

static struct rig rig;

static unsigned count_rows(void)
{
	unsigned count = 0;
	unsigned at = 0;

	while (scsi_op_next(&at) != NULL)
		count++;
	return count;
}

Test(scsi_op_table, rows_are_what_they_say)
{
	const struct scsi_op *op;
	unsigned at = 0;

	while ((op = scsi_op_next(&at)) != NULL) {
		unsigned group = op->opcode >> 5;
		static const uint8_t group_bytes[8] = {6, 10, 10, 0, 16, 12, 0, 0};

		cr_expect(op->name != NULL && op->cdb_bytes == group_bytes[group], "%s", op->name);
		cr_expect(op->usage[0] == 0, "%s", op->name);
		cr_expect(op->usage[op->cdb_bytes - 1] == 0, "%s: CONTROL", op->name);
		for (unsigned i = op->cdb_bytes; i < SCSI_CDB_MAX; i++)
			cr_expect(op->usage[i] == 0, "%s", op->name);
		for (unsigned i = 0; i < op->length.bytes; i++)
			cr_expect(op->usage[op->length.at + i] == 0xFF, "%s", op->name);
		cr_expect(op->answer == NULL || op->data == SCSI_DATA_IN_PARAM, "%s", op->name);
		cr_expect(op->data != SCSI_DATA_IN_PARAM || op->answer != NULL ||
				  op->execute != NULL,
			  "%s", op->name);
		cr_expect((op->lba.bytes == 0) || (op->flags & OP_MEDIUM) != 0, "%s", op->name);
	}
	cr_expect(count_rows() >= 40);
}

Test(scsi_op_table, every_reserved_bit_is_refused_and_pointed_to)
{
	const struct scsi_op *op;
	unsigned at = 0;

	rig_init(&rig);
	while ((op = scsi_op_next(&at)) != NULL)
		for (unsigned byte = 1; byte < op->cdb_bytes; byte++)
			for (unsigned bit = 0; bit < 8; bit++) {
				uint8_t cdb[SCSI_CDB_MAX];

				if ((op->usage[byte] & 1u << bit) != 0)
					continue;
				build_cdb(op, cdb);
				cdb[byte] |= (uint8_t)(1u << bit);
				cr_assert(!rig_prepare(&rig, cdb, sizeof(cdb)), "%s %u.%u",
					  op->name, byte, bit);
				cr_assert(rig_sense(&rig) == INVALID_FIELD);
				cr_assert(rig_field(&rig) == (byte << 8 | bit), "%s %u.%u",
					  op->name, byte, bit);
				cr_assert(rig.cmd.data == SCSI_DATA_NONE &&
					  rig.cmd.data_bytes == 0);
			}
	rig_clear(&rig);
}

Test(scsi_op_table, every_row_is_prepared)
{
	const struct scsi_op *op;
	unsigned at = 0;

	rig_init(&rig);
	while ((op = scsi_op_next(&at)) != NULL) {
		uint8_t cdb[SCSI_CDB_MAX];

		build_cdb(op, cdb);
		cr_expect(rig_prepare(&rig, cdb, sizeof(cdb)), "%s: %06X", op->name,
			  (unsigned)rig_sense(&rig));
	}
	rig_clear(&rig);
}

Test(scsi_op_table, every_other_opcode_and_service_action)
{
	rig_init(&rig);
	for (unsigned opcode = 0; opcode < 256; opcode++)
		for (unsigned action = 0; action < 32; action++) {
			uint8_t cdb[SCSI_CDB_MAX] = {(uint8_t)opcode, (uint8_t)action};

			if (scsi_op_find(cdb) != NULL)
				continue;
			cr_assert(!rig_prepare(&rig, cdb, sizeof(cdb)));
			if (!scsi_op_has_actions((uint8_t)opcode)) {
				cr_assert(rig_sense(&rig) == INVALID_OPCODE);
				continue;
			}
			cr_assert(rig_sense(&rig) == INVALID_FIELD && rig_field(&rig) == 0x104);
		}
	rig_clear(&rig);
}

static void report(uint8_t options, uint8_t opcode, uint16_t action, uint32_t allocation)
{
	uint8_t cdb[12] = {0xA3, 0x0C, options, opcode};

	put_be16(cdb + 4, action);
	put_be32(cdb + 6, allocation);
	rig_do(&rig, cdb, sizeof(cdb), NULL, 0);
}

/* SPC-4 6.35.4: the recommended time is not below the nominal one, and both are told. */
static void check_times(const uint8_t *descriptor)
{
	uint32_t nominal_s = get_be32(descriptor + 4);

	cr_assert(get_be32(descriptor) == 0x000A0000);
	cr_assert(nominal_s > 0 && get_be32(descriptor + 8) >= nominal_s);
}

/* The list, walked; answers how many commands it has. */
static unsigned walk_all(uint8_t rctd)
{
	size_t each = rctd ? 20 : 8;
	const struct scsi_op *op;
	unsigned count = 0;
	unsigned at = 0;

	report(rctd, 0, 0, 65536);
	cr_assert(rig_sense(&rig) == 0 && rig.cmd.data_bytes == 4 + get_be32(rig.buffer));
	for (const uint8_t *d = rig.buffer + 4; d < rig.buffer + rig.cmd.data_bytes; d += each) {
		op = scsi_op_next(&at);
		while (op != NULL && !scsi_op_supported(op, scsi_target_find_lu(rig.target, 0)))
			op = scsi_op_next(&at);
		cr_assert(op != NULL && d[0] == op->opcode &&
			  get_be16(d + 2) == op->service_action);
		cr_assert(d[1] == 0 && d[4] == 0 && get_be16(d + 6) == op->cdb_bytes);
		cr_assert(d[5] == ((rctd ? 2 : 0) | ((op->flags & OP_SERVICE_ACTION) != 0)));
		if (rctd)
			check_times(d + 8);
		count++;
	}
	return count;
}

Test(scsi_op_table, report_all)
{
	rig_init(&rig);
	cr_expect(walk_all(0) == count_rows());
	cr_expect(walk_all(0x80) == count_rows());
	rig.lun.limits.thin = false;
	cr_expect(walk_all(0) == count_rows() - 1);
	rig_clear(&rig);
}

Test(scsi_op_table, report_all_at_every_length)
{
	static uint8_t golden[2048];
	size_t length;

	rig_init(&rig);
	report(0x80, 0, 0, 65536);
	length = (size_t)rig.cmd.data_bytes;
	cr_assert(length < sizeof(golden));
	memcpy(golden, rig.buffer, length);
	for (size_t n = 0; n <= length + 8; n++) {
		report(0x80, 0, 0, (uint32_t)n);
		cr_assert(rig_sense(&rig) == 0 && rig.cmd.data_bytes == (n < length ? n : length));
		cr_assert(memcmp(rig.buffer, golden, (size_t)rig.cmd.data_bytes) == 0);
	}
	report(0, 0, 0, UINT32_MAX);
	cr_expect(rig_sense(&rig) == 0);
	rig_clear(&rig);
}

Test(scsi_op_table, usage_of_one_command)
{
	static const uint8_t read_10[] = {0,    3,    0,    10, 0x28, 0x18, 0xFF,
					  0xFF, 0xFF, 0xFF, 0,  0xFF, 0xFF, 0};
	static const uint8_t capacity[] = {0, 0x83, 0, 16,   0x9E, 0x10, 0,    0, 0, 0, 0,
					   0, 0,    0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 10,
					   0, 0,    0, 0,    0,    1,    0,    0, 0, 10};
	size_t length = sizeof(capacity);

	rig_init(&rig);
	report(1, 0x28, 0, 255);
	cr_expect(rig.cmd.data_bytes == sizeof(read_10));
	cr_expect(memcmp(rig.buffer, read_10, sizeof(read_10)) == 0);
	for (size_t n = 0; n <= length + 8; n++) {
		report(0x82, 0x9E, 0x10, (uint32_t)n);
		cr_assert(rig_sense(&rig) == 0 && rig.cmd.data_bytes == (n < length ? n : length));
		cr_assert(memcmp(rig.buffer, capacity, (size_t)rig.cmd.data_bytes) == 0);
	}
	rig_clear(&rig);
}

/* What a thin unit alone does is told by the others, and refused. */
Test(scsi_op_table, fully_provisioned)
{
	rig_init(&rig);
	rig.lun.limits.thin = false;
	report(1, 0x93, 0, 255);
	cr_expect(rig.buffer[5] == 0x01);
	report(1, 0x42, 0, 255);
	cr_expect(rig_sense(&rig) == 0 && rig.buffer[1] == 1 && rig.cmd.data_bytes == 4);
	cr_expect(!rig_prepare(&rig, CDB(0x42)) && rig_sense(&rig) == INVALID_OPCODE);
	cr_expect(!rig_prepare(&rig, CDB(0x93, 0x08, [13] = 1)));
	cr_expect(rig_sense(&rig) == INVALID_FIELD && rig_field(&rig) == 0x103);
	rig_clear(&rig);
}

enum answer {
	ANSWER_SUPPORTED,
	ANSWER_NOT,
	ANSWER_REFUSED,
};

/* The service actions there are. */
static bool is_action(uint8_t opcode, uint32_t action)
{
	static const struct {
		uint8_t opcode;
		uint16_t action;
	} known[] = {{0x9E, 0x10}, {0x9E, 0x12}, {0xA3, 0x0A},
		     {0xA3, 0x0C}, {0xA3, 0x0D}, {0xA4, 0x0A}};
	bool found = (opcode == 0x5E && action < 4) || (opcode == 0x5F && action < 8);

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		found |= known[i].opcode == opcode && known[i].action == action;
	return found;
}

/* SPC-4 table 246, written the other way round than the code. */
static enum answer expected_answer(unsigned options, uint8_t opcode, uint32_t action)
{
	bool actions = opcode == 0x5E || opcode == 0x5F || opcode == 0x9E || opcode == 0xA3 ||
		       opcode == 0xA4;
	bool plain = !actions && scsi_op_find_action(opcode, 0) != NULL;
	bool found = is_action(opcode, action);

	switch (options) {
	case 1:
		return actions ? ANSWER_REFUSED : plain ? ANSWER_SUPPORTED : ANSWER_NOT;
	case 2:
		return plain ? ANSWER_REFUSED : found ? ANSWER_SUPPORTED : ANSWER_NOT;
	case 3:
		return found || (plain && action == 0) ? ANSWER_SUPPORTED : ANSWER_NOT;
	default:
		return ANSWER_REFUSED;
	}
}

static void check_answer(unsigned options, uint8_t opcode, uint16_t action)
{
	enum answer expected = expected_answer(options, opcode, action);

	report((uint8_t)options, opcode, action, 64);
	if (expected == ANSWER_REFUSED) {
		cr_assert(rig_sense(&rig) == INVALID_FIELD && rig_field(&rig) == 0x202);
		return;
	}
	cr_assert(rig_sense(&rig) == 0, "%u %02X %04X", options, opcode, action);
	cr_assert(rig.buffer[1] == (expected == ANSWER_SUPPORTED ? 3 : 1), "%u %02X %04X", options,
		  opcode, action);
	cr_assert(expected == ANSWER_SUPPORTED || rig.cmd.data_bytes == 4);
}

Test(scsi_op_table, every_opcode_and_option)
{
	rig_init(&rig);
	for (unsigned options = 1; options < 8; options++)
		for (unsigned opcode = 0; opcode < 256; opcode++)
			for (unsigned action = 0; action < 33; action++)
				check_answer(options, (uint8_t)opcode, (uint16_t)action);
	rig_clear(&rig);
}

/* CVE-2024-42416 of another target: a service action that indexed outside its table. */
Test(scsi_op_table, every_service_action)
{
	static const uint8_t opcodes[] = {0x9E, 0xA3, 0xA4, 0x28, 0x7F};

	for (uint32_t action = 0; action < 65536; action++)
		for (size_t i = 0; i < sizeof(opcodes); i++) {
			const struct scsi_op *op =
				scsi_op_find_action(opcodes[i], (uint16_t)action);
			bool expected = is_action(opcodes[i], action) || opcodes[i] == 0x28;

			cr_assert((op != NULL) == expected);
		}
	rig_init(&rig);
	for (uint32_t action = 0; action < 65536; action += action < 64 ? 1 : 251)
		for (unsigned options = 1; options < 8; options++)
			for (size_t i = 0; i < sizeof(opcodes); i++)
				check_answer(options, opcodes[i], (uint16_t)action);
	rig_clear(&rig);
}
