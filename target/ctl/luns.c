/*
 * Opening many LUNs; see luns.h.
 *
 * A few LUNs are opened one after the other, thousands by a bounded number of threads: they wait
 * for disks, so there are more than CPUs, and those who wait for the journal of one file system are
 * served together. LUNs that share an image are opened afterwards, one by one and in order, or
 * chance would say which of them gets the lock.
 *
 * Control thread and threads that it waits for. Read next: ../../lun/lun.h.
 */
#include "target/ctl/luns.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lun/files.h"

#define THREADS_MAX 32u
/* Fewer LUNs than this for one thread are not worth another. */
#define LUNS_PER_THREAD_MIN 8u

/* What an image is, by whatever path: equal for two LUNs that would use the same. */
struct image_key {
	dev_t device;
	ino_t inode;
	const char *name; /* In that folder, of an image that is still to be made; or "". */
};

struct job {
	const struct conf_target *target;
	const struct conf_lun *from;
	struct lun **out;
	struct image_key key;
	bool late; /* An earlier one has that image. */
};

struct opening {
	const struct conf *conf;
	const struct loop_group *group;
	struct job *jobs;
	size_t count;
	atomic_size_t next;
	atomic_int error; /* The first. */
};

static const char *const lun_types[] = {
	[CONF_LUN_RAW] = "raw",
	[CONF_LUN_NULL] = "null",
	[CONF_LUN_FAULT] = "fault",
	[CONF_LUN_QCOW2] = "qcow2",
};

static struct lun_spec lun_spec_of(const struct conf *conf, const struct conf_lun *from)
{
	return (struct lun_spec){
		.type = lun_types[from->type],
		.path = from->image,
		.size_bytes = from->size_bytes,
		.logical_block_bytes = from->block_size,
		.physical_block_bytes = from->physical_block_size,
		.allocation_unit_bytes = from->allocation_unit,
		.backing_name = from->backing,
		.cluster_bytes = from->cluster_size,
		.qcow2_cache_bytes = conf->limits.qcow2_cache_bytes,
		.look_ahead_bytes = from->look_ahead,
		.page_cache = from->cache == CONF_CACHE_PAGE,
		.write_cache = from->write_cache,
		.read_only = from->read_only,
		.fault_control = from->fault_control,
		.identity = from->identity,
		.serial = from->serial,
		.company_id = conf->company_id,
		.state_dir = conf->state_dir,
	};
}

static int open_one(const struct opening *opening, const struct job *job)
{
	struct lun_spec spec = lun_spec_of(opening->conf, job->from);
	char name[CONF_ISCSI_NAME_BYTES_MAX + sizeof(" lun 65535")];

	(void)snprintf(name, sizeof(name), "%s lun %u", job->target->name,
		       (unsigned)job->from->number);
	spec.name = name;
	return lun_open(&spec, opening->group, job->out);
}

static void open_noting_errors(struct opening *opening, const struct job *job)
{
	int res = open_one(opening, job);
	int none = 0;

	if (res != 0)
		(void)atomic_compare_exchange_strong(&opening->error, &none, res);
}

static void *work(void *arg)
{
	struct opening *opening = arg;
	size_t i;

	while ((i = atomic_fetch_add(&opening->next, 1)) < opening->count) {
		if (!opening->jobs[i].late)
			open_noting_errors(opening, &opening->jobs[i]);
	}
	return NULL;
}

static void open_side_by_side(struct opening *opening)
{
	pthread_t threads[THREADS_MAX];
	size_t wanted = opening->count / LUNS_PER_THREAD_MIN;
	size_t running = 0;

	/* This thread is one of them; without another it does all. */
	while (running < THREADS_MAX && running + 1 < wanted &&
	       pthread_create(&threads[running], NULL, work, opening) == 0)
		running++;
	(void)work(opening);
	for (size_t i = 0; i < running; i++)
		(void)pthread_join(threads[i], NULL);
}

/* -- LUNs that share an image -- */

/* False: nothing is there, or cannot be looked at, which opening it will tell. */
static bool find_key(const char *path, struct image_key *out)
{
	char folder[FILES_PATH_MAX];
	const char *slash = strrchr(path, '/');
	struct stat st;

	*out = (struct image_key){.name = ""};
	if (stat(path, &st) == 0) {
		out->device = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
		out->inode = S_ISBLK(st.st_mode) ? 0 : st.st_ino;
		return true;
	}
	if (files_parent(path, folder, sizeof(folder)) != 0 || stat(folder, &st) != 0)
		return false;
	out->device = st.st_dev;
	out->inode = st.st_ino;
	out->name = slash ? slash + 1 : path;
	return true;
}

static int compare_keys(const struct image_key *a, const struct image_key *b)
{
	if (a->device != b->device)
		return a->device < b->device ? -1 : 1;
	if (a->inode != b->inode)
		return a->inode < b->inode ? -1 : 1;
	return strcmp(a->name, b->name);
}

static int compare_jobs(const void *a, const void *b)
{
	struct job *const *one = a;
	struct job *const *other = b;
	int order = compare_keys(&(*one)->key, &(*other)->key);

	return order != 0 ? order : (*one < *other ? -1 : *one > *other);
}

static int mark_late(struct opening *opening)
{
	struct job **sorted = malloc((opening->count + 1) * sizeof(*sorted));
	size_t keyed = 0;

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < opening->count; i++) {
		struct job *job = &opening->jobs[i];

		if (job->from->image && find_key(job->from->image, &job->key))
			sorted[keyed++] = job;
	}
	qsort(sorted, keyed, sizeof(*sorted), compare_jobs);
	for (size_t i = 1; i < keyed; i++)
		sorted[i]->late = compare_keys(&sorted[i]->key, &sorted[i - 1]->key) == 0;
	free(sorted);
	return 0;
}

/* -- All of it -- */

static size_t count_luns(const struct conf *conf)
{
	size_t count = 0;

	for (size_t i = 0; i < conf->target_count; i++)
		count += conf->targets[i].lun_count;
	return count;
}

static void list_jobs(struct opening *opening, struct lun **out)
{
	for (size_t i = 0; i < opening->conf->target_count; i++) {
		const struct conf_target *target = &opening->conf->targets[i];

		for (size_t j = 0; j < target->lun_count; j++, out++) {
			if (*out != NULL)
				continue;
			opening->jobs[opening->count++] = (struct job){
				.target = target, .from = &target->luns[j], .out = out};
		}
	}
}

static void close_all(const struct opening *opening)
{
	for (size_t i = 0; i < opening->count; i++) {
		if (*opening->jobs[i].out)
			lun_close(*opening->jobs[i].out);
		*opening->jobs[i].out = NULL;
	}
}

int luns_open(const struct conf *conf, const struct loop_group *group, struct lun **out)
{
	struct opening opening = {.conf = conf, .group = group};
	int res;

	opening.jobs = calloc(count_luns(conf) + 1, sizeof(*opening.jobs));
	if (!opening.jobs)
		return -ENOMEM;
	list_jobs(&opening, out);
	res = mark_late(&opening);
	if (res == 0) {
		open_side_by_side(&opening);
		for (size_t i = 0; i < opening.count; i++) {
			if (opening.jobs[i].late)
				open_noting_errors(&opening, &opening.jobs[i]);
		}
		res = atomic_load(&opening.error);
	}
	if (res != 0)
		close_all(&opening);
	free(opening.jobs);
	return res;
}
