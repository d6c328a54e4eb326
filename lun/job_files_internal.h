/*
 * What job_files.c and job_push.c share: a folder that is looked at, and the images of a job in it.
 */
#ifndef LUN_JOB_FILES_INTERNAL_H
#define LUN_JOB_FILES_INTERNAL_H

#include "lun/family.h"
#include "lun/job_files.h"

/* A folder, and what is in it. */
struct folder {
	struct family_place place;
	struct family *family;
	const struct family_image *active;
};

/* What a job works on: the layer and what is to be below it. */
struct pair {
	const struct family_image *layer, *base; /* NULL: none. */
	const struct family_image *pushed;       /* Into the layer; NULL: it is pulled. */
};

/* With `alone` nobody else changes its files before folder_close. */
int MUST_CHECK folder_open(const char *path, struct folder *out, bool alone, char *why);
void folder_close(struct folder *folder);
/* job_files_find in an open folder. */
int MUST_CHECK job_files_find_in(const struct folder *folder, struct job_order *order,
				 bool may_push, struct job_files *out, char *why);

/* -- job_push.c -- */

/* REMOVE: what is above the snapshot, the pair's layer, is to be written into it. */
bool job_files_goes_down(const struct folder *folder, const struct pair *pair);
/* The exchange is over and durable: the file that has its new name is whole. */
void job_files_settle(const struct folder *folder, const struct job_order *order);

#endif
