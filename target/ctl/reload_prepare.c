/*
 * What a reload does that may wait for disks: reading the file, opening LUNs, measuring images. See
 * reload_job.h.
 *
 * Runs on helper threads of the control loop, beside the data loops: it touches what nobody else
 * knows yet, and of running LUNs their images' sizes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "conf/parse.h"
#include "target/ctl/luns.h"
#include "target/ctl/reload_job.h"

int reload_load(struct loop_op *op)
{
	struct reload_job *job = CONTAINER_OF(op, struct reload_job, op);
	struct sizing sizing;

	job->res = conf_load(job->runtime->conf->file, &job->conf, job->errors);
	if (job->res != 0)
		return 0;
	if (!sizing_compute(job->conf, sizing_cpus(), &sizing, job->errors) ||
	    !sizing_raise_nofile(job->conf, &sizing, job->errors))
		job->res = -EINVAL;
	return 0;
}

/* -- LUNs that are new -- */

static int list_added(struct reload_job *job)
{
	struct generation *next = job->next;
	size_t index = 0;

	job->added = calloc(next->lun_count + 1, sizeof(*job->added));
	if (!job->added)
		return -ENOMEM;
	for (size_t i = 0; i < job->conf->target_count; i++) {
		const struct conf_target *target = &job->conf->targets[i];

		for (size_t j = 0; j < target->lun_count; j++, index++) {
			if (next->luns[index] == NULL)
				job->added[job->added_count++] = (struct added_lun){
					.conf = &target->luns[j], .target = next->targets[i].scsi};
		}
	}
	return 0;
}

/* After they were opened, in the same order. */
static void take_opened(struct reload_job *job, struct lun *const *before)
{
	size_t at = 0;

	for (size_t i = 0; i < job->next->lun_count; i++) {
		if (before[i] == NULL)
			job->added[at++].lun = job->next->luns[i];
	}
}

/* Those that run come first, so it is a new one that loses. */
static int check_identities(const struct reload_job *job)
{
	const struct generation *now = job->runtime->now;
	size_t count = 0;
	struct lun **all = calloc(now->lun_count + job->added_count + 1, sizeof(struct lun *));
	int res;

	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < now->lun_count; i++)
		all[count++] = now->luns[i];
	for (size_t i = 0; i < job->added_count; i++)
		all[count++] = job->added[i].lun;
	res = lun_check_identities(all, count);
	free(all);
	return res;
}

static int make_lu(struct reload_job *job, struct added_lun *added)
{
	struct runtime *runtime = job->runtime;
	const struct scsi_lu_spec spec = build_lu_spec(runtime, added->conf, added->lun);
	int res = space_find(runtime->space, job->conf, added->conf->image, added->lun,
			     &added->member);

	if (res == 0)
		res = scsi_lu_create(added->target, added->conf->number, &spec, &added->lu);
	return res != 0 ? res : scsi_lu_restore(added->lu);
}

static int open_added(struct reload_job *job)
{
	struct generation *next = job->next;
	struct lun **before = malloc((next->lun_count + 1) * sizeof(struct lun *));
	int res;

	if (!before)
		return -ENOMEM;
	memcpy(before, next->luns, next->lun_count * sizeof(struct lun *));
	res = luns_open(job->conf, &job->runtime->server.group, next->luns);
	if (res == 0) {
		take_opened(job, before);
		res = check_identities(job);
	}
	for (size_t i = 0; res == 0 && i < job->added_count; i++)
		res = make_lu(job, &job->added[i]);
	free(before);
	return res;
}

void reload_unprepare(struct reload_job *job)
{
	for (size_t i = 0; i < job->added_count; i++) {
		space_forget(job->added[i].member);
		scsi_lu_free(job->added[i].lu);
	}
	job->added_count = 0;
}

/* -- LUNs of which something may be new -- */

/* Of that kind there is one for the LUN, NULL: for anything. */
static bool has_change(const struct reload_job *job, enum conf_change_kind kind,
		       const struct conf_lun *lun)
{
	for (size_t i = 0; i < job->changes.count; i++) {
		if (job->changes.items[i].kind == kind &&
		    (lun == NULL || job->changes.items[i].lun_after == lun))
			return true;
	}
	return false;
}

/* Its new size, or 0. What was asked for and cannot be refuses all; a file that was found too short
 * does not. */
static uint64_t measure(struct reload_job *job, const struct conf_lun *from, struct lun *lun)
{
	const struct conf_place place = {job->conf->file, from->line};
	char why[LUN_WHY_MAX] = "";
	struct lun_state now;
	uint64_t size_bytes;
	int res = lun_measure(lun, from->size_bytes, &size_bytes, why);

	lun_state_copy(lun, &now);
	if (res == 0)
		return size_bytes > now.size_bytes ? size_bytes : 0;
	if (has_change(job, CONF_LUN_RESIZED, from)) {
		conf_errors_add(job->errors, place, "lun: %s", why);
		job->res = -EINVAL;
	} else {
		log_warn("ctl", "%s: %s", lun_name(lun), why);
	}
	return 0;
}

/* True: it is to be renewed. */
static bool look_at(struct reload_job *job, const struct conf_lun *from,
		    struct renewed_lun *renewed)
{
	/* Of a size that stays, nothing but the image could change. */
	bool measured = from->size_bytes == 0 || has_change(job, CONF_LUN_RESIZED, from);

	renewed->job = job;
	renewed->number = from->number;
	renewed->size_bytes = measured ? measure(job, from, renewed->lun) : 0;
	renewed->grows_closed = renewed->size_bytes != 0 && lun_grows_closed(renewed->lun);
	renewed->warn_percent = from->warn_percent;
	job->grown_count += renewed->size_bytes != 0;
	return renewed->size_bytes != 0 || has_change(job, CONF_LUN_CHANGED, from);
}

static int look_at_all(struct reload_job *job)
{
	const struct generation *next = job->next;
	bool pools_changed = has_change(job, CONF_POOL_CHANGED, NULL);
	size_t index = 0;

	job->renewed = calloc(next->lun_count + 1, sizeof(*job->renewed));
	if (!job->renewed)
		return -ENOMEM;
	for (size_t i = 0; i < job->conf->target_count; i++) {
		const struct conf_target *target = &job->conf->targets[i];

		for (size_t j = 0; j < target->lun_count; j++, index++) {
			struct renewed_lun *renewed = &job->renewed[job->renewed_count];

			renewed->lun = next->luns[index];
			renewed->target = next->targets[i].scsi;
			if (renewed->lun != NULL &&
			    (look_at(job, &target->luns[j], renewed) || pools_changed))
				job->renewed_count++;
		}
	}
	return 0;
}

int reload_prepare(struct loop_op *op)
{
	struct reload_job *job = CONTAINER_OF(op, struct reload_job, op);
	int res;

	/* First what may be refused, before images are made. */
	job->res = 0;
	res = list_added(job);
	if (res == 0)
		res = look_at_all(job);
	if (res == 0 && job->res == 0)
		res = open_added(job);
	if (res != 0)
		job->res = res;
	return 0;
}
