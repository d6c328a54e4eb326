/*
 * Snapshots, rollback, clones and removal, with real files; what qemu-img thinks of them; and what
 * is refused. Kills: lun_family_cut.c; power cuts: lun_family_power.c.
 */
#include "lun/family_change.h"

#include <pthread.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>

#include "base/attr.h"
#include "lun/image_lock.h"
#include "tests/unit/lun_family.h"

#define IDENTITY "user.ringsan.identity"

static char folder[64];
static char why[WHY_BYTES];

static void begin(void)
{
	enter_folder(folder);
	cr_assert_eq(shell_status("qemu-img create -q -f qcow2 vm1.qcow2 64M &&"
				  "qemu-io -c 'write -P 1 0 1M' vm1.qcow2 >/dev/null"),
		     0);
}

static void end(void)
{
	leave_folder(folder);
}

TestSuite(family_change, .init = begin, .fini = end);

/* What the guest wrote into the first MiB, and what is wrong with it. */
static void expect_pattern(const char *name, int pattern)
{
	cr_expect_eq(shell_status("qemu-io -r -c 'read -P %d 0 1M' %s | grep -qv failed &&"
				  "! qemu-io -r -c 'read -P %d 0 1M' %s | grep -q failed",
				  pattern, name, pattern, name),
		     0, "%s does not show %d", name, pattern);
	cr_expect_eq(shell_status("qemu-img check -q %s", name), 0, "%s", name);
}

static void write_pattern(const char *name, int pattern)
{
	cr_assert_eq(shell_status("qemu-io -c 'write -P %d 0 1M' %s >/dev/null", pattern, name), 0);
}

static void expect_files(const char *names)
{
	cr_expect_eq(shell_status("test \"$(ls -A | tr '\\n' ' ')\" = '%s '", names), 0,
		     "not only %s", names);
}

static void expect_attribute(const char *name, const char *attribute, bool there)
{
	bool is_there = getxattr(name, attribute, NULL, 0) >= 0;

	if (is_there || errno == ENODATA)
		cr_expect_eq(is_there, there, "%s of %s", attribute, name);
}

static struct family_change *prepare(const char *snapshot)
{
	struct family_change *change = NULL;

	cr_assert_eq(family_snapshot_prepare("vm1.qcow2", snapshot, FAMILY_CLOSED, &change, why,
					     sizeof(why)),
		     0, "%s", why);
	return change;
}

static void commit_and_end(struct family_change *change)
{
	cr_assert_eq(family_commit(&change, 1, why, sizeof(why)), 0, "%s", why);
	family_end(change);
}

static void snapshot(const char *name)
{
	commit_and_end(prepare(name));
}

static void expect_no(int res, int expected, const char *sentence)
{
	cr_expect_eq(res, expected, "%d: %s", res, why);
	cr_expect_not_null(strstr(why, sentence), "\"%s\" is not in \"%s\"", sentence, why);
}

static void expect_no_snapshot(const char *name, int expected, const char *sentence)
{
	struct family_change *change = NULL;

	expect_no(family_snapshot_prepare("vm1.qcow2", name, FAMILY_CLOSED, &change, why,
					  sizeof(why)),
		  expected, sentence);
	cr_expect_null(change);
}

/* -- Snapshots -- */

Test(family_change, snapshot_and_back)
{
	struct family_change *change;

	(void)!setxattr("vm1.qcow2", IDENTITY, "mine", 4, 0);
	cr_assert_eq(chmod("vm1.qcow2", 0640), 0);
	snapshot("one");
	expect_files("vm1.qcow2 vm1@one.qcow2");
	cr_expect_eq(shell_status("test $(stat -c %%a vm1.qcow2) = 640"), 0);
	expect_attribute("vm1.qcow2", IDENTITY, true);
	expect_attribute("vm1@one.qcow2", IDENTITY, false);
	expect_attribute("vm1@one.qcow2", "user.ringsan.base", true);
	expect_pattern("vm1.qcow2", 1);
	write_pattern("vm1.qcow2", 2);
	snapshot("two");
	write_pattern("vm1.qcow2", 3);
	expect_pattern("vm1@one.qcow2", 1);
	expect_pattern("vm1@two.qcow2", 2);
	expect_pattern("vm1.qcow2", 3);

	cr_assert_eq(family_rollback_prepare("vm1.qcow2", "one", "three", FAMILY_CLOSED, &change,
					     why, sizeof(why)),
		     0, "%s", why);
	commit_and_end(change);
	expect_files("vm1.qcow2 vm1@one.qcow2 vm1@three.qcow2 vm1@two.qcow2");
	expect_pattern("vm1.qcow2", 1);
	expect_pattern("vm1@three.qcow2", 3);
	expect_attribute("vm1.qcow2", IDENTITY, true);
	expect_attribute("vm1@three.qcow2", IDENTITY, false);

	cr_assert_eq(family_rollback_prepare("vm1.qcow2", "two", NULL, FAMILY_CLOSED, &change, why,
					     sizeof(why)),
		     0, "%s", why);
	commit_and_end(change);
	expect_files("vm1.qcow2 vm1@one.qcow2 vm1@three.qcow2 vm1@two.qcow2");
	expect_pattern("vm1.qcow2", 2);
	cr_expect_eq(shell_status("test $(stat -c %%a vm1.qcow2) = 640"), 0);
}

/* What a LUN grew to stays, whatever it goes back to. */
Test(family_change, rollback_does_not_shrink)
{
	struct family_change *change;

	snapshot("small");
	cr_assert_eq(shell_status("qemu-img resize -q vm1.qcow2 128M"), 0);
	cr_assert_eq(family_rollback_prepare("vm1.qcow2", "small", NULL, FAMILY_CLOSED, &change,
					     why, sizeof(why)),
		     0, "%s", why);
	commit_and_end(change);
	cr_expect_eq(shell_status("qemu-img info vm1.qcow2 | grep -q 'virtual size: 128 MiB'"), 0);
	expect_pattern("vm1.qcow2", 1);
}

Test(family_change, dropped)
{
	family_end(prepare("one"));
	expect_files("vm1.qcow2");
	expect_pattern("vm1.qcow2", 1);
}

Test(family_change, undone)
{
	struct family_change *change;
	struct stat before;
	struct stat after;

	(void)!setxattr("vm1.qcow2", IDENTITY, "mine", 4, 0);
	cr_assert_eq(stat("vm1.qcow2", &before), 0);
	change = prepare("one");
	cr_assert_eq(family_commit(&change, 1, why, sizeof(why)), 0, "%s", why);
	/* Somebody comes by, and takes the snapshot for done. */
	cr_assert_eq(family_recover(".", NULL, why, sizeof(why)), 0, "%s", why);
	expect_attribute("vm1@one.qcow2", IDENTITY, false);
	cr_assert_eq(family_undo(&change, 1, why, sizeof(why)), 0, "%s", why);
	family_end(change);
	expect_files("vm1.qcow2");
	cr_assert_eq(stat("vm1.qcow2", &after), 0);
	cr_expect_eq(before.st_ino, after.st_ino);
	expect_attribute("vm1.qcow2", IDENTITY, true);

	snapshot("base");
	write_pattern("vm1.qcow2", 2);
	cr_assert_eq(family_rollback_prepare("vm1.qcow2", "base", NULL, FAMILY_CLOSED, &change, why,
					     sizeof(why)),
		     0, "%s", why);
	cr_assert_eq(family_commit(&change, 1, why, sizeof(why)), 0, "%s", why);
	expect_pattern("vm1.qcow2", 1);
	/* What may be wanted back is nobody's to clean up. */
	cr_assert_eq(family_recover(".", NULL, why, sizeof(why)), 0, "%s", why);
	cr_assert_eq(family_undo(&change, 1, why, sizeof(why)), 0, "%s", why);
	family_end(change);
	expect_files("vm1.qcow2 vm1@base.qcow2");
	expect_pattern("vm1.qcow2", 2);
}

/* A guest's data are not thrown away with an overlay. */
Test(family_change, written_is_not_undone)
{
	struct family_change *change = prepare("one");

	cr_assert_eq(family_commit(&change, 1, why, sizeof(why)), 0, "%s", why);
	write_pattern("vm1.qcow2", 2);
	expect_no(family_undo(&change, 1, why, sizeof(why)), -EBUSY, "written to");
	family_end(change);
	expect_pattern("vm1.qcow2", 2);
	expect_pattern("vm1@one.qcow2", 1);
}

/* -- What cannot be undone -- */

static bool renames_fail;

/* Instead of the library's. */
int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
	if (renames_fail) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, 0);
}

/* What was written since the snapshot is in the only copy that there is. */
static struct family_change *roll_back(void)
{
	struct family_change *change = NULL;

	snapshot("base");
	write_pattern("vm1.qcow2", 2);
	cr_assert_eq(family_rollback_prepare("vm1.qcow2", "base", NULL, FAMILY_CLOSED, &change, why,
					     sizeof(why)),
		     0, "%s", why);
	cr_assert_eq(family_commit(&change, 1, why, sizeof(why)), 0, "%s", why);
	return change;
}

static void expect_kept(void)
{
	cr_assert_eq(family_recover(".", NULL, why, sizeof(why)), 0, "%s", why);
	cr_assert_eq(shell_status("test $(ls -A | wc -l) = 3 && mv vm1@undo-2*Z.qcow2 kept.qcow2"),
		     0);
	expect_pattern("kept.qcow2", 2);
	expect_pattern("vm1.qcow2", 1);
}

Test(family_change, locked_is_kept)
{
	struct family_change *change = roll_back();
	int fd = open("vm1.qcow2", O_RDWR);

	cr_assert_eq(image_lock_qemu(fd, true), 0);
	expect_no(family_undo(&change, 1, why, sizeof(why)), -EBUSY, "is locked");
	close(fd);
	/* Before its end as well: the daemon may be killed. */
	cr_expect_eq(shell_status("ls vm1@undo-2*Z.qcow2 >/dev/null"), 0);
	family_end(change);
	expect_kept();
}

Test(family_change, not_renamed_is_kept)
{
	struct family_change *change = roll_back();

	renames_fail = true;
	expect_no(family_undo(&change, 1, why, sizeof(why)), -EIO, "not all");
	renames_fail = false;
	family_end(change);
	expect_kept();
}

static void *unlock_later(void *fd)
{
	(void)usleep(200000);
	close(*(int *)fd);
	return NULL;
}

/* Who looks at the image for a moment is waited for, however long the process runs already. */
Test(family_change, short_lock_is_waited_for)
{
	struct family_change *change = roll_back();
	int fd = open("vm1.qcow2", O_RDWR);
	int other = open("spent", O_RDWR | O_CREAT, 0600);
	int again = open("spent", O_RDWR);
	pthread_t thread;

	/* The patience of the process is at its end. */
	cr_assert_eq(image_lock_qemu(other, true), 0);
	cr_assert_eq(image_lock_patiently(image_lock_qemu, again, true), -EBUSY);
	close(again);
	close(other);
	cr_assert_eq(image_lock_qemu(fd, true), 0);
	cr_assert_eq(pthread_create(&thread, NULL, unlock_later, &fd), 0);
	cr_expect_eq(family_undo(&change, 1, why, sizeof(why)), 0, "%s", why);
	pthread_join(thread, NULL);
	family_end(change);
	expect_pattern("vm1.qcow2", 2);
}

/* -- Groups -- */

static void prepare_all(const char *const paths[], struct family_change *changes[], unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		cr_assert_eq(family_snapshot_prepare(paths[i], "all", FAMILY_CLOSED, &changes[i],
						     why, sizeof(why)),
			     0, "%s", why);
}

static void end_all(struct family_change *changes[], unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		family_end(changes[i]);
}

/* Of several, in two folders, all or none. */
Test(family_change, groups)
{
	static const char *const paths[] = {"vm1.qcow2", "sub/vm2.qcow2", "vm3.qcow2"};
	struct family_change *changes[ARRAY_SIZE(paths)];
	int fd;

	cr_assert_eq(shell_status("mkdir sub; qemu-img create -q -f qcow2 sub/vm2.qcow2 1M;"
				  "qemu-img create -q -f qcow2 vm3.qcow2 1M"),
		     0);
	prepare_all(paths, changes, ARRAY_SIZE(paths));
	fd = open("vm3.qcow2", O_RDWR);
	cr_assert_eq(image_lock_qemu(fd, true), 0);
	expect_no(family_commit(changes, ARRAY_SIZE(paths), why, sizeof(why)), -EBUSY,
		  "vm3.qcow2 is locked");
	cr_expect_eq(shell_status("! ls *@* sub/*@* 2>/dev/null"), 0);
	close(fd);
	/* One cannot be put in place: those before it are taken back. */
	cr_assert_eq(shell_status("mkdir keep; mv .ringsan-*.tmp keep"), 0);
	cr_expect_neq(family_commit(changes, ARRAY_SIZE(paths), why, sizeof(why)), 0);
	cr_expect_eq(shell_status("! ls *@* sub/*@* 2>/dev/null && rm -r keep"), 0);
	end_all(changes, ARRAY_SIZE(paths));
	prepare_all(paths, changes, ARRAY_SIZE(paths));
	cr_assert_eq(family_commit(changes, ARRAY_SIZE(paths), why, sizeof(why)), 0, "%s", why);
	cr_expect_eq(shell_status("ls vm1@all.qcow2 sub/vm2@all.qcow2 vm3@all.qcow2 >/dev/null"),
		     0);
	cr_assert_eq(family_undo(changes, ARRAY_SIZE(paths), why, sizeof(why)), 0, "%s", why);
	cr_expect_eq(shell_status("! ls *@* sub/*@* 2>/dev/null"), 0);
	end_all(changes, ARRAY_SIZE(paths));
	expect_files("sub vm1.qcow2 vm3.qcow2");
}

/* -- What is refused -- */

Test(family_change, snapshots_refused)
{
	struct family_change *change;
	int fd = open("vm1.qcow2", O_RDWR);

	expect_no_snapshot("a b", -EINVAL, "no name of a snapshot");
	expect_no_snapshot(".a", -EINVAL, "no name of a snapshot");
	cr_assert_eq(image_lock_qemu(fd, true), 0);
	expect_no_snapshot("one", -EBUSY, "vm1.qcow2 is locked");
	close(fd);
	snapshot("one");
	expect_no_snapshot("one", -EEXIST, "vm1@one.qcow2 already");
	expect_no(family_rollback_prepare("vm1.qcow2", "none", NULL, FAMILY_CLOSED, &change, why,
					  sizeof(why)),
		  -ENOENT, "vm1@none.qcow2");
	expect_no(family_snapshot_prepare("gone.qcow2", "one", FAMILY_CLOSED, &change, why,
					  sizeof(why)),
		  -ENOENT, "gone.qcow2");
	cr_assert_eq(shell_status("qemu-img create -q -f qcow2 -b vm1.qcow2 -F qcow2 child.qcow2;"
				  "truncate -s 1M disk.raw"),
		     0);
	expect_no_snapshot("two", -EBUSY, "1 image is based on it: child.qcow2");
	expect_no(family_snapshot_prepare("disk.raw", "one", FAMILY_CLOSED, &change, why,
					  sizeof(why)),
		  -EINVAL, "no qcow2");
	expect_files("child.qcow2 disk.raw vm1.qcow2 vm1@one.qcow2");
}

/* Chains are as long as can be opened, and no longer. */
Test(family_change, chain_too_long)
{
	char name[2] = "a";

	for (unsigned i = 0; i < 7; i++, name[0]++)
		snapshot(name);
	expect_no_snapshot("x", -ELOOP, "has 8 already");
	expect_pattern("vm1.qcow2", 1);
}

/* Between prepare and commit the world may change. */
Test(family_change, changed_meanwhile)
{
	struct family_change *change = prepare("one");

	cr_assert_eq(shell_status("qemu-img resize -q vm1.qcow2 128M"), 0);
	expect_no(family_commit(&change, 1, why, sizeof(why)), -EAGAIN, "resized");
	family_end(change);
	change = prepare("one");
	cr_assert_eq(shell_status("qemu-img create -q -f qcow2 -b vm1.qcow2 -F qcow2 child.qcow2"),
		     0);
	expect_no(family_commit(&change, 1, why, sizeof(why)), -EBUSY, "child.qcow2");
	cr_assert_eq(shell_status("rm child.qcow2; cp vm1.qcow2 x; mv x vm1.qcow2"), 0);
	expect_no(family_commit(&change, 1, why, sizeof(why)), -EAGAIN, "replaced");
	family_end(change);
	expect_files("vm1.qcow2");
}

/* -- Clones and removal -- */

static int clone_of(const char *base, const char *format, const char *name)
{
	const struct family_clone clone = {.base = base, .base_format = format, .name = name};

	return family_clone(&clone, why, sizeof(why));
}

Test(family_change, clones)
{
	const struct family_clone larger = {.base = "vm1.qcow2",
					    .base_format = "qcow2",
					    .name = "large.qcow2",
					    .size_bytes = 128 * MIB,
					    .standard = true};

	cr_assert_eq(chmod("vm1.qcow2", 0444), 0);
	(void)!setxattr("vm1.qcow2", IDENTITY, "mine", 4, 0);
	cr_assert_eq(clone_of("vm1.qcow2", "qcow2", "c1.qcow2"), 0, "%s", why);
	cr_assert_eq(family_clone(&larger, why, sizeof(why)), 0, "%s", why);
	expect_files("c1.qcow2 large.qcow2 vm1.qcow2");
	expect_attribute("c1.qcow2", IDENTITY, false);
	expect_attribute("vm1.qcow2", IDENTITY, true);
	expect_attribute("vm1.qcow2", "user.ringsan.base", true);
	expect_pattern("c1.qcow2", 1);
	expect_pattern("large.qcow2", 1);
	write_pattern("c1.qcow2", 2);
	expect_pattern("vm1.qcow2", 1);
	cr_expect_eq(
		shell_status(
			"qemu-img info c1.qcow2 | tr '\\n' ' ' | grep -q 'cluster_size: 131072 "
			"backing file: vm1.qcow2 .*backing file format: qcow2.*extended l2: "
			"true'"),
		0);
	cr_expect_eq(
		shell_status(
			"qemu-img info large.qcow2 | tr '\\n' ' ' | grep -q 'virtual size: 128 "
			"MiB.*cluster_size: 65536.*extended l2: false'"),
		0);
}

Test(family_change, clone_of_raw)
{
	cr_assert_eq(shell_status("head -c 1048076 /dev/zero | tr '\\0' '\\1' >base.raw"), 0);
	cr_assert_eq(clone_of("base.raw", "raw", "c1.qcow2"), 0, "%s", why);
	cr_expect_eq(shell_status("qemu-img compare -q -f raw -F qcow2 base.raw c1.qcow2"), 0);
	cr_expect_eq(
		shell_status("qemu-img info c1.qcow2 | grep -q 'virtual size: .*(1048576 bytes)'"),
		0);
}

Test(family_change, clones_refused)
{
	struct family_clone clone = {.base = "vm1.qcow2",
				     .base_format = "qcow2",
				     .name = "c.qcow2",
				     .size_bytes = 32 * MIB};
	int fd = open("vm1.qcow2", O_RDWR);

	expect_no(family_clone(&clone, why, sizeof(why)), -EINVAL, "not smaller");
	clone.size_bytes = 65 * MIB + 1;
	expect_no(family_clone(&clone, why, sizeof(why)), -EINVAL, "512");
	cr_assert_eq(image_lock_qemu(fd, true), 0);
	expect_no(clone_of("vm1.qcow2", "qcow2", "c.qcow2"), -EBUSY, "vm1.qcow2 is locked");
	close(fd);
	expect_no(clone_of("vm1.qcow2", "qcow2", "vm1.qcow2"), -EEXIST, "already");
	expect_no(clone_of("vm1.qcow2", "qcow2", "/tmp/c.qcow2"), -EXDEV, "folder of its base");
	expect_no(clone_of("vm1.qcow2", "qcow2", "c:d.qcow2"), -EINVAL, "colon");
	expect_no(clone_of("vm1.qcow2", "vmdk", "c.qcow2"), -ENOTSUP, "raw and qcow2");
	expect_no(clone_of("gone.qcow2", "qcow2", "c.qcow2"), -ENOENT, "gone.qcow2");
	expect_no(clone_of(".", "qcow2", "c.qcow2"), -EINVAL, "name of a base");
	cr_assert_eq(shell_status("mkdir d; truncate -s 1M disk.raw"), 0);
	expect_no(clone_of("disk.raw", "qcow2", "c.qcow2"), -EINVAL, "no qcow2");
	cr_assert_eq(shell_status("rm disk.raw; rmdir d"), 0);
	expect_files("vm1.qcow2");
}

Test(family_change, removal)
{
	int fd;

	snapshot("one");
	expect_no(family_remove("vm1@one.qcow2", why, sizeof(why)), -EBUSY,
		  "1 image is based on it: vm1.qcow2");
	fd = open("vm1.qcow2", O_RDONLY);
	cr_assert_eq(image_lock_qemu(fd, false), 0);
	expect_no(family_remove("vm1.qcow2", why, sizeof(why)), -EBUSY, "vm1.qcow2 is locked");
	close(fd);
	expect_no(family_remove("gone", why, sizeof(why)), -ENOENT, "gone");
	expect_no(family_remove(".", why, sizeof(why)), -EINVAL, "is a folder");
	cr_expect_eq(family_remove("vm1.qcow2", why, sizeof(why)), 0, "%s", why);
	cr_expect_eq(family_remove("vm1@one.qcow2", why, sizeof(why)), 0, "%s", why);
	cr_expect_eq(shell_status("test -z \"$(ls -A)\""), 0);
}

/* The figure that was asked for is 100 in 5 s and each in 50 ms, on a machine of its own; here only
 * that they end, and what they took. */
/* Last closes of files that have no name, and how many were made with the folder's lock held. */
static bool watches;
static unsigned freed, freed_locked;

/* In the place of the C library's. */
int close(int fd)
{
	struct stat st;

	if (watches && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 0) {
		int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		freed++;
		freed_locked += flock(here, LOCK_EX | LOCK_NB) != 0;
		(void)syscall(SYS_close, here);
	}
	return (int)syscall(SYS_close, fd);
}

/* To free what a large file had takes long, and others wait for that lock. */
Test(family_change, leftovers_are_freed_beside_the_lock)
{
	const struct family_clone clone = {
		.base = "gold.raw", .base_format = "raw", .name = "clone.qcow2"};
	const char *left = ".ringsan-0123456789abcdef.tmp";

	shell("truncate -s 1M gold.raw; touch %s", left);
	watches = true;
	cr_expect_eq(family_clone(&clone, why, sizeof(why)), 0, "%s", why);
	shell("! ls %s 2>/dev/null && touch %s", left, left);
	cr_expect_eq(family_remove("clone.qcow2", why, sizeof(why)), 0, "%s", why);
	shell("! ls %s 2>/dev/null && touch %s", left, left);
	cr_expect_eq(family_recover(".", NULL, why, sizeof(why)), 0, "%s", why);
	shell("! ls %s 2>/dev/null && touch %s", left, left);
	snapshot("one");
	watches = false;
	cr_expect_eq(freed, 5, "four leftovers and the clone, not %u", freed);
	cr_expect_eq(freed_locked, 0);
}

Test(family_change, hundred_clones)
{
	struct timespec times[2];
	char name[32];

	cr_assert_eq(shell_status("qemu-img create -q -f qcow2 golden.qcow2 10G"), 0);
	clock_gettime(CLOCK_MONOTONIC, &times[0]);
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(name, sizeof(name), "clone%u.qcow2", i);
		cr_assert_eq(clone_of("golden.qcow2", "qcow2", name), 0, "%s", why);
	}
	clock_gettime(CLOCK_MONOTONIC, &times[1]);
	cr_log_info("100 clones: %.0f ms",
		    (double)(times[1].tv_sec - times[0].tv_sec) * 1e3 +
			    (double)(times[1].tv_nsec - times[0].tv_nsec) / 1e6);
	cr_expect_eq(shell_status("qemu-img check -q clone77.qcow2"), 0);
}

/* -- Recovery that is not to go on -- */

static atomic_bool stopping;
static unsigned truncations;

/* Instead of the library's: the end comes while a large file is being freed. */
int ftruncate(int fd, off_t length)
{
	if (++truncations == 2)
		atomic_store(&stopping, true);
	return (int)syscall(SYS_ftruncate, fd, length);
}

Test(family_change, recovery_ends_when_it_is_told)
{
	static const char large[] = ".ringsan-0123456789abcdef.tmp";
	struct stat st;
	int held;

	cr_assert_eq(shell_status("truncate -s 4G %s", large), 0);
	cr_assert_eq(family_recover(".", &stopping, why, sizeof(why)), 0, "%s", why);
	cr_assert_eq(stat(large, &st), 0);
	cr_expect_eq(st.st_size, (off_t)2 << 30);
	/* Somebody else has the folder. */
	held = open(".", O_RDONLY | O_DIRECTORY);
	cr_assert_eq(flock(held, LOCK_EX), 0);
	expect_no(family_recover(".", &stopping, why, sizeof(why)), -EINTR, "to end");
	close(held);
	atomic_store(&stopping, false);
	cr_assert_eq(family_recover(".", &stopping, why, sizeof(why)), 0, "%s", why);
	cr_expect_neq(stat(large, &st), 0);
}
