/*
 * One reading of the configuration, from the file to what is ready to be put in force: what
 * reload.c and reload_prepare.c share. Private to them.
 */
#ifndef TARGET_CTL_RELOAD_JOB_H
#define TARGET_CTL_RELOAD_JOB_H

#include "conf/changes.h"
#include "lun/growth.h"
#include "target/ctl/reload.h"
#include "target/scsi/lun_change.h"

/* A LUN that the next generation has and this one has not. */
struct added_lun {
	const struct conf_lun *conf;
	struct scsi_target *target;
	struct lun *lun;
	struct scsi_lu *lu;
	struct space_member *member;
};

/* A LUN that stays and of which something is to change, or may: it follows its pool. */
struct renewed_lun {
	struct reload_job *job;
	struct lun *lun;
	struct scsi_target *target;
	uint16_t number;
	uint64_t size_bytes; /* It has become larger; 0: it has not. */
	bool grows_closed;   /* Its image has to be made larger first. */
	unsigned warn_percent;
	struct lun_growth growth;
	struct scsi_lu_news news;
};

/* All LUNs that are added to one target. */
struct lun_addition {
	struct reload_job *job;
	struct scsi_lun_change change;
	struct scsi_lu **lus;
};

struct reload_job {
	struct reload *reload;
	struct runtime *runtime;
	struct control_request *request; /* NULL: nobody waits. */
	json_t *answer;
	bool dry_run;
	struct loop_op op;
	int res;
	struct conf *conf;
	struct conf_errors *errors;
	struct conf_changes changes;
	struct generation *next;
	struct added_lun *added;
	size_t added_count;
	struct renewed_lun *renewed;
	size_t renewed_count;
	size_t grown_count; /* Of those. */
	struct lun_addition *additions;
	size_t addition_count;
	size_t pending; /* Additions, growths under way. */
	struct published_swap swap;
	struct generation *before;
	struct loop_timer timer;
	uint64_t patience_ns; /* Until then the answer waits for what goes. */
};

/* Helper threads': they block. They leave job->res, and errors. */
int reload_load(struct loop_op *op);
int reload_prepare(struct loop_op *op);
/* What reload_prepare has made and nobody has got. The control loop, or its helper. */
void reload_unprepare(struct reload_job *job);

#endif
