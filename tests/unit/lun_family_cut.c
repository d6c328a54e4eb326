/*
 * Operations killed after each system call that changes something: what is left is the old state or
 * the new one, nothing of any guest's is lost, and recovery removes the rest. And two processes at
 * once. Power cuts: lun_family_power.c.
 */
#include "tests/unit/lun_family_trial.h"

#include "lun/image_lock.h"

#define CALLS_MAX 512u

TestSuite(family_cut, .init = begin, .fini = end);

/* -- One trial -- */

struct trace {
	long calls[CALLS_MAX];
	unsigned count;
};

/* Run until `cut` calls have changed something, and kill it there. False: it came to its end. */
static bool run_until(const struct operation *operation, unsigned cut, struct trace *trace)
{
	struct __ptrace_syscall_info info;
	pid_t child = start(operation->run);
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
			expect_served(&operations[i], cut);
			recover_all();
			expect_clean(&operations[i], cut);
			if (was_cut)
				expect_repeatable(&operations[i], cut);
			cr_expect_eq(end_trial(), 0, "%s, %u", operations[i].name, cut);
			cut += step;
		} while (was_cut);
	}
}

/* -- Leftovers -- */

static int run_recovery(void)
{
	char why[WHY_BYTES];

	return family_recover(".", NULL, why, sizeof(why));
}

static unsigned first_of(const struct trace *trace, long call)
{
	unsigned at = 0;

	while (at < trace->count && trace->calls[at] != call)
		at++;
	return at;
}

/* It may be what a rollback has replaced, and after a power cut be in its place again. */
Test(family_cut, shortens_nothing_before_its_folder_is_durable)
{
	static const struct operation recovery = {.name = "recovery", .run = run_recovery};
	struct trace trace;
	int fd;

	begin_trial();
	fd = open(".ringsan-0123456789abcdef.tmp", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, INT64_C(5) << 29), 0);
	close(fd);
	cr_expect_not(run_until(&recovery, CALLS_MAX - 1, &trace));
	cr_expect_lt(first_of(&trace, SYS_ftruncate), trace.count);
	cr_expect_lt(first_of(&trace, SYS_fsync), first_of(&trace, SYS_ftruncate));
	cr_expect_eq(end_trial(), 0);
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
	cr_expect_eq(shell_status("! ls .ringsan-* 2>/dev/null >&2; ls vm1@?.qcow2 >/dev/null"), 0);
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
