/*
 * Which LUN serves a file; see served.h.
 */
#include "target/ctl/served.h"

#include <errno.h>
#include <sys/stat.h>

static bool is_image(const struct conf_lun *lun, const struct stat *wanted)
{
	struct stat st;

	return lun->image != NULL && stat(lun->image, &st) == 0 && st.st_dev == wanted->st_dev &&
	       st.st_ino == wanted->st_ino;
}

int served_find(const struct generation *generation, const char *path, struct named_lun *out)
{
	const struct conf *conf = generation->conf;
	size_t index = 0;
	struct stat st;

	if (stat(path, &st) != 0)
		return -errno;
	for (size_t i = 0; i < conf->target_count; i++) {
		for (size_t j = 0; j < conf->targets[i].lun_count; j++, index++) {
			if (!is_image(&conf->targets[i].luns[j], &st))
				continue;
			*out = (struct named_lun){.target = &conf->targets[i],
						  .conf = &conf->targets[i].luns[j],
						  .lun = generation->luns[index]};
			return 0;
		}
	}
	return -ENOENT;
}

static const struct scsi_target *scsi_of(const struct generation *generation,
					 const struct named_lun *lun)
{
	return generation->targets[lun->target - generation->conf->targets].scsi;
}

struct scsi_lu *served_lu(const struct generation *generation, const struct named_lun *lun)
{
	return scsi_target_find_lu(scsi_of(generation, lun), lun->conf->number);
}

unsigned served_sessions(const struct runtime *runtime, const struct generation *generation,
			 const struct named_lun *lun)
{
	const struct scsi_target *target = scsi_of(generation, lun);
	const struct registry_entry *entry = NULL;
	unsigned count = 0;

	while ((entry = registry_next(runtime->server.registry, entry)) != NULL)
		count += registry_spec(entry)->target == target;
	return count;
}
