/*
 * Mode parameters under fire: hosts on several loops send MODE SELECT, MODE SENSE, commands that
 * fail and writes to one logical unit. Every image that is read is one that was sent (its two bits
 * are always sent equal), sense data have one of the two formats, and a write ends in GOOD or for
 * SWP. Then in step: after the answer to a MODE SELECT every host on every loop has exactly one
 * unit attention and sees the new values, and no other. With ThreadSanitizer or not; both engines.
 *
 * usage: scsi_modes [seed [commands]]. Exit 0 and a line for each engine, or an assertion.
 */
#include "tests/stress/scsi_stage.h"

#define HOSTS 6u
#define ROUNDS 200u
#define STEP_BYTES 16u

struct host {
	struct actor actor;
	struct show *show;
	unsigned left;
	unsigned attentions;
};

struct show {
	struct stage stage;
	struct host hosts[HOSTS];
	unsigned phase;
	unsigned round;
};

static struct host *host_of(struct actor *actor)
{
	return CONTAINER_OF(actor, struct host, actor);
}

/* Of which a message to its loop came. */
static struct host *host_of_msg(struct loop_msg *msg)
{
	return host_of(actor_of_msg(msg));
}

/* The values of a round: D_SENSE and SWP, both or none. */
static uint8_t byte_2(bool on)
{
	return on ? 0x26 : 0x22;
}

static uint8_t byte_4(bool on)
{
	return on ? 0x08 : 0x00;
}

LOOP_ONLY static void start_select(struct host *host, bool on, bool save,
				   void (*next)(struct actor *actor))
{
	const uint8_t list[STEP_BYTES] = {[4] = 0x0A, 10, byte_2(on), 0x10, byte_4(on),
					  0,          0,  0,          0xFF, 0xFF};
	const uint8_t cdb[SCSI_CDB_MAX] = {0x15, save ? 0x11 : 0x10, 0, 0, STEP_BYTES};

	actor_start(&host->actor, cdb, list, next);
}

LOOP_ONLY static void start_sense(struct host *host, void (*next)(struct actor *actor))
{
	static const uint8_t cdb[SCSI_CDB_MAX] = {0x1A, 0x08, 0x0A, 0, 255};

	actor_start(&host->actor, cdb, NULL, next);
}

/* What MODE SENSE has answered: never a mixture. */
static bool sensed(const struct host *host)
{
	bool on = host->actor.buffer[4 + 2] == byte_2(true);

	assert(host->actor.cmd.data_bytes == STEP_BYTES);
	assert(host->actor.buffer[4 + 2] == byte_2(on) && host->actor.buffer[4 + 4] == byte_4(on));
	assert(host->actor.buffer[2] == (on ? 0x90 : 0x10));
	return on;
}

/* -- At random -- */

static void on_random_done(struct actor *actor);

LOOP_ONLY static void start_random(struct host *host)
{
	static const uint8_t write[SCSI_CDB_MAX] = {0x2A, [8] = 8};
	static const uint8_t illegal[SCSI_CDB_MAX] = {0x28, 0xE0, [8] = 8};

	switch (stage_roll(&host->actor.random, 7)) {
	case 6:
		scsi_target_reset(host->show->stage.target, NULL, host->actor.loop);
		FALLTHROUGH;
	case 0:
		start_select(host, stage_roll(&host->actor.random, 2) == 0,
			     stage_roll(&host->actor.random, 8) == 0, on_random_done);
		break;
	case 1:
		actor_start(&host->actor, illegal, NULL, on_random_done);
		break;
	case 2:
	case 3:
		start_sense(host, on_random_done);
		break;
	default:
		actor_start(&host->actor, write, NULL, on_random_done);
	}
}

static void check_random(struct host *host)
{
	uint32_t sense = actor_sense(&host->actor);

	if (sense == 0x062A01) {
		host->attentions++;
	} else if (host->actor.cmd.cdb[0] == 0x28) {
		assert(sense == 0x052400);
	} else if (host->actor.cmd.cdb[0] == 0x2A) {
		assert(sense == 0 || sense == 0x072702);
	} else {
		assert(sense == 0);
	}
	if (sense == 0 && host->actor.cmd.cdb[0] == 0x1A)
		(void)sensed(host);
}

static void on_random_done(struct actor *actor)
{
	struct host *host = host_of(actor);

	loop_role_assume();
	check_random(host);
	if (host->left-- == 0) {
		stage_rest(&host->show->stage);
		return;
	}
	start_random(host);
}

/* -- In step -- */

static const uint8_t test_unit_ready[SCSI_CDB_MAX];

static void on_clean(struct actor *actor)
{
	struct host *host = host_of(actor);

	loop_role_assume();
	if (actor_sense(&host->actor) == 0) {
		stage_rest(&host->show->stage);
		return;
	}
	actor_start(&host->actor, test_unit_ready, NULL, on_clean);
}

static void on_step_sensed(struct actor *actor)
{
	struct host *host = host_of(actor);
	struct show *show = host->show;

	assert(actor_sense(&host->actor) == 0 && sensed(host) == (show->round % 2 == 0));
	stage_rest(&show->stage);
}

static void on_step_told(struct actor *actor)
{
	struct host *host = host_of(actor);
	struct show *show = host->show;
	bool asked = host == &show->hosts[show->round % HOSTS];

	loop_role_assume();
	assert(actor_sense(&host->actor) == (asked ? 0 : 0x062A01));
	host->attentions += !asked;
	start_sense(host, on_step_sensed);
}

static void begin_check(struct loop_msg *msg)
{
	loop_role_assume();
	actor_start(&host_of_msg(msg)->actor, test_unit_ready, NULL, on_step_told);
}

static void on_step_selected(struct actor *actor)
{
	struct host *host = host_of(actor);
	struct show *show = host->show;

	assert(actor_sense(&host->actor) == 0);
	atomic_store(&show->stage.pending, HOSTS);
	for (unsigned i = 0; i < HOSTS; i++)
		loop_post(show->hosts[i].actor.loop, &show->hosts[i].actor.msg, begin_check);
}

static void begin_step(struct loop_msg *msg)
{
	struct host *host = host_of_msg(msg);
	unsigned round = host->show->round;

	loop_role_assume();
	start_select(host, round % 2 == 0, round % 16 == 0, on_step_selected);
}

/* -- The order of things -- */

static void begin_random(struct loop_msg *msg)
{
	loop_role_assume();
	start_random(host_of_msg(msg));
}

static void begin_clean(struct loop_msg *msg)
{
	loop_role_assume();
	actor_start(&host_of_msg(msg)->actor, test_unit_ready, NULL, on_clean);
}

/* Of one host: the first step is to be a change. */
static void on_defaults(struct actor *actor)
{
	struct host *host = host_of(actor);

	loop_role_assume();
	if (actor_sense(&host->actor) == 0)
		stage_rest(&host->show->stage);
	else
		start_select(host, false, false, on_defaults);
}

static void begin_defaults(struct loop_msg *msg)
{
	struct host *host = host_of_msg(msg);

	loop_role_assume();
	if (host == &host->show->hosts[0])
		start_select(host, false, false, on_defaults);
	else
		stage_rest(&host->show->stage);
}

static loop_msg_fn *const phases[] = {begin_clean, begin_random, begin_defaults, begin_clean};

static void begin_phase(struct show *show)
{
	atomic_store(&show->stage.pending, HOSTS);
	for (unsigned i = 0; i < HOSTS; i++)
		loop_post(show->hosts[i].actor.loop, &show->hosts[i].actor.msg,
			  phases[show->phase]);
}

/* One phase after the other, and then step by step. */
static void on_all_at_rest(struct loop_msg *msg)
{
	struct show *show = CONTAINER_OF(msg, struct show, stage.over);
	struct host *host;

	if (++show->phase < ARRAY_SIZE(phases)) {
		begin_phase(show);
		return;
	}
	show->round = show->phase - (unsigned)ARRAY_SIZE(phases);
	if (show->round == ROUNDS) {
		loop_stop(show->stage.control);
		return;
	}
	host = &show->hosts[show->round % HOSTS];
	loop_post(host->actor.loop, &host->actor.msg, begin_step);
}

int main(int argc, char **argv)
{
	static const enum loop_engine engines[] = {LOOP_ENGINE_AIO, LOOP_ENGINE_URING};
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)time(NULL);
	unsigned commands = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 2000;
	static struct show show;

	for (size_t i = 0; i < ARRAY_SIZE(engines); i++) {
		unsigned attentions = 0;

		memset(&show, 0, sizeof(show));
		show.stage.at_rest = on_all_at_rest;
		stage_make(&show.stage, "scsi_modes", engines[i]);
		for (unsigned k = 0; k < HOSTS; k++) {
			show.hosts[k].show = &show;
			show.hosts[k].left = commands;
			stage_add(&show.stage, &show.hosts[k].actor, k, 1, seed);
		}
		begin_phase(&show);
		stage_run(&show.stage);
		for (unsigned k = 0; k < HOSTS; k++) {
			attentions += show.hosts[k].attentions;
			stage_drop(&show.hosts[k].actor);
		}
		printf("%s: seed %llu, %u commands each, %u steps, %u unit attentions\n",
		       loop_engine_name(show.stage.group.loops[0]), (unsigned long long)seed,
		       commands, ROUNDS, attentions);
		assert(attentions >= ROUNDS * (HOSTS - 1));
		stage_clear(&show.stage);
	}
	return 0;
}
