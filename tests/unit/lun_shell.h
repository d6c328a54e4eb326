/*
 * A shell for tests, in their current directory: for qemu-img, and to make files. It ends at the
 * first command that fails. Not a test.
 */
#ifndef TESTS_UNIT_LUN_SHELL_H
#define TESTS_UNIT_LUN_SHELL_H

#include "base/attr.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHELL_BYTES 2048u

static inline int shell_run(const char *command)
{
	int status = -1;
	pid_t child = fork();

	if (child == 0) {
		execlp("bash", "bash", "-ec", command, (char *)NULL);
		_exit(127);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	return status;
}

static inline void PRINTF_LIKE(2, 0)
	shell_format(char command[SHELL_BYTES], const char *format, va_list args)
{
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
	cr_assert_lt(vsnprintf(command, SHELL_BYTES, format, args), (int)SHELL_BYTES);
}

/* Its status, as of waitpid(2). */
static inline int PRINTF_LIKE(1, 2) shell_status(const char *format, ...)
{
	char command[SHELL_BYTES];
	va_list args;

	va_start(args, format);
	shell_format(command, format, args);
	va_end(args);
	return shell_run(command);
}

/* Nothing of it may fail. */
static inline void PRINTF_LIKE(1, 2) shell(const char *format, ...)
{
	char command[SHELL_BYTES];
	va_list args;

	va_start(args, format);
	shell_format(command, format, args);
	va_end(args);
	cr_assert_eq(shell_run(command), 0, "%s", command);
}

#endif
