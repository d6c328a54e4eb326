/*
 * qemu-img, asked. See oracle.h. Its files lie in a folder that goes with the process.
 */
#include "tests/crash/oracle.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/attr.h"
#include "tests/crash/seen.h"

/* One of so many states, whatever its shape. */
#define ONE_OF 100u

extern char **environ;

static uint64_t permitted, asked;
static struct seen shapes;
static char folder[192];
/* Those of a chain by the names that images have for them (variant_qcow2.c), what is expected, and
 * one under another name. */
static const char *const file_names[] = {"top.qcow2", "below", "base", "expected",
					 "another-and-longer-name-of-the-file-below"};
static char paths[ARRAY_SIZE(file_names)][256];
#define FILES_MAX 3u
#define EXPECTED 3u
#define LINK 4u

static void NORETURN give_up(const char *what)
{
	perror(what);
	oracle_clear();
	exit(2);
}

static void make_folder(void)
{
	const char *parent = getenv("TMPDIR");

	if (folder[0])
		return;
	(void)snprintf(folder, sizeof(folder), "%.150s/ringsan-crash.XXXXXX",
		       parent ? parent : "/tmp");
	if (!mkdtemp(folder))
		give_up(folder);
	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++)
		(void)snprintf(paths[i], sizeof(paths[i]), "%s/%s", folder, file_names[i]);
	if (symlink(file_names[1], paths[LINK]))
		give_up(paths[LINK]);
}

void oracle_clear(void)
{
	if (!folder[0])
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++)
		(void)unlink(paths[i]);
	(void)rmdir(folder);
	folder[0] = '\0';
	seen_free(&shapes);
}

void oracle_permit(uint64_t states)
{
	permitted = states;
	asked = 0;
	seen_clear(&shapes);
}

uint64_t oracle_asked(void)
{
	return asked;
}

bool oracle_wants(uint64_t shape)
{
	static uint64_t others;

	if (asked >= permitted)
		return false;
	/* Half of what is permitted is for others. */
	if (2 * asked < permitted && seen_add(&shapes, shape))
		return true;
	return ++others % ONE_OF == 0;
}

static void write_file(const char *path, const void *bytes, uint64_t length)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	ssize_t written = fd < 0 ? -1 : 0;

	/* A short one is followed by the reason for it. */
	for (uint64_t at = 0; written >= 0 && at < length; at += (uint64_t)written)
		written = write(fd, (const uint8_t *)bytes + at, length - at);
	if (written < 0 || close(fd))
		give_up(path);
}

static int run(char *const arguments[])
{
	posix_spawn_file_actions_t actions;
	int status;
	pid_t pid;

	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	(void)posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	errno = posix_spawnp(&pid, arguments[0], &actions, NULL, arguments, environ);
	if (errno || waitpid(pid, &status, 0) != pid)
		give_up(arguments[0]);
	(void)posix_spawn_file_actions_destroy(&actions);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void oracle_ask(const struct oracle_question *question, struct oracle_answer *answer)
{
	static char qemu_img[] = "qemu-img", check[] = "check", compare[] = "compare",
		    format[] = "-f", qcow2[] = "qcow2", other_format[] = "-F", raw[] = "raw";
	char *const checked[] = {qemu_img, check, format, qcow2, paths[0], NULL};
	char *const compared[] = {qemu_img, compare,  format,          qcow2, other_format,
				  raw,      paths[0], paths[EXPECTED], NULL};

	make_folder();
	assert(question->file_count <= FILES_MAX);
	for (unsigned i = 0; i < question->file_count; i++)
		write_file(paths[i], question->files[i].base.bytes,
			   question->files[i].base.size_bytes);
	write_file(paths[EXPECTED], question->expected, question->expected_bytes);
	asked++;
	answer->check = run(checked);
	answer->compare = run(compared);
}
