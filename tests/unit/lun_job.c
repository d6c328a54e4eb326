/*
 * Jobs on chains of files, beside writes: what is streamed or removed, canceled, stopped and
 * resumed, refused, or short of space; and that guests find afterwards what they wrote. Power cuts
 * are in tests/crash, a daemon that is killed in initiator-tests.
 */
#include "tests/unit/lun_testing.h"

#include "lun/image_lock.h"
#include "lun/job_files.h"

#include <glob.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MIB (UINT64_C(1) << 20)
#define IMAGE_BYTES (16 * MIB)
#define BLOCK 65536u

static void PRINTF_LIKE(1, 2) shell(const char *format, ...)
{
	char command[2048];
	va_list args;
	pid_t child;
	int status, count;

	va_start(args, format);
	count = vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	cr_assert_lt((size_t)count, sizeof(command));
	child = fork();
	if (child == 0) {
		execlp("bash", "bash", "-ec", command, (char *)NULL);
		_exit(127);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0, "%s", command);
}

/* -- A LUN over a chain: golden.raw, vm@a, vm@b, vm, each with data of its own -- */

struct scene {
	struct rig rig;
	struct lun *lun;
	struct lun_pool pool;
	struct job *job;
	struct job_order order;
	sem_t ended, stopped;
	int res;
	struct job_view view;
	bool answer;
	uint8_t writes; /* Blocks that were written, from the second half on. */
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
	      "qemu-io -f qcow2 -c 'write -P 2 2M 256k' -c 'discard 7M 1M' vm@b.qcow2 >/dev/null; "
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

static void scene_make(struct scene *s, enum loop_engine engine, enum job_kind kind)
{
	*s = (struct scene){.order = {.kind = kind}};
	rig_create(&s->rig, engine, "/tmp");
	make_chain(s);
	(void)snprintf(s->order.path, sizeof(s->order.path), "%s/vm.qcow2", s->rig.dir);
	sem_init(&s->ended, 0, 0);
	sem_init(&s->stopped, 0, 0);
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
	if (res != 0)
		cr_log_info("%d: %s", res, s->view.why);
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

TEST_ON_ENGINES(job, streams_the_whole_chain)
{
	struct scene s;

	scene_make(&s, engine, JOB_STREAM);
	cr_assert_eq(scene_run(&s, "", ""), 0);
	cr_assert_eq(s.view.done_bytes, IMAGE_BYTES);
	cr_assert_gt(s.view.moved_bytes, 4 * MIB);
	backing_is(&s, "vm.qcow2", "");
	backing_is(&s, "vm@b.qcow2", "vm@a.qcow2");
	/* There is nothing left to be done. */
	cr_assert_eq(scene_run(&s, "", ""), 0);
	scene_end(&s);
}

TEST_ON_ENGINES(job, streams_down_to_a_base)
{
	struct scene s;

	scene_make(&s, engine, JOB_STREAM);
	cr_assert_eq(scene_run(&s, "", "golden.raw"), 0);
	cr_assert_lt(s.view.moved_bytes, 8 * MIB);
	backing_is(&s, "vm.qcow2", "golden.raw");
	scene_end(&s);
}

/* The layer is below the top, and read through meanwhile. */
TEST_ON_ENGINES(job, streams_a_layer_below)
{
	struct scene s;

	scene_make(&s, engine, JOB_STREAM);
	cr_assert_eq(scene_run(&s, "vm@b.qcow2", ""), 0);
	backing_is(&s, "vm@b.qcow2", "");
	backing_is(&s, "vm.qcow2", "vm@b.qcow2");
	write_some(&s);
	scene_end(&s);
}

TEST_ON_ENGINES(job, removes_snapshots)
{
	struct scene s;

	scene_make(&s, engine, JOB_REMOVE);
	cr_assert_eq(scene_run(&s, "vm@a.qcow2", ""), 0);
	backing_is(&s, "vm@b.qcow2", "golden.raw");
	shell("cd %s; test ! -e vm@a.qcow2", s.rig.dir);
	cr_assert_eq(scene_run(&s, "vm@b.qcow2", ""), 0);
	backing_is(&s, "vm.qcow2", "golden.raw");
	shell("cd %s; test ! -e vm@b.qcow2", s.rig.dir);
	scene_end(&s);
}

/* A guest's raw disk lies in the folder, and in it stands that a snapshot is raw. */
TEST_ON_ENGINES(job, believes_no_stranger)
{
	struct scene s;

	scene_make(&s, engine, JOB_REMOVE);
	shell("cd %s; qemu-img create -q -u -f qcow2 -b vm@a.qcow2 -F raw guest.raw 16M",
	      s.rig.dir);
	cr_assert_eq(scene_run(&s, "vm@b.qcow2", ""), 0);
	backing_is(&s, "vm.qcow2", "vm@a.qcow2");
	shell("cd %s; qemu-img info -U vm.qcow2 | grep -q '^backing file format: qcow2'; "
	      "rm guest.raw",
	      s.rig.dir);
	scene_end(&s);
}

static int find_files(struct scene *s, enum job_kind kind, const char *image, const char *base,
		      struct job_files *out)
{
	char why[LUN_WHY_MAX] = "";

	s->order.kind = kind;
	(void)snprintf(s->order.image, sizeof(s->order.image), "%s", image);
	(void)snprintf(s->order.base, sizeof(s->order.base), "%s", base);
	return job_files_find(&s->order, out, why);
}

/* Nor what stands in the raw file that ends the chain. */
Test(job, believes_its_own_headers)
{
	struct scene s = {0};
	struct job_files files;

	rig_create(&s.rig, LOOP_ENGINE_AIO, "/tmp");
	make_chain(&s);
	(void)snprintf(s.order.path, sizeof(s.order.path), "%s/vm.qcow2", s.rig.dir);
	shell("cd %s; for i in a b; do qemu-img create -q -u -f qcow2 -b vm@$i.qcow2 -F raw "
	      "guest-$i.raw 16M; done; cp golden.raw other.raw; "
	      "qemu-img create -q -u -f qcow2 -b other.raw -F raw forged 16M; "
	      "dd if=forged of=golden.raw conv=notrunc status=none",
	      s.rig.dir);
	cr_assert_eq(find_files(&s, JOB_STREAM, "", "vm@a.qcow2", &files), 0);
	cr_expect(!files.base_is_raw);
	cr_expect(!files.before_is_raw);
	cr_assert_eq(find_files(&s, JOB_STREAM, "", "golden.raw", &files), 0);
	cr_expect(files.base_is_raw);
	cr_assert_eq(find_files(&s, JOB_STREAM, "", "other.raw", &files), -ENOENT);
	cr_assert_eq(find_files(&s, JOB_STREAM, "golden.raw", "", &files), -ENOTSUP);
	shell("cd %s; rm guest-a.raw guest-b.raw other.raw", s.rig.dir);
	cr_assert_eq(find_files(&s, JOB_STREAM, "", "", &files), 0);
	cr_assert_eq(find_files(&s, JOB_REMOVE, "golden.raw", "", &files), 0);
	cr_expect_str_eq(files.base, "");
	cr_expect(files.before_is_raw);
	rig_free(&s.rig);
}

TEST_ON_ENGINES(job, refuses)
{
	struct scene s;

	scene_make(&s, engine, JOB_REMOVE);
	shell("cd %s; qemu-img create -q -f qcow2 -b vm@a.qcow2 -F qcow2 clone.qcow2; touch other",
	      s.rig.dir);
	cr_assert_eq(scene_run(&s, "vm@a.qcow2", ""), -EBUSY);
	cr_assert_eq(scene_run(&s, "vm@c.qcow2", ""), -ENOENT);
	cr_assert_eq(scene_run(&s, "vm.qcow2", ""), -EINVAL);
	cr_assert_eq(scene_run(&s, "other", ""), -EINVAL);
	s.order.kind = JOB_STREAM;
	cr_assert_eq(scene_run(&s, "clone.qcow2", ""), -ENOENT);
	cr_assert_eq(scene_run(&s, "vm@a.qcow2", "vm@b.qcow2"), -EINVAL);
	shell("cd %s; test -e vm@a.qcow2; test -e other", s.rig.dir);
	scene_end(&s);
}

/* Somebody else reads through the layer: told once, and hosts are not made to wait again. */
TEST_ON_ENGINES(job, leaves_a_layer_that_others_use)
{
	struct scene s;
	char path[128];
	int fd;

	scene_make(&s, engine, JOB_REMOVE);
	(void)snprintf(path, sizeof(path), "%s/vm@b.qcow2", s.rig.dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_eq(image_lock_qemu(fd, false), 0);
	cr_assert_eq(scene_run(&s, "vm@a.qcow2", ""), -EBUSY);
	close(fd);
	cr_assert_eq(scene_run(&s, "vm@a.qcow2", ""), 0);
	scene_end(&s);
}

/* -- What interrupts -- */

static void call_cancel(void *arg)
{
	struct scene *s = arg;

	loop_role_assume();
	s->answer = job_cancel(s->job);
}

static void call_faster(void *arg)
{
	struct scene *s = arg;

	loop_role_assume();
	job_set_rate(s->job, 0);
}

/* So slow that it would take days. */
static void start_slowly(struct scene *s, const char *image)
{
	s->order.rate_bytes = 1000;
	scene_start(s, image, "");
	wait_for_state(s, JOB_RUNNING);
}

TEST_ON_ENGINES(job, is_canceled)
{
	struct scene s;

	scene_make(&s, engine, JOB_REMOVE);
	start_slowly(&s, "vm@a.qcow2");
	shell("ls %s/job-* >/dev/null", s.rig.dir);
	rig_call(s.rig.control, call_cancel, &s);
	cr_assert(s.answer);
	cr_assert_eq(scene_wait(&s), -ECANCELED);
	backing_is(&s, "vm@b.qcow2", "vm@a.qcow2");
	write_some(&s);
	scene_end(&s);
}

TEST_ON_ENGINES(job, gets_another_rate)
{
	struct scene s;

	scene_make(&s, engine, JOB_STREAM);
	start_slowly(&s, "");
	write_some(&s);
	rig_call(s.rig.control, call_faster, &s);
	cr_assert_eq(scene_wait(&s), 0);
	scene_end(&s);
}

static void on_stopped(void *arg)
{
	struct scene *s = arg;

	sem_post(&s->stopped);
}

static void call_stop(void *arg)
{
	struct scene *s = arg;

	loop_role_assume();
	job_stop(s->job, on_stopped, s);
}

static void on_record(const struct job_order *order, void *arg)
{
	struct scene *s = arg;

	cr_assert_eq(order->kind, s->order.kind);
	cr_assert_str_eq(order->path, s->order.path);
	cr_assert_eq(order->rate_bytes, 1000);
	s->order = *order;
	s->order.rate_bytes = 0;
	s->answer = true;
}

TEST_ON_ENGINES(job, is_stopped_and_resumed)
{
	struct scene s;

	scene_make(&s, engine, JOB_REMOVE);
	start_slowly(&s, "vm@a.qcow2");
	rig_call(s.rig.control, call_stop, &s);
	cr_assert(wait_for(&s.stopped, PATIENCE_S * 1000));
	cr_assert_eq(scene_wait(&s), -EINTR);
	s.answer = false;
	job_record_each(s.rig.dir, on_record, &s);
	cr_assert(s.answer);
	rig_call(s.rig.control, call_start, &s);
	cr_assert_eq(scene_wait(&s), 0);
	backing_is(&s, "vm@b.qcow2", "golden.raw");
	scene_end(&s);
}

static void call_cancel_and_stop(void *arg)
{
	call_cancel(arg);
	call_stop(arg);
}

TEST_ON_ENGINES(job, is_canceled_and_stopped)
{
	struct scene s;

	scene_make(&s, engine, JOB_REMOVE);
	start_slowly(&s, "vm@a.qcow2");
	rig_call(s.rig.control, call_cancel_and_stop, &s);
	cr_assert(wait_for(&s.stopped, PATIENCE_S * 1000));
	cr_assert_eq(scene_wait(&s), -ECANCELED);
	scene_end(&s);
}

/* The helper thread has found all, and the loop does not know yet. */
static void call_start_and_look(void *arg)
{
	struct scene *s = arg;
	char records[96];
	glob_t found;
	int res;

	call_start(arg);
	(void)snprintf(records, sizeof(records), "%s/job-*", s->rig.dir);
	for (unsigned i = 0; i < PATIENCE_S * 100; i++) {
		res = glob(records, 0, NULL, &found);
		globfree(&found);
		if (res == 0)
			break;
		(void)usleep(10000);
	}
	cr_expect_eq(res, 0);
	call_look(arg);
	cr_expect_str_eq(s->view.layer, "");
	cr_expect_str_eq(s->view.why, "");
	cr_expect_eq(s->view.total_bytes, 0);
}

TEST_ON_ENGINES(job, tells_nothing_before_it_is_found)
{
	struct scene s;

	scene_make(&s, engine, JOB_STREAM);
	rig_call(s.rig.control, call_start_and_look, &s);
	cr_assert_eq(scene_wait(&s), 0);
	scene_end(&s);
}

/* It was stopped, removed by others, and a new snapshot got its name. */
TEST_ON_ENGINES(job, leaves_a_new_snapshot_of_that_name)
{
	struct scene s;

	scene_make(&s, engine, JOB_REMOVE);
	start_slowly(&s, "vm@a.qcow2");
	rig_call(s.rig.control, call_stop, &s);
	cr_assert(wait_for(&s.stopped, PATIENCE_S * 1000));
	cr_assert_eq(scene_wait(&s), -EINTR);
	job_record_each(s.rig.dir, on_record, &s);
	shell("cd %s; cp vm@a.qcow2 new; mv new vm@a.qcow2", s.rig.dir);
	rig_call(s.rig.control, call_start, &s);
	cr_assert_eq(scene_wait(&s), -ESTALE);
	backing_is(&s, "vm@b.qcow2", "vm@a.qcow2");
	scene_end(&s);
}

/* Nor is one removed that came between finding and removing. */
Test(job, removes_no_other_file)
{
	struct scene s = {0};
	struct job_files files;
	char why[LUN_WHY_MAX] = "";

	rig_create(&s.rig, LOOP_ENGINE_AIO, "/tmp");
	make_chain(&s);
	(void)snprintf(s.order.path, sizeof(s.order.path), "%s/vm.qcow2", s.rig.dir);
	shell("cd %s; cp vm@b.qcow2 vm@c.qcow2", s.rig.dir);
	cr_assert_eq(find_files(&s, JOB_REMOVE, "vm@c.qcow2", "", &files), 0);
	shell("cd %s; cp vm@c.qcow2 new; mv new vm@c.qcow2", s.rig.dir);
	cr_assert_eq(job_files_remove(&s.order, why), -ESTALE);
	shell("test -e %s/vm@c.qcow2", s.rig.dir);
	rig_free(&s.rig);
}

/* It was cut short when the header was changed already. */
TEST_ON_ENGINES(job, removes_what_was_left)
{
	struct scene s;
	struct statx born;
	char path[128];

	scene_make(&s, engine, JOB_STREAM);
	(void)snprintf(path, sizeof(path), "%s/vm@a.qcow2", s.rig.dir);
	cr_assert_eq(statx(AT_FDCWD, path, 0, STATX_INO | STATX_BTIME, &born), 0);
	s.order.victim.inode = born.stx_ino;
	if (born.stx_mask & STATX_BTIME)
		s.order.victim.born_ns =
			(uint64_t)born.stx_btime.tv_sec * 1000000000u + born.stx_btime.tv_nsec;
	cr_assert_eq(scene_run(&s, "vm@b.qcow2", "golden.raw"), 0);
	s.order.kind = JOB_REMOVE;
	s.order.is_resumed = true;
	cr_assert_eq(scene_run(&s, "vm@a.qcow2", ""), 0);
	shell("cd %s; test ! -e vm@a.qcow2", s.rig.dir);
	cr_assert_eq(scene_run(&s, "vm@a.qcow2", ""), 0);
	scene_end(&s);
}

/* The folder in which each unlinking is watched, and how many were made with its lock held. */
static char watched[128];
static atomic_uint unlinked, unlinked_locked;

/* In the place of the C library's. */
int unlinkat(int folder, const char *name, int flags)
{
	int fd = watched[0] != '\0' ? open(watched, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd >= 0) {
		atomic_fetch_add(&unlinked, 1);
		if (flock(fd, LOCK_EX | LOCK_NB) != 0)
			atomic_fetch_add(&unlinked_locked, 1);
		(void)close(fd);
	}
	return (int)syscall(SYS_unlinkat, folder, name, flags);
}

/* To free what a large file had takes long, and a switch may wait for that lock. */
Test(job, removes_files_beside_the_lock_of_the_folder)
{
	struct scene s;

	scene_make(&s, LOOP_ENGINE_AIO, JOB_STREAM);
	cr_assert_eq(scene_run(&s, "vm@b.qcow2", "golden.raw"), 0);
	s.order.kind = JOB_REMOVE;
	s.order.is_resumed = true;
	(void)snprintf(watched, sizeof(watched), "%s", s.rig.dir);
	cr_assert_eq(scene_run(&s, "vm@a.qcow2", ""), 0);
	watched[0] = '\0';
	cr_expect_geq(atomic_load(&unlinked), 1);
	cr_expect_eq(atomic_load(&unlinked_locked), 0);
	shell("cd %s; test ! -e vm@a.qcow2; test -z \"$(ls -A | grep -v -e vm -e golden -e "
	      "before)\"",
	      s.rig.dir);
	scene_end(&s);
}

TEST_ON_ENGINES(job, waits_for_space)
{
	struct scene s;

	scene_make(&s, engine, JOB_REMOVE);
	atomic_store(&s.pool.guarded, true);
	scene_start(&s, "vm@a.qcow2", "");
	wait_for_state(&s, JOB_NO_SPACE);
	cr_assert(strstr(s.view.why, "space"));
	atomic_store(&s.pool.guarded, false);
	cr_assert_eq(scene_wait(&s), 0);
	scene_end(&s);
}
