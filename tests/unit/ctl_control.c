/*
 * The control socket's server on a loop of its own, with clients that do all that clients should
 * not: half lines, too much, nothing, leaving. The requests are the test's own.
 */
#include "target/ctl/control.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* Nothing fails because a machine is slow; this only ends a test that hangs. */
#define PATIENCE_MS 60000
#define BIG_BYTES (8u << 20)

struct stage {
	char dir[80];
	char path[100];
	struct loop *loop;
	struct control *control;
	struct control_request *held; /* By "hold", until "release". */
	struct loop_timer timer;
	struct loop_msg stop;
	bool was_empty;
};

static struct stage stage;

/* -- The requests -- */

static LOOP_ONLY void do_echo(struct control_request *request)
{
	const struct control_value *text = control_value(request, 0);

	control_answer(request, json_pack("{s:o}", "text", control_json_text(text->text)));
}

static LOOP_ONLY void do_hold(struct control_request *request)
{
	struct stage *s = control_context(request);

	control_progress(request, json_pack("{s:i}", "step", 1));
	control_progress(request, json_pack("{s:i}", "step", 2));
	s->held = request;
}

static LOOP_ONLY void do_release(struct control_request *request)
{
	struct stage *s = control_context(request);

	if (s->held != NULL)
		control_answer(s->held, json_pack("{s:b}", "released", 1));
	s->held = NULL;
	control_answer(request, json_object());
}

static LOOP_ONLY void do_big(struct control_request *request)
{
	char *text = malloc(BIG_BYTES + 1);

	cr_assert_not_null(text);
	memset(text, 'x', BIG_BYTES);
	text[BIG_BYTES] = '\0';
	control_answer(request, json_pack("{s:s}", "text", text));
	free(text);
}

static LOOP_ONLY void do_nothing_good(struct control_request *request)
{
	control_answer(request, NULL);
}

static const struct control_parameter echo_parameters[] = {
	{.name = "text", .type = CONTROL_TEXT, .min = 1, .max = 8},
};

static const struct control_row rows[] = {
	{.name = "echo", .parameters = echo_parameters, .parameter_count = 1, .handler = do_echo},
	{.name = "hold", .handler = do_hold},
	{.name = "release", .handler = do_release},
	{.name = "big", .handler = do_big},
	{.name = "poor", .handler = do_nothing_good},
};

static const struct control_table table = {rows, ARRAY_SIZE(rows)};

/* -- The stage -- */

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");

	(void)snprintf(stage.dir, sizeof(stage.dir), "%s/ringsan-ctl-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert_not_null(mkdtemp(stage.dir));
	(void)snprintf(stage.path, sizeof(stage.path), "%s/run/sock", stage.dir);
}

static void teardown(void)
{
	char command[160];

	(void)snprintf(command, sizeof(command), "rm -rf %s", stage.dir);
	/* The test is one thread again. NOLINTNEXTLINE */
	cr_assert_eq(system(command), 0);
}

TestSuite(ctl_control, .init = setup, .fini = teardown);

static void serve_with(uint32_t idle_ms, uint32_t stall_ms)
{
	const struct loop_config config = {.name = "control", .engine = LOOP_ENGINE_AIO};
	struct control_config server = {
		.table = &table, .context = &stage, .idle_ms = idle_ms, .stall_ms = stall_ms};
	char why[CONTROL_WHY_BYTES];
	struct control_path path;

	loop_role_assume();
	cr_assert_eq(loop_create(&config, &stage.loop), 0);
	server.loop = stage.loop;
	cr_assert_eq(control_path_claim(stage.path, &path, why), 0, "%s", why);
	cr_assert_eq(control_create(&server, &path, &stage.control), 0);
	control_start(stage.control);
	cr_assert_eq(loop_start(stage.loop), 0);
}

static void serve(void)
{
	serve_with(PATIENCE_MS, PATIENCE_MS);
}

static void on_empty(void *arg)
{
	struct stage *s = arg;

	cr_expect_not(s->was_empty);
	s->was_empty = true;
	loop_stop(s->loop);
}

static LOOP_ONLY void on_stop(struct loop_msg *msg)
{
	control_stop(CONTAINER_OF(msg, struct stage, stop)->control, on_empty, &stage);
}

static void join(void)
{
	loop_join(stage.loop);
	cr_expect(stage.was_empty);
	cr_expect_eq(control_pending(stage.control), 0);
	control_free(stage.control);
	loop_free(stage.loop, false);
	cr_expect_eq(access(stage.path, F_OK), -1, "the file must be gone");
}

static void finish(void)
{
	loop_post(stage.loop, &stage.stop, on_stop);
	join();
}

/* -- A client -- */

struct client {
	int fd;
	char *line; /* The last one read; freed by the next. */
	size_t size;
	FILE *from;
};

static void connect_only(struct client *client)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};

	*client = (struct client){.fd = socket(AF_UNIX, SOCK_STREAM, 0)};
	memcpy(address.sun_path, stage.path, strlen(stage.path) + 1);
	cr_assert_eq(connect(client->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)),
		     0);
	client->from = fdopen(client->fd, "r");
	cr_assert_not_null(client->from);
}

static void leave(struct client *client)
{
	(void)fclose(client->from);
	free(client->line);
}

/* The next line, or "" at the end. */
static const char *read_line(struct client *client)
{
	return getline(&client->line, &client->size, client->from) > 0 ? client->line : "";
}

static void expect_line(struct client *client, const char *part)
{
	const char *line = read_line(client);

	cr_assert_not_null(strstr(line, part), "expected %s in: %.200s", part, line);
}

static void expect_end(struct client *client)
{
	cr_assert_str_eq(read_line(client), "");
	cr_assert(feof(client->from), "it must have been closed");
}

static void enter(struct client *client)
{
	connect_only(client);
	expect_line(client, "{\"hello\":{\"version\":");
}

static void send_bytes(const struct client *client, const char *bytes, size_t length)
{
	cr_assert_eq(send(client->fd, bytes, length, MSG_NOSIGNAL), (ssize_t)length);
}

static void say(const struct client *client, const char *text)
{
	send_bytes(client, text, strlen(text));
}

#define ECHO(word) "{\"request\":\"echo\",\"parameters\":{\"text\":\"" word "\"}}\n"
#define REQUEST(name) "{\"request\":\"" name "\"}\n"

Test(ctl_control, a_request_is_answered)
{
	struct client client;

	serve();
	enter(&client);
	say(&client, "{\"id\":7,\"request\":\"echo\",\"parameters\":{\"text\":\"abc\"}}\n");
	expect_line(&client, "{\"result\":{\"text\":\"abc\"},\"id\":7}\n");
	say(&client, "{\"request\":\"poor\",\"id\":\"x\"}\n");
	expect_line(&client, "\"code\":\"busy\"");
	leave(&client);
	finish();
}

Test(ctl_control, requests_come_in_any_pieces)
{
	static const char text[] = ECHO("one") ECHO("two") ECHO("three");
	struct client client;

	serve();
	enter(&client);
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		send_bytes(&client, text + i, 1);
		if (i % 16 == 0)
			(void)usleep(1000);
	}
	expect_line(&client, "one");
	expect_line(&client, "two");
	expect_line(&client, "three");
	say(&client, text);
	expect_line(&client, "one");
	expect_line(&client, "two");
	expect_line(&client, "three");
	leave(&client);
	finish();
}

/* As `echo ... | nc -U -N` does. */
Test(ctl_control, who_has_said_all_still_hears_the_answer)
{
	struct client client;

	serve();
	enter(&client);
	say(&client, ECHO("one") ECHO("two"));
	cr_assert_eq(shutdown(client.fd, SHUT_WR), 0);
	expect_line(&client, "one");
	expect_line(&client, "two");
	expect_end(&client);
	leave(&client);
	finish();
}

Test(ctl_control, too_long_a_line_ends_the_connection)
{
	char *text = malloc(2 * CONTROL_LINE_BYTES);
	struct client client;
	struct client other;

	cr_assert_not_null(text);
	serve();
	enter(&client);
	enter(&other);
	/* The longest that is allowed is heard, and is no request. */
	memset(text, ' ', 2 * CONTROL_LINE_BYTES);
	text[CONTROL_LINE_BYTES - 1] = '\n';
	send_bytes(&client, text, CONTROL_LINE_BYTES);
	expect_line(&client, "bad-request");
	text[CONTROL_LINE_BYTES - 1] = ' ';
	send_bytes(&client, text, CONTROL_LINE_BYTES);
	expect_line(&client, "a request has more than 16383 bytes");
	expect_end(&client);
	say(&other, ECHO("here"));
	expect_line(&other, "here");
	leave(&client);
	leave(&other);
	free(text);
	finish();
}

Test(ctl_control, progress_comes_before_the_answer)
{
	struct client client;
	struct client other;

	serve();
	enter(&client);
	enter(&other);
	say(&client, "{\"request\":\"hold\",\"id\":1}\n" ECHO("next"));
	expect_line(&client, "{\"progress\":{\"step\":2},\"id\":1}");
	say(&other, REQUEST("release"));
	expect_line(&other, "{\"result\":{}}");
	expect_line(&client, "{\"result\":{\"released\":true},\"id\":1}");
	expect_line(&client, "next");
	leave(&client);
	leave(&other);
	finish();
}

Test(ctl_control, who_vanishes_while_his_answer_is_pending)
{
	struct client client;
	struct client other;

	serve();
	enter(&client);
	enter(&other);
	say(&client, REQUEST("hold"));
	expect_line(&client, "step");
	leave(&client);
	say(&other, ECHO("here"));
	expect_line(&other, "here");
	say(&other, REQUEST("release"));
	expect_line(&other, "{\"result\":{}}");
	leave(&other);
	finish();
}

/* Reads nothing of eight megabytes. */
Test(ctl_control, who_never_reads_is_let_go)
{
	struct client client;
	struct client other;
	struct pollfd gone = {.events = POLLIN};
	char bytes[4096];
	ssize_t got;

	serve_with(PATIENCE_MS, 20);
	enter(&client);
	enter(&other);
	say(&client, REQUEST("big"));
	say(&other, ECHO("here"));
	expect_line(&other, "here");
	gone.fd = client.fd;
	/* POLLHUP comes when the other end is closed, whatever lies unread. */
	gone.events = POLLRDHUP;
	cr_assert_eq(poll(&gone, 1, PATIENCE_MS), 1);
	got = 0;
	for (ssize_t part = 1; part > 0; got += part)
		part = recv(client.fd, bytes, sizeof(bytes), 0);
	cr_expect_lt(got, (ssize_t)BIG_BYTES);
	leave(&client);
	leave(&other);
	finish();
}

/* A big answer goes through, however slowly it is read, as long as it is. */
Test(ctl_control, who_reads_slowly_gets_all)
{
	struct client client;

	serve();
	enter(&client);
	say(&client, REQUEST("big"));
	expect_line(&client, "{\"result\":{\"text\":\"xxx");
	cr_expect_eq(strlen(client.line), BIG_BYTES + strlen("{\"result\":{\"text\":\"\"}}\n"));
	say(&client, ECHO("and"));
	expect_line(&client, "and");
	leave(&client);
	finish();
}

Test(ctl_control, half_a_line_is_not_waited_for_for_ever)
{
	struct client silent;
	struct client half;

	serve_with(20, PATIENCE_MS);
	enter(&silent);
	expect_end(&silent);
	enter(&half);
	say(&half, "{\"request\":");
	expect_end(&half);
	leave(&silent);
	leave(&half);
	finish();
}

Test(ctl_control, there_is_room_for_so_many)
{
	struct client clients[CONTROL_CONNECTIONS_MAX];
	struct client extra;

	serve();
	for (unsigned i = 0; i < CONTROL_CONNECTIONS_MAX; i++)
		enter(&clients[i]);
	connect_only(&extra);
	expect_line(&extra, "too many connections");
	expect_end(&extra);
	leave(&extra);
	for (unsigned i = 0; i < CONTROL_CONNECTIONS_MAX; i++) {
		say(&clients[i], ECHO("here"));
		expect_line(&clients[i], "here");
	}
	leave(&clients[0]);
	/* It takes the server a moment to see that there is room. */
	connect_only(&extra);
	while (strstr(read_line(&extra), "hello") == NULL) {
		leave(&extra);
		connect_only(&extra);
	}
	leave(&extra);
	for (unsigned i = 1; i < CONTROL_CONNECTIONS_MAX; i++)
		leave(&clients[i]);
	finish();
}

/* As a handler does whose round has ended. */
static LOOP_ONLY void answer_late(struct loop_msg *msg)
{
	(void)msg;
	control_answer(stage.held, json_pack("{s:b}", "released", 1));
}

/* It comes to its end with a request that has not been answered, and waits for it. */
Test(ctl_control, the_end_waits_for_handlers)
{
	static struct loop_msg late;
	struct client client;
	struct client idle;

	serve();
	enter(&client);
	enter(&idle);
	say(&client, REQUEST("hold"));
	expect_line(&client, "step");
	loop_post(stage.loop, &stage.stop, on_stop);
	expect_end(&idle);
	cr_expect_eq(control_pending(stage.control), 1);
	loop_post(stage.loop, &late, answer_late);
	expect_line(&client, "released");
	expect_end(&client);
	leave(&client);
	leave(&idle);
	join();
}

/* 0: told to go. He stands in the folder already. */
static int knock_as_a_stranger(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "sock"};
	char bytes[1024] = "";
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (seteuid(65534) != 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    recv(fd, bytes, sizeof(bytes) - 1, 0) < 0)
		return 2;
	return strstr(bytes, "only root") != NULL && strstr(bytes, "hello") == NULL ? 0 : 1;
}

/* The mode of the file keeps others out; this is what stands behind it. */
Test(ctl_control, only_root_and_our_user_are_listened_to)
{
	struct client client;
	char folder[100];
	pid_t child;
	int status;

	if (geteuid() != 0)
		cr_skip_test("only root can become somebody else");
	serve();
	(void)snprintf(folder, sizeof(folder), "%s/run", stage.dir);
	cr_assert_eq(chmod(stage.path, 0666), 0);
	cr_assert_eq(chmod(folder, 0711), 0);
	cr_assert_eq(chdir(folder), 0);
	child = fork();
	if (child == 0)
		_exit(knock_as_a_stranger());
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
	enter(&client);
	leave(&client);
	finish();
}
