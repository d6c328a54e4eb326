/*
 * The files of a job that writes down: whether that moves less, the mark of the snapshot, and the
 * exchange of names at the end. See job_files.h and family_merge.c.
 */
#include "lun/job_files_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lun/family_change.h"
#include "lun/files.h"
#include "lun/image_lock.h"
#include "lun/lun_internal.h"
#include "lun/qcow2/writable.h"
#include "lun/qcow2_import.h"

/* Of a layer that is written. */
#define CLUSTER_BITS_MIN 12u

/* -- Which way -- */

/* Those above the snapshot have one child each, up to the active file: others might have them open.
 */
static bool is_only_line(const struct folder *folder, const struct family_image *gone)
{
	const struct family_image *image = folder->active;

	while (image != gone && image->parent && image->parent->children == 1)
		image = image->parent;
	return image == gone;
}

bool job_files_goes_down(const struct folder *folder, const struct pair *pair)
{
	const struct family_image *child = pair->layer;
	const struct family_image *gone = child->parent;
	/* Hosts write more into it meanwhile. */
	uint64_t expected = child == folder->active ? 2 * child->used_bytes : child->used_bytes;

	return gone->kind == FAMILY_QCOW2 && strcmp(child->backing_format, "qcow2") == 0 &&
	       gone->links == 1 && child->links == 1 && gone->size_bytes == child->size_bytes &&
	       gone->cluster_bits >= CLUSTER_BITS_MIN && expected < gone->used_bytes &&
	       is_only_line(folder, gone);
}

/* -- Marks, and names -- */

/* The name's file is the one that was found. Its descriptor, or negative errno. */
static int open_found(int folder, const char *name, uint64_t inode)
{
	int fd = openat(folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	int res = fd < 0 ? -errno : 0;
	struct stat st;

	if (res == 0 && (fstat(fd, &st) != 0 || st.st_ino != inode))
		res = -ESTALE;
	if (res == 0)
		return fd;
	files_close(&fd);
	return res;
}

/* And nobody has it open. */
static int open_closed(int folder, const char *name, uint64_t inode)
{
	int fd = open_found(folder, name, inode);
	int res = fd < 0 ? fd : image_lock_wait(image_lock_qemu, fd, true);

	if (res == 0)
		return fd;
	files_close(&fd);
	return res;
}

/* It was only read, so that whatever is wrong with it has done no harm yet. */
static int check_below(const struct job_order *order, const struct job_files *files, int fd,
		       char *why)
{
	struct qcow2_descriptor file;
	const struct qcow2_import import = {
		.name = order->path,
		.path = files->layer,
		.file = &file.writable.file,
		.fd = fd,
	};
	int res = qcow2_descriptor_make(fd, &file);

	return res == 0 ? qcow2_import_check(&import, why, LUN_WHY_MAX) : res;
}

int job_files_check(const struct job_order *order, const struct job_files *files, char *why)
{
	struct family_place place = {.folder = -1};
	int fd CLEANUP(files_close) = -1;
	int res = family_place_open(order->path, &place, why, LUN_WHY_MAX);

	if (res == 0) {
		fd = open_found(place.folder, files->layer, files->layer_inode);
		res = fd < 0 ? fd : check_below(order, files, fd, why);
	}
	family_place_close(&place);
	return res;
}

int job_files_mark(const struct job_order *order, struct job_files *files, char *why)
{
	struct job_order again = *order;
	struct folder folder;
	struct job_files now = {0};
	int fd CLEANUP(files_close) = -1;
	bool was_there = true;
	bool was_spoiled = true;
	int res = folder_open(order->path, &folder, true, why);

	/* Nobody has based anything on it meanwhile, nor does from now on. */
	again.is_resumed = true;
	if (res == 0)
		res = job_files_find_in(&folder, &again, true, &now, why);
	if (res == 0 && now.pushed[0] == '\0')
		res = -ENOTSUP;
	if (res == 0 &&
	    (now.layer_inode != files->layer_inode || now.pushed_inode != files->pushed_inode))
		res = lun_refuse(why, -ESTALE, "%s has changed meanwhile; try again", files->layer);
	if (res == 0) {
		/* By another job, when what is above it had another name. */
		was_spoiled = family_merge_is_marked(folder.place.folder, files->layer);
		fd = open_found(folder.place.folder, files->layer, files->layer_inode);
		res = fd < 0 ? fd : family_merge_mark(fd, files->pushed, &was_there);
		files->marked_here = res == 0 && !was_there && !was_spoiled;
		if (res != 0 && res != -ENOTSUP)
			(void)lun_refuse(why, res, "%s cannot be marked: %s", files->layer,
					 files_error(res));
	}
	folder_close(&folder);
	return res;
}

void job_files_unmark(const struct job_order *order, const struct job_files *files)
{
	struct folder folder;
	char why[LUN_WHY_MAX];

	if (!files->marked_here)
		return;
	if (folder_open(order->path, &folder, true, why) == 0)
		family_merge_unmark(folder.place.folder, files->layer);
	folder_close(&folder);
}

static int swap(int folder, const struct job_files *files)
{
	return renameat2(folder, files->layer, folder, files->pushed, RENAME_EXCHANGE) == 0
		       ? 0
		       : -errno;
}

/* One step of the file system: cut before it, all is as it was, after it, all is done. */
static int exchange(int folder, struct job_files *files, bool back)
{
	uint64_t low = back ? files->pushed_inode : files->layer_inode;
	uint64_t high = back ? files->layer_inode : files->pushed_inode;
	int below CLEANUP(files_close) = open_closed(folder, files->layer, low);
	int above CLEANUP(files_close) = open_closed(folder, files->pushed, high);
	bool was_there;
	int res = 0;

	if (below < 0 || above < 0)
		return below < 0 ? below : above;
	if (!back)
		res = family_merge_take_over(above, below);
	/* On the way back, too: opened under its new name it may have lost its mark. */
	if (res == 0)
		res = family_merge_mark(above, files->pushed, &was_there);
	if (res == 0)
		res = swap(folder, files);
	if (res == 0 && fsync(folder) != 0) {
		/* Whoever has the name then, after a crash it may be the other one's. */
		res = -errno;
		files->unsure = true;
		(void)swap(folder, files);
	}
	if (back || res != 0)
		family_merge_settle(folder, files->pushed);
	if (back && res == 0 && identity_is_shared(below, above))
		(void)!identity_remove(above);
	return res;
}

int job_files_exchange(const struct job_order *order, struct job_files *files, bool back, char *why)
{
	struct folder folder;
	int res = folder_open(order->path, &folder, true, why);

	files->unsure = false;
	if (res == 0) {
		res = exchange(folder.place.folder, files, back);
		if (res != 0)
			res = lun_refuse(why, res, "%s cannot take the place of %s: %s",
					 files->layer, files->pushed, files_error(res));
	}
	folder_close(&folder);
	return res;
}

void job_files_settle(const struct folder *folder, const struct job_order *order)
{
	for (size_t i = 0; order->pushed_was.inode != 0 && i < folder->family->count; i++)
		if (folder->family->images[i].inode == order->image_was.inode)
			family_merge_settle(folder->place.folder, folder->family->images[i].name);
}
