/*
 * The files of a job, see job_files.h. Which belong together is told by the catalogue (family.h),
 * anew each time; whoever changes files of a folder holds its lock.
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
#include "lun/qcow2/rebase.h"

/* More files than a chain that can be opened has. */
#define CHAIN_MAX 64u

void folder_close(struct folder *folder)
{
	family_free(folder->family);
	family_place_close(&folder->place);
}

int folder_open(const char *path, struct folder *out, bool alone, char *why)
{
	int res;

	*out = (struct folder){.place = {.folder = -1}};
	res = family_place_open(path, &out->place, why, LUN_WHY_MAX);
	if (res == 0 && alone)
		res = family_lock(out->place.folder, why, LUN_WHY_MAX);
	if (res == 0)
		res = family_read(out->place.folder, NULL, &out->family, why, LUN_WHY_MAX);
	if (res != 0)
		return res;
	out->active = family_find(out->family, out->place.name);
	return out->active ? 0 : lun_refuse(why, -ENOENT, "there is no %s", path);
}

/* -- What is meant -- */

/* What a file is, and what is below it, is asked of this chain's own headers, from the top: another
 * file of the folder may be a guest's raw disk, and so may be the chain's last one, in which stands
 * what a guest wrote. (family_image's kind and parent believe any of them.) */
static bool says_raw(const struct family_image *image)
{
	return strcmp(image->backing_format, "raw") == 0;
}

/* The one whose header names `image`, in the chain from `top` on; NULL: it is not below `top`. */
static const struct family_image *namer_of(const struct family_image *top,
					   const struct family_image *image)
{
	for (unsigned depth = 0; top->parent && depth < CHAIN_MAX; depth++, top = top->parent) {
		if (top->parent->inode == image->inode && top->parent->device == image->device)
			return top;
		if (says_raw(top))
			break;
	}
	return NULL;
}

static bool is_in_chain(const struct folder *folder, const struct family_image *image)
{
	return image == folder->active || namer_of(folder->active, image);
}

static int find_named(const struct folder *folder, const char *name,
		      const struct family_image **out, char *why)
{
	*out = family_find(folder->family, name);
	if (!*out || !is_in_chain(folder, *out))
		return lun_refuse(why, -ENOENT, "%s is not in the chain of %s", name,
				  folder->active->name);
	return 0;
}

/* No device: its number may be another one after a boot, and the folder is the same. */
static int read_identity(int folder, const char *name, struct job_identity *out)
{
	int flags = name[0] != '\0' ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH;
	struct statx st;

	if (statx(folder, name, flags, STATX_INO | STATX_BTIME, &st) != 0)
		return -errno;
	*out = (struct job_identity){.inode = st.stx_ino};
	if (st.stx_mask & STATX_BTIME)
		out->born_ns = (uint64_t)st.stx_btime.tv_sec * 1000000000u + st.stx_btime.tv_nsec;
	return 0;
}

static bool is_same(const struct job_identity *one, const struct job_identity *other)
{
	return one->inode == other->inode && one->born_ns == other->born_ns;
}

static int refuse_other(const char *name, char *why)
{
	return lun_refuse(why, -ESTALE,
			  "%s is another file than the one that was meant when the job was begun; "
			  "it is left alone",
			  name);
}

/* Found the first time it is noted, later it has to be the same. */
static int check_identity(const struct folder *folder, const struct family_image *image,
			  bool is_resumed, struct job_identity *was, char *why)
{
	struct job_identity now;
	int res = read_identity(folder->place.folder, image->name, &now);

	if (res != 0)
		return lun_refuse(why, res, "%s: %s", image->name, files_error(res));
	if (!is_resumed)
		*was = now;
	return now.inode == image->inode && is_same(&now, was) ? 0 : refuse_other(image->name, why);
}

static int find_stream(const struct folder *folder, struct job_order *order, struct pair *out,
		       char *why)
{
	int res = 0;

	out->layer = folder->active;
	out->base = NULL;
	if (order->image[0] != '\0')
		res = find_named(folder, order->image, &out->layer, why);
	if (res == 0)
		res = check_identity(folder, out->layer, order->is_resumed, &order->image_was, why);
	if (res != 0 || order->base[0] == '\0')
		return res;
	res = find_named(folder, order->base, &out->base, why);
	if (res == 0)
		res = check_identity(folder, out->base, order->is_resumed, &order->base_was, why);
	if (res == 0 && !namer_of(out->layer, out->base))
		return lun_refuse(why, -EINVAL, "%s is not below %s", order->base,
				  out->layer->name);
	return res;
}

/* What was written down has got the name of what is to go, by an exchange: it may have got it as a
 * later snapshot, too. */
static bool was_pushed(const struct folder *folder, const char *name,
		       const struct job_identity *now, const struct job_order *order)
{
	return order->pushed_was.inode != 0 && is_same(now, &order->pushed_was) &&
	       family_merge_is_marked(folder->place.folder, name);
}

/* The snapshot, or what has its name after the exchange. */
static int check_removed(const struct folder *folder, const struct family_image *gone,
			 struct job_order *order, char *why)
{
	struct job_identity now;

	if (order->is_resumed && read_identity(folder->place.folder, gone->name, &now) == 0 &&
	    now.inode == gone->inode && was_pushed(folder, gone->name, &now, order))
		return 0;
	return check_identity(folder, gone, order->is_resumed, &order->image_was, why);
}

/* A snapshot that has gone, or that nobody is based on any more, is as good as removed. */
static int find_removed(const struct folder *folder, struct job_order *order, struct pair *out,
			char *why)
{
	const struct family_image *gone = family_find(folder->family, order->image);
	char snapshot[FAMILY_SNAPSHOT_MAX + 1];
	int res = 0;

	*out = (struct pair){0};
	if (gone == folder->active)
		return lun_refuse(why, -EINVAL, "%s is the active file", order->image);
	if (!gone && !order->is_resumed)
		return lun_refuse(why, -ENOENT, "there is no %s", order->image);
	/* Not whatever else lies in the folder. */
	if (gone && !order->is_resumed && !is_in_chain(folder, gone) &&
	    !family_is_snapshot_of(folder->active->name, gone->name, snapshot))
		return lun_refuse(why, -EINVAL, "%s is no snapshot of %s", order->image,
				  folder->active->name);
	if (gone)
		res = check_removed(folder, gone, order, why);
	if (res != 0 || !gone || gone->children == 0)
		return res;
	if (gone->children > 1)
		return family_may_remove(folder->family, gone, why, LUN_WHY_MAX);
	out->layer = family_next_child(folder->family, gone, NULL);
	out->base = says_raw(out->layer) ? NULL : gone->parent;
	if (!is_in_chain(folder, out->layer))
		return lun_refuse(why, -EINVAL,
				  "what is based on it, %s, is not in the chain of %s",
				  out->layer->name, folder->active->name);
	return 0;
}

/* The chain's end is known, and the layer can be written. */
static int check_pair(const struct folder *folder, const struct pair *pair, char *why)
{
	const struct family_image *image = pair->layer;
	const struct family_image *namer = namer_of(folder->active, image);

	if (image->kind != FAMILY_QCOW2 || (namer && says_raw(namer)))
		return lun_refuse(why, -ENOTSUP, "%s is no qcow2 image; there is nothing below it",
				  image->name);
	for (; image && image != pair->base; image = says_raw(image) ? NULL : image->parent)
		if (!image->parent && image->backing_name[0] != '\0')
			return lun_refuse(why, -ENOENT, "what %s is based on, %s, is not there",
					  image->name, image->backing_name);
	return 0;
}

static void describe(const struct folder *folder, const struct pair *pair, struct job_files *out)
{
	const struct family_image *before = pair->layer->parent;
	const struct family_image *namer = pair->base ? namer_of(pair->layer, pair->base) : NULL;

	(void)snprintf(out->layer, sizeof(out->layer), "%s", pair->layer->name);
	out->layer_inode = pair->layer->inode;
	out->layer_bytes = pair->layer->size_bytes;
	out->is_top = pair->layer == folder->active;
	out->is_merged = before == pair->base;
	if (before) {
		(void)snprintf(out->before, sizeof(out->before), "%s", before->name);
		out->before_is_raw = says_raw(pair->layer);
	}
	if (pair->base) {
		(void)snprintf(out->base, sizeof(out->base), "%s", pair->base->name);
		out->base_is_raw = namer && says_raw(namer);
		out->base_inode = pair->base->inode;
	}
}

/* The snapshot is the layer, and what was it is written into that. */
static int turn_down(const struct folder *folder, struct job_order *order, struct pair *pair,
		     char *why)
{
	int res = read_identity(folder->place.folder, pair->layer->name, &order->pushed_was);

	if (res != 0)
		return lun_refuse(why, res, "%s: %s", pair->layer->name, files_error(res));
	pair->pushed = pair->layer;
	pair->layer = pair->layer->parent;
	return 0;
}

static void describe_pushed(const struct folder *folder, const struct family_image *pushed,
			    struct job_files *out)
{
	(void)snprintf(out->pushed, sizeof(out->pushed), "%s", pushed->name);
	out->pushed_inode = pushed->inode;
	out->layer_bytes = pushed->size_bytes;
	out->pushes_top = pushed == folder->active;
	out->is_merged = false;
}

int job_files_find_in(const struct folder *folder, struct job_order *order, bool may_push,
		      struct job_files *out, char *why)
{
	struct pair pair = {0};
	int res = order->kind == JOB_REMOVE ? find_removed(folder, order, &pair, why)
					    : find_stream(folder, order, &pair, why);

	*out = (struct job_files){0};
	if (res == 0 && pair.layer)
		res = check_pair(folder, &pair, why);
	if (res == 0 && pair.layer && may_push && order->kind == JOB_REMOVE &&
	    job_files_goes_down(folder, &pair))
		res = turn_down(folder, order, &pair, why);
	if (res == 0 && pair.layer)
		describe(folder, &pair, out);
	if (res == 0 && pair.pushed)
		describe_pushed(folder, pair.pushed, out);
	out->is_merged = out->is_merged || !pair.layer;
	return res;
}

int job_files_find(struct job_order *order, bool may_push, struct job_files *out, char *why)
{
	struct folder folder;
	int res = folder_open(order->path, &folder, false, why);

	*out = (struct job_files){0};
	if (res == 0)
		res = job_files_find_in(&folder, order, may_push, out, why);
	folder_close(&folder);
	return res;
}

/* -- The header -- */

static int open_layer(const struct family_place *place, const struct job_files *files, char *why)
{
	int fd = openat(place->folder, files->layer, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	int res = fd < 0 ? -errno : 0;
	struct stat st;

	if (res == 0)
		res = image_lock_qemu(fd, true);
	if (res == 0 && (fstat(fd, &st) != 0 || st.st_ino != files->layer_inode))
		res = -ESTALE;
	if (res == 0)
		return fd;
	files_close(&fd);
	return lun_refuse(why, res, "%s cannot be changed: %s", files->layer, files_error(res));
}

static int rebase(int fd, const char *name, bool is_raw, bool *unsure, char *why)
{
	struct qcow2_descriptor descriptor;
	struct qcow2_rebase to = {.writable = &descriptor.writable};
	int res = qcow2_descriptor_make(fd, &descriptor);

	if (name[0] != '\0') {
		to.backing_name = name;
		to.backing_format = is_raw ? "raw" : "qcow2";
	}
	if (res == 0)
		res = qcow2_rebase(&to, why, LUN_WHY_MAX);
	*unsure = to.unsure;
	return res;
}

int job_files_rebase(const struct job_order *order, struct job_files *files, bool back, char *why)
{
	struct family_place place = {.folder = -1};
	int fd CLEANUP(files_close) = -1;
	int res = family_place_open(order->path, &place, why, LUN_WHY_MAX);

	files->unsure = false;
	if (res == 0)
		res = family_lock(place.folder, why, LUN_WHY_MAX);
	if (res == 0) {
		fd = open_layer(&place, files, why);
		res = fd < 0 ? fd : 0;
	}
	if (res == 0)
		res = back ? rebase(fd, files->before, files->before_is_raw, &files->unsure, why)
			   : rebase(fd, files->base, files->base_is_raw, &files->unsure, why);
	family_place_close(&place);
	return res;
}

/* -- What nobody needs any more -- */

/* Nobody is based on it, and nobody has it open. */
static int unlink_image(const struct folder *folder, const struct family_image *image,
			const struct job_order *order, char *why)
{
	int fd CLEANUP(files_close) =
		openat(folder->place.folder, image->name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	int res = fd < 0 ? -errno : 0;
	struct job_identity now;

	if (res == 0)
		res = read_identity(fd, "", &now);
	if (res == 0 && !is_same(&now, &order->image_was) &&
	    !was_pushed(folder, image->name, &now, order))
		return refuse_other(image->name, why);
	if (res == 0 && family_may_remove(folder->family, image, why, LUN_WHY_MAX) != 0)
		return -EBUSY;
	if (res == 0)
		res = image_lock_qemu(fd, true);
	if (res == 0)
		res = family_unlink(folder->place.folder, image->name, fd);
	return res == 0 ? 0
			: lun_refuse(why, res, "%s cannot be removed: %s", image->name,
				     files_error(res));
}

int job_files_remove(const struct job_order *order, char *why)
{
	const struct family_image *image = NULL;
	struct folder folder;
	int res;

	if (order->kind != JOB_REMOVE)
		return 0;
	res = folder_open(order->path, &folder, true, why);
	if (res == 0)
		image = family_find(folder.family, order->image);
	if (res == 0)
		job_files_settle(&folder, order);
	if (image)
		res = unlink_image(&folder, image, order, why);
	folder_close(&folder);
	return res;
}

/* -- Which LUN an image belongs to -- */

/* A candidate that lies in this folder, as a member of its family. */
static const struct family_image *candidate_in(const struct folder *folder, const char *path)
{
	const char *slash = strrchr(path, '/');
	const struct family_image *image = family_find(folder->family, slash ? slash + 1 : path);
	struct stat st;

	if (!image || stat(path, &st) != 0 || st.st_ino != image->inode ||
	    st.st_dev != image->device)
		return NULL;
	return image;
}

static bool belongs_to(const struct family_image *image, const struct family_image *active)
{
	char snapshot[FAMILY_SNAPSHOT_MAX + 1];

	return image == active || family_is_below(image, active) ||
	       family_is_snapshot_of(active->name, image->name, snapshot);
}

static void tell_found(const struct folder *folder, const struct family_image *active,
		       struct job_search *search)
{
	const struct family_image *image = folder->active;
	char snapshot[FAMILY_SNAPSHOT_MAX + 1];

	(void)snprintf(search->name, sizeof(search->name), "%s", image->name);
	search->is_active = image == active;
	search->parent[0] = '\0';
	search->parent_is_snapshot = false;
	if (!image->parent)
		return;
	(void)snprintf(search->parent, sizeof(search->parent), "%s", image->parent->name);
	search->parent_is_snapshot =
		family_is_snapshot_of(active->name, image->parent->name, snapshot);
}

int job_search(struct job_search *search, char why[LUN_WHY_MAX])
{
	struct folder folder;
	int res = folder_open(search->path, &folder, false, why);

	for (search->found = 0; res == 0 && search->found < search->count; search->found++) {
		const struct family_image *active =
			candidate_in(&folder, search->candidates[search->found]);

		if (!active || !belongs_to(folder.active, active))
			continue;
		tell_found(&folder, active, search);
		break;
	}
	if (res == 0 && search->found == search->count)
		res = lun_refuse(why, -ENOENT, "no LUN of type qcow2 is based on %s", search->path);
	folder_close(&folder);
	return res;
}
