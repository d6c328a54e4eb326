/*
 * The file of reservations: what a restart and a loss of power leave, at whatever step of its
 * writing the daemon or the host ends; what becomes of a command whose change cannot be written;
 * and that a file which cannot be understood is neither taken for nothing nor overwritten.
 *
 * The C library's functions that write files are replaced by some that count, fail, and end the
 * process. A loss of power takes whatever was not flushed: half of the data, the new name.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "lun/files.h"
#include "tests/unit/scsi_hosts.h"

#define TARGET_FAILURE 0x044400u
#define FILE_NAME "reservations-652534e00102030405060708090a0b0c"
#define NO_STEP 100
#define CUT 77

static char dir[64];
static char path[120];
static char kept[128]; /* Another name of the file as it was. */

/* -- The file system -- */

enum step {
	STEP_OPEN,
	STEP_WRITE,
	STEP_FSYNC,
	STEP_RENAME,
	STEP_FSYNC_FOLDER,
	STEP_COUNT
};

static const int step_errors[STEP_COUNT] = {EACCES, ENOSPC, EIO, EROFS, EIO};

enum loss {
	LOSS_NONE, /* kill -9 */
	LOSS_OF_DATA,
	LOSS_OF_NAME,
	LOSS_OF_BOTH,
	LOSS_COUNT
};

static struct {
	bool armed;
	int fails_at; /* The step that fails, NO_STEP: none. */
	int times;    /* So often. */
	int cut_at;   /* The process ends before the step; STEP_COUNT: behind the last one. */
	enum loss loss;
	int file;   /* Descriptor of the new file, or -1. */
	int folder; /* And of the folder. */
	bool renamed, data_safe, name_safe;
} disk;

/* What a power loss leaves of what was not flushed. */
static void lose(void)
{
	char temporary[128];
	const char *now = disk.renamed ? path : temporary;

	(void)snprintf(temporary, sizeof(temporary), "%s.new", path);
	if (!disk.data_safe && (disk.loss == LOSS_OF_DATA || disk.loss == LOSS_OF_BOTH)) {
		if (truncate(now, 100) != 0 && errno != ENOENT)
			abort();
	}
	if (disk.renamed && !disk.name_safe &&
	    (disk.loss == LOSS_OF_NAME || disk.loss == LOSS_OF_BOTH)) {
		if (syscall(SYS_rename, kept, path) != 0)
			abort();
	}
}

/* 0: go on; else the errno. */
static int disk_step(enum step step)
{
	if (!disk.armed)
		return 0;
	if (disk.cut_at == (int)step) {
		lose();
		_exit(CUT);
	}
	if (disk.fails_at != (int)step || disk.times == 0)
		return 0;
	disk.times--;
	return step_errors[step];
}

/* The kernel's calls, with steps before them. */
int open(const char *name, int flags, ...)
{
	bool creates = (flags & O_CREAT) != 0;
	int error = creates ? disk_step(STEP_OPEN) : 0;
	mode_t mode = 0;
	va_list more;
	int fd;

	errno = error;
	if (error != 0)
		return -1;
	va_start(more, flags);
	if (creates)
		mode = va_arg(more, mode_t);
	va_end(more);
	fd = (int)syscall(SYS_openat, AT_FDCWD, name, flags, mode);
	if (disk.armed && creates)
		disk.file = fd;
	if (disk.armed && (flags & O_DIRECTORY) != 0)
		disk.folder = fd;
	return fd;
}

ssize_t write(int fd, const void *bytes, size_t count)
{
	int error = disk.armed && fd == disk.file ? disk_step(STEP_WRITE) : 0;

	errno = error;
	/* A file system that is full takes some first. */
	if (error != 0 && disk.times == 0 && count > 10)
		(void)syscall(SYS_write, fd, bytes, (size_t)10);
	return error != 0 ? -1 : (ssize_t)syscall(SYS_write, fd, bytes, count);
}

int fsync(int fd)
{
	bool of_folder = disk.armed && fd == disk.folder;
	int error = 0;

	if (disk.armed && (of_folder || fd == disk.file))
		error = disk_step(of_folder ? STEP_FSYNC_FOLDER : STEP_FSYNC);
	errno = error;
	if (error != 0)
		return -1;
	disk.data_safe |= !of_folder;
	disk.name_safe |= of_folder;
	return 0;
}

int rename(const char *from, const char *to)
{
	int error = disk_step(STEP_RENAME);

	errno = error;
	if (error != 0 || syscall(SYS_rename, from, to) != 0)
		return -1;
	disk.renamed = true;
	return 0;
}

static void arm(int fails_at, int times, int cut_at, enum loss loss)
{
	memset(&disk, 0, sizeof(disk));
	disk.fails_at = fails_at;
	disk.times = times;
	disk.cut_at = cut_at;
	disk.loss = loss;
	disk.file = -1;
	disk.folder = -1;
	disk.armed = true;
}

/* -- A daemon -- */

static void begin(void)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/ringsan-pr-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/%s", dir, FILE_NAME);
	(void)snprintf(kept, sizeof(kept), "%s.kept", path);
	hosts_init(dir);
}

static void restart(void)
{
	hosts_clear();
	hosts_init(dir);
}

static void end(void)
{
	char temporary[128];

	hosts_clear();
	(void)snprintf(temporary, sizeof(temporary), "%s.new", path);
	(void)unlink(temporary);
	(void)unlink(path);
	(void)unlink(kept);
	cr_expect(rmdir(dir) == 0, "something else is left in the folder");
}

/* Two hosts are registered, with or without APTPL, the first has reserved. */
static void establish(uint8_t aptpl)
{
	EXPECT("REGISTER", host_pr_out(0, REGISTER, 0, 0, 'a', aptpl), 0);
	EXPECT("REGISTER", host_pr_out(1, REGISTER, 0, 0, 'b', aptpl), 0);
	EXPECT("RESERVE", host_pr_out(0, RESERVE, 5, 'a', 0, 0), 0);
}

/* "generation type: key key ...", as hosts see it. */
static const char *state(void)
{
	static char words[200];
	const uint8_t *buffer = hosts.rig.buffer;
	size_t length;
	uint32_t bytes;
	unsigned type;

	EXPECT("READ RESERVATION", host_pr_in(2, 1), 0);
	type = get_be32(buffer + 4) > 0 ? buffer[21] : 0;
	EXPECT("READ KEYS", host_pr_in(2, 0), 0);
	length = (size_t)snprintf(words, sizeof(words), "%u %u:", get_be32(buffer), type);
	bytes = get_be32(buffer + 4);
	for (uint32_t at = 0; at < bytes; at += 8) {
		length += (size_t)snprintf(words + length, sizeof(words) - length, " %c",
					   (char)get_be64(buffer + 8 + at));
	}
	return words;
}

#define ESTABLISHED "2 5: a b"
#define PREEMPTED "3 1: b"

static uint32_t preempt(void)
{
	return host_pr_out(1, PREEMPT, 1, 'b', 'a', 0);
}

/* The file again, as of another life of the host, and with a CRC that is right. */
static void reboot(void)
{
	char text[4096];
	char *boot;
	char *crc;

	cr_assert_eq(files_read_text(path, text, sizeof(text)), 0);
	boot = strstr(text, "\nboot ") + 6;
	cr_assert_not_null(boot);
	*boot = *boot == '0' ? '1' : '0';
	crc = strstr(text, "crc ");
	(void)sprintf(crc, "crc %08x\n", crc32c(0, text, (size_t)(crc - text)));
	cr_assert_eq(files_write_text(path, text), 0);
}

/* It has the keys of all hosts: whatever umask it is written under. */
Test(reservation_file, is_for_nobody_else)
{
	struct stat st;

	begin();
	umask(0);
	establish(1);
	cr_assert_eq(stat(path, &st), 0);
	cr_expect_eq(st.st_mode & 07777u, 0600);
	end();
}

Test(reservation_file, a_restart_keeps_everything_and_a_power_loss_what_aptpl_says)
{
	for (uint8_t aptpl = 0; aptpl < 2; aptpl++) {
		begin();
		establish(aptpl);
		restart();
		cr_expect_str_eq(state(), ESTABLISHED);
		EXPECT("stranger", host_write(3), CONFLICT);
		EXPECT("registrant", host_write(1), 0);
		reboot();
		restart();
		cr_expect_str_eq(state(), aptpl != 0 ? "0 5: a b" : "0 0:");
		EXPECT("stranger", host_write(3), aptpl != 0 ? CONFLICT : 0);
		end();
	}
}

/* The last valid APTPL bit counts, of whomever. */
Test(reservation_file, the_last_aptpl_counts)
{
	begin();
	establish(1);
	EXPECT("REGISTER", host_pr_out(1, REGISTER, 0, 'b', 'c', 0), 0);
	reboot();
	restart();
	cr_expect_str_eq(state(), "0 0:");
	establish(0);
	EXPECT("IGNORE", host_pr_out(0, IGNORE, 0, 0, 'd', 1), 0);
	reboot();
	restart();
	cr_expect_str_eq(state(), "0 5: d b");
	end();
}

static void cut(int step, enum loss loss)
{
	bool answered;
	pid_t child;
	int status;

	begin();
	establish(1);
	cr_assert(link(path, kept) == 0);
	child = fork();
	if (child == 0) {
		arm(NO_STEP, 0, step, loss);
		(void)preempt();
		lose();
		_exit(hosts.rig.cmd.status == SCSI_GOOD ? 0 : 1);
	}
	cr_assert(waitpid(child, &status, 0) == child && WIFEXITED(status));
	answered = step == STEP_COUNT;
	cr_expect_eq(WEXITSTATUS(status), answered ? 0 : CUT, "step %d: %d", step, status);
	restart();
	if (answered || strcmp(state(), ESTABLISHED) != 0)
		cr_expect_str_eq(state(), PREEMPTED, "step %d, loss %d", step, (int)loss);
	/* What is left lying about hinders nobody. */
	if (!answered && strcmp(state(), ESTABLISHED) == 0)
		EXPECT("again", preempt(), 0);
	cr_expect_str_eq(state(), PREEMPTED);
	end();
}

Test(reservation_file, cut_at_every_step)
{
	for (int step = 0; step <= STEP_COUNT; step++) {
		for (unsigned loss = 0; loss < LOSS_COUNT; loss++)
			cut(step, (enum loss)loss);
	}
}

/* Once, and as long as it lasts. */
Test(reservation_file, a_change_that_cannot_be_written_is_none)
{
	for (int step = 0; step < STEP_COUNT; step++) {
		for (int times = 1; times <= NO_STEP; times += NO_STEP - 1) {
			begin();
			establish(0);
			arm(step, times, NO_STEP, LOSS_NONE);
			EXPECT("PREEMPT", preempt(), TARGET_FAILURE);
			EXPECT("not told", host_attention(0), 0);
			cr_expect_str_eq(state(), ESTABLISHED);
			EXPECT("holder", host_write(0), 0);
			disk.armed = false;
			restart();
			cr_expect_str_eq(state(), ESTABLISHED, "step %d, %d times", step, times);
			EXPECT("PREEMPT", preempt(), 0);
			restart();
			cr_expect_str_eq(state(), PREEMPTED);
			end();
		}
	}
}

/* -- Files that are not ours -- */

static void expect_lost(const char *what)
{
	EXPECT(what, host_read(0), NOT_READY);
	EXPECT(what, host_write(0), NOT_READY);
	for (unsigned action = 0; action < 8; action++)
		EXPECT(what, host_pr_out(0, action, 1, 0, 'a', 0), NOT_READY);
	for (unsigned question = 0; question < 2; question++)
		EXPECT(what, host_pr_in(0, question), NOT_READY);
	EXPECT(what, host_do(0, CDB(0x16), NULL, 0), NOT_READY);
}

Test(reservation_file, what_cannot_be_understood_is_not_overwritten)
{
	static const char *const names[] = {"nothing", "cut", "another lun's", "future"};
	char good[4096];
	char bad[4096];
	char found[4096];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		begin();
		establish(1);
		cr_assert_eq(files_read_text(path, good, sizeof(good)), 0);
		(void)snprintf(bad, sizeof(bad), "%s", good);
		if (i < 2) {
			bad[i == 0 ? 0 : 120] = '\0';
		} else {
			char *crc = strstr(bad, "crc ");

			if (i == 2)
				*(strstr(bad, "lun ") + 10) ^= 1;
			else
				*(strstr(bad, "reservations ") + 13) = '2';
			(void)sprintf(crc, "crc %08x\n", crc32c(0, bad, (size_t)(crc - bad)));
		}
		cr_assert_eq(files_write_text(path, bad), 0);
		restart();
		expect_lost(names[i]);
		cr_assert_eq(files_read_text(path, found, sizeof(found)), 0);
		cr_expect_str_eq(found, bad, "%s", names[i]);
		/* The administrator has restored it. */
		cr_assert_eq(files_write_text(path, good), 0);
		restart();
		cr_expect_str_eq(state(), ESTABLISHED);
		end();
	}
}

Test(reservation_file, what_cannot_be_read)
{
	begin();
	hosts_clear();
	cr_assert(mkdir(path, 0700) == 0);
	hosts_init(dir);
	expect_lost("a folder in its place");
	cr_assert(rmdir(path) == 0);
	end();
}
