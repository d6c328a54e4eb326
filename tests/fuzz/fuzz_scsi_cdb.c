/*
 * Fuzzes the device server with sequences of commands of three hosts: CDBs made from rows of the
 * table of commands (every row, with what its masks allow) or raw, with parameter data, failures of
 * the LUN, aborts at any moment, unit attentions, resets and new logins in between.
 *
 * Beyond the sanitizers: each command ends exactly once with a status and, with CHECK CONDITION
 * alone, sense data of a known row; what is answered exceeds neither allocation length nor buffer;
 * commands that do not write leave the medium as it was; every buffer comes back; RESERVATION
 * CONFLICT is for those that a reservation keeps out, and a refusal by the state of the target port
 * for those that it does not serve, as a fourth host is told of both (fuzz_scsi_judge.h). States
 * are changed by the hosts and by an administrator.
 *
 * Each input runs twice, with other bytes in all memory that nobody may read: buffers, records, the
 * stack. What differs then, in an answer or on the medium, was stale memory.
 */
#include <sanitizer/asan_interface.h>

#include "tests/fuzz/fuzz_scsi_judge.h"

#define BLOCKS 32u /* Of 512 bytes; */
#define LARGE 4u   /* of 4096. */
#define MEDIUM_BYTES (LARGE * 4096u)
#define COMMANDS_MAX 16u
#define PIECE_BYTES 4096u
/* Two times the medium, a page, and the medium with its edges. */
#define GATHER_BUFFERS 5u

/* Memory that all inputs use, one after the other. */
static uint8_t medium[MEDIUM_BYTES];
static uint8_t states[BLOCKS];
static uint8_t before[MEDIUM_BYTES];
static uint8_t data[MEDIUM_BYTES];
static _Alignas(4096) uint8_t gather_memory[GATHER_BUFFERS * FAKE_GATHER_STRIDE];

/* What the first run of an input has seen, for the second. */
struct trace {
	uint8_t status, sense_bytes;
	uint8_t sense[SCSI_FIXED_SENSE_BYTES + 14];
	uint64_t data_bytes;
	uint8_t data[SCSI_PARAM_MAX];
};
static struct trace traces[COMMANDS_MAX];
static uint8_t first_medium[MEDIUM_BYTES];
static bool is_second;
static uint64_t command_count; /* Without the second runs. */

/* Bits of the first byte of an input, of each command, and of what says how long its data are. */
enum {
	LARGE_BLOCKS = 1 << 0,
	NOT_THIN = 1 << 1,
	NO_ZEROES = 1 << 2,
	NO_CACHE = 1 << 3,
	READ_ONLY = 1 << 4,
	WIDE_IO = 1 << 5,
	NO_ANCHORS = 1 << 6,
	SHORT_MAPS = 1 << 7,

	FROM_ROW = 1 << 0,
	MASKED = 1 << 1,   /* Only bits that the row allows. */
	IN_RANGE = 1 << 2, /* A small LBA. */
	ABORT = 1 << 3,
	FAIL = 1 << 4,
	ATTENTION = 1 << 5,
	OFFLINE = 1 << 6,
	OTHER_LU = 1 << 7,

	OUT_BYTES = 0x1FF,
	WHO_AT = 9, /* Two bits. */
	LOGS_IN_AGAIN = 1 << 11,
	RESET = 1 << 12,
	CHANGES_ACCESS = 1 << 13,
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
	uint8_t last = (uint8_t)(rig.lun.state.size_bytes / rig.lun.limits.logical_block_bytes - 1);

	if ((how & FROM_ROW) == 0)
		return;
	cdb[0] = op->opcode;
	for (unsigned i = 1; i < op->cdb_bytes && (how & MASKED) != 0; i++)
		cdb[i] &= op->usage[i];
	for (unsigned i = 0; i < op->lba.bytes && (how & IN_RANGE) != 0; i++)
		cdb[op->lba.at + i] &= i + 1 == op->lba.bytes ? last : 0;
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

static void check_end(void)
{
	const struct scsi_cmd *cmd = &rig.cmd;
	bool known = false;

	check(cmd->status == SCSI_GOOD || cmd->status == SCSI_CHECK_CONDITION ||
	      cmd->status == SCSI_BUSY || (cmd->status == SCSI_TASK_ABORTED && cmd->aborted) ||
	      cmd->status == SCSI_RESERVATION_CONFLICT);
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

/* -- Stale memory -- */

static struct trace *trace; /* Of the command under way. */

static void note_data(const uint8_t *bytes, uint64_t count)
{
	if (is_second) {
		check(trace->data_bytes == count);
		check(memcmp(trace->data, bytes, count) == 0);
		return;
	}
	trace->data_bytes = count;
	memcpy(trace->data, bytes, count);
}

static void note_end(void)
{
	const struct scsi_cmd *cmd = &rig.cmd;

	if (is_second) {
		check(trace->status == cmd->status && trace->sense_bytes == cmd->sense_bytes);
		check(memcmp(trace->sense, cmd->sense, cmd->sense_bytes) == 0);
		return;
	}
	command_count++;
	trace->status = cmd->status;
	trace->sense_bytes = cmd->sense_bytes;
	memcpy(trace->sense, cmd->sense, cmd->sense_bytes);
}

/* What functions leave on the stack is nobody's answer either. */
static void __attribute__((noinline)) soil_stack(void)
{
	uint8_t area[4096];

	memset(area, fake_poison, sizeof(area));
	__asm__ volatile("" : : "r"(area) : "memory");
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
LOOP_ONLY static void move(const uint8_t *out, size_t out_bytes, bool aborts)
{
	struct rig_piece pieces[3] = {0};
	bool is_in = rig.cmd.data == SCSI_DATA_IN_MEDIUM;
	uint64_t total = rig.cmd.data_bytes;
	uint64_t end = total;
	unsigned count = 0;

	check(total <= sizeof(data));
	memset(data, is_in ? fake_poison : 0, total);
	for (size_t i = 0; i < out_bytes && i < total && !is_in; i++)
		data[i] = out[i];
	while (end > 0 && count < ARRAY_SIZE(pieces)) {
		uint32_t length = end < PIECE_BYTES ? (uint32_t)end : PIECE_BYTES;

		end -= length;
		rig_submit(&rig, &pieces[count++], end, length, data + end);
	}
	if (aborts) {
		fake_step(&rig.lun);
		scsi_cmd_abort(&rig.cmd);
	}
	fake_run(&rig);
	for (unsigned i = 0; i < count; i++) {
		const struct scsi_piece *piece = &pieces[i].piece;

		check(pieces[i].done_count == 1);
		if (is_in && (!piece->ok || piece->zeroes))
			memset(piece->buffer, 0, piece->length_bytes);
	}
	if (is_in)
		note_data(data + end, total - end);
}

/* Data that begin with the blocks themselves, so that what is compared is the same unless `out`
 * changes it. */
static void gather(const uint8_t *out, size_t out_bytes)
{
	const struct scsi_cmd *cmd = &rig.cmd;
	uint64_t block = rig.lun.limits.logical_block_bytes;
	uint64_t range = cmd->block_count * block;

	check(cmd->reserve_bytes >= cmd->data_bytes && range <= cmd->data_bytes);
	check(rig_gather_buffers(&rig) <= GATHER_BUFFERS);
	rig.gather = gather_memory;
	memset(gather_memory, fake_poison, rig_gather_buffers(&rig) * (size_t)FAKE_GATHER_STRIDE);
	for (uint64_t at = 0; at < cmd->data_bytes; at += block) {
		if (at < range)
			memcpy(rig_at(&rig.cmd, at), medium + cmd->lba * block + at, block);
		else
			memset(rig_at(&rig.cmd, at), 0, block);
	}
	for (uint64_t at = 0; at < cmd->data_bytes && at < out_bytes; at++)
		*rig_at(&rig.cmd, at) ^= out[at];
	for (unsigned i = 0; i < rig_gather_buffers(&rig); i++)
		ASAN_POISON_MEMORY_REGION(gather_memory + i * (size_t)FAKE_GATHER_STRIDE +
						  LOOP_BUFFER_BYTES,
					  FAKE_GATHER_STRIDE - LOOP_BUFFER_BYTES);
}

/* Parameter data, and behind what may be touched none. */
static void set_buffer(const uint8_t *out, size_t out_bytes)
{
	struct scsi_cmd *cmd = &rig.cmd;
	size_t room = cmd->data == SCSI_DATA_IN_PARAM ? (size_t)cmd->data_bytes : SCSI_PARAM_MAX;

	memset(rig.buffer, fake_poison, room);
	ASAN_POISON_MEMORY_REGION(rig.buffer + room, 2 * SCSI_PARAM_MAX - room);
	if (cmd->data == SCSI_DATA_OUT_PARAM) {
		cmd->buffer_bytes =
			(uint32_t)(out_bytes < cmd->data_bytes ? out_bytes : cmd->data_bytes);
		memcpy(rig.buffer, out, cmd->buffer_bytes);
	}
}

LOOP_ONLY static void execute(const uint8_t *out, size_t out_bytes, int abort_at)
{
	struct scsi_cmd *cmd = &rig.cmd;
	uint64_t data_bytes = cmd->data_bytes;

	check(data_bytes <= SCSI_PARAM_MAX || cmd->data == SCSI_DATA_OUT_GATHER);
	if (cmd->data == SCSI_DATA_OUT_GATHER)
		gather(out, out_bytes);
	if (cmd->data == SCSI_DATA_OUT_PARAM || cmd->data == SCSI_DATA_IN_PARAM)
		set_buffer(out, out_bytes);
	if (!scsi_cmd_execute(cmd)) {
		if (abort_at >= 0)
			abort_after((unsigned)abort_at);
		fake_run(&rig);
		check(rig.done_count == 1);
	} else {
		check(rig.done_count == 0);
	}
	check(cmd->data_bytes <= data_bytes);
	ASAN_UNPOISON_MEMORY_REGION(rig.buffer, 2 * SCSI_PARAM_MAX);
	ASAN_UNPOISON_MEMORY_REGION(gather_memory, sizeof(gather_memory));
	if (cmd->data == SCSI_DATA_IN_PARAM && cmd->status == SCSI_GOOD)
		note_data(rig.buffer, cmd->data_bytes);
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
	const struct scsi_op *op = scsi_op_find(cdb);
	size_t size = (size_t)rig.lun.state.size_bytes;
	bool changes = op != NULL && (op->flags & OP_WRITES) != 0;

	if (!changes)
		memcpy(before, medium, size);
	soil_stack();
	if (!judge_prepare(cdb)) {
		check(rig.cmd.data == SCSI_DATA_NONE && rig.cmd.data_bytes == 0);
		check(rig.cmd.status != SCSI_GOOD);
	} else if (rig.cmd.data == SCSI_DATA_IN_MEDIUM || rig.cmd.data == SCSI_DATA_OUT_MEDIUM) {
		move(out, out_bytes, (how & ABORT) != 0);
	} else {
		execute(out, out_bytes, (how & ABORT) != 0 ? out_bytes & 7 : -1);
	}
	check_end();
	note_end();
	check(changes || memcmp(before, medium, size) == 0);
}

/* One command of an input: what it is, then what happened before it. False: there is none. */
LOOP_ONLY static bool next_command(struct byte_reader *reader)
{
	uint8_t how = byte_reader_u8(reader);
	uint8_t index = byte_reader_u8(reader);
	const uint8_t *raw = byte_reader_take(reader, SCSI_CDB_MAX);
	uint16_t bits = byte_reader_be16(reader);
	uint16_t out_bytes = bits & OUT_BYTES;
	const uint8_t *out = byte_reader_take(reader, out_bytes);
	unsigned who = (bits >> WHO_AT & 3) % JUDGE_HOSTS;
	uint8_t cdb[SCSI_CDB_MAX];

	if (out == NULL)
		return false;
	memcpy(cdb, raw, sizeof(cdb));
	shape_cdb(cdb, how, index);
	if ((bits & LOGS_IN_AGAIN) != 0)
		judge_log_in_again(who);
	if ((bits & RESET) != 0)
		judge_reset(who);
	if ((bits & CHANGES_ACCESS) != 0)
		judge_change_access(how ^ index);
	rig.nexus = judge.nexus[who];
	set_scene(how, index);
	rig.expected_bytes = (index & 0x80) != 0 ? out_bytes : SCSI_EXPECTED_UNKNOWN;
	run_command(how, cdb, out, out_bytes);
	judge_end(who);
	return true;
}

LOOP_ONLY static void set_stage(uint8_t scene)
{
	bool large = (scene & LARGE_BLOCKS) != 0;

	if (rig.buffer == NULL) {
		fake_loop_init(&rig.loop);
		rig.buffer = aligned_alloc(4096, 2 * SCSI_PARAM_MAX);
		check(rig.buffer != NULL);
	}
	fake_lun_set(&rig.lun, large ? LARGE : BLOCKS, large ? 4096 : 512, medium);
	memset(medium, 0, rig.lun.state.size_bytes);
	memset(states, LUN_DEALLOCATED, sizeof(states));
	rig.lun.states = states;
	judge_begin();
	rig.lun.limits.thin = (scene & NOT_THIN) == 0;
	rig.lun.limits.zeroes_after_unmap = (scene & NO_ZEROES) == 0;
	rig.lun.limits.write_cache = (scene & NO_CACHE) == 0;
	rig.lun.state.read_only = (scene & READ_ONLY) != 0;
	rig.lun.limits.anchors = (scene & NO_ANCHORS) == 0;
	rig.lun.map_extents = (scene & SHORT_MAPS) != 0 ? 1 : 0;
	if ((scene & WIDE_IO) != 0)
		rig.lun.limits.io_align_bytes = 4096;
}

LOOP_ONLY static void play(const uint8_t *bytes, size_t count, uint8_t poison)
{
	struct byte_reader reader = byte_reader_make(bytes, count);

	fake_poison = poison;
	set_stage(byte_reader_u8(&reader));
	for (unsigned i = 0; i < COMMANDS_MAX && !reader.failed; i++) {
		trace = &traces[i];
		if (!is_second)
			trace->data_bytes = 0;
		if (!next_command(&reader))
			break;
	}
	judge_clear();
}

static void __attribute__((destructor)) report(void)
{
	fprintf(stderr, "%llu commands, each two times\n", (unsigned long long)command_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	loop_role_assume();
	is_second = false;
	play(bytes, count, 0x5A);
	memcpy(first_medium, medium, rig.lun.state.size_bytes);
	is_second = true;
	play(bytes, count, 0xC3);
	check(memcmp(first_medium, medium, rig.lun.state.size_bytes) == 0);
	return 0;
}
