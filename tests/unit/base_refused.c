/*
 * A kernel that refuses: io_uring and libaio are taken away by a seccomp filter, as a container
 * runtime does it. The message has to name cause and remedy; auto has to fall back.
 */
#include "tests/unit/base_testing.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static int captured_fd;
static char captured[8192];

static void capture(void)
{
	int fds[2];

	cr_assert_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	captured_fd = fds[0];
	cr_assert_geq(dup2(fds[1], STDERR_FILENO), 0);
	(void)close(fds[1]);
}

static const char *captured_text(void)
{
	ssize_t count = read(captured_fd, captured, sizeof(captured) - 1);

	captured[count > 0 ? count : 0] = '\0';
	return captured;
}

/* From here on this process gets `error` from the system call. */
static void refuse(long number, int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = ARRAY_SIZE(filter), .filter = filter};

	cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static int start_and_end(enum loop_engine engine, const char *expected_name)
{
	struct loop_config config = {.name = "refused", .engine = engine};
	struct loop *loop;
	int res;

	cr_assert_eq(loop_create(&config, &loop), 0);
	res = loop_start(loop);
	if (res == 0) {
		cr_assert_str_eq(loop_engine_name(loop), expected_name);
		loop_stop(loop);
		loop_join(loop);
	}
	loop_free(loop, false);
	return res;
}

Test(refused, auto_falls_back_and_says_so_once)
{
	const char *text;

	refuse(SYS_io_uring_setup, EPERM);
	capture();
	cr_assert_eq(start_and_end(LOOP_ENGINE_AUTO, "aio"), 0);
	text = captured_text();
	cr_assert_not_null(strstr(text, "the uring engine is refused"), "%s", text);
	cr_assert_not_null(strstr(text, "kernel.io_uring_disabled"), "%s", text);
	cr_assert_not_null(strstr(text, "seccomp"), "%s", text);
	cr_assert_eq(start_and_end(LOOP_ENGINE_AUTO, "aio"), 0);
	cr_assert_str_eq(captured_text(), "");
}

Test(refused, uring_alone_fails_with_cause_and_remedy)
{
	static const struct {
		int error;
		const char *remedy;
	} cases[] = {
		{ENOSYS, "too old"},
		{ENOMEM, "RLIMIT_MEMLOCK"},
		{EPERM, "kernel.io_uring_disabled"},
		{EMFILE, "RLIMIT_NOFILE"},
		{EXDEV, "engine = aio"},
	};

	capture();
	/* Of several filters, the one installed last wins among equal actions. */
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *text;

		refuse(SYS_io_uring_setup, cases[i].error);
		cr_assert_eq(start_and_end(LOOP_ENGINE_URING, ""), -cases[i].error);
		text = captured_text();
		cr_assert_not_null(strstr(text, cases[i].remedy), "%s", text);
	}
}

Test(refused, aio_names_its_limit)
{
	const char *text;

	refuse(SYS_io_setup, EAGAIN);
	capture();
	cr_assert_eq(start_and_end(LOOP_ENGINE_AIO, ""), -EAGAIN);
	text = captured_text();
	cr_assert_not_null(strstr(text, "fs.aio-max-nr"), "%s", text);
}

/* -- Descriptors ----------------------------------------------------------------------------- */

struct acceptor {
	struct test_op accept;
	struct loop_timer timer;
	struct loop *loop;
	struct rlimit kept;
	int fd;
};

/* Nothing may be opened from here on, and somebody is at the door. */
LOOP_ONLY static void on_use_up(struct loop_timer *timer)
{
	struct acceptor *acceptor = CONTAINER_OF(timer, struct acceptor, timer);
	struct rlimit limit = acceptor->kept;

	limit.rlim_cur = 0;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	loop_accept(acceptor->loop, &acceptor->accept.op, acceptor->fd, test_on_op);
}

/* It is the acceptor's to back off, so it is told. */
TEST_ON_ENGINES(refused, accept_reports_descriptors_used_up)
{
	struct acceptor acceptor = {.loop = test_loop(engine)};
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
	socklen_t length = sizeof(at);
	int caller_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	acceptor.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(acceptor.fd, (struct sockaddr *)&at, sizeof(at)), 0);
	cr_assert_eq(listen(acceptor.fd, 8), 0);
	cr_assert_eq(getsockname(acceptor.fd, (struct sockaddr *)&at, &length), 0);
	cr_assert_eq(connect(caller_fd, (struct sockaddr *)&at, sizeof(at)), 0);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &acceptor.kept), 0);
	loop_timer_start(acceptor.loop, &acceptor.timer, 1, on_use_up);
	test_run(acceptor.loop);
	/* Criterion needs to poll. */
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &acceptor.kept), 0);
	cr_assert_eq(acceptor.accept.res, -EMFILE);
}
