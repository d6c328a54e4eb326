/*
 * What a folder's files are to each other: parents found, children counted, questions answered.
 *
 * Any thread but a loop's. Read next: family_change.c.
 */
#include "lun/family_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "lun/qcow2/format.h"

/* Longer chains are none that anybody opens. */
#define DEPTH_MAX 64u
/* Of children, in a sentence. */
#define NAMED_MAX 3u
#define SHOWN_BYTES 64u

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct family_image *)a)->name,
		      ((const struct family_image *)b)->name);
}

static int compare(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int by_inode(const void *a, const void *b)
{
	const struct family_image *one = *(const struct family_image *const *)a;
	const struct family_image *other = *(const struct family_image *const *)b;
	int order = compare(one->device, other->device);

	return order ? order : compare(one->inode, other->inode);
}

static bool is_same_file(const struct family_image *one, const struct family_image *other)
{
	return one->device == other->device && one->inode == other->inode;
}

static struct family_image *find(const struct family *family, const char *name)
{
	const struct family_image key = {.name = name};

	return family->count ? bsearch(&key, family->images, family->count, sizeof(key), by_name)
			     : NULL;
}

const struct family_image *family_find(const struct family *family, const char *name)
{
	return find(family, name);
}

/* -- Parents -- */

/* What follows folders and protocols: a file of that name in this folder may be meant. */
static const char *last_part(const char *name)
{
	const char *at = name + strlen(name);

	while (at > name && at[-1] != '/' && at[-1] != ':')
		at--;
	return at;
}

static const char *wrong_with_backing(const struct family_image *image)
{
	if (image->backing_name[0] == '\0')
		return "";
	if (qcow2_backing_name_wrong(image->backing_name) != NULL)
		return "its backing file is not named by a plain name of a file beside it; see "
		       "`qemu-img rebase -u`";
	return image->parent ? "" : "its backing file is not there";
}

static void find_parent(struct family *family, struct family_image *image)
{
	struct family_image *parent = find(family, last_part(image->backing_name));

	image->parent = parent;
	if (parent && strcmp(image->backing_format, "raw") == 0) {
		parent->kind = FAMILY_RAW;
		parent->size_bytes = parent->file_bytes;
		parent->why = "";
	}
}

static unsigned depth_of(const struct family_image *image)
{
	unsigned depth = 0;

	for (; image && depth <= DEPTH_MAX; image = image->parent)
		depth++;
	return depth <= DEPTH_MAX ? depth : 0;
}

/* -- Children -- */

/* Names of one file have the same children. */
static int count_children(struct family *family)
{
	struct family_image **sorted = calloc(family->count + 1, sizeof(struct family_image *));
	size_t first = 0;

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < family->count; i++)
		sorted[i] = &family->images[i];
	qsort(sorted, family->count, sizeof(struct family_image *), by_inode);
	while (first < family->count) {
		unsigned sum = 0;
		size_t end = first;

		while (end < family->count && is_same_file(sorted[first], sorted[end]))
			sum += sorted[end++]->children;
		while (first < end)
			sorted[first++]->children = sum;
	}
	free(sorted);
	return 0;
}

int family_link(struct family *family)
{
	if (family->count == 0)
		return 0;
	qsort(family->images, family->count, sizeof(family->images[0]), by_name);
	for (size_t i = 0; i < family->count; i++)
		find_parent(family, &family->images[i]);
	for (size_t i = 0; i < family->count; i++) {
		struct family_image *image = &family->images[i];

		image->depth = depth_of(image);
		if (image->why[0] == '\0')
			image->why = image->depth ? wrong_with_backing(image)
						  : "its chain of backing files has no end";
		if (image->parent && !is_same_file(image->parent, image))
			family->images[image->parent - family->images].children++;
	}
	return count_children(family);
}

const struct family_image *family_next_child(const struct family *family,
					     const struct family_image *image,
					     const struct family_image *after)
{
	const struct family_image *end = family->images + family->count;

	for (after = after ? after + 1 : family->images; after < end; after++)
		if (after->parent && is_same_file(after->parent, image) &&
		    !is_same_file(after, image))
			return after;
	return NULL;
}

bool family_is_below(const struct family_image *below, const struct family_image *image)
{
	for (unsigned depth = 0; image->parent && depth < DEPTH_MAX; depth++) {
		image = image->parent;
		if (is_same_file(below, image))
			return true;
	}
	return false;
}

/* -- What may be done -- */

int family_may_remove(const struct family *family, const struct family_image *image, char *why,
		      size_t why_bytes)
{
	const struct family_why say = {why, why_bytes};
	const struct family_image *child = NULL;
	char names[NAMED_MAX * (SHOWN_BYTES + 2) + 8] = "";
	size_t used = 0;

	if (image->children == 0)
		return 0;
	for (unsigned i = 0; i < NAMED_MAX; i++) {
		char shown[SHOWN_BYTES];

		child = family_next_child(family, image, child);
		if (!child)
			break;
		(void)log_escape(shown, sizeof(shown), child->name, (uint32_t)strlen(child->name));
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", i ? ", " : "",
					 shown);
	}
	if (image->children > NAMED_MAX)
		(void)snprintf(names + used, sizeof(names) - used, " ...");
	return family_refuse(&say, -EBUSY, "%u image%s based on it: %s", image->children,
			     image->children == 1 ? " is" : "s are", names);
}

unsigned family_names_elsewhere(const struct family *family, const struct family_image *image)
{
	unsigned here = 0;

	if (image->links <= 1 || !image->may_be_base)
		return 0;
	for (size_t i = 0; i < family->count; i++)
		here += is_same_file(&family->images[i], image);
	return image->links > here ? image->links - here : 0;
}

int family_may_change(const struct family *family, const struct family_image *image, char *why,
		      size_t why_bytes)
{
	const struct family_why say = {why, why_bytes};
	unsigned elsewhere = family_names_elsewhere(family, image);

	if (image->children == 0 && elsewhere > 0)
		return family_refuse(&say, -EBUSY,
				     "images may be based on it in other folders, where it has %u "
				     "name%s: remove %s, or `setfattr -x user.ringsan.base`",
				     elsewhere, elsewhere == 1 ? "" : "s",
				     elsewhere == 1 ? "that" : "those");
	return family_may_remove(family, image, why, why_bytes);
}

/* -- Snapshots -- */

static int by_age(const void *a, const void *b)
{
	const struct family_image *one = *(const struct family_image *const *)a;
	const struct family_image *other = *(const struct family_image *const *)b;
	int order = compare(one->depth, other->depth);

	if (order == 0)
		order = compare((uint64_t)one->modified_ns, (uint64_t)other->modified_ns);
	return order ? order : strcmp(one->name, other->name);
}

int family_snapshots(const struct family *family, const struct family_image *image,
		     const struct family_image ***out, size_t *count)
{
	const struct family_image **found = calloc(family->count + 1, sizeof(*found));
	char name[FAMILY_SNAPSHOT_MAX + 1];

	if (!found)
		return -ENOMEM;
	*count = 0;
	for (size_t i = 0; i < family->count; i++)
		if (family_is_snapshot_of(image->name, family->images[i].name, name))
			found[(*count)++] = &family->images[i];
	qsort(found, *count, sizeof(*found), by_age);
	*out = found;
	return 0;
}
