/*
 * Logical units that come and go while hosts use their target: who finds them and hears of them,
 * what they bring with them, their places in nexuses, and changes that are refused. Beside load, on
 * loops of their own: initiator-tests/reload.sh.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/unit/scsi_hosts.h"

#define LUNS_CHANGED 0x063F0Eu

static struct scsi_lu *made[SCSI_NEXUS_SPARE_SLOTS + 1];
static unsigned changes_done;
static unsigned removals_heard; /* Of hosts' transports. */

static void on_done(struct scsi_lun_change *change)
{
	(void)change;
	changes_done++;
}

static void on_change(void *arg, const struct scsi_lun_change *change)
{
	removals_heard += scsi_lun_change_removes(change, arg);
}

static struct scsi_lu *create(uint16_t number, const char *state_dir)
{
	struct scsi_lu_spec spec = {.lun = &hosts.rig.lun, .state_dir = state_dir};
	struct scsi_lu *lu;

	cr_assert_eq(scsi_lu_create(hosts.rig.target, number, &spec, &lu), 0);
	cr_assert_eq(scsi_lu_restore(lu), 0);
	return lu;
}

static struct scsi_lun_change addition(struct scsi_lu *const *lus, unsigned count)
{
	return (struct scsi_lun_change){.target = hosts.rig.target,
					.control = &hosts.rig.loop,
					.added = lus,
					.added_count = count,
					.done = on_done};
}

static void carry_out(struct scsi_lun_change *change)
{
	unsigned before = changes_done;

	loop_role_assume();
	cr_assert_eq(scsi_lun_change_prepare(change), 0);
	scsi_lun_change_start(change);
	fake_run(&hosts.rig);
	cr_assert_eq(changes_done, before + 1);
}

static void add(struct scsi_lu *const *lus, unsigned count)
{
	struct scsi_lun_change change = addition(lus, count);

	carry_out(&change);
}

static void unpublish(struct scsi_lu *const *lus, unsigned count)
{
	struct scsi_lun_change change = {.target = hosts.rig.target,
					 .control = &hosts.rig.loop,
					 .removed = lus,
					 .removed_count = count,
					 .done = on_done};

	carry_out(&change);
}

static void on_end(struct scsi_lu_end *end)
{
	(void)end;
	changes_done++;
}

static void forget(struct scsi_lu *lu)
{
	struct scsi_lu_end end = {.lu = lu, .control = &hosts.rig.loop, .done = on_end};
	unsigned before = changes_done;

	loop_role_assume();
	cr_assert_eq(scsi_lu_settle(&end), 0);
	fake_run(&hosts.rig);
	scsi_lu_forget(&end);
	fake_run(&hosts.rig);
	cr_assert_eq(changes_done, before + 2);
	cr_assert_null(end.lu);
}

/* What TEST UNIT READY answers. */
static uint32_t ask(unsigned who, uint16_t number)
{
	uint32_t sense;

	hosts.rig.lun_number = number;
	sense = host_do(who, CDB(0), NULL, 0);
	hosts.rig.lun_number = 0;
	return sense;
}

static unsigned listed(unsigned who)
{
	EXPECT("REPORT LUNS", host_do(who, CDB(0xA0, 0, 0, 0, 0, 0, 0, 0, 0x40), NULL, 0), 0);
	return get_be32(hosts.rig.buffer) / 8;
}

Test(lun_change, comes_and_goes)
{
	struct scsi_lu *lus[2];

	hosts_init(NULL);
	lus[0] = create(5, NULL);
	lus[1] = create(3, NULL);
	EXPECT("before", ask(0, 5), NO_LOGICAL_UNIT);
	add(lus, 2);
	cr_assert_eq(scsi_target_lu_count(hosts.rig.target), 3);
	cr_assert_eq(scsi_target_find_lu(hosts.rig.target, 3), lus[1]);
	for (unsigned who = 0; who < HOSTS; who++) {
		EXPECT("told", ask(who, 0), LUNS_CHANGED);
		EXPECT("once", ask(who, 0), 0);
		EXPECT("new", ask(who, 5), POWER_ON);
		EXPECT("ready", ask(who, 5), 0);
	}
	cr_assert_eq(listed(0), 3);
	unpublish(lus, 2);
	EXPECT("told", ask(0, 0), LUNS_CHANGED);
	EXPECT("gone", ask(0, 5), NO_LOGICAL_UNIT);
	forget(lus[0]);
	forget(lus[1]);
	cr_assert_eq(listed(1), 1);
	hosts_clear();
}

/* Each transport hears which ones go, and of no other. */
Test(lun_change, transports_hear_of_those_that_go)
{
	struct scsi_lu *lus[2];

	hosts_init(NULL);
	lus[0] = create(1, NULL);
	lus[1] = create(2, NULL);
	for (unsigned who = 0; who < HOSTS; who++)
		scsi_nexus_on_change(hosts.nexus[who], on_change, lus[who % 2]);
	add(lus, 2);
	cr_assert_eq(removals_heard, 0);
	unpublish(&lus[1], 1);
	cr_assert_eq(removals_heard, HOSTS / 2);
	forget(lus[1]);
	hosts_clear();
}

/*
 * A disk that comes back brings its reservations: who was fenced off it is, be it that the session
 * is as old as the target, and the commands in between are none.
 */
Test(lun_change, brings_its_reservations)
{
	char dir[64] = "";
	char path[128];
	struct scsi_lu *lu;

	(void)snprintf(dir, sizeof(dir), "/tmp/ringsan-change-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	hosts_init(dir);
	register_all();
	EXPECT("RESERVE", host_pr_out(0, RESERVE, 1, 'a', 0, 0), 0);
	lu = scsi_target_find_lu(hosts.rig.target, 0);
	unpublish(&lu, 1);
	forget(lu);
	EXPECT("gone", host_write(3), NO_LOGICAL_UNIT);

	lu = create(0, dir);
	/* Published, and no loop has been told. */
	struct scsi_lun_change change = addition(&lu, 1);
	loop_role_assume();
	cr_assert_eq(scsi_lun_change_prepare(&change), 0);
	scsi_lun_change_start(&change);
	host_is(1);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert(!rig_prepare(&hosts.rig, CDB(0x2A, 0, 0, 0, 0, 8, 0, 0, 1)));
		EXPECT("at once", rig_sense(&hosts.rig), i == 0 ? POWER_ON : CONFLICT);
	}
	fake_run(&hosts.rig);
	for (unsigned who = 0; who < HOSTS; who++) {
		EXPECT("told", host_attention(who), who == 1 ? LUNS_CHANGED : POWER_ON);
		EXPECT("write", host_write(who), who == 0 ? 0 : CONFLICT);
		EXPECT("read", host_read(who), 0);
	}
	host_log_out(1);
	host_log_in(1);
	(void)host_attention(1);
	EXPECT("a new session", host_write(1), CONFLICT);
	hosts_clear();
	(void)snprintf(path, sizeof(path), "%s/reservations-652534e00102030405060708090a0b0c", dir);
	cr_expect_eq(unlink(path), 0);
	cr_expect_eq(rmdir(dir), 0);
}

/* What the logical unit before had left in its place. */
Test(lun_change, places_are_fresh)
{
	struct scsi_lu *lu;
	unsigned slot;

	hosts_init(NULL);
	lu = create(1, NULL);
	add(&lu, 1);
	slot = lu->slot;
	(void)ask(0, 1);
	(void)ask(1, 1);
	hosts.rig.lun_number = 1;
	EXPECT("RESERVE", host_do(0, CDB(0x16), NULL, 0), 0);
	EXPECT("reserved", ask(1, 1), CONFLICT);
	unpublish(&lu, 1);
	forget(lu);
	lu = create(2, NULL);
	add(&lu, 1);
	cr_assert_eq(lu->slot, slot);
	EXPECT("new", ask(1, 2), POWER_ON);
	EXPECT("free", ask(1, 2), 0);
	EXPECT("for all", ask(0, 2), POWER_ON);
	hosts_clear();
}

/* A nexus has places for so many that are added, and sees others when its host logs in again. */
Test(lun_change, spare_places)
{
	const unsigned count = ARRAY_SIZE(made);
	uint16_t last = (uint16_t)count;

	hosts_init(NULL);
	for (unsigned i = 0; i < count; i++)
		made[i] = create((uint16_t)(i + 1), NULL);
	add(made, count);
	EXPECT("the last place", ask(0, (uint16_t)(last - 1)), POWER_ON);
	EXPECT("none for it", ask(0, last), NO_LOGICAL_UNIT);
	(void)ask(0, 0);
	cr_assert_eq(listed(0), count);
	host_log_out(0);
	host_log_in(0);
	EXPECT("after a login", ask(0, last), POWER_ON);
	(void)host_attention(0);
	cr_assert_eq(listed(0), count + 1);

	/* The place of one that has gone is the next one's. */
	unpublish(made, 1);
	forget(made[0]);
	made[0] = create(200, NULL);
	add(made, 1);
	EXPECT("the free place", ask(1, 200), POWER_ON);
	EXPECT("still none", ask(1, last), NO_LOGICAL_UNIT);
	hosts_clear();
}

/* Nothing is taken by what is refused: the place of the first one is free again. */
Test(lun_change, refused)
{
	struct scsi_lun_change change;
	struct scsi_lu *lus[2];
	const struct {
		const char *what;
		uint16_t numbers[2];
		int res;
	} rows[] = {
		{"a number that is taken", {7, 0}, -EEXIST},
		{"one number for two", {7, 7}, -EEXIST},
		{"a number that cannot be", {7, SCSI_LUN_NUMBER_MAX + 1}, -ERANGE},
	};

	hosts_init(NULL);
	loop_role_assume();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		for (unsigned k = 0; k < 2; k++)
			lus[k] = create(rows[i].numbers[k], NULL);
		change = addition(lus, 2);
		cr_expect_eq(scsi_lun_change_prepare(&change), rows[i].res, "%s", rows[i].what);
		cr_expect_eq(scsi_target_lu_count(hosts.rig.target), 1);
		cr_expect_eq(hosts.rig.target->slot_end - hosts.rig.target->slots_free_count, 1);
		scsi_lu_free(lus[0]);
		scsi_lu_free(lus[1]);
	}
	EXPECT("nobody hears", ask(0, 0), 0);
	hosts_clear();
}

/* One more than REPORT LUNS can list; those that go with the same change count, too. */
Test(lun_change, too_many)
{
	static struct scsi_lu *lus[SCSI_TARGET_LUS_MAX];
	struct scsi_lun_change change;
	struct scsi_lu *one;

	hosts_init(NULL);
	for (unsigned i = 0; i < SCSI_TARGET_LUS_MAX - 1; i++)
		lus[i] = create((uint16_t)(i + 1), NULL);
	add(lus, SCSI_TARGET_LUS_MAX - 1);
	cr_assert_eq(scsi_target_lu_count(hosts.rig.target), SCSI_TARGET_LUS_MAX);
	one = create(SCSI_TARGET_LUS_MAX, NULL);
	change = addition(&one, 1);
	change.removed = lus;
	change.removed_count = 1;
	loop_role_assume();
	cr_assert_eq(scsi_lun_change_prepare(&change), -E2BIG);
	scsi_lu_free(one);
	unpublish(lus, SCSI_TARGET_LUS_MAX - 1);
	cr_assert_eq(scsi_target_lu_count(hosts.rig.target), 1);
	for (unsigned i = 0; i < SCSI_TARGET_LUS_MAX - 1; i++)
		scsi_lu_free(lus[i]);
	hosts_clear();
}

/* A change that is prepared waits for others of its target that only remove. */
Test(lun_change, prepared_or_cancelled)
{
	struct scsi_lun_change change;
	struct scsi_lu *old;
	struct scsi_lu *fresh;

	hosts_init(NULL);
	old = create(4, NULL);
	add(&old, 1);
	fresh = create(2, NULL);
	change = addition(&fresh, 1);
	loop_role_assume();
	cr_assert_eq(scsi_lun_change_prepare(&change), 0);
	scsi_lun_change_cancel(&change);
	cr_assert_eq(scsi_lun_change_prepare(&change), 0);
	unpublish(&old, 1);
	cr_assert_null(scsi_target_find_lu(hosts.rig.target, 2));
	scsi_lun_change_start(&change);
	fake_run(&hosts.rig);
	cr_assert_eq(scsi_target_find_lu(hosts.rig.target, 2), fresh);
	cr_assert_null(scsi_target_find_lu(hosts.rig.target, 4));
	cr_assert_eq(scsi_target_lu_count(hosts.rig.target), 2);
	forget(old);
	hosts_clear();
}
