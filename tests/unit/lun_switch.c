/*
 * The switch of LUNs to changed files: all or none of them, what each step's failure leaves, and
 * what becomes of those who drain, measure or write meanwhile. Over an image that holds every I/O
 * and opens as it is told to; and over files.
 */
#include "tests/unit/lun_testing.h"

#include "lun/switch.h"

#include <sys/xattr.h>

#define BLOCK 4096u
#define LUNS 2u

/* -- An image that opens as it is told to -- */

struct shelf {
	atomic_int open;         /* Images that are. */
	atomic_int refusals;     /* So many opens from now on fail, after `passed` that do not. */
	atomic_int passed;       /* Opens that go well before those. */
	atomic_int error;        /* Of a refusal. */
	_Atomic uint64_t growth; /* That an open finds. */
	atomic_bool less;        /* Images cannot do all that they could. */
};

static struct shelf shelf;

static int shelf_open(const struct lun_spec *spec, struct image **out, struct image_info *info,
		      char *why, size_t why_size)
{
	if (atomic_fetch_sub(&shelf.passed, 1) <= 0 && atomic_fetch_sub(&shelf.refusals, 1) > 0) {
		(void)snprintf(why, why_size, "the shelf does not have it");
		return atomic_load(&shelf.error);
	}
	atomic_fetch_add(&shelf.open, 1);
	cr_assert_eq(held_open(spec, out, info, why, why_size), 0);
	info->size_bytes += atomic_load(&shelf.growth);
	info->anchors = !atomic_load(&shelf.less);
	return 0;
}

static void shelf_close(struct image *image)
{
	(void)image;
	atomic_fetch_sub(&shelf.open, 1);
}

static const struct image_ops shelf_ops = {
	.type = "shelf",
	.open = shelf_open,
	.close = shelf_close,
	.submit = held_submit,
	.fd = held_fd,
};

static void refuse_opens(int passed, int refusals, int error)
{
	atomic_store(&shelf.error, error);
	atomic_store(&shelf.refusals, refusals);
	atomic_store(&shelf.passed, passed);
}

/* -- A switch that can be waited for -- */

struct scene {
	struct rig rig;
	struct lun *luns[LUNS];
};

struct tswitch {
	struct lun_switch change;
	sem_t done;
	atomic_bool ended;
	int res;
	int answer; /* Of change. */
	int open_at_change;
	unsigned changes, undos;
	sem_t *hold; /* change waits for it. */
	sem_t changing;
};

static int on_change(struct lun_switch *change, char why[LUN_WHY_MAX])
{
	struct tswitch *t = CONTAINER_OF(change, struct tswitch, change);

	t->open_at_change = atomic_load(&shelf.open);
	t->changes++;
	sem_post(&t->changing);
	if (t->hold)
		(void)wait_for(t->hold, PATIENCE_S * 1000);
	if (t->answer != 0)
		(void)snprintf(why, LUN_WHY_MAX, "the test says no");
	return t->answer;
}

static void on_undo(struct lun_switch *change)
{
	struct tswitch *t = CONTAINER_OF(change, struct tswitch, change);

	for (unsigned i = 0; i < change->count; i++)
		cr_assert_null(change->luns[i]->image);
	atomic_store(&shelf.less, false);
	t->undos++;
}

static void on_done(struct lun_switch *change, int res)
{
	struct tswitch *t = CONTAINER_OF(change, struct tswitch, change);

	t->res = res;
	atomic_store(&t->ended, true);
	sem_post(&t->done);
}

static void call_start(void *arg)
{
	struct tswitch *t = arg;

	loop_role_assume();
	lun_switch_start(&t->change);
	cr_assert(!atomic_load(&t->ended), "done ran inside start");
}

static void begin(struct tswitch *t, struct scene *s, unsigned count, int answer)
{
	*t = (struct tswitch){.answer = answer,
			      .change = {.luns = s->luns,
					 .count = count,
					 .control = s->rig.control,
					 .deadline_ms = PATIENCE_S * 1000,
					 .change = on_change,
					 .undo = on_undo,
					 .done = on_done}};
	sem_init(&t->done, 0, 0);
	sem_init(&t->changing, 0, 0);
}

static void start(struct tswitch *t)
{
	rig_call(t->change.control, call_start, t);
}

static int finish(struct tswitch *t)
{
	cr_assert(wait_for(&t->done, PATIENCE_S * 1000), "a switch does not end");
	return t->res;
}

static int run(struct tswitch *t, struct scene *s, unsigned count, int answer)
{
	begin(t, s, count, answer);
	start(t);
	return finish(t);
}

/* -- Scenes -- */

static void scene_open(struct scene *s, enum loop_engine engine)
{
	rig_create(&s->rig, engine, "/tmp");
	for (unsigned i = 0; i < LUNS; i++) {
		char name[16];
		struct lun_spec spec = test_spec(&s->rig, "shelf");

		(void)snprintf(name, sizeof(name), "test:lun %u", i);
		spec.name = name;
		cr_assert_eq(lun_open_type(&spec, &s->rig.group, &shelf_ops, &s->luns[i]), 0);
	}
	rig_run(&s->rig);
}

static void scene_close(struct scene *s)
{
	rig_settle(&s->rig);
	rig_halt(&s->rig);
	for (unsigned i = 0; i < LUNS; i++)
		lun_close(s->luns[i]);
	rig_free(&s->rig);
}

static struct lun_state state_of(struct scene *s, unsigned at)
{
	struct lun_state state;

	lun_state_copy(s->luns[at], &state);
	return state;
}

static struct tio *submit(struct scene *s, unsigned at, enum lun_op op)
{
	struct tio *t = tio_new(op, 0, BLOCK);

	tio_submit(t, s->luns[at], s->rig.group.loops[at % RIG_LOOPS]);
	rig_settle(&s->rig);
	return t;
}

static void expect_serving(struct scene *s, unsigned at)
{
	struct tio *t = submit(s, at, LUN_WRITE);

	cr_expect(state_of(s, at).online && !state_of(s, at).gate_closed);
	cr_assert_eq(held_end(t, 0), 0);
	tio_free(t);
}

/* -- What goes well -- */

TEST_ON_ENGINES(switch, closes_all_before_it_changes_anything)
{
	struct scene s;
	struct tswitch t;

	scene_open(&s, engine);
	cr_assert_eq(run(&t, &s, LUNS, 0), 0, "%s", t.change.why);
	cr_expect_eq(t.open_at_change, 0);
	cr_expect_eq(atomic_load(&shelf.open), (int)LUNS);
	cr_expect_eq(t.changes, 1);
	cr_expect_eq(t.undos, 0);
	cr_expect_geq(t.change.paused_ns, t.change.changing_ns);
	for (unsigned i = 0; i < LUNS; i++)
		expect_serving(&s, i);
	scene_close(&s);
}

TEST_ON_ENGINES(switch, io_waits_and_goes_on)
{
	struct scene s;
	struct tswitch t;
	struct tio *before;
	struct tio *during;
	sem_t hold;

	sem_init(&hold, 0, 0);
	scene_open(&s, engine);
	before = submit(&s, 1, LUN_WRITE);
	begin(&t, &s, LUNS, 0);
	t.hold = &hold;
	start(&t);
	rig_settle(&s.rig);
	cr_expect_eq(t.changes, 0, "an I/O is under way");
	cr_assert_eq(held_end(before, 0), 0);
	cr_assert(wait_for(&t.changing, PATIENCE_S * 1000));
	during = submit(&s, 0, LUN_READ);
	cr_expect(!held_has(during));
	sem_post(&hold);
	cr_assert_eq(finish(&t), 0);
	rig_settle(&s.rig);
	cr_assert_eq(held_end(during, 0), 0);
	tio_free(before);
	tio_free(during);
	scene_close(&s);
}

Test(switch, an_image_that_has_grown_makes_the_lun_larger)
{
	struct scene s;
	struct tswitch t;
	uint64_t before;

	scene_open(&s, LOOP_ENGINE_AIO);
	before = state_of(&s, 0).size_bytes;
	/* One whose configuration does not fix the size. */
	s.luns[0]->spec.size_bytes = 0;
	atomic_store(&shelf.growth, 1 << 20);
	cr_assert_eq(run(&t, &s, LUNS, 0), 0);
	cr_expect_eq(state_of(&s, 0).size_bytes, before + (1 << 20));
	cr_expect_eq(state_of(&s, 1).size_bytes, before);
	scene_close(&s);
}

/* -- What does not -- */

TEST_ON_ENGINES(switch, one_that_cannot_be_drained_leaves_all_as_they_were)
{
	struct scene s;
	struct tswitch t;
	struct tio *stuck;

	scene_open(&s, engine);
	stuck = submit(&s, 1, LUN_READ);
	begin(&t, &s, LUNS, 0);
	t.change.deadline_ms = 50;
	start(&t);
	cr_expect_eq(finish(&t), -ETIMEDOUT);
	cr_expect_eq(t.change.failed, 1);
	cr_expect_neq(t.change.why[0], '\0');
	cr_expect_eq(t.changes, 0);
	expect_serving(&s, 0);
	cr_assert_eq(held_end(stuck, 0), 0);
	expect_serving(&s, 1);
	tio_free(stuck);
	cr_expect_eq(run(&t, &s, LUNS, 0), 0, "later it can be");
	scene_close(&s);
}

TEST_ON_ENGINES(switch, a_change_that_fails_changes_nothing)
{
	struct scene s;
	struct tswitch t;

	scene_open(&s, engine);
	cr_expect_eq(run(&t, &s, LUNS, -ENOSPC), -ENOSPC);
	cr_expect_str_eq(t.change.why, "the test says no");
	cr_expect_eq(t.undos, 0);
	cr_expect_eq(atomic_load(&shelf.open), (int)LUNS);
	for (unsigned i = 0; i < LUNS; i++)
		expect_serving(&s, i);
	scene_close(&s);
}

TEST_ON_ENGINES(switch, what_does_not_open_afterwards_is_undone)
{
	struct scene s;
	struct tswitch t;

	scene_open(&s, engine);
	refuse_opens(1, 1, -EINVAL);
	cr_expect_eq(run(&t, &s, LUNS, 0), -EINVAL);
	cr_expect_eq(t.change.failed, 1);
	cr_expect_str_eq(t.change.why, "the shelf does not have it");
	cr_expect_eq(t.undos, 1);
	cr_expect_eq(atomic_load(&shelf.open), (int)LUNS);
	for (unsigned i = 0; i < LUNS; i++)
		expect_serving(&s, i);
	scene_close(&s);
}

TEST_ON_ENGINES(switch, what_does_not_open_at_all_goes_offline_with_the_reason)
{
	struct scene s;
	struct tswitch t;
	struct lun_state state;

	scene_open(&s, engine);
	/* The second one: after the change, and again after it was undone. */
	refuse_opens(0, 2, -EINVAL);
	cr_expect_eq(run(&t, &s, LUNS, 0), -EINVAL);
	cr_expect_eq(t.undos, 1);
	state = state_of(&s, 0);
	cr_expect(!state.online && !state.gate_closed);
	cr_expect_str_eq(state.offline_reason, "the shelf does not have it");
	cr_expect_eq(tio_run(s.luns[0], s.rig.group.loops[0], LUN_READ, 0, BLOCK), -ENODEV);
	expect_serving(&s, 1);
	/* Once offline it is not switched any more. */
	cr_expect_eq(run(&t, &s, LUNS, 0), -ENODEV);
	cr_expect_eq(t.change.failed, 0);
	expect_serving(&s, 1);
	scene_close(&s);
}

Test(switch, an_image_that_somebody_looks_at_is_waited_for)
{
	struct scene s;
	struct tswitch t;

	scene_open(&s, LOOP_ENGINE_AIO);
	refuse_opens(0, 3, -EBUSY);
	cr_expect_eq(run(&t, &s, LUNS, 0), 0);
	cr_expect_eq(t.undos, 0);
	scene_close(&s);
}

Test(switch, an_image_that_can_do_less_is_refused)
{
	struct scene s;
	struct tswitch t;

	scene_open(&s, LOOP_ENGINE_AIO);
	atomic_store(&shelf.less, true);
	cr_expect_eq(run(&t, &s, 1, 0), -EINVAL);
	cr_expect_eq(t.undos, 1);
	expect_serving(&s, 0);
	scene_close(&s);
}

Test(switch, a_lun_whose_flush_failed_is_not_opened_again)
{
	struct scene s;
	struct tswitch t;
	struct tio *flush;

	scene_open(&s, LOOP_ENGINE_AIO);
	flush = submit(&s, 0, LUN_FLUSH);
	cr_assert_eq(held_end(flush, -EIO), -EIO);
	tio_free(flush);
	cr_expect_eq(run(&t, &s, LUNS, 0), -EIO);
	cr_expect_eq(t.changes, 0);
	cr_expect(state_of(&s, 0).read_only, "it stays as it is");
	expect_serving(&s, 1);
	scene_close(&s);
}

/* -- Others meanwhile -- */

static void on_drained(struct lun *lun, int res, void *arg)
{
	(void)lun;
	*(int *)arg = res;
}

struct other {
	struct scene *s;
	int res;
};

static void call_drain(void *arg)
{
	struct other *other = arg;

	loop_role_assume();
	lun_drain(other->s->luns[1], other->s->rig.control, 1000, on_drained, &other->res);
}

static void call_resume(void *arg)
{
	struct other *other = arg;

	loop_role_assume();
	lun_resume(other->s->luns[1], other->s->rig.control);
}

TEST_ON_ENGINES(switch, one_that_is_drained_by_others_is_left_to_them)
{
	struct scene s;
	struct tswitch t;
	struct other other = {.s = &s, .res = 1};

	scene_open(&s, engine);
	rig_call(s.rig.control, call_drain, &other);
	cr_expect_eq(run(&t, &s, LUNS, 0), -EBUSY);
	cr_expect_eq(t.changes, 0);
	rig_settle(&s.rig);
	cr_assert_eq(other.res, 0);
	cr_expect(state_of(&s, 1).gate_closed, "it is theirs");
	expect_serving(&s, 0);
	rig_call(s.rig.control, call_resume, &other);
	expect_serving(&s, 1);
	scene_close(&s);
}

TEST_ON_ENGINES(switch, others_find_it_busy)
{
	struct scene s;
	struct tswitch t;
	struct tswitch second;
	struct other other = {.s = &s, .res = 1};
	char why[LUN_WHY_MAX] = "";
	uint64_t size;
	sem_t hold;

	sem_init(&hold, 0, 0);
	scene_open(&s, engine);
	begin(&t, &s, LUNS, 0);
	t.hold = &hold;
	start(&t);
	cr_assert(wait_for(&t.changing, PATIENCE_S * 1000));
	rig_call(s.rig.control, call_drain, &other);
	cr_expect_eq(other.res, -EBUSY);
	cr_expect_eq(run(&second, &s, 1, 0), -EBUSY);
	cr_expect_eq(lun_measure(s.luns[0], 0, &size, why), -EBUSY);
	cr_expect_neq(why[0], '\0');
	/* Who only wants to know what it uses keeps what he knows. */
	lun_space_look(s.luns[0]);
	sem_post(&hold);
	cr_expect_eq(finish(&t), 0);
	for (unsigned i = 0; i < LUNS; i++)
		expect_serving(&s, i);
	scene_close(&s);
}

/* -- Files -- */

struct files {
	struct scene scene;
	char path[96], other[96];
};

static void files_open(struct files *f, uint32_t look_ahead_bytes)
{
	struct lun_spec spec;

	rig_create(&f->scene.rig, LOOP_ENGINE_AIO, ".");
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

Test(switch, a_lun_keeps_its_identity_with_another_file)
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
Test(switch, look_ahead_may_wait_for_a_host_meanwhile)
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

Test(switch, no_image_is_made_where_one_has_gone)
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

Test(switch, the_image_of_another_lun_is_refused)
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
