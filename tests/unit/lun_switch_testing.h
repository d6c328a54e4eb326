/*
 * What the tests of switches share: an image that opens as it is told to, and switches that can be
 * waited for. Not a test.
 */
#ifndef TESTS_UNIT_LUN_SWITCH_TESTING_H
#define TESTS_UNIT_LUN_SWITCH_TESTING_H

#include "tests/unit/lun_testing.h"

#include "lun/switch.h"

#define BLOCK 4096u
#define LUNS 2u

/* -- An image that opens as it is told to -- */

struct shelf {
	atomic_int open;         /* Images that are. */
	atomic_int refusals;     /* So many opens from now on fail, after `passed` that do not. */
	atomic_int passed;       /* Opens that go well before those. */
	atomic_int error;        /* Of a refusal. */
	atomic_uint slowness_us; /* Of a refusal. */
	_Atomic uint64_t growth; /* That an open finds. */
	atomic_bool less;        /* Images cannot do all that they could. */
};

static struct shelf shelf;

static inline int shelf_open(const struct lun_spec *spec, struct image **out,
			     struct image_info *info, char *why, size_t why_size)
{
	if (atomic_fetch_sub(&shelf.passed, 1) <= 0 && atomic_fetch_sub(&shelf.refusals, 1) > 0) {
		(void)snprintf(why, why_size, "the shelf does not have it");
		(void)usleep(atomic_load(&shelf.slowness_us));
		return atomic_load(&shelf.error);
	}
	atomic_fetch_add(&shelf.open, 1);
	cr_assert_eq(held_open(spec, out, info, why, why_size), 0);
	info->size_bytes += atomic_load(&shelf.growth);
	info->anchors = !atomic_load(&shelf.less);
	return 0;
}

static inline void shelf_close(struct image *image)
{
	(void)image;
	atomic_fetch_sub(&shelf.open, 1);
}

static const struct image_ops shelf_ops UNUSED = {
	.type = "shelf",
	.open = shelf_open,
	.close = shelf_close,
	.submit = held_submit,
	.fd = held_fd,
};

static inline void refuse_opens(int passed, int refusals, int error)
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

static inline int on_change(struct lun_switch *change, char why[LUN_WHY_MAX])
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

static inline void on_undo(struct lun_switch *change)
{
	struct tswitch *t = CONTAINER_OF(change, struct tswitch, change);

	for (unsigned i = 0; i < change->count; i++)
		cr_assert_null(change->luns[i]->image);
	atomic_store(&shelf.less, false);
	t->undos++;
}

static inline void on_done(struct lun_switch *change, int res)
{
	struct tswitch *t = CONTAINER_OF(change, struct tswitch, change);

	t->res = res;
	atomic_store(&t->ended, true);
	sem_post(&t->done);
}

static inline void call_start(void *arg)
{
	struct tswitch *t = arg;

	loop_role_assume();
	lun_switch_start(&t->change);
	cr_assert(!atomic_load(&t->ended), "done ran inside start");
}

static inline void begin(struct tswitch *t, struct scene *s, unsigned count, int answer)
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

static inline void start(struct tswitch *t)
{
	rig_call(t->change.control, call_start, t);
}

static inline int finish(struct tswitch *t)
{
	cr_assert(wait_for(&t->done, PATIENCE_S * 1000), "a switch does not end");
	return t->res;
}

static inline int run(struct tswitch *t, struct scene *s, unsigned count, int answer)
{
	begin(t, s, count, answer);
	start(t);
	return finish(t);
}

static inline struct lun_state state_of(struct scene *s, unsigned at)
{
	struct lun_state state;

	lun_state_copy(s->luns[at], &state);
	return state;
}

#endif
