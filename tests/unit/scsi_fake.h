/*
 * A target with one logical unit on the LUN of scsi_fake_lun.h, a nexus to it, and a transport of a
 * few lines: what tests of the device server stand on. Nothing happens until fake_run. Not for
 * tests of the layers below.
 */
#ifndef TESTS_UNIT_SCSI_FAKE_H
#define TESTS_UNIT_SCSI_FAKE_H

#include "base/bytes.h"
#include "target/scsi/alua.h"
#include "target/scsi/scsi.h"
#include "target/scsi/sense.h"
#include "tests/unit/scsi_fake_lun.h"

#define FAKE_BLOCKS 4096u
#define FAKE_NAME "iqn.2026-11.io.ringsan:fake"
#define FAKE_CANARY 0xA5
/* Gathered data stand in buffers with a page of canaries behind each. */
#define FAKE_GATHER_STRIDE (LOOP_BUFFER_BYTES + 4096u)

/* -- A target with logical unit 0 on such a LUN, and a nexus to it -- */

struct rig {
	struct loop loop;
	struct lun lun;
	struct loop_group group; /* The one loop. */
	struct scsi_target *target;
	struct scsi_nexus *nexus;
	struct scsi_cmd cmd;
	uint8_t *buffer; /* SCSI_PARAM_MAX bytes, and as many canaries. */
	uint8_t *gather; /* What the last gathering command reserved. */
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

/* Two target port groups, 1 and 2, whose states hosts may change, so that all commands are there.
 */
static inline void rig_add_ports(struct rig *rig)
{
	static const struct scsi_access_spec access = {.by_hosts = true, .transition_time_s = 7};

	for (uint16_t port = 1; port <= 2; port++) {
		int res = scsi_target_add_port(rig->target, port);

		assert(res == 0);
	}
	scsi_target_set_access(rig->target, &access);
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
	rig_add_ports(rig);
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
	free(rig->lun.states);
	free(rig->loop.buffers);
	free(rig->buffer);
	free(rig->gather);
}

static inline uint8_t *rig_at(struct scsi_cmd *cmd, uint64_t offset_bytes)
{
	struct rig *rig = CONTAINER_OF(cmd, struct rig, cmd);
	uint64_t buffer = offset_bytes / LOOP_BUFFER_BYTES;

	assert(offset_bytes < cmd->reserve_bytes && rig->gather != NULL);
	return rig->gather + buffer * FAKE_GATHER_STRIDE + offset_bytes % LOOP_BUFFER_BYTES;
}

static inline unsigned rig_gather_buffers(const struct rig *rig)
{
	return (unsigned)((rig->cmd.reserve_bytes + LOOP_BUFFER_BYTES - 1) / LOOP_BUFFER_BYTES);
}

/* The data of a gathering command, as the transport leaves them for scsi_cmd_execute. */
static inline void rig_gather(struct rig *rig, const uint8_t *out)
{
	const struct scsi_cmd *cmd = &rig->cmd;
	size_t bytes = rig_gather_buffers(rig) * (size_t)FAKE_GATHER_STRIDE;

	assert(cmd->data_bytes <= SCSI_GATHER_MAX && cmd->reserve_bytes <= SCSI_RESERVE_MAX);
	assert(cmd->reserve_bytes >= cmd->data_bytes);
	free(rig->gather);
	rig->gather = aligned_alloc(4096, bytes);
	assert(rig->gather != NULL);
	memset(rig->gather, FAKE_CANARY, bytes);
	for (uint64_t at = 0; at < cmd->data_bytes; at += LOOP_BUFFER_BYTES) {
		uint64_t left = cmd->data_bytes - at;

		memcpy(rig_at(&rig->cmd, at), out + at,
		       left < LOOP_BUFFER_BYTES ? (size_t)left : LOOP_BUFFER_BYTES);
	}
}

static inline void rig_check_gather(const struct rig *rig)
{
	for (unsigned i = 0; i < rig_gather_buffers(rig); i++) {
		const uint8_t *page =
			rig->gather + i * (size_t)FAKE_GATHER_STRIDE + LOOP_BUFFER_BYTES;

		assert(page[0] == FAKE_CANARY && memcmp(page, page + 1, 4095) == 0);
	}
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
	cmd->at = rig_at;
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
	if (cmd->data == SCSI_DATA_OUT_GATHER) {
		assert(out_bytes >= cmd->data_bytes);
		rig_gather(rig, out);
	}
	if (!scsi_cmd_execute(cmd)) {
		assert(rig->done_count == 0);
		fake_run(rig);
		assert(rig->done_count == 1);
	}
	if (cmd->data == SCSI_DATA_OUT_GATHER)
		rig_check_gather(rig);
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
#define CONFLICT (0xFF000000u | SCSI_RESERVATION_CONFLICT)

/* The field pointer of INVALID_FIELD: byte << 8 | bit. */
static inline unsigned rig_field(const struct rig *rig)
{
	const uint8_t *sense = rig->cmd.sense;

	assert((sense[15] & 0xC8) == 0xC8);
	return (unsigned)get_be16(sense + 16) << 8 | (sense[15] & 7u);
}

#endif
