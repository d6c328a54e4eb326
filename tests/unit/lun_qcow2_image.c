/*
 * LUNs of type qcow2: served on several loops by the one that owns the image, locked as qemu locks
 * them, at rest after a drain, with backing files that do not leave their folder.
 */
#include "tests/unit/lun_testing.h"

#include <stdarg.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#define MIB (UINT64_C(1) << 20)

static int PRINTF_LIKE(2, 3) shell(const struct rig *rig, const char *format, ...)
{
	char command[1024];
	va_list args;
	pid_t child;
	int status = -1;

	va_start(args, format);
	(void)vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	child = fork();
	if (child == 0) {
		if (chdir(rig->dir) == 0)
			execlp("bash", "bash", "-c", command, (char *)NULL);
		_exit(127);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	return status;
}

static struct lun *open_cached(struct rig *rig, const char *name, bool page_cache)
{
	char path[128];
	struct lun_spec spec = {.name = "test",
				.type = "qcow2",
				.path = path,
				.page_cache = page_cache,
				.write_cache = true};
	struct lun *lun;

	(void)snprintf(path, sizeof(path), "%s/%s", rig->dir, name);
	cr_assert_eq(lun_open(&spec, &rig->group, &lun), 0);
	return lun;
}

static struct lun *open_named(struct rig *rig, const char *name)
{
	return open_cached(rig, name, false);
}

/* On tmpfs, which every test machine has, and with the loops of the engine. */
static void rig_start(struct rig *rig, enum loop_engine engine)
{
	rig_create(rig, engine, "/dev/shm");
	rig_run(rig);
}

struct draining {
	struct lun *lun;
	struct rig *rig;
	sem_t done;
	int res;
};

static void on_drained(struct lun *lun, int res, void *arg)
{
	struct draining *draining = arg;

	(void)lun;
	draining->res = res;
	sem_post(&draining->done);
}

static void call_drain(void *arg)
{
	struct draining *draining = arg;

	loop_role_assume();
	lun_drain(draining->lun, draining->rig->control, 60000, on_drained, draining);
}

static void drain(struct rig *rig, struct lun *lun, struct draining *draining)
{
	*draining = (struct draining){.lun = lun, .rig = rig};
	sem_init(&draining->done, 0, 0);
	rig_call(rig->control, call_drain, draining);
	cr_assert(wait_for(&draining->done, 60000));
	cr_assert_eq(draining->res, 0);
}

static void drain_and_close(struct rig *rig, struct lun *lun)
{
	struct draining draining;

	drain(rig, lun, &draining);
	lun_close(lun);
}

/* Write, or compare, `length` bytes of a value that follows from the place. */
static void transfer(struct rig *rig, struct lun *lun, enum lun_op op, uint64_t offset,
		     uint64_t length)
{
	struct tio *t = tio_new(op, offset, length);
	uint8_t value = (uint8_t)(offset / MIB + 1);

	if (op == LUN_WRITE)
		memset(t->data, value, length);
	tio_submit(t, lun, rig->group.loops[offset / MIB % RIG_LOOPS]);
	cr_assert_eq(tio_wait(t), 0);
	for (uint64_t i = 0; op == LUN_READ && i < length; i++)
		cr_assert_eq(t->data[i], value);
	tio_free(t);
}

TEST_ON_ENGINES(qcow2_image, serves_every_loop)
{
	struct rig rig;
	struct lun *lun;

	rig_start(&rig, engine);
	cr_assert_eq(shell(&rig, "qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=128k "
				 "a 64M"),
		     0);
	lun = open_named(&rig, "a");
	cr_assert(lun_state(lun)->online, "%s", lun_state(lun)->offline_reason);
	cr_assert_eq(lun_state(lun)->size_bytes, 64 * MIB);
	for (uint64_t i = 0; i < 16; i++)
		transfer(&rig, lun, LUN_WRITE, i * MIB, 300 * 1024);
	for (uint64_t i = 0; i < 16; i++)
		transfer(&rig, lun, LUN_READ, i * MIB, 300 * 1024);
	transfer(&rig, lun, LUN_FLUSH, 0, 0);
	drain_and_close(&rig, lun);
	cr_assert_eq(shell(&rig, "qemu-img check -q a && qemu-io -c 'read -q -P 3 2M 300k' a | "
				 "grep -c . | grep -qx 0"),
		     0);
	rig_halt(&rig);
	rig_free(&rig);
}

#define MANY 96u
#define PIECE 16384u

struct many {
	struct tio *ios[MANY];
};

/* All of them in one turn of the loop. */
static void call_submit_many(void *arg)
{
	struct many *many = arg;

	loop_role_assume();
	for (unsigned i = 0; i < MANY; i++)
		tio_call_submit(many->ios[i]);
}

static uint8_t value_of(unsigned i)
{
	return (uint8_t)(i % 251 + 1);
}

static void many_submit(struct many *many, struct lun *lun, struct loop *loop, enum lun_op op)
{
	for (unsigned i = 0; i < MANY; i++) {
		many->ios[i] = tio_new(op, (uint64_t)i * PIECE, PIECE);
		many->ios[i]->to = lun;
		many->ios[i]->on = loop;
		if (op == LUN_WRITE)
			memset(many->ios[i]->data, value_of(i), PIECE);
	}
	rig_call(loop, call_submit_many, many);
}

static void many_end(struct many *many)
{
	for (unsigned i = 0; i < MANY; i++) {
		struct tio *t = many->ios[i];

		cr_assert_eq(tio_wait(t), 0);
		for (unsigned at = 0; t->io.op == LUN_READ && at < PIECE; at++)
			cr_assert_eq(t->data[at], value_of(i), "piece %u", i);
		tio_free(t);
	}
}

/* Operations on files that all loops have ended so far. */
static uint64_t completions(const struct rig *rig)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < RIG_LOOPS; i++) {
		struct loop_stats stats;

		loop_stats_read(rig->group.loops[i], &stats);
		sum += stats.completions;
	}
	return sum;
}

/* More than a turn may copy is copied in the next ones, whoever's loop it comes from: no operation
 * on a file begins. And a drain waits for it. */
TEST_ON_ENGINES(qcow2_image, copies_in_later_turns_what_one_has_no_room_for)
{
	struct rig rig;
	struct many many;
	struct lun *lun;
	uint64_t before;

	rig_start(&rig, engine);
	cr_assert_eq(shell(&rig, "qemu-img create -q -f qcow2 -o cluster_size=64k a 8M"), 0);
	lun = open_cached(&rig, "a", true);
	many_submit(&many, lun, rig.group.loops[0], LUN_WRITE);
	many_end(&many);
	cr_assert_eq(tio_run(lun, rig.group.loops[0], LUN_FLUSH, 0, 0), 0);
	rig_settle(&rig);
	before = completions(&rig);
	for (unsigned i = 0; i < RIG_LOOPS; i++) {
		many_submit(&many, lun, rig.group.loops[i], LUN_WRITE);
		many_end(&many);
		many_submit(&many, lun, rig.group.loops[i], LUN_READ);
		many_end(&many);
	}
	cr_assert_eq(completions(&rig), before);
	many_submit(&many, lun, rig.group.loops[0], LUN_READ);
	drain_and_close(&rig, lun);
	many_end(&many);
	cr_assert_eq(shell(&rig, "qemu-img check -q a"), 0);
	rig_halt(&rig);
	rig_free(&rig);
}

static bool is_marked(const struct rig *rig, const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", rig->dir, name);
	return getxattr(path, "user.ringsan.open", NULL, 0) >= 0;
}

static void call_begin(void *arg)
{
	loop_role_assume();
	lun_begin(arg);
}

static void call_resume(void *arg)
{
	const struct draining *draining = arg;

	loop_role_assume();
	lun_resume(draining->lun, draining->rig->control);
}

/* No host does anything meanwhile. */
static void wait_until_recovered(const struct lun *lun)
{
	struct lun_recovery recovery = {.running = true};

	for (unsigned i = 0; i < 6000 && (recovery.running || recovery.clusters == 0); i++) {
		(void)usleep(10000);
		lun_recovery(lun, &recovery);
	}
	cr_assert_not(recovery.running);
	cr_assert_gt(recovery.clusters, 0);
}

/* The LUN comes into use, or goes on after a drain. */
static void recover(struct rig *rig, bool after_drain)
{
	struct lun *lun = open_named(rig, "a");
	struct draining draining;

	cr_assert(lun_state(lun)->online, "%s", lun_state(lun)->offline_reason);
	if (after_drain) {
		drain(rig, lun, &draining);
		rig_call(rig->control, call_resume, &draining);
	} else {
		rig_call(rig->control, call_begin, lun);
	}
	wait_until_recovered(lun);
	drain_and_close(rig, lun);
	cr_assert_not(is_marked(rig, "a"));
	cr_assert_eq(shell(rig, "qemu-img check -q a"), 0);
}

/* A copy of an open file is what a killed daemon leaves. */
TEST_ON_ENGINES(qcow2_image, takes_back_what_a_kill_leaked)
{
	struct rig rig;
	struct lun *lun;

	rig_create(&rig, engine, "/var/tmp");
	rig_run(&rig);
	cr_assert_eq(shell(&rig, "qemu-img create -q -f qcow2 a 64M"), 0);
	lun = open_named(&rig, "a");
	for (uint64_t i = 0; i < 16; i++)
		transfer(&rig, lun, LUN_WRITE, i * MIB, 300 * 1024);
	transfer(&rig, lun, LUN_FLUSH, 0, 0);
	if (!is_marked(&rig, "a"))
		cr_log_warn("skipped: no attributes here");
	cr_assert_eq(shell(&rig, "cp --preserve=xattr a killed"), 0);
	drain_and_close(&rig, lun);
	cr_assert_not(is_marked(&rig, "a"));
	cr_assert_eq(shell(&rig, "qemu-img check -q a"), 0);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(shell(&rig, "cp --preserve=xattr killed a"), 0);
		if (!is_marked(&rig, "a"))
			break;
		cr_assert_eq(WEXITSTATUS(shell(&rig, "qemu-img check -q a >/dev/null 2>&1")), 3);
		recover(&rig, i > 0);
	}
	rig_halt(&rig);
	rig_free(&rig);
}

TEST_ON_ENGINES(qcow2_image, locks_as_qemu_does)
{
	struct rig rig;
	struct lun *lun;
	struct lun *second;

	rig_start(&rig, engine);
	cr_assert_eq(shell(&rig, "qemu-img create -q -f qcow2 b 4M; qemu-img create -q -f qcow2 -b "
				 "b -F qcow2 a"),
		     0);
	lun = open_named(&rig, "a");
	cr_assert(lun_state(lun)->online, "%s", lun_state(lun)->offline_reason);
	cr_assert_neq(shell(&rig, "qemu-img resize -q a 8M 2>&1 | grep -q lock && exit 1"), 0);
	cr_assert_neq(shell(&rig, "qemu-img resize -q b 8M 2>&1 | grep -q lock && exit 1"), 0);
	second = open_named(&rig, "a");
	cr_assert_not(lun_state(second)->online);
	lun_close(second);
	/* Readers of one backing file do not mind each other. */
	cr_assert_eq(shell(&rig, "qemu-img create -q -f qcow2 -b b -F qcow2 c"), 0);
	second = open_named(&rig, "c");
	cr_assert(lun_state(second)->online, "%s", lun_state(second)->offline_reason);
	drain_and_close(&rig, second);
	drain_and_close(&rig, lun);
	rig_halt(&rig);
	rig_free(&rig);
}

TEST_ON_ENGINES(qcow2_image, refuses_what_leads_elsewhere)
{
	static const char *const made[] = {
		"qemu-img create -q -f qcow2 -u -b /etc/passwd -F raw a 4M",
		"mkdir d; qemu-img create -q -f qcow2 d/b 4M; qemu-img create -q -f qcow2 -b d/b "
		"-F qcow2 a",
		"qemu-img create -q -f qcow2 b 4M; ln -s b l; qemu-img create -q -f qcow2 -b l -F "
		"qcow2 a",
		"qemu-img create -q -f qcow2 -u -b json:{} -F raw a 4M",
		"qemu-img create -q -f qcow2 -u -b nbd:unix:x -F raw a 4M",
		"qemu-img create -q -f qcow2 -u -b .. -F raw a 4M",
		"qemu-img create -q -f qcow2 -u -b a -F qcow2 a 4M",
		"qemu-img create -q -f qcow2 -u -b none -F qcow2 a 4M",
		"mkfifo f; qemu-img create -q -f qcow2 -u -b f -F raw a 4M",
		"qemu-img create -q -f qcow2 -o cluster_size=512 a 4M",
		"qemu-img create -q -f qcow2 -o compat=0.10 a 4M",
		"qemu-img create -q -f qcow2 -o data_file=x a 4M",
		"qemu-img create -q -f qcow2 a 4M; qemu-img snapshot -c s a",
	};

	for (size_t i = 0; i < ARRAY_SIZE(made); i++) {
		struct rig rig;
		struct lun *lun;

		rig_start(&rig, engine);
		(void)shell(&rig, "%s", made[i]);
		lun = open_named(&rig, "a");
		cr_assert_not(lun_state(lun)->online, "%s", made[i]);
		cr_assert_neq(lun_state(lun)->offline_reason[0], '\0', "%s", made[i]);
		rig_halt(&rig);
		lun_close(lun);
		rig_free(&rig);
	}
}
