/*
 * The end of a change of a family: taken back, or finished.
 *
 * What is behind an overlay may be the only copy of what hosts wrote. It is removed only where the
 * change stands for good. Where it was to be taken back and that failed, nobody knows what is
 * wanted any more (CHANGE_STUCK): the old content gets the name of a snapshot, which nothing
 * removes, and at once, because temporary files are removed by family_recover.
 *
 * Any thread but a loop's. Read next: family_change.c.
 */
#include "lun/family_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "lun/files.h"
#include "lun/lun_internal.h"

#define NAME_TRIES 100u

/* -- Old content that is not given up -- */

void family_change_hold(struct family_change *change)
{
	if (change->keeps || change->held >= 0)
		return;
	change->held = files_open_at(change->place.folder, change->behind, O_RDONLY);
	if (change->held >= 0)
		(void)flock(change->held, LOCK_EX | LOCK_NB);
}

/* By its time, as a snapshot to which one can roll back. */
static void name_kept(const struct family_change *change, unsigned again,
		      char out[FAMILY_NAME_BYTES])
{
	char name[FAMILY_SNAPSHOT_MAX + 1];
	char utc[32];
	time_t now = time(NULL);
	struct tm parts;

	(void)gmtime_r(&now, &parts);
	(void)strftime(utc, sizeof(utc), "%Y%m%dT%H%M%SZ", &parts);
	(void)snprintf(name, sizeof(name), again == 0 ? "undo-%s" : "undo-%s-%u", utc, again);
	/* Of an image whose name leaves no room the content is not lost either. */
	if (family_snapshot_name(change->place.name, name, out) != 0)
		(void)snprintf(out, FAMILY_NAME_BYTES, "ringsan@%s.qcow2", name);
}

/* A link first, not a rename: there is no moment without a name that stays, and it never replaces
 * anything, on any file system that the change itself was possible on. */
static int keep_behind(struct family_change *change)
{
	int folder = change->place.folder;
	char name[FAMILY_NAME_BYTES];
	int res = -EEXIST;

	for (unsigned i = 0; i < NAME_TRIES && res == -EEXIST; i++) {
		name_kept(change, i, name);
		res = linkat(folder, change->behind, folder, name, 0) == 0 ? 0 : -errno;
	}
	if (res == 0 && fsync(folder) != 0)
		res = -errno;
	if (res != 0)
		return res;
	(void)unlinkat(folder, change->behind, 0);
	memcpy(change->behind, name, sizeof(name));
	change->keeps = true;
	return 0;
}

static void get_stuck(struct family_change *change)
{
	int res = 0;

	change->stage = CHANGE_STUCK;
	if (!change->keeps) {
		family_change_hold(change);
		res = keep_behind(change);
	}
	if (res == 0)
		log_error("lun",
			  "%s could not be put back: what it held before is kept in %s, to which "
			  "`ringsan image rollback` goes back",
			  change->place.name, change->behind);
	else
		log_error("lun",
			  "%s could not be put back: what it held before is in %s, which gets no "
			  "other name (%s); give it one at once, temporary files are removed",
			  change->place.name, change->behind, files_error(res));
}

/* -- Undo -- */

int family_change_take_back(struct family_change *change)
{
	int folder = change->place.folder;
	int res;

	if (renameat(folder, change->behind, folder, change->place.name) == 0) {
		change->stage = CHANGE_UNDONE;
		return 0;
	}
	res = -errno;
	log_error("lun", "%s cannot be put back: %s", change->place.name, files_error(res));
	get_stuck(change);
	return res;
}

/* The overlay is still there, closed, and nobody wrote to it. */
static int check_undo(struct family_change *change, const struct family_why *why)
{
	const char *name = change->place.name;
	struct stat is;
	struct stat was;
	int res;

	if (change->stage != CHANGE_COMMITTED)
		return family_refuse(why, -EINVAL, "%s was not changed", name);
	res = family_change_lock(change, true, &change->old, why);
	if (res != 0)
		return res;
	if (fstat(change->old, &is) != 0 || fstat(change->overlay.fd, &was) != 0 ||
	    !family_is_same_file(&is, &was))
		return family_refuse(why, -EAGAIN, "%s was replaced meanwhile", name);
	if (!family_overlay_is_empty(&change->overlay))
		return family_refuse(why, -EBUSY, "%s was written to meanwhile", name);
	return 0;
}

/* Others may have brought to its end what looked as if it had been cut short. */
static int return_identity(const struct family_change *change, const struct family_why *why)
{
	int fd CLEANUP(files_close) = files_open_at(change->place.folder, change->behind, O_RDONLY);
	int res = fd < 0 ? fd : 0;

	if (res == 0 && !identity_is_shared(fd, change->overlay.fd))
		res = identity_hand_over(change->overlay.fd, fd);
	if (res == 0 && fsync(fd) != 0)
		res = -errno;
	return res == 0 ? 0
			: family_refuse(why, res, "%s cannot be put back: %s", change->behind,
					files_error(res));
}

/* As many as can be. */
static int group_undo(const struct family_group *group)
{
	int res = 0;
	int synced;

	for (unsigned i = 0; i < group->count; i++) {
		int one = family_change_take_back(group->changes[i]);

		res = res == 0 ? one : res;
	}
	synced = family_group_sync(group);
	res = res == 0 ? synced : res;
	return res == 0 ? 0
			: family_refuse(group->why, res, "not all could be put back: %s",
					files_error(res));
}

static int try_to_undo(struct family_change *const changes[], unsigned count,
		       const struct family_why *why)
{
	struct family_group group;
	int res = family_group_lock(changes, count, &group, why);

	if (res != 0)
		return res;
	for (unsigned i = 0; i < count && res == 0; i++)
		res = check_undo(changes[i], why);
	for (unsigned i = 0; i < count && res == 0; i++)
		res = return_identity(changes[i], why);
	if (res == 0)
		res = group_undo(&group);
	for (unsigned i = 0; i < count; i++)
		files_close(&changes[i]->old);
	family_group_unlock(&group);
	return res;
}

int family_undo(struct family_change *const changes[], unsigned count, char *why, size_t why_bytes)
{
	const struct family_why say = {why, why_bytes};
	int res = try_to_undo(changes, count, &say);

	for (unsigned i = 0; i < count && res != 0; i++)
		if (changes[i]->stage == CHANGE_COMMITTED)
			get_stuck(changes[i]);
	return res;
}

/* -- End -- */

static void finish(struct family_change *change)
{
	int folder = change->place.folder;
	int fd CLEANUP(files_close) = -1;

	/* Kept already, or tried once more. */
	if (change->stage == CHANGE_STUCK && !change->keeps)
		get_stuck(change);
	if (!change->keeps) {
		if (change->stage == CHANGE_COMMITTED)
			(void)unlinkat(folder, change->behind, 0);
		return;
	}
	fd = files_open_at(folder, change->behind, O_RDONLY);
	family_take_identity(change->overlay.fd, fd, change->behind);
}

void family_end(struct family_change *change)
{
	if (change->stage == CHANGE_COMMITTED || change->stage == CHANGE_STUCK)
		finish(change);
	family_overlay_drop(change->place.folder, &change->overlay);
	files_close(&change->base.fd);
	files_close(&change->old);
	files_close(&change->held);
	family_place_close(&change->place);
	free(change);
}
