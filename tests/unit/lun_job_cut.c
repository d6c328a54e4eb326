/*
 * A snapshot is removed downwards and killed after each system call that changes something: the
 * image shows what it did and is itself, the snapshot is one, or marked, or gone; and the same
 * request, asked again, does the rest. The data are written as a push would.
 */
#include "tests/unit/lun_family_trial.h"

#include "lun/job_files.h"

#define SNAPSHOT "vm1@base.qcow2"
#define CLUSTER 4096u

static struct job_order order;

static void begin_large(void)
{
	begin();
	cr_assert_eq(shell_status("cd template; qemu-io -f qcow2 -c 'write -P 1 0 512k' " SNAPSHOT
				  " >/dev/null"),
		     0);
}

TestSuite(job_cut, .init = begin_large, .fini = end);

static bool is_marked(const char *name)
{
	int here CLEANUP(files_close) = open(".", O_RDONLY | O_DIRECTORY);

	return family_merge_is_marked(here, name);
}

/* What the image has, its first cluster, in place of that of the snapshot. */
static int write_down(void)
{
	static uint8_t bytes[CLUSTER], wanted[CLUSTER], now[CLUSTER];
	int fd CLEANUP(files_close) = open(SNAPSHOT, O_RDWR);
	off_t at = 0;

	(void)memset(bytes, 1, sizeof(bytes));
	(void)memset(wanted, 2, sizeof(wanted));
	while (pread(fd, now, CLUSTER, at) == CLUSTER && memcmp(now, bytes, CLUSTER) != 0 &&
	       memcmp(now, wanted, CLUSTER) != 0)
		at += CLUSTER;
	return pwrite(fd, wanted, CLUSTER, at) == CLUSTER && fdatasync(fd) == 0 ? 0 : -EIO;
}

static int run_removal_down(void)
{
	struct job_files files;
	char why[LUN_WHY_MAX] = "";
	int res = job_files_find(&order, true, &files, why);

	if (res == 0 && !files.is_merged && files.pushed[0] == '\0')
		res = -ENOTSUP;
	if (res == 0 && !files.is_merged) {
		res = job_files_mark(&order, &files, why);
		if (res == 0)
			res = write_down();
		if (res == 0)
			res = job_files_exchange(&order, &files, false, why);
	}
	return res == 0 ? job_files_remove(&order, why) : res;
}

/* False: it came to its end. */
static bool run_until(unsigned cut)
{
	struct __ptrace_syscall_info info;
	pid_t child = start(run_removal_down);
	unsigned count = 0;
	int status = 0;
	long call = 0;

	while (count < cut) {
		cr_assert_eq(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
		cr_assert_eq(waitpid(child, &status, 0), child);
		if (WIFEXITED(status))
			break;
		if (WSTOPSIG(status) != (SIGTRAP | 0x80))
			continue;
		cr_assert_gt(ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof(info), &info), 0);
		if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
			call = (long)info.entry.nr;
		else if (info.op == PTRACE_SYSCALL_INFO_EXIT)
			count += is_changing(call);
	}
	if (WIFEXITED(status)) {
		cr_assert_eq(WEXITSTATUS(status), 0);
		return false;
	}
	cr_assert_eq(kill(child, SIGKILL), 0);
	cr_assert_eq(waitpid(child, &status, 0), child);
	return true;
}

static void expect_served_or_marked(unsigned cut)
{
	cr_expect_eq(pattern_of("vm1.qcow2"), 2, "%u", cut);
	cr_expect(!is_marked("vm1.qcow2"), "%u", cut);
	cr_expect(has_identity("vm1.qcow2"), "%u", cut);
	if (!is_marked(SNAPSHOT)) {
		int pattern = pattern_of(SNAPSHOT);

		cr_expect(pattern == 1 || pattern == NONE, "%u: %d", cut, pattern);
	}
}

Test(job_cut, killed_anywhere)
{
	unsigned step = getenv("FAMILY_CUTS") ? 1 : 2;
	unsigned cut = 1;
	bool was_cut = true;

	if (!has_attributes)
		cr_skip_test("files have no attributes here");
	for (; was_cut; cut += step) {
		struct job_files files;
		char why[LUN_WHY_MAX] = "";

		begin_trial();
		order = (struct job_order){
			.kind = JOB_REMOVE, .path = "vm1.qcow2", .image = SNAPSHOT};
		cr_assert_eq(job_files_find(&order, true, &files, why), 0, "%s", why);
		cr_assert_str_eq(files.pushed, "vm1.qcow2");
		order.is_resumed = true;
		was_cut = run_until(cut);
		expect_served_or_marked(cut);
		recover_all();
		expect_served_or_marked(cut);
		cr_expect_eq(run_removal_down(), 0, "%u", cut);
		expect_served_or_marked(cut);
		cr_expect_eq(pattern_of(SNAPSHOT), NONE, "%u", cut);
		cr_expect_lt(getxattr("vm1.qcow2", "user.ringsan.merge", NULL, 0), 0, "%u", cut);
		cr_expect_eq(end_trial(), 0, "%u", cut);
	}
	cr_expect_gt(cut, 10 * step);
}
