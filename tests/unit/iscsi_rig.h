/*
 * A whole target without login for tests of the full feature phase: loops, a raw LUN of 8 MiB (or a
 * fault LUN), sessions over socket pairs. Not a test. Read next: iscsi_peer.h.
 *
 * Tests run on their own thread and talk through the socket; what lives on loops is looked at only
 * after they have ended. rig_end asserts that every slot and buffer came back.
 */
#ifndef TESTS_UNIT_ISCSI_RIG_H
#define TESTS_UNIT_ISCSI_RIG_H

#include "base/bytes.h"
#include "base/crc32c.h"
#include "target/iscsi/conn.h"
#include "target/iscsi/target.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Stress programs have threads, which Criterion does not suit: they define RIG_PLAIN. */
#ifdef RIG_PLAIN
#include <assert.h>
#define cr_assert(condition, ...) assert(condition)
#define cr_assert_eq(a, b, ...) assert((a) == (b))
#define cr_assert_gt(a, b, ...) assert((a) > (b))
#define cr_assert_geq(a, b, ...) assert((a) >= (b))
#define cr_assert_leq(a, b, ...) assert((a) <= (b))
#define cr_assert_not_null(a, ...) assert((a) != NULL)
#define cr_assert_arr_eq(a, b, bytes, ...) assert(memcmp((a), (b), (bytes)) == 0)
#else
#include <criterion/criterion.h>
#endif

#define RIG_LUN_BYTES (8u << 20)
#ifndef RIG_LOOPS
#define RIG_LOOPS 2u
#endif
#define RIG_TARGET "iqn.2026-11.io.ringsan:rig"

struct rig {
	struct loop *control;
	struct iscsi_server server;
	struct iscsi_target target;
	struct iscsi_target *targets[1];
	struct iscsi_view view;
	struct iscsi_portal portal; /* A wildcard; sessions come to 127.0.0.1. */
	struct lun *lun;
	struct lun *spare;
	char dir[64];
	char image[96];
	char faults[96];
	uint32_t first_cmd_sn; /* Of sessions that begin from here on. */
	atomic_uint ended;
	unsigned closed; /* Peers that have ended. */
	bool discovery;  /* Of the sessions to come. */
};

/* The initiator's side of one session. */
struct peer {
	struct rig *rig;
	struct session *session;
	atomic_bool ended; /* Nothing of the session is left. Until then the peer must stay. */
	int fd;
	struct iscsi_params params;
	uint32_t cmd_sn;
	uint32_t exp_stat_sn;
	uint32_t max_cmd_sn;
	uint32_t next_itt;
};

struct rig_pdu {
	uint8_t bhs[PDU_BHS_BYTES];
	uint8_t data[1u << 18];
	uint32_t data_len_bytes;
	uint8_t opcode;
};

static const struct iscsi_params rig_params = {
	.max_recv_data_segment_length = ISCSI_RECV_DATA_BYTES,
	.max_send_data_segment_length = 8192,
	.max_burst_length = 262144,
	.first_burst_length = 65536,
	.max_outstanding_r2t = 1,
	.max_connections = 1,
	.initial_r2t = true,
	.immediate_data = true,
	.data_pdu_in_order = true,
	.data_sequence_in_order = true,
};

static inline struct loop *rig_loop(enum loop_engine engine, unsigned index, uint32_t buffers)
{
	struct loop_config config = {
		.name = "rig", .engine = engine, .index = index, .buffer_count = buffers};
	struct loop *loop;

	cr_assert_eq(loop_create(&config, &loop), 0);
	return loop;
}

static inline struct lun *rig_lun(struct rig *rig, const char *type, const char *name)
{
	char path[128];
	struct lun_spec spec = {
		.name = name,
		.type = type,
		.path = path,
		.size_bytes = RIG_LUN_BYTES,
		.logical_block_bytes = 512,
		.physical_block_bytes = 4096,
		.write_cache = true,
		.fault_control = rig->faults,
		.state_dir = rig->dir,
	};
	struct lun *lun;

	snprintf(path, sizeof(path), "%s/%s", rig->dir, name);
	cr_assert_eq(lun_open(&spec, &rig->server.group, &lun), 0);
	cr_assert(lun_state(lun)->online, "%s", lun_state(lun)->offline_reason);
	return lun;
}

static inline void rig_add_lu(struct rig *rig, uint16_t number, struct lun *lun)
{
	struct scsi_lu_spec spec = {.lun = lun, .state_dir = rig->dir};

	cr_assert_eq(scsi_target_add_lu(rig->target.scsi, number, &spec), 0);
}

/* Begin with a LUN 0 of `type` ("raw" or "fault") and a healthy raw LUN 1. */
static inline void rig_begin(struct rig *rig, const char *type, enum loop_engine engine,
			     uint32_t buffers)
{
	*rig = (struct rig){0};
	snprintf(rig->dir, sizeof(rig->dir), "/tmp/ringsan-rig-XXXXXX");
	cr_assert_not_null(mkdtemp(rig->dir));
	snprintf(rig->faults, sizeof(rig->faults), "%s/faults", rig->dir);
	rig->first_cmd_sn = 100;
	rig->server.limits = (struct iscsi_limits){
		.sessions_max = 16,
		.queue_depth_max = 64,
		.write_stall_timeout_ms = 1000,
		.nop_timeout_ms = 1000,
		.data_out_timeout_ms = 1000,
	};
	rig->control = rig_loop(engine, RIG_LOOPS, 0);
	rig->server.control = rig->control;
	for (unsigned i = 0; i < RIG_LOOPS; i++) {
		rig->server.group.loops[i] = rig_loop(engine, i, buffers);
		rig->server.group.count = i + 1;
		cr_assert_eq(iscsi_loop_create(rig->server.group.loops[i], &rig->server), 0);
	}
	rig->lun = rig_lun(rig, type, "lun0");
	rig->spare = rig_lun(rig, "raw", "lun1");
	rig->target.name = RIG_TARGET;
	cr_assert_eq(scsi_target_create(RIG_TARGET, &rig->server.group, &rig->target.scsi), 0);
	rig_add_lu(rig, 0, rig->lun);
	rig_add_lu(rig, 1, rig->spare);
	rig->portal.tag = 1;
	rig->portal.address.ss_family = AF_INET;
	rig->server.portals = &rig->portal;
	rig->server.portal_count = 1;
	rig->targets[0] = &rig->target;
	rig->view =
		(struct iscsi_view){.generation = 1, .targets = rig->targets, .target_count = 1};
	iscsi_view_set(&rig->server, &rig->view);
	cr_assert_eq(loop_start(rig->control), 0);
	for (unsigned i = 0; i < RIG_LOOPS; i++)
		cr_assert_eq(loop_start(rig->server.group.loops[i]), 0);
}

static inline void rig_on_ended(struct session *session, void *arg)
{
	struct peer *peer = arg;
	struct rig *rig = peer->rig;

	session_free(session);
	atomic_store(&peer->ended, true);
	atomic_fetch_add(&rig->ended, 1);
}

/* As an initiator port of that name, which registrations go by. */
static inline void peer_begin_as(struct peer *peer, struct rig *rig, unsigned loop,
				 const struct iscsi_params *params, const char *port_name)
{
	struct negotiation negotiation;
	static _Atomic uint8_t isid;
	int fds[2];
	struct scsi_nexus_spec nexus = {.target = rig->target.scsi,
					.initiator_port_name = port_name,
					.relative_target_port = 1,
					.portal_group_tag = 1};
	struct session_spec spec = {
		.server = &rig->server,
		.loop = rig->server.group.loops[loop],
		.initiator_name = "iqn.rig:host",
		.target = rig->target.scsi,
		.target_name = RIG_TARGET,
		.discovery = rig->discovery,
		.isid = {0, 0, 0, 0, 0, ++isid},
		.tsih = 1,
		.params = *params,
		.negotiation = &negotiation,
		.exp_cmd_sn = rig->first_cmd_sn,
		.stat_sn = 200,
		.on_ended = rig_on_ended,
		.arg = peer,
	};

	spec.local.ss_family = AF_INET;
	((struct sockaddr_in *)&spec.local)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	negotiation_init(&negotiation, &negotiate_limits_default);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	spec.fd = fds[0];
	cr_assert_eq(scsi_nexus_create(&nexus, &spec.nexus), 0);
	*peer = (struct peer){.rig = rig,
			      .fd = fds[1],
			      .params = *params,
			      .cmd_sn = rig->first_cmd_sn,
			      .exp_stat_sn = 200,
			      .max_cmd_sn = rig->first_cmd_sn + 7,
			      .next_itt = 1};
	cr_assert_eq(session_create(&spec, &peer->session), 0);
	session_start(peer->session);
}

static inline void rig_wait_ended(struct rig *rig, unsigned count)
{
	for (int i = 0; i < 1000 && atomic_load(&rig->ended) < count; i++)
		usleep(10000);
	cr_assert_geq(atomic_load(&rig->ended), count, "a session did not end");
}

static inline void peer_begin(struct peer *peer, struct rig *rig, unsigned loop,
			      const struct iscsi_params *params)
{
	peer_begin_as(peer, rig, loop, params, "iqn.rig:host,i,0x000000000001");
}

/* What a disk holds comes back a little after its session has ended. */
struct rig_count {
	struct loop_round round;
	atomic_uint used;
	atomic_bool done;
};

static inline bool rig_count_on_loop(struct loop_round *round, struct loop *loop)
{
	struct rig_count *count = CONTAINER_OF(round, struct rig_count, round);
	struct iscsi_loop *home = iscsi_loop_of(loop);

	loop_role_assume();
	atomic_fetch_add(&count->used, pool_used_count(&home->tasks) +
					       pool_used_count(&home->windows) +
					       pool_used_count(&home->functions) +
					       (loop_buffer_count(loop) - loop_buffers_free(loop)));
	return true;
}

static inline void rig_count_done(struct loop_round *round)
{
	atomic_store(&CONTAINER_OF(round, struct rig_count, round)->done, true);
}

/* Slots and buffers in use on all loops. */
static inline unsigned rig_used(struct rig *rig)
{
	struct rig_count count = {0};

	loop_round_start(&count.round, &rig->server.group, rig->control, rig_count_on_loop,
			 rig_count_done);
	while (!atomic_load(&count.done))
		usleep(1000);
	return atomic_load(&count.used);
}

/* All sessions must have ended. Asserts that nothing is left. */
static inline void rig_end(struct rig *rig)
{
	char path[128];

	for (int i = 0; i < 1000 && rig_used(rig) > 0; i++)
		usleep(10000);
	for (unsigned i = 0; i < RIG_LOOPS; i++)
		loop_stop(rig->server.group.loops[i]);
	loop_stop(rig->control);
	for (unsigned i = 0; i < RIG_LOOPS; i++)
		loop_join(rig->server.group.loops[i]);
	loop_join(rig->control);
	for (unsigned i = 0; i < RIG_LOOPS; i++) {
		iscsi_loop_free(rig->server.group.loops[i], false);
		loop_free(rig->server.group.loops[i], false);
	}
	scsi_target_free(rig->target.scsi);
	lun_close(rig->lun);
	lun_close(rig->spare);
	loop_free(rig->control, false);
	snprintf(path, sizeof(path), "rm -rf '%s'", rig->dir);
	cr_assert_eq(system(path), 0);
}

/* Tell the fault image of LUN 0 what to do. */
static inline void rig_faults(struct rig *rig, const char *what)
{
	char fresh[128];
	FILE *file;

	snprintf(fresh, sizeof(fresh), "%s.new", rig->faults);
	file = fopen(fresh, "we");
	cr_assert_not_null(file);
	cr_assert_geq(fputs(what, file), 0);
	cr_assert_eq(fclose(file), 0);
	cr_assert_eq(rename(fresh, rig->faults), 0);
}

#endif
