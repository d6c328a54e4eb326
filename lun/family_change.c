/*
 * Snapshots and rollback: an overlay takes the place of an image's active file.
 *
 *     prepare   the active file marked as a base, the overlay durable under a temporary name
 *     commit    link(active, behind); fsync(folder); rename(overlay, active); fsync(folder)
 *     end       the identity taken from the snapshot; or what is behind removed
 *
 * The rename is the change: cut before it, the second link and the overlay are leftovers
 * (family_recover.c); cut after it, all is done. `behind` is the snapshot's name, or of a rollback
 * that keeps nothing a temporary one, so that it can be undone.
 *
 * Any thread but a loop's. Read next: family_undo.c, family_overlay.c, family_recover.c.
 */
#include "lun/family_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "lun/files.h"
#include "lun/image_lock.h"
#include "lun/lun_internal.h"
#include "lun/qcow2/format.h"

/* What is asked for. */
struct order {
	const char *path;
	const char *snapshot; /* Of a rollback: to which. */
	const char *keep;     /* The name that the old content gets, or NULL. */
	bool rolls_back;
	enum family_use use;
};

/* -- Prepare -- */

static int refuse_name(const struct family_why *why, int res, const char *snapshot)
{
	if (res == -EINVAL)
		return family_refuse(why, res,
				     "\"%s\" is no name of a snapshot: 1 to 64 of A-Z a-z 0-9 . _ "
				     "-, the first no dot",
				     snapshot);
	return family_refuse(why, res, "the name of the snapshot's file would be too long");
}

static int choose_name(const struct order *order, struct family_change *change,
		       const struct family_why *why)
{
	int res;

	if (qcow2_backing_name_wrong(change->place.name) != NULL || change->place.name[0] == '.')
		return family_refuse(why, -EINVAL,
				     "%s: the name of an image has no colon and begins with no dot",
				     order->path);
	change->keeps = order->keep != NULL;
	if (!change->keeps) {
		res = family_temporary_name(change->behind);
		return res == 0 ? 0 : family_refuse(why, res, "there are no random numbers");
	}
	res = family_snapshot_name(change->place.name, order->keep, change->behind);
	return res == 0 ? 0 : refuse_name(why, res, order->keep);
}

int family_change_lock(const struct family_change *change, bool waits, int *out,
		       const struct family_why *why)
{
	const char *name = change->place.name;
	int fd = files_open_at(change->place.folder, name, O_RDONLY);

	if (fd < 0)
		return family_refuse(why, fd, "%s cannot be opened: %s", name, files_error(fd));
	if ((waits ? image_lock_wait(image_lock_qemu, fd, true) : image_lock_qemu(fd, true)) != 0) {
		files_close(&fd);
		return family_refuse(
			why, -EBUSY,
			"%s is locked: a server, a virtual machine or qemu-img has it open", name);
	}
	*out = fd;
	return 0;
}

static int check_unlocked(const struct family_change *change, const struct family_why *why)
{
	int fd CLEANUP(files_close) = -1;

	return family_change_lock(change, false, &fd, why);
}

/* Nothing is based on the file that loses its name, and nothing has the name that it gets. */
static int check_family(const struct family_change *change, const struct family *family,
			const struct family_why *why)
{
	const struct family_image *image = family_find(family, change->place.name);
	char text[192] = "";

	if (!image)
		return family_refuse(why, -ENOENT, "%s is no file", change->place.name);
	if (family_find(family, change->behind))
		return family_refuse(why, -EEXIST, "there is a file %s already", change->behind);
	if (family_may_remove(family, image, text, sizeof(text)) != 0)
		return family_refuse(why, -EBUSY, "%s: %s", change->place.name, text);
	return 0;
}

static int look_around(const struct order *order, struct family_change *change,
		       struct family_temporaries *found, const struct family_why *why)
{
	struct family *family;
	int folder = change->place.folder;
	int res = 0;

	if (order->use == FAMILY_CLOSED)
		res = check_unlocked(change, why);
	if (res != 0)
		return res;
	family_find_temporaries(folder, found);
	res = family_read(folder, NULL, &family, why->text, why->bytes);
	if (res != 0)
		return res;
	if (family_recover_links(folder, family)) {
		family_free(family);
		res = family_read(folder, NULL, &family, why->text, why->bytes);
		if (res != 0)
			return res;
	}
	res = check_family(change, family, why);
	if (res == 0)
		family_recover_identities(folder, family, change->place.name);
	family_free(family);
	return res;
}

/* The active file itself, and what the overlay shows. */
static int open_base(const struct order *order, struct family_change *change,
		     struct family_base *active, const struct family_why *why)
{
	char name[FAMILY_NAME_BYTES];
	int folder = change->place.folder;
	int res = family_base_open(folder, change->place.name, "qcow2", active, why);

	if (res != 0)
		return res;
	change->size_bytes = active->size_bytes;
	if (fstat(active->fd, &change->active) != 0)
		return family_refuse(why, -errno, "%s", files_error(-errno));
	if (!order->rolls_back)
		return 0;
	res = family_snapshot_name(change->place.name, order->snapshot, name);
	if (res != 0)
		return refuse_name(why, res, order->snapshot);
	res = family_base_open(folder, name, "qcow2", &change->base, why);
	if (res == 0 && image_lock_qemu(change->base.fd, false) != 0)
		res = family_refuse(why, -EBUSY, "%s is locked: somebody writes it", name);
	return res;
}

int family_become_base(int fd, const struct family_why *why)
{
	/* Who has set the mark may not have made it durable yet. */
	int res = family_may_be_base(fd) && fsync(fd) != 0 ? -errno : family_mark_base(fd);

	if (res == 0 || res == -ENOTSUP)
		return 0;
	return family_refuse(why, res,
			     "it cannot be marked as a base (%s); let somebody do it who may "
			     "write to it",
			     files_error(res));
}

static int make_overlay(const struct order *order, struct family_change *change,
			const struct family_why *why)
{
	struct family_base active = {.fd = -1};
	const struct family_base *below = order->rolls_back ? &change->base : &active;
	int res = open_base(order, change, &active, why);
	const struct family_overlay_spec spec = {
		.folder = change->place.folder,
		.backing_name = order->rolls_back ? change->base.name : change->behind,
		.backing_format = "qcow2",
		.size_bytes = below->size_bytes > change->size_bytes ? below->size_bytes
								     : change->size_bytes,
		.like = active.fd,
		.takes_over = true,
	};

	if (res == 0)
		res = family_become_base(below->fd, why);
	/* A snapshot that is kept beside may have children later; what is dropped, none. */
	if (res == 0)
		res = family_overlay_make(&spec, &change->overlay, why);
	files_close(&active.fd);
	return res;
}

static int prepare_steps(const struct order *order, struct family_change *change,
			 const struct family_why *why)
{
	struct family_temporaries found = {.count = 0};
	int res = family_place_open(order->path, &change->place, why->text, why->bytes);

	if (res == 0 && fstat(change->place.folder, &change->folder) != 0)
		res = family_refuse(why, -errno, "%s", files_error(-errno));
	if (res == 0)
		res = choose_name(order, change, why);
	if (res == 0)
		res = family_lock(change->place.folder, why->text, why->bytes);
	if (res == 0)
		res = look_around(order, change, &found, why);
	if (res == 0)
		res = make_overlay(order, change, why);
	if (change->place.folder >= 0)
		family_remove_temporaries(change->place.folder, &found, NULL);
	return res;
}

static int prepare(const struct order *order, struct family_change **out,
		   const struct family_why *why)
{
	struct family_change *change = calloc(1, sizeof(*change));
	int res;

	if (!change)
		return family_refuse(why, -ENOMEM, "no memory");
	change->place.folder = change->overlay.fd = change->base.fd = -1;
	change->old = change->held = -1;
	res = prepare_steps(order, change, why);
	if (res == 0) {
		*out = change;
		return 0;
	}
	family_end(change);
	return res;
}

int family_snapshot_prepare(const char *path, const char *snapshot, enum family_use use,
			    struct family_change **out, char *why, size_t why_bytes)
{
	const struct order order = {.path = path, .keep = snapshot, .use = use};

	return prepare(&order, out, &(struct family_why){why, why_bytes});
}

int family_rollback_prepare(const char *path, const char *snapshot, const char *keep,
			    enum family_use use, struct family_change **out, char *why,
			    size_t why_bytes)
{
	const struct order order = {
		.path = path, .snapshot = snapshot, .keep = keep, .rolls_back = true, .use = use};

	return prepare(&order, out, &(struct family_why){why, why_bytes});
}

const char *family_kept_name(const struct family_change *change)
{
	return change->keeps ? change->behind : NULL;
}

/* -- Folders of several changes -- */

static int by_folder(const void *a, const void *b)
{
	const struct stat *one = &(*(struct family_change *const *)a)->folder;
	const struct stat *other = &(*(struct family_change *const *)b)->folder;

	if (one->st_dev != other->st_dev)
		return one->st_dev < other->st_dev ? -1 : 1;
	return one->st_ino < other->st_ino ? -1 : one->st_ino > other->st_ino;
}

static bool begins_folder(const struct family_group *group, unsigned i)
{
	return i == 0 ||
	       !family_is_same_file(&group->changes[i - 1]->folder, &group->changes[i]->folder);
}

void family_group_unlock(struct family_group *group)
{
	for (unsigned i = 0; i < group->locked; i++)
		if (begins_folder(group, i))
			family_unlock(group->changes[i]->place.folder);
	group->locked = 0;
	free(group->changes);
}

int family_group_lock(struct family_change *const changes[], unsigned count,
		      struct family_group *group, const struct family_why *why)
{
	int res = 0;

	*group = (struct family_group){.count = count, .why = why};
	group->changes = calloc(count + 1, sizeof(struct family_change *));
	if (!group->changes)
		return family_refuse(why, -ENOMEM, "no memory");
	memcpy(group->changes, changes, count * sizeof(struct family_change *));
	qsort(group->changes, count, sizeof(struct family_change *), by_folder);
	while (group->locked < count && res == 0) {
		if (begins_folder(group, group->locked))
			res = family_lock(group->changes[group->locked]->place.folder, why->text,
					  why->bytes);
		group->locked += res == 0;
	}
	if (res != 0)
		family_group_unlock(group);
	return res;
}

int family_group_sync(const struct family_group *group)
{
	int res = 0;

	for (unsigned i = 0; i < group->count; i++)
		if (begins_folder(group, i) && fsync(group->changes[i]->place.folder) != 0)
			res = -errno;
	return res;
}

/* -- Commit -- */

/* As it was prepared for, closed, and nothing based on it. */
static int make_ready(struct family_change *change, const struct family *family,
		      const struct family_why *why)
{
	struct family_base active = {.fd = -1};
	struct stat st;
	int res = family_change_lock(change, true, &change->old, why);

	if (res == 0 &&
	    (fstat(change->old, &st) != 0 || !family_is_same_file(&st, &change->active)))
		res = family_refuse(why, -EAGAIN, "%s was replaced meanwhile; try again",
				    change->place.name);
	if (res == 0)
		res = check_family(change, family, why);
	if (res == 0)
		res = family_base_open(change->place.folder, change->place.name, "qcow2", &active,
				       why);
	if (res == 0 && active.size_bytes != change->size_bytes)
		res = family_refuse(why, -EAGAIN, "%s was resized meanwhile; try again",
				    change->place.name);
	files_close(&active.fd);
	return res;
}

static int group_make_ready(const struct family_group *group)
{
	struct family *family = NULL;
	int res = 0;

	for (unsigned i = 0; i < group->count && res == 0; i++) {
		struct family_change *change = group->changes[i];

		if (begins_folder(group, i)) {
			family_free(family);
			family = NULL;
			res = family_read(change->place.folder, NULL, &family, group->why->text,
					  group->why->bytes);
		}
		if (res == 0)
			res = make_ready(change, family, group->why);
	}
	family_free(family);
	return res;
}

static int link_behind(struct family_change *change, const struct family_why *why)
{
	int folder = change->place.folder;
	const char *name = change->place.name;

	if (linkat(folder, name, folder, change->behind, 0) != 0)
		return family_refuse(why, -errno, "%s cannot get the name %s: %s", name,
				     change->behind, files_error(-errno));
	change->stage = CHANGE_LINKED;
	return 0;
}

static int put_in_place(struct family_change *change, const struct family_why *why)
{
	int folder = change->place.folder;
	const char *name = change->place.name;

	if (renameat(folder, change->overlay.name, folder, name) != 0)
		return family_refuse(why, -errno, "%s cannot be replaced: %s", name,
				     files_error(-errno));
	change->stage = CHANGE_RENAMED;
	change->overlay.name[0] = '\0';
	return 0;
}

/* One step of all of them, durable. */
static int group_step(const struct family_group *group,
		      int (*step)(struct family_change *change, const struct family_why *why))
{
	int res = 0;

	for (unsigned i = 0; i < group->count && res == 0; i++)
		res = step(group->changes[i], group->why);
	if (res != 0)
		return res;
	res = family_group_sync(group);
	return res == 0 ? 0
			: family_refuse(group->why, res, "its folder cannot be made durable: %s",
					files_error(res));
}

/* As far as they were put in place, whatever they answer: each says so itself. */
static void group_take_back(const struct family_group *group)
{
	for (unsigned i = 0; i < group->count; i++) {
		struct family_change *change = group->changes[i];

		if (change->stage == CHANGE_LINKED)
			(void)unlinkat(change->place.folder, change->behind, 0);
		else if (change->stage == CHANGE_RENAMED)
			(void)family_change_take_back(change);
	}
	(void)family_group_sync(group);
}

/* File systems may keep changes of a folder in any order, until it is durable: what an overlay is
 * based on has its name before the overlay has its own. */
static int group_put_in_place(const struct family_group *group)
{
	int res = group_step(group, link_behind);

	if (res == 0)
		res = group_step(group, put_in_place);
	for (unsigned i = 0; i < group->count && res == 0; i++) {
		group->changes[i]->stage = CHANGE_COMMITTED;
		family_change_hold(group->changes[i]);
	}
	if (res != 0)
		group_take_back(group);
	return res;
}

int family_commit(struct family_change *const changes[], unsigned count, char *why,
		  size_t why_bytes)
{
	const struct family_why say = {why, why_bytes};
	struct family_group group;
	int res = family_group_lock(changes, count, &group, &say);

	if (res != 0)
		return res;
	res = group_make_ready(&group);
	if (res == 0)
		res = group_put_in_place(&group);
	for (unsigned i = 0; i < count; i++)
		files_close(&changes[i]->old);
	family_group_unlock(&group);
	return res;
}
