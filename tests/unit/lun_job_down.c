/*
 * Jobs that write down what is above a snapshot: when they do, how much moves, what hosts find who
 * write meanwhile, what a cancel and a cut leave, and that they go up where down is no way. Power
 * cuts are in tests/crash, a daemon that is killed in initiator-tests.
 */
#include "tests/unit/lun_job_testing.h"

#include "lun/family_change.h"

#include <sys/stat.h>
#include <sys/xattr.h>

static bool has_mark(const struct scene *s, const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", s->rig.dir, name);
	return getxattr(path, "user.ringsan.merge", NULL, 0) >= 0;
}

static uint64_t inode_of(const struct scene *s, const char *name)
{
	char path[128];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s", s->rig.dir, name);
	cr_assert_eq(stat(path, &st), 0);
	return st.st_ino;
}

/* -- Which way -- */

/* Of vm@b it is 512 KiB, of vm@a 3 MiB: that takes its place. */
TEST_ON_ENGINES(job_down, moves_what_is_less)
{
	struct scene s;
	uint64_t inode;

	scene_make(&s, engine, JOB_REMOVE);
	inode = inode_of(&s, "vm@a.qcow2");
	cr_assert_eq(scene_run(&s, "vm@a.qcow2", ""), 0);
	cr_assert_eq(s.view.done_bytes, IMAGE_BYTES);
	cr_assert_eq(s.view.moved_bytes, 512 << 10, "%llu", (unsigned long long)s.view.moved_bytes);
	cr_assert_eq(inode_of(&s, "vm@b.qcow2"), inode);
	cr_expect(!has_mark(&s, "vm@b.qcow2"));
	backing_is(&s, "vm.qcow2", "vm@b.qcow2");
	backing_is(&s, "vm@b.qcow2", "golden.raw");
	write_some(&s);
	scene_end(&s);
}

/* What shows of vm@a is 3 MiB less 512 KiB; vm@b has more. */
TEST_ON_ENGINES(job_down, moves_up_what_is_less)
{
	struct scene s = {.order = {.kind = JOB_REMOVE}};
	uint64_t inode;

	scene_begin(&s, engine);
	shell("cd %s; qemu-io -f qcow2 -c 'write -P 5 9M 6M' vm@b.qcow2 >/dev/null; "
	      "qemu-img convert -O raw vm.qcow2 before",
	      s.rig.dir);
	open_lun(&s);
	inode = inode_of(&s, "vm@b.qcow2");
	cr_assert_eq(scene_run(&s, "vm@a.qcow2", ""), 0);
	cr_assert_eq(s.view.moved_bytes, (3 << 20) - (512 << 10), "%llu",
		     (unsigned long long)s.view.moved_bytes);
	cr_assert_eq(inode_of(&s, "vm@b.qcow2"), inode);
	scene_end(&s);
}

/* Version 2 is not written: the snapshot stays one until it is removed. */
TEST_ON_ENGINES(job_down, goes_up_where_it_cannot_write_below)
{
	struct scene s = {.order = {.kind = JOB_REMOVE}};

	scene_begin(&s, engine);
	shell("qemu-img amend -f qcow2 -o compat=0.10 %s/vm@a.qcow2", s.rig.dir);
	open_lun(&s);
	cr_assert_eq(scene_run(&s, "vm@a.qcow2", ""), 0);
	cr_assert(!s.has_spoiled);
	cr_assert_gt(s.view.moved_bytes, 2 << 20);
	scene_end(&s);
}

/* A snapshot that is worth it: twice as large as what hosts have written by now. */
static void make_large(struct scene *s, enum loop_engine engine)
{
	*s = (struct scene){.order = {.kind = JOB_REMOVE}};
	scene_begin(s, engine);
	shell("cd %s; qemu-io -f qcow2 -c 'write -P 6 9M 6M' vm@b.qcow2 >/dev/null; "
	      "qemu-img convert -O raw vm.qcow2 before",
	      s->rig.dir);
}

/* One that is damaged is not written: what shows of it goes up. */
TEST_ON_ENGINES(job_down, goes_up_where_the_snapshot_is_damaged)
{
	struct scene s = {.order = {.kind = JOB_REMOVE}};

	scene_begin(&s, engine);
	/* The refcount of the header's cluster. */
	shell("printf '\\0\\0' | dd of=%s/vm@a.qcow2 bs=1 seek=131072 conv=notrunc status=none",
	      s.rig.dir);
	open_lun(&s);
	cr_assert_eq(scene_run(&s, "vm@a.qcow2", ""), 0);
	cr_assert(!s.has_spoiled);
	scene_end(&s);
}

/* How often names are not exchanged: not all file systems can. */
static atomic_uint renames_refused;

/* In the place of the C library's. */
int renameat2(int from, const char *name, int to, const char *other, unsigned flags)
{
	if (flags != 0 && atomic_load(&renames_refused) > 0) {
		atomic_fetch_sub(&renames_refused, 1);
		errno = EINVAL;
		return -1;
	}
	return (int)syscall(SYS_renameat2, from, name, to, other, flags);
}

TEST_ON_ENGINES(job_down, goes_up_where_names_are_not_exchanged)
{
	static const char *const snapshots[] = {"vm@a.qcow2", "vm@b.qcow2"};

	for (unsigned i = 0; i < ARRAY_SIZE(snapshots); i++) {
		struct scene s = {.order = {.kind = JOB_REMOVE}};

		if (i == 0)
			scene_begin(&s, engine);
		else
			make_large(&s, engine);
		open_lun(&s);
		atomic_store(&renames_refused, 1);
		cr_assert_eq(scene_run(&s, snapshots[i], ""), 0);
		cr_assert_eq(atomic_load(&renames_refused), 0);
		cr_assert(s.has_spoiled);
		cr_expect(!has_mark(&s, "vm.qcow2"));
		shell("test ! -e %s/%s", s.rig.dir, snapshots[i]);
		write_some(&s);
		scene_end(&s);
	}
}

/* -- The active file -- */

static void *write_on(void *arg)
{
	struct scene *s = arg;

	while (!atomic_load(&s->stops_writing) && s->writes < 100) {
		write_some(s);
		(void)usleep(2000);
	}
	return NULL;
}

/* Hosts write it all the time. */
TEST_ON_ENGINES(job_down, writes_the_active_file_down)
{
	struct scene s;
	uint64_t inode;
	pthread_t writer;

	make_large(&s, engine);
	open_lun(&s);
	inode = inode_of(&s, "vm@b.qcow2");
	scene_start(&s, "vm@b.qcow2", "");
	cr_assert_eq(pthread_create(&writer, NULL, write_on, &s), 0);
	cr_assert_eq(scene_wait(&s), 0);
	atomic_store(&s.stops_writing, true);
	cr_assert_eq(pthread_join(writer, NULL), 0);
	cr_assert_eq(inode_of(&s, "vm.qcow2"), inode);
	cr_expect(!has_mark(&s, "vm.qcow2"));
	shell("test ! -e %s/vm@b.qcow2", s.rig.dir);
	backing_is(&s, "vm.qcow2", "vm@a.qcow2");
	write_some(&s);
	scene_end(&s);
}

/* -- What a cancel leaves -- */

static void call_cancel(void *arg)
{
	struct scene *s = arg;

	loop_role_assume();
	s->answer = job_cancel(s->job);
}

static void start_slowly(struct scene *s, const char *image)
{
	s->order.rate_bytes = 1000;
	scene_start(s, image, "");
	wait_for_state(s, JOB_RUNNING);
}

/* No snapshot any more: nobody goes back to it, or clones it, or writes it. */
static void refuses_all(const struct scene *s)
{
	struct family_change *change = NULL;
	char base[128], clone[128], why[LUN_WHY_MAX];
	struct family_clone how = {.base = base, .base_format = "qcow2", .name = clone};

	(void)snprintf(base, sizeof(base), "%s/vm@a.qcow2", s->rig.dir);
	(void)snprintf(clone, sizeof(clone), "%s/clone.qcow2", s->rig.dir);
	cr_expect_eq(family_rollback_prepare(s->order.path, "a", NULL, FAMILY_SERVED, &change, why,
					     sizeof(why)),
		     -EBUSY);
	cr_expect_eq(family_clone(&how, why, sizeof(why)), -EBUSY);
	cr_expect(strstr(why, "remove it"), "%s", why);
}

TEST_ON_ENGINES(job_down, is_canceled)
{
	struct scene s;

	scene_make(&s, engine, JOB_REMOVE);
	start_slowly(&s, "vm@a.qcow2");
	rig_call(s.rig.control, call_cancel, &s);
	cr_assert(s.answer);
	cr_assert_eq(scene_wait(&s), -ECANCELED);
	cr_assert(s.has_spoiled);
	backing_is(&s, "vm@b.qcow2", "vm@a.qcow2");
	cr_assert(has_mark(&s, "vm@a.qcow2"));
	refuses_all(&s);
	write_some(&s);
	s.order = (struct job_order){.kind = JOB_REMOVE};
	(void)snprintf(s.order.path, sizeof(s.order.path), "%s/vm.qcow2", s.rig.dir);
	cr_assert_eq(scene_run(&s, "vm@a.qcow2", ""), 0);
	scene_end(&s);
}

/* Without its child it is still none: to be written it would have to show something. */
Test(job_down, leaves_a_mark_that_stays)
{
	struct scene s = {.order = {.kind = JOB_REMOVE}};
	struct job_files files;
	char why[LUN_WHY_MAX], path[128];
	int fd;

	scene_begin(&s, LOOP_ENGINE_AIO);
	(void)snprintf(s.order.image, sizeof(s.order.image), "vm@a.qcow2");
	cr_assert_eq(job_files_find(&s.order, true, &files, why), 0);
	cr_assert_str_eq(files.pushed, "vm@b.qcow2");
	cr_assert_eq(job_files_mark(&s.order, &files, why), 0);
	shell("cd %s; qemu-img rebase -u -f qcow2 -b golden.raw -F raw vm@b.qcow2", s.rig.dir);
	(void)snprintf(path, sizeof(path), "%s/vm@a.qcow2", s.rig.dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	cr_assert_eq(family_admit_writer(fd, why, sizeof(why)), -EBUSY);
	cr_assert(has_mark(&s, "vm@a.qcow2"));
	job_files_unmark(&s.order, &files);
	cr_assert_eq(family_admit_writer(fd, why, sizeof(why)), 0);
	close(fd);
	rig_free(&s.rig);
}

/* -- What a cut leaves -- */

/* Between finding and marking somebody has made a clone. */
Test(job_down, marks_no_base_of_others)
{
	struct scene s = {.order = {.kind = JOB_REMOVE}};
	struct job_files files;
	char why[LUN_WHY_MAX];

	scene_begin(&s, LOOP_ENGINE_AIO);
	(void)snprintf(s.order.image, sizeof(s.order.image), "vm@a.qcow2");
	cr_assert_eq(job_files_find(&s.order, true, &files, why), 0);
	shell("cd %s; qemu-img create -q -f qcow2 -b vm@a.qcow2 -F qcow2 clone.qcow2", s.rig.dir);
	cr_assert_lt(job_files_mark(&s.order, &files, why), 0);
	cr_assert(!has_mark(&s, "vm@a.qcow2"));
	rig_free(&s.rig);
}

/* As a job has left it that was cut after `exchanges` exchanges: 1: all but the removal is done; 2:
 * it was taken back. */
static void leave_cut(struct scene *s, const char *image, unsigned exchanges)
{
	struct job_files files;
	char why[LUN_WHY_MAX] = "";

	(void)snprintf(s->order.image, sizeof(s->order.image), "%s", image);
	cr_assert_eq(job_files_find(&s->order, true, &files, why), 0);
	cr_assert_str_neq(files.pushed, "");
	cr_assert_eq(job_files_mark(&s->order, &files, why), 0);
	/* What the push would have done. */
	shell("cd %s; qemu-img convert -O raw %s shown; "
	      "qemu-img convert -n -f raw -O qcow2 shown %s; rm shown",
	      s->rig.dir, files.pushed, files.layer);
	for (unsigned i = 0; i < exchanges; i++)
		cr_assert_eq(job_files_exchange(&s->order, &files, i == 1, why), 0, "%s", why);
	s->order.is_resumed = true;
}

TEST_ON_ENGINES(job_down, is_resumed_after_a_cut)
{
	static const char *const snapshots[] = {"vm@a.qcow2", "vm@b.qcow2"};

	for (unsigned i = 0; i < 3 * ARRAY_SIZE(snapshots); i++) {
		const char *snapshot = snapshots[i / 3];
		struct scene s = {.order = {.kind = JOB_REMOVE}};

		scene_begin(&s, engine);
		leave_cut(&s, snapshot, i % 3);
		cr_expect(has_mark(&s, snapshot));
		cr_expect_eq(has_mark(&s, i < 3 ? "vm@b.qcow2" : "vm.qcow2"), i % 3 == 1);
		open_lun(&s);
		cr_assert_eq(scene_run(&s, snapshot, ""), 0, "%u", i);
		shell("test ! -e %s/%s", s.rig.dir, snapshot);
		cr_expect(!has_mark(&s, i < 3 ? "vm@b.qcow2" : "vm.qcow2"));
		scene_end(&s);
	}
}

/* -- What a review found -- */

/* Whose size is no multiple of what is pushed at once. */
TEST_ON_ENGINES(job_down, moves_a_disk_of_any_size)
{
	struct scene s = {.order = {.kind = JOB_REMOVE}};
	uint64_t inode;

	scene_begin(&s, engine);
	shell("cd %s; for i in vm@a vm@b vm; do qemu-img resize -q -f qcow2 $i.qcow2 +520k; done; "
	      "qemu-img convert -O raw vm.qcow2 before",
	      s.rig.dir);
	open_lun(&s);
	inode = inode_of(&s, "vm@a.qcow2");
	cr_assert_eq(scene_run(&s, "vm@a.qcow2", ""), 0);
	cr_expect_eq(inode_of(&s, "vm@b.qcow2"), inode);
	scene_end(&s);
}

/* A job was canceled, what is above it has another name since, and the next one ends before it has
 * written anything: what the first one wrote is still there. */
Test(job_down, leaves_the_mark_of_another_job)
{
	struct scene s = {.order = {.kind = JOB_REMOVE}};
	struct job_files files;
	char why[LUN_WHY_MAX];

	scene_begin(&s, LOOP_ENGINE_AIO);
	shell("setfattr -n user.ringsan.merge -v vm.qcow2 %s/vm@a.qcow2", s.rig.dir);
	(void)snprintf(s.order.image, sizeof(s.order.image), "vm@a.qcow2");
	cr_assert_eq(job_files_find(&s.order, true, &files, why), 0);
	cr_assert_eq(job_files_mark(&s.order, &files, why), 0);
	cr_expect(!files.marked_here);
	job_files_unmark(&s.order, &files);
	cr_expect(has_mark(&s, "vm@a.qcow2"));
	rig_free(&s.rig);
}

/* It was opened under its new name before that was taken back. */
Test(job_down, is_marked_again_when_taken_back)
{
	struct scene s = {.order = {.kind = JOB_REMOVE}};
	char why[LUN_WHY_MAX], path[128];
	struct job_files files;
	int fd;

	make_large(&s, LOOP_ENGINE_AIO);
	(void)snprintf(s.order.image, sizeof(s.order.image), "vm@b.qcow2");
	cr_assert_eq(job_files_find(&s.order, true, &files, why), 0);
	cr_assert_str_eq(files.pushed, "vm.qcow2");
	cr_assert_eq(job_files_mark(&s.order, &files, why), 0);
	cr_assert_eq(job_files_exchange(&s.order, &files, false, why), 0, "%s", why);
	(void)snprintf(path, sizeof(path), "%s/vm.qcow2", s.rig.dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	cr_assert_eq(family_admit_writer(fd, why, sizeof(why)), 0, "%s", why);
	close(fd);
	cr_assert_eq(job_files_exchange(&s.order, &files, true, why), 0, "%s", why);
	cr_expect(has_mark(&s, "vm@b.qcow2"));
	cr_expect(!has_mark(&s, "vm.qcow2"));
	rig_free(&s.rig);
}

/* A record of before is left; the same was done without the daemon, upwards, and then the image
 * itself became a snapshot of that name. */
Test(job_down, removes_no_later_snapshot)
{
	struct scene s = {.order = {.kind = JOB_REMOVE}};
	struct job_files files;
	char why[LUN_WHY_MAX] = "";

	make_large(&s, LOOP_ENGINE_AIO);
	(void)snprintf(s.order.image, sizeof(s.order.image), "vm@b.qcow2");
	cr_assert_eq(job_files_find(&s.order, true, &files, why), 0);
	cr_assert_str_eq(files.pushed, "vm.qcow2");
	shell("cd %s; qemu-img rebase -f qcow2 -b vm@a.qcow2 -F qcow2 vm.qcow2; rm vm@b.qcow2; "
	      "mv vm.qcow2 vm@b.qcow2; "
	      "qemu-img create -q -f qcow2 -b vm@b.qcow2 -F qcow2 vm.qcow2",
	      s.rig.dir);
	s.order.is_resumed = true;
	cr_expect_eq(job_files_find(&s.order, true, &files, why), -ESTALE, "it would be removed");
	rig_free(&s.rig);
}

/* Nobody is shown it as a disk either. */
Test(job_down, is_not_served)
{
	struct scene s = {.order = {.kind = JOB_REMOVE}};
	struct lun_spec spec;
	char path[128];

	scene_begin(&s, LOOP_ENGINE_AIO);
	shell("setfattr -n user.ringsan.merge -v vm@b.qcow2 %s/vm@a.qcow2", s.rig.dir);
	spec = test_spec(&s.rig, "qcow2");
	(void)snprintf(path, sizeof(path), "%s/vm@a.qcow2", s.rig.dir);
	spec.path = path;
	spec.size_bytes = 0;
	spec.read_only = true;
	cr_assert_eq(lun_open(&spec, &s.rig.group, &s.lun), 0);
	cr_expect(!lun_state(s.lun)->online);
	lun_close(s.lun);
	rig_free(&s.rig);
}
