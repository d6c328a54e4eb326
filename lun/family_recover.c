/*
 * What operations that were cut short leave: temporary files, a second name of an active file, an
 * identity that an image's snapshot still has. None of it is referred to by anything.
 *
 * Any thread but a loop's, with the folder locked. Read next: family_change.c.
 */
#include "lun/family_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "lun/files.h"
#include "lun/lun_internal.h"

/* Of what is freed at once. */
#define SHORTEN_BYTES ((off_t)1 << 30)

/* To free all of a large file at once takes long, and cannot be interrupted. False: it was. That
 * another file has taken its place may not be durable yet: until then this is an image. */
static bool shorten(int folder, int of, const atomic_bool *stopping)
{
	int fd CLEANUP(files_close) = files_open_again(of, O_RDWR);
	struct stat st;
	bool is_whole = fd < 0 || fstat(fd, &st) != 0 || st.st_nlink != 1 ||
			st.st_size <= SHORTEN_BYTES || fsync(folder) != 0;

	while (!is_whole && st.st_size > SHORTEN_BYTES && !family_is_stopping(stopping)) {
		st.st_size -= SHORTEN_BYTES;
		is_whole = ftruncate(fd, st.st_size) != 0;
	}
	return !family_is_stopping(stopping);
}

static void remove_name(int folder, const char *name)
{
	if (unlinkat(folder, name, 0) == 0)
		log_info("lun", "%s: removed, an operation was cut short", name);
}

void family_remove_temporaries(int folder, struct family_temporaries *found,
			       const atomic_bool *stopping)
{
	family_unlock(folder);
	for (unsigned i = 0; i < found->count; i++) {
		if (shorten(folder, found->files[i].fd, stopping))
			remove_name(folder, found->files[i].name);
		files_close(&found->files[i].fd);
	}
	found->count = 0;
}

static void take_temporary(int folder, const char *name, struct family_temporaries *found)
{
	int fd = files_open_at(folder, name, O_RDONLY);
	struct stat st;

	/* Who makes it, or may want it back, holds it. */
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0 || fstat(fd, &st) != 0) {
		files_close(&fd);
	} else if (st.st_nlink > 1) {
		remove_name(folder, name);
		files_close(&fd);
	} else {
		(void)snprintf(found->files[found->count].name, FAMILY_TEMPORARY_BYTES, "%.31s",
			       name);
		found->files[found->count++].fd = fd;
	}
}

void family_find_temporaries(int folder, struct family_temporaries *found)
{
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		files_close(&fd);
		return;
	}
	while (found->count < ARRAY_SIZE(found->files) && (entry = readdir(dir)) != NULL)
		if (family_is_temporary(entry->d_name))
			take_temporary(folder, entry->d_name, found);
	(void)closedir(dir);
}

/* The names that the active file of `snapshot` may have, one after the other: what stands behind a
 * dot may be of the snapshot's name or the extension. *behind is NULL at the beginning. */
static bool next_active(const char *snapshot, const char **behind, char out[FAMILY_NAME_BYTES])
{
	const char *at = strrchr(snapshot, '@');
	char name[FAMILY_SNAPSHOT_MAX + 1];

	do {
		*behind = *behind ? strchr(*behind + 1, '.') : at;
		if (!*behind)
			return false;
		(void)snprintf(out, FAMILY_NAME_BYTES, "%.*s%s", (int)(at - snapshot), snapshot,
			       *behind == at ? "" : *behind);
	} while (!family_is_snapshot_of(out, snapshot, name));
	return true;
}

/* The active file that `image` is a snapshot of, by its name. */
static const struct family_image *active_of(const struct family *family,
					    const struct family_image *image)
{
	const struct family_image *active = NULL;
	const char *behind = NULL;
	char name[FAMILY_NAME_BYTES];

	while (!active && next_active(image->name, &behind, name))
		active = family_find(family, name);
	return active;
}

bool family_recover_links(int folder, const struct family *family)
{
	bool removed = false;

	for (size_t i = 0; i < family->count; i++) {
		const struct family_image *image = &family->images[i];
		const struct family_image *active = NULL;

		if (image->links > 1 && image->children == 0)
			active = active_of(family, image);
		if (!active || active->device != image->device || active->inode != image->inode)
			continue;
		removed = unlinkat(folder, image->name, 0) == 0 || removed;
		log_info("lun", "%s: removed, the snapshot was cut short", image->name);
	}
	return removed;
}

void family_take_identity(int active, int snapshot, const char *name)
{
	int res;

	if (active < 0 || snapshot < 0 || !identity_is_shared(active, snapshot))
		return;
	res = identity_remove(snapshot);
	if (res != 0)
		log_warn("lun", "%s: still has the identity of its disk: %s", name,
			 files_error(res));
}

static void take_identity(int folder, const char *active, const char *snapshot)
{
	int above CLEANUP(files_close) = files_open_at(folder, active, O_RDONLY);
	int behind CLEANUP(files_close) = files_open_at(folder, snapshot, O_RDONLY);

	family_take_identity(above, behind, snapshot);
}

void family_recover_identities(int folder, const struct family *family, const char *only)
{
	for (size_t i = 0; i < family->count; i++) {
		const struct family_image *image = &family->images[i];
		const struct family_image *active = active_of(family, image);

		if (active && (!only || strcmp(active->name, only) == 0))
			take_identity(folder, active->name, image->name);
	}
}

/* What a question about a snapshot and its active file is asked of: both, open. */
typedef bool pair_fn(int snapshot, int active);

static bool ask_of_active(const char *path, pair_fn *ask)
{
	char why[LUN_WHY_MAX];
	char name[FAMILY_NAME_BYTES];
	const char *behind = NULL;
	struct family_place place;
	bool yes = false;

	if (family_place_open(path, &place, why, sizeof(why)) != 0)
		return false;
	while (!yes && next_active(place.name, &behind, name)) {
		int snapshot CLEANUP(files_close) =
			files_open_at(place.folder, place.name, O_RDONLY);
		int active CLEANUP(files_close) = files_open_at(place.folder, name, O_RDONLY);

		yes = snapshot >= 0 && active >= 0 && ask(snapshot, active);
	}
	family_place_close(&place);
	return yes;
}

static bool are_one_file(int snapshot, int active)
{
	struct stat one;
	struct stat other;

	return fstat(snapshot, &one) == 0 && fstat(active, &other) == 0 &&
	       family_is_same_file(&one, &other);
}

bool family_has_identity_of_active(const char *path)
{
	return ask_of_active(path, identity_is_shared);
}

bool family_is_active_itself(const char *path)
{
	return ask_of_active(path, are_one_file);
}

static int recover(int folder, const struct family_why *why)
{
	struct family *family;
	int res = family_read(folder, NULL, &family, why->text, why->bytes);

	if (res != 0)
		return res;
	if (family_recover_links(folder, family)) {
		family_free(family);
		res = family_read(folder, NULL, &family, why->text, why->bytes);
		if (res != 0)
			return res;
	}
	family_recover_identities(folder, family, NULL);
	family_free(family);
	return 0;
}

int family_recover(const char *path, const atomic_bool *stopping, char *why, size_t why_bytes)
{
	const struct family_why say = {why, why_bytes};
	struct family_temporaries found = {.count = 0};
	struct family_place place;
	int res = family_place_open(path, &place, why, why_bytes);

	if (res != 0)
		return res;
	res = family_lock_until(place.folder, stopping, &say);
	if (res == 0) {
		family_find_temporaries(place.folder, &found);
		if (!family_is_stopping(stopping))
			res = recover(place.folder, &say);
		family_remove_temporaries(place.folder, &found, stopping);
	}
	family_place_close(&place);
	return res;
}
