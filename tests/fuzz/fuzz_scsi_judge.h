/*
 * Three hosts on one logical unit in memory for the fuzzer of commands, and a fourth that the input
 * cannot reach: it asks, by PERSISTENT RESERVE IN, what reservations there are, and from that and
 * the rows of the table this judges which commands have to meet RESERVATION CONFLICT. It looks into
 * nothing of the device server.
 *
 * A program includes it once. Read next: fuzz_scsi_cdb.c.
 */
#ifndef TESTS_FUZZ_FUZZ_SCSI_JUDGE_H
#define TESTS_FUZZ_FUZZ_SCSI_JUDGE_H

#include "tests/unit/scsi_fake.h"

#include "target/scsi/op_table.h"

#define JUDGE_HOSTS 3u
#define JUDGE_NAME(n) "iqn.2026-11.io.ringsan:host-" #n ",i,0x00023d00000" #n

static const char *const judge_names[JUDGE_HOSTS + 1] = {JUDGE_NAME(0), JUDGE_NAME(1),
							 JUDGE_NAME(2), JUDGE_NAME(3)};

static struct rig rig;

static struct judge {
	struct scsi_nexus *nexus[JUDGE_HOSTS + 1];
	bool registered[JUDGE_HOSTS];
	bool holds[JUDGE_HOSTS];
	uint8_t type; /* Of the persistent reservation; 0: none. */
	int reserver; /* By RESERVE(6) or (10); -1: nobody. */
} judge;

static inline void check(bool what)
{
	if (!what)
		abort();
}

/* -- Hosts -- */

LOOP_ONLY static inline void judge_log_in(unsigned who)
{
	struct scsi_nexus_spec spec = {
		.target = rig.target,
		.initiator_port_name = judge_names[who],
		.relative_target_port = 1,
		.portal_group_tag = 1,
	};

	check(scsi_nexus_create(&spec, &judge.nexus[who]) == 0);
	scsi_nexus_attach(judge.nexus[who], &rig.loop);
}

LOOP_ONLY static inline void judge_log_out(unsigned who)
{
	scsi_nexus_detach(judge.nexus[who]);
	scsi_nexus_free(judge.nexus[who]);
	judge.nexus[who] = NULL;
}

/* A command of the host in rig.nexus; answers what scsi_cmd_prepare did. */
LOOP_ONLY static inline bool judge_prepare(const uint8_t *cdb)
{
	struct scsi_cmd *cmd = &rig.cmd;

	/* Nobody may read what scsi_cmd_init leaves alone before it is set. */
	memset(cmd, fake_poison, sizeof(*cmd));
	scsi_cmd_init(cmd);
	cmd->nexus = rig.nexus;
	cmd->loop = &rig.loop;
	cmd->buffer = rig.buffer;
	cmd->at = rig_at;
	cmd->done = rig_on_done;
	cmd->expected_bytes = rig.expected_bytes;
	put_be16(cmd->lun_field, rig.lun_number);
	memcpy(cmd->cdb, cdb, SCSI_CDB_MAX);
	rig.done_count = 0;
	return scsi_cmd_prepare(cmd);
}

/* -- What reservations there are -- */

/* True: READ FULL STATUS is in the buffer. False: somebody has reserved the unit the old way. */
LOOP_ONLY static inline bool judge_ask(void)
{
	static const uint8_t cdb[SCSI_CDB_MAX] = {0x5E, 0x03, [7] = 0xFF, [8] = 0xFF};

	rig.nexus = judge.nexus[JUDGE_HOSTS];
	rig.lun_number = 0;
	rig.lun.fail_res = 0;
	rig.expected_bytes = SCSI_EXPECTED_UNKNOWN;
	/* One unit attention after the other first. */
	for (unsigned i = 0; i <= SCSI_UA_COUNT; i++) {
		bool asks = judge_prepare(cdb);

		if (asks && !scsi_cmd_execute(&rig.cmd))
			fake_run(&rig);
		if (rig.cmd.status == SCSI_GOOD)
			return true;
		if (rig.cmd.status == SCSI_RESERVATION_CONFLICT)
			return false;
		check(rig.cmd.status == SCSI_CHECK_CONDITION);
	}
	abort();
}

/* SPC-4 6.15.5: key, flags, scope and type, port, and a TransportID (7.6.4.8) with its name. */
static inline void judge_note_registrant(const uint8_t *descriptor)
{
	const uint8_t *id = descriptor + 24;
	bool holds = (descriptor[12] & 0x01) != 0;

	if (holds)
		judge.type = descriptor[13] & 0x0F;
	for (unsigned i = 0; i < JUDGE_HOSTS; i++) {
		if (get_be16(descriptor + 18) != 1 || strcmp((const char *)id + 4, judge_names[i]))
			continue;
		judge.registered[i] = true;
		judge.holds[i] = holds;
	}
}

/* Answers whether there is any registration. */
static inline bool judge_read_status(void)
{
	const uint8_t *status = rig.buffer;
	size_t end = 8 + (size_t)get_be32(status + 4);

	memset(judge.registered, 0, sizeof(judge.registered));
	memset(judge.holds, 0, sizeof(judge.holds));
	judge.type = 0;
	check(end <= rig.cmd.data_bytes);
	for (size_t at = 8; at < end; at += 24 + (size_t)get_be32(status + at + 20))
		judge_note_registrant(status + at);
	return end > 8;
}

/* After something that may have changed them, by this host. */
LOOP_ONLY static inline void judge_look(unsigned who)
{
	if (judge_ask()) {
		(void)judge_read_status();
		judge.reserver = -1;
	} else if (judge.reserver < 0) {
		judge.reserver = (int)who;
	}
}

/* -- Who is kept out -- */

static inline enum scsi_guard judge_guard(unsigned who)
{
	/* SPC-4 table 48: write exclusive, exclusive access, each for its holder, for registrants,
	 * and with all registrants holding it. */
	static const enum scsi_guard guards[16] = {
		[1] = SCSI_GUARD_WRITE_EXCLUSIVE,  [5] = SCSI_GUARD_WRITE_EXCLUSIVE,
		[7] = SCSI_GUARD_WRITE_EXCLUSIVE,  [3] = SCSI_GUARD_EXCLUSIVE_ACCESS,
		[6] = SCSI_GUARD_EXCLUSIVE_ACCESS, [8] = SCSI_GUARD_EXCLUSIVE_ACCESS,
	};

	if (judge.reserver >= 0)
		return judge.reserver == (int)who ? SCSI_GUARD_NONE : SCSI_GUARD_RESERVED;
	if (judge.holds[who] || (judge.type >= 5 && judge.registered[who]))
		return SCSI_GUARD_NONE;
	return guards[judge.type];
}

static inline bool judge_denies(unsigned who, const uint8_t *cdb)
{
	const struct scsi_op *op = scsi_op_find(cdb);
	enum scsi_guard guard = judge_guard(who);

	if (op == NULL || guard == SCSI_GUARD_NONE)
		return false;
	return (op->passes >> guard & 1) == 0 ||
	       (op->passes_mask != 0 && (cdb[4] & op->passes_mask) != op->passes_value);
}

/* These have conflicts of their own, and may change what others meet. */
static inline bool judge_is_of_reservations(uint8_t opcode)
{
	static const uint8_t opcodes[] = {0x16, 0x17, 0x56, 0x57, 0x5E, 0x5F};

	return memchr(opcodes, opcode, sizeof(opcodes)) != NULL;
}

/* A command of the input has ended. */
LOOP_ONLY static inline void judge_end(unsigned who)
{
	const struct scsi_cmd *cmd = &rig.cmd;
	uint8_t opcode = cmd->cdb[0];
	bool denied = cmd->lu != NULL && judge_denies(who, cmd->cdb);
	bool released = (opcode == 0x17 || opcode == 0x57) && cmd->status == SCSI_GOOD;

	if (judge_is_of_reservations(opcode)) {
		bool held = judge.reserver == (int)who;

		judge_look(who);
		check(!released || !held || judge.reserver < 0);
		return;
	}
	check(cmd->status != SCSI_RESERVATION_CONFLICT || denied);
	check(cmd->status != SCSI_GOOD || !denied);
}

/* -- What may happen between commands -- */

LOOP_ONLY static inline void judge_log_in_again(unsigned who)
{
	bool held = judge.reserver == (int)who;

	judge_log_out(who);
	fake_run(&rig);
	judge_log_in(who);
	judge_look(who);
	check(!held || judge.reserver < 0);
}

LOOP_ONLY static inline void judge_reset(unsigned who)
{
	const struct scsi_lu *lu = scsi_target_find_lu(rig.target, 0);

	scsi_target_reset(rig.target, lu, &rig.loop);
	for (unsigned i = 0; i <= JUDGE_HOSTS; i++) {
		scsi_nexus_reset(judge.nexus[i], lu);
		if (i != who)
			scsi_nexus_raise(judge.nexus[i], lu, SCSI_UA_BUS_DEVICE_RESET);
	}
	fake_run(&rig);
	judge_look(who);
	check(judge.reserver < 0);
}

/* A new target on the LUN and the loop of the rig, with nobody told anything yet. */
LOOP_ONLY static inline void judge_begin(void)
{
	struct scsi_lu_spec spec = {.lun = &rig.lun};

	memset(&judge, 0, sizeof(judge));
	judge.reserver = -1;
	rig.group = (struct loop_group){.loops = {&rig.loop}, .count = 1};
	check(scsi_target_create(FAKE_NAME, &rig.group, &rig.target) == 0);
	check(scsi_target_add_lu(rig.target, 0, &spec) == 0);
	check(scsi_target_add_port(rig.target, 1) == 0);
	for (unsigned i = 0; i <= JUDGE_HOSTS; i++)
		judge_log_in(i);
}

LOOP_ONLY static inline void judge_clear(void)
{
	for (unsigned i = 0; i <= JUDGE_HOSTS; i++)
		judge_log_out(i);
	fake_run(&rig);
	scsi_target_free(rig.target);
	rig.target = NULL;
}

#endif
