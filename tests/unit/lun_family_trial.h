/*
 * What the tests of cut operations share: a folder with three images, the operations on them with
 * what is there before and after, and what a guest sees of each file. An operation is run in a
 * child, which is stopped at its system calls. Not a test.
 */
#ifndef TESTS_UNIT_LUN_FAMILY_TRIAL_H
#define TESTS_UNIT_LUN_FAMILY_TRIAL_H

#include "tests/unit/lun_family.h"

#include <dirent.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "base/attr.h"
#include "lun/family_change.h"
#include "lun/qcow2/plain.h"
#include "lun/qcow2/writable.h"

#define IDENTITY "user.ringsan.identity"
#define BASE "user.ringsan.base"
#define LAYERS 8u

static char folder[64];
static bool has_attributes;

/* In memory, where files can have attributes there: hundreds of flushes. */
static inline const char *place(void)
{
	int fd CLEANUP(files_close) = open("/dev/shm", O_TMPFILE | O_RDWR, 0600);

	return fd >= 0 && fsetxattr(fd, IDENTITY, "mine", 4, 0) == 0 ? "/dev/shm" : "/var/tmp";
}

/* "template" has an image with a snapshot; each trial has a copy of it in "run". */
static inline void begin(void)
{
	enter_folder_in(place(), folder);
	cr_assert_eq(
		shell_status("set -e; exec >/dev/null; mkdir template; cd template;"
			     "qemu-img create -q -f qcow2 -o cluster_size=4k vm1@base.qcow2 1M;"
			     "qemu-io -c 'write -P 1 0 4k' vm1@base.qcow2;"
			     "qemu-img create -q -f qcow2 -o cluster_size=4k -b vm1@base.qcow2 -F "
			     "qcow2 vm1.qcow2; qemu-io -c 'write -P 2 0 4k' vm1.qcow2"),
		0);
	has_attributes = setxattr("template/vm1.qcow2", IDENTITY, "mine", 4, 0) == 0;
}

static inline void end(void)
{
	leave_folder(folder);
}

static inline void copy_file(const char *from, const char *to)
{
	static uint8_t bytes[1 << 20];
	char path[128];
	int in;
	int out;
	ssize_t length;

	(void)snprintf(path, sizeof(path), "%s/template/%s", folder, from);
	in = open(path, O_RDONLY);
	out = open(to, O_CREAT | O_EXCL | O_WRONLY, 0600);
	length = read(in, bytes, sizeof(bytes));
	cr_assert(length > 0 && (size_t)length < sizeof(bytes));
	cr_assert_eq(write(out, bytes, (size_t)length), length);
	close(in);
	close(out);
}

/* The images that LUNs have: vm1 with its snapshot, another beside it, one in another folder. */
static const char *const actives[] = {"vm1.qcow2", "vm2.qcow2", "b/vm3.qcow2"};

static inline void begin_trial(void)
{
	cr_assert_eq(mkdir("run", 0700), 0);
	cr_assert_eq(chdir("run"), 0);
	cr_assert_eq(mkdir("b", 0700), 0);
	copy_file("vm1.qcow2", actives[0]);
	copy_file("vm1@base.qcow2", "vm1@base.qcow2");
	copy_file("vm1@base.qcow2", actives[1]);
	copy_file("vm1@base.qcow2", actives[2]);
	for (size_t i = 0; i < ARRAY_SIZE(actives); i++)
		(void)!setxattr(actives[i], IDENTITY, actives[i], strlen(actives[i]), 0);
}

/* How many files are called .ringsan-*; all are removed. */
static inline unsigned empty_folder(const char *name)
{
	DIR *dir = opendir(name);
	const struct dirent *entry;
	unsigned temporary = 0;

	while ((entry = readdir(dir)) != NULL) {
		temporary += strncmp(entry->d_name, ".ringsan-", 9) == 0;
		(void)unlinkat(dirfd(dir), entry->d_name, 0);
	}
	closedir(dir);
	return temporary;
}

static inline unsigned end_trial(void)
{
	unsigned temporary = empty_folder(".") + empty_folder("b");

	cr_assert_eq(rmdir("b"), 0);
	cr_assert_eq(chdir(folder), 0);
	cr_assert_eq(rmdir("run"), 0);
	return temporary;
}

/* -- What a guest sees -- */

struct layers {
	struct qcow2_descriptor files[LAYERS];
	struct qcow2_plain plains[LAYERS];
	int fds[LAYERS];
	unsigned count;
};

/* Beside the file above. False: it is not there, or no image. */
static inline bool open_layer(struct layers *layers, const char *top, const char *name)
{
	unsigned i = layers->count;
	const char *slash = strrchr(top, '/');
	char path[FAMILY_NAME_BYTES + 8];
	char why[WHY_BYTES];

	cr_assert(i < LAYERS);
	(void)snprintf(path, sizeof(path), "%.*s%s", slash && i ? (int)(slash - top + 1) : 0, top,
		       name);
	layers->fds[i] = open(path, O_RDONLY);
	if (layers->fds[i] < 0)
		return false;
	layers->count++;
	return qcow2_descriptor_make(layers->fds[i], &layers->files[i]) == 0 &&
	       qcow2_plain_open(&layers->plains[i], &layers->files[i].writable.file, NULL, why,
				sizeof(why)) == 0;
}

static inline bool open_layers(struct layers *layers, const char *top)
{
	const char *name = top;

	layers->count = 0;
	while (name[0] != '\0') {
		if (!open_layer(layers, top, name))
			return false;
		name = layers->plains[layers->count - 1].header.backing_name;
	}
	for (unsigned i = 0; i + 1 < layers->count; i++)
		layers->plains[i].backing = &layers->plains[i + 1].guest;
	return true;
}

#define NONE (-1)
#define BROKEN (-2)

/* The pattern of an image's first cluster. */
static inline int pattern_of(const char *name)
{
	static struct layers layers;
	uint8_t bytes[4096];
	int pattern = BROKEN;

	if (access(name, F_OK) != 0)
		return NONE;
	if (open_layers(&layers, name) &&
	    layers.plains[0].guest.read(&layers.plains[0].guest, bytes, sizeof(bytes), 0) == 0 &&
	    memcmp(bytes, bytes + 1, sizeof(bytes) - 1) == 0)
		pattern = bytes[0];
	for (unsigned i = 0; i < layers.count; i++)
		close(layers.fds[i]);
	return pattern;
}

/* -- Operations -- */

static inline void recover_all(void)
{
	char why[WHY_BYTES] = "";

	cr_assert_eq(family_recover(".", NULL, why, sizeof(why)), 0, "%s", why);
	cr_assert_eq(family_recover("b", NULL, why, sizeof(why)), 0, "%s", why);
}

/* Before it is undone somebody else takes it for one that was cut short. */
static inline int end_changes(struct family_change *made[], unsigned count, bool undoes)
{
	char why[WHY_BYTES];
	int res = family_commit(made, count, why, sizeof(why));

	if (res == 0 && undoes) {
		recover_all();
		res = family_undo(made, count, why, sizeof(why));
	}
	for (unsigned i = 0; i < count; i++)
		family_end(made[i]);
	return res;
}

static inline int snapshot(unsigned count, bool undoes)
{
	struct family_change *made[ARRAY_SIZE(actives)];
	char why[WHY_BYTES];
	unsigned prepared = 0;
	int res = 0;

	for (unsigned i = 0; i < count && res == 0; i++) {
		res = family_snapshot_prepare(actives[i], "new", FAMILY_CLOSED, &made[i], why,
					      sizeof(why));
		prepared += res == 0;
	}
	if (res == 0)
		return end_changes(made, count, undoes);
	for (unsigned i = 0; i < prepared; i++)
		family_end(made[i]);
	return res;
}

static inline int rollback(const char *keep, bool undoes)
{
	struct family_change *made = NULL;
	char why[WHY_BYTES];
	int res = family_rollback_prepare("vm1.qcow2", "base", keep, FAMILY_CLOSED, &made, why,
					  sizeof(why));

	return res == 0 ? end_changes(&made, 1, undoes) : res;
}

static inline int run_snapshot(void)
{
	return snapshot(1, false);
}

static inline int run_undo(void)
{
	return snapshot(1, true);
}

static inline int run_group(void)
{
	return snapshot(ARRAY_SIZE(actives), false);
}

static inline int run_group_undo(void)
{
	return snapshot(ARRAY_SIZE(actives), true);
}

static inline int run_rollback(void)
{
	return rollback(NULL, false);
}

static inline int run_rollback_keeping(void)
{
	return rollback("new", false);
}

static inline int run_rollback_undo(void)
{
	return rollback(NULL, true);
}

static inline int run_clone(void)
{
	const struct family_clone clone = {
		.base = "vm1@base.qcow2", .base_format = "qcow2", .name = "new.qcow2"};
	char why[WHY_BYTES];

	return family_clone(&clone, why, sizeof(why));
}

static inline int run_removal(void)
{
	char why[WHY_BYTES];

	return family_remove("vm1.qcow2", why, sizeof(why));
}

/* Of one image: what shows in its active file, in what gets a name, in a clone. */
struct state {
	int active, kept, clone;
};

/* Each image is as before or as after, by itself. */
static const char *const units[][3] = {
	{"vm1.qcow2", "vm1@new.qcow2", "new.qcow2"},
	{"vm2.qcow2", "vm2@new.qcow2", "-"},
	{"b/vm3.qcow2", "b/vm3@new.qcow2", "-"},
};

#define AS_BEFORE                         \
	{2, NONE, NONE}, {1, NONE, NONE}, \
	{                                 \
		1, NONE, NONE             \
	}

static const struct operation {
	const char *name;
	int (*run)(void);
	struct state old[ARRAY_SIZE(units)], new[ARRAY_SIZE(units)];
	bool removes, undoes;
} operations[] = {
	{.name = "snapshot",
	 .run = run_snapshot,
	 .old = {AS_BEFORE},
	 .new = {{2, 2, NONE}, {1, NONE, NONE}, {1, NONE, NONE}}},
	{.name = "snapshot, undone",
	 .run = run_undo,
	 .old = {AS_BEFORE},
	 .new = {{2, 2, NONE}, {1, NONE, NONE}, {1, NONE, NONE}},
	 .undoes = true},
	{.name = "rollback",
	 .run = run_rollback,
	 .old = {AS_BEFORE},
	 .new = {{1, NONE, NONE}, {1, NONE, NONE}, {1, NONE, NONE}}},
	{.name = "rollback, old content kept",
	 .run = run_rollback_keeping,
	 .old = {AS_BEFORE},
	 .new = {{1, 2, NONE}, {1, NONE, NONE}, {1, NONE, NONE}}},
	{.name = "rollback, undone",
	 .run = run_rollback_undo,
	 .old = {AS_BEFORE},
	 .new = {{1, NONE, NONE}, {1, NONE, NONE}, {1, NONE, NONE}},
	 .undoes = true},
	{.name = "clone",
	 .run = run_clone,
	 .old = {AS_BEFORE},
	 .new = {{2, NONE, 1}, {1, NONE, NONE}, {1, NONE, NONE}}},
	{.name = "removal",
	 .run = run_removal,
	 .old = {AS_BEFORE},
	 .new = {{NONE, NONE, NONE}, {1, NONE, NONE}, {1, NONE, NONE}},
	 .removes = true},
	{.name = "snapshot of three",
	 .run = run_group,
	 .old = {AS_BEFORE},
	 .new = {{2, 2, NONE}, {1, 1, NONE}, {1, 1, NONE}}},
	{.name = "snapshot of three, undone",
	 .run = run_group_undo,
	 .old = {AS_BEFORE},
	 .new = {{2, 2, NONE}, {1, 1, NONE}, {1, 1, NONE}},
	 .undoes = true},
};

/* Image `unit` is in one of two states, either may be NULL. */
static inline bool is_one_of(size_t unit, const struct state *one, const struct state *other)
{
	const struct state is = {pattern_of(units[unit][0]), pattern_of(units[unit][1]),
				 pattern_of(units[unit][2])};

	return (one && memcmp(&is, &one[unit], sizeof(is)) == 0) ||
	       (other && memcmp(&is, &other[unit], sizeof(is)) == 0);
}

static inline bool are_all(const struct state *states)
{
	bool all = true;

	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		all = all && is_one_of(i, states, NULL);
	return all;
}

static inline bool has_identity(const char *name)
{
	return getxattr(name, IDENTITY, NULL, 0) > 0;
}

/* Before anybody cleans up: what LUNs are configured with is there, and itself. */
static inline void expect_served(const struct operation *operation, unsigned cut)
{
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		int pattern = pattern_of(units[i][0]);

		cr_expect(pattern == operation->old[i].active ||
				  pattern == operation->new[i].active,
			  "%s, %u: %s shows %d", operation->name, cut, units[i][0], pattern);
		cr_expect(pattern == NONE || !has_attributes || has_identity(units[i][0]),
			  "%s, %u: %s has no identity", operation->name, cut, units[i][0]);
	}
	cr_expect_eq(pattern_of("vm1@base.qcow2"), 1, "%s, %u", operation->name, cut);
}

/* Afterwards. */
static inline void expect_clean(const struct operation *operation, unsigned cut)
{
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		cr_expect(is_one_of(i, operation->old, operation->new), "%s, %u: %s: %d %d %d",
			  operation->name, cut, units[i][0], pattern_of(units[i][0]),
			  pattern_of(units[i][1]), pattern_of(units[i][2]));
		cr_expect_not(has_identity(units[i][1]), "%s, %u: %s", operation->name, cut,
			      units[i][1]);
	}
}

/* The same again, and it is done. */
static inline void expect_repeatable(const struct operation *operation, unsigned cut)
{
	bool is_old = are_all(operation->old);
	int res = operation->run();

	cr_expect(!is_old || res == 0, "%s, %u: %d", operation->name, cut, res);
}

/* -- Tracing -- */

static const long changing[] = {
	SYS_pwrite64,  SYS_ftruncate, SYS_fallocate,    SYS_fsync,     SYS_fdatasync,
	SYS_fchmod,    SYS_fchown,    SYS_linkat,       SYS_renameat2, SYS_unlinkat,
	SYS_fsetxattr, SYS_openat,    SYS_fremovexattr,
#ifdef SYS_renameat
	SYS_renameat,
#endif
};

static inline bool is_changing(long call)
{
	for (size_t i = 0; i < ARRAY_SIZE(changing); i++)
		if (changing[i] == call)
			return true;
	return false;
}

static inline bool is_naming(long call)
{
#ifdef SYS_renameat
	if (call == SYS_renameat)
		return true;
#endif
	return call == SYS_linkat || call == SYS_renameat2;
}

/* Stopped before it begins. */
static inline pid_t start(int (*run)(void))
{
	pid_t child = fork();
	int status;

	cr_assert(child >= 0);
	if (child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0 || raise(SIGSTOP) != 0)
			_exit(100);
		_exit(run() == 0 ? 0 : 1);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFSTOPPED(status), "processes cannot be traced here");
	cr_assert_eq(
		ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL),
		0);
	return child;
}

#endif
