/*
 * A host that is fenced between a command's CDB and the data changes and learns nothing any more:
 * every command of the table that takes data, by name, so that a new one is missed here.
 */
#include <criterion/criterion.h>

#include "target/scsi/op_table.h"
#include "tests/unit/scsi_hosts.h"

#define BLOCK 512u
#define LBA_4 0, 0, 0, 8
#define LBA_8 0, 0, 0, 0, LBA_4

struct late {
	const char *name;
	uint8_t cdb[SCSI_CDB_MAX];
};

/* Of one block each, where there are blocks. */
static const struct late late_rows[] = {
	{"WRITE(6)", {0x0A, 0, 0, 8, 1}},
	{"WRITE(10)", {0x2A, 0, LBA_4, 0, 0, 1}},
	{"WRITE(12)", {0xAA, 0, LBA_4, 0, 0, 0, 1}},
	{"WRITE(16)", {0x8A, 0, LBA_8, 0, 0, 0, 1}},
	{"WRITE AND VERIFY(10)", {0x2E, 0, LBA_4, 0, 0, 1}},
	{"WRITE AND VERIFY(12)", {0xAE, 0, LBA_4, 0, 0, 0, 1}},
	{"WRITE AND VERIFY(16)", {0x8E, 0, LBA_8, 0, 0, 0, 1}},
	{"VERIFY(10)", {0x2F, 0x02, LBA_4, 0, 0, 1}},
	{"VERIFY(12)", {0xAF, 0x02, LBA_4, 0, 0, 0, 1}},
	{"VERIFY(16)", {0x8F, 0x02, LBA_8, 0, 0, 0, 1}},
	{"WRITE SAME(10)", {0x41, 0, LBA_4, 0, 0, 1}},
	{"WRITE SAME(16)", {0x93, 0, LBA_8, 0, 0, 0, 1}},
	{"UNMAP", {0x42, [8] = 24}},
	{"COMPARE AND WRITE", {0x89, 0, LBA_8, 0, 0, 0, 1}},
	{"ORWRITE(16)", {0x8B, 0, LBA_8, 0, 0, 0, 1}},
	{"MODE SELECT(6)", {0x15, 0x10, 0, 0, 24}},
	{"MODE SELECT(10)", {0x55, 0x10, [8] = 28}},
	{"SET TARGET PORT GROUPS", {0xA4, 0x0A, [9] = 8}},
};

static const struct late *late_of(const struct scsi_op *op)
{
	for (size_t i = 0; i < ARRAY_SIZE(late_rows); i++) {
		if (strcmp(late_rows[i].name, op->name) == 0)
			return &late_rows[i];
	}
	cr_assert(false, "%s takes data and is not tested here", op->name);
	return NULL;
}

/* PERSISTENT RESERVE OUT passes every persistent reservation and judges by its key. */
static bool takes_data(const struct scsi_op *op)
{
	return op->opcode != 0x5F &&
	       (op->data == SCSI_DATA_OUT_PARAM || op->data == SCSI_DATA_OUT_MEDIUM ||
		op->data == SCSI_DATA_OUT_GATHER);
}

static unsigned ios(const struct lun *lun)
{
	unsigned sum = 0;

	for (unsigned op = 0; op < LUN_OP_COUNT; op++)
		sum += lun->count[op];
	return sum;
}

static void send_data(struct rig *rig)
{
	static uint8_t data[2 * BLOCK];
	struct rig_piece piece;

	if (rig->cmd.data == SCSI_DATA_OUT_MEDIUM) {
		rig_submit(rig, &piece, 0, BLOCK, data);
		fake_run(rig);
		cr_expect_eq(piece.done_count, 1);
		cr_expect_not(piece.piece.ok);
	} else {
		rig_execute(rig, data, sizeof(data));
	}
}

static void check(const struct scsi_op *op)
{
	struct rig *rig = &hosts.rig;
	struct scsi_cmd waiting;
	unsigned before;

	host_is(3);
	cr_assert(rig_prepare(rig, late_of(op)->cdb, SCSI_CDB_MAX), "%s: %08X", op->name,
		  rig_sense(rig));
	waiting = rig->cmd;
	cr_assert_eq(host_pr_out(0, RESERVE, 3, 'a', 0, 0), 0);
	before = ios(&rig->lun);
	rig->cmd = waiting;
	list_init(&rig->cmd.pieces);
	rig->done_count = 0;
	send_data(rig);
	cr_expect_eq(rig_sense(rig), CONFLICT, "%s: %08X", op->name, rig_sense(rig));
	cr_expect_eq(ios(&rig->lun), before, "%s", op->name);
	cr_assert_eq(host_pr_out(0, RELEASE, 3, 'a', 0, 0), 0);
}

Test(reservation_late, every_command_that_takes_data)
{
	const struct scsi_op *op;
	unsigned at = 0;

	hosts_init(NULL);
	cr_assert_eq(host_pr_out(0, REGISTER, 0, 0, 'a', 0), 0);
	while ((op = scsi_op_next(&at)) != NULL) {
		if (takes_data(op))
			check(op);
	}
	hosts_clear();
}

static unsigned selected;

static void on_selected(struct scsi_cmd *cmd)
{
	(void)cmd;
	selected++;
}

/* A MODE SELECT whose data are there, and whose turn comes only behind a RESERVE. */
Test(reservation_late, a_change_that_waits_for_another)
{
	static uint8_t list[24];
	struct rig *rig = &hosts.rig;
	struct scsi_cmd select;
	uint8_t *buffer = aligned_alloc(4096, SCSI_PARAM_MAX);

	hosts_init(NULL);
	cr_assert_eq(host_pr_out(0, REGISTER, 0, 0, 'a', 0), 0);
	host_is(0);
	cr_assert(rig_prepare(rig, CDB(0x5F, RESERVE, 3, 0, 0, 0, 0, 0, 24)));
	put_be64(list, 'a');
	memcpy(rig->buffer, list, sizeof(list));
	rig->cmd.buffer_bytes = sizeof(list);
	cr_assert_not(scsi_cmd_execute(&rig->cmd));

	/* Still allowed: the reservation has not begun. */
	scsi_cmd_init(&select);
	select.nexus = hosts.nexus[3];
	select.loop = &rig->loop;
	select.done = on_selected;
	select.buffer = buffer;
	memcpy(select.cdb, CDB(0x15, 0x10, 0, 0, 16));
	cr_assert(scsi_cmd_prepare(&select));
	memcpy(buffer, ((const uint8_t[16]){[4] = 0x0A, 0x0A, 0x02, 0x10, 0x08}), 16);
	select.buffer_bytes = 16;
	cr_assert_not(scsi_cmd_execute(&select));
	fake_run(rig);
	cr_expect_eq(rig->cmd.status, SCSI_GOOD);
	cr_expect_eq(selected, 1);
	cr_expect_eq(select.status, SCSI_RESERVATION_CONFLICT);
	cr_expect_not(scsi_lu_mode(select.lu)->write_protect);
	hosts_clear();
	free(buffer);
}
