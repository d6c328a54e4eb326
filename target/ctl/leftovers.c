/*
 * Folders of images cleaned at the start; see leftovers.h. Nothing refers to what is removed, so a
 * folder that cannot be cleaned stops nothing: whoever changes something in it tries again.
 *
 * Read next: ../../lun/family_recover.c.
 */
#include "target/ctl/leftovers.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "lun/family_change.h"
#include "target/ctl/requests.h"

#define STEP 256u

static bool make_room(struct leftovers *leftovers)
{
	char **paths;

	if (leftovers->count % STEP != 0)
		return true;
	paths = reallocarray(leftovers->paths, leftovers->count + STEP, sizeof(*paths));
	if (paths == NULL)
		return false;
	leftovers->paths = paths;
	return true;
}

static void add(struct leftovers *leftovers, const char *image)
{
	char *path = make_room(leftovers) ? strdup(image) : NULL;

	if (path != NULL)
		leftovers->paths[leftovers->count++] = path;
}

void leftovers_find(struct leftovers *leftovers, struct runtime *runtime)
{
	struct lun_walk walk = {.runtime = runtime};
	struct named_lun named;

	while (lun_walk_next(&walk, &named))
		if (named.conf->type == CONF_LUN_QCOW2 && named.conf->image != NULL)
			add(leftovers, named.conf->image);
}

/* "folder/." of the image's own folder, symbolic links resolved; "" of one that is not there. */
static void make_folder(char **path)
{
	char *whole = realpath(*path, NULL);
	char *slash = whole != NULL ? strrchr(whole, '/') : NULL;

	if (slash != NULL && slash[1] != '\0') {
		slash[1] = '.';
		slash[2] = '\0';
		free(*path);
		*path = whole;
		return;
	}
	free(whole);
	(*path)[0] = '\0';
}

static int compare(const void *one, const void *other)
{
	return strcmp(*(char *const *)one, *(char *const *)other);
}

static void clean(const char *folder, const atomic_bool *stopping)
{
	char why[LUN_WHY_MAX] = "";

	if (family_recover(folder, stopping, why, sizeof(why)) != 0)
		log_info("ctl", "%s: not looked for what was left: %s", folder, why);
}

void leftovers_remove(struct leftovers *leftovers, const atomic_bool *stopping)
{
	char **paths = leftovers->paths;

	for (size_t i = 0; i < leftovers->count; i++)
		make_folder(&paths[i]);
	if (leftovers->count > 0)
		qsort(paths, leftovers->count, sizeof(*paths), compare);
	for (size_t i = 0;
	     i < leftovers->count && !atomic_load_explicit(stopping, memory_order_relaxed); i++)
		if (paths[i][0] != '\0' && (i == 0 || strcmp(paths[i], paths[i - 1]) != 0))
			clean(paths[i], stopping);
	leftovers_free(leftovers);
}

void leftovers_free(struct leftovers *leftovers)
{
	for (size_t i = 0; i < leftovers->count; i++)
		free(leftovers->paths[i]);
	free(leftovers->paths);
	*leftovers = (struct leftovers){0};
}
