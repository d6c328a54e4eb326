/*
 * The list of sessions: keys, places, TSIHs, and who waits for whom.
 */
#include "target/iscsi/registry.h"

#include "tests/unit/iscsi_session_fake.h"

#include <errno.h>
#include <stdio.h>

static struct iscsi_server server;
static struct registry *registry;
static struct iscsi_target disk = {.name = "iqn.2026-11.io.ringsan:disk",
				   .scsi = (struct scsi_target *)(void *)&disk};
static struct iscsi_target other = {.name = "iqn.2026-11.io.ringsan:other",
				    .scsi = (struct scsi_target *)(void *)&other};
static const uint8_t isid[6] = {0x80, 1, 2, 3, 4, 5};

static struct loop *make_loop(unsigned index)
{
	const struct loop_config config = {
		.name = "test", .engine = LOOP_ENGINE_AIO, .index = index};
	struct loop *loop;

	cr_assert_eq(loop_create(&config, &loop), 0);
	return loop;
}

static void setup(void)
{
	server.limits.sessions_max = 5;
	for (unsigned i = 0; i < 2; i++)
		server.group.loops[server.group.count++] = make_loop(i);
	cr_assert_eq(registry_create(&server, &registry), 0);
}

static void teardown(void)
{
	for (unsigned i = 0; i < FAKE_SESSIONS_MAX; i++) {
		if (fake_sessions[i])
			fake_end(fake_sessions[i]);
	}
	cr_expect_eq(registry_count(registry), 0);
	registry_free(registry, false);
	for (unsigned i = 0; i < server.group.count; i++)
		loop_free(server.group.loops[i], false);
}

TestSuite(iscsi_registry, .init = setup, .fini = teardown);

static struct session_spec spec_of(const char *initiator_name, struct iscsi_target *target)
{
	struct session_spec spec = {
		.server = &server,
		.loop = registry_place(registry),
		.fd = -1,
		.initiator_name = initiator_name,
		.discovery = !target,
		.target = target ? target->scsi : NULL,
		.target_name = target ? target->name : NULL,
		.tsih = registry_new_tsih(registry),
		.portal_group_tag = 1,
	};

	memcpy(spec.isid, isid, sizeof(isid));
	return spec;
}

static struct registry_entry *open_session(const char *initiator_name, struct iscsi_target *target)
{
	struct session_spec spec = spec_of(initiator_name, target);
	struct registry_entry *entry;

	cr_assert_not_null(spec.loop);
	cr_assert_neq(spec.tsih, 0);
	cr_assert_eq(registry_open(registry, &spec, "user", &entry), 0);
	return entry;
}

static struct registry_key key_of(const char *initiator_name)
{
	return (struct registry_key){.initiator_name = initiator_name,
				     .isid = isid,
				     .target = disk.scsi,
				     .portal_group_tag = 1};
}

Test(iscsi_registry, keys)
{
	struct registry_entry *entry = open_session("iqn.host", &disk);
	const uint8_t other_isid[6] = {0x80, 1, 2, 3, 4, 6};
	struct registry_key key = key_of("iqn.host");

	cr_expect_eq(registry_find(registry, &key), entry);
	key.initiator_name = "IQN.Host";
	cr_expect_eq(registry_find(registry, &key), entry, "letter case does not count");
	key.initiator_name = "iqn.hos";
	cr_expect_null(registry_find(registry, &key));
	key = key_of("iqn.host");
	key.isid = other_isid;
	cr_expect_null(registry_find(registry, &key));
	key = key_of("iqn.host");
	key.target = other.scsi;
	cr_expect_null(registry_find(registry, &key));
	key = key_of("iqn.host");
	key.portal_group_tag = 2;
	cr_expect_null(registry_find(registry, &key));
	cr_expect_str_eq(registry_user(entry), "user");
}

Test(iscsi_registry, discovery_sessions_have_no_key)
{
	struct registry_entry *entry = open_session("iqn.host", NULL);
	struct registry_key key = key_of("iqn.host");

	key.target = NULL;
	cr_expect_null(registry_find(registry, &key));
	cr_expect_eq(registry_find_tsih(registry, registry_spec(entry)->tsih), entry);
}

Test(iscsi_registry, the_least_loaded_loop_takes_the_next)
{
	struct loop *const *loops = server.group.loops;
	struct registry_entry *first = open_session("iqn.1", &disk);

	cr_expect_eq(registry_spec(first)->loop, loops[0]);
	cr_expect_eq(registry_spec(open_session("iqn.2", &disk))->loop, loops[1]);
	cr_expect_eq(registry_spec(open_session("iqn.3", &disk))->loop, loops[0]);
	cr_expect_eq(registry_spec(open_session("iqn.4", &disk))->loop, loops[1]);
	fake_end(fake_sessions[1]);
	fake_end(fake_sessions[3]);
	cr_expect_eq(registry_loop_count(registry, loops[0]), 2);
	cr_expect_eq(registry_loop_count(registry, loops[1]), 0);
	cr_expect_eq(registry_place(registry), loops[1]);
}

Test(iscsi_registry, a_full_loop_takes_none)
{
	char name[32];

	fake_sessions_per_loop = 2;
	for (unsigned i = 0; i < 4; i++) {
		(void)snprintf(name, sizeof(name), "iqn.%u", i);
		(void)open_session(name, &disk);
	}
	cr_expect_null(registry_place(registry));
	fake_sessions_per_loop = 4;
	cr_expect_not_null(registry_place(registry));
}

Test(iscsi_registry, sessions_max)
{
	char name[32];

	for (unsigned i = 0; i < 5; i++) {
		(void)snprintf(name, sizeof(name), "iqn.%u", i);
		(void)open_session(name, &disk);
	}
	cr_expect_null(registry_place(registry));
	fake_end(fake_sessions[2]);
	cr_expect_not_null(registry_place(registry));
}

Test(iscsi_registry, no_memory_leaves_no_entry)
{
	struct session_spec spec = spec_of("iqn.host", &disk);
	struct registry_entry *entry;

	atomic_store(&fake_create_result, -ENOMEM);
	cr_expect_eq(registry_open(registry, &spec, "", &entry), -ENOMEM);
	cr_expect_eq(registry_count(registry), 0);
	cr_expect_null(registry_find_tsih(registry, spec.tsih));
	atomic_store(&fake_create_result, 0);
	cr_expect_eq(registry_open(registry, &spec, "", &entry), 0);
}

Test(iscsi_registry, tsihs_are_taken_while_their_session_lives)
{
	struct registry_entry *entry = open_session("iqn.host", &disk);
	uint16_t tsih = registry_spec(entry)->tsih;
	bool differ = false;

	for (unsigned i = 0; i < 1000; i++) {
		uint16_t next = registry_new_tsih(registry);

		cr_assert(next != 0 && next != tsih);
		differ = differ || next != registry_new_tsih(registry);
	}
	cr_expect(differ, "TSIHs are not to be predicted");
	fake_end(fake_sessions[0]);
	cr_expect_null(registry_find_tsih(registry, tsih));
}

Test(iscsi_registry, close_before_start_closes_at_the_start)
{
	struct registry_entry *entry = open_session("iqn.host", &disk);

	loop_role_assume();
	registry_close(entry, SESSION_CLOSE_REINSTATED);
	registry_close(entry, SESSION_CLOSE_SHUTDOWN);
	cr_expect_eq(fake_sessions[0]->close_reason, SESSION_CLOSE_NONE);
	registry_start(entry);
	cr_expect_eq(fake_sessions[0]->close_reason, SESSION_CLOSE_REINSTATED);
	registry_close(entry, SESSION_CLOSE_SHUTDOWN);
	cr_expect_eq(fake_sessions[0]->close_reason, SESSION_CLOSE_REINSTATED);
}

/* -- Waiting -- */

struct waiting {
	struct registry_waiter waiter;
	unsigned ended;
	unsigned superseded;
	uint32_t count_at_end;
};

static void on_ended(void *arg)
{
	struct waiting *waiting = arg;

	waiting->ended++;
	waiting->count_at_end = registry_count(registry);
}

static void on_superseded(void *arg)
{
	((struct waiting *)arg)->superseded++;
}

static void wait_for(struct registry_entry *entry, struct waiting *waiting)
{
	*waiting = (struct waiting){
		.waiter = {.on_ended = on_ended, .on_superseded = on_superseded, .arg = waiting}};
	registry_wait(entry, &waiting->waiter);
}

Test(iscsi_registry, a_waiter_is_told_when_nothing_is_left)
{
	struct registry_entry *entry = open_session("iqn.host", &disk);
	struct waiting waiting;

	wait_for(entry, &waiting);
	cr_expect_eq(waiting.ended, 0);
	fake_end(fake_sessions[0]);
	cr_expect_eq(waiting.ended, 1);
	cr_expect_eq(waiting.count_at_end, 0);
	registry_wait_cancel(&waiting.waiter);
}

Test(iscsi_registry, the_last_waiter_counts)
{
	struct registry_entry *entry = open_session("iqn.host", &disk);
	struct waiting first;
	struct waiting second;

	wait_for(entry, &first);
	wait_for(entry, &second);
	cr_expect_eq(first.superseded, 1);
	registry_wait_cancel(&first.waiter);
	fake_end(fake_sessions[0]);
	cr_expect_eq(first.ended, 0);
	cr_expect_eq(second.ended, 1);
	cr_expect_eq(second.superseded, 0);
}

Test(iscsi_registry, a_cancelled_waiter_hears_nothing)
{
	struct registry_entry *entry = open_session("iqn.host", &disk);
	struct waiting waiting;

	wait_for(entry, &waiting);
	registry_wait_cancel(&waiting.waiter);
	registry_wait_cancel(&waiting.waiter);
	fake_end(fake_sessions[0]);
	cr_expect_eq(waiting.ended + waiting.superseded, 0);
}

static void count_call(void *arg)
{
	(*(unsigned *)arg)++;
}

Test(iscsi_registry, close_all_reports_when_the_last_has_ended)
{
	unsigned empty = 0;

	loop_role_assume();
	registry_start(open_session("iqn.1", &disk));
	registry_start(open_session("iqn.2", &disk));
	registry_close_all(registry, SESSION_CLOSE_SHUTDOWN, count_call, &empty);
	cr_expect_eq(fake_sessions[0]->close_reason, SESSION_CLOSE_SHUTDOWN);
	fake_end(fake_sessions[1]);
	cr_expect_eq(empty, 0);
	fake_end(fake_sessions[0]);
	cr_expect_eq(empty, 1);
}

Test(iscsi_registry, close_all_of_none_reports_at_once)
{
	unsigned empty = 0;

	loop_role_assume();
	registry_close_all(registry, SESSION_CLOSE_SHUTDOWN, count_call, &empty);
	cr_expect_eq(empty, 1);
}
