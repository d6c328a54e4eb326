/*
 * Access states under fire. Hosts on several loops, through three target port groups, send TEST
 * UNIT READY, writes and REPORT TARGET PORT GROUPS; some set the states of groups 1 and 2, always
 * to the same; the administrator changes group 3. Nobody sees groups 1 and 2 in different states,
 * and nobody who changes nothing himself finds TEST UNIT READY answered otherwise than before
 * without a 2Ah/06h in between. Then in step: when a change of the administrator's is done, every
 * host has exactly one 2Ah/06h and the new state. With ThreadSanitizer or not; both engines.
 *
 * usage: scsi_paths [seed [commands]]. Exit 0 and a line for each engine, or an assertion.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "target/scsi/alua.h"

#define LOOPS 3u
#define HOSTS 6u
#define GROUPS 3u
#define STEPS 100u
#define CHANGED 0x062A06u
#define POWER_ON 0x062900u

struct stage;

/* A session's part: a nexus and one command after another. */
struct host {
	struct stage *stage;
	struct loop *loop;
	struct scsi_nexus *nexus;
	struct scsi_cmd cmd;
	struct scsi_piece piece;
	struct loop_msg msg;
	void (*next)(struct host *host); /* What comes when the command has ended. */
	uint8_t *buffer;
	uint64_t random;
	uint16_t tag;
	unsigned left;
	unsigned attentions;
	uint32_t ready; /* What TEST UNIT READY said last; valid since the last unit attention. */
	bool ready_known;
};

struct stage {
	struct loop_group group;
	struct loop *control;
	struct loop_msg over;
	struct loop_msg begin;
	struct lun *lun;
	struct scsi_target *target;
	struct host hosts[HOSTS];
	struct scsi_access_change change;
	uint64_t random;
	unsigned changes;
	atomic_uint pending;
	unsigned step;
	bool in_step;
};

static uint64_t roll(uint64_t *random, uint64_t below)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random % below;
}

/* What a state answers to TEST UNIT READY. */
static uint32_t answer_of(enum scsi_access_state state)
{
	static const uint32_t answers[SCSI_ACCESS_STATES] = {
		[SCSI_ACCESS_STANDBY] = 0x02040B,
		[SCSI_ACCESS_UNAVAILABLE] = 0x02040C,
		[SCSI_ACCESS_OFFLINE] = 0x020412,
		[SCSI_ACCESS_TRANSITIONING] = 0x02040A,
	};

	return answers[state];
}

static const enum scsi_access_state states[] = {
	SCSI_ACCESS_OPTIMIZED,   SCSI_ACCESS_NON_OPTIMIZED, SCSI_ACCESS_STANDBY,
	SCSI_ACCESS_UNAVAILABLE, SCSI_ACCESS_OFFLINE,       SCSI_ACCESS_TRANSITIONING,
};

static bool is_access_answer(uint32_t sense)
{
	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		if (sense == answer_of(states[i]))
			return true;
	}
	return false;
}

/* -- A command from begin to end -- */

static void on_again(struct loop_msg *msg)
{
	struct host *host = CONTAINER_OF(msg, struct host, msg);

	loop_role_assume();
	host->next(host);
}

/* Whatever has ended, the next thing happens in another turn. */
static void go_on(struct host *host)
{
	loop_post(host->loop, &host->msg, on_again);
}

static void on_cmd_done(struct scsi_cmd *cmd)
{
	go_on(CONTAINER_OF(cmd, struct host, cmd));
}

static void on_piece_done(struct scsi_piece *piece)
{
	go_on(CONTAINER_OF(piece, struct host, piece));
}

/* A write's data come a turn later. */
static void on_data(struct loop_msg *msg)
{
	struct host *host = CONTAINER_OF(msg, struct host, msg);

	loop_role_assume();
	host->piece.cmd = &host->cmd;
	host->piece.offset_bytes = 0;
	host->piece.length_bytes = (uint32_t)host->cmd.data_bytes;
	host->piece.buffer = host->buffer;
	host->piece.done = on_piece_done;
	scsi_piece_submit(&host->piece);
}

LOOP_ONLY static void start(struct host *host, const uint8_t *cdb, const uint8_t *list,
			    void (*next)(struct host *host))
{
	struct scsi_cmd *cmd = &host->cmd;

	host->next = next;
	scsi_cmd_init(cmd);
	cmd->nexus = host->nexus;
	cmd->loop = host->loop;
	cmd->buffer = host->buffer;
	cmd->done = on_cmd_done;
	memset(cmd->lun_field, 0, sizeof(cmd->lun_field));
	memcpy(cmd->cdb, cdb, SCSI_CDB_MAX);
	if (!scsi_cmd_prepare(cmd)) {
		go_on(host);
		return;
	}
	if (cmd->data == SCSI_DATA_OUT_MEDIUM) {
		loop_post(host->loop, &host->msg, on_data);
		return;
	}
	if (cmd->data == SCSI_DATA_OUT_PARAM) {
		cmd->buffer_bytes = (uint32_t)cmd->data_bytes;
		memcpy(cmd->buffer, list, cmd->buffer_bytes);
	}
	if (scsi_cmd_execute(cmd))
		go_on(host);
}

/* key << 16 | asc << 8 | ascq; 0: GOOD. */
static uint32_t sense_of(const struct host *host)
{
	const uint8_t *sense = host->cmd.sense;

	if (host->cmd.status == SCSI_GOOD)
		return 0;
	assert(host->cmd.status == SCSI_CHECK_CONDITION);
	assert(host->cmd.sense_bytes == SCSI_FIXED_SENSE_BYTES);
	return (uint32_t)sense[2] << 16 | get_be16(sense + 12);
}

static const uint8_t test_unit_ready[SCSI_CDB_MAX];

static bool sets_states(const struct host *host)
{
	return host == &host->stage->hosts[0] || host == &host->stage->hosts[1];
}

/* -- At random -- */

static void on_all_at_rest(struct loop_msg *msg);

/* The last one to call it goes on with the next thing on the control loop. */
static void rest(struct stage *stage)
{
	if (atomic_fetch_sub(&stage->pending, 1) == 1)
		loop_post(stage->control, &stage->over, on_all_at_rest);
}

static void on_random_done(struct host *host);

/* Groups 1 and 2, both to one state of the four that a host can ask for. */
LOOP_ONLY static void set_both(struct host *host)
{
	static const uint8_t cdb[SCSI_CDB_MAX] = {0xA4, 0x0A, [9] = 12};
	uint8_t state = (uint8_t)roll(&host->random, 4);
	const uint8_t list[12] = {[4] = state, [7] = 1, [8] = state, [11] = 2};

	start(host, cdb, list, on_random_done);
}

LOOP_ONLY static void start_random(struct host *host)
{
	static const uint8_t write[SCSI_CDB_MAX] = {0x2A, [8] = 8};
	static const uint8_t report[SCSI_CDB_MAX] = {0xA3, 0x2A, [9] = 255};
	uint64_t what = roll(&host->random, 6);

	if (what == 0) {
		start(host, report, NULL, on_random_done);
	} else if (what == 1 && sets_states(host)) {
		set_both(host);
	} else if (what < 4) {
		start(host, write, NULL, on_random_done);
	} else {
		start(host, test_unit_ready, NULL, on_random_done);
	}
}

/* Groups 1 and 2 change together only. */
static void check_report(const struct host *host)
{
	const uint8_t *groups = host->buffer + 8;

	assert(host->cmd.data_bytes == 8 + GROUPS * 12);
	assert(groups[3] == 1 && groups[15] == 2 && groups[27] == 3);
	assert(groups[0] == groups[12] && groups[5] == groups[17]);
}

/* Nobody is refused, or served again, without having been told. */
static void check_ready(struct host *host, uint32_t sense)
{
	assert(is_access_answer(sense));
	assert(sets_states(host) || !host->ready_known || host->ready == sense);
	host->ready = sense;
	host->ready_known = true;
}

static void check_random(struct host *host)
{
	uint32_t sense = sense_of(host);

	if (sense == CHANGED || sense == POWER_ON) {
		host->attentions += sense == CHANGED;
		host->ready_known = false;
	} else if (host->cmd.cdb[0] == 0x00) {
		check_ready(host, sense);
	} else if (host->cmd.cdb[0] == 0xA3) {
		assert(sense == 0);
		check_report(host);
	} else {
		assert(is_access_answer(sense));
	}
}

static void on_random_done(struct host *host)
{
	loop_role_assume();
	check_random(host);
	if (host->left-- == 0) {
		rest(host->stage);
		return;
	}
	start_random(host);
}

/* The administrator goes on as long as the hosts do; his share of the random phase. */
static void on_random_change(struct scsi_access_change *change)
{
	struct stage *stage = CONTAINER_OF(change, struct stage, change);
	int res;

	loop_role_assume();
	assert(loop_is_current(stage->control));
	stage->changes += change->changed;
	if (atomic_load(&stage->pending) <= 1) {
		rest(stage);
		return;
	}
	change->state = states[roll(&stage->random, ARRAY_SIZE(states))];
	res = scsi_access_change_start(change);
	assert(res == 0);
}

/* -- In step -- */

static void on_clean(struct host *host)
{
	loop_role_assume();
	if (sense_of(host) >> 16 != 6)
		rest(host->stage);
	else
		start(host, test_unit_ready, NULL, on_clean);
}

static void begin_clean(struct loop_msg *msg)
{
	loop_role_assume();
	start(CONTAINER_OF(msg, struct host, msg), test_unit_ready, NULL, on_clean);
}

static void on_step_seen(struct host *host)
{
	const struct stage *stage = host->stage;

	if (host->tag == stage->change.tag)
		assert(sense_of(host) == answer_of(stage->change.state));
	else
		assert(is_access_answer(sense_of(host)));
	rest(host->stage);
}

static void on_step_told(struct host *host)
{
	loop_role_assume();
	assert(sense_of(host) == CHANGED);
	host->attentions++;
	start(host, test_unit_ready, NULL, on_step_seen);
}

static void begin_check(struct loop_msg *msg)
{
	loop_role_assume();
	start(CONTAINER_OF(msg, struct host, msg), test_unit_ready, NULL, on_step_told);
}

static void all_hosts(struct stage *stage, loop_msg_fn *fn)
{
	atomic_store(&stage->pending, HOSTS);
	for (unsigned i = 0; i < HOSTS; i++)
		loop_post(stage->hosts[i].loop, &stage->hosts[i].msg, fn);
}

static void on_step_changed(struct scsi_access_change *change)
{
	struct stage *stage = CONTAINER_OF(change, struct stage, change);

	assert(change->changed);
	all_hosts(stage, begin_check);
}

/* To another state than it has. */
LOOP_ONLY static void begin_step(struct stage *stage)
{
	struct scsi_group_view view;
	int res;

	stage->change.tag = (uint16_t)(1 + stage->step % GROUPS);
	stage->change.done = on_step_changed;
	scsi_target_group(stage->target, stage->step % GROUPS, &view);
	do {
		stage->change.state = states[roll(&stage->random, ARRAY_SIZE(states))];
	} while (stage->change.state == view.state);
	res = scsi_access_change_start(&stage->change);
	assert(res == 0);
}

/* -- The order of things: random, clean, then step by step -- */

static void on_all_at_rest(struct loop_msg *msg)
{
	struct stage *stage = CONTAINER_OF(msg, struct stage, over);

	loop_role_assume();
	if (!stage->in_step) {
		stage->in_step = true;
		all_hosts(stage, begin_clean);
	} else if (stage->step++ < STEPS) {
		begin_step(stage);
	} else {
		loop_stop(stage->control);
	}
}

static void begin_random(struct loop_msg *msg)
{
	loop_role_assume();
	start_random(CONTAINER_OF(msg, struct host, msg));
}

/* Hosts and, as one more, the administrator. */
static void on_begin(struct loop_msg *msg)
{
	struct stage *stage = CONTAINER_OF(msg, struct stage, begin);

	loop_role_assume();
	atomic_store(&stage->pending, HOSTS + 1);
	for (unsigned i = 0; i < HOSTS; i++)
		loop_post(stage->hosts[i].loop, &stage->hosts[i].msg, begin_random);
	stage->change = (struct scsi_access_change){.target = stage->target,
						    .loop = stage->control,
						    .tag = 3,
						    .done = on_random_change};
	on_random_change(&stage->change);
}

/* -- Up and down -- */

static void check(int res)
{
	if (res != 0) {
		(void)fprintf(stderr, "scsi_paths: %s\n", strerrordesc_np(-res));
		exit(1);
	}
}

static struct loop *make_loop(enum loop_engine engine, unsigned index)
{
	const struct loop_config config = {
		.name = "paths", .engine = engine, .index = index, .buffer_count = 2 * HOSTS};
	struct loop *loop;

	check(loop_create(&config, &loop));
	return loop;
}

/* Each loop has two hosts, and each group: none on one loop only. */
static void make_host(struct stage *stage, unsigned i, uint64_t seed, unsigned commands)
{
	struct host *host = &stage->hosts[i];
	const uint16_t tag = (uint16_t)(1 + i / 2);
	const struct scsi_nexus_spec spec = {.target = stage->target,
					     .initiator_port_name =
						     "iqn.2026-11.io.ringsan:h,i,0x1",
					     .relative_target_port = tag,
					     .portal_group_tag = tag};

	loop_role_assume();
	host->stage = stage;
	host->tag = tag;
	host->loop = stage->group.loops[i % LOOPS];
	host->random = seed * 2654435761u + i + 1;
	host->left = commands;
	host->buffer = aligned_alloc(4096, SCSI_PARAM_MAX);
	assert(host->buffer != NULL);
	memset(host->buffer, 0, SCSI_PARAM_MAX);
	check(scsi_nexus_create(&spec, &host->nexus));
	scsi_nexus_attach(host->nexus, host->loop);
}

static void make(struct stage *stage, enum loop_engine engine, uint64_t seed, unsigned commands)
{
	static const struct scsi_access_spec access = {.by_hosts = true};
	const struct lun_spec lun = {
		.name = "paths", .type = "null", .size_bytes = 1 << 20, .write_cache = true};
	struct scsi_lu_spec lu = {0};

	memset(stage, 0, sizeof(*stage));
	stage->random = seed + 1;
	stage->group.count = LOOPS;
	for (unsigned i = 0; i < LOOPS; i++)
		stage->group.loops[i] = make_loop(engine, i);
	stage->control = make_loop(engine, LOOPS);
	check(lun_open(&lun, &stage->group, &stage->lun));
	lu.lun = stage->lun;
	check(scsi_target_create("iqn.2026-11.io.ringsan:paths", &stage->group, &stage->target));
	check(scsi_target_add_lu(stage->target, 0, &lu));
	for (uint16_t tag = 1; tag <= GROUPS; tag++)
		check(scsi_target_add_port(stage->target, tag));
	scsi_target_set_access(stage->target, &access);
	for (unsigned i = 0; i < HOSTS; i++)
		make_host(stage, i, seed, commands);
}

static void run(struct stage *stage)
{
	for (unsigned i = 0; i < LOOPS; i++) {
		if (loop_start(stage->group.loops[i]) == 0)
			continue;
		printf("skipped, the engine is refused here\n");
		_exit(0);
	}
	loop_post(stage->control, &stage->begin, on_begin);
	check(loop_run(stage->control));
	for (unsigned i = 0; i < LOOPS; i++) {
		loop_stop(stage->group.loops[i]);
		loop_join(stage->group.loops[i]);
	}
}

static void clear(struct stage *stage)
{
	loop_role_assume();
	for (unsigned i = 0; i < HOSTS; i++) {
		scsi_nexus_detach(stage->hosts[i].nexus);
		scsi_nexus_free(stage->hosts[i].nexus);
		free(stage->hosts[i].buffer);
	}
	scsi_target_free(stage->target);
	lun_close(stage->lun);
	for (unsigned i = 0; i < LOOPS; i++)
		loop_free(stage->group.loops[i], false);
	loop_free(stage->control, false);
}

int main(int argc, char **argv)
{
	static const enum loop_engine engines[] = {LOOP_ENGINE_AIO, LOOP_ENGINE_URING};
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)time(NULL);
	unsigned commands = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 2000;
	static struct stage stage;

	for (size_t i = 0; i < ARRAY_SIZE(engines); i++) {
		unsigned attentions = 0;

		make(&stage, engines[i], seed, commands);
		run(&stage);
		for (unsigned k = 0; k < HOSTS; k++)
			attentions += stage.hosts[k].attentions;
		printf("%s: seed %llu, %u commands each, %u changes and %u steps, %u unit "
		       "attentions\n",
		       loop_engine_name(stage.group.loops[0]), (unsigned long long)seed, commands,
		       stage.changes, STEPS, attentions);
		assert(attentions >= STEPS * HOSTS);
		clear(&stage);
	}
	return 0;
}
