/*
 * Switches on real loops: one at a time for each logical unit, each told once to every nexus on its
 * own loop, what `begin` made seen there, also after waiting for something and beside switches that
 * are refused.
 */
#include "target/scsi/switch.h"

#include <time.h>

#include "tests/unit/base_testing.h"

#include "lun/space.h"
#include "target/scsi/device.h"

#define LOOPS 3u
#define SWITCHES 12u

struct lun;

/* No I/O here: a logical unit needs a LUN's limits only. */
const struct lun_limits *lun_limits(const struct lun *lun UNUSED)
{
	static const struct lun_limits limits = {.logical_block_bytes = 512};

	return &limits;
}

const struct lun_state *lun_state(const struct lun *lun UNUSED)
{
	static const struct lun_state state = {.online = true};

	return &state;
}

bool lun_space(const struct lun *lun UNUSED, struct lun_space *out)
{
	*out = (struct lun_space){0};
	return false;
}

void lun_io_submit(struct lun *lun UNUSED, struct loop *loop UNUSED, struct lun_io *io UNUSED)
{
	abort();
}

bool lun_is_overrun(const struct lun *lun UNUSED)
{
	return false;
}

const struct lun_identity *lun_identity(const struct lun *lun UNUSED)
{
	static const struct lun_identity identity;

	return &identity;
}

const char *lun_name(const struct lun *lun UNUSED)
{
	return "none";
}

struct world {
	struct loop_group group;
	struct scsi_target *target;
	struct scsi_nexus *nexuses[LOOPS];
	atomic_uint value;   /* What is published. */
	atomic_uint running; /* Switches between begin and done. */
	atomic_uint left;
	atomic_uint told[LOOPS]; /* By loop. */
	struct loop *control;
};

static struct world world;

struct change {
	struct scsi_switch change;
	struct loop_op call; /* SCSI_SWITCH_LATER */
	struct loop_msg start;
	enum scsi_switch_step step;
	bool later;
	unsigned value;
};

static void on_all_done(struct loop_msg *msg UNUSED)
{
	loop_stop(world.control);
}

static struct loop_msg all_done;

static int nap(struct loop_op *op UNUSED)
{
	struct timespec time = {.tv_nsec = 2000000};

	return nanosleep(&time, NULL);
}

static enum scsi_switch_step publish(struct change *change)
{
	if (change->step == SCSI_SWITCH_PUBLISH)
		change->value = atomic_fetch_add(&world.value, 1) + 1;
	return change->step;
}

static void on_nap_over(struct loop_op *op, int res)
{
	struct change *change = CONTAINER_OF(op, struct change, call);

	loop_role_assume();
	cr_assert_eq(res, 0);
	scsi_switch_go_on(&change->change, publish(change));
}

static enum scsi_switch_step begin(struct scsi_switch *change)
{
	struct change *mine = CONTAINER_OF(change, struct change, change);

	loop_role_assume();
	cr_assert(loop_is_current(change->loop));
	cr_assert_eq(atomic_fetch_add(&world.running, 1), 0, "one at a time");
	if (!mine->later)
		return publish(mine);
	loop_call(change->loop, &mine->call, nap, on_nap_over);
	return SCSI_SWITCH_LATER;
}

static void tell(struct scsi_switch *change, struct scsi_nexus *nexus)
{
	const struct change *mine = CONTAINER_OF(change, struct change, change);

	for (unsigned i = 0; i < LOOPS; i++) {
		if (nexus != world.nexuses[i])
			continue;
		cr_assert(loop_is_current(world.group.loops[i]));
		cr_assert_eq(atomic_load(&world.value), mine->value);
		atomic_fetch_add(&world.told[i], 1);
	}
}

static void done(struct scsi_switch *change)
{
	cr_assert(loop_is_current(change->loop));
	atomic_fetch_sub(&world.running, 1);
	if (atomic_fetch_sub(&world.left, 1) == 1)
		loop_post(world.control, &all_done, on_all_done);
}

static void on_start(struct loop_msg *msg)
{
	struct change *change = CONTAINER_OF(msg, struct change, start);

	loop_role_assume();
	cr_assert_eq(scsi_switch_start(&change->change), 0);
}

struct attach {
	struct loop_msg msg;
	unsigned at;
	bool detach;
};

static void on_attach(struct loop_msg *msg)
{
	struct attach *attach = CONTAINER_OF(msg, struct attach, msg);

	loop_role_assume();
	if (attach->detach)
		scsi_nexus_detach(world.nexuses[attach->at]);
	else
		scsi_nexus_attach(world.nexuses[attach->at], world.group.loops[attach->at]);
	if (atomic_fetch_sub(&world.left, 1) == 1)
		loop_post(world.control, &all_done, on_all_done);
}

/* On every loop, and wait. */
LOOP_ONLY static void attach_all(bool detach)
{
	struct attach attach[LOOPS];

	world.left = LOOPS;
	for (unsigned i = 0; i < LOOPS; i++) {
		attach[i] = (struct attach){.at = i, .detach = detach};
		loop_post(world.group.loops[i], &attach[i].msg, on_attach);
	}
	test_run(world.control);
}

static void world_init(enum loop_engine engine)
{
	struct scsi_lu_spec lu = {0};
	struct scsi_nexus_spec nexus = {.initiator_port_name = "iqn.x,i,0x1"};

	memset(&world, 0, sizeof(world));
	cr_assert_eq(scsi_target_create("iqn.y", &world.group, &world.target), 0);
	cr_assert_eq(scsi_target_add_lu(world.target, 0, &lu), 0);
	nexus.target = world.target;
	world.group.count = LOOPS;
	for (unsigned i = 0; i < LOOPS; i++) {
		struct loop_config config = {.name = "member", .engine = engine, .index = i};

		cr_assert_eq(scsi_nexus_create(&nexus, &world.nexuses[i]), 0);
		cr_assert_eq(loop_create(&config, &world.group.loops[i]), 0);
		cr_assert_eq(loop_start(world.group.loops[i]), 0);
	}
}

static void world_clear(void)
{
	for (unsigned i = 0; i < LOOPS; i++) {
		loop_stop(world.group.loops[i]);
		loop_join(world.group.loops[i]);
		loop_free(world.group.loops[i], false);
		scsi_nexus_free(world.nexuses[i]);
	}
	scsi_target_free(world.target);
}

/* Of all: every third is refused, every fourth waits first. */
LOOP_ONLY static void start_all(struct change *changes)
{
	world.left = SWITCHES;
	for (unsigned i = 0; i < SWITCHES; i++) {
		changes[i] = (struct change){
			.change = {.lu = scsi_target_find_lu(world.target, 0),
				   .loop = world.group.loops[i % LOOPS],
				   .begin = begin,
				   .each = tell,
				   .done = done},
			.step = i % 3 == 1 ? SCSI_SWITCH_END : SCSI_SWITCH_PUBLISH,
			.later = i % 4 == 2,
		};
		loop_post(changes[i].change.loop, &changes[i].start, on_start);
	}
}

TEST_ON_ENGINES(scsi_switch, one_at_a_time_told_everywhere)
{
	static struct change changes[SWITCHES];
	unsigned published = SWITCHES - SWITCHES / 3;

	world_init(engine);
	world.control = test_loop(engine);
	attach_all(false);
	world.control = test_loop(engine);
	start_all(changes);
	test_run(world.control);
	cr_expect_eq(world.value, published);
	for (unsigned i = 0; i < LOOPS; i++)
		cr_expect_eq(world.told[i], published);
	world.control = test_loop(engine);
	attach_all(true);
	world_clear();
}
