/*
 * Three hosts on one logical unit in memory for the fuzzer of commands, and a fourth that the input
 * cannot reach: it asks, by PERSISTENT RESERVE IN, what reservations there are, and from that and
 * the rows of the table this judges which commands have to meet RESERVATION CONFLICT. It asks by
 * REPORT TARGET PORT GROUPS, too, in which state the hosts' two groups are: what a state does not
 * serve is never GOOD, the reason that is given is that of the state, and of each change it has
 * heard once. It looks into nothing of the device server.
 *
 * A program includes it once. Read next: fuzz_scsi_cdb.c.
 */
#ifndef TESTS_FUZZ_FUZZ_SCSI_JUDGE_H
#define TESTS_FUZZ_FUZZ_SCSI_JUDGE_H

#include "tests/unit/scsi_fake.h"

#include "target/scsi/op_table.h"

#define JUDGE_HOSTS 3u
/* Hosts 0 and 1 come through the first, host 2 through the second, the fourth through none. */
#define JUDGE_GROUPS 2u
#define JUDGE_NAME(n) "iqn.2026-11.io.ringsan:host-" #n ",i,0x00023d00000" #n

static const char *const judge_names[JUDGE_HOSTS + 1] = {JUDGE_NAME(0), JUDGE_NAME(1),
							 JUDGE_NAME(2), JUDGE_NAME(3)};

static struct rig rig;

static struct judge {
	struct scsi_nexus *nexus[JUDGE_HOSTS + 1];
	bool registered[JUDGE_HOSTS];
	bool holds[JUDGE_HOSTS];
	uint8_t type;                 /* Of the persistent reservation; 0: none. */
	int reserver;                 /* By RESERVE(6) or (10); -1: nobody. */
	uint8_t groups[JUDGE_GROUPS]; /* Preference and state, as reported. */
	unsigned told;                /* How often the fourth host has heard of 2Ah/06h. */
} judge;

static inline void check(bool what)
{
	if (!what)
		abort();
}

/* Key, code and qualifier of the last command, in whichever format. */
static inline uint32_t judge_sense(void)
{
	const uint8_t *sense = rig.cmd.sense;
	bool described = (sense[0] & 0x7F) == 0x72;

	if (rig.cmd.status != SCSI_CHECK_CONDITION)
		return 0;
	return (uint32_t)(described ? sense[1] : sense[2] & 0x0F) << 16 |
	       get_be16(described ? sense + 2 : sense + 12);
}

/* -- Hosts -- */

static inline uint16_t judge_port(unsigned who)
{
	return who == 2 ? 2 : 1;
}

LOOP_ONLY static inline void judge_log_in(unsigned who)
{
	struct scsi_nexus_spec spec = {
		.target = rig.target,
		.initiator_port_name = judge_names[who],
		.relative_target_port = judge_port(who),
		.portal_group_tag = who == JUDGE_HOSTS ? JUDGE_GROUPS + 1 : judge_port(who),
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

/* A command of the fourth host, which hears of all unit attentions first; answers its status. */
LOOP_ONLY static inline uint8_t judge_do(const uint8_t *cdb)
{
	rig.nexus = judge.nexus[JUDGE_HOSTS];
	rig.lun_number = 0;
	rig.lun.fail_res = 0;
	rig.expected_bytes = SCSI_EXPECTED_UNKNOWN;
	/* One unit attention after the other first. */
	for (unsigned i = 0; i <= SCSI_UA_COUNT; i++) {
		bool asks = judge_prepare(cdb);

		if (asks && !scsi_cmd_execute(&rig.cmd))
			fake_run(&rig);
		if (rig.cmd.status != SCSI_CHECK_CONDITION)
			return rig.cmd.status;
		judge.told += judge_sense() == 0x062A06;
	}
	abort();
}

/* True: READ FULL STATUS is in the buffer. False: somebody has reserved the unit the old way. */
LOOP_ONLY static inline bool judge_ask(void)
{
	static const uint8_t cdb[SCSI_CDB_MAX] = {0x5E, 0x03, [7] = 0xFF, [8] = 0xFF};
	uint8_t status = judge_do(cdb);

	check(status == SCSI_GOOD || status == SCSI_RESERVATION_CONFLICT);
	return status == SCSI_GOOD;
}

/* SPC-4 6.15.5: key, flags, scope and type, port, and a TransportID (7.6.4.8) with its name. */
static inline void judge_note_registrant(const uint8_t *descriptor)
{
	const uint8_t *id = descriptor + 24;
	bool holds = (descriptor[12] & 0x01) != 0;

	if (holds)
		judge.type = descriptor[13] & 0x0F;
	for (unsigned i = 0; i < JUDGE_HOSTS; i++) {
		if (get_be16(descriptor + 18) != judge_port(i) ||
		    strcmp((const char *)id + 4, judge_names[i]))
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

/* -- Access states -- */

/* Answers whether they are others than before. SPC-4 6.37. */
LOOP_ONLY static inline bool judge_ask_access(void)
{
	static const uint8_t cdb[SCSI_CDB_MAX] = {0xA3, 0x0A, [9] = 0xFF};
	bool changed = false;

	check(judge_do(cdb) == SCSI_GOOD && rig.cmd.data_bytes == 4 + 12 * JUDGE_GROUPS);
	for (unsigned i = 0; i < JUDGE_GROUPS; i++) {
		const uint8_t *descriptor = rig.buffer + 4 + (size_t)12 * i;

		check(get_be16(descriptor + 2) == i + 1);
		changed |= descriptor[0] != judge.groups[i];
		judge.groups[i] = descriptor[0];
	}
	return changed;
}

/* After something that may have changed them: the fourth host is told of it exactly then, once.
 * Answers whether they have changed. */
LOOP_ONLY static inline bool judge_look_at_access(void)
{
	bool changed;

	judge.told = 0;
	changed = judge_ask_access();
	check(judge.told == changed);
	return changed;
}

struct judge_state {
	uint8_t state;
	uint8_t served;
	uint32_t sense;
};

/* SPC-4 5.15.2.4. NULL: all is served. */
static inline const struct judge_state *judge_state(unsigned who)
{
	static const struct judge_state states[] = {
		{SCSI_ACCESS_STANDBY, SERVED_STANDBY, 0x02040B},
		{SCSI_ACCESS_UNAVAILABLE, SERVED_UNAVAILABLE, 0x02040C},
		{SCSI_ACCESS_OFFLINE, SERVED_OFFLINE, 0x020412},
		{SCSI_ACCESS_TRANSITIONING, SERVED_TRANSITION, 0x02040A},
	};

	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		if (states[i].state == (judge.groups[judge_port(who) - 1] & 0x0F))
			return &states[i];
	}
	return NULL;
}

/* 02/04 with one of the reasons that only states have. */
static inline bool judge_is_of_state(uint32_t sense)
{
	return sense == 0x02040A || sense == 0x02040B || sense == 0x02040C || sense == 0x020412;
}

static inline void judge_access(unsigned who)
{
	const struct judge_state *state = judge_state(who);
	const struct scsi_op *op = scsi_op_find(rig.cmd.cdb);
	uint32_t sense = judge_sense();
	bool served = state == NULL || rig.cmd.lu == NULL || op == NULL ||
		      (op->served & state->served) != 0;

	check(served || rig.cmd.status != SCSI_GOOD);
	check(!judge_is_of_state(sense) || (!served && sense == state->sense));
}

/* The administrator's word. */
struct judge_change {
	struct scsi_access_change change;
	bool done;
};

static inline void judge_on_changed(struct scsi_access_change *change)
{
	CONTAINER_OF(change, struct judge_change, change)->done = true;
}

LOOP_ONLY static inline void judge_change_access(uint8_t detail)
{
	static const enum scsi_access_state states[] = {
		SCSI_ACCESS_OPTIMIZED,   SCSI_ACCESS_NON_OPTIMIZED, SCSI_ACCESS_STANDBY,
		SCSI_ACCESS_UNAVAILABLE, SCSI_ACCESS_OFFLINE,       SCSI_ACCESS_TRANSITIONING,
	};
	struct judge_change mine = {
		.change = {.target = rig.target,
			   .loop = &rig.loop,
			   .tag = 1 + (detail & 1),
			   .state = states[(detail >> 1 & 7) % ARRAY_SIZE(states)],
			   .preference = (enum scsi_access_preference)((detail >> 4) % 3u),
			   .done = judge_on_changed}};

	check(scsi_access_change_start(&mine.change) == 0);
	fake_run(&rig);
	check(mine.done);
	check(judge_look_at_access() == mine.change.changed);
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
	bool is_conflict = cmd->status == SCSI_RESERVATION_CONFLICT;
	bool is_good = cmd->status == SCSI_GOOD;
	bool is_refused = cmd->status == SCSI_CHECK_CONDITION || is_conflict;

	judge_access(who);
	if (judge_is_of_reservations(opcode)) {
		bool held = judge.reserver == (int)who;

		judge_look(who);
		check(!released || !held || judge.reserver < 0);
		return;
	}
	check(!is_conflict || denied);
	check(!is_good || !denied);
	/* SET TARGET PORT GROUPS: all of it or nothing. */
	check(opcode != 0xA4 || !judge_look_at_access() || !is_refused);
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
	static const struct scsi_access_spec access = {.by_hosts = true};
	struct scsi_lu_spec spec = {.lun = &rig.lun};

	memset(&judge, 0, sizeof(judge));
	judge.reserver = -1;
	rig.group = (struct loop_group){.loops = {&rig.loop}, .count = 1};
	check(scsi_target_create(FAKE_NAME, &rig.group, &rig.target) == 0);
	check(scsi_target_add_lu(rig.target, 0, &spec) == 0);
	for (uint16_t i = 1; i <= JUDGE_GROUPS; i++)
		check(scsi_target_add_port(rig.target, i) == 0);
	scsi_target_set_access(rig.target, &access);
	for (unsigned i = 0; i <= JUDGE_HOSTS; i++)
		judge_log_in(i);
	check(!judge_ask_access());
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
