/*
 * Which command may pass which reservation: every cell of SPC-4 tables 65 and 66, SBC-3's, and
 * SPC-2's, by name, against the rows of the table of commands and against what a host sees. Rows
 * that are here and not there are commands to come.
 */
#include <criterion/criterion.h>

#include "target/scsi/op_table.h"
#include "tests/unit/scsi_hosts.h"

struct cells {
	const char *name;
	/* Y passes, n conflicts: Write Exclusive, Exclusive Access, RESERVE(6) of another. */
	const char *passes;
};

/* With these bits of CDB byte 4; its other CDBs conflict. */
struct condition {
	const char *name;
	uint8_t mask, value;
};

static const struct condition conditions[] = {
	{"PREVENT ALLOW MEDIUM REMOVAL", 0x03, 0x00},
	{"START STOP UNIT", 0xF1, 0x01},
};

static const struct cells cells[] = {
	/* SPC-4 table 65. */
	{"EXTENDED COPY", "nnn"},
	{"INQUIRY", "YYY"},
	{"LOG SELECT", "nnn"},
	{"LOG SENSE", "YYY"},
	{"MODE SELECT(6)", "nnn"},
	{"MODE SELECT(10)", "nnn"},
	{"MODE SENSE(6)", "Ynn"},
	{"MODE SENSE(10)", "Ynn"},
	{"READ KEYS", "YYn"},
	{"READ RESERVATION", "YYn"},
	{"REPORT CAPABILITIES", "YYn"},
	{"READ FULL STATUS", "YYn"},
	{"REGISTER", "YYn"},
	{"RESERVE", "YYn"},
	{"RELEASE", "YYn"},
	{"CLEAR", "YYn"},
	{"PREEMPT", "YYn"},
	{"PREEMPT AND ABORT", "YYn"},
	{"REGISTER AND IGNORE EXISTING KEY", "YYn"},
	{"REGISTER AND MOVE", "YYn"},
	{"RECEIVE COPY RESULTS", "nnn"},
	{"RECEIVE DIAGNOSTIC RESULTS", "Ynn"},
	{"RELEASE(6)", "YYY"},
	{"RELEASE(10)", "YYY"},
	{"REPORT IDENTIFYING INFORMATION", "YYn"},
	{"REPORT LUNS", "YYY"},
	{"REPORT SUPPORTED OPERATION CODES", "Ynn"},
	{"REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", "Ynn"},
	{"REPORT TARGET PORT GROUPS", "YYY"},
	{"REQUEST SENSE", "YYY"},
	{"RESERVE(6)", "YYY"},
	{"RESERVE(10)", "YYY"},
	{"SEND DIAGNOSTIC", "nnn"},
	{"SET TARGET PORT GROUPS", "nnn"},
	{"TEST UNIT READY", "YYn"},
	/* SBC-3 4.17 */
	{"COMPARE AND WRITE", "nnn"},
	{"FORMAT UNIT", "nnn"},
	{"GET LBA STATUS(16)", "Ynn"},
	{"ORWRITE(16)", "nnn"},
	{"PRE-FETCH(10)", "Ynn"},
	{"PRE-FETCH(16)", "Ynn"},
	{"PREVENT ALLOW MEDIUM REMOVAL", "YYY"},
	{"READ(6)", "Ynn"},
	{"READ(10)", "Ynn"},
	{"READ(12)", "Ynn"},
	{"READ(16)", "Ynn"},
	{"READ CAPACITY(10)", "YYY"},
	{"READ CAPACITY(16)", "YYY"},
	{"READ DEFECT DATA(10)", "Ynn"},
	{"READ DEFECT DATA(12)", "Ynn"},
	{"START STOP UNIT", "YYY"},
	{"SYNCHRONIZE CACHE(10)", "nnn"},
	{"SYNCHRONIZE CACHE(16)", "nnn"},
	{"UNMAP", "nnn"},
	{"VERIFY(10)", "Ynn"},
	{"VERIFY(12)", "Ynn"},
	{"VERIFY(16)", "Ynn"},
	{"WRITE(6)", "nnn"},
	{"WRITE(10)", "nnn"},
	{"WRITE(12)", "nnn"},
	{"WRITE(16)", "nnn"},
	{"WRITE AND VERIFY(10)", "nnn"},
	{"WRITE AND VERIFY(12)", "nnn"},
	{"WRITE AND VERIFY(16)", "nnn"},
	{"WRITE SAME(10)", "nnn"},
	{"WRITE SAME(16)", "nnn"},
};

static const struct cells *cells_of(const struct scsi_op *op)
{
	for (size_t i = 0; i < ARRAY_SIZE(cells); i++) {
		if (strcmp(cells[i].name, op->name) == 0)
			return &cells[i];
	}
	cr_assert(false, "%s has no cells here", op->name);
	return NULL;
}

static struct condition condition_of(const struct scsi_op *op)
{
	for (size_t i = 0; i < ARRAY_SIZE(conditions); i++) {
		if (strcmp(conditions[i].name, op->name) == 0)
			return conditions[i];
	}
	return (struct condition){op->name, 0, 0};
}

Test(reservation_matrix, the_rows)
{
	const struct scsi_op *op;
	unsigned at = 0;

	while ((op = scsi_op_next(&at)) != NULL) {
		const struct cells *wanted = cells_of(op);
		struct condition condition = condition_of(op);

		for (unsigned guard = 1; guard < SCSI_GUARD_COUNT; guard++) {
			cr_expect_eq(op->passes >> guard & 1, wanted->passes[guard - 1] == 'Y',
				     "%s, guard %u", op->name, guard);
		}
		cr_expect_eq(op->passes_mask, condition.mask, "%s", op->name);
		cr_expect_eq(op->passes_value, condition.value, "%s", op->name);
	}
}

/* What command.c makes of a CDB of the row: true, a conflict. */
static bool conflicts(const struct scsi_op *op, uint8_t byte_4)
{
	uint8_t cdb[SCSI_CDB_MAX] = {op->opcode};

	if ((op->flags & OP_SERVICE_ACTION) != 0)
		cdb[1] = op->service_action;
	cdb[4] = byte_4;
	(void)rig_prepare(&hosts.rig, cdb, sizeof(cdb));
	return rig_sense(&hosts.rig) == CONFLICT;
}

static void check_row(const struct scsi_op *op, unsigned guard)
{
	const struct cells *wanted = cells_of(op);
	struct condition condition = condition_of(op);
	bool passes = wanted->passes[guard - 1] == 'Y';

	for (unsigned byte_4 = 0; byte_4 < (condition.mask != 0 ? 256u : 1u); byte_4++) {
		bool good = (byte_4 & condition.mask) == condition.value;

		cr_expect_eq(conflicts(op, (uint8_t)byte_4), !passes || !good, "%s, guard %u, %02X",
			     op->name, guard, byte_4);
	}
}

/* Host 0 holds it, as each guard has it; host 3 is a stranger. */
static const struct {
	unsigned type; /* 0: RESERVE(6) */
	enum scsi_guard guard;
} kinds[] = {
	{1, SCSI_GUARD_WRITE_EXCLUSIVE}, {3, SCSI_GUARD_EXCLUSIVE_ACCESS},
	{5, SCSI_GUARD_WRITE_EXCLUSIVE}, {6, SCSI_GUARD_EXCLUSIVE_ACCESS},
	{7, SCSI_GUARD_WRITE_EXCLUSIVE}, {8, SCSI_GUARD_EXCLUSIVE_ACCESS},
	{0, SCSI_GUARD_RESERVED},
};

Test(reservation_matrix, every_cell_from_a_stranger)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct scsi_op *op;
		unsigned at = 0;

		hosts_init(NULL);
		if (kinds[i].type == 0) {
			cr_assert_eq(host_do(0, CDB(0x16), NULL, 0), 0);
		} else {
			cr_assert_eq(host_pr_out(0, REGISTER, 0, 0, 'a', 0), 0);
			cr_assert_eq(host_pr_out(0, RESERVE, kinds[i].type, 'a', 0, 0), 0);
		}
		host_is(3);
		while ((op = scsi_op_next(&at)) != NULL)
			check_row(op, kinds[i].guard);
		hosts_clear();
	}
}

/* The holder meets no conflict, nor do registrants where they are admitted (SPC-4 table 65). */
Test(reservation_matrix, every_cell_from_those_who_are_let_in)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct scsi_op *op;
		unsigned at = 0;

		if (kinds[i].type == 0)
			continue;
		hosts_init(NULL);
		for (unsigned who = 0; who < 2; who++)
			cr_assert_eq(host_pr_out(who, REGISTER, 0, 0, 'a' + who, 0), 0);
		cr_assert_eq(host_pr_out(0, RESERVE, kinds[i].type, 'a', 0, 0), 0);
		while ((op = scsi_op_next(&at)) != NULL) {
			host_is(0);
			cr_expect_not(conflicts(op, 0), "%s, type %u", op->name, kinds[i].type);
			host_is(1);
			if (kinds[i].type >= 5) {
				cr_expect_not(conflicts(op, 0), "%s, type %u", op->name,
					      kinds[i].type);
			} else {
				check_row(op, kinds[i].guard);
			}
		}
		hosts_clear();
	}
}
