/*
 * Where the control socket lies: who gets it, what is replaced, what is refused, what is left.
 */
#include "target/ctl/control_path.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char dir[80];
static char name[100];

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");

	(void)snprintf(dir, sizeof(dir), "%s/ringsan-ctl-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert_not_null(mkdtemp(dir));
	(void)snprintf(name, sizeof(name), "%s/run/sock", dir);
}

static void teardown(void)
{
	char command[160];

	(void)snprintf(command, sizeof(command), "rm -rf %s", dir);
	/* One thread. NOLINTNEXTLINE */
	cr_assert_eq(system(command), 0);
}

TestSuite(ctl_control_path, .init = setup, .fini = teardown);

static mode_t mode_of(const char *path)
{
	struct stat st;

	cr_assert_eq(stat(path, &st), 0);
	return st.st_mode & 07777u;
}

Test(ctl_control_path, the_path_is_ours_alone)
{
	char folder[100];
	char why[CONTROL_WHY_BYTES];
	struct control_path path;
	struct control_path second;

	(void)snprintf(folder, sizeof(folder), "%s/run", dir);
	cr_assert_eq(control_path_claim(name, &path, why), 0, "%s", why);
	cr_expect_eq(mode_of(folder), 0700);
	cr_expect_eq(mode_of(name), 0600);
	cr_expect_eq(control_path_claim(name, &second, why), -EADDRINUSE);
	cr_expect_not_null(strstr(why, "another ringsand"), "%s", why);
	cr_expect_eq(second.fd, -1);
	control_path_release(&second);
	cr_expect_eq(access(name, F_OK), 0);
	control_path_release(&path);
	cr_expect_eq(access(name, F_OK), -1);
	control_path_release(&path);
}

Test(ctl_control_path, what_a_killed_daemon_left_is_replaced)
{
	char why[CONTROL_WHY_BYTES];
	struct control_path killed;
	struct control_path path;

	cr_assert_eq(control_path_claim(name, &killed, why), 0);
	(void)close(killed.fd);
	cr_assert_eq(control_path_claim(name, &path, why), 0, "%s", why);
	/* And if the first was not dead after all, it leaves the second's alone. */
	killed.fd = dup(path.fd);
	killed.inode++;
	control_path_release(&killed);
	cr_expect_eq(access(name, F_OK), 0);
	control_path_release(&path);
}

Test(ctl_control_path, paths_that_are_refused)
{
	char folder[100];
	char why[CONTROL_WHY_BYTES];
	struct control_path path;
	char long_path[200];
	FILE *file;

	(void)snprintf(folder, sizeof(folder), "%s/run", dir);
	cr_assert_eq(mkdir(folder, 0700), 0);
	file = fopen(name, "w");
	cr_assert_not_null(file);
	(void)fclose(file);
	cr_expect_eq(control_path_claim(name, &path, why), -EEXIST);
	cr_expect_not_null(strstr(why, "no socket; remove it"), "%s", why);
	cr_assert_eq(unlink(name), 0);
	cr_assert_eq(chmod(folder, 0777), 0);
	cr_expect_eq(control_path_claim(name, &path, why), -EPERM);
	cr_expect_not_null(strstr(why, "chmod o-w"), "%s", why);
	/* As /tmp is: nobody can take another's file away. */
	cr_assert_eq(chmod(folder, 01777), 0);
	cr_expect_eq(control_path_claim(name, &path, why), 0, "%s", why);
	control_path_release(&path);
	(void)snprintf(long_path, sizeof(long_path), "%s/no/such/sock", dir);
	cr_expect_eq(control_path_claim(long_path, &path, why), -ENOENT);
	memset(long_path, '/', sizeof(long_path));
	long_path[sizeof(long_path) - 1] = '\0';
	cr_expect_eq(control_path_claim(long_path, &path, why), -ENAMETOOLONG);
}

/* Of a kind that a daemon's is not, as /run/systemd/notify is: it is somebody's. */
Test(ctl_control_path, sockets_of_others_stay)
{
	static const int kinds[] = {SOCK_DGRAM, SOCK_SEQPACKET};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char folder[100];
	char why[CONTROL_WHY_BYTES];
	struct control_path path;

	(void)snprintf(folder, sizeof(folder), "%s/run", dir);
	cr_assert_eq(mkdir(folder, 0700), 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", name);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		int fd = socket(AF_UNIX, kinds[i] | SOCK_CLOEXEC, 0);

		cr_assert_geq(fd, 0);
		cr_assert_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
		cr_expect_eq(control_path_claim(name, &path, why), -EPROTOTYPE, "%s", why);
		cr_expect_not_null(strstr(why, "not ours"), "%s", why);
		cr_expect_eq(access(name, F_OK), 0);
		(void)close(fd);
		(void)unlink(name);
	}
}

/* Whoever may read a folder may lock it, and forget it so. */
Test(ctl_control_path, a_lock_of_others_keeps_nobody, .timeout = 60)
{
	char folder[100];
	char why[CONTROL_WHY_BYTES];
	struct control_path path;
	int other;

	(void)snprintf(folder, sizeof(folder), "%s/run", dir);
	cr_assert_eq(mkdir(folder, 0755), 0);
	other = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(flock(other, LOCK_EX), 0);
	cr_expect_eq(control_path_claim(name, &path, why), 0, "%s", why);
	control_path_release(&path);
	(void)close(other);
}
