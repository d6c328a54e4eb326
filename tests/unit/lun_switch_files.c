/*
 * The switch of LUNs over files: identities, files that go away, look-ahead that hosts hold up.
 */
#include "tests/unit/lun_switch_testing.h"

#include <sys/xattr.h>

struct files {
	struct scene scene;
	char path[96], other[96];
};

static void files_open(struct files *f, uint32_t look_ahead_bytes)
{
	struct lun_spec spec;

	rig_create(&f->scene.rig, LOOP_ENGINE_AIO, "/var/tmp");
	(void)snprintf(f->path, sizeof(f->path), "%s/image", f->scene.rig.dir);
	(void)snprintf(f->other, sizeof(f->other), "%s/other", f->scene.rig.dir);
	spec = test_spec(&f->scene.rig, "raw");
	spec.path = f->path;
	spec.look_ahead_bytes = look_ahead_bytes;
	cr_assert_eq(lun_open(&spec, &f->scene.rig.group, &f->scene.luns[0]), 0);
	cr_assert(lun_state(f->scene.luns[0])->online, "%s",
		  lun_state(f->scene.luns[0])->offline_reason);
	rig_run(&f->scene.rig);
}

static struct files *files;

static int change_to_copy(struct lun_switch *change, char why[LUN_WHY_MAX])
{
	char command[512];

	(void)change;
	(void)why;
	(void)snprintf(command, sizeof(command), "cp %s %s && mv %s %s", files->path, files->other,
		       files->other, files->path);
	/* NOLINTNEXTLINE(cert-env33-c): paths of the test's own. */
	return system(command) == 0 ? 0 : -EIO;
}

static int change_by_losing(struct lun_switch *change, char why[LUN_WHY_MAX])
{
	(void)change;
	(void)why;
	return rename(files->path, files->other) != 0 ? -errno : 0;
}

static void undo_losing(struct lun_switch *change)
{
	(void)change;
	cr_assert_neq(access(files->path, F_OK), 0, "nothing was made in its place");
	cr_assert_eq(rename(files->other, files->path), 0);
}

static void files_close(struct files *f)
{
	rig_close(&f->scene.rig, f->scene.luns[0]);
}

Test(switch_files, a_lun_keeps_its_identity_with_another_file)
{
	struct files f;
	struct tswitch t;
	struct lun_identity before;
	char text[256];

	files = &f;
	files_open(&f, 1 << 20);
	before = *lun_identity(f.scene.luns[0]);
	cr_assert_eq(tio_run(f.scene.luns[0], f.scene.rig.group.loops[1], LUN_WRITE, 0, BLOCK), 0);
	begin(&t, &f.scene, 1, 0);
	t.change.change = change_to_copy;
	start(&t);
	cr_assert_eq(finish(&t), 0, "%s", t.change.why);
	cr_expect_eq(memcmp(&before, lun_identity(f.scene.luns[0]), sizeof(before)), 0);
	cr_expect_gt(getxattr(f.path, "user.ringsan.identity", text, sizeof(text)), 0,
		     "the copy got it");
	cr_expect_eq(tio_run(f.scene.luns[0], f.scene.rig.group.loops[0], LUN_WRITE, BLOCK, BLOCK),
		     0);
	files_close(&f);
}

static int change_nothing(struct lun_switch *change, char why[LUN_WHY_MAX])
{
	(void)change;
	(void)why;
	return 0;
}

static void on_range(struct lun_exclusive *exclusive)
{
	(void)exclusive;
}

static void call_acquire(void *arg)
{
	struct lun_exclusive *exclusive = arg;

	loop_role_assume();
	lun_exclusive_acquire(exclusive->lun, exclusive->loop, exclusive);
}

static void call_release(void *arg)
{
	loop_role_assume();
	lun_exclusive_release(arg);
}

/* Look-ahead wants to give space back and waits for a range that a host has; where the file system
 * knows no look-ahead there is nothing to be seen. */
Test(switch_files, look_ahead_may_wait_for_a_host_meanwhile)
{
	struct files f;
	struct tswitch t;
	struct loop *loop;
	struct lun_exclusive exclusive = {.length_bytes = 16 << 20};

	files_open(&f, 4 << 20);
	loop = f.scene.rig.group.loops[1];
	f.scene.luns[0]->ahead_rest_ms = 20;
	for (uint64_t at = 0; at < 2 << 20; at += 65536)
		cr_assert_eq(
			tio_run(f.scene.luns[0], f.scene.rig.group.loops[0], LUN_WRITE, at, 65536),
			0);
	exclusive.lun = f.scene.luns[0];
	exclusive.loop = loop;
	exclusive.granted = exclusive.released = on_range;
	rig_call(loop, call_acquire, &exclusive);
	(void)usleep(200000);
	begin(&t, &f.scene, 1, 0);
	t.change.change = change_nothing;
	start(&t);
	cr_expect_eq(finish(&t), 0, "%s", t.change.why);
	rig_call(loop, call_release, &exclusive);
	rig_settle(&f.scene.rig);
	cr_expect_eq(tio_run(f.scene.luns[0], loop, LUN_WRITE, 0, BLOCK), 0);
	(void)usleep(200000);
	files_close(&f);
}

Test(switch_files, no_image_is_made_where_one_has_gone)
{
	struct files f;
	struct tswitch t;

	files = &f;
	files_open(&f, 0);
	begin(&t, &f.scene, 1, 0);
	t.change.change = change_by_losing;
	t.change.undo = undo_losing;
	start(&t);
	cr_expect_eq(finish(&t), -ENOENT);
	cr_expect(state_of(&f.scene, 0).online);
	cr_expect_eq(tio_run(f.scene.luns[0], f.scene.rig.group.loops[0], LUN_WRITE, 0, BLOCK), 0);
	files_close(&f);
}

Test(switch_files, the_image_of_another_lun_is_refused)
{
	static const char other[] = "1 naa=652534e0aaaaaaaaaaaaaaaaaaaaaaaa block=512 unit=4096";
	struct files f;
	struct tswitch t;

	files = &f;
	files_open(&f, 0);
	/* As if the change had put it there; and as it does not undo that, the LUN goes offline. */
	cr_assert_eq(setxattr(f.path, "user.ringsan.identity", other, strlen(other), 0), 0);
	cr_expect_eq(run(&t, &f.scene, 1, 0), -EINVAL);
	cr_expect_str_eq(t.change.why, "it has the identity of another LUN");
	cr_expect(!state_of(&f.scene, 0).online);
	files_close(&f);
}

/* Nor a clone of what the configuration names: it would be the disk as it was at first. */
Test(switch_files, no_clone_is_made_where_one_has_gone)
{
	struct files f;
	struct tswitch t;
	struct lun_spec spec;
	struct lun *base;

	files = &f;
	rig_create(&f.scene.rig, LOOP_ENGINE_AIO, "/var/tmp");
	(void)snprintf(f.path, sizeof(f.path), "%s/image.qcow2", f.scene.rig.dir);
	(void)snprintf(f.other, sizeof(f.other), "%s/other.qcow2", f.scene.rig.dir);
	spec = test_spec(&f.scene.rig, "qcow2");
	spec.path = f.other;
	cr_assert_eq(lun_open(&spec, &f.scene.rig.group, &base), 0);
	lun_close(base);
	spec.path = f.path;
	spec.size_bytes = 0;
	spec.backing_name = "other.qcow2";
	cr_assert_eq(lun_open(&spec, &f.scene.rig.group, &f.scene.luns[0]), 0);
	cr_assert(lun_state(f.scene.luns[0])->online, "%s",
		  lun_state(f.scene.luns[0])->offline_reason);
	(void)snprintf(f.other, sizeof(f.other), "%s/gone.qcow2", f.scene.rig.dir);
	rig_run(&f.scene.rig);
	begin(&t, &f.scene, 1, 0);
	t.change.change = change_by_losing;
	t.change.undo = undo_losing;
	start(&t);
	cr_expect_eq(finish(&t), -ENOENT);
	cr_expect(state_of(&f.scene, 0).online);
	files_close(&f);
}
