/*
 * Operations killed after each system call that changes something: what is left is the old state or
 * the new one, nothing of any guest's is lost, and recovery removes the rest. What a power cut adds
 * to a kill, that what was not made durable may be missing, is shown by the order of the calls. And
 * two processes at once.
 */
#include "lun/family_change.h"

#include <dirent.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>

#include "base/attr.h"
#include "lun/image_lock.h"
#include "lun/qcow2/plain.h"
#include "lun/qcow2/writable.h"
#include "tests/unit/lun_family.h"

#define IDENTITY "user.ringsan.identity"
#define LAYERS 8u
#define CALLS_MAX 256u

static char folder[64];
static bool has_attributes;

/* In memory, where files can have attributes there: hundreds of flushes. */
static const char *place(void)
{
	int fd CLEANUP(files_close) = open("/dev/shm", O_TMPFILE | O_RDWR, 0600);

	return fd >= 0 && fsetxattr(fd, IDENTITY, "mine", 4, 0) == 0 ? "/dev/shm" : "/var/tmp";
}

/* "template" has an image with a snapshot; each trial has a copy of it in "run". */
static void begin(void)
{
	enter_folder_in(place(), folder);
	cr_assert_eq(shell("set -e; exec >/dev/null; mkdir template; cd template;"
			   "qemu-img create -q -f qcow2 -o cluster_size=4k vm1@base.qcow2 1M;"
			   "qemu-io -c 'write -P 1 0 4k' vm1@base.qcow2;"
			   "qemu-img create -q -f qcow2 -o cluster_size=4k -b vm1@base.qcow2 -F "
			   "qcow2 vm1.qcow2; qemu-io -c 'write -P 2 0 4k' vm1.qcow2"),
		     0);
	has_attributes = setxattr("template/vm1.qcow2", IDENTITY, "mine", 4, 0) == 0;
}

static void end(void)
{
	leave_folder(folder);
}

TestSuite(family_cut, .init = begin, .fini = end);

static void copy_file(const char *name)
{
	static uint8_t bytes[1 << 20];
	char from[32];
	int in;
	int out;
	ssize_t length;

	(void)snprintf(from, sizeof(from), "../template/%s", name);
	in = open(from, O_RDONLY);
	out = open(name, O_CREAT | O_EXCL | O_WRONLY, 0600);
	length = read(in, bytes, sizeof(bytes));
	cr_assert(length > 0 && (size_t)length < sizeof(bytes));
	cr_assert_eq(write(out, bytes, (size_t)length), length);
	close(in);
	close(out);
}

static void begin_trial(void)
{
	cr_assert_eq(mkdir("run", 0700), 0);
	cr_assert_eq(chdir("run"), 0);
	copy_file("vm1.qcow2");
	copy_file("vm1@base.qcow2");
	(void)!setxattr("vm1.qcow2", IDENTITY, "mine", 4, 0);
}

/* How many files are called .ringsan-*; all are removed. */
static unsigned end_trial(void)
{
	DIR *dir = opendir(".");
	const struct dirent *entry;
	unsigned temporary = 0;

	while ((entry = readdir(dir)) != NULL) {
		temporary += strncmp(entry->d_name, ".ringsan-", 9) == 0;
		(void)unlink(entry->d_name);
	}
	closedir(dir);
	cr_assert_eq(chdir(".."), 0);
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

static void open_layers(struct layers *layers, const char *name)
{
	char why[WHY_BYTES] = "";

	layers->count = 0;
	while (name[0] != '\0') {
		unsigned i = layers->count++;

		cr_assert(i < LAYERS);
		layers->fds[i] = open(name, O_RDONLY);
		cr_assert(layers->fds[i] >= 0, "%s", name);
		cr_assert_eq(qcow2_descriptor_make(layers->fds[i], &layers->files[i]), 0);
		cr_assert_eq(qcow2_plain_open(&layers->plains[i], &layers->files[i].writable.file,
					      NULL, why, sizeof(why)),
			     0, "%s: %s", name, why);
		name = layers->plains[i].header.backing_name;
	}
	for (unsigned i = 0; i + 1 < layers->count; i++)
		layers->plains[i].backing = &layers->plains[i + 1].guest;
}

/* The pattern of an image's first cluster; -1: there is no such file. */
static int pattern_of(const char *name)
{
	static struct layers layers;
	uint8_t bytes[4096];

	if (access(name, F_OK) != 0)
		return -1;
	open_layers(&layers, name);
	cr_assert_eq(layers.plains[0].guest.read(&layers.plains[0].guest, bytes, sizeof(bytes), 0),
		     0);
	for (unsigned i = 0; i < layers.count; i++)
		close(layers.fds[i]);
	cr_assert(memcmp(bytes, bytes + 1, sizeof(bytes) - 1) == 0, "%s is torn", name);
	return bytes[0];
}

/* -- Operations -- */

static int change(bool rolls_back, const char *keep, bool undoes)
{
	struct family_change *made = NULL;
	char why[WHY_BYTES];
	int res;

	if (rolls_back)
		res = family_rollback_prepare("vm1.qcow2", "base", keep, FAMILY_CLOSED, &made, why,
					      sizeof(why));
	else
		res = family_snapshot_prepare("vm1.qcow2", keep, FAMILY_CLOSED, &made, why,
					      sizeof(why));
	if (res != 0)
		return res;
	res = family_commit(&made, 1, why, sizeof(why));
	if (res == 0 && undoes)
		res = family_undo(&made, 1, why, sizeof(why));
	family_end(made);
	return res;
}

static int run_snapshot(void)
{
	return change(false, "new", false);
}

static int run_undo(void)
{
	return change(false, "new", true);
}

static int run_rollback(void)
{
	return change(true, NULL, false);
}

static int run_rollback_keeping(void)
{
	return change(true, "new", false);
}

static int run_rollback_undo(void)
{
	return change(true, NULL, true);
}

static int run_clone(void)
{
	const struct family_clone clone = {
		.base = "vm1@base.qcow2", .base_format = "qcow2", .name = "new.qcow2"};
	char why[WHY_BYTES];

	return family_clone(&clone, why, sizeof(why));
}

static int run_removal(void)
{
	char why[WHY_BYTES];

	return family_remove("vm1.qcow2", why, sizeof(why));
}

/* Patterns, -1: no file. */
struct state {
	int active, kept, clone;
};

static const struct operation {
	const char *name;
	int (*run)(void);
	struct state old, new;
	bool removes;
} operations[] = {
	{"snapshot", run_snapshot, {2, -1, -1}, {2, 2, -1}, false},
	{"snapshot, undone", run_undo, {2, -1, -1}, {2, 2, -1}, false},
	{"rollback", run_rollback, {2, -1, -1}, {1, -1, -1}, false},
	{"rollback, old content kept", run_rollback_keeping, {2, -1, -1}, {1, 2, -1}, false},
	{"rollback, undone", run_rollback_undo, {2, -1, -1}, {1, -1, -1}, false},
	{"clone", run_clone, {2, -1, -1}, {2, -1, 1}, false},
	{"removal", run_removal, {2, -1, -1}, {-1, -1, -1}, true},
};

/* -- One trial -- */

static const long changing[] = {
	SYS_pwrite64,  SYS_ftruncate, SYS_fallocate,    SYS_fsync,     SYS_fdatasync,
	SYS_fchmod,    SYS_fchown,    SYS_linkat,       SYS_renameat2, SYS_unlinkat,
	SYS_fsetxattr, SYS_openat,    SYS_fremovexattr,
#ifdef SYS_renameat
	SYS_renameat,
#endif
};

static bool is_changing(long call)
{
	for (size_t i = 0; i < ARRAY_SIZE(changing); i++)
		if (changing[i] == call)
			return true;
	return false;
}

struct trace {
	long calls[CALLS_MAX];
	unsigned count;
};

static pid_t start(const struct operation *operation)
{
	pid_t child = fork();
	int status;

	cr_assert(child >= 0);
	if (child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0 || raise(SIGSTOP) != 0)
			_exit(100);
		_exit(operation->run() == 0 ? 0 : 1);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFSTOPPED(status), "processes cannot be traced here");
	cr_assert_eq(
		ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL),
		0);
	return child;
}

/* Run until `cut` calls have changed something, and kill it there. False: it came to its end. */
static bool run_until(const struct operation *operation, unsigned cut, struct trace *trace)
{
	struct __ptrace_syscall_info info;
	pid_t child = start(operation);
	int status = 0;

	trace->count = 0;
	while (trace->count < cut) {
		cr_assert_eq(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
		cr_assert_eq(waitpid(child, &status, 0), child);
		if (WIFEXITED(status))
			break;
		cr_assert(WIFSTOPPED(status), "%d", status);
		if (WSTOPSIG(status) != (SIGTRAP | 0x80))
			continue;
		cr_assert_gt(ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof(info), &info), 0);
		if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
			trace->calls[trace->count] = (long)info.entry.nr;
		else if (info.op == PTRACE_SYSCALL_INFO_EXIT &&
			 is_changing(trace->calls[trace->count]))
			cr_assert_lt(++trace->count, CALLS_MAX);
	}
	if (WIFEXITED(status)) {
		cr_assert_eq(WEXITSTATUS(status), 0, "%s", operation->name);
		return false;
	}
	cr_assert_eq(kill(child, SIGKILL), 0);
	cr_assert_eq(waitpid(child, &status, 0), child);
	return true;
}

static bool is_state(const struct state *state)
{
	return pattern_of("vm1.qcow2") == state->active &&
	       pattern_of("vm1@new.qcow2") == state->kept &&
	       pattern_of("new.qcow2") == state->clone;
}

static bool has_identity(const char *name)
{
	return getxattr(name, IDENTITY, NULL, 0) > 0;
}

static void expect_sound(const struct operation *operation, unsigned cut)
{
	char why[WHY_BYTES] = "";
	bool removed = access("vm1.qcow2", F_OK) != 0;

	/* Before anybody cleans up: what LUNs are configured with is there, and itself. */
	cr_expect(removed ? operation->removes : !has_attributes || has_identity("vm1.qcow2"),
		  "%s, %u", operation->name, cut);
	cr_expect(removed || pattern_of("vm1.qcow2") == operation->old.active ||
			  pattern_of("vm1.qcow2") == operation->new.active,
		  "%s, %u", operation->name, cut);
	cr_expect_eq(pattern_of("vm1@base.qcow2"), 1);
	cr_assert_eq(family_recover(".", why, sizeof(why)), 0, "%s", why);
	cr_expect(is_state(&operation->old) || is_state(&operation->new), "%s, %u", operation->name,
		  cut);
	cr_expect_not(has_identity("vm1@new.qcow2"), "%s, %u", operation->name, cut);
}

/* The same again, and it is done. */
static void expect_repeatable(const struct operation *operation, unsigned cut)
{
	bool is_done = !is_state(&operation->old);
	int res = operation->run();

	cr_expect(is_done || res == 0, "%s, %u: %d", operation->name, cut, res);
}

/* All cuts with FAMILY_CUTS set, else each fourth, of each operation others. */
Test(family_cut, killed_anywhere)
{
	unsigned step = getenv("FAMILY_CUTS") ? 1 : 4;

	for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
		struct trace trace;
		unsigned cut = 1 + (unsigned)i % step;
		bool was_cut;

		do {
			begin_trial();
			was_cut = run_until(&operations[i], cut, &trace);
			expect_sound(&operations[i], cut);
			if (was_cut)
				expect_repeatable(&operations[i], cut);
			cr_expect_eq(end_trial(), 0, "%s, %u", operations[i].name, cut);
			cut += step;
		} while (was_cut);
	}
}

/* -- Order, for power cuts -- */

static bool is_sync(long call)
{
	return call == SYS_fsync || call == SYS_fdatasync;
}

static bool is_naming(long call)
{
#ifdef SYS_renameat
	if (call == SYS_renameat)
		return true;
#endif
	return call == SYS_linkat || call == SYS_renameat2;
}

static bool is_content(long call)
{
	return call == SYS_pwrite64 || call == SYS_ftruncate || call == SYS_fallocate ||
	       call == SYS_fsetxattr || call == SYS_fchmod || call == SYS_fchown;
}

/* What gets a name is durable; what takes something away comes when the name is. */
static void expect_order(const char *name, const struct trace *trace)
{
	bool content = false; /* Not durable. */
	bool named = false;
	unsigned namings = 0;

	for (unsigned i = 0; i < trace->count; i++) {
		long call = trace->calls[i];

		if (is_sync(call))
			content = named = false;
		cr_expect_not(is_naming(call) && content, "%s: call %u names what is not durable",
			      name, i);
		cr_expect_not(call == SYS_fremovexattr && named, "%s: call %u is too early", name,
			      i);
		content = content || is_content(call);
		named = named || is_naming(call);
		namings += is_naming(call);
	}
	cr_expect_not(named, "%s: its end is not durable", name);
	cr_expect_gt(namings, 0, "%s", name);
}

Test(family_cut, order_of_durability)
{
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
		struct trace trace;

		if (operations[i].removes)
			continue;
		begin_trial();
		cr_expect_not(run_until(&operations[i], CALLS_MAX - 1, &trace));
		expect_order(operations[i].name, &trace);
		(void)end_trial();
	}
}

/* -- Two at once -- */

#define ROUNDS 8

static void take_snapshots(char first)
{
	for (char i = 0; i < ROUNDS; i++) {
		struct family_change *made = NULL;
		char name[2] = {(char)(first + i), '\0'};
		char why[WHY_BYTES];
		int res = family_snapshot_prepare("vm1.qcow2", name, FAMILY_CLOSED, &made, why,
						  sizeof(why));

		if (res == 0)
			res = family_commit(&made, 1, why, sizeof(why));
		if (made)
			family_end(made);
		/* The other one was faster, or holds the file; or the chain is full. */
		if (res != 0 && res != -EAGAIN && res != -EBUSY && res != -ELOOP)
			_exit(1);
	}
	_exit(0);
}

static void expect_success(pid_t child)
{
	int status = -1;

	cr_expect_eq(waitpid(child, &status, 0), child);
	cr_expect_eq(status, 0);
}

Test(family_cut, two_take_snapshots)
{
	pid_t children[2];

	cr_assert_eq(chdir("template"), 0);
	for (unsigned i = 0; i < 2; i++) {
		children[i] = fork();
		if (children[i] == 0)
			take_snapshots(i ? 'a' : 'A');
	}
	expect_success(children[0]);
	expect_success(children[1]);
	cr_expect_eq(pattern_of("vm1.qcow2"), 2);
	cr_expect_eq(pattern_of("vm1@base.qcow2"), 1);
	cr_expect(!has_attributes || has_identity("vm1.qcow2"));
	cr_expect_eq(shell("! ls .ringsan-* 2>/dev/null >&2; ls vm1@?.qcow2 >/dev/null"), 0);
	cr_assert_eq(chdir(".."), 0);
}

/* Who writes has no children, as long as it has the file. */
static void open_for_writing(void)
{
	unsigned admitted = 0;

	for (unsigned i = 0; i < 4000 && admitted < 20; i++) {
		char why[WHY_BYTES];
		int fd = open("vm1.qcow2", O_RDWR);

		if (image_lock_qemu(fd, true) == 0 &&
		    family_admit_writer(fd, why, sizeof(why)) == 0) {
			admitted++;
			for (unsigned look = 0; look < 20; look++)
				if (access("clone.qcow2", F_OK) == 0)
					_exit(1);
		}
		close(fd);
	}
	_exit(0);
}

static void clone_and_remove(void)
{
	const struct family_clone clone = {
		.base = "vm1.qcow2", .base_format = "qcow2", .name = "clone.qcow2"};
	char why[WHY_BYTES];

	for (unsigned i = 0; i < 5 * ROUNDS; i++)
		if (family_clone(&clone, why, sizeof(why)) == 0 &&
		    family_remove("clone.qcow2", why, sizeof(why)) != 0)
			_exit(1);
	_exit(0);
}

Test(family_cut, clone_and_writer)
{
	pid_t children[2];

	cr_assert_eq(chdir("template"), 0);
	children[0] = fork();
	if (children[0] == 0)
		open_for_writing();
	children[1] = fork();
	if (children[1] == 0)
		clone_and_remove();
	expect_success(children[0]);
	expect_success(children[1]);
	cr_assert_eq(chdir(".."), 0);
}
