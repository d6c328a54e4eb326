/*
 * Who opens a file for writing that others are based on is told so, whatever the file is and
 * whoever made the children; and may again when they are gone.
 */
#include "tests/unit/lun_testing.h"

#include <sys/file.h>
#include <sys/xattr.h>

#include "lun/family_change.h"
#include "tests/unit/lun_shell.h"

#define BASE "user.ringsan.base"

static struct rig rig;

static void begin(void)
{
	rig_create(&rig, LOOP_ENGINE_AUTO, "/var/tmp");
	cr_assert_eq(chdir(rig.dir), 0);
}

static void end(void)
{
	cr_assert_eq(chdir("/"), 0);
	rig_free(&rig);
}

TestSuite(family_open, .init = begin, .fini = end);

static struct lun *open_spec(const char *type, const char *name, bool read_only)
{
	struct lun_spec spec = {.name = "test", .type = type, .path = name, .read_only = read_only};
	struct lun *lun;

	cr_assert_eq(lun_open(&spec, &rig.group, &lun), 0);
	return lun;
}

static void expect_online(const char *type, const char *name, bool read_only)
{
	struct lun *lun = open_spec(type, name, read_only);

	cr_expect(lun_state(lun)->online, "%s: %s", name, lun_state(lun)->offline_reason);
	lun_close(lun);
}

static void expect_offline(const char *type, const char *name, const char *reason)
{
	struct lun *lun = open_spec(type, name, false);

	cr_expect_not(lun_state(lun)->online, "%s", name);
	cr_expect_not_null(strstr(lun_state(lun)->offline_reason, reason), "%s: %s", name,
			   lun_state(lun)->offline_reason);
	lun_close(lun);
}

/* Where files have no attributes the folder is always looked through. */
static void expect_mark(const char *name, bool there)
{
	bool is_there = getxattr(name, BASE, NULL, 0) >= 0;

	if (is_there || errno == ENODATA)
		cr_expect_eq(is_there, there, "%s", name);
}

Test(family_open, bases_are_marked_and_kept)
{
	shell("exec >/dev/null; truncate -s 1M base.raw; q='qemu-img create -q -f qcow2';"
	      "$q -b base.raw -F raw a.qcow2; $q -b a.qcow2 -F qcow2 b.qcow2");
	/* Nobody has seen the children yet. */
	expect_online("raw", "base.raw", false);
	expect_online("qcow2", "b.qcow2", false);
	expect_mark("base.raw", true);
	expect_mark("a.qcow2", true);
	expect_mark("b.qcow2", false);
	expect_offline("raw", "base.raw", "1 image is based on it: a.qcow2");
	expect_offline("qcow2", "a.qcow2", "1 image is based on it: b.qcow2");
	expect_online("raw", "base.raw", true);
	expect_online("qcow2", "a.qcow2", true);
	expect_mark("a.qcow2", true);
	shell("rm b.qcow2");
	expect_online("qcow2", "a.qcow2", false);
	expect_mark("a.qcow2", false);
	shell("rm a.qcow2");
	expect_online("raw", "base.raw", false);
	expect_mark("base.raw", false);
}

/* The folder is that of the file, and so is that of what it is based on. */
Test(family_open, behind_links)
{
	shell("exec >/dev/null; mkdir pool luns; cd pool; truncate -s 1M base.raw;"
	      "qemu-img create -q -f qcow2 -b base.raw -F raw vm1.qcow2;"
	      "ln -s ../pool/vm1.qcow2 ../luns/1; ln -s ../pool/base.raw ../luns/2");
	expect_online("qcow2", "luns/1", false);
	expect_offline("raw", "luns/2", "1 image is based on it: vm1.qcow2");
}

/* Images are based on it by its other name, where nobody looks who opens it by this one. */
Test(family_open, hard_links_in_other_folders)
{
	const struct family_clone clone = {
		.base = "pool/gold.raw", .base_format = "raw", .name = "pool/vm1.qcow2"};
	char why[128];

	shell("mkdir pool; truncate -s 1M gold.raw; ln gold.raw pool/gold.raw");
	/* Of one that never was a base nothing is feared. */
	expect_online("raw", "gold.raw", false);
	cr_assert_eq(family_clone(&clone, why, sizeof(why)), 0, "%s", why);
	expect_offline("raw", "pool/gold.raw", "1 image is based on it: vm1.qcow2");
	expect_offline("raw", "gold.raw", "in other folders, where it has 1 name: remove that");
	expect_mark("gold.raw", true);
	expect_online("raw", "gold.raw", true);
	/* A name may go, what it names stays. */
	shell("ln gold.raw again.raw");
	expect_offline("raw", "again.raw", "in other folders");
	cr_expect_eq(family_remove("again.raw", why, sizeof(why)), 0, "%s", why);
	shell("rm pool/vm1.qcow2 pool/gold.raw");
	expect_online("raw", "gold.raw", false);
	expect_mark("gold.raw", false);
}

/* What a cut rollback leaves is no name elsewhere. */
Test(family_open, second_name_of_a_cut_rollback)
{
	shell("qemu-img create -q -f qcow2 vm1.qcow2 1M;"
	      "ln vm1.qcow2 .ringsan-0123456789abcdef.tmp; touch .ringsan-fedcba9876543210.tmp");
	(void)!setxattr("vm1.qcow2", BASE, "1", 1, 0);
	expect_online("qcow2", "vm1.qcow2", false);
	expect_mark("vm1.qcow2", false);
	/* Others, which may be large, are for those for whom no host waits. */
	shell("test \"$(ls -d .ringsan-*)\" = .ringsan-fedcba9876543210.tmp");
}

/* What a cut leaves between the link and the rename would keep the disk from being written. */
Test(family_open, snapshot_that_was_cut_short)
{
	shell("qemu-img create -q -f qcow2 vm1.qcow2 1M; ln vm1.qcow2 vm1@monday.qcow2;"
	      "ln vm1.qcow2 other.qcow2; ln -s vm1@monday.qcow2 link");
	for (unsigned i = 0; i < 2; i++) {
		const char *name = i ? "link" : "vm1@monday.qcow2";
		struct lun *lun = open_spec("qcow2", name, true);

		cr_expect_not(lun_state(lun)->online, "%s", name);
		cr_expect_not_null(strstr(lun_state(lun)->offline_reason, "cut short"));
		expect_online("qcow2", "vm1.qcow2", false);
		shell("ln -f vm1.qcow2 vm1@monday.qcow2");
		lun_close(lun);
	}
	expect_online("qcow2", "other.qcow2", true);
}

/* A raw image that is served is not taken as a base, and a base that is in use not served. */
Test(family_open, raw_locks)
{
	struct lun *lun;

	shell("exec >/dev/null; truncate -s 1M base.raw;"
	      "qemu-img create -q -f qcow2 -b base.raw -F raw a.qcow2");
	lun = open_spec("raw", "base.raw", false);
	cr_assert(lun_state(lun)->online);
	expect_offline("qcow2", "a.qcow2", "locked");
	shell("! qemu-io -f raw -c 'read 0 512' base.raw 2>/dev/null >&2");
	lun_close(lun);
	lun = open_spec("qcow2", "a.qcow2", false);
	cr_assert(lun_state(lun)->online);
	expect_offline("raw", "base.raw", "locked");
	shell("qemu-io -r -f raw -c 'read 0 512' base.raw >/dev/null");
	lun_close(lun);
}

/* While an operation is under way one waits for its end. */
Test(family_open, folder_is_busy)
{
	int folder;
	pid_t child;

	shell("truncate -s 1M base.raw");
	(void)!setxattr("base.raw", BASE, "1", 1, 0);
	folder = open(".", O_RDONLY | O_DIRECTORY);
	cr_assert_eq(flock(folder, LOCK_EX), 0);
	child = fork();
	if (child == 0) {
		usleep(200000);
		_exit(flock(folder, LOCK_UN) != 0);
	}
	close(folder);
	expect_online("raw", "base.raw", false);
	cr_expect_eq(waitpid(child, NULL, 0), child);
}
