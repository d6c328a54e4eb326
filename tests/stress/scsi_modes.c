/*
 * Mode parameters under fire: hosts on several loops send MODE SELECT, MODE SENSE, commands that
 * fail and writes to one logical unit. Every image that is read is one that was sent (its two bits
 * are always sent equal), sense data have one of the two formats, and a write ends in GOOD or for
 * SWP. Then in step: after the answer to a MODE SELECT every host on every loop has exactly one
 * unit attention and sees the new values, and no other. With ThreadSanitizer or not; both engines.
 *
 * usage: scsi_modes [seed [commands]]. Exit 0 and a line for each engine, or an assertion.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "target/scsi/scsi.h"

#define LOOPS 3u
#define HOSTS 6u
#define ROUNDS 200u
#define STEP_BYTES 16u

struct stage;

/* A session's part: a nexus and one command after another. */
struct host {
	struct stage *stage;
	struct loop *loop;
	struct scsi_nexus *nexus;
	struct scsi_cmd cmd;
	struct scsi_piece piece;
	struct loop_msg msg;
	/* What comes when the command has ended. */
	void (*next)(struct host *host);
	uint8_t *buffer;
	uint64_t random;
	unsigned left;
	unsigned attentions;
};

struct stage {
	struct loop_group group;
	struct loop *control;
	struct loop_msg over;
	struct lun *lun;
	struct scsi_target *target;
	struct host hosts[HOSTS];
	char state_dir[64];
	atomic_uint pending;
	unsigned phase;
	unsigned round;
};

/* The values of a round: D_SENSE and SWP, both or none. */
static uint8_t byte_2(bool on)
{
	return on ? 0x26 : 0x22;
}

static uint8_t byte_4(bool on)
{
	return on ? 0x08 : 0x00;
}

static uint64_t roll(struct host *host, uint64_t below)
{
	host->random ^= host->random << 13;
	host->random ^= host->random >> 7;
	host->random ^= host->random << 17;
	return host->random % below;
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

LOOP_ONLY static void move(struct host *host)
{
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
		move(host);
		return;
	}
	if (cmd->data == SCSI_DATA_OUT_PARAM) {
		cmd->buffer_bytes = (uint32_t)cmd->data_bytes;
		memcpy(cmd->buffer, list, cmd->buffer_bytes);
	}
	if (scsi_cmd_execute(cmd))
		go_on(host);
}

/* key << 16 | asc << 8 | ascq, of either format; 0: GOOD. */
static uint32_t sense_of(const struct host *host)
{
	const uint8_t *sense = host->cmd.sense;

	if (host->cmd.status == SCSI_GOOD)
		return 0;
	assert(host->cmd.status == SCSI_CHECK_CONDITION);
	if (sense[0] == 0x72)
		return (uint32_t)sense[1] << 16 | get_be16(sense + 2);
	assert((sense[0] & 0x7F) == 0x70 && host->cmd.sense_bytes == SCSI_FIXED_SENSE_BYTES);
	return (uint32_t)sense[2] << 16 | get_be16(sense + 12);
}

LOOP_ONLY static void start_select(struct host *host, bool on, bool save,
				   void (*next)(struct host *host))
{
	const uint8_t list[STEP_BYTES] = {[4] = 0x0A, 10, byte_2(on), 0x10, byte_4(on),
					  0,          0,  0,          0xFF, 0xFF};
	const uint8_t cdb[SCSI_CDB_MAX] = {0x15, save ? 0x11 : 0x10, 0, 0, STEP_BYTES};

	start(host, cdb, list, next);
}

LOOP_ONLY static void start_sense(struct host *host, void (*next)(struct host *host))
{
	static const uint8_t cdb[SCSI_CDB_MAX] = {0x1A, 0x08, 0x0A, 0, 255};

	start(host, cdb, NULL, next);
}

/* What MODE SENSE has answered: never a mixture. */
static bool sensed(const struct host *host)
{
	bool on = host->buffer[4 + 2] == byte_2(true);

	assert(host->cmd.data_bytes == STEP_BYTES);
	assert(host->buffer[4 + 2] == byte_2(on) && host->buffer[4 + 4] == byte_4(on));
	assert(host->buffer[2] == (on ? 0x90 : 0x10));
	return on;
}

/* -- At random -- */

static void on_all_at_rest(struct loop_msg *msg);

/* The last one to call it goes on with `next` on the control loop. */
static void rest(struct stage *stage)
{
	if (atomic_fetch_sub(&stage->pending, 1) == 1)
		loop_post(stage->control, &stage->over, on_all_at_rest);
}

static void on_random_done(struct host *host);

LOOP_ONLY static void start_random(struct host *host)
{
	static const uint8_t write[SCSI_CDB_MAX] = {0x2A, [8] = 8};
	static const uint8_t illegal[SCSI_CDB_MAX] = {0x28, 0xE0, [8] = 8};

	switch (roll(host, 7)) {
	case 6:
		scsi_target_reset(host->stage->target, NULL, host->loop);
		FALLTHROUGH;
	case 0:
		start_select(host, roll(host, 2) == 0, roll(host, 8) == 0, on_random_done);
		break;
	case 1:
		start(host, illegal, NULL, on_random_done);
		break;
	case 2:
	case 3:
		start_sense(host, on_random_done);
		break;
	default:
		start(host, write, NULL, on_random_done);
	}
}

static void check_random(struct host *host)
{
	uint32_t sense = sense_of(host);

	if (sense == 0x062A01) {
		host->attentions++;
	} else if (host->cmd.cdb[0] == 0x28) {
		assert(sense == 0x052400);
	} else if (host->cmd.cdb[0] == 0x2A) {
		assert(sense == 0 || sense == 0x072702);
	} else {
		assert(sense == 0);
	}
	if (sense == 0 && host->cmd.cdb[0] == 0x1A)
		(void)sensed(host);
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

/* -- In step -- */

static const uint8_t test_unit_ready[SCSI_CDB_MAX];

static void on_clean(struct host *host)
{
	loop_role_assume();
	if (sense_of(host) == 0) {
		rest(host->stage);
		return;
	}
	start(host, test_unit_ready, NULL, on_clean);
}

static void on_step_sensed(struct host *host)
{
	struct stage *stage = host->stage;

	assert(sense_of(host) == 0 && sensed(host) == (stage->round % 2 == 0));
	rest(stage);
}

static void on_step_told(struct host *host)
{
	struct stage *stage = host->stage;
	bool asked = host == &stage->hosts[stage->round % HOSTS];

	loop_role_assume();
	assert(sense_of(host) == (asked ? 0 : 0x062A01));
	host->attentions += !asked;
	start_sense(host, on_step_sensed);
}

static void begin_check(struct loop_msg *msg)
{
	loop_role_assume();
	start(CONTAINER_OF(msg, struct host, msg), test_unit_ready, NULL, on_step_told);
}

static void on_step_selected(struct host *host)
{
	struct stage *stage = host->stage;

	assert(sense_of(host) == 0);
	atomic_store(&stage->pending, HOSTS);
	for (unsigned i = 0; i < HOSTS; i++)
		loop_post(stage->hosts[i].loop, &stage->hosts[i].msg, begin_check);
}

static void begin_step(struct loop_msg *msg)
{
	struct host *host = CONTAINER_OF(msg, struct host, msg);
	unsigned round = host->stage->round;

	loop_role_assume();
	start_select(host, round % 2 == 0, round % 16 == 0, on_step_selected);
}

/* -- The order of things -- */

static void begin_random(struct loop_msg *msg)
{
	loop_role_assume();
	start_random(CONTAINER_OF(msg, struct host, msg));
}

static void begin_clean(struct loop_msg *msg)
{
	loop_role_assume();
	start(CONTAINER_OF(msg, struct host, msg), test_unit_ready, NULL, on_clean);
}

/* Of one host: the first step is to be a change. */
static void on_defaults(struct host *host)
{
	loop_role_assume();
	if (sense_of(host) == 0)
		rest(host->stage);
	else
		start_select(host, false, false, on_defaults);
}

static void begin_defaults(struct loop_msg *msg)
{
	struct host *host = CONTAINER_OF(msg, struct host, msg);

	loop_role_assume();
	if (host == &host->stage->hosts[0])
		start_select(host, false, false, on_defaults);
	else
		rest(host->stage);
}

static loop_msg_fn *const phases[] = {begin_clean, begin_random, begin_defaults, begin_clean};

static void begin_phase(struct stage *stage)
{
	atomic_store(&stage->pending, HOSTS);
	for (unsigned i = 0; i < HOSTS; i++)
		loop_post(stage->hosts[i].loop, &stage->hosts[i].msg, phases[stage->phase]);
}

/* One phase after the other, and then step by step. */
static void on_all_at_rest(struct loop_msg *msg)
{
	struct stage *stage = CONTAINER_OF(msg, struct stage, over);
	struct host *host;

	if (++stage->phase < ARRAY_SIZE(phases)) {
		begin_phase(stage);
		return;
	}
	stage->round = stage->phase - (unsigned)ARRAY_SIZE(phases);
	if (stage->round == ROUNDS) {
		loop_stop(stage->control);
		return;
	}
	host = &stage->hosts[stage->round % HOSTS];
	loop_post(host->loop, &host->msg, begin_step);
}

/* -- Up and down -- */

static void check(int res)
{
	if (res != 0) {
		(void)fprintf(stderr, "scsi_modes: %s\n", strerrordesc_np(-res));
		exit(1);
	}
}

static struct loop *make_loop(enum loop_engine engine, unsigned index)
{
	const struct loop_config config = {
		.name = "modes", .engine = engine, .index = index, .buffer_count = 2 * HOSTS};
	struct loop *loop;

	check(loop_create(&config, &loop));
	return loop;
}

static void make_host(struct stage *stage, unsigned i, uint64_t seed, unsigned commands)
{
	struct host *host = &stage->hosts[i];
	const struct scsi_nexus_spec spec = {.target = stage->target,
					     .initiator_port_name =
						     "iqn.2026-11.io.ringsan:h,i,0x1",
					     .relative_target_port = 1,
					     .portal_group_tag = 1};

	loop_role_assume();
	host->stage = stage;
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
	const struct lun_spec lun = {.name = "modes",
				     .type = "null",
				     .size_bytes = 1 << 20,
				     .write_cache = true,
				     .state_dir = stage->state_dir};
	struct scsi_lu_spec lu = {.state_dir = stage->state_dir};

	memset(stage, 0, sizeof(*stage));
	(void)snprintf(stage->state_dir, sizeof(stage->state_dir), "/tmp/ringsan-modes-XXXXXX");
	assert(mkdtemp(stage->state_dir) != NULL);
	stage->group.count = LOOPS;
	for (unsigned i = 0; i < LOOPS; i++)
		stage->group.loops[i] = make_loop(engine, i);
	stage->control = make_loop(engine, LOOPS);
	check(lun_open(&lun, &stage->group, &stage->lun));
	lu.lun = stage->lun;
	check(scsi_target_create("iqn.2026-11.io.ringsan:modes", &stage->group, &stage->target));
	check(scsi_target_add_lu(stage->target, 0, &lu));
	for (unsigned i = 0; i < HOSTS; i++)
		make_host(stage, i, seed, commands);
}

static void run(struct stage *stage)
{
	for (unsigned i = 0; i < LOOPS; i++) {
		if (loop_start(stage->group.loops[i]) == 0)
			continue;
		printf("skipped, the engine is refused here\n");
		(void)rmdir(stage->state_dir);
		_exit(0);
	}
	begin_phase(stage);
	check(loop_run(stage->control));
	for (unsigned i = 0; i < LOOPS; i++) {
		loop_stop(stage->group.loops[i]);
		loop_join(stage->group.loops[i]);
	}
}

static void clear(struct stage *stage)
{
	char command[128];

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
	(void)snprintf(command, sizeof(command), "rm -r '%s'", stage->state_dir);
	assert(system(command) == 0);
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
		printf("%s: seed %llu, %u commands each, %u steps, %u unit attentions\n",
		       loop_engine_name(stage.group.loops[0]), (unsigned long long)seed, commands,
		       ROUNDS, attentions);
		assert(attentions >= ROUNDS * (HOSTS - 1));
		clear(&stage);
	}
	return 0;
}
