/*
 * Ranges: what waits for what, in which order, and who is woken. Over an image that holds every I/O
 * until the test lets it go, so that each rule is shown by what the image has been given.
 */
#include "tests/unit/lun_testing.h"

#define BLOCK 4096u

static struct tio *begin(struct rig *rig, struct lun *lun, unsigned loop, enum lun_op op,
			 uint64_t block, uint64_t blocks)
{
	struct tio *t = tio_new(op, block * BLOCK, blocks * BLOCK);

	tio_submit(t, lun, rig->group.loops[loop]);
	rig_settle(rig);
	return t;
}

static void end(struct tio *t, int res)
{
	cr_assert_eq(held_end(t, res), res);
	tio_free(t);
}

/* -- Orphans -- */

TEST_ON_ENGINES(orphan, later_io_on_its_blocks_waits_and_other_io_goes_on)
{
	struct rig rig;
	struct lun *lun = held_lun(&rig, engine);
	struct tio *orphan = begin(&rig, lun, 0, LUN_WRITE, 10, 4);

	tio_abandon(orphan);
	struct tio *write = begin(&rig, lun, 1, LUN_WRITE, 13, 1);
	struct tio *read = begin(&rig, lun, 0, LUN_READ, 10, 1);
	struct tio *unmap = begin(&rig, lun, 1, LUN_UNMAP, 0, 100);
	struct tio *beside = begin(&rig, lun, 1, LUN_WRITE, 14, 1);
	struct tio *flush = begin(&rig, lun, 1, LUN_FLUSH, 0, 0);
	cr_assert(!atomic_load(&orphan->ended), "its buffer is still the image's");
	cr_assert(!held_has(write) && !held_has(read) && !held_has(unmap));
	cr_assert(held_has(beside) && held_has(flush));
	cr_assert_eq(held_end(orphan, 0), 0);
	tio_free(orphan);
	rig_settle(&rig);
	cr_assert(held_has(write) && held_has(read) && held_has(unmap));
	struct tio *all[] = {write, read, unmap, beside, flush};
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		end(all[i], 0);
	cr_assert_null((void *)lun->ranges.newest, "the set goes back to none");
	rig_close(&rig, lun);
}

TEST_ON_ENGINES(orphan, abandoned_reads_and_flushes_publish_no_range)
{
	struct rig rig;
	struct lun *lun = held_lun(&rig, engine);
	struct tio *read = begin(&rig, lun, 0, LUN_READ, 0, 1);
	struct tio *flush = begin(&rig, lun, 0, LUN_FLUSH, 0, 0);

	tio_abandon(read);
	tio_abandon(flush);
	cr_assert_eq(lun->ranges.orphans, 2);
	struct tio *write = begin(&rig, lun, 1, LUN_WRITE, 0, 1);
	cr_assert(held_has(write));
	end(write, 0);
	end(read, 0);
	end(flush, 0);
	cr_assert_eq(lun->ranges.orphans, 0);
	rig_close(&rig, lun);
}

TEST_ON_ENGINES(orphan, a_waiting_io_that_is_abandoned_ends_at_once)
{
	struct rig rig;
	struct lun *lun = held_lun(&rig, engine);
	struct tio *orphan = begin(&rig, lun, 0, LUN_WRITE, 0, 1);

	tio_abandon(orphan);
	struct tio *waiting = begin(&rig, lun, 1, LUN_WRITE, 0, 1);
	cr_assert_not(atomic_load(&waiting->ended));
	tio_abandon(waiting);
	cr_assert_eq(tio_wait(waiting), -ECANCELED);
	tio_abandon(waiting); /* Idle now: left alone. */
	tio_free(waiting);
	end(orphan, -EIO);
	rig_close(&rig, lun);
}

/* -- Waiting for orphans: lun_wait_for_orphans -- */

struct waiting {
	struct lun_orphan_wait wait;
	struct lun *lun;
	struct loop *loop;
	atomic_bool over;
};

static void on_over(struct lun_orphan_wait *wait)
{
	struct waiting *waiting = CONTAINER_OF(wait, struct waiting, wait);

	cr_assert(loop_is_current(waiting->loop));
	atomic_store(&waiting->over, true);
}

static void call_orphan_wait(void *arg)
{
	struct waiting *waiting = arg;

	loop_role_assume();
	waiting->wait.done = on_over;
	lun_wait_for_orphans(waiting->lun, waiting->loop, &waiting->wait);
	cr_assert(!atomic_load(&waiting->over), "never inside the call");
}

static void begin_wait(struct waiting *waiting, struct rig *rig, struct lun *lun, unsigned loop)
{
	*waiting = (struct waiting){.lun = lun, .loop = rig->group.loops[loop]};
	rig_call(waiting->loop, call_orphan_wait, waiting);
	rig_settle(rig);
}

TEST_ON_ENGINES(orphan, those_of_any_loop_are_waited_for_and_later_ones_are_not)
{
	struct rig rig;
	struct lun *lun = held_lun(&rig, engine);
	struct tio *first = begin(&rig, lun, 0, LUN_WRITE, 10, 4);
	struct tio *second = begin(&rig, lun, 1, LUN_UNMAP, 20, 4);
	struct tio *read = begin(&rig, lun, 1, LUN_READ, 30, 4);
	struct tio *other = begin(&rig, lun, 1, LUN_WRITE, 40, 4);
	struct waiting waiting[3];

	tio_abandon(first);
	tio_abandon(second);
	tio_abandon(read);
	begin_wait(&waiting[0], &rig, lun, 0);
	tio_abandon(other);
	begin_wait(&waiting[1], &rig, lun, 1);
	end(first, -EIO);
	rig_settle(&rig);
	cr_assert(!atomic_load(&waiting[0].over));
	end(second, 0);
	rig_settle(&rig);
	cr_assert(atomic_load(&waiting[0].over), "neither for the read nor for a later orphan");
	cr_assert(!atomic_load(&waiting[1].over));
	end(other, 0);
	rig_settle(&rig);
	cr_assert(atomic_load(&waiting[1].over));
	begin_wait(&waiting[2], &rig, lun, 0);
	cr_assert(atomic_load(&waiting[2].over), "at once where there is none");
	end(read, 0);
	rig_close(&rig, lun);
}

/* As many orphans as the account holds, then one more, then all end in order. */
TEST_ON_ENGINES(orphan, a_full_account_closes_the_lun_until_there_is_room)
{
	struct tio *orphans[LUN_ORPHANS_MAX + 2];
	struct rig rig;
	struct lun *lun = held_lun(&rig, engine);

	for (unsigned i = 0; i < ARRAY_SIZE(orphans); i++) {
		orphans[i] = tio_new(LUN_WRITE, (uint64_t)i * BLOCK, BLOCK);
		tio_submit(orphans[i], lun, rig.group.loops[i % 2]);
	}
	for (unsigned i = 0; i < LUN_ORPHANS_MAX; i++) {
		cr_assert_not(lun_is_overrun(lun), "after %u", i);
		tio_abandon(orphans[i]);
	}
	cr_assert(lun_is_overrun(lun));
	for (unsigned i = LUN_ORPHANS_MAX; i < ARRAY_SIZE(orphans); i++)
		tio_abandon(orphans[i]);
	cr_assert_eq(tio_run(lun, rig.group.loops[0], LUN_READ, 500 * BLOCK, BLOCK), -EBUSY);
	cr_assert_eq(tio_run(lun, rig.group.loops[1], LUN_FLUSH, 0, 0), -EBUSY);
	for (unsigned i = 0; i < LUN_ORPHANS_MAX; i++)
		end(orphans[i], 0);
	/* Two orphans without an entry are left: nothing may be admitted beside them. */
	cr_assert_eq(lun->ranges.unlisted_orphans, 2);
	cr_assert_eq(tio_run(lun, rig.group.loops[0], LUN_WRITE, 500 * BLOCK, BLOCK), -EBUSY);
	end(orphans[LUN_ORPHANS_MAX], 0);
	cr_assert(lun_is_overrun(lun));
	end(orphans[LUN_ORPHANS_MAX + 1], 0);
	cr_assert_not(lun_is_overrun(lun));
	struct tio *write = begin(&rig, lun, 0, LUN_WRITE, LUN_ORPHANS_MAX, 1);
	end(write, 0);
	rig_close(&rig, lun);
}

struct blocker {
	struct loop_msg msg;
	sem_t go;
};

static void call_wait(struct loop_msg *msg)
{
	sem_wait(&CONTAINER_OF(msg, struct blocker, msg)->go);
}

/* One loop is in a long turn, so no set comes back. Orphans come and go on the other; each of them
 * must be published all the same. */
TEST_ON_ENGINES(orphan, finds_room_while_no_set_comes_back)
{
	enum {
		COUNT = 3 * LUN_SETS
	};
	struct tio *orphans[COUNT];
	struct blocker blocker = {0};
	struct rig rig;
	struct lun *lun = held_lun(&rig, engine);

	for (unsigned i = 0; i < COUNT; i++)
		orphans[i] = begin(&rig, lun, 0, LUN_WRITE, i, 1);
	sem_init(&blocker.go, 0, 0);
	loop_post(rig.group.loops[1], &blocker.msg, call_wait);
	for (unsigned i = 0; i < COUNT; i++) {
		tio_abandon(orphans[i]);
		cr_assert_neq(orphans[i]->io.orphan_ticket, 0, "%u", i);
		cr_assert_not_null((void *)lun->ranges.newest);
		end(orphans[i], 0);
		cr_assert(lun->ranges.newest || lun->ranges.free_count);
	}
	cr_assert_lt(lun->ranges.free_count, LUN_SETS - 1, "the test has not used them up");
	sem_post(&blocker.go);
	rig_settle(&rig);
	cr_assert_null((void *)lun->ranges.newest, "what had gone was left out later");
	cr_assert_eq(lun->ranges.free_count, LUN_SETS);
	rig_close(&rig, lun);
}

/* -- Exclusive ranges -- */

struct texclusive {
	struct lun_exclusive exclusive;
	struct lun *to;
	struct loop *on;
	sem_t granted_sem, released_sem;
	atomic_bool granted, released;
};

static void on_granted(struct lun_exclusive *exclusive)
{
	struct texclusive *t = CONTAINER_OF(exclusive, struct texclusive, exclusive);

	atomic_store(&t->granted, true);
	sem_post(&t->granted_sem);
}

static void on_released(struct lun_exclusive *exclusive)
{
	struct texclusive *t = CONTAINER_OF(exclusive, struct texclusive, exclusive);

	atomic_store(&t->released, true);
	sem_post(&t->released_sem);
}

static void call_acquire(void *arg)
{
	struct texclusive *t = arg;

	loop_role_assume();
	lun_exclusive_acquire(t->to, t->on, &t->exclusive);
	cr_assert_not(atomic_load(&t->granted), "never inside acquire");
}

static struct texclusive *acquire(struct rig *rig, struct lun *lun, unsigned loop, uint64_t block,
				  uint64_t blocks)
{
	struct texclusive *t = calloc(1, sizeof(*t));

	t->exclusive.offset_bytes = block * BLOCK;
	t->exclusive.length_bytes = blocks * BLOCK;
	t->exclusive.granted = on_granted;
	t->exclusive.released = on_released;
	t->to = lun;
	t->on = rig->group.loops[loop];
	sem_init(&t->granted_sem, 0, 0);
	sem_init(&t->released_sem, 0, 0);
	rig_call(t->on, call_acquire, t);
	rig_settle(rig);
	return t;
}

static bool is_granted(struct texclusive *t)
{
	return atomic_load(&t->granted);
}

static void call_release(void *arg)
{
	struct texclusive *t = arg;

	loop_role_assume();
	lun_exclusive_release(&t->exclusive);
}

static void release(struct rig *rig, struct texclusive *t)
{
	rig_call(t->on, call_release, t);
	cr_assert(wait_for(&t->released_sem, PATIENCE_S * 1000));
	free(t);
	rig_settle(rig);
}

TEST_ON_ENGINES(exclusive, waits_for_overlapping_writes_on_every_loop)
{
	struct rig rig;
	struct lun *lun = held_lun(&rig, engine);
	struct tio *near = begin(&rig, lun, 0, LUN_WRITE, 0, 2);
	struct tio *far = begin(&rig, lun, 1, LUN_UNMAP, 1, 5);
	struct tio *read = begin(&rig, lun, 1, LUN_READ, 1, 1);
	struct tio *beside = begin(&rig, lun, 1, LUN_WRITE, 50, 1);
	struct texclusive *e = acquire(&rig, lun, 0, 1, 1);

	cr_assert_not(is_granted(e));
	end(near, 0);
	rig_settle(&rig);
	cr_assert_not(is_granted(e), "the other loop's write is still there");
	end(far, 0);
	rig_settle(&rig);
	cr_assert(is_granted(e), "reads and other ranges do not count");
	end(read, 0);
	end(beside, 0);
	release(&rig, e);
	rig_close(&rig, lun);
}

TEST_ON_ENGINES(exclusive, overlapping_writes_wait_reads_do_not)
{
	struct rig rig;
	struct lun *lun = held_lun(&rig, engine);
	struct texclusive *e = acquire(&rig, lun, 0, 1, 2);

	cr_assert(is_granted(e));
	struct tio *write = begin(&rig, lun, 1, LUN_WRITE, 2, 1);
	struct tio *zero = begin(&rig, lun, 0, LUN_ZERO, 0, 10);
	struct tio *read = begin(&rig, lun, 1, LUN_READ, 1, 1);
	struct tio *beside = begin(&rig, lun, 1, LUN_WRITE, 3, 1);
	cr_assert(!held_has(write) && !held_has(zero) && held_has(read) && held_has(beside));
	struct tio *own = tio_new(LUN_WRITE, BLOCK, BLOCK);
	own->inside = &e->exclusive;
	tio_submit(own, lun, rig.group.loops[0]);
	cr_assert(held_has(own), "the holder's own I/O goes down");
	end(own, 0);
	release(&rig, e);
	cr_assert(held_has(write) && held_has(zero), "woken on both loops");
	struct tio *all[] = {write, zero, read, beside};
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		end(all[i], 0);
	rig_close(&rig, lun);
}

/* request, write, request, write on one block: each waits for what came before it. */
TEST_ON_ENGINES(exclusive, first_come_first_served)
{
	struct rig rig;
	struct lun *lun = held_lun(&rig, engine);
	struct texclusive *first = acquire(&rig, lun, 0, 7, 1);
	struct tio *write = begin(&rig, lun, 1, LUN_WRITE, 7, 1);
	struct texclusive *second = acquire(&rig, lun, 1, 7, 1);
	struct tio *last = begin(&rig, lun, 0, LUN_WRITE, 7, 1);

	cr_assert(is_granted(first) && !held_has(write) && !is_granted(second));
	release(&rig, first);
	cr_assert(held_has(write), "it came before the second request");
	cr_assert(!is_granted(second) && !held_has(last));
	end(write, 0);
	rig_settle(&rig);
	cr_assert(is_granted(second) && !held_has(last));
	release(&rig, second);
	cr_assert(held_has(last));
	end(last, 0);
	rig_close(&rig, lun);
}

TEST_ON_ENGINES(exclusive, requests_that_do_not_overlap_are_granted_together)
{
	struct rig rig;
	struct lun *lun = held_lun(&rig, engine);
	struct texclusive *a = acquire(&rig, lun, 0, 0, 4);
	struct texclusive *b = acquire(&rig, lun, 1, 4, 4);
	struct texclusive *c = acquire(&rig, lun, 0, 3, 2);

	cr_assert(is_granted(a) && is_granted(b) && !is_granted(c));
	release(&rig, a);
	cr_assert_not(is_granted(c));
	release(&rig, b);
	cr_assert(is_granted(c));
	release(&rig, c);
	rig_close(&rig, lun);
}

TEST_ON_ENGINES(exclusive, a_request_can_be_withdrawn_at_every_stage)
{
	struct rig rig;
	struct lun *lun = held_lun(&rig, engine);
	struct tio *stuck = begin(&rig, lun, 1, LUN_WRITE, 0, 1);
	struct texclusive *collecting = acquire(&rig, lun, 0, 0, 1);
	struct texclusive *holder = acquire(&rig, lun, 0, 9, 1);
	struct texclusive *behind = acquire(&rig, lun, 1, 9, 1);

	cr_assert(!is_granted(collecting) && is_granted(holder) && !is_granted(behind));
	struct tio *write = begin(&rig, lun, 0, LUN_WRITE, 0, 1);
	cr_assert_not(held_has(write));
	rig_call(collecting->on, call_release, collecting);
	cr_assert(wait_for(&collecting->released_sem, PATIENCE_S * 1000),
		  "not even a stuck write holds it up");
	cr_assert_not(is_granted(collecting));
	free(collecting);
	rig_settle(&rig);
	cr_assert(held_has(write), "what waited behind it goes on");
	release(&rig, behind);
	release(&rig, holder);
	end(stuck, 0);
	end(write, 0);
	rig_close(&rig, lun);
}

TEST_ON_ENGINES(exclusive, more_requests_than_the_set_has_room_for)
{
	struct texclusive *all[LUN_EXCLUSIVES_MAX + 3];
	struct rig rig;
	struct lun *lun = held_lun(&rig, engine);

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		all[i] = acquire(&rig, lun, i % 2, i, 1);
	for (unsigned i = 0; i < LUN_EXCLUSIVES_MAX; i++)
		cr_assert(is_granted(all[i]));
	for (unsigned i = LUN_EXCLUSIVES_MAX; i < ARRAY_SIZE(all); i++)
		cr_assert_not(is_granted(all[i]));
	/* Orphans have room of their own. */
	struct tio *orphan = begin(&rig, lun, 0, LUN_WRITE, 100, 1);
	tio_abandon(orphan);
	cr_assert_neq(orphan->io.orphan_ticket, 0);
	release(&rig, all[ARRAY_SIZE(all) - 1]); /* Still in the queue. */
	for (unsigned i = 0; i + 1 < ARRAY_SIZE(all); i++) {
		rig_settle(&rig);
		cr_assert(is_granted(all[i]), "%u", i);
		release(&rig, all[i]);
	}
	end(orphan, 0);
	rig_close(&rig, lun);
}

/* The holder abandons its write and gives the range back: the next holder must not start beside it.
 */
TEST_ON_ENGINES(exclusive, an_orphan_of_the_last_holder_holds_up_the_next)
{
	struct rig rig;
	struct lun *lun = held_lun(&rig, engine);
	struct texclusive *first = acquire(&rig, lun, 0, 3, 1);
	struct texclusive *second = acquire(&rig, lun, 1, 3, 1);
	struct tio *own = tio_new(LUN_WRITE, 3 * BLOCK, BLOCK);

	own->inside = &first->exclusive;
	tio_submit(own, lun, rig.group.loops[0]);
	tio_abandon(own);
	release(&rig, first);
	cr_assert_not(is_granted(second));
	end(own, 0);
	rig_settle(&rig);
	cr_assert(is_granted(second));
	release(&rig, second);
	rig_close(&rig, lun);
}

/* -- The caller's check -- */

static int refuse(struct lun_io *io)
{
	(void)io;
	return -EROFS;
}

TEST_ON_ENGINES(admission, the_callers_check_runs_after_the_wait)
{
	struct rig rig;
	struct lun *lun = held_lun(&rig, engine);
	struct texclusive *e = acquire(&rig, lun, 0, 0, 1);
	struct tio *fenced = begin(&rig, lun, 1, LUN_WRITE, 0, 1);

	/* The reservation changes while it waits. */
	fenced->io.admit = refuse;
	cr_assert_not(atomic_load(&fenced->ended));
	release(&rig, e);
	cr_assert_eq(tio_wait(fenced), -EROFS);
	cr_assert_not(held_has(fenced));
	tio_free(fenced);
	rig_close(&rig, lun);
}
