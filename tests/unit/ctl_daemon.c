/*
 * The daemon from its configuration to its end: what keeps it from starting, what it is made of,
 * how it tells that it is ready, and with which status it leaves.
 */
#include "target/ctl/daemon.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "conf/parse.h"
#include "target/ctl/build.h"
#include "target/ctl/notify.h"

static char dir[90]; /* A socket's path must hold it, and some more. */
static struct conf_errors errors;
static struct conf *conf;

static void setup(void)
{
	/* Tests that end in _exit leave it to the runner, which clears its TMPDIR. */
	const char *tmp = getenv("TMPDIR");

	(void)snprintf(dir, sizeof(dir), "%s/ringsan-ctl-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert_not_null(mkdtemp(dir));
}

static void teardown(void)
{
	char command[160];

	conf_free(conf);
	(void)snprintf(command, sizeof(command), "rm -rf %s", dir);
	/* The test is one thread again. NOLINTNEXTLINE */
	cr_assert_eq(system(command), 0);
}

TestSuite(ctl_daemon, .init = setup, .fini = teardown);

#define HEAD "loops = 2\nportal \"127.0.0.1:0\" { }\n"
#define TARGET(luns) "target \"iqn.2026-11.io.ringsan:t\" { " luns " }\n"

/* Parse HEAD-like text whose "%s" are the test's folder. */
static void configure(const char *format, ...) PRINTF_LIKE(1, 2);

static void configure(const char *format, ...)
{
	char text[4096];
	struct conf_text from = {.name = "f", .text = text};
	va_list args;
	int len = snprintf(text, sizeof(text),
			   "state-dir = \"%s/state\"\ncontrol-socket = \"%s/sock\"\n", dir, dir);

	va_start(args, format);
	(void)vsnprintf(text + len, sizeof(text) - (size_t)len, format, args);
	va_end(args);
	from.length = strlen(text);
	cr_assert_eq(conf_parse_text(&from, &conf, &errors), 0, "%s", errors.items[0].text);
}

static int build(struct runtime **out)
{
	struct sizing sizing;

	cr_assert(sizing_compute(conf, 2, &sizing, &errors));
	return runtime_build(conf, &sizing, &errors, out);
}

Test(ctl_daemon, what_it_is_made_of)
{
	struct runtime *runtime;
	char path[160];
	struct stat st;

	configure(HEAD "target \"iqn.2026-11.io.ringsan:a\" { alias = \"disks of a\"\n"
		       "lun 0 { type = null size = 1G }\n"
		       "lun 7 { image = \"%s/a.img\" size = 16M } }\n"
		       "target \"iqn.2026-11.io.ringsan:b\" { portal-groups = { 1 }\n"
		       "lun 0 { image = \"%s/no/such/folder\" size = 16M } }\n",
		  dir, dir);
	cr_assert_eq(build(&runtime), 0);
	cr_expect_eq(runtime->server.group.count, 2);
	cr_expect_eq(runtime->now->view.target_count, 2);
	cr_expect_eq(runtime->server.portal_count, 1);
	cr_expect_neq(address_port(&runtime->portals[0].address), 0);
	cr_expect_str_eq(runtime->now->targets[0].alias, "disks of a");
	cr_expect_eq(runtime->now->lun_count, 3);
	cr_expect_str_eq(lun_name(runtime->now->luns[1]), "iqn.2026-11.io.ringsan:a lun 7");
	cr_expect(lun_state(runtime->now->luns[1])->online);
	/* A bad image takes only its own LUN offline. */
	cr_expect_not(lun_state(runtime->now->luns[2])->online);
	cr_expect_not_null(scsi_target_find_lu(runtime->now->targets[1].scsi, 0));
	cr_expect_eq(runtime->now->targets[1].tag_count, 1);
	(void)snprintf(path, sizeof(path), "%s/state", dir);
	cr_assert_eq(stat(path, &st), 0);
	cr_expect_eq(st.st_mode & 0777u, 0700);
	runtime_free(runtime);
}

Test(ctl_daemon, a_busy_port_refuses_the_start_before_an_image_is_made)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct runtime *runtime;
	char path[160];

	cr_assert_eq(bind(fd, (struct sockaddr *)&in, len), 0);
	cr_assert_eq(listen(fd, 1), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	configure("loops = 1\nportal \"127.0.0.1:%u\" { }\n" TARGET(
			  "lun 0 { image = \"%s/a.img\" size = 16M }"),
		  (unsigned)ntohs(in.sin_port), dir);
	cr_expect_eq(build(&runtime), -EINVAL);
	cr_assert_eq(errors.count, 1);
	cr_expect_eq(strncmp(errors.items[0].text, "f:4: portal 127.0.0.1:", 22), 0, "%s",
		     errors.items[0].text);
	(void)snprintf(path, sizeof(path), "%s/a.img", dir);
	cr_expect_eq(access(path, F_OK), -1);
	(void)close(fd);
}

Test(ctl_daemon, a_state_folder_that_cannot_be)
{
	struct runtime *runtime;
	char path[160];
	FILE *blocker;

	(void)snprintf(path, sizeof(path), "%s/state", dir);
	blocker = fopen(path, "w");
	cr_assert_not_null(blocker);
	(void)fclose(blocker);
	configure(HEAD TARGET("lun 0 { type = null size = 1G }"));
	cr_expect_eq(build(&runtime), -EINVAL);
	cr_assert_eq(errors.count, 1);
	cr_expect_not_null(strstr(errors.items[0].text, path));
	cr_expect_not_null(strstr(errors.items[0].text, "no folder"), "%s", errors.items[0].text);
}

/* Who may write there could have two disks take one identity. */
Test(ctl_daemon, a_state_folder_that_is_everybody_s)
{
	struct runtime *runtime;
	char path[160];

	(void)snprintf(path, sizeof(path), "%s/state", dir);
	cr_assert_eq(mkdir(path, 0700), 0);
	cr_assert_eq(chmod(path, 0777), 0);
	configure(HEAD TARGET("lun 0 { type = null size = 1G }"));
	cr_expect_eq(build(&runtime), -EINVAL);
	cr_assert_eq(errors.count, 1);
	cr_expect_not_null(strstr(errors.items[0].text, "chmod"), "%s", errors.items[0].text);
}

Test(ctl_daemon, a_state_folder_of_somebody_else)
{
	struct runtime *runtime;
	char path[160];

	if (geteuid() != 0)
		cr_skip_test("only root can give a folder away");
	(void)snprintf(path, sizeof(path), "%s/state", dir);
	cr_assert_eq(mkdir(path, 0700), 0);
	cr_assert_eq(chown(path, 65534, 65534), 0);
	configure(HEAD TARGET("lun 0 { type = null size = 1G }"));
	cr_expect_eq(build(&runtime), -EINVAL);
	cr_assert_eq(errors.count, 1);
	cr_expect_not_null(strstr(errors.items[0].text, "chown"), "%s", errors.items[0].text);
}

Test(ctl_daemon, check_knows_what_the_parser_does_not)
{
	struct sizing sizing;

	configure("limits { memory = 8M sessions = 1000 }\n" HEAD TARGET(
		"lun 0 { type = null size = 1G }"));
	cr_expect_not(daemon_check(conf, &sizing, &errors));
	cr_expect_eq(errors.count, 1);
	cr_expect_eq(daemon_run(&conf, &errors), DAEMON_EXIT_REFUSED);
}

/* -- Life and end -- */

/* The supervisor: a socket that NOTIFY_SOCKET names, and signals once READY came. */
struct supervisor {
	int fd;
	int signals[3];
	useconds_t gap_us; /* Between two signals. */
	int locked;        /* A folder that is locked until the end has begun; or 0. */
	char said[256];
};

static void *supervise(void *arg)
{
	struct supervisor *supervisor = arg;
	size_t len = 0;

	for (unsigned i = 0; i < 8; i++) {
		ssize_t got = recv(supervisor->fd, supervisor->said + len,
				   sizeof(supervisor->said) - len - 1, 0);

		if (got <= 0)
			break;
		len += (size_t)got;
		supervisor->said[len++] = ' ';
		for (unsigned j = 0; i == 0 && j < 3 && supervisor->signals[j]; j++) {
			(void)usleep(j == 0 ? 50000 : supervisor->gap_us);
			(void)kill(getpid(), supervisor->signals[j]);
		}
		if (strstr(supervisor->said, "STOPPING"))
			break;
	}
	if (supervisor->locked > 0) {
		(void)usleep(300000);
		(void)close(supervisor->locked);
	}
	return NULL;
}

/* The real threads block all signals, so this one must, too. */
static enum daemon_exit live(struct supervisor *supervisor)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	enum daemon_exit status;
	pthread_t thread;
	sigset_t all;
	sigset_t before;

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", dir);
	supervisor->fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	cr_assert_eq(bind(supervisor->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(setenv("NOTIFY_SOCKET", address.sun_path, 1), 0);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	cr_assert_eq(pthread_create(&thread, NULL, supervise, supervisor), 0);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	status = daemon_run(&conf, &errors);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	(void)close(supervisor->fd);
	return status;
}

Test(ctl_daemon, an_orderly_end)
{
	struct supervisor supervisor = {.signals = {SIGHUP, SIGTERM}, .gap_us = 50000};

	configure(HEAD TARGET("lun 0 { image = \"%s/a.img\" size = 16M } "
			      "lun 1 { type = null size = 1G }"),
		  dir);
	cr_expect_eq(live(&supervisor), DAEMON_EXIT_OK);
	cr_expect_str_eq(supervisor.said, "READY=1 FDSTOREREMOVE=1\nFDNAME=portal "
					  "FDSTORE=1\nFDNAME=portal STOPPING=1 ");
}

/* A folder of its own: nobody else locks it. */
static void make_image(const char *folder)
{
	char command[400];

	(void)snprintf(command, sizeof(command),
		       "mkdir %s && qemu-img create -q -f qcow2 %s/a.qcow2 16M", folder, folder);
	/* Nothing else runs yet. NOLINTNEXTLINE */
	cr_assert_eq(system(command), 0);
}

/* A thread waits for the lock of the image's folder until the end has begun. */
Test(ctl_daemon, the_end_waits_for_who_cleans_folders)
{
	struct supervisor supervisor = {.signals = {SIGTERM}};
	char folder[120];

	(void)snprintf(folder, sizeof(folder), "%s/images", dir);
	make_image(folder);
	configure(HEAD TARGET("lun 0 { type = qcow2 image = \"%s/a.qcow2\" }"), folder);
	supervisor.locked = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(flock(supervisor.locked, LOCK_EX), 0);
	cr_expect_eq(live(&supervisor), DAEMON_EXIT_OK);
}

static void configure_fault(const char *rule)
{
	char path[160];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/control", dir);
	file = fopen(path, "w");
	cr_assert_not_null(file);
	(void)fputs(rule, file);
	(void)fclose(file);
	configure(HEAD TARGET("lun 0 { type = fault size = 16M image = \"%s/a.img\" "
			      "fault-control = \"%s\" }"),
		  dir, path);
}

Test(ctl_daemon, a_flush_that_fails_is_an_unclean_end, .exit_code = DAEMON_EXIT_UNCLEAN)
{
	struct supervisor supervisor = {.signals = {SIGTERM}};

	configure_fault("fail flush EIO\n");
	(void)live(&supervisor);
	cr_assert_fail("it must not come back");
}

Test(ctl_daemon, a_disk_that_is_stuck_is_an_unclean_end, .exit_code = DAEMON_EXIT_UNCLEAN)
{
	struct supervisor supervisor = {.signals = {SIGINT}};

	configure_fault("stick flush\n");
	(void)live(&supervisor);
	cr_assert_fail("it must not come back");
}

Test(ctl_daemon, a_second_signal_ends_it_at_once, .exit_code = DAEMON_EXIT_AT_ONCE)
{
	struct supervisor supervisor = {.signals = {SIGTERM, SIGTERM}, .gap_us = 700000};

	configure_fault("stick flush\n");
	(void)live(&supervisor);
	cr_assert_fail("it must not come back");
}

/* timeout(1) signals its child and then the process group. */
Test(ctl_daemon, a_request_to_process_and_group_is_one)
{
	struct supervisor supervisor = {.signals = {SIGTERM, SIGTERM, SIGINT}, .gap_us = 20000};

	configure_fault("delay flush 300\n");
	cr_expect_eq(live(&supervisor), DAEMON_EXIT_OK);
}

/* Whoever asks once more, when all was done and only memory is given back, spoils nothing. */
Test(ctl_daemon, signals_after_the_end_change_nothing)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
	struct supervisor supervisor = {.signals = {SIGTERM}};

	configure(HEAD TARGET("lun 0 { type = null size = 1G }"));
	cr_expect_eq(live(&supervisor), DAEMON_EXIT_OK);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		cr_expect_eq(kill(getpid(), numbers[i]), 0);
	usleep(20000);
}

/* -- notify -- */

Test(ctl_daemon, notify_where_nobody_listens)
{
	char long_path[200];

	cr_assert_eq(unsetenv("NOTIFY_SOCKET"), 0);
	cr_expect_eq(notify_send("READY=1"), 0);
	cr_assert_eq(setenv("NOTIFY_SOCKET", "relative", 1), 0);
	cr_expect_eq(notify_send("READY=1"), -EINVAL);
	cr_assert_eq(setenv("NOTIFY_SOCKET", "/no/such/socket", 1), 0);
	cr_expect_lt(notify_send("READY=1"), 0);
	memset(long_path, '/', sizeof(long_path));
	long_path[sizeof(long_path) - 1] = '\0';
	cr_assert_eq(setenv("NOTIFY_SOCKET", long_path, 1), 0);
	cr_expect_eq(notify_send("READY=1"), -EINVAL);
}

Test(ctl_daemon, notify_by_an_abstract_name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	char name[64];
	char got[32] = "";
	socklen_t len;

	(void)snprintf(name, sizeof(name), "@ringsan-test-%d", (int)getpid());
	memcpy(address.sun_path, name, strlen(name));
	address.sun_path[0] = '\0';
	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, len), 0);
	cr_assert_eq(setenv("NOTIFY_SOCKET", name, 1), 0);
	cr_expect_eq(notify_send("READY=1"), 0);
	cr_expect_eq(recv(fd, got, sizeof(got), MSG_DONTWAIT), 7);
	cr_expect_str_eq(got, "READY=1");
	(void)close(fd);
}
