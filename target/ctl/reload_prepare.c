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

/* -- LUNs that may have grown -- */

static bool is_resized(const struct reload_job *job, const struct conf_lun *lun)
{
	for (size_t i = 0; i < job->changes.count; i++) {
		if (job->changes.items[i].kind == CONF_LUN_RESIZED &&
		    job->changes.items[i].lun_after == lun)
			return true;
	}
	return false;
}

/* What was asked for and cannot be refuses all; a file that was found too short does not. */
static void measure(struct reload_job *job, const struct conf_lun *from, struct lun *lun)
{
	const struct conf_place place = {job->conf->file, from->line};
	char why[LUN_WHY_MAX] = "";
	struct lun_state now;
	uint64_t size_bytes;
	int res = lun_measure(lun, from->size_bytes, &size_bytes, why);

	lun_state_copy(lun, &now);
	if (res == 0 && size_bytes > now.size_bytes) {
		job->grown[job->grown_count++] =
			(struct grown_lun){.job = job, .lun = lun, .size_bytes = size_bytes};
	} else if (res != 0 && is_resized(job, from)) {
		conf_errors_add(job->errors, place, "lun: %s", why);
		job->res = -EINVAL;
	} else if (res != 0) {
		log_warn("ctl", "%s: %s", lun_name(lun), why);
	}
}

static int measure_all(struct reload_job *job)
{
	const struct generation *next = job->next;
	size_t index = 0;

	job->grown = calloc(next->lun_count + 1, sizeof(*job->grown));
	if (!job->grown)
		return -ENOMEM;
	for (size_t i = 0; i < job->conf->target_count; i++) {
		const struct conf_target *target = &job->conf->targets[i];

		for (size_t j = 0; j < target->lun_count; j++, index++) {
			const struct conf_lun *from = &target->luns[j];

			/* Of a size that stays, nothing but the image could change. */
			if (next->luns[index] != NULL &&
			    (from->size_bytes == 0 || is_resized(job, from)))
				measure(job, from, next->luns[index]);
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
		res = measure_all(job);
	if (res == 0 && job->res == 0)
		res = open_added(job);
	if (res != 0)
		job->res = res;
	return 0;
}
