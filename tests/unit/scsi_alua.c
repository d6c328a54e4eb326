/*
 * Asymmetric logical unit access: which command each state of the target port serves, cell by cell
 * and by name; what REPORT TARGET PORT GROUPS answers at every length; who may change a state, who
 * is told, and what becomes of a write that waits for its data meanwhile.
 */
#include <criterion/criterion.h>

#include "target/scsi/op_table.h"
#include "tests/unit/scsi_hosts.h"
#include "tests/unit/scsi_op_cdb.h"

#define CHANGED 0x062A06u
#define STANDBY 0x02040Bu
#define UNAVAILABLE 0x02040Cu
#define OFFLINE 0x020412u
#define TRANSITION 0x02040Au

static const struct {
	enum scsi_access_state state;
	uint32_t sense;
} states[] = {
	{SCSI_ACCESS_OPTIMIZED, 0},     {SCSI_ACCESS_NON_OPTIMIZED, 0},
	{SCSI_ACCESS_STANDBY, STANDBY}, {SCSI_ACCESS_UNAVAILABLE, UNAVAILABLE},
	{SCSI_ACCESS_OFFLINE, OFFLINE}, {SCSI_ACCESS_TRANSITIONING, TRANSITION},
};

/* SPC-4 5.15.2.4.4 (standby), .5 (unavailable), .7 (offline) and 5.15.2.5 (transitions): Y must or
 * may be served and is, n is not. Rows that are here and not there are commands to come. */
static const struct cells {
	const char *name;
	const char *served; /* In the order of `states` from standby on. */
} cells[] = {
	{"INQUIRY", "YYYY"},
	{"REPORT LUNS", "YYYY"},
	{"REPORT TARGET PORT GROUPS", "YYYY"},
	{"REQUEST SENSE", "YYYY"},
	{"SET TARGET PORT GROUPS", "YYnn"},
	{"LOG SELECT", "Ynnn"},
	{"LOG SENSE", "Ynnn"},
	{"MODE SELECT(6)", "Ynnn"},
	{"MODE SELECT(10)", "Ynnn"},
	{"MODE SENSE(6)", "Ynnn"},
	{"MODE SENSE(10)", "Ynnn"},
	{"READ KEYS", "Ynnn"},
	{"READ RESERVATION", "Ynnn"},
	{"REPORT CAPABILITIES", "Ynnn"},
	{"READ FULL STATUS", "Ynnn"},
	{"REGISTER", "Ynnn"},
	{"RESERVE", "Ynnn"},
	{"RELEASE", "Ynnn"},
	{"CLEAR", "Ynnn"},
	{"PREEMPT", "Ynnn"},
	{"PREEMPT AND ABORT", "Ynnn"},
	{"REGISTER AND IGNORE EXISTING KEY", "Ynnn"},
	{"REGISTER AND MOVE", "Ynnn"},
	/* Allowed, not asked for: what a host wants to know before it attaches a standby path. */
	{"READ CAPACITY(10)", "Ynnn"},
	{"READ CAPACITY(16)", "Ynnn"},
	{"REPORT SUPPORTED OPERATION CODES", "Ynnn"},
	{"REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", "Ynnn"},
};

static bool is_served(const struct scsi_op *op, size_t state)
{
	if (state < 2)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(cells); i++) {
		if (strcmp(cells[i].name, op->name) == 0)
			return cells[i].served[state - 2] == 'Y';
	}
	return false;
}

/* -- Changes -- */

struct outcome {
	struct scsi_access_change change;
	unsigned done;
};

static void on_done(struct scsi_access_change *change)
{
	CONTAINER_OF(change, struct outcome, change)->done++;
}

/* The administrator's word; answers whether anything became another. */
static bool set_both(uint16_t tag, enum scsi_access_state state,
		     enum scsi_access_preference preference)
{
	struct outcome outcome = {.change = {.target = hosts.rig.target,
					     .loop = &hosts.rig.loop,
					     .tag = tag,
					     .state = state,
					     .preference = preference,
					     .done = on_done}};

	loop_role_assume();
	cr_assert_eq(scsi_access_change_start(&outcome.change), 0);
	cr_assert_eq(outcome.done, 0, "never inside");
	fake_run(&hosts.rig);
	cr_assert_eq(outcome.done, 1);
	return outcome.change.changed;
}

static bool set_state(uint16_t tag, enum scsi_access_state state)
{
	return set_both(tag, state, SCSI_PREFERENCE_KEEP);
}

static void forget_attentions(void)
{
	for (unsigned i = 0; i < HOSTS; i++) {
		while (host_attention(i) >> 16 == 6)
			continue;
	}
}

static void move_to(uint16_t tag, enum scsi_access_state state)
{
	(void)set_state(tag, state);
	forget_attentions();
}

Test(scsi_alua, every_cell)
{
	const struct scsi_op *op;
	unsigned at = 0;

	hosts_init(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		move_to(1, states[i].state);
		host_is(0);
		at = 0;
		while ((op = scsi_op_next(&at)) != NULL) {
			uint8_t cdb[SCSI_CDB_MAX];
			bool served = is_served(op, i);

			build_cdb(op, cdb);
			cr_expect(rig_prepare(&hosts.rig, cdb, sizeof(cdb)) == served, "%s in %s",
				  op->name, scsi_access_name(states[i].state));
			cr_expect_eq(rig_sense(&hosts.rig), served ? 0 : states[i].sense, "%s",
				     op->name);
		}
	}
	hosts_clear();
}

/* Commands that are not there are told so in every state. */
Test(scsi_alua, unknown_commands)
{
	hosts_init(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		move_to(1, states[i].state);
		cr_expect_eq(host_do(0, CDB(0xFF), NULL, 0), INVALID_OPCODE);
		cr_expect_eq(host_do(0, CDB(0xA3, 0x1F), NULL, 0), INVALID_FIELD);
	}
	hosts_clear();
}

Test(scsi_alua, inquiry_in_each_state)
{
	hosts_init(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		bool remote = states[i].state == SCSI_ACCESS_UNAVAILABLE ||
			      states[i].state == SCSI_ACCESS_OFFLINE;

		move_to(1, states[i].state);
		cr_expect_eq(host_do(0, CDB(0x12, 0, 0, 0, 96), NULL, 0), 0);
		cr_expect_eq(hosts.rig.buffer[0], remote ? 0x20 : 0);
		cr_expect_eq(hosts.rig.buffer[5], 0x30);
		cr_expect_eq(host_do(0, CDB(0x12, 1, 0x83, 0, 96), NULL, 0), 0);
		cr_expect_eq(hosts.rig.buffer[0], remote ? 0x20 : 0);
		cr_expect_eq(host_attention(0), states[i].sense, "REQUEST SENSE");
	}
	hosts_clear();
}

/* -- REPORT TARGET PORT GROUPS -- */

static void report(uint8_t format, uint32_t allocation)
{
	uint8_t cdb[12] = {0xA3, (uint8_t)(format << 5 | 0x0A)};

	put_be32(cdb + 6, allocation);
	rig_do(&hosts.rig, cdb, sizeof(cdb), NULL, 0);
}

static void check_report(uint8_t format, const uint8_t *golden, size_t length)
{
	for (size_t n = 0; n <= length + 8; n++) {
		report(format, (uint32_t)n);
		cr_assert_eq(rig_sense(&hosts.rig), 0);
		cr_assert_eq(hosts.rig.cmd.data_bytes, n < length ? n : length);
		cr_assert(memcmp(hosts.rig.buffer, golden, n < length ? n : length) == 0, "%zu", n);
	}
	report(format, UINT32_MAX);
	cr_assert(hosts.rig.cmd.data_bytes == length);
}

Test(scsi_alua, report_at_every_length)
{
	static const uint8_t golden[8 + 24] = {
		0,    0,    0, 28, 0x10, 7, 0, 0, /* header: format, implicit transition time */
		0,    0xCF, 0, 1,  0,    0, 0, 1, 0, 0, 0, 1, /* group 1 */
		0x82, 0xCF, 0, 2,  0,    2, 0, 1, 0, 0, 0, 2, /* group 2: PREF, standby */
	};
	static uint8_t plain[4 + 24] = {0, 0, 0, 24};

	memcpy(plain + 4, golden + 8, 24);
	hosts_init(NULL);
	cr_assert_eq(scsi_target_set_group(hosts.rig.target, 2, SCSI_ACCESS_NON_OPTIMIZED, true),
		     0);
	move_to(2, SCSI_ACCESS_STANDBY);
	host_is(0);
	check_report(1, golden, sizeof(golden));
	check_report(0, plain, sizeof(plain));
	for (uint8_t format = 2; format < 8; format++) {
		report(format, 255);
		cr_expect_eq(rig_sense(&hosts.rig), INVALID_FIELD);
		cr_expect_eq(rig_field(&hosts.rig), 0x107);
	}
	hosts_clear();
}

/* One way to a target: nothing to report, and nothing is said to be. */
Test(scsi_alua, one_port)
{
	static struct rig rig;
	struct scsi_lu_spec spec = {.lun = &rig.lun};

	rig_init_with(&rig, FAKE_BLOCKS, 512);
	scsi_target_free(rig.target);
	cr_assert_eq(scsi_target_create(FAKE_NAME, &rig.group, &rig.target), 0);
	cr_assert_eq(scsi_target_add_lu(rig.target, 0, &spec), 0);
	cr_assert_eq(scsi_target_add_port(rig.target, 1), 0);
	rig_connect(&rig);
	rig_do(&rig, CDB(0x12, 0, 0, 0, 96), NULL, 0);
	cr_expect_eq(rig.buffer[5], 0);
	rig_do(&rig, CDB(0x00), NULL, 0);
	rig_do(&rig, CDB(0xA3, 0x0A, [9] = 255), NULL, 0);
	cr_expect(rig_sense(&rig) == INVALID_FIELD && rig_field(&rig) == 0x104);
	rig_do(&rig, CDB(0xA3, 0x0C, 2, 0xA3, 0, 0x0A, [9] = 255), NULL, 0);
	cr_expect(rig_sense(&rig) == 0 && rig.buffer[1] == 1);
	rig_clear(&rig);
}

/* -- SET TARGET PORT GROUPS -- */

static uint32_t set_groups(unsigned who, const uint8_t *list, uint8_t bytes)
{
	return host_do(who, CDB(0xA4, 0x0A, [9] = bytes), (void *)(uintptr_t)list, bytes);
}

static unsigned state_of(unsigned index)
{
	struct scsi_group_view view;

	scsi_target_group(hosts.rig.target, index, &view);
	return view.state;
}

Test(scsi_alua, hosts_set_states)
{
	static const uint8_t list[12] = {[4] = 0x01, [7] = 1, [8] = 0x02, [11] = 2};

	hosts_init(NULL);
	cr_expect_eq(set_groups(2, list, sizeof(list)), 0);
	cr_expect(state_of(0) == SCSI_ACCESS_NON_OPTIMIZED && state_of(1) == SCSI_ACCESS_STANDBY);
	for (unsigned i = 0; i < HOSTS; i++) {
		cr_expect_eq(host_attention(i), i == 2 ? 0 : CHANGED);
		cr_expect_eq(host_attention(i), 0);
	}
	report(0, 255);
	cr_expect(hosts.rig.buffer[4 + 5] == 1 && hosts.rig.buffer[16 + 5] == 1, "by a host");
	/* What is so already changes nothing, and nobody is told. */
	cr_expect_eq(set_groups(1, list, sizeof(list)), 0);
	cr_expect_eq(set_groups(1, list, 4), 0);
	cr_expect_eq(set_groups(1, list, 0), 0);
	for (unsigned i = 0; i < HOSTS; i++)
		cr_expect_eq(host_attention(i), 0);
	hosts_clear();
}

Test(scsi_alua, lists_that_are_refused)
{
	static const struct {
		uint8_t list[16];
		uint8_t bytes;
		uint32_t sense;
	} cases[] = {
		{{0}, 1, LIST_LENGTH},
		{{0}, 3, LIST_LENGTH},
		{{[4] = 2, [7] = 1}, 7, LIST_LENGTH},
		{{[4] = 2, [7] = 1, [8] = 2, [11] = 2}, 16, LIST_LENGTH}, /* two groups */
		{{[4] = 2, [7] = 3}, 8, INVALID_PARAMETER},               /* no such group */
		{{[4] = 2, [7] = 0}, 8, INVALID_PARAMETER},
		{{[4] = 2, [6] = 1, [7] = 1}, 8, INVALID_PARAMETER},
		{{[4] = 2, [7] = 1, [8] = 1, [11] = 1}, 12, INVALID_PARAMETER}, /* twice */
		{{[4] = 2, [7] = 1, [8] = 4, [11] = 2}, 12, INVALID_PARAMETER}, /* no state */
		{{[4] = 0x0E, [7] = 1}, 8, INVALID_PARAMETER},
		{{[4] = 0x0F, [7] = 1}, 8, INVALID_PARAMETER},
	};

	hosts_init(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cr_expect_eq(set_groups(0, cases[i].list, cases[i].bytes), cases[i].sense, "%zu",
			     i);
		cr_expect(state_of(0) == SCSI_ACCESS_OPTIMIZED &&
			  state_of(1) == SCSI_ACCESS_OPTIMIZED);
		cr_expect_eq(host_attention(1), 0);
	}
	/* Fewer bytes than were announced. */
	host_is(0);
	cr_assert(rig_prepare(&hosts.rig, CDB(0xA4, 0x0A, [9] = 8)));
	rig_execute(&hosts.rig, cases[4].list, 4);
	cr_expect_eq(rig_sense(&hosts.rig), LIST_LENGTH);
	cr_expect_eq(host_do(0, CDB(0xA4, 0x0A, [6] = 0xFF), NULL, 0), LIST_LENGTH);
	hosts_clear();
}

/* What the administrator has taken away, hosts do not give back. */
Test(scsi_alua, offline_is_the_administrators)
{
	static const uint8_t list[8] = {[7] = 1};

	hosts_init(NULL);
	for (size_t i = 4; i < ARRAY_SIZE(states); i++) {
		move_to(2, states[i].state);
		cr_expect_eq(set_groups(0, (const uint8_t[8]){[7] = 2}, 8), INVALID_PARAMETER);
		cr_expect_eq(state_of(1), states[i].state);
	}
	move_to(1, SCSI_ACCESS_UNAVAILABLE);
	cr_expect_eq(set_groups(0, list, sizeof(list)), 0, "the way back from unavailable");
	cr_expect_eq(host_write(0), 0);
	hosts_clear();
}

Test(scsi_alua, not_by_hosts)
{
	static const struct scsi_access_spec access = {.by_hosts = false};

	hosts_init(NULL);
	scsi_target_set_access(hosts.rig.target, &access);
	cr_expect_eq(set_groups(0, (const uint8_t[8]){2, [7] = 1}, 8), INVALID_FIELD);
	cr_expect_eq(rig_field(&hosts.rig), 0x104);
	host_do(0, CDB(0x12, 0, 0, 0, 96), NULL, 0);
	cr_expect_eq(hosts.rig.buffer[5], 0x10);
	host_do(0, CDB(0xA3, 0x0C, 2, 0xA4, 0, 0x0A, [9] = 255), NULL, 0);
	cr_expect_eq(hosts.rig.buffer[1], 1);
	hosts_clear();
}

/* -- The administrator -- */

Test(scsi_alua, every_nexus_is_told_once)
{
	hosts_init(NULL);
	cr_expect(set_state(2, SCSI_ACCESS_STANDBY));
	for (unsigned i = 0; i < HOSTS; i++) {
		cr_expect_eq(host_write(i), CHANGED, "their own group is what it was");
		cr_expect_eq(host_write(i), 0);
	}
	cr_expect(!set_state(2, SCSI_ACCESS_STANDBY), "it is so already");
	for (unsigned i = 0; i < HOSTS; i++)
		cr_expect_eq(host_attention(i), 0);
	hosts_clear();
}

/* PREF while loops run: hosts look again, and STATUS CODE stays what it was of the state. */
Test(scsi_alua, preference_changes_alone)
{
	static const uint8_t asked[] = {SCSI_PREFERENCE_OFF, SCSI_PREFERENCE_ON, SCSI_PREFERENCE_ON,
					SCSI_PREFERENCE_KEEP, SCSI_PREFERENCE_OFF};
	static const uint8_t changes[] = {0, 1, 0, 0, 1}, shown[] = {0, 0x80, 0x80, 0x80, 0};

	hosts_init(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
		cr_expect_eq(set_both(2, SCSI_ACCESS_OPTIMIZED, asked[i]), changes[i], "%zu", i);
		for (unsigned j = 0; j < HOSTS; j++)
			cr_expect_eq(host_attention(j), changes[i] ? CHANGED : 0, "%zu", i);
		report(0, 255);
		cr_expect(hosts.rig.buffer[16] == shown[i] && hosts.rig.buffer[21] == 0, "%zu", i);
	}
	/* With a state, and kept through what a host asks for. */
	cr_expect(set_both(2, SCSI_ACCESS_STANDBY, SCSI_PREFERENCE_ON));
	forget_attentions();
	cr_expect_eq(set_groups(0, (const uint8_t[8]){[4] = 1, [7] = 2}, 8), 0);
	report(0, 255);
	cr_expect_eq(hosts.rig.buffer[16], 0x81);
	hosts_clear();
}

Test(scsi_alua, changes_that_are_refused)
{
	struct outcome outcome = {.change = {.done = on_done, .tag = 3}};
	struct scsi_access_change *change = &outcome.change;

	hosts_init(NULL);
	loop_role_assume();
	change->target = hosts.rig.target;
	change->loop = &hosts.rig.loop;
	cr_expect_eq(scsi_access_change_start(change), -ENOENT);
	change->tag = 1;
	change->state = (enum scsi_access_state)4;
	cr_expect_eq(scsi_access_change_start(change), -EINVAL);
	cr_expect_eq(scsi_target_set_group(hosts.rig.target, 3, SCSI_ACCESS_STANDBY, false),
		     -ENOENT);
	cr_expect_eq(scsi_target_set_group(hosts.rig.target, 1, (enum scsi_access_state)9, false),
		     -EINVAL);
	fake_run(&hosts.rig);
	cr_expect_eq(outcome.done, 0);
	hosts_clear();
}

/* Two at once: one after the other, and none is lost. */
Test(scsi_alua, changes_in_a_row)
{
	struct outcome outcomes[4];

	hosts_init(NULL);
	loop_role_assume();
	for (unsigned i = 0; i < ARRAY_SIZE(outcomes); i++) {
		outcomes[i] = (struct outcome){
			.change = {.target = hosts.rig.target,
				   .loop = &hosts.rig.loop,
				   .tag = (uint16_t)(1 + i % 2),
				   .state = i < 2 ? SCSI_ACCESS_OFFLINE : SCSI_ACCESS_STANDBY,
				   .done = on_done}};
		cr_assert_eq(scsi_access_change_start(&outcomes[i].change), 0);
	}
	fake_run(&hosts.rig);
	for (unsigned i = 0; i < ARRAY_SIZE(outcomes); i++)
		cr_expect(outcomes[i].done == 1 && outcomes[i].change.changed);
	cr_expect(state_of(0) == SCSI_ACCESS_STANDBY && state_of(1) == SCSI_ACCESS_STANDBY);
	cr_expect_eq(host_write(0), CHANGED);
	cr_expect_eq(host_write(0), STANDBY);
	hosts_clear();
}

/* The daemon ends while one is under way, and another waits: nothing is left, nobody is called. */
Test(scsi_alua, an_end_amid_changes)
{
	struct outcome outcomes[2];

	hosts_init(NULL);
	loop_role_assume();
	for (unsigned i = 0; i < ARRAY_SIZE(outcomes); i++) {
		outcomes[i] = (struct outcome){.change = {.target = hosts.rig.target,
							  .loop = &hosts.rig.loop,
							  .tag = 1,
							  .state = SCSI_ACCESS_OFFLINE,
							  .done = on_done}};
		cr_assert_eq(scsi_access_change_start(&outcomes[i].change), 0);
	}
	cr_assert(fake_message(&hosts.rig.loop));
	hosts_clear();
	cr_expect(outcomes[0].done == 0 && outcomes[1].done == 0);
}

/* Who comes later finds the state as it is, and hears of nothing but power on. */
Test(scsi_alua, a_nexus_that_comes_later)
{
	hosts_init(NULL);
	move_to(1, SCSI_ACCESS_STANDBY);
	host_log_out(3);
	host_log_in(3);
	cr_expect_eq(host_write(3), POWER_ON);
	cr_expect_eq(host_write(3), STANDBY);
	hosts_clear();
}

/* -- I/O under way -- */

/* A write that waits for its data, or for its range, has not begun: it is refused when its turn
 * comes. */
Test(scsi_alua, writes_under_way)
{
	static uint8_t block[512] = {1};
	struct rig_piece piece;

	hosts_init(NULL);
	host_is(0);
	cr_assert(rig_prepare(&hosts.rig, CDB(0x2A, 0, 0, 0, 0, 8, 0, 0, 1)));
	(void)set_state(1, SCSI_ACCESS_STANDBY);
	rig_submit(&hosts.rig, &piece, 0, sizeof(block), block);
	fake_run(&hosts.rig);
	cr_expect(piece.done_count == 1 && !piece.piece.ok);
	cr_expect_eq(rig_sense(&hosts.rig), STANDBY);
	move_to(1, SCSI_ACCESS_OPTIMIZED);
	host_is(0);
	cr_assert(rig_prepare(&hosts.rig, CDB(0x2A, 0, 0, 0, 0, 8, 0, 0, 1)));
	rig_submit(&hosts.rig, &piece, 0, sizeof(block), block);
	(void)set_state(1, SCSI_ACCESS_OFFLINE);
	fake_run(&hosts.rig);
	cr_expect(piece.done_count == 1 && !piece.piece.ok);
	cr_expect_eq(rig_sense(&hosts.rig), OFFLINE);
	cr_expect_eq(hosts.rig.lun.bytes[8 * 512], 0);
	hosts_clear();
}

/* So are commands whose parameter lists come when the port is closed already. */
Test(scsi_alua, lists_that_come_too_late)
{
	static const uint8_t list[24] = {[4] = 1, [7] = 1};

	hosts_init(NULL);
	host_is(0);
	cr_assert(rig_prepare(&hosts.rig, CDB(0x15, 0x10, 0, 0, 12)));
	(void)set_state(1, SCSI_ACCESS_UNAVAILABLE);
	rig_execute(&hosts.rig, list, 12);
	cr_expect_eq(rig_sense(&hosts.rig), UNAVAILABLE);
	forget_attentions();
	host_is(0);
	cr_assert(rig_prepare(&hosts.rig, CDB(0xA4, 0x0A, [9] = 8)));
	(void)set_state(1, SCSI_ACCESS_OFFLINE);
	rig_execute(&hosts.rig, list, 8);
	cr_expect_eq(rig_sense(&hosts.rig), OFFLINE);
	cr_expect_eq(state_of(0), SCSI_ACCESS_OFFLINE);
	hosts_clear();
}

/* A switch of the administrator's that came first, and one whose host is fenced meanwhile. */
Test(scsi_alua, overtaken)
{
	struct outcome outcome = {.change = {.loop = &hosts.rig.loop,
					     .tag = 1,
					     .state = SCSI_ACCESS_OFFLINE,
					     .done = on_done}};

	hosts_init(NULL);
	outcome.change.target = hosts.rig.target;
	loop_role_assume();
	host_is(0);
	cr_assert(rig_prepare(&hosts.rig, CDB(0xA4, 0x0A, [9] = 8)));
	cr_assert_eq(scsi_access_change_start(&outcome.change), 0);
	rig_execute(&hosts.rig, (const uint8_t[8]){[4] = 2, [7] = 1}, 8);
	cr_expect_eq(rig_sense(&hosts.rig), OFFLINE);
	cr_expect_eq(state_of(0), SCSI_ACCESS_OFFLINE);
	move_to(1, SCSI_ACCESS_OPTIMIZED);
	host_is(0);
	cr_assert(rig_prepare(&hosts.rig, CDB(0xA4, 0x0A, [9] = 8)));
	memcpy(hosts.rig.buffer, (const uint8_t[8]){[4] = 2, [7] = 1}, 8);
	hosts.rig.cmd.buffer_bytes = 8;
	cr_assert(!scsi_cmd_execute(&hosts.rig.cmd));
	scsi_nexus_set_guard(hosts.nexus[0], scsi_target_find_lu(hosts.rig.target, 0),
			     SCSI_GUARD_WRITE_EXCLUSIVE);
	fake_run(&hosts.rig);
	cr_expect_eq(rig_sense(&hosts.rig), CONFLICT);
	cr_expect_eq(state_of(0), SCSI_ACCESS_OPTIMIZED);
	hosts_clear();
}

/* An aborted SET TARGET PORT GROUPS changes nothing if its turn has not come. */
Test(scsi_alua, aborted)
{
	hosts_init(NULL);
	host_is(0);
	loop_role_assume();
	cr_assert(rig_prepare(&hosts.rig, CDB(0xA4, 0x0A, [9] = 8)));
	memset(hosts.rig.buffer, 0, 8);
	hosts.rig.buffer[4] = 2;
	hosts.rig.buffer[7] = 1;
	hosts.rig.cmd.buffer_bytes = 8;
	cr_assert(!scsi_cmd_execute(&hosts.rig.cmd));
	scsi_cmd_abort(&hosts.rig.cmd);
	fake_run(&hosts.rig);
	cr_expect_eq(hosts.rig.done_count, 1);
	cr_expect_eq(state_of(0), SCSI_ACCESS_OPTIMIZED);
	hosts_clear();
}

Test(scsi_alua, words)
{
	enum scsi_access_state state;
	unsigned names = 0;

	for (unsigned i = 0; i < 300; i++) {
		const char *name = scsi_access_name(i);

		if (name == NULL)
			continue;
		names++;
		cr_expect(scsi_access_find(name, &state) && state == i);
	}
	cr_expect_eq(names, ARRAY_SIZE(states));
	cr_expect(!scsi_access_find("active", &state));
}
