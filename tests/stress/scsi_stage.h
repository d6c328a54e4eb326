/*
 * What stress programs of the device server share: loops, a null LUN behind one target, and actors,
 * each a nexus on its loop that sends one command after another. Not a program.
 *
 * An actor is its loop's. Whatever its command ends with, `next` runs in another turn.
 */
#ifndef TESTS_STRESS_SCSI_STAGE_H
#define TESTS_STRESS_SCSI_STAGE_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "target/scsi/scsi.h"

#define STAGE_LOOPS 3u
#define STAGE_BUFFERS 12u

struct actor {
	struct loop *loop;
	struct scsi_nexus *nexus;
	struct scsi_cmd cmd;
	struct scsi_piece piece;
	struct loop_msg msg;
	void (*next)(struct actor *actor); /* What comes when the command has ended. */
	uint8_t *buffer;                   /* SCSI_PARAM_MAX bytes. */
	uint64_t random;
};

struct stage {
	const char *name; /* Of the program. */
	struct loop_group group;
	struct loop *control;
	struct lun *lun;
	struct scsi_target *target;
	struct loop_msg over;
	loop_msg_fn *at_rest; /* On the control loop, when all that were pending rest. */
	atomic_uint pending;
	char state_dir[64];
};

static inline uint64_t stage_roll(uint64_t *random, uint64_t below)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random % below;
}

/* -- A command from begin to end -- */

static inline void actor_on_again(struct loop_msg *msg)
{
	struct actor *actor = CONTAINER_OF(msg, struct actor, msg);

	loop_role_assume();
	actor->next(actor);
}

static inline void actor_go_on(struct actor *actor)
{
	loop_post(actor->loop, &actor->msg, actor_on_again);
}

static inline void actor_on_cmd_done(struct scsi_cmd *cmd)
{
	actor_go_on(CONTAINER_OF(cmd, struct actor, cmd));
}

static inline void actor_on_piece_done(struct scsi_piece *piece)
{
	actor_go_on(CONTAINER_OF(piece, struct actor, piece));
}

/* Data of a medium command come a turn later. */
static inline void actor_on_data(struct loop_msg *msg)
{
	struct actor *actor = CONTAINER_OF(msg, struct actor, msg);

	loop_role_assume();
	actor->piece.cmd = &actor->cmd;
	actor->piece.offset_bytes = 0;
	actor->piece.length_bytes = (uint32_t)actor->cmd.data_bytes;
	actor->piece.buffer = actor->buffer;
	actor->piece.done = actor_on_piece_done;
	scsi_piece_submit(&actor->piece);
}

/* A command with SCSI_CDB_MAX bytes of CDB and, where it takes one, a parameter list. */
LOOP_ONLY static inline void actor_start(struct actor *actor, const uint8_t *cdb,
					 const uint8_t *list, void (*next)(struct actor *actor))
{
	struct scsi_cmd *cmd = &actor->cmd;

	actor->next = next;
	scsi_cmd_init(cmd);
	cmd->nexus = actor->nexus;
	cmd->loop = actor->loop;
	cmd->buffer = actor->buffer;
	cmd->done = actor_on_cmd_done;
	memset(cmd->lun_field, 0, sizeof(cmd->lun_field));
	memcpy(cmd->cdb, cdb, SCSI_CDB_MAX);
	if (!scsi_cmd_prepare(cmd)) {
		actor_go_on(actor);
		return;
	}
	if (cmd->data == SCSI_DATA_OUT_MEDIUM) {
		loop_post(actor->loop, &actor->msg, actor_on_data);
		return;
	}
	if (cmd->data == SCSI_DATA_OUT_PARAM) {
		assert(list != NULL);
		cmd->buffer_bytes = (uint32_t)cmd->data_bytes;
		memcpy(cmd->buffer, list, cmd->buffer_bytes);
	}
	if (scsi_cmd_execute(cmd))
		actor_go_on(actor);
}

/* key << 16 | asc << 8 | ascq, of either format; 0: GOOD. */
static inline uint32_t actor_sense(const struct actor *actor)
{
	const uint8_t *sense = actor->cmd.sense;

	if (actor->cmd.status == SCSI_GOOD)
		return 0;
	assert(actor->cmd.status == SCSI_CHECK_CONDITION);
	if (sense[0] == 0x72)
		return (uint32_t)sense[1] << 16 | get_be16(sense + 2);
	assert((sense[0] & 0x7F) == 0x70 && actor->cmd.sense_bytes == SCSI_FIXED_SENSE_BYTES);
	return (uint32_t)sense[2] << 16 | get_be16(sense + 12);
}

/* Of which a message to its loop came. */
static inline struct actor *actor_of_msg(struct loop_msg *msg)
{
	return CONTAINER_OF(msg, struct actor, msg);
}

/* The last of those that are pending goes on with at_rest. */
static inline void stage_rest(struct stage *stage)
{
	if (atomic_fetch_sub(&stage->pending, 1) == 1)
		loop_post(stage->control, &stage->over, stage->at_rest);
}

/* -- Up and down -- */

static inline void stage_check(const struct stage *stage, int res)
{
	if (res != 0) {
		(void)fprintf(stderr, "%s: %s\n", stage->name, strerrordesc_np(-res));
		exit(1);
	}
}

static inline struct loop *stage_loop(const struct stage *stage, enum loop_engine engine,
				      unsigned index)
{
	const struct loop_config config = {
		.name = "stage", .engine = engine, .index = index, .buffer_count = STAGE_BUFFERS};
	struct loop *loop;

	stage_check(stage, loop_create(&config, &loop));
	return loop;
}

/* Loops that do not run yet, and a target with logical unit 0. `stage` is zeroed. */
static inline void stage_make(struct stage *stage, const char *name, enum loop_engine engine)
{
	const struct lun_spec lun = {.name = name,
				     .type = "null",
				     .size_bytes = 1 << 20,
				     .write_cache = true,
				     .state_dir = stage->state_dir};
	struct scsi_lu_spec lu = {.state_dir = stage->state_dir};

	stage->name = name;
	(void)snprintf(stage->state_dir, sizeof(stage->state_dir), "/tmp/ringsan-stage-XXXXXX");
	assert(mkdtemp(stage->state_dir) != NULL);
	stage->group.count = STAGE_LOOPS;
	for (unsigned i = 0; i < STAGE_LOOPS; i++)
		stage->group.loops[i] = stage_loop(stage, engine, i);
	stage->control = stage_loop(stage, engine, STAGE_LOOPS);
	stage_check(stage, lun_open(&lun, &stage->group, &stage->lun));
	lu.lun = stage->lun;
	stage_check(stage, scsi_target_create("iqn.2026-11.io.ringsan:stage", &stage->group,
					      &stage->target));
	stage_check(stage, scsi_target_add_lu(stage->target, 0, &lu));
}

/* The index-th, on one loop after the other, through the target port `port`. */
static inline void stage_add(struct stage *stage, struct actor *actor, unsigned index,
			     uint16_t port, uint64_t seed)
{
	const struct scsi_nexus_spec spec = {.target = stage->target,
					     .initiator_port_name =
						     "iqn.2026-11.io.ringsan:h,i,0x1",
					     .relative_target_port = port,
					     .portal_group_tag = port};

	loop_role_assume();
	actor->loop = stage->group.loops[index % STAGE_LOOPS];
	actor->random = seed * 2654435761u + index + 1;
	actor->buffer = aligned_alloc(4096, SCSI_PARAM_MAX);
	assert(actor->buffer != NULL);
	memset(actor->buffer, 0, SCSI_PARAM_MAX);
	stage_check(stage, scsi_nexus_create(&spec, &actor->nexus));
	scsi_nexus_attach(actor->nexus, actor->loop);
}

static inline void stage_remove_state(const struct stage *stage)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -r '%s'", stage->state_dir);
	assert(system(command) == 0);
}

/* Until the control loop is stopped. An engine that is refused here ends the program. */
static inline void stage_run(struct stage *stage)
{
	for (unsigned i = 0; i < STAGE_LOOPS; i++) {
		if (loop_start(stage->group.loops[i]) == 0)
			continue;
		printf("skipped, the engine is refused here\n");
		stage_remove_state(stage);
		_exit(0);
	}
	stage_check(stage, loop_run(stage->control));
	for (unsigned i = 0; i < STAGE_LOOPS; i++) {
		loop_stop(stage->group.loops[i]);
		loop_join(stage->group.loops[i]);
	}
}

static inline void stage_drop(struct actor *actor)
{
	loop_role_assume();
	scsi_nexus_detach(actor->nexus);
	scsi_nexus_free(actor->nexus);
	free(actor->buffer);
}

/* All actors are gone. */
static inline void stage_clear(struct stage *stage)
{
	scsi_target_free(stage->target);
	lun_close(stage->lun);
	for (unsigned i = 0; i < STAGE_LOOPS; i++)
		loop_free(stage->group.loops[i], false);
	loop_free(stage->control, false);
	stage_remove_state(stage);
}

#endif
