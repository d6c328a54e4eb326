/*
 * Log lines: nobody can forge one, they are bounded, and a flood is counted instead of written.
 */
#include "base/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

static int captured_fd;
static char captured[65536];

/* Standard error into a pipe, until captured_text. */
static void capture(void)
{
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	captured_fd = fds[0];
	cr_assert_geq(dup2(fds[1], STDERR_FILENO), 0);
	(void)close(fds[1]);
}

static const char *captured_text(void)
{
	ssize_t count;

	(void)close(STDERR_FILENO);
	count = read(captured_fd, captured, sizeof(captured) - 1);
	captured[count > 0 ? count : 0] = '\0';
	return captured;
}

static unsigned line_count(const char *text)
{
	unsigned count = 0;

	for (; *text != '\0'; text++)
		count += *text == '\n' ? 1 : 0;
	return count;
}

Test(log, foreign_text_cannot_make_a_line)
{
	const char *text;

	capture();
	log_warn("iscsi", "name %s", "a\nerror lun: forged\r\t\x1b[2J\x7f\x80\\");
	text = captured_text();
	cr_assert_eq(line_count(text), 1);
	cr_assert_not_null(strstr(text, "iscsi: name a\\x0aerror lun: forged\\x0d\\x09\\x1b[2J"
					"\\x7f\\x80\\x5c\n"));
}

Test(log, long_lines_are_cut_and_end)
{
	char *name = malloc(5000);
	const char *text;

	(void)memset(name, 'x', 4999);
	name[4999] = '\0';
	capture();
	log_error("net", "%s", name);
	(void)memset(name, '\n', 4999);
	log_error("net", "%s", name);
	text = captured_text();
	cr_assert_eq(line_count(text), 2);
	cr_assert_leq(strlen(text), 2 * LOG_LINE_BYTES);
	free(name);
}

Test(log, levels_decide)
{
	enum log_level level;
	const char *text;

	capture();
	errno = ENOENT;
	log_debug("base", "not this");
	log_info("base", "this");
	log_set_level(LOG_LEVEL_WARN);
	log_info("base", "not this either");
	log_error("base", "errno stays: %m");
	cr_assert_eq(errno, ENOENT);
	text = captured_text();
	cr_assert_eq(line_count(text), 2);
	cr_assert_null(strstr(text, "not this"));
	cr_assert_not_null(strstr(text, " error base: errno stays: No such file or directory\n"));
	cr_assert_eq(log_level_parse("debug", &level), 0);
	cr_assert_eq(level, LOG_LEVEL_DEBUG);
	cr_assert_eq(log_level_parse("loud", &level), -EINVAL);
}

Test(log, journal_gets_priorities)
{
	capture();
	(void)setenv("JOURNAL_STREAM", "8:1", 1);
	log_error("base", "bad");
	log_info("base", "good");
	cr_assert_str_eq(captured_text(), "<3>base: bad\n<6>base: good\n");
}

Test(log, flood_is_counted)
{
	static struct log_limit limit = LOG_LIMIT(3, 50);
	char *name = malloc(2000);
	const char *text;

	(void)memset(name, 'y', 1999);
	name[1999] = '\0';
	capture();
	for (unsigned i = 0; i < 100; i++)
		log_limited(&limit, LOG_LEVEL_WARN, "net", "refused %u", i);
	(void)usleep(60000);
	log_limited(&limit, LOG_LEVEL_WARN, "net", "%s", name);
	text = captured_text();
	cr_assert_eq(line_count(text), 4, "%s", text);
	cr_assert_not_null(strstr(text, "refused 2\n"));
	cr_assert_not_null(strstr(text, " (97 more like it suppressed)\n"), "%s", text);
	free(name);
}

Test(log, escape_never_halves_an_escape)
{
	char out[8];

	cr_assert_str_eq(log_escape(out, sizeof(out), "abc", 3), "abc");
	cr_assert_str_eq(log_escape(out, sizeof(out), "abcd\n", 5), "abcd");
	cr_assert_str_eq(log_escape(out, sizeof(out), "abc\n", 4), "abc\\x0a");
	cr_assert_str_eq(log_escape(out, 1, "abc", 3), "");
	cr_assert_str_eq(log_escape(out, 0, "abc", 3), "");
}
