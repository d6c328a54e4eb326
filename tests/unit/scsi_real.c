/*
 * The device server on real LUNs and loops, both engines: commands end to end on a sparse file, and
 * an abort of what a disk holds. What the stand-in of scsi_fake.h takes for granted is true here.
 */
#include "tests/unit/lun_testing.h"

#include "base/bytes.h"
#include "target/scsi/scsi.h"

#define BLOCK 512u

/* One command at a time, on the first loop. */
struct host {
	struct rig rig;
	struct loop *loop;
	struct lun *lun;
	struct scsi_target *target;
	struct scsi_nexus *nexus;
};

struct job {
	struct scsi_cmd cmd;
	struct scsi_piece piece;
	struct host *host;
	uint8_t *buffer;
	uint32_t out_bytes;
	sem_t done;
};

static void host_init(struct host *host, struct lun *lun)
{
	struct scsi_lu_spec lu = {.lun = lun};
	struct scsi_nexus_spec nexus = {.initiator_port_name = "iqn.x,i,0x1"};

	host->lun = lun;
	host->loop = host->rig.group.loops[0];
	cr_assert(scsi_target_create("iqn.y", &host->rig.group, &host->target) == 0);
	cr_assert(scsi_target_add_lu(host->target, 0, &lu) == 0);
	nexus.target = host->target;
	cr_assert(scsi_nexus_create(&nexus, &host->nexus) == 0);
}

static void host_clear(struct host *host)
{
	scsi_nexus_free(host->nexus);
	rig_close(&host->rig, host->lun);
	scsi_target_free(host->target);
}

static void on_cmd_done(struct scsi_cmd *cmd)
{
	sem_post(&CONTAINER_OF(cmd, struct job, cmd)->done);
}

static void on_piece_done(struct scsi_piece *piece)
{
	sem_post(&CONTAINER_OF(piece, struct job, piece)->done);
}

static void call_start(void *arg)
{
	struct job *job = arg;
	struct scsi_cmd *cmd = &job->cmd;
	bool ended = false;

	loop_role_assume();
	if (!scsi_cmd_prepare(cmd)) {
		ended = true;
	} else if (cmd->data == SCSI_DATA_IN_MEDIUM || cmd->data == SCSI_DATA_OUT_MEDIUM) {
		/* As in a slot that was used before: only what the transport sets is known. */
		memset(&job->piece, 0xA5, sizeof(job->piece));
		job->piece.cmd = cmd;
		job->piece.offset_bytes = 0;
		job->piece.length_bytes = (uint32_t)cmd->data_bytes;
		job->piece.buffer = job->buffer;
		job->piece.done = on_piece_done;
		scsi_piece_submit(&job->piece);
	} else {
		ended = scsi_cmd_execute(cmd);
	}
	if (ended)
		sem_post(&job->done);
}

static void call_abort(void *arg)
{
	struct job *job = arg;

	loop_role_assume();
	scsi_cmd_abort(&job->cmd);
}

static struct job *job_new(struct host *host, const uint8_t *cdb, const uint8_t *out,
			   uint32_t out_bytes)
{
	struct job *job = calloc(1, sizeof(*job));

	job->host = host;
	job->buffer = aligned_alloc(4096, SCSI_PARAM_MAX);
	memset(job->buffer, 0xEE, SCSI_PARAM_MAX);
	if (out_bytes > 0)
		memcpy(job->buffer, out, out_bytes);
	sem_init(&job->done, 0, 0);
	memset(&job->cmd, 0xA5, sizeof(job->cmd));
	scsi_cmd_init(&job->cmd);
	memcpy(job->cmd.cdb, cdb, SCSI_CDB_MAX);
	job->cmd.nexus = host->nexus;
	job->cmd.loop = host->loop;
	job->cmd.buffer = job->buffer;
	job->cmd.buffer_bytes = out_bytes;
	job->cmd.done = on_cmd_done;
	return job;
}

static void job_wait(struct job *job)
{
	cr_assert(wait_for(&job->done, PATIENCE_S * 1000), "a command does not end");
}

static void job_free(struct job *job)
{
	sem_destroy(&job->done);
	free(job->buffer);
	free(job);
}

/* The whole of a command; medium data of at most 64 KiB come back in `in`. Answers sense or 0. */
static uint32_t run(struct host *host, const uint8_t *cdb, const uint8_t *out, uint32_t out_bytes,
		    uint8_t *in)
{
	struct job *job = job_new(host, cdb, out, out_bytes);
	uint32_t sense = 0;

	rig_call(host->loop, call_start, job);
	job_wait(job);
	if (job->cmd.status != SCSI_GOOD)
		sense = (uint32_t)job->cmd.sense[2] << 16 | get_be16(job->cmd.sense + 12);
	if (in != NULL)
		memcpy(in, job->buffer, (size_t)job->cmd.data_bytes);
	job_free(job);
	return sense;
}

#define CDB(...) ((const uint8_t[SCSI_CDB_MAX]){__VA_ARGS__})

static void init_raw(struct host *host, enum loop_engine engine)
{
	char path[128];
	struct lun_spec spec;
	struct lun *lun;

	rig_create(&host->rig, engine, "/tmp");
	snprintf(path, sizeof(path), "%s/image", host->rig.dir);
	spec = test_spec(&host->rig, "raw");
	spec.path = path;
	cr_assert(lun_open(&spec, &host->rig.group, &lun) == 0);
	cr_assert(lun_state(lun)->online, "%s", lun_state(lun)->offline_reason);
	rig_run(&host->rig);
	host_init(host, lun);
	cr_assert(run(host, CDB(0x00), NULL, 0, NULL) == 0x062900);
}

/* Blocks `lba` to `lba` + 99 read as `value`. */
static void expect_blocks(struct host *host, uint8_t lba, uint8_t value)
{
	static uint8_t in[SCSI_PARAM_MAX];

	cr_assert(run(host, CDB(0x28, 0, 0, 0, 0, lba, 0, 0, 100), NULL, 0, in) == 0);
	for (size_t i = 0; i < 100 * BLOCK; i++)
		cr_assert(in[i] == value, "byte %zu is %02X", i, in[i]);
}

static void commands_end_to_end(enum loop_engine engine)
{
	static const uint8_t list[24] = {0, 22, 0, 16, [15] = 1, [19] = 100};
	static uint8_t out[SCSI_PARAM_MAX];
	struct host host;

	init_raw(&host, engine);
	memset(out, 0x77, sizeof(out));
	/* FUA, off the boundaries of 4 KiB, so that direct I/O may have to read and modify. */
	cr_expect(run(&host, CDB(0x2A, 0x08, 0, 0, 0, 1, 0, 0, 100), out, 51200, NULL) == 0);
	expect_blocks(&host, 1, 0x77);
	cr_expect(run(&host, CDB(0x2F, 0x02, 0, 0, 0, 1, 0, 0, 100), out, 51200, NULL) == 0);
	cr_expect(run(&host, CDB(0x2F, 0x06, 0, 0, 0, 1, 0, 0, 100), out, BLOCK, NULL) == 0);
	cr_expect(run(&host, CDB(0x2F, 0x06, 0, 0, 0, 1, 0, 0, 101), out, BLOCK, NULL) == 0x0E1D00);
	cr_expect(run(&host, CDB(0x2F, 0, 0, 0, 0, 0, 0, 0x7F, 0xFF), NULL, 0, NULL) == 0);
	cr_expect(run(&host, CDB(0x35), NULL, 0, NULL) == 0);
	cr_expect(run(&host, CDB(0x28, 0x08, [8] = 1), NULL, 0, NULL) == 0);
	cr_expect(run(&host, CDB(0x42, [8] = 24), list, 24, NULL) == 0);
	expect_blocks(&host, 1, 0);
	cr_expect(run(&host, CDB(0x93, 0, [9] = 3, [12] = 0x40), out, BLOCK, NULL) == 0);
	expect_blocks(&host, 3, 0x77);
	cr_expect(run(&host, CDB(0x93, 0x01, [9] = 3, [12] = 0x40), NULL, 0, NULL) == 0);
	expect_blocks(&host, 3, 0);
	cr_expect(run(&host, CDB(0x93, 0x09, [9] = 0, [12] = 0x7F), NULL, 0, NULL) == 0);
	host_clear(&host);
}

Test(scsi_real, commands_end_to_end_aio)
{
	commands_end_to_end(LOOP_ENGINE_AIO);
}

/* io_uring where it is allowed, else the same again. */
Test(scsi_real, commands_end_to_end_auto)
{
	commands_end_to_end(LOOP_ENGINE_AUTO);
}

/* The image ends everything it has until the command is back. */
static void end_held(struct host *host, struct job *job)
{
	while (sem_trywait(&job->done) != 0) {
		rig_settle(&host->rig);
		if (held_first() != NULL)
			held_end_first(&host->rig);
	}
}

/*
 * An aborted write that the disk holds: the piece comes back only when the disk lets go, and a
 * later write of the same blocks waits until then.
 */
Test(scsi_real, abort_of_a_held_write)
{
	struct host host = {0};
	uint8_t out[BLOCK] = {0};
	struct job *aborted;
	struct job *later;

	host_init(&host, held_lun(&host.rig, LOOP_ENGINE_AIO));
	cr_assert(run(&host, CDB(0x00), NULL, 0, NULL) == 0x062900);
	aborted = job_new(&host, CDB(0x2A, [8] = 1), out, BLOCK);
	rig_call(host.loop, call_start, aborted);
	rig_settle(&host.rig);
	cr_expect(held_first() != NULL);
	rig_call(host.loop, call_abort, aborted);
	rig_settle(&host.rig);
	cr_expect(sem_trywait(&aborted->done) != 0, "the disk still has it");
	later = job_new(&host, CDB(0x2A, [8] = 1), out, BLOCK);
	rig_call(host.loop, call_start, later);
	rig_settle(&host.rig);
	cr_expect(held.count == 1, "the later write must wait");
	end_held(&host, aborted);
	cr_expect(aborted->cmd.status == SCSI_TASK_ABORTED && !aborted->piece.ok);
	end_held(&host, later);
	cr_expect(later->cmd.status == SCSI_GOOD && later->piece.ok);
	job_free(aborted);
	job_free(later);
	host_clear(&host);
}

/* The same for a command in steps: the step under way ends, and no other begins. */
Test(scsi_real, abort_of_a_held_step)
{
	struct host host = {0};
	uint8_t out[BLOCK] = {1};
	struct job *job;

	host_init(&host, held_lun(&host.rig, LOOP_ENGINE_AIO));
	cr_assert(run(&host, CDB(0x00), NULL, 0, NULL) == 0x062900);
	job = job_new(&host, CDB(0x93, [12] = 0x40), out, BLOCK);
	rig_call(host.loop, call_start, job);
	rig_settle(&host.rig);
	rig_call(host.loop, call_abort, job);
	end_held(&host, job);
	cr_expect(job->cmd.status == SCSI_TASK_ABORTED);
	cr_expect(job->cmd.progress_bytes <= 512 << 10);
	job_free(job);
	host_clear(&host);
}
