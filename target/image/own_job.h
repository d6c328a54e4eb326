/*
 * A job (lun/job.h) on an image that nobody has open: with a LUN and loops of this process, which
 * are there as long as it runs.
 *
 * One thread calls and waits. Read next: own_job.c.
 */
#ifndef TARGET_IMAGE_OWN_JOB_H
#define TARGET_IMAGE_OWN_JOB_H

#include "lun/job.h"
#include "target/image/verb.h"

/* 0 with the answer in `result`, or as image_refuse. A signal cancels it; its chain is then what it
 * was before. */
int MUST_CHECK own_job_run(struct image_order *order, const struct job_order *what);

#endif
