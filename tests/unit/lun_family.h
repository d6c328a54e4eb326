/*
 * What the tests of families share: a folder that vanishes, and a shell in it, for qemu-img and
 * others. Not a test.
 */
#ifndef TESTS_UNIT_LUN_FAMILY_H
#define TESTS_UNIT_LUN_FAMILY_H

#include "lun/family.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lun/files.h"
#include "tests/unit/lun_shell.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define WHY_BYTES 256u

/* One for each test, which is a process of its own; the current directory from then on. */
static inline void enter_folder_in(const char *where, char path[64])
{
	(void)snprintf(path, 64, "%s/ringsan-family-XXXXXX", where);
	cr_assert_not_null(mkdtemp(path));
	cr_assert_eq(chdir(path), 0);
}

/* Where files can have attributes, and not in memory. */
static inline void enter_folder(char path[64])
{
	enter_folder_in("/var/tmp", path);
}

static inline void leave_folder(const char *path)
{
	cr_assert_eq(chdir("/"), 0);
	shell("rm -rf %s", path);
}

static inline struct family *read_here(const struct family_words *words)
{
	char why[WHY_BYTES] = "";
	int folder CLEANUP(files_close) = open(".", O_RDONLY | O_DIRECTORY);
	struct family *family = NULL;

	cr_assert_eq(family_read(folder, words, &family, why, sizeof(why)), 0, "%s", why);
	return family;
}

static inline const struct family_image *expect_image(const struct family *family, const char *name)
{
	const struct family_image *image = family_find(family, name);

	cr_assert_not_null(image, "%s", name);
	return image;
}

#endif
