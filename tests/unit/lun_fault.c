/*
 * The fault image: its control file, and what it does to I/O. The drills of other suites stand on
 * it, so each command is shown here.
 */
#include "tests/unit/lun_testing.h"

#include "lun/fault_rules.h"

#define BLOCK 4096u

/* -- The rules alone -- */

static unsigned parse(const char *text, struct fault_rules *rules)
{
	char copy[2048];

	snprintf(copy, sizeof(copy), "%s", text);
	return fault_rules_parse(copy, rules);
}

Test(rules, syntax)
{
	static const struct {
		const char *text;
		unsigned wrong, count;
	} cases[] = {
		{"", 0, 0},
		{"\n\n# only words\n   \t\n", 0, 0},
		{"delay read 500", 0, 1},
		{"delay read 500\nfail write EIO\nstick all\n", 0, 3},
		{"fail read EIO lba 100 8 count 3 # as often\r\n", 0, 1},
		{"fail read", 1, 0},
		{"fail read EWHAT", 1, 0},
		{"delay read", 1, 0},
		{"delay read -1", 1, 0},
		{"delay read 10x", 1, 0},
		{"delay read 3600001", 1, 0},
		{"stick", 1, 0},
		{"stick everything", 1, 0},
		{"break all", 1, 0},
		{"stick all lba 5", 1, 0},
		{"stick all lba 18446744073709551615 1", 1, 0},
		{"stick all count", 1, 0},
		{"stick all soon", 1, 0},
		{"stick write\nnonsense\nstick read\nnonsense", 2, 2},
	};
	struct fault_rules rules;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		cr_assert_eq(parse(cases[i].text, &rules), cases[i].wrong, "%s", cases[i].text);
		cr_assert_eq(rules.count, cases[i].count, "%s", cases[i].text);
	}
}

Test(rules, there_is_a_limit)
{
	char text[1024] = "";
	struct fault_rules rules;

	for (unsigned i = 0; i <= FAULT_RULES_MAX; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "stick all\n");
	cr_assert_eq(parse(text, &rules), FAULT_RULES_MAX + 1);
	cr_assert_eq(rules.count, FAULT_RULES_MAX);
}

static enum fault_action apply(struct fault_rules *rules, enum lun_op op, uint64_t block,
			       uint64_t blocks)
{
	struct lun_io io = {.op = op, .offset_bytes = block * 512, .length_bytes = blocks * 512};

	return fault_rules_apply(rules, &io, 512)->action;
}

Test(rules, which_fits)
{
	struct fault_rules rules;

	cr_assert_eq(parse("fail read EIO lba 100 8\nfail all EIO lba 0 1\ndelay write 1\n"
			   "stick flush count 2",
			   &rules),
		     0);
	cr_assert_eq(apply(&rules, LUN_READ, 99, 1), FAULT_NONE);
	cr_assert_eq(apply(&rules, LUN_READ, 99, 2), FAULT_FAIL);
	cr_assert_eq(apply(&rules, LUN_READ, 107, 5), FAULT_FAIL);
	cr_assert_eq(apply(&rules, LUN_READ, 108, 1), FAULT_NONE);
	cr_assert_eq(apply(&rules, LUN_WRITE, 100, 1), FAULT_DELAY);
	cr_assert_eq(apply(&rules, LUN_WRITE, 0, 1), FAULT_FAIL, "the first that fits");
	cr_assert_eq(apply(&rules, LUN_UNMAP, 0, 9), FAULT_FAIL);
	cr_assert_eq(apply(&rules, LUN_FLUSH, 0, 0), FAULT_STICK, "a flush has no blocks");
	cr_assert_eq(apply(&rules, LUN_FLUSH, 0, 0), FAULT_STICK);
	cr_assert_eq(apply(&rules, LUN_FLUSH, 0, 0), FAULT_NONE, "as often as it says");
}

/* -- I/O -- */

struct scene {
	struct rig rig;
	struct lun *lun;
	char control[96];
};

static void set_rules(const struct scene *s, const char *text)
{
	int fd = open(s->control, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void scene_init(struct scene *s, enum loop_engine engine, const char *path)
{
	char image[96];
	struct lun_spec spec;

	rig_create(&s->rig, engine, "/var/tmp");
	snprintf(s->control, sizeof(s->control), "%s/control", s->rig.dir);
	snprintf(image, sizeof(image), "%s/image", s->rig.dir);
	spec = test_spec(&s->rig, "fault");
	spec.path = path ? image : NULL;
	spec.fault_control = s->control;
	cr_assert_eq(lun_open(&spec, &s->rig.group, &s->lun), 0);
	cr_assert(lun_state(s->lun)->online, "%s", lun_state(s->lun)->offline_reason);
	rig_run(&s->rig);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int run(struct scene *s, unsigned loop, enum lun_op op, uint64_t block)
{
	return tio_run(s->lun, s->rig.group.loops[loop], op, block * BLOCK, BLOCK);
}

TEST_ON_ENGINES(fault, healthy_without_rules)
{
	struct scene s;

	scene_init(&s, engine, "image");
	cr_assert_eq(run(&s, 0, LUN_WRITE, 0), 0);
	cr_assert_eq(run(&s, 1, LUN_READ, 0), 0);
	cr_assert_eq(run(&s, 1, LUN_FLUSH, 0), 0);
	rig_close(&s.rig, s.lun);
}

TEST_ON_ENGINES(fault, fails_what_it_is_told_to_and_mends)
{
	struct scene s;

	scene_init(&s, engine, "image");
	set_rules(&s, "fail write EIO\nfail unmap ENOSPC\nfail read EIO lba 8 8\n");
	for (unsigned i = 0; i < RIG_LOOPS; i++) {
		cr_assert_eq(run(&s, i, LUN_WRITE, 0), -EIO);
		cr_assert_eq(run(&s, i, LUN_UNMAP, 0), -ENOSPC);
		cr_assert_eq(run(&s, i, LUN_READ, 0), 0);
		cr_assert_eq(run(&s, i, LUN_READ, 1), -EIO);
	}
	set_rules(&s, "");
	cr_assert_eq(run(&s, 0, LUN_WRITE, 0), 0);
	set_rules(&s, "fail write EIO\n");
	unlink(s.control);
	cr_assert_eq(run(&s, 0, LUN_WRITE, 0), 0, "no file is an empty file");
	rig_close(&s.rig, s.lun);
}

TEST_ON_ENGINES(fault, delays)
{
	struct scene s;
	uint64_t start;

	scene_init(&s, engine, NULL);
	set_rules(&s, "delay read 120\n");
	start = now_ms();
	cr_assert_eq(run(&s, 0, LUN_WRITE, 0), 0);
	cr_assert_eq(run(&s, 1, LUN_READ, 0), 0);
	cr_assert_geq(now_ms() - start, 115);
	rig_close(&s.rig, s.lun);
}

/* The drill of a stuck disk: abort is answered, the block is guarded, the disk comes back. */
TEST_ON_ENGINES(fault, sticks_until_the_file_changes)
{
	struct scene s;

	scene_init(&s, engine, "image");
	set_rules(&s, "stick write lba 0 8\n");
	struct tio *stuck = tio_new(LUN_WRITE, 0, BLOCK);
	tio_submit(stuck, s.lun, s.rig.group.loops[0]);
	cr_assert_eq(run(&s, 1, LUN_WRITE, 5), 0, "others go on");
	tio_abandon(stuck);
	struct tio *later = tio_new(LUN_READ, 0, BLOCK);
	tio_submit(later, s.lun, s.rig.group.loops[1]);
	rig_settle(&s.rig);
	cr_assert(!atomic_load(&stuck->ended) && !atomic_load(&later->ended));
	set_rules(&s, "stick write lba 0 8\n# the same again\n");
	cr_assert_not(wait_for(&stuck->done, 100), "changed, but it fits still");
	set_rules(&s, "");
	cr_assert_eq(tio_wait(stuck), 0);
	cr_assert_eq(tio_wait(later), 0);
	cr_assert_eq(later->data[0], 0xEE, "it read what the stuck write wrote");
	tio_free(stuck);
	tio_free(later);
	rig_close(&s.rig, s.lun);
}

static atomic_bool rewriting;

/* By renaming, so that the rules are there at every moment. */
static void *rewrite(void *arg)
{
	const struct scene *s = arg;
	struct scene next = *s;

	(void)snprintf(next.control, sizeof(next.control), "%.80s.new", s->control);
	while (atomic_load(&rewriting)) {
		set_rules(&next, "stick write\n");
		cr_assert_eq(rename(next.control, s->control), 0);
	}
	return NULL;
}

/* Rules that change while held I/O is judged by them must not keep the loop. */
TEST_ON_ENGINES(fault, rules_that_change_all_the_time)
{
	struct tio *stuck[8];
	struct scene s;
	pthread_t writer;

	scene_init(&s, engine, NULL);
	set_rules(&s, "stick write\n");
	atomic_store(&rewriting, true);
	cr_assert_eq(pthread_create(&writer, NULL, rewrite, &s), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(stuck); i++) {
		stuck[i] = tio_new(LUN_WRITE, i * BLOCK, BLOCK);
		tio_submit(stuck[i], s.lun, s.rig.group.loops[i % RIG_LOOPS]);
	}
	usleep(500000);
	atomic_store(&rewriting, false);
	pthread_join(writer, NULL);
	rig_settle(&s.rig);
	set_rules(&s, "");
	for (unsigned i = 0; i < ARRAY_SIZE(stuck); i++) {
		cr_assert_eq(tio_wait(stuck[i]), 0);
		tio_free(stuck[i]);
	}
	rig_close(&s.rig, s.lun);
}

TEST_ON_ENGINES(fault, a_failed_flush_is_final)
{
	struct scene s;

	scene_init(&s, engine, "image");
	cr_assert_eq(run(&s, 0, LUN_WRITE, 0), 0);
	set_rules(&s, "fail flush EIO count 1\n");
	cr_assert_eq(run(&s, 0, LUN_FLUSH, 0), -EIO);
	set_rules(&s, "");
	for (unsigned i = 0; i < RIG_LOOPS; i++) {
		cr_assert_eq(run(&s, i, LUN_WRITE, 0), -EROFS);
		cr_assert_eq(run(&s, i, LUN_FLUSH, 0), -EIO, "a second try proves nothing");
		cr_assert_eq(run(&s, i, LUN_READ, 0), 0);
	}
	rig_close(&s.rig, s.lun);
}
