/*
 * Reservations as hosts meet them: who may write and read at once after each command is answered,
 * what losers are told, what is aborted, what waits, and RESERVE and RELEASE beside it all.
 */
#include <criterion/criterion.h>

#include "tests/unit/scsi_hosts.h"

#define LOST_REGISTRATION 0x062A05u
#define LOST_RESERVATION 0x062A03u
#define SAW_RELEASE 0x062A04u
#define COMMANDS_CLEARED 0x062F00u
#define INVALID_RELEASE 0x052604u
#define NO_RESOURCES 0x055504u
#define TARGET_FAILURE 0x044400u

/* Hosts 0 to 2 are registered, 0 reserves; host 3 is a stranger. */
Test(reservation, each_type_lets_in_whom_it_should)
{
	static const struct {
		unsigned type;
		bool others_read, others_write, strangers_read;
	} rows[] = {
		{1, true, false, true}, {3, false, false, false}, {5, true, true, true},
		{6, true, true, false}, {7, true, true, true},    {8, true, true, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		hosts_init(NULL);
		register_all();
		EXPECT("before", host_write(3), 0);
		EXPECT("RESERVE", host_pr_out(0, RESERVE, rows[i].type, 'a', 0, 0), 0);
		EXPECT("holder writes", host_write(0), 0);
		EXPECT("holder reads", host_read(0), 0);
		EXPECT("other writes", host_write(1), rows[i].others_write ? 0 : CONFLICT);
		EXPECT("other reads", host_read(2), rows[i].others_read ? 0 : CONFLICT);
		EXPECT("stranger writes", host_write(3), CONFLICT);
		EXPECT("stranger reads", host_read(3), rows[i].strangers_read ? 0 : CONFLICT);
		EXPECT("RELEASE", host_pr_out(0, RELEASE, rows[i].type, 'a', 0, 0), 0);
		EXPECT("after", host_write(3), 0);
		EXPECT("told", host_attention(1), rows[i].type >= 5 ? SAW_RELEASE : 0);
		EXPECT("not told", host_attention(0), 0);
		EXPECT("not told", host_attention(3), 0);
		hosts_clear();
	}
}

Test(reservation, every_reason_of_a_refusal)
{
	uint8_t list[40] = {0};

	hosts_init(NULL);
	register_all();
	EXPECT("length 0", host_do(0, CDB(0x5F, REGISTER), NULL, 0), LIST_LENGTH);
	EXPECT("length 23", host_do(0, CDB(0x5F, 0, 0, 0, 0, 0, 0, 0, 23), list, 23), LIST_LENGTH);
	EXPECT("what came is short", host_do(0, CDB(0x5F, 0, 0, 0, 0, 0, 0, 0, 24), list, 20),
	       LIST_LENGTH);
	EXPECT("65537", host_do(0, CDB(0x5F, 0, 0, 0, 0, 0, 1, 0, 1), NULL, 0), LIST_LENGTH);
	EXPECT("action", host_do(0, CDB(0x5F, 8, 0, 0, 0, 0, 0, 0, 24), list, 24), INVALID_FIELD);
	EXPECT("scope", host_pr_out(0, RESERVE, 0x15, 'a', 0, 0), INVALID_FIELD);
	cr_expect_eq(rig_field(&hosts.rig), 0x207);
	EXPECT("type", host_pr_out(0, RESERVE, 2, 'a', 0, 0), INVALID_FIELD);
	cr_expect_eq(rig_field(&hosts.rig), 0x203);
	EXPECT("key", host_pr_out(0, RESERVE, 1, 'b', 0, 0), CONFLICT);
	EXPECT("no key", host_pr_out(0, PREEMPT, 1, 'a', 0, 0), INVALID_PARAMETER);
	cr_expect_eq(get_be16(hosts.rig.cmd.sense + 16), 8);
	EXPECT("SPEC_I_PT", host_pr_out(0, RESERVE, 1, 'a', 0, 0x08), INVALID_PARAMETER);
	cr_expect_eq(get_be16(hosts.rig.cmd.sense + 16), 20);
	EXPECT("reserved", host_pr_out(0, RESERVE, 1, 'a', 0, 0), 0);
	EXPECT("release", host_pr_out(0, RELEASE, 3, 'a', 0, 0), INVALID_RELEASE);
	EXPECT("IN action", host_pr_in(0, 4), INVALID_FIELD);
	hosts_clear();
}

Test(reservation, losers_are_told_once)
{
	hosts_init(NULL);
	register_all();
	EXPECT("RESERVE", host_pr_out(0, RESERVE, 5, 'a', 0, 0), 0);
	EXPECT("PREEMPT", host_pr_out(1, PREEMPT, 1, 'b', 'a', 0), 0);
	EXPECT("conflict comes before the unit attention", host_write(0), CONFLICT);
	EXPECT("read", host_read(0), LOST_REGISTRATION);
	EXPECT("read again", host_read(0), 0);
	EXPECT("the type has changed", host_write(2), CONFLICT);
	EXPECT("the type has changed", host_read(2), SAW_RELEASE);
	EXPECT("preemptor", host_write(1), 0);
	EXPECT("stranger", host_attention(3), 0);
	EXPECT("CLEAR", host_pr_out(2, CLEAR, 0, 'c', 0, 0), 0);
	EXPECT("told", host_attention(1), LOST_RESERVATION);
	EXPECT("not told", host_attention(2), 0);
	EXPECT("not told", host_attention(0), 0);
	EXPECT("free", host_write(3), 0);
	hosts_clear();
}

Test(reservation, registrations_outlive_sessions)
{
	hosts_init(NULL);
	register_all();
	EXPECT("RESERVE", host_pr_out(0, RESERVE, 6, 'a', 0, 0), 0);
	for (unsigned i = 0; i < HOSTS; i++)
		host_log_out(i);
	host_log_in(3);
	EXPECT("29h/00h", host_attention(3), POWER_ON);
	EXPECT("stranger", host_write(3), CONFLICT);
	host_log_in(1);
	EXPECT("29h/00h", host_attention(1), POWER_ON);
	EXPECT("registrant", host_write(1), 0);
	host_log_in(0);
	(void)host_attention(0);
	EXPECT("RESERVE again", host_pr_out(0, RESERVE, 6, 'a', 0, 0), 0);
	EXPECT("READ KEYS", host_pr_in(3, 0), 0);
	cr_expect_eq(get_be32(hosts.rig.buffer), 3);
	cr_expect_eq(get_be32(hosts.rig.buffer + 4), 24);
	/* One that lost its registration while it was away has nothing to be told but 29h/00h. */
	EXPECT("PREEMPT", host_pr_out(0, PREEMPT, 6, 'a', 'c', 0), 0);
	host_log_in(2);
	EXPECT("29h/00h", host_attention(2), POWER_ON);
	EXPECT("nothing else", host_attention(2), 0);
	EXPECT("lost", host_write(2), CONFLICT);
	hosts_clear();
}

/* A write whose data were on the way when its host was fenced. */
Test(reservation, a_write_that_waited_is_checked_again)
{
	static uint8_t block[512] = {0xEE};
	struct rig_piece piece;
	struct rig *rig;

	hosts_init(NULL);
	rig = &hosts.rig;
	register_all();
	EXPECT("RESERVE", host_pr_out(0, RESERVE, 1, 'a', 0, 0), 0);
	host_is(0);
	cr_assert(rig_prepare(rig, CDB(0x2A, 0, 0, 0, 0, 8, 0, 0, 1)));
	struct scsi_cmd victim = rig->cmd;

	list_init(&victim.pieces);
	EXPECT("PREEMPT", host_pr_out(1, PREEMPT, 1, 'b', 'a', 0), 0);
	rig->cmd = victim;
	list_init(&rig->cmd.pieces);
	rig_submit(rig, &piece, 0, 512, block);
	fake_run(rig);
	EXPECT("late write", rig_sense(rig), CONFLICT);
	cr_expect_eq(rig->lun.count[LUN_WRITE], 0);
	/* And one that the image was about to get: admitted in that very turn. */
	EXPECT("PREEMPT", host_pr_out(1, RELEASE, 1, 'b', 0, 0), 0);
	host_is(3);
	cr_assert(rig_prepare(rig, CDB(0x2A, 0, 0, 0, 0, 8, 0, 0, 1)));
	rig_submit(rig, &piece, 0, 512, block);
	scsi_nexus_set_guard(hosts.nexus[3], rig->cmd.lu, SCSI_GUARD_WRITE_EXCLUSIVE);
	fake_run(rig);
	EXPECT("admission", rig_sense(rig), CONFLICT);
	cr_expect_eq(rig->lun.bytes[8 * 512], 0);
	hosts_clear();
}

Test(reservation, preempt_and_abort_aborts_the_victims)
{
	hosts_init(NULL);
	register_all();
	EXPECT("RESERVE", host_pr_out(0, RESERVE, 5, 'a', 0, 0), 0);
	hosts.to_abort[0] = 2;
	EXPECT("PREEMPT", host_pr_out(1, PREEMPT, 5, 'b', 'c', 0), 0);
	cr_expect_eq(hosts.aborts[2], 0);
	EXPECT("PREEMPT AND ABORT", host_pr_out(1, PREEMPT_AND_ABORT, 5, 'b', 'a', 0), 0);
	cr_expect_eq(hosts.aborts[0], 1);
	cr_expect_eq(hosts.aborts[1], 0);
	cr_expect_eq(hosts.aborts[2], 0);
	cr_expect_eq(hosts.but, &hosts.rig.cmd);
	/* TASK ABORTED for each has told it of the abort (TAS = 1). */
	EXPECT("told of the loss", host_attention(0), LOST_REGISTRATION);
	/* Its own commands but this one, too, and without a unit attention. */
	hosts.to_abort[1] = 3;
	EXPECT("itself", host_pr_out(1, PREEMPT_AND_ABORT, 5, 'b', 'b', 0), 0);
	cr_expect_eq(hosts.aborts[1], 1);
	EXPECT("not told", host_attention(1), 0);
	hosts_clear();
}

/* TAS = 0: there are no answers, so a unit attention says what became of the commands. */
Test(reservation, preempt_and_abort_tells_who_gets_no_answers)
{
	uint8_t list[16] = {[4] = 0x0A, 0x0A, 0x22, 0x10, [12] = 0xFF, 0xFF};

	hosts_init(NULL);
	register_all();
	EXPECT("MODE SELECT", host_do(2, CDB(0x15, 0x10, 0, 0, 16), list, sizeof(list)), 0);
	for (unsigned i = 0; i < HOSTS; i++)
		(void)host_attention(i);
	EXPECT("RESERVE", host_pr_out(0, RESERVE, 5, 'a', 0, 0), 0);
	hosts.to_abort[0] = 2;
	EXPECT("PREEMPT AND ABORT", host_pr_out(1, PREEMPT_AND_ABORT, 5, 'b', 'a', 0), 0);
	EXPECT("told of the abort", host_attention(0), COMMANDS_CLEARED);
	EXPECT("and of the loss", host_attention(0), LOST_REGISTRATION);
	/* Nothing of this one's was under way; itself it does not tell. */
	EXPECT("PREEMPT AND ABORT", host_pr_out(1, PREEMPT_AND_ABORT, 5, 'b', 'c', 0), 0);
	EXPECT("told of the loss only", host_attention(2), LOST_REGISTRATION);
	hosts.to_abort[1] = 3;
	EXPECT("itself", host_pr_out(1, PREEMPT_AND_ABORT, 5, 'b', 'b', 0), 0);
	EXPECT("not told", host_attention(1), 0);
	hosts_clear();
}

static unsigned ended;

static void on_ended(struct scsi_cmd *cmd)
{
	(void)cmd;
	ended++;
}

static void on_victim_piece(struct scsi_piece *piece)
{
	(void)piece;
}

/* A write of the victim that the kernel has: the answer waits for it; others do not. */
Test(reservation, preempt_and_abort_waits_for_what_the_kernel_holds)
{
	static uint8_t block[512] = {0xEE};
	static uint8_t list[SCSI_PARAM_MAX];
	static struct scsi_cmd victim;
	static struct scsi_cmd preempt;
	struct scsi_piece piece = {
		.cmd = &victim, .length_bytes = 512, .buffer = block, .done = on_victim_piece};
	struct rig *rig;

	hosts_init(NULL);
	rig = &hosts.rig;
	register_all();
	scsi_cmd_init(&victim);
	victim.nexus = hosts.nexus[0];
	victim.loop = &rig->loop;
	memcpy(victim.cdb, CDB(0x2A, 0, 0, 0, 0, 8, 0, 0, 1));
	loop_role_assume();
	cr_assert(scsi_cmd_prepare(&victim));
	scsi_piece_submit(&piece);
	scsi_cmd_init(&preempt);
	preempt.nexus = hosts.nexus[1];
	preempt.loop = &rig->loop;
	preempt.done = on_ended;
	preempt.buffer = list;
	memcpy(preempt.cdb, CDB(0x5F, PREEMPT_AND_ABORT, 1, 0, 0, 0, 0, 0, 24));
	cr_assert(scsi_cmd_prepare(&preempt));
	put_be64(list, 'b');
	put_be64(list + 8, 'a');
	preempt.buffer_bytes = 24;
	/* What the transport would do in hosts_on_abort. */
	scsi_cmd_abort(&victim);
	cr_assert_not(scsi_cmd_execute(&preempt));
	while (fake_message(&rig->loop) || fake_call(&rig->loop))
		continue;
	cr_expect_eq(ended, 0, "not before the write is back");
	/* The fence stands already, and other changes go on. */
	EXPECT("RESERVE", host_pr_out(1, RESERVE, 1, 'b', 0, 0), 0);
	cr_expect_eq(ended, 1);
	cr_expect_eq(preempt.status, SCSI_GOOD);
	EXPECT("fenced", host_write(0), CONFLICT);
	hosts_clear();
}

/* An aborted PERSISTENT RESERVE OUT changes nothing, and ends. */
Test(reservation, an_aborted_command_that_has_not_begun_does_nothing)
{
	static uint8_t list[24];
	struct rig *rig;

	hosts_init(NULL);
	rig = &hosts.rig;
	host_is(0);
	cr_assert(rig_prepare(rig, CDB(0x5F, REGISTER, 0, 0, 0, 0, 0, 0, 24)));
	put_be64(list + 8, 'a');
	memcpy(rig->buffer, list, sizeof(list));
	rig->cmd.buffer_bytes = 24;
	loop_role_assume();
	cr_assert_not(scsi_cmd_execute(&rig->cmd));
	scsi_cmd_abort(&rig->cmd);
	host_log_out(0);
	fake_run(rig);
	cr_expect_eq(rig->done_count, 1);
	EXPECT("READ KEYS", host_pr_in(1, 0), 0);
	cr_expect_eq(get_be32(rig->buffer + 4), 0);
	hosts_clear();
}

Test(reservation, read_in_of_nothing_and_of_no_bytes)
{
	hosts_init(NULL);
	for (unsigned question = 0; question < 4; question++) {
		EXPECT("nothing", host_pr_in(3, question), 0);
		cr_expect_eq(hosts.rig.cmd.data_bytes, 8);
		EXPECT("no bytes", host_do(3, CDB(0x5E, (uint8_t)question), NULL, 0), 0);
	}
	register_all();
	for (unsigned question = 0; question < 4; question++) {
		EXPECT("no bytes", host_do(3, CDB(0x5E, (uint8_t)question), NULL, 0), 0);
		EXPECT("five",
		       host_do(3, CDB(0x5E, (uint8_t)question, 0, 0, 0, 0, 0, 0, 5), NULL, 0), 0);
		cr_expect_eq(hosts.rig.cmd.data_bytes, 5);
	}
	hosts_clear();
}

/* -- RESERVE and RELEASE -- */

#define RESERVE_6 CDB(0x16)
#define RELEASE_6 CDB(0x17)
#define RESERVE_10 CDB(0x56)
#define RELEASE_10 CDB(0x57)

Test(reservation, reserve_and_release)
{
	hosts_init(NULL);
	EXPECT("RELEASE of nothing", host_do(0, RELEASE_6, NULL, 0), 0);
	EXPECT("RESERVE", host_do(0, RESERVE_6, NULL, 0), 0);
	EXPECT("again", host_do(0, RESERVE_10, NULL, 0), 0);
	EXPECT("another", host_do(1, RESERVE_10, NULL, 0), CONFLICT);
	EXPECT("write", host_write(1), CONFLICT);
	EXPECT("read", host_read(1), CONFLICT);
	EXPECT("ready", host_do(1, CDB(0x00), NULL, 0), CONFLICT);
	EXPECT("holder", host_write(0), 0);
	EXPECT("RELEASE by another", host_do(1, RELEASE_10, NULL, 0), 0);
	EXPECT("still reserved", host_write(1), CONFLICT);
	EXPECT("RELEASE", host_do(0, RELEASE_10, NULL, 0), 0);
	EXPECT("write", host_write(1), 0);
	EXPECT("nobody is told", host_attention(1), 0);
	EXPECT("EXTENT", host_do(0, CDB(0x16, 0x01), NULL, 0), INVALID_FIELD);
	EXPECT("3RDPTY", host_do(0, CDB(0x56, 0x10), NULL, 0), INVALID_FIELD);
	hosts_clear();
}

Test(reservation, reserve_ends_with_the_nexus_and_with_a_reset)
{
	hosts_init(NULL);
	EXPECT("RESERVE", host_do(0, RESERVE_6, NULL, 0), 0);
	host_log_out(0);
	EXPECT("write", host_write(1), 0);
	EXPECT("RESERVE", host_do(1, RESERVE_6, NULL, 0), 0);
	EXPECT("write", host_write(2), CONFLICT);
	loop_role_assume();
	for (unsigned i = 1; i < HOSTS; i++)
		scsi_nexus_reset(hosts.nexus[i], scsi_target_find_lu(hosts.rig.target, 0));
	EXPECT("write", host_write(2), 0);
	EXPECT("RESERVE", host_do(2, RESERVE_6, NULL, 0), 0);
	/* A new session of the old holder is another nexus. */
	host_log_in(0);
	(void)host_attention(0);
	EXPECT("write", host_write(0), CONFLICT);
	hosts_clear();
}

/* It remembers that another one had reserved; from the turn on in which it has, it may go on. */
Test(reservation, reserve_is_in_force_for_its_own_nexus_at_once)
{
	struct scsi_cmd other = {.status = SCSI_GOOD};

	hosts_init(NULL);
	loop_role_assume();
	EXPECT("RESERVE", host_do(0, RESERVE_6, NULL, 0), 0);
	EXPECT("conflict", host_write(1), CONFLICT);
	scsi_nexus_reset(hosts.nexus[0], NULL);
	host_is(1);
	cr_assert(rig_prepare(&hosts.rig, RESERVE_6));
	cr_assert(!scsi_cmd_execute(&hosts.rig.cmd));
	/* It is reserved, and no nexus has been told. */
	cr_assert(fake_message(&hosts.rig.loop));
	cr_assert_eq(hosts.rig.done_count, 0);
	for (unsigned who = 1; who < 3; who++) {
		scsi_cmd_init(&other);
		other.nexus = hosts.nexus[who];
		other.loop = &hosts.rig.loop;
		cr_expect_eq(scsi_cmd_prepare(&other), who == 1, "host %u", who);
	}
	fake_run(&hosts.rig);
	EXPECT("others", host_write(0), CONFLICT);
	hosts_clear();
}

Test(reservation, reserve_and_persistent_reservations_exclude_each_other)
{
	hosts_init(NULL);
	EXPECT("RESERVE", host_do(0, RESERVE_6, NULL, 0), 0);
	EXPECT("IN by the holder", host_pr_in(0, 0), CONFLICT);
	EXPECT("OUT by the holder", host_pr_out(0, REGISTER, 0, 0, 'a', 0), CONFLICT);
	EXPECT("IN by another", host_pr_in(1, 0), CONFLICT);
	EXPECT("OUT by another", host_pr_out(1, REGISTER, 0, 0, 'a', 0), CONFLICT);
	EXPECT("RELEASE", host_do(0, RELEASE_6, NULL, 0), 0);
	register_all();
	/* SPC-2 5.5.1: registrations are enough. */
	for (unsigned i = 0; i < HOSTS; i++) {
		EXPECT("RESERVE", host_do(i, RESERVE_6, NULL, 0), CONFLICT);
		EXPECT("RELEASE", host_do(i, RELEASE_10, NULL, 0), CONFLICT);
	}
	hosts_clear();
}

/* SPC-4 5.13.3, CRH = 1 */
Test(reservation, reserve_of_those_whom_a_persistent_reservation_includes)
{
	static const unsigned types[] = {1, 3, 5, 6, 7, 8};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		uint32_t registrant = types[i] >= 5 ? 0 : CONFLICT;

		hosts_init(NULL);
		register_all();
		EXPECT("reserve", host_pr_out(0, RESERVE, types[i], 'a', 0, 0), 0);
		EXPECT("holder", host_do(0, RESERVE_6, NULL, 0), 0);
		EXPECT("holder", host_do(0, RELEASE_6, NULL, 0), 0);
		EXPECT("registrant", host_do(1, RESERVE_10, NULL, 0), registrant);
		EXPECT("registrant", host_do(1, RELEASE_10, NULL, 0), registrant);
		EXPECT("stranger", host_do(3, RESERVE_6, NULL, 0), CONFLICT);
		EXPECT("stranger", host_do(3, RELEASE_6, NULL, 0), CONFLICT);
		/* Nothing has changed. */
		EXPECT("stranger", host_write(3), CONFLICT);
		EXPECT("IN", host_pr_in(3, 1), 0);
		cr_expect_eq(get_be32(hosts.rig.buffer + 4), 16);
		hosts_clear();
	}
}

/* REGISTER for all target ports is for those that the target has. */
/* SAM-5 5.3.3: of power on and resets a host hears in spite of a reservation, of all else after it.
 */
Test(reservation, conflicts_and_unit_attentions)
{
	const struct scsi_lu *lu;

	hosts_init(NULL);
	lu = scsi_target_find_lu(hosts.rig.target, 0);
	EXPECT("REGISTER", host_pr_out(0, REGISTER, 0, 0, 'a', 0), 0);
	EXPECT("RESERVE", host_pr_out(0, RESERVE, 3, 'a', 0, 0), 0);
	host_log_out(1);
	host_log_in(1);
	EXPECT("power on", host_write(1), POWER_ON);
	EXPECT("conflict", host_write(1), CONFLICT);
	for (unsigned ua = SCSI_UA_BUS_DEVICE_RESET; ua < SCSI_UA_COUNT; ua++) {
		bool reset = ua == SCSI_UA_BUS_DEVICE_RESET;
		uint32_t first;

		scsi_nexus_raise(hosts.nexus[1], lu, (enum scsi_ua)ua);
		first = host_read(1);
		EXPECT("reset, else conflict", first, reset ? 0x062903 : CONFLICT);
		EXPECT("conflict", host_read(1), CONFLICT);
		cr_expect((host_attention(1) == 0) == reset, "%u", ua);
	}
	hosts_clear();
}

Test(reservation, all_target_ports)
{
	hosts_init(NULL);
	EXPECT("REGISTER", host_pr_out(0, REGISTER, 0, 0, 'a', 0x04), 0);
	EXPECT("READ FULL STATUS", host_pr_in(0, 3), 0);
	cr_expect_eq(get_be16(hosts.rig.buffer + 8 + 18), 1);
	cr_expect_eq(get_be16(hosts.rig.buffer + 8 + 76 + 18), 2);
	hosts_clear();
}
