/*
 * A target in full feature phase without threads, sockets and disks, for fuzzing: the iSCSI layer
 * and the device server on the loop of iscsi_fake_loop.h and the LUNs of scsi_fake_lun.h. Nothing
 * happens until fake_event, so an input decides what happens when. Not a test.
 */
#ifndef TESTS_FUZZ_ISCSI_FAKE_H
#define TESTS_FUZZ_ISCSI_FAKE_H

#ifndef FAKE_BUFFERS
#define FAKE_BUFFERS 48u
#endif
#include "tests/fuzz/iscsi_fake_loop.h"

#include "target/iscsi/conn.h"
#include "target/iscsi/tmf.h"
#include "target/scsi/lun_change.h"

#define FAKE_LUNS 2u
#define FAKE_LUN_BLOCKS 64u
/* Whose names alone make an answer to SendTargets of several pieces. */
#define FAKE_TARGETS 9u

static struct {
	struct loop loop;
	struct lun luns[FAKE_LUNS];
	bool stuck[FAKE_LUNS]; /* A disk that answers nothing. */
	struct loop_group group;
	struct iscsi_server server;
	struct iscsi_target target, others;
	struct iscsi_target *targets[FAKE_TARGETS];
	struct iscsi_view view;
	struct iscsi_portal portal;
	/* The second logical unit comes and goes. */
	enum {
		SECOND_THERE,
		SECOND_MOVING,
		SECOND_SETTLED,
		SECOND_GONE
	} second;
	struct scsi_lu *second_lu;
	struct scsi_lun_change change;
	struct scsi_lu_end second_end;
	struct scsi_lu_news news;
	bool telling;
} fake;

/* -- Logical units that come and go, as target/ctl has it -- */

static inline void fake_on_settled(struct scsi_lu_end *end UNUSED)
{
	fake.second = SECOND_SETTLED;
}

static inline void fake_on_forgotten(struct scsi_lu_end *end UNUSED)
{
	fake.second = SECOND_GONE;
}

static inline void fake_on_removed(struct scsi_lun_change *change UNUSED)
{
	int res;

	loop_role_assume();
	fake.second_end = (struct scsi_lu_end){
		.lu = fake.second_lu, .control = &fake.loop, .done = fake_on_settled};
	res = scsi_lu_settle(&fake.second_end);
	assert(res == 0);
}

static inline void fake_on_added(struct scsi_lun_change *change UNUSED)
{
	fake.second = SECOND_THERE;
}

static inline void fake_on_told(struct scsi_lu_news *news UNUSED)
{
	fake.telling = false;
}

static LOOP_ONLY inline void fake_start_change(bool adds)
{
	int res;

	fake.change = (struct scsi_lun_change){
		.target = fake.target.scsi,
		.control = &fake.loop,
		.added = &fake.second_lu,
		.added_count = adds,
		.removed = &fake.second_lu,
		.removed_count = !adds,
		.done = adds ? fake_on_added : fake_on_removed,
	};
	res = scsi_lun_change_prepare(&fake.change);
	assert(res == 0);
	scsi_lun_change_start(&fake.change);
	fake.second = SECOND_MOVING;
}

static inline void fake_change_luns(void)
{
	int res = 0;

	loop_role_assume();
	if (fake.second == SECOND_GONE)
		res = scsi_lu_create(fake.target.scsi, 1,
				     &(struct scsi_lu_spec){.lun = &fake.luns[1]}, &fake.second_lu);
	assert(res == 0);
	if (fake.second == SECOND_THERE)
		fake.second_lu = scsi_target_find_lu(fake.target.scsi, 1);
	if (fake.second == SECOND_GONE || fake.second == SECOND_THERE)
		fake_start_change(fake.second == SECOND_GONE);
}

/* No I/O of it is under way any more. */
static LOOP_ONLY inline bool fake_forget(void)
{
	if (fake.second != SECOND_SETTLED || !list_is_empty(&fake.luns[1].queue) ||
	    !list_is_empty(&fake.luns[1].exclusives))
		return false;
	fake.second_end.done = fake_on_forgotten;
	fake.second = SECOND_MOVING;
	scsi_lu_forget(&fake.second_end);
	return true;
}

static inline void fake_tell_capacity(void)
{
	loop_role_assume();
	if (fake.telling)
		return;
	fake.telling = true;
	fake.news = (struct scsi_lu_news){.lu = scsi_target_find_lu(fake.target.scsi, 0),
					  .grown = true,
					  .control = &fake.loop,
					  .done = fake_on_told};
	scsi_lu_renew(&fake.news);
}

#define FAKE_EVENTS (4u + 2u * WIRES)

/* Let something happen: which of FAKE_EVENTS kinds, and with how many bytes. False: it cannot. */
static inline bool fake_event(unsigned kind, size_t bytes)
{
	struct loop *first = (bytes & 1) != 0 ? fake.server.control : &fake.loop;
	struct wire *wire = &scene.wires[kind % WIRES];

	loop_role_assume();
	if (kind == 0)
		return fake_message(first) || fake_message(fake.server.control);
	if (kind == 1)
		return fake_call(&fake.loop) || fake_timer() || fake_forget();
	if (kind < 4)
		return !fake.stuck[kind & 1] && fake_step(&fake.luns[kind & 1]);
	return kind < 4 + WIRES ? wire_deliver(wire, bytes) : wire_take(wire);
}

/* Until nothing can happen any more without time or an initiator; or without the disks. */
static inline void fake_settle(bool with_disks)
{
	unsigned idle = 0;

	for (unsigned i = 0; idle < FAKE_EVENTS; i++) {
		unsigned kind = i % FAKE_EVENTS;
		bool skipped = !with_disks && (kind == 2 || kind == 3);

		idle = !skipped && fake_event(kind, WIRE_BYTES) ? 0 : idle + 1;
		if (i > 10u * 1000 * 1000)
			abort();
	}
}

/* -- Loop and server: once for all inputs -- */

static inline void fake_begin_server(void)
{
	int res;

	fake_loop_init(&fake.loop);
	fake.group = (struct loop_group){.loops = {&fake.loop}, .count = 1};
	fake.server.group = fake.group;
	fake.server.control = &fake.loop;
	fake.server.limits = (struct iscsi_limits){
		.sessions_max = WIRES,
		.queue_depth_max = 32,
		.write_stall_timeout_ms = 5000,
		.nop_interval_ms = 3000,
		.nop_timeout_ms = 3000,
		.data_out_timeout_ms = 8000,
	};
	for (unsigned i = 0; i < FAKE_TARGETS; i++)
		fake.targets[i] = i == 0 ? &fake.target : &fake.others;
	fake.view = (struct iscsi_view){
		.generation = 1, .targets = fake.targets, .target_count = FAKE_TARGETS};
	iscsi_view_set(&fake.server, &fake.view);
	fake.portal.tag = 1;
	fake.portal.address.ss_family = AF_INET;
	fake.server.portals = &fake.portal;
	fake.server.portal_count = 1;
	fake.target.name = "iqn.2026-11.io.ringsan:fuzz";
	fake.others.name = "iqn.2026-11.io.ringsan:another.one.with.a.long.name.of.its.own";
	res = iscsi_loop_create(&fake.loop, &fake.server);
	assert(res == 0);
}

/* -- The target: anew for each, so that none depends on those before it -- */

static inline void fake_begin_target(void)
{
	static uint8_t bytes[FAKE_LUNS][FAKE_LUN_BLOCKS * 512];
	int res;

	scene.now_ns = 0;
	fake.target.scsi_events = false;
	memset(bytes, 0, sizeof(bytes));
	memset(fake.stuck, 0, sizeof(fake.stuck));
	res = scsi_target_create(fake.target.name, &fake.group, &fake.target.scsi);
	for (uint16_t i = 0; res == 0 && i < FAKE_LUNS; i++) {
		fake_lun_set(&fake.luns[i], FAKE_LUN_BLOCKS, 512, bytes[i]);
		fake.luns[i].identity.naa[15] = (uint8_t)i;
		res = scsi_target_add_lu(fake.target.scsi, i,
					 &(struct scsi_lu_spec){.lun = &fake.luns[i]});
	}
	assert(res == 0);
	fake.second = SECOND_THERE;
}

static inline void fake_on_ended(struct session *session, void *arg)
{
	struct wire *wire = arg;

	assert(!wire->open);
	wire->session = NULL;
	session_free(session);
}

/* As a login does, by keys: "Key=value" and a newline each. */
static inline void fake_negotiate(struct negotiation *negotiation, char *keys)
{
	char answer_text[4096];
	struct negotiate_limits limits = negotiate_limits_default;
	struct negotiate_text text;
	struct text_writer answer;
	size_t bytes = strlen(keys);
	const char *refusal;

	for (size_t i = 0; i < bytes; i++)
		keys[i] = keys[i] == '\n' ? '\0' : keys[i];
	limits.max_recv_data_segment_length = ISCSI_RECV_DATA_BYTES;
	negotiation_init(negotiation, &limits);
	refusal = negotiate_sort(negotiation, KEY_IN_OPERATIONAL, keys, bytes, &text);
	assert(refusal == NULL);
	text_writer_init(&answer, answer_text, sizeof(answer_text));
	negotiate_answer(negotiation, KEY_IN_OPERATIONAL, &text, &answer);
}

/* Log in, for discovery or not, with what was agreed to. */
static inline void fake_connect(unsigned index, bool discovery, uint32_t exp_cmd_sn,
				const struct negotiation *negotiation)
{
	struct wire *wire = &scene.wires[index];
	struct scsi_nexus_spec nexus = {
		.target = fake.target.scsi,
		.initiator_port_name = index == 0 ? "iqn.x:a,i,0x1" : "iqn.x:b,i,0x2",
		.relative_target_port = 1,
		.portal_group_tag = 1,
	};
	struct session_spec spec = {
		.server = &fake.server,
		.loop = &fake.loop,
		.fd = wire_open(wire),
		.initiator_name = index == 0 ? "iqn.x:a" : "iqn.x:b",
		.discovery = discovery,
		.target = discovery ? NULL : fake.target.scsi,
		.target_name = discovery ? NULL : fake.target.name,
		.tsih = (uint16_t)(index + 1),
		.negotiation = negotiation,
		.exp_cmd_sn = exp_cmd_sn,
		.stat_sn = 1,
		.on_ended = fake_on_ended,
		.arg = wire,
	};
	int res;

	spec.local.ss_family = AF_INET;
	negotiate_params(negotiation, &spec.params);
	res = discovery ? 0 : scsi_nexus_create(&nexus, &spec.nexus);
	if (res == 0)
		res = session_create(&spec, &wire->session);
	assert(res == 0);
	session_start(wire->session);
}

/* What an input must leave behind: nothing. */
static inline void fake_check_empty(void)
{
	const struct iscsi_loop *home = scene.user;

	assert(pool_used_count(&home->tasks) == 0 && pool_used_count(&home->windows) == 0);
	assert(pool_used_count(&home->functions) == 0 && home->left_over_bytes == 0);
	assert(fake_buffers_taken(&fake.loop) == 0);
	assert(home->floor_unused == 0 && home->slots_unused == 0);
	assert(list_is_empty(&home->sessions) && list_is_empty(&home->starved));
	assert(list_is_empty(&home->blocked) && list_is_empty(&home->aborted));
	assert((fake.second == SECOND_THERE || fake.second == SECOND_GONE) && !fake.telling);
}

#endif
