/*
 * A LUN in memory and a loop without a thread, for tests of the device server alone: nothing
 * happens until fake_run, so a test decides what is under way when. It defines the functions of
 * lun.h and loop.h that scsi/ calls; a program includes it once. Not for tests of those layers.
 */
#ifndef TESTS_UNIT_SCSI_FAKE_H
#define TESTS_UNIT_SCSI_FAKE_H

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "target/scsi/scsi.h"
#include "target/scsi/sense.h"

#define FAKE_BLOCKS 4096u
#define FAKE_BUFFERS 4u
#define FAKE_NAME "iqn.2026-11.io.ringsan:fake"
#define FAKE_CANARY 0xA5

struct loop {
	uint8_t *buffers;
	bool taken[FAKE_BUFFERS];
	struct loop_msg *first_msg;
	struct loop_msg **last_msg;
	struct list_node calls; /* loop_call: what may block, done when a test lets it. */
};

struct lun {
	struct lun_limits limits;
	struct lun_identity identity;
	struct lun_state state;
	bool overrun;
	uint8_t *bytes;         /* NULL: data are not kept (a LUN too large for that). */
	struct list_node queue; /* Submitted. */
	unsigned count[LUN_OP_COUNT];
	uint64_t range_bytes[LUN_OP_COUNT]; /* Sum of lengths. */
	uint64_t longest_bytes[LUN_OP_COUNT];
	unsigned durable_count;
	unsigned abandoned_count;
	/* The I/O of this op after so many others fails with res. */
	enum lun_op fail_op;
	unsigned fail_after;
	int fail_res;
	/* Called before each I/O is admitted. */
	void (*before)(struct lun *lun);
};

/* -- loop.h -- */

static inline void fake_loop_init(struct loop *loop)
{
	*loop = (struct loop){.last_msg = &loop->first_msg};
	list_init(&loop->calls);
	loop->buffers = aligned_alloc(4096, FAKE_BUFFERS * LOOP_BUFFER_BYTES);
	assert(loop->buffers != NULL);
}

void *loop_buffer_acquire(struct loop *loop)
{
	for (unsigned i = 0; i < FAKE_BUFFERS; i++)
		if (!loop->taken[i]) {
			loop->taken[i] = true;
			return loop->buffers + (size_t)i * LOOP_BUFFER_BYTES;
		}
	return NULL;
}

void loop_buffer_release(struct loop *loop, void *buffer)
{
	size_t i = (size_t)((uint8_t *)buffer - loop->buffers) / LOOP_BUFFER_BYTES;

	assert(i < FAKE_BUFFERS && loop->taken[i]);
	memset(buffer, 0xEE, LOOP_BUFFER_BYTES);
	loop->taken[i] = false;
}

static inline unsigned fake_buffers_taken(const struct loop *loop)
{
	unsigned count = 0;

	for (unsigned i = 0; i < FAKE_BUFFERS; i++)
		count += loop->taken[i];
	return count;
}

void loop_post(struct loop *to, struct loop_msg *msg, loop_msg_fn *fn)
{
	msg->next = NULL;
	msg->fn = fn;
	*to->last_msg = msg;
	to->last_msg = &msg->next;
}

void loop_call(struct loop *loop, struct loop_op *op, loop_call_fn *call, loop_done_fn *done)
{
	op->call = call;
	op->done = done;
	list_append(&loop->calls, &op->link);
}

unsigned loop_index(const struct loop *loop)
{
	(void)loop;
	return 0;
}

/* -- lun.h -- */

static inline void fake_lun_init(struct lun *lun, uint64_t block_count, uint32_t block_bytes)
{
	*lun = (struct lun){
		.limits =
			{
				.logical_block_bytes = block_bytes,
				.physical_block_bytes = 4096,
				.allocation_unit_bytes = 65536,
				.thin = true,
				.zeroes_after_unmap = true,
				.write_cache = true,
			},
		.identity =
			{
				.naa = {0x65, 0x25, 0x34, 0xE0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
					12},
				.serial = "1234ABCD",
			},
		.state = {.size_bytes = block_count * block_bytes, .online = true},
	};
	list_init(&lun->queue);
	if (lun->state.size_bytes <= UINT64_C(64) << 20)
		lun->bytes = calloc(1, (size_t)lun->state.size_bytes);
}

const char *lun_name(const struct lun *lun)
{
	(void)lun;
	return "fake";
}

const struct lun_identity *lun_identity(const struct lun *lun)
{
	return &lun->identity;
}

const struct lun_limits *lun_limits(const struct lun *lun)
{
	return &lun->limits;
}

const struct lun_state *lun_state(const struct lun *lun)
{
	return &lun->state;
}

bool lun_is_overrun(const struct lun *lun)
{
	return lun->overrun;
}

static inline void fake_check_io(const struct lun *lun, const struct lun_io *io)
{
	uint64_t total = 0;

	assert(io->offset_bytes <= lun->state.size_bytes);
	assert(io->length_bytes <= lun->state.size_bytes - io->offset_bytes);
	assert(io->offset_bytes % lun->limits.logical_block_bytes == 0);
	assert(io->length_bytes % lun->limits.logical_block_bytes == 0);
	assert(io->iov_count <= LUN_IOV_MAX && io->done != NULL && io->admit != NULL);
	for (unsigned i = 0; i < io->iov_count; i++)
		total += io->iov[i].iov_len;
	if (io->op == LUN_READ || io->op == LUN_WRITE)
		assert(total == io->length_bytes && total > 0);
	else
		assert(io->iov_count == 0);
}

void lun_io_submit(struct lun *lun, struct loop *loop, struct lun_io *io)
{
	fake_check_io(lun, io);
	assert(io->stage == LUN_IO_IDLE);
	io->lun = lun;
	io->loop = loop;
	io->stage = LUN_IO_SUBMITTED;
	lun->count[io->op]++;
	lun->range_bytes[io->op] += io->length_bytes;
	if (io->length_bytes > lun->longest_bytes[io->op])
		lun->longest_bytes[io->op] = io->length_bytes;
	lun->durable_count += (io->flags & LUN_IO_DURABLE) != 0;
	list_append(&lun->queue, &io->link);
}

void lun_io_abandon(struct lun_io *io)
{
	if (io->stage != LUN_IO_SUBMITTED)
		return;
	io->stage = LUN_IO_ORPHANED;
	io->lun->abandoned_count++;
}

static inline void fake_transfer(struct lun *lun, struct lun_io *io)
{
	uint8_t *at;

	if (lun->bytes == NULL)
		return;
	at = lun->bytes + io->offset_bytes;
	if (io->op == LUN_ZERO || io->op == LUN_UNMAP)
		memset(at, lun->limits.zeroes_after_unmap || io->op == LUN_ZERO ? 0 : 0xDD,
		       (size_t)io->length_bytes);
	for (unsigned i = 0; i < io->iov_count; at += io->iov[i].iov_len, i++)
		if (io->op == LUN_READ)
			memcpy(io->iov[i].iov_base, at, io->iov[i].iov_len);
		else
			memcpy(at, io->iov[i].iov_base, io->iov[i].iov_len);
}

static inline int fake_perform(struct lun *lun, struct lun_io *io)
{
	int res;

	if (lun->before != NULL)
		lun->before(lun);
	res = io->admit(io);
	if (res != 0)
		return res;
	if (lun->fail_res != 0 && io->op == lun->fail_op && lun->fail_after-- == 0)
		return lun->fail_res;
	fake_transfer(lun, io);
	return 0;
}

/* Let the oldest I/O end. False: there is none. */
static inline bool fake_step(struct lun *lun)
{
	struct list_node *node = list_first(&lun->queue);
	struct lun_io *io;
	int res;

	if (node == NULL)
		return false;
	io = CONTAINER_OF(node, struct lun_io, link);
	list_remove(node);
	res = fake_perform(lun, io);
	io->stage = LUN_IO_IDLE;
	io->done(io, res);
	return true;
}

static inline bool fake_message(struct loop *loop)
{
	struct loop_msg *msg = loop->first_msg;

	if (msg == NULL)
		return false;
	loop->first_msg = msg->next;
	if (loop->first_msg == NULL)
		loop->last_msg = &loop->first_msg;
	msg->fn(msg);
	return true;
}

static inline bool fake_call(struct loop *loop)
{
	struct list_node *node = list_first(&loop->calls);
	struct loop_op *op;

	if (node == NULL)
		return false;
	op = CONTAINER_OF(node, struct loop_op, link);
	list_remove(node);
	op->done(op, op->call(op));
	return true;
}

/* -- A target with logical unit 0 on such a LUN, and a nexus to it -- */

struct rig {
	struct loop loop;
	struct lun lun;
	struct loop_group group; /* The one loop. */
	struct scsi_target *target;
	struct scsi_nexus *nexus;
	struct scsi_cmd cmd;
	uint8_t *buffer; /* SCSI_PARAM_MAX bytes, and as many canaries. */
	unsigned done_count;
	uint16_t lun_number;
	uint64_t expected_bytes;
};

static inline void fake_run(struct rig *rig)
{
	while (fake_message(&rig->loop) || fake_call(&rig->loop) || fake_step(&rig->lun))
		continue;
}

static inline void rig_connect(struct rig *rig)
{
	struct scsi_nexus_spec spec = {
		.target = rig->target,
		.initiator_port_name = "iqn.2026-11.io.ringsan:host,i,0x800000000001",
		.relative_target_port = 1,
		.portal_group_tag = 1,
	};
	int res = scsi_nexus_create(&spec, &rig->nexus);

	assert(res == 0);
}

/* With other blocks than usual, and no nexus yet. */
static inline void rig_init_with(struct rig *rig, uint64_t block_count, uint32_t block_bytes)
{
	struct scsi_lu_spec spec = {.lun = &rig->lun};
	int res;

	memset(rig, 0, sizeof(*rig));
	rig->expected_bytes = SCSI_EXPECTED_UNKNOWN;
	fake_loop_init(&rig->loop);
	fake_lun_init(&rig->lun, block_count, block_bytes);
	rig->group = (struct loop_group){.loops = {&rig->loop}, .count = 1};
	res = scsi_target_create(FAKE_NAME, &rig->group, &rig->target);
	assert(res == 0);
	res = scsi_target_add_lu(rig->target, 0, &spec);
	assert(res == 0);
	rig->buffer = aligned_alloc(4096, 2 * SCSI_PARAM_MAX);
	assert(rig->buffer != NULL);
}

/* Ready for commands: the unit attention of a fresh nexus has been told. */
static inline void rig_init(struct rig *rig)
{
	bool go_on;

	loop_role_assume();
	rig_init_with(rig, FAKE_BLOCKS, 512);
	rig_connect(rig);
	scsi_cmd_init(&rig->cmd);
	rig->cmd.nexus = rig->nexus;
	go_on = scsi_cmd_prepare(&rig->cmd);
	assert(!go_on && rig->cmd.sense[12] == 0x29);
}

static inline void rig_clear(struct rig *rig)
{
	assert(fake_buffers_taken(&rig->loop) == 0);
	scsi_nexus_free(rig->nexus);
	scsi_target_free(rig->target);
	free(rig->lun.bytes);
	free(rig->loop.buffers);
	free(rig->buffer);
}

static inline void rig_on_done(struct scsi_cmd *cmd)
{
	CONTAINER_OF(cmd, struct rig, cmd)->done_count++;
}

/* A command with these CDB bytes, prepared. Answers what scsi_cmd_prepare did. */
static inline bool rig_prepare(struct rig *rig, const uint8_t *cdb, size_t cdb_bytes)
{
	struct scsi_cmd *cmd = &rig->cmd;

	loop_role_assume();
	/* Nobody may read what scsi_cmd_init leaves alone before it is set. */
	memset(cmd, 0xA5, sizeof(*cmd));
	scsi_cmd_init(cmd);
	cmd->nexus = rig->nexus;
	cmd->loop = &rig->loop;
	cmd->buffer = rig->buffer;
	cmd->done = rig_on_done;
	cmd->expected_bytes = rig->expected_bytes;
	put_be16(cmd->lun_field, rig->lun_number);
	memcpy(cmd->cdb, cdb, cdb_bytes < SCSI_CDB_MAX ? cdb_bytes : SCSI_CDB_MAX);
	rig->done_count = 0;
	memset(rig->buffer, FAKE_CANARY, 2 * SCSI_PARAM_MAX);
	return scsi_cmd_prepare(cmd);
}

/* All are what the first one is: one memcmp instead of a loop, for the fuzzer's sake. */
static inline void rig_check_canaries(const struct rig *rig, size_t from)
{
	const uint8_t *at = rig->buffer + from;

	assert(at[0] == FAKE_CANARY);
	assert(memcmp(at, at + 1, 2 * SCSI_PARAM_MAX - from - 1) == 0);
}

/* Execute a prepared command that moves no data of the medium, to its end. */
static inline void rig_execute(struct rig *rig, const void *out, uint32_t out_bytes)
{
	struct scsi_cmd *cmd = &rig->cmd;

	loop_role_assume();
	assert(cmd->data != SCSI_DATA_IN_MEDIUM && cmd->data != SCSI_DATA_OUT_MEDIUM);
	if (cmd->data == SCSI_DATA_OUT_PARAM && out != NULL) {
		cmd->buffer_bytes =
			out_bytes < cmd->data_bytes ? out_bytes : (uint32_t)cmd->data_bytes;
		memcpy(rig->buffer, out, cmd->buffer_bytes);
	}
	if (!scsi_cmd_execute(cmd)) {
		assert(rig->done_count == 0);
		fake_run(rig);
		assert(rig->done_count == 1);
	}
	if (cmd->data == SCSI_DATA_IN_PARAM)
		rig_check_canaries(rig, (size_t)cmd->data_bytes);
	rig_check_canaries(rig, SCSI_PARAM_MAX);
	assert(fake_buffers_taken(&rig->loop) == 0);
}

struct rig_piece {
	struct scsi_piece piece;
	unsigned done_count;
};

static inline void rig_on_piece_done(struct scsi_piece *piece)
{
	CONTAINER_OF(piece, struct rig_piece, piece)->done_count++;
}

static inline void rig_submit(struct rig *rig, struct rig_piece *p, uint64_t offset_bytes,
			      uint32_t length_bytes, uint8_t *buffer)
{
	/* The transport sets its five fields, and nothing else. */
	memset(&p->piece, 0xA5, sizeof(p->piece));
	p->piece.cmd = &rig->cmd;
	p->piece.offset_bytes = offset_bytes;
	p->piece.length_bytes = length_bytes;
	p->piece.buffer = buffer;
	p->piece.done = rig_on_piece_done;
	p->done_count = 0;
	loop_role_assume();
	scsi_piece_submit(&p->piece);
	assert(p->done_count == 0);
}

/* Move all data of a prepared medium command, `data` being data_bytes long. */
static inline void rig_move(struct rig *rig, uint8_t *data)
{
	struct scsi_cmd *cmd = &rig->cmd;
	struct rig_piece piece;

	for (uint64_t at = 0; at < cmd->data_bytes; at += LOOP_BUFFER_BYTES) {
		uint64_t left = cmd->data_bytes - at;

		rig_submit(rig, &piece, at,
			   left < LOOP_BUFFER_BYTES ? (uint32_t)left : LOOP_BUFFER_BYTES,
			   data + at);
		fake_run(rig);
		assert(piece.done_count == 1);
		assert(piece.piece.ok == !scsi_cmd_has_failed(cmd));
	}
}

/* A whole command; medium data in or out of `data`, parameter data out of it. */
static inline void rig_do(struct rig *rig, const uint8_t *cdb, size_t cdb_bytes, void *data,
			  uint32_t data_bytes)
{
	if (!rig_prepare(rig, cdb, cdb_bytes))
		return;
	if (rig->cmd.data == SCSI_DATA_IN_MEDIUM || rig->cmd.data == SCSI_DATA_OUT_MEDIUM)
		rig_move(rig, data);
	else
		rig_execute(rig, data, data_bytes);
}

#define CDB(...) ((const uint8_t[SCSI_CDB_MAX]){__VA_ARGS__}), SCSI_CDB_MAX

/* Sense of the last command as key << 16 | asc << 8 | ascq; 0 when its status is GOOD. */
static inline uint32_t rig_sense(const struct rig *rig)
{
	const struct scsi_cmd *cmd = &rig->cmd;

	if (cmd->status == SCSI_GOOD)
		return 0;
	if (cmd->status != SCSI_CHECK_CONDITION)
		return 0xFF000000u | cmd->status;
	assert(cmd->sense_bytes == SCSI_FIXED_SENSE_BYTES && (cmd->sense[0] & 0x7F) == 0x70);
	return (uint32_t)cmd->sense[2] << 16 | get_be16(cmd->sense + 12);
}

#define INVALID_OPCODE 0x052000u
#define LBA_OUT_OF_RANGE 0x052100u
#define INVALID_FIELD 0x052400u
#define NO_LOGICAL_UNIT 0x052500u
#define INVALID_PARAMETER 0x052600u
#define LIST_LENGTH 0x051A00u
#define INFORMATION_UNIT 0x050E03u
#define NO_SAVING 0x053900u
#define WRITE_PROTECTED 0x072700u
#define SOFTWARE_WRITE_PROTECTED 0x072702u
#define NO_SPACE 0x072707u
#define NOT_READY 0x020403u
#define IN_PROGRESS 0x020407u
#define READ_ERROR 0x031100u
#define WRITE_ERROR 0x030C00u
#define MISCOMPARE 0x0E1D00u
#define POWER_ON 0x062900u
#define BUSY_STATUS (0xFF000000u | SCSI_BUSY)

/* The field pointer of INVALID_FIELD: byte << 8 | bit. */
static inline unsigned rig_field(const struct rig *rig)
{
	const uint8_t *sense = rig->cmd.sense;

	assert((sense[15] & 0xC8) == 0xC8);
	return (unsigned)get_be16(sense + 16) << 8 | (sense[15] & 7u);
}

#endif
