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
#include "tests/stress/scsi_stage.h"

#include "target/scsi/alua.h"

#define HOSTS 6u
#define GROUPS 3u
#define STEPS 100u
#define CHANGED 0x062A06u
#define POWER_ON 0x062900u

struct host {
	struct actor actor;
	struct show *show;
	uint16_t tag;
	unsigned left;
	unsigned attentions;
	uint32_t ready; /* What TEST UNIT READY said last; valid since the last unit attention. */
	bool ready_known;
};

struct show {
	struct stage stage;
	struct loop_msg begin;
	struct host hosts[HOSTS];
	struct scsi_access_change change;
	uint64_t random;
	unsigned changes;
	unsigned step;
	bool in_step;
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

static const uint8_t test_unit_ready[SCSI_CDB_MAX];

static bool sets_states(const struct host *host)
{
	return host == &host->show->hosts[0] || host == &host->show->hosts[1];
}

/* -- At random -- */

static void on_random_done(struct actor *actor);

/* Groups 1 and 2, both to one state of the four that a host can ask for. */
LOOP_ONLY static void set_both(struct host *host)
{
	static const uint8_t cdb[SCSI_CDB_MAX] = {0xA4, 0x0A, [9] = 12};
	uint8_t state = (uint8_t)stage_roll(&host->actor.random, 4);
	const uint8_t list[12] = {[4] = state, [7] = 1, [8] = state, [11] = 2};

	actor_start(&host->actor, cdb, list, on_random_done);
}

LOOP_ONLY static void start_random(struct host *host)
{
	static const uint8_t write[SCSI_CDB_MAX] = {0x2A, [8] = 8};
	static const uint8_t report[SCSI_CDB_MAX] = {0xA3, 0x2A, [9] = 255};
	uint64_t what = stage_roll(&host->actor.random, 6);

	if (what == 0) {
		actor_start(&host->actor, report, NULL, on_random_done);
	} else if (what == 1 && sets_states(host)) {
		set_both(host);
	} else if (what < 4) {
		actor_start(&host->actor, write, NULL, on_random_done);
	} else {
		actor_start(&host->actor, test_unit_ready, NULL, on_random_done);
	}
}

/* Groups 1 and 2 change together only. */
static void check_report(const struct host *host)
{
	const uint8_t *groups = host->actor.buffer + 8;

	assert(host->actor.cmd.data_bytes == 8 + GROUPS * 12);
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
	uint32_t sense = actor_sense(&host->actor);

	if (sense == CHANGED || sense == POWER_ON) {
		host->attentions += sense == CHANGED;
		host->ready_known = false;
	} else if (host->actor.cmd.cdb[0] == 0x00) {
		check_ready(host, sense);
	} else if (host->actor.cmd.cdb[0] == 0xA3) {
		assert(sense == 0);
		check_report(host);
	} else {
		assert(is_access_answer(sense));
	}
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

/* The administrator goes on as long as the hosts do; his share of the random phase. */
static void on_random_change(struct scsi_access_change *change)
{
	struct show *show = CONTAINER_OF(change, struct show, change);
	int res;

	loop_role_assume();
	assert(loop_is_current(show->stage.control));
	show->changes += change->changed;
	if (atomic_load(&show->stage.pending) <= 1) {
		stage_rest(&show->stage);
		return;
	}
	change->state = states[stage_roll(&show->random, ARRAY_SIZE(states))];
	res = scsi_access_change_start(change);
	assert(res == 0);
}

/* -- In step -- */

static void on_clean(struct actor *actor)
{
	struct host *host = host_of(actor);

	loop_role_assume();
	if (actor_sense(&host->actor) >> 16 != 6)
		stage_rest(&host->show->stage);
	else
		actor_start(&host->actor, test_unit_ready, NULL, on_clean);
}

static void begin_clean(struct loop_msg *msg)
{
	loop_role_assume();
	actor_start(&host_of_msg(msg)->actor, test_unit_ready, NULL, on_clean);
}

static void on_step_seen(struct actor *actor)
{
	struct host *host = host_of(actor);
	const struct show *show = host->show;

	if (host->tag == show->change.tag)
		assert(actor_sense(&host->actor) == answer_of(show->change.state));
	else
		assert(is_access_answer(actor_sense(&host->actor)));
	stage_rest(&host->show->stage);
}

static void on_step_told(struct actor *actor)
{
	struct host *host = host_of(actor);

	loop_role_assume();
	assert(actor_sense(&host->actor) == CHANGED);
	host->attentions++;
	actor_start(&host->actor, test_unit_ready, NULL, on_step_seen);
}

static void begin_check(struct loop_msg *msg)
{
	loop_role_assume();
	actor_start(&host_of_msg(msg)->actor, test_unit_ready, NULL, on_step_told);
}

static void all_hosts(struct show *show, loop_msg_fn *fn)
{
	atomic_store(&show->stage.pending, HOSTS);
	for (unsigned i = 0; i < HOSTS; i++)
		loop_post(show->hosts[i].actor.loop, &show->hosts[i].actor.msg, fn);
}

static void on_step_changed(struct scsi_access_change *change)
{
	struct show *show = CONTAINER_OF(change, struct show, change);

	assert(change->changed);
	all_hosts(show, begin_check);
}

/* To another state than it has. */
LOOP_ONLY static void begin_step(struct show *show)
{
	struct scsi_group_view view;
	int res;

	show->change.tag = (uint16_t)(1 + show->step % GROUPS);
	show->change.done = on_step_changed;
	scsi_target_group(show->stage.target, show->step % GROUPS, &view);
	do {
		show->change.state = states[stage_roll(&show->random, ARRAY_SIZE(states))];
	} while (show->change.state == view.state);
	res = scsi_access_change_start(&show->change);
	assert(res == 0);
}

/* -- The order of things: random, clean, then step by step -- */

static void on_all_at_rest(struct loop_msg *msg)
{
	struct show *show = CONTAINER_OF(msg, struct show, stage.over);

	loop_role_assume();
	if (!show->in_step) {
		show->in_step = true;
		all_hosts(show, begin_clean);
	} else if (show->step++ < STEPS) {
		begin_step(show);
	} else {
		loop_stop(show->stage.control);
	}
}

static void begin_random(struct loop_msg *msg)
{
	loop_role_assume();
	start_random(host_of_msg(msg));
}

/* Hosts and, as one more, the administrator. */
static void on_begin(struct loop_msg *msg)
{
	struct show *show = CONTAINER_OF(msg, struct show, begin);

	loop_role_assume();
	atomic_store(&show->stage.pending, HOSTS + 1);
	for (unsigned i = 0; i < HOSTS; i++)
		loop_post(show->hosts[i].actor.loop, &show->hosts[i].actor.msg, begin_random);
	show->change = (struct scsi_access_change){.target = show->stage.target,
						   .loop = show->stage.control,
						   .tag = 3,
						   .done = on_random_change};
	on_random_change(&show->change);
}

int main(int argc, char **argv)
{
	static const enum loop_engine engines[] = {LOOP_ENGINE_AIO, LOOP_ENGINE_URING};
	static const struct scsi_access_spec access = {.by_hosts = true};
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)time(NULL);
	unsigned commands = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 2000;
	static struct show show;

	for (size_t i = 0; i < ARRAY_SIZE(engines); i++) {
		unsigned attentions = 0;

		memset(&show, 0, sizeof(show));
		show.stage.at_rest = on_all_at_rest;
		show.random = seed + 1;
		stage_make(&show.stage, "scsi_paths", engines[i]);
		for (uint16_t tag = 1; tag <= GROUPS; tag++)
			stage_check(&show.stage, scsi_target_add_port(show.stage.target, tag));
		scsi_target_set_access(show.stage.target, &access);
		/* Each loop has two hosts, and each group: none on one loop only. */
		for (unsigned k = 0; k < HOSTS; k++) {
			show.hosts[k].show = &show;
			show.hosts[k].tag = (uint16_t)(1 + k / 2);
			show.hosts[k].left = commands;
			stage_add(&show.stage, &show.hosts[k].actor, k, show.hosts[k].tag, seed);
		}
		loop_post(show.stage.control, &show.begin, on_begin);
		stage_run(&show.stage);
		for (unsigned k = 0; k < HOSTS; k++) {
			attentions += show.hosts[k].attentions;
			stage_drop(&show.hosts[k].actor);
		}
		printf("%s: seed %llu, %u commands each, %u changes and %u steps, %u unit "
		       "attentions\n",
		       loop_engine_name(show.stage.group.loops[0]), (unsigned long long)seed,
		       commands, show.changes, STEPS, attentions);
		assert(attentions >= STEPS * HOSTS);
		stage_clear(&show.stage);
	}
	return 0;
}
