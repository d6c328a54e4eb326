/*
 * Saved mode pages: in their file before the answer, read by the next daemon, only where the
 * changeable bits are concerned, and nothing changes where they cannot be written.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lun/files.h"
#include "tests/unit/scsi_mode_rig.h"

#define FILE_NAME "mode-652534e00102030405060708090a0b0c"

static char dir[64];
static char path[128];

/* A daemon that starts on what an earlier one has left. */
static void restart(bool write_cache_by_hosts)
{
	struct scsi_lu_spec spec = {
		.lun = &rig.lun, .state_dir = dir, .write_cache_by_hosts = write_cache_by_hosts};

	loop_role_assume();
	rig_init_with(&rig, FAKE_BLOCKS, 512);
	cr_assert(scsi_target_add_lu(rig.target, 1, &spec) == 0);
	rig_connect(&rig);
	rig.lun_number = 1;
	(void)rig_prepare(&rig, CDB(0x00));
	cr_assert(rig.cmd.sense[12] == 0x29 || rig.cmd.sense[2] == 0x29);
}

/* In place of the C library's. */
static bool folder_fails;

int fsync(int fd)
{
	struct stat st;

	if (!folder_fails || fstat(fd, &st) != 0 || !S_ISDIR(st.st_mode))
		return (int)syscall(SYS_fsync, fd);
	errno = EIO;
	return -1;
}

static void begin(void)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/ringsan-mode-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/%s", dir, FILE_NAME);
	restart(false);
}

static void end(void)
{
	rig_clear(&rig);
	(void)unlink(path);
	cr_expect(rmdir(dir) == 0, "something else is left in the folder");
}

static void write_file(const char *text)
{
	cr_assert(files_write_text(path, text) == 0);
}

static uint8_t control_byte(uint8_t pc, unsigned byte)
{
	uint8_t page[12];

	read_page((uint8_t)(pc << 6 | 0x0A), 0, page, sizeof(page));
	return page[byte];
}

Test(scsi_mode_saved, pages_can_be_saved)
{
	begin();
	for (uint8_t pc = 0; pc < 4; pc++) {
		rig_do(&rig, CDB(0x1A, 0x08, (uint8_t)(pc << 6 | 0x3F), 0xFF, 255), NULL, 0);
		cr_assert(rig.cmd.status == SCSI_GOOD && rig.cmd.data_bytes == 124);
		/* PS of every page. */
		cr_expect(rig.buffer[4] == 0x81 && rig.buffer[16] == 0x88 &&
			  rig.buffer[36] == 0x8A && rig.buffer[48] == 0xCA &&
			  rig.buffer[80] == 0x9C);
	}
	end();
}

Test(scsi_mode_saved, survives_a_restart)
{
	char text[1024];
	struct stat st;

	begin();
	select_6(PF | SP, CONTROL_LIST(0x22, 0x08), CONTROL_BYTES);
	cr_expect(rig.cmd.status == SCSI_GOOD);
	cr_expect(control_byte(0, 4) == 0x08 && control_byte(3, 4) == 0x08 &&
		  control_byte(2, 4) == 0);
	cr_assert(files_read_text(path, text, sizeof(text)) == 0);
	cr_expect(strncmp(text, "1 naa=652534e00102030405060708090a0b0c\n", 39) == 0);
	cr_expect_not_null(strstr(text, "\n0a.00 0a0a221008000000ffff0000\n"));
	cr_assert(stat(path, &st) == 0);
	cr_expect((st.st_mode & 0777) == 0600);
	rig_clear(&rig);
	restart(false);
	cr_expect(control_byte(0, 4) == 0x08 && control_byte(3, 4) == 0x08);
	rig_do(&rig, CDB(0x2A, [8] = 1), text, 512);
	cr_expect(rig_sense(&rig) == SOFTWARE_WRITE_PROTECTED);
	/* A change that is not saved ends with the daemon, or with a reset. */
	select_6(PF, CONTROL_LIST(0x26, 0), CONTROL_BYTES);
	cr_expect(control_byte(0, 2) == 0x26 && control_byte(3, 2) == 0x22);
	scsi_mode_reset(scsi_target_find_lu(rig.target, 1), &rig.loop);
	fake_run(&rig);
	cr_expect(control_byte(0, 2) == 0x22 && control_byte(0, 4) == 0x08);
	end();
}

/* Without a list what is in force is saved; with RTD that is what the factory made. */
Test(scsi_mode_saved, without_a_list)
{
	begin();
	select_6(PF, CONTROL_LIST(0x26, 0), CONTROL_BYTES);
	rig_do(&rig, CDB(0x15, SP), NULL, 0);
	cr_expect(rig_sense(&rig) == 0 || rig.cmd.status == SCSI_GOOD);
	cr_expect(control_byte(3, 2) == 0x26);
	rig_clear(&rig);
	restart(false);
	cr_expect(control_byte(0, 2) == 0x26);
	rig_do(&rig, CDB(0x55, RTD), NULL, 0);
	cr_expect(rig.cmd.status == SCSI_GOOD);
	cr_expect(control_byte(0, 2) == 0x22 && control_byte(3, 2) == 0x26);
	rig_do(&rig, CDB(0x55, RTD | SP), NULL, 0);
	cr_expect(rig.cmd.status == SCSI_GOOD && control_byte(3, 2) == 0x22);
	rig_clear(&rig);
	restart(false);
	cr_expect(control_byte(0, 2) == 0x22);
	end();
}

/* WCE was saved while hosts might change it, and now they may not. */
Test(scsi_mode_saved, never_overrides_the_administrator)
{
	uint8_t page[20];

	begin();
	rig_clear(&rig);
	restart(true);
	select_6(PF | SP, (const uint8_t[24]){[4] = 0x08, 18}, 24);
	cr_expect(rig.cmd.status == SCSI_GOOD);
	rig_clear(&rig);
	restart(true);
	read_page(0x08, 0, page, sizeof(page));
	cr_expect(page[2] == 0);
	rig_clear(&rig);
	restart(false);
	for (uint8_t pc = 0; pc < 4; pc++) {
		read_page((uint8_t)(pc << 6 | 0x08), 0, page, sizeof(page));
		cr_expect(page[2] == (pc == 1 ? 0 : 0x04), "page control %u", pc);
	}
	end();
}

Test(scsi_mode_saved, what_cannot_be_written_changes_nothing)
{
	char file[sizeof(dir)];

	begin();
	memcpy(file, dir, sizeof(file));
	(void)snprintf(dir, sizeof(dir), "/tmp/ringsan-mode-none");
	select_6(PF | SP, CONTROL_LIST(0x26, 0x08), CONTROL_BYTES);
	cr_expect(rig_sense(&rig) == 0x044400);
	cr_expect(control_byte(0, 2) == 0x22 && control_byte(3, 2) == 0x22);
	cr_expect(control_byte(0, 4) == 0 && rig.lun.count[LUN_FLUSH] == 0);
	memcpy(dir, file, sizeof(dir));
	end();
}

/* Each step of writing the file fails in turn: the file and the parameters stay what they were. */
Test(scsi_mode_saved, every_step_that_fails)
{
	static const char *const steps[] = {"create", "write", "rename"};
	struct rlimit limit, small;
	char partial[160], kept[160];

	begin();
	(void)snprintf(partial, sizeof(partial), "%s.new", path);
	(void)snprintf(kept, sizeof(kept), "%s/kept", path);
	cr_assert(getrlimit(RLIMIT_FSIZE, &limit) == 0);
	small = (struct rlimit){.rlim_cur = 100, .rlim_max = limit.rlim_max};
	(void)signal(SIGXFSZ, SIG_IGN);
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		cr_assert(i != 0 || mkdir(partial, 0700) == 0);
		cr_assert(i != 1 || setrlimit(RLIMIT_FSIZE, &small) == 0);
		cr_assert(i != 2 || (mkdir(path, 0700) == 0 && mkdir(kept, 0700) == 0));
		select_6(PF | SP, CONTROL_LIST(0x26, 0x08), CONTROL_BYTES);
		cr_expect(rig_sense(&rig) == 0x044400, "%s: %06X", steps[i],
			  (unsigned)rig_sense(&rig));
		cr_assert(setrlimit(RLIMIT_FSIZE, &limit) == 0);
		(void)rmdir(kept);
		(void)rmdir(path);
		(void)rmdir(partial);
		cr_expect(access(partial, F_OK) != 0 && access(path, F_OK) != 0, "%s", steps[i]);
		cr_expect(control_byte(0, 2) == 0x22 && control_byte(3, 2) == 0x22, "%s", steps[i]);
	}
	end();
}

/* The new file has its name, and its folder cannot be flushed: it is put back. */
Test(scsi_mode_saved, folder_that_fails)
{
	begin();
	select_6(PF | SP, CONTROL_LIST(0x22, 0x08), CONTROL_BYTES);
	cr_assert(rig.cmd.status == SCSI_GOOD);
	folder_fails = true;
	select_6(PF | SP, CONTROL_LIST(0x22, 0), CONTROL_BYTES);
	folder_fails = false;
	cr_expect(rig_sense(&rig) == 0x044400);
	cr_expect(control_byte(0, 4) == 0x08);
	rig_clear(&rig);
	restart(false);
	cr_expect(control_byte(0, 4) == 0x08);
	end();
}

/* Power was lost while a file was being written: what lies beside the good one counts for nothing.
 */
Test(scsi_mode_saved, half_a_file)
{
	char partial[160];

	begin();
	select_6(PF | SP, CONTROL_LIST(0x26, 0), CONTROL_BYTES);
	cr_assert(rig.cmd.status == SCSI_GOOD);
	rig_clear(&rig);
	(void)snprintf(partial, sizeof(partial), "%s.new", path);
	cr_assert(files_write_text(partial, "1 naa=652534e0010203040506") == 0);
	restart(false);
	cr_expect(control_byte(0, 2) == 0x26 && control_byte(0, 4) == 0);
	select_6(PF | SP, CONTROL_LIST(0x22, 0x08), CONTROL_BYTES);
	cr_expect(rig.cmd.status == SCSI_GOOD && access(partial, F_OK) != 0);
	rig_clear(&rig);
	restart(false);
	cr_expect(control_byte(0, 2) == 0x22 && control_byte(0, 4) == 0x08);
	end();
}

/* Of two LUNs with one identity the second loses it when all are open. */
Test(scsi_mode_saved, identity_gone)
{
	begin();
	memset(&rig.lun.identity, 0, sizeof(rig.lun.identity));
	select_6(PF | SP, CONTROL_LIST(0x26, 0), CONTROL_BYTES);
	cr_expect(rig_sense(&rig) == INVALID_FIELD && rig_field(&rig) == 0x100);
	rig_do(&rig, CDB(0x1A, 0x08, 0xFF, 0xFF, 255), NULL, 0);
	cr_expect(rig_sense(&rig) == NO_SAVING);
	end();
}

/* Aborted while the file is being written: it is, and so are the parameters. */
Test(scsi_mode_saved, aborted_while_saving)
{
	begin();
	cr_assert(rig_prepare(&rig, CDB(0x15, PF | SP, 0, 0, CONTROL_BYTES)));
	rig.cmd.buffer_bytes = CONTROL_BYTES;
	memcpy(rig.buffer, CONTROL_LIST(0x22, 0x08), CONTROL_BYTES);
	cr_assert(!scsi_cmd_execute(&rig.cmd));
	while (fake_message(&rig.loop))
		continue;
	cr_assert(!list_is_empty(&rig.loop.calls));
	scsi_cmd_abort(&rig.cmd);
	cr_expect(rig.done_count == 0);
	fake_run(&rig);
	cr_expect(rig.done_count == 1 && rig.cmd.status == SCSI_TASK_ABORTED);
	cr_expect(fake_buffers_taken(&rig.loop) == 0);
	cr_expect(control_byte(0, 4) == 0x08 && control_byte(3, 4) == 0x08);
	end();
}

#define HEAD "1 naa=652534e00102030405060708090a0b0c\n"

Test(scsi_mode_saved, files)
{
	static const struct {
		const char *what, *text;
		bool used;
	} files[] = {
		{"sound", HEAD "0a.00 0a0a261000000000ffff0000\n", true},
		{"pages of a later version beside it",
		 HEAD "1d.02 5d02\n0a.00 0a0a261000000000ffff0000\n3e.00 00\n", true},
		{"PS in the page", HEAD "0a.00 8a0a261000000000ffff0000\n", true},
		{"no page", HEAD, false},
		{"nothing", "", false},
		{"another LUN",
		 "1 naa=652534e00102030405060708090a0b0d\n"
		 "0a.00 0a0a261000000000ffff0000\n",
		 false},
		{"another version",
		 "2 naa=652534e00102030405060708090a0b0c\n"
		 "0a.00 0a0a261000000000ffff0000\n",
		 false},
		{"cut short", HEAD "0a.00 0a0a261000000000ffff0000", false},
		{"cut shorter", HEAD "0a.00 0a0a26", false},
		{"cut in the page", HEAD "0a.00 0a0a26\n", false},
		{"longer", HEAD "0a.00 0a0a261000000000ffff000000\n", false},
		{"no digits", HEAD "0a.00 0a0a26x000000000ffff0000\n", false},
		{"no page code", HEAD "0a00 0a0a261000000000ffff0000\n", false},
		{"sound, then damaged", HEAD "0a.00 0a0a261000000000ffff0000\n\n", false},
	};

	begin();
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		rig_clear(&rig);
		write_file(files[i].text);
		restart(false);
		cr_expect(control_byte(0, 2) == (files[i].used ? 0x26 : 0x22), "%s", files[i].what);
	}
	end();
}
