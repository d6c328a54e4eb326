/*
 * What an administrator sees of reservations and clears, and what hosts are told of it.
 */
#include "target/scsi/reservation_admin.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/scsi_hosts.h"

#define LOST_RESERVATION 0x062A03u

/* The last order, and what it saw. */
static struct seen {
	struct scsi_reservation_order order;
	unsigned calls, ends;
	uint32_t registrations;
	enum pr_type type;
	char holder[PR_NAME_BYTES_MAX + 1];
	bool reserved;
} seen;

static void on_seen(struct scsi_reservation_order *order, const struct pr_state *state,
		    bool reserved)
{
	cr_assert_eq(order, &seen.order);
	seen.calls++;
	seen.registrations = state->count;
	seen.type = state->type;
	seen.reserved = reserved;
	seen.holder[0] = '\0';
	if (state->holder != PR_NOBODY)
		strcpy(seen.holder, state->registrants[state->holder].nexus.initiator);
}

static void on_done(struct scsi_reservation_order *order)
{
	cr_assert_eq(order, &seen.order);
	seen.ends++;
}

static void give(void (*start)(struct scsi_reservation_order *order))
{
	loop_role_assume();
	memset(&seen, 0, sizeof(seen));
	seen.order.lu = scsi_target_find_lu(hosts.rig.target, 0);
	seen.order.loop = &hosts.rig.loop;
	seen.order.seen = on_seen;
	seen.order.done = on_done;
	start(&seen.order);
	fake_run(&hosts.rig);
	cr_expect_eq(seen.ends, 1);
}

static void look(void)
{
	give(scsi_reservations_look);
	cr_expect_eq(seen.order.res, 0);
	cr_expect_eq(seen.calls, 1);
}

static void clear(void)
{
	give(scsi_reservations_clear);
}

Test(reservation_admin, where_nothing_was_ever_reserved)
{
	hosts_init(NULL);
	cr_expect_not(scsi_reservations_known(scsi_target_find_lu(hosts.rig.target, 0)));
	look();
	cr_expect_eq(seen.registrations, 0);
	clear();
	cr_expect_eq(seen.order.res, 0);
	cr_expect_not(scsi_reservations_known(scsi_target_find_lu(hosts.rig.target, 0)));
	hosts_clear();
}

Test(reservation_admin, all_who_were_registered_are_told)
{
	hosts_init(NULL);
	register_all();
	EXPECT("RESERVE", host_pr_out(1, RESERVE, 6, 'b', 0, 0), 0);
	look();
	cr_expect_eq(seen.registrations, 3);
	cr_expect_eq(seen.type, PR_EXCLUSIVE_ACCESS_RO);
	cr_expect_str_eq(seen.holder, host_ports[1]);
	cr_expect_not(seen.reserved);
	EXPECT("looking changes nothing", host_write(3), CONFLICT);
	clear();
	cr_expect_eq(seen.order.res, 0);
	cr_expect_eq(seen.registrations, 3, "what it was is told");
	for (unsigned i = 0; i < 3; i++) {
		EXPECT("told", host_attention(i), LOST_RESERVATION);
		EXPECT("once", host_attention(i), 0);
	}
	EXPECT("a stranger is not", host_attention(3), 0);
	EXPECT("and writes", host_write(3), 0);
	EXPECT("the key is gone", host_pr_out(1, RESERVE, 6, 'b', 0, 0), CONFLICT);
	look();
	cr_expect_eq(seen.registrations, 0);
	/* Told once: the next change has nothing of this one in it. */
	register_all();
	EXPECT("nobody is told", host_attention(1), 0);
	hosts_clear();
}

Test(reservation_admin, what_reserve_reserved)
{
	hosts_init(NULL);
	EXPECT("RESERVE(6)", host_do(0, CDB(0x16, 0, 0, 0, 0, 0), NULL, 0), 0);
	look();
	cr_expect(seen.reserved);
	EXPECT("held", host_write(1), CONFLICT);
	clear();
	cr_expect_eq(seen.order.res, 0);
	EXPECT("its holder is told", host_attention(0), LOST_RESERVATION);
	EXPECT("nobody else", host_attention(1), 0);
	EXPECT("free", host_write(1), 0);
	EXPECT("for all", host_do(1, CDB(0x16, 0, 0, 0, 0, 0), NULL, 0), 0);
	/* It was the first one's; that it frees it now changes nothing of the second one's. */
	EXPECT("RELEASE(6)", host_do(0, CDB(0x17, 0, 0, 0, 0, 0), NULL, 0), 0);
	EXPECT("held by the second", host_write(0), CONFLICT);
	hosts_clear();
}

/* In a state-dir: the file says so, and where it cannot, nothing changes. */
Test(reservation_admin, cleared_is_cleared_after_a_restart)
{
	char dir[] = "/tmp/ringsan-admin-XXXXXX";
	char moved[sizeof(dir) + 1];
	char command[64];

	cr_assert_not_null(mkdtemp(dir));
	(void)snprintf(moved, sizeof(moved), "%s.", dir);
	hosts_init(dir);
	register_all();
	EXPECT("RESERVE", host_pr_out(1, RESERVE, 1, 'b', 0, 0), 0);
	cr_assert_eq(rename(dir, moved), 0);
	clear();
	cr_expect_lt(seen.order.res, 0);
	cr_expect_neq(seen.order.res, -ENODEV);
	EXPECT("still held", host_write(0), CONFLICT);
	EXPECT("nobody is told", host_attention(0), 0);
	cr_assert_eq(rename(moved, dir), 0);
	clear();
	cr_expect_eq(seen.order.res, 0);
	hosts_clear();
	hosts_init(dir);
	look();
	cr_expect_eq(seen.registrations, 0);
	EXPECT("free", host_write(0), 0);
	hosts_clear();
	(void)snprintf(command, sizeof(command), "rm -r %s", dir);
	/* One thread. NOLINTNEXTLINE */
	cr_expect_eq(system(command), 0);
}
