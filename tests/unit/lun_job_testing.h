/*
 * A LUN over a chain of three images, and jobs that work on it beside a host's writes: what tests
 * of jobs share. Not a test.
 */
#ifndef TESTS_UNIT_LUN_JOB_TESTING_H
#define TESTS_UNIT_LUN_JOB_TESTING_H
#include "tests/unit/lun_testing.h"

#include "lun/image_lock.h"
#include "lun/job_files.h"

#include <glob.h>
#include <sys/file.h>
#include <sys/syscall.h>

#include "tests/unit/lun_shell.h"

#define MIB (UINT64_C(1) << 20)
#define IMAGE_BYTES (16 * MIB)
#define BLOCK 65536u

/* -- A LUN over a chain: golden.raw, vm@a, vm@b, vm, each with data of its own -- */

struct scene {
	struct rig rig;
	struct lun *lun;
	struct lun_pool pool;
	struct job *job;
	struct job_order order;
	sem_t ended, stopped;
	int res;
	struct job_view view; /* Its texts only as long as there is a job; of the end: */
	char why[LUN_WHY_MAX];
	bool answer;
	uint8_t writes; /* Blocks that were written, from the second half on. */
	atomic_bool stops_writing;
	bool has_spoiled; /* The snapshot was none any more when the job ended. */
};

static void make_chain(const struct scene *s)
{
	shell("cd %s; seq 1000000000 | head -c 9M >golden.raw; "
	      "qemu-img create -q -f qcow2 -b golden.raw -F raw vm@a.qcow2 16M; "
	      "qemu-img create -q -f qcow2 -o cluster_size=128k,extended_l2=on -b vm@a.qcow2 -F "
	      "qcow2 "
	      "vm@b.qcow2; "
	      "qemu-img create -q -f qcow2 -b vm@b.qcow2 -F qcow2 vm.qcow2; "
	      "qemu-io -f qcow2 -c 'write -P 1 1M 3M' -c 'write -z 5M 1M' vm@a.qcow2 >/dev/null; "
	      "qemu-io -f qcow2 -c 'write -P 2 1M 256k' -c 'write -P 2 2M 256k' -c 'discard 7M 1M' "
	      "vm@b.qcow2 >/dev/null; "
	      "qemu-io -f qcow2 -c 'write -P 3 3M 64k' vm.qcow2 >/dev/null; "
	      "qemu-img convert -O raw vm.qcow2 before",
	      s->rig.dir);
}

static void open_lun(struct scene *s)
{
	struct lun_spec spec = test_spec(&s->rig, "qcow2");
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/vm.qcow2", s->rig.dir);
	spec.path = path;
	spec.size_bytes = 0;
	cr_assert_eq(lun_open(&spec, &s->rig.group, &s->lun), 0);
	cr_assert(lun_state(s->lun)->online, "%s", lun_state(s->lun)->offline_reason);
	lun_set_pool(s->lun, &s->pool);
	rig_run(&s->rig);
}

/* Files alone. */
static void scene_begin(struct scene *s, enum loop_engine engine)
{
	rig_create(&s->rig, engine, "/tmp");
	make_chain(s);
	(void)snprintf(s->order.path, sizeof(s->order.path), "%s/vm.qcow2", s->rig.dir);
	sem_init(&s->ended, 0, 0);
	sem_init(&s->stopped, 0, 0);
}

static void scene_make(struct scene *s, enum loop_engine engine, enum job_kind kind)
{
	*s = (struct scene){.order = {.kind = kind}};
	scene_begin(s, engine);
	open_lun(s);
}

static void on_rest(struct lun *lun, int res, void *arg)
{
	struct scene *s = arg;

	(void)lun;
	s->res = res;
	sem_post(&s->stopped);
}

static void call_drain(void *arg)
{
	struct scene *s = arg;

	loop_role_assume();
	lun_drain(s->lun, s->rig.control, PATIENCE_S * 1000, on_rest, s);
}

/* Content is as at the beginning, but for what was written since. */
static void scene_end(struct scene *s)
{
	rig_call(s->rig.control, call_drain, s);
	cr_assert(wait_for(&s->stopped, PATIENCE_S * 1000));
	cr_assert_eq(s->res, 0);
	rig_halt(&s->rig);
	lun_close(s->lun);
	for (unsigned i = 0; i < s->writes; i++)
		shell("cd %s; yes Z | tr -d '\\n' | head -c %u | "
		      "dd of=before bs=%u seek=%u conv=notrunc status=none iflag=fullblock",
		      s->rig.dir, BLOCK, BLOCK, 128 + i);
	shell("cd %s; qemu-img compare -q -f qcow2 -F raw vm.qcow2 before; "
	      "for i in *.qcow2; do qemu-img check -q $i; done; "
	      "if ls job-* 2>/dev/null; then exit 1; fi",
	      s->rig.dir);
	rig_free(&s->rig);
}

/* -- Jobs -- */

static void on_ended(struct job *job, int res, void *arg)
{
	struct scene *s = arg;

	job_look(job, &s->view);
	s->has_spoiled = s->view.spoiled[0] != '\0';
	(void)snprintf(s->why, sizeof(s->why), "%s", s->view.why);
	s->res = res;
	s->job = NULL;
	sem_post(&s->ended);
}

static void call_start(void *arg)
{
	struct scene *s = arg;
	struct job_spec spec = {
		.order = &s->order,
		.lun = s->lun,
		.control = s->rig.control,
		.state_dir = s->rig.dir,
		.ended = on_ended,
		.arg = s,
	};
	struct job *job;

	loop_role_assume();
	cr_assert_eq(job_start(&spec, &s->job), 0);
	cr_assert_eq(job_of(s->lun), s->job);
	cr_assert_eq(job_start(&spec, &job), -EBUSY);
}

static void scene_start(struct scene *s, const char *image, const char *base)
{
	(void)snprintf(s->order.image, sizeof(s->order.image), "%s", image);
	(void)snprintf(s->order.base, sizeof(s->order.base), "%s", base);
	rig_call(s->rig.control, call_start, s);
}

static void write_some(struct scene *s)
{
	uint64_t offset = 8 * MIB + (uint64_t)s->writes * BLOCK;

	s->writes++;
	cr_assert_eq(tio_run(s->lun, s->rig.group.loops[1], LUN_WRITE, offset, BLOCK), 0);
}

static int scene_wait(struct scene *s)
{
	cr_assert(wait_for(&s->ended, 6 * PATIENCE_S * 1000), "the job does not end");
	return s->res;
}

/* With writes meanwhile. */
static int scene_run(struct scene *s, const char *image, const char *base)
{
	scene_start(s, image, base);
	for (unsigned i = 0; i < 9; i++)
		write_some(s);
	return scene_wait(s);
}

static void call_look(void *arg)
{
	struct scene *s = arg;

	if (s->job)
		job_look(s->job, &s->view);
}

static void wait_for_state(struct scene *s, enum job_state state)
{
	for (unsigned i = 0; i < PATIENCE_S * 100; i++) {
		rig_call(s->rig.control, call_look, s);
		if (s->view.state == state)
			return;
		(void)usleep(10000);
	}
	cr_assert_fail("it is %s", job_state_name(s->view.state));
}

static void backing_is(const struct scene *s, const char *image, const char *backing)
{
	shell("cd %s; test \"$(qemu-img info -U %s | sed -n 's/^backing file: \\([^ "
	      "]*\\).*/\\1/p')\" = "
	      "'%s'",
	      s->rig.dir, image, backing);
}

/* What a record of vm@a.qcow2's removal says. */
static inline void note_victim(struct scene *s)
{
	struct statx born;
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/vm@a.qcow2", s->rig.dir);
	cr_assert_eq(statx(AT_FDCWD, path, 0, STATX_INO | STATX_BTIME, &born), 0);
	s->order.image_was.inode = born.stx_ino;
	if (born.stx_mask & STATX_BTIME)
		s->order.image_was.born_ns =
			(uint64_t)born.stx_btime.tv_sec * 1000000000u + born.stx_btime.tv_nsec;
}

#endif
