/*
 * Fuzzes the device server with sequences of commands: CDBs made from rows of the table of commands
 * (every row, with what its masks allow) or raw, with parameter data, failures of the LUN, aborts
 * at any moment and unit attentions in between.
 *
 * Beyond the sanitizers: each command ends exactly once with a status and, with CHECK CONDITION
 * alone, sense data of a known row; what is answered exceeds neither allocation length nor buffer;
 * commands that do not write leave the medium as it was; every buffer comes back.
 */
#include "tests/unit/scsi_fake.h"

#include "target/scsi/op_table.h"

#define BLOCKS 64u
#define COMMANDS_MAX 16u

static void check(bool what)
{
	if (!what)
		abort();
}

static struct rig rig;
static uint8_t before[BLOCKS * 4096];
static uint8_t data[BLOCKS * 4096];
/* Of a command that gathers its data: at most all blocks two times. */
static uint8_t gathered[2 * BLOCKS * 4096];

/* Bits of the first byte of an input, and of each command. */
enum {
	LARGE_BLOCKS = 1 << 0,
	NOT_THIN = 1 << 1,
	NO_ZEROES = 1 << 2,
	NO_CACHE = 1 << 3,
	READ_ONLY = 1 << 4,
	WIDE_IO = 1 << 5,

	FROM_ROW = 1 << 0,
	MASKED = 1 << 1,   /* Only bits that the row allows. */
	IN_RANGE = 1 << 2, /* A small LBA. */
	ABORT = 1 << 3,
	FAIL = 1 << 4,
	ATTENTION = 1 << 5,
	OFFLINE = 1 << 6,
	OTHER_LU = 1 << 7,
};

static const struct scsi_op *row_of(uint8_t index)
{
	static const struct scsi_op *rows[256];
	static unsigned count;
	unsigned at = 0;

	while (count == 0 || rows[count - 1] != NULL)
		rows[count++] = scsi_op_next(&at);
	return rows[index % (count - 1)];
}

static void shape_cdb(uint8_t *cdb, uint8_t how, uint8_t index)
{
	const struct scsi_op *op = row_of(index);

	if ((how & FROM_ROW) == 0)
		return;
	cdb[0] = op->opcode;
	for (unsigned i = 1; i < op->cdb_bytes && (how & MASKED) != 0; i++)
		cdb[i] &= op->usage[i];
	for (unsigned i = 0; i < op->lba.bytes && (how & IN_RANGE) != 0; i++)
		cdb[op->lba.at + i] &= i + 1 == op->lba.bytes ? BLOCKS - 1 : 0;
	for (unsigned i = 0; i + 1 < op->length.bytes && (how & IN_RANGE) != 0; i++)
		cdb[op->length.at + i] = 0;
	if ((op->flags & OP_SERVICE_ACTION) != 0)
		cdb[1] = (uint8_t)((cdb[1] & 0xE0) | op->service_action);
}

/* A row of the table of sense codes. */
static bool is_known(uint8_t key, const uint8_t *code)
{
	bool known = false;

	for (unsigned i = SENSE_NONE + 1; i < SENSE_COUNT; i++)
		known |= scsi_sense_table[i].key == key && scsi_sense_table[i].asc == code[0] &&
			 scsi_sense_table[i].ascq == code[1];
	return known;
}

/* One host alone hears RESERVATION CONFLICT of these only: a key that is not its own, and the two
 * kinds of reservations, which exclude each other. */
static bool is_of_reservations(uint8_t opcode)
{
	static const uint8_t opcodes[] = {0x16, 0x17, 0x56, 0x57, 0x5E, 0x5F};

	return memchr(opcodes, opcode, sizeof(opcodes)) != NULL;
}

static void check_end(void)
{
	const struct scsi_cmd *cmd = &rig.cmd;
	bool known = false;

	check(cmd->status == SCSI_GOOD || cmd->status == SCSI_CHECK_CONDITION ||
	      cmd->status == SCSI_BUSY || (cmd->status == SCSI_TASK_ABORTED && cmd->aborted) ||
	      (cmd->status == SCSI_RESERVATION_CONFLICT && is_of_reservations(cmd->cdb[0])));
	check(fake_buffers_taken(&rig.loop) == 0 && list_is_empty(&cmd->pieces));
	check(cmd->rewrite == NULL && list_is_empty(&rig.lun.exclusives));
	if (cmd->status != SCSI_CHECK_CONDITION) {
		check(cmd->sense_bytes == 0);
		return;
	}
	/* Commands may change D_SENSE. */
	if ((cmd->sense[0] & 0x7F) == 0x72) {
		check(cmd->sense_bytes == 8u + cmd->sense[7]);
		known = is_known(cmd->sense[1], cmd->sense + 2);
	} else {
		check(cmd->sense_bytes == SCSI_FIXED_SENSE_BYTES);
		check((cmd->sense[0] & 0x7F) == 0x70);
		known = is_known(cmd->sense[2], cmd->sense + 12);
	}
	check(known);
}

/* So many things happen before an abort. */
LOOP_ONLY static void abort_after(unsigned events)
{
	while (events-- > 0 && (fake_message(&rig.loop) || fake_step(&rig.lun)))
		continue;
	if (rig.done_count == 0)
		scsi_cmd_abort(&rig.cmd);
}

/* Pieces of a medium command, the last one first, three under way at once. */
LOOP_ONLY static void move(bool aborts)
{
	struct rig_piece pieces[3] = {0};
	uint64_t end = rig.cmd.data_bytes;
	unsigned count = 0;

	check(end <= sizeof(data));
	while (end > 0 && count < ARRAY_SIZE(pieces)) {
		uint32_t length = end < LOOP_BUFFER_BYTES ? (uint32_t)end : LOOP_BUFFER_BYTES;

		end -= length;
		rig_submit(&rig, &pieces[count++], end, length, data + end);
	}
	if (aborts) {
		fake_step(&rig.lun);
		scsi_cmd_abort(&rig.cmd);
	}
	fake_run(&rig);
	for (unsigned i = 0; i < count; i++)
		check(pieces[i].done_count == 1);
}

/* Data that begin with the blocks themselves, so that what is compared is the same unless `out`
 * changes it. */
static void gather(const uint8_t *out, size_t out_bytes)
{
	const struct scsi_cmd *cmd = &rig.cmd;
	size_t bytes = (size_t)(cmd->block_count * rig.lun.limits.logical_block_bytes);
	size_t at = (size_t)(cmd->lba * rig.lun.limits.logical_block_bytes);

	check(cmd->data_bytes <= sizeof(gathered));
	memcpy(gathered, rig.lun.bytes + at, bytes);
	for (size_t i = 0; i < out_bytes && i < cmd->data_bytes; i++)
		gathered[i] ^= out[i];
	rig_gather(&rig, gathered);
}

LOOP_ONLY static void execute(const uint8_t *out, size_t out_bytes, int abort_at)
{
	struct scsi_cmd *cmd = &rig.cmd;
	uint64_t data_bytes = cmd->data_bytes;

	check(data_bytes <= SCSI_PARAM_MAX || cmd->data == SCSI_DATA_OUT_GATHER);
	if (cmd->data == SCSI_DATA_OUT_GATHER)
		gather(out, out_bytes);
	if (cmd->data == SCSI_DATA_OUT_PARAM) {
		cmd->buffer_bytes = (uint32_t)(out_bytes < data_bytes ? out_bytes : data_bytes);
		memcpy(rig.buffer, out, cmd->buffer_bytes);
	}
	if (!scsi_cmd_execute(cmd)) {
		if (abort_at >= 0)
			abort_after((unsigned)abort_at);
		fake_run(&rig);
		check(rig.done_count == 1);
	} else {
		check(rig.done_count == 0);
	}
	check(cmd->data_bytes <= data_bytes);
	if (cmd->data == SCSI_DATA_IN_PARAM)
		rig_check_canaries(&rig, (size_t)cmd->data_bytes);
	if (cmd->data == SCSI_DATA_OUT_GATHER)
		rig_check_gather(&rig);
	rig_check_canaries(&rig, SCSI_PARAM_MAX);
}

LOOP_ONLY static void set_scene(uint8_t how, uint8_t detail)
{
	static const int results[] = {-EIO, -ENOSPC, -EBUSY, -ENOMEM};

	rig.lun.state.online = (how & OFFLINE) == 0;
	rig.lun_number = (how & OTHER_LU) != 0 ? (uint16_t)(detail << 8 | detail) : 0;
	rig.lun.fail_res = (how & FAIL) != 0 ? results[detail & 3] : 0;
	rig.lun.fail_op = (enum lun_op)((detail >> 2) % LUN_OP_COUNT);
	rig.lun.fail_after = detail >> 6;
	if ((how & ATTENTION) != 0)
		scsi_nexus_raise(rig.nexus, scsi_target_find_lu(rig.target, 0),
				 (enum scsi_ua)(detail % SCSI_UA_COUNT));
}

LOOP_ONLY static void run_command(uint8_t how, const uint8_t *cdb, const uint8_t *out,
				  uint16_t out_bytes)
{
	size_t size = (size_t)rig.lun.state.size_bytes;
	const struct scsi_op *op;

	memcpy(before, rig.lun.bytes, size);
	if (!rig_prepare(&rig, cdb, SCSI_CDB_MAX)) {
		check(rig.cmd.data == SCSI_DATA_NONE && rig.cmd.data_bytes == 0);
		check(rig.cmd.status != SCSI_GOOD);
	} else if (rig.cmd.data == SCSI_DATA_IN_MEDIUM || rig.cmd.data == SCSI_DATA_OUT_MEDIUM) {
		move((how & ABORT) != 0);
	} else {
		execute(out, out_bytes, (how & ABORT) != 0 ? out_bytes & 7 : -1);
	}
	check_end();
	op = scsi_op_find(cdb);
	if (op == NULL || (op->flags & OP_WRITES) == 0)
		check(memcmp(before, rig.lun.bytes, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct byte_reader reader = byte_reader_make(bytes, count);
	uint8_t scene = byte_reader_u8(&reader);

	loop_role_assume();
	rig_init_with(&rig, BLOCKS, (scene & LARGE_BLOCKS) != 0 ? 4096 : 512);
	rig_connect(&rig);
	rig.lun.limits.thin = (scene & NOT_THIN) == 0;
	rig.lun.limits.zeroes_after_unmap = (scene & NO_ZEROES) == 0;
	rig.lun.limits.write_cache = (scene & NO_CACHE) == 0;
	rig.lun.state.read_only = (scene & READ_ONLY) != 0;
	if ((scene & WIDE_IO) != 0)
		rig.lun.limits.io_align_bytes = 4096;
	for (unsigned i = 0; i < COMMANDS_MAX && !reader.failed; i++) {
		uint8_t how = byte_reader_u8(&reader);
		uint8_t index = byte_reader_u8(&reader);
		const uint8_t *raw = byte_reader_take(&reader, SCSI_CDB_MAX);
		uint16_t out_bytes = byte_reader_be16(&reader) & 0x1FF;
		const uint8_t *out = byte_reader_take(&reader, out_bytes);
		uint8_t cdb[SCSI_CDB_MAX];

		if (out == NULL)
			break;
		memcpy(cdb, raw, sizeof(cdb));
		shape_cdb(cdb, how, index);
		set_scene(how, index);
		rig.expected_bytes = (index & 0x80) != 0 ? out_bytes : SCSI_EXPECTED_UNKNOWN;
		run_command(how, cdb, out, out_bytes);
	}
	rig_clear(&rig);
	return 0;
}
