/*
 * Jobs on chains of files, beside writes: what is streamed or removed, canceled, stopped and
 * resumed, refused, or short of space; and that guests find afterwards what they wrote. Power cuts
 * are in tests/crash, a daemon that is killed in initiator-tests.
 */
#include "tests/unit/lun_header_fault.h"
#include "tests/unit/lun_job_testing.h"

#include "lun/qcow2_mark.h"

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

/* What a daemon leaves that was killed when it wrote to the layer: a cluster with refcount 1 behind
 * the others, and its mark; nothing where files can have no attributes. */
static void leak_in_layer(const struct scene *s)
{
	const uint64_t cluster = 128 << 10;
	const uint8_t none[2] = {0, 0}, one[2] = {0, 1};
	char path[128];
	struct stat st;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/vm@b.qcow2", s->rig.dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	cr_assert_eq(fstat(fd, &st), 0);
	st.st_size = (st.st_size + (off_t)cluster - 1) / (off_t)cluster;
	cr_assert_eq(ftruncate(fd, (st.st_size + 1) * (off_t)cluster), 0);
	/* The first block of refcounts lies in the third cluster. */
	cr_assert_eq(pwrite(fd, one, 2, 2 * (off_t)cluster + 2 * st.st_size), 2);
	qcow2_mark(fd);
	if (!qcow2_is_marked(fd))
		cr_assert_eq(pwrite(fd, none, 2, 2 * (off_t)cluster + 2 * st.st_size), 2);
	(void)close(fd);
}

TEST_ON_ENGINES(job, recovers_the_layer_that_it_writes)
{
	struct scene s;

	scene_make(&s, engine, JOB_STREAM);
	leak_in_layer(&s);
	cr_assert_eq(scene_run(&s, "vm@b.qcow2", ""), 0);
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
	return job_files_find(&s->order, false, out, why);
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
static void start_slowly_on(struct scene *s, const char *image, const char *base)
{
	s->order.rate_bytes = 1000;
	scene_start(s, image, base);
	wait_for_state(s, JOB_RUNNING);
}

static void start_slowly(struct scene *s, const char *image)
{
	start_slowly_on(s, image, "");
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
	shell("cd %s; echo kind >job-0123456789abcdef.new", s.rig.dir);
	job_record_each(s.rig.dir, on_record, &s);
	cr_assert(s.answer);
	shell("cd %s; test ! -e job-0123456789abcdef.new", s.rig.dir);
	rig_call(s.rig.control, call_start, &s);
	cr_assert_eq(scene_wait(&s), 0);
	backing_is(&s, "vm@b.qcow2", "golden.raw");
	scene_end(&s);
}

static void call_a_little_faster(void *arg)
{
	struct scene *s = arg;

	loop_role_assume();
	job_set_rate(s->job, 2000);
	job_set_rate(s->job, 3000);
}

static void on_rate(const struct job_order *order, void *arg)
{
	struct scene *s = arg;

	cr_expect_eq(order->rate_bytes, 3000);
	s->order = *order;
	s->answer = true;
}

/* What was asked for last, however soon the end comes. */
TEST_ON_ENGINES(job, is_resumed_with_its_last_rate)
{
	struct scene s;

	scene_make(&s, engine, JOB_STREAM);
	start_slowly(&s, "");
	rig_call(s.rig.control, call_a_little_faster, &s);
	rig_call(s.rig.control, call_stop, &s);
	cr_assert(wait_for(&s.stopped, PATIENCE_S * 1000));
	cr_assert_eq(scene_wait(&s), -EINTR);
	s.answer = false;
	job_record_each(s.rig.dir, on_rate, &s);
	cr_assert(s.answer);
	rig_call(s.rig.control, call_start, &s);
	wait_for_state(&s, JOB_RUNNING);
	rig_call(s.rig.control, call_a_little_faster, &s);
	rig_call(s.rig.control, call_cancel, &s);
	cr_assert_eq(scene_wait(&s), -ECANCELED);
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

/* Nor are data moved from, or into, files that only have the names of those that were meant. */
TEST_ON_ENGINES(job, streams_from_no_other_base)
{
	struct scene s;

	scene_make(&s, engine, JOB_STREAM);
	start_slowly_on(&s, "", "golden.raw");
	rig_call(s.rig.control, call_stop, &s);
	cr_assert(wait_for(&s.stopped, PATIENCE_S * 1000));
	cr_assert_eq(scene_wait(&s), -EINTR);
	job_record_each(s.rig.dir, on_record, &s);
	shell("cd %s; cp golden.raw new; mv new golden.raw", s.rig.dir);
	rig_call(s.rig.control, call_start, &s);
	cr_assert_eq(scene_wait(&s), -ESTALE);
	cr_expect(strstr(s.why, "golden.raw is another file"), "%s", s.why);
	backing_is(&s, "vm.qcow2", "vm@b.qcow2");
	scene_end(&s);
}

/* A snapshot was removed and made again, or the active file went in a rollback. */
Test(job, streams_into_no_other_layer)
{
	static const char *const images[] = {"", "vm@b.qcow2"};
	struct scene s = {0};
	struct job_files files;
	char why[LUN_WHY_MAX] = "";

	rig_create(&s.rig, LOOP_ENGINE_AIO, "/tmp");
	make_chain(&s);
	(void)snprintf(s.order.path, sizeof(s.order.path), "%s/vm.qcow2", s.rig.dir);
	for (size_t i = 0; i < ARRAY_SIZE(images); i++) {
		const char *file = images[i][0] != '\0' ? images[i] : "vm.qcow2";

		s.order.is_resumed = false;
		cr_assert_eq(find_files(&s, JOB_STREAM, images[i], "", &files), 0);
		s.order.is_resumed = true;
		cr_assert_eq(find_files(&s, JOB_STREAM, images[i], "", &files), 0);
		shell("cd %s; cp %s new; mv new %s", s.rig.dir, file, file);
		cr_expect_eq(job_files_find(&s.order, false, &files, why), -ESTALE);
		cr_expect(strstr(why, file), "%s", why);
	}
	rig_free(&s.rig);
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

	scene_make(&s, engine, JOB_STREAM);
	note_victim(&s);
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
	note_victim(&s);
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

/* Hosts are not served by a header that may be lost. */
TEST_ON_ENGINES(job, whose_last_fdatasync_fails_ends_offline)
{
	struct lun_state now;
	struct scene s;

	scene_make(&s, engine, JOB_STREAM);
	atomic_store(&headers_fail, true);
	scene_start(&s, "", "golden.raw");
	cr_assert_eq(scene_wait(&s), -EIO);
	cr_expect_gt(atomic_load(&syncs_failed), 0);
	lun_state_copy(s.lun, &now);
	cr_expect(!now.online);
	cr_expect(strstr(now.offline_reason, "restart ringsand"), "%s", now.offline_reason);
	atomic_store(&headers_fail, false);
	atomic_store(&header_is_lost, false);
	backing_is(&s, "vm.qcow2", "golden.raw");
	scene_end(&s);
}

TEST_ON_ENGINES(job, waits_for_space)
{
	struct scene s;

	scene_make(&s, engine, JOB_STREAM);
	atomic_store(&s.pool.guarded, true);
	scene_start(&s, "vm@b.qcow2", "");
	wait_for_state(&s, JOB_NO_SPACE);
	cr_assert(strstr(s.view.why, "space"));
	atomic_store(&s.pool.guarded, false);
	cr_assert_eq(scene_wait(&s), 0);
	scene_end(&s);
}

/* A REMOVE goes up from vm@a, and from vm@b down, where vm@b has nothing. */
static void run_out_of_space(struct scene *s, enum job_kind kind, const char *image)
{
	*s = (struct scene){.order = {.kind = kind}};
	scene_begin(s, LOOP_ENGINE_AIO);
	shell("cd %s; qemu-io -f qcow2 -c 'write -P 6 9M 6M' vm@b.qcow2 >/dev/null; "
	      "qemu-img convert -O raw vm.qcow2 before",
	      s->rig.dir);
	open_lun(s);
	atomic_store(&s->pool.guarded, true);
	scene_start(s, image, "");
	wait_for_state(s, JOB_NO_SPACE);
}

Test(job, goes_on_when_there_is_space_again)
{
	struct scene s;

	run_out_of_space(&s, JOB_STREAM, "");
	atomic_store(&s.pool.guarded, false);
	cr_assert_eq(scene_wait(&s), 0);
	backing_is(&s, "vm.qcow2", "");
	scene_end(&s);
}

/* It does not wait for space then: stopped with its record, canceled without. */
Test(job, waits_for_space_no_longer_than_it_is_wanted)
{
	static const char *const images[] = {"", "vm@a.qcow2", "vm@b.qcow2"};
	struct scene s;

	for (size_t i = 0; i < ARRAY_SIZE(images); i++) {
		run_out_of_space(&s, i == 0 ? JOB_STREAM : JOB_REMOVE, images[i]);
		rig_call(s.rig.control, call_stop, &s);
		cr_assert(wait_for(&s.stopped, PATIENCE_S * 1000));
		cr_assert_eq(scene_wait(&s), -EINTR);
		shell("ls %s/job-* >/dev/null", s.rig.dir);
		rig_call(s.rig.control, call_start, &s);
		wait_for_state(&s, JOB_NO_SPACE);
		rig_call(s.rig.control, call_cancel, &s);
		cr_assert(s.answer);
		cr_assert_eq(scene_wait(&s), -ECANCELED);
		scene_end(&s);
	}
}
