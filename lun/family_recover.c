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
#include <unistd.h>

#include "base/log.h"
#include "lun/files.h"
#include "lun/lun_internal.h"

static void remove_temporary(int folder, const char *name)
{
	int fd CLEANUP(files_close) = files_open_at(folder, name, O_RDONLY);

	/* Who makes it, or may want it back, holds it. */
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0)
		return;
	if (unlinkat(folder, name, 0) == 0)
		log_info("lun", "%s: removed, an operation was cut short", name);
}

void family_recover_temporaries(int folder)
{
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		files_close(&fd);
		return;
	}
	while ((entry = readdir(dir)) != NULL)
		if (family_is_temporary(entry->d_name))
			remove_temporary(folder, entry->d_name);
	(void)closedir(dir);
}

/* The active file that `image` is a snapshot of, by its name. What stands behind a dot may be of
 * the snapshot's name or the extension. */
static const struct family_image *active_of(const struct family *family,
					    const struct family_image *image)
{
	const char *at = strrchr(image->name, '@');
	char snapshot[FAMILY_SNAPSHOT_MAX + 1];

	for (const char *behind = at; behind; behind = strchr(behind + 1, '.')) {
		const struct family_image *active;
		char name[FAMILY_NAME_BYTES];

		(void)snprintf(name, sizeof(name), "%.*s%s", (int)(at - image->name), image->name,
			       behind == at ? "" : behind);
		active = family_find(family, name);
		if (active && family_is_snapshot_of(name, image->name, snapshot))
			return active;
	}
	return NULL;
}

bool family_recover_links(int folder, const struct family *family)
{
	bool removed = false;

	for (size_t i = 0; i < family->count; i++) {
		const struct family_image *image = &family->images[i];
		const struct family_image *active = NULL;

		if (image->is_linked && image->children == 0)
			active = active_of(family, image);
		if (!active || active->device != image->device || active->inode != image->inode)
			continue;
		removed = unlinkat(folder, image->name, 0) == 0 || removed;
		log_info("lun", "%s: removed, the snapshot was cut short", image->name);
	}
	return removed;
}

static void take_identity(int folder, const char *active, const char *snapshot)
{
	int above CLEANUP(files_close) = files_open_at(folder, active, O_RDONLY);
	int behind CLEANUP(files_close) = files_open_at(folder, snapshot, O_RDONLY);

	if (above >= 0 && behind >= 0 && identity_is_shared(above, behind))
		identity_remove(behind);
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

int family_recover(const char *path, char *why, size_t why_bytes)
{
	const struct family_why say = {why, why_bytes};
	struct family_place place;
	int res = family_place_open(path, &place, why, why_bytes);

	if (res != 0)
		return res;
	res = family_lock(place.folder, why, why_bytes);
	if (res == 0) {
		family_recover_temporaries(place.folder);
		res = recover(place.folder, &say);
	}
	family_place_close(&place);
	return res;
}
