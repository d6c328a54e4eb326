/*
 * Folders of images and names in them: found, locked, made. Not here: what the files are
 * (family_read.c).
 *
 * Any thread but a loop's. Read next: family_read.c.
 */
#include "lun/family_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lun/files.h"

/* What goes on in a folder takes milliseconds, but for the removal of large files. */
#define LOCK_PATIENCE_MS 10000u
#define LOCK_STEP_MS 5u

int family_refuse(const struct family_why *why, int res, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
	(void)vsnprintf(why->text, why->bytes, format, args);
	va_end(args);
	return res;
}

/* -- Places -- */

static int open_folder(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* What has no links in it any more. Cuts it at its last slash. */
static int open_resolved(char *resolved, struct family_place *out)
{
	char *slash = strrchr(resolved, '/');

	if (strlen(slash + 1) >= sizeof(out->name))
		return -ENAMETOOLONG;
	(void)snprintf(out->name, sizeof(out->name), "%s", slash + 1);
	slash[slash == resolved] = '\0';
	out->folder = open_folder(resolved);
	return out->folder < 0 ? out->folder : 0;
}

/* A name that is not there yet, in a folder that is. */
static int open_new(const char *path, struct family_place *out)
{
	char folder[FILES_PATH_MAX];
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	int res = files_parent(path, folder, sizeof(folder));

	if (res)
		return res;
	if (strlen(name) >= sizeof(out->name))
		return -ENAMETOOLONG;
	(void)snprintf(out->name, sizeof(out->name), "%s", name);
	out->folder = open_folder(folder);
	return out->folder < 0 ? out->folder : 0;
}

static int open_place(const char *path, struct family_place *out)
{
	struct stat st;
	char *resolved;
	int res;

	out->folder = open_folder(path);
	if (out->folder >= 0)
		return 0;
	if (lstat(path, &st) != 0)
		return errno == ENOENT ? open_new(path, out) : -errno;
	resolved = realpath(path, NULL);
	if (!resolved)
		return -errno;
	res = open_resolved(resolved, out);
	free(resolved);
	return res;
}

int family_place_open(const char *path, struct family_place *out, char *why, size_t why_bytes)
{
	int res;

	*out = (struct family_place){.folder = -1};
	res = open_place(path, out);
	if (res == 0)
		return 0;
	return family_refuse(&(struct family_why){why, why_bytes}, res, "%s cannot be found: %s",
			     path, files_error(res));
}

void family_place_close(struct family_place *place)
{
	files_close(&place->folder);
}

static int flock_step(int folder, int how)
{
	const struct timespec step = {.tv_nsec = LOCK_STEP_MS * 1000000};

	if (flock(folder, how | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK && errno != EINTR)
		return -errno;
	(void)nanosleep(&step, NULL);
	return -EBUSY;
}

int family_lock_until(int folder, const atomic_bool *stopping, const struct family_why *why)
{
	int res = -EBUSY;

	for (unsigned ms = 0;
	     ms < LOCK_PATIENCE_MS && res == -EBUSY && !family_is_stopping(stopping);
	     ms += LOCK_STEP_MS)
		res = flock_step(folder, LOCK_EX);
	if (res == -EBUSY && family_is_stopping(stopping))
		return family_refuse(why, -EINTR, "it is to end");
	if (res == -EBUSY)
		return family_refuse(why, res,
				     "another operation is under way in the folder; try again");
	return res == 0 ? 0
			: family_refuse(why, res, "its folder cannot be locked (flock): %s",
					files_error(res));
}

int family_lock(int folder, char *why, size_t why_bytes)
{
	return family_lock_until(folder, NULL, &(struct family_why){why, why_bytes});
}

void family_unlock(int folder)
{
	(void)flock(folder, LOCK_UN);
}

/* -- Names -- */

static bool is_snapshot_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-';
}

static bool is_snapshot(const char *name, size_t length)
{
	if (length == 0 || length > FAMILY_SNAPSHOT_MAX || name[0] == '.')
		return false;
	for (size_t i = 0; i < length; i++)
		if (!is_snapshot_char(name[i]))
			return false;
	return true;
}

/* What stands before the extension, which begins with the last dot but one that begins it all. */
static size_t stem_length(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot && dot != name ? (size_t)(dot - name) : strlen(name);
}

int family_snapshot_name(const char *active, const char *snapshot, char out[FAMILY_NAME_BYTES])
{
	size_t stem = stem_length(active);
	int res;

	if (!is_snapshot(snapshot, strlen(snapshot)))
		return -EINVAL;
	res = snprintf(out, FAMILY_NAME_BYTES, "%.*s@%s%s", (int)stem, active, snapshot,
		       active + stem);
	return res < 0 || (size_t)res >= FAMILY_NAME_BYTES ? -ENAMETOOLONG : 0;
}

bool family_is_snapshot_of(const char *active, const char *name,
			   char snapshot[FAMILY_SNAPSHOT_MAX + 1])
{
	size_t stem = stem_length(active);
	size_t extension = strlen(active + stem);
	size_t length = strlen(name);
	size_t middle;

	if (length < stem + 1 + extension || strncmp(name, active, stem) != 0 ||
	    name[stem] != '@' || strcmp(name + length - extension, active + stem) != 0)
		return false;
	middle = length - stem - 1 - extension;
	if (!is_snapshot(name + stem + 1, middle))
		return false;
	(void)snprintf(snapshot, FAMILY_SNAPSHOT_MAX + 1, "%.*s", (int)middle, name + stem + 1);
	return true;
}

#define TEMPORARY_BEFORE ".ringsan-"
#define TEMPORARY_BEHIND ".tmp"
#define TEMPORARY_DIGITS 16u

int family_temporary_name(char out[FAMILY_TEMPORARY_BYTES])
{
	uint64_t number;

	if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
		return -EIO;
	(void)snprintf(out, FAMILY_TEMPORARY_BYTES, TEMPORARY_BEFORE "%016" PRIx64 TEMPORARY_BEHIND,
		       number);
	return 0;
}

bool family_is_temporary(const char *name)
{
	size_t before = strlen(TEMPORARY_BEFORE);

	return strncmp(name, TEMPORARY_BEFORE, before) == 0 &&
	       strspn(name + before, "0123456789abcdef") == TEMPORARY_DIGITS &&
	       strcmp(name + before + TEMPORARY_DIGITS, TEMPORARY_BEHIND) == 0;
}

const char *family_format_of(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot && strcmp(dot, ".qcow2") == 0 ? "qcow2" : "raw";
}
