/*
 * Images that are met for the first time, or are dirty; see qcow2_import.h.
 *
 * Read next: lun/qcow2/check.c, lun/qcow2/repair.c.
 */
#include "lun/qcow2_import.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "lun/files.h"
#include "lun/lun_internal.h"
#include "lun/qcow2/plain.h"
#include "lun/qcow2/repair.h"

/* For counting: 16 million clusters in one pass, 2 TiB of those that we make. */
#define MEMORY_BYTES (UINT64_C(64) << 20)
/* How often a check that takes long says that it is still there. */
#define SAY_AGAIN_NS (10 * CLOCK_NS_PER_S)

/* A file that tells how much of it was read. */
struct told_file {
	struct qcow2_file file; /* First. */
	const struct qcow2_import *import;
	uint64_t *bytes;
	uint64_t *say_ns; /* When next. */
};

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool stopping;

static bool is_stopping(void)
{
	return atomic_load_explicit(&stopping, memory_order_relaxed);
}

void qcow2_import_stop(void)
{
	atomic_store_explicit(&stopping, true, memory_order_relaxed);
}

static int told_read(const struct qcow2_file *file, void *buffer, size_t length, uint64_t offset)
{
	const struct told_file *told = (const void *)file; /* Its first member. */
	uint64_t now = clock_now_ns();

	if (is_stopping())
		return -ECANCELED;
	*told->bytes += length;
	if (now >= *told->say_ns) {
		*told->say_ns = now + SAY_AGAIN_NS;
		log_info("lun", "%s: still checking %s, %llu MiB of its tables were read",
			 told->import->name, told->import->path,
			 (unsigned long long)(*told->bytes >> 20));
	}
	return told->import->file->read(told->import->file, buffer, length, offset);
}

/* -- The first time -- */

static int judge(const struct qcow2_import *import, const struct qcow2_check *found, char *why,
		 size_t why_bytes)
{
	if (qcow2_check_verdict(found) == QCOW2_CORRUPT) {
		log_error("lun", "%s: %s: %s", import->name, import->path, found->findings[0]);
		(void)snprintf(why, why_bytes,
			       "it is damaged in %llu places; see `ringsan image check --repair`",
			       (unsigned long long)found->corruptions);
		return -EUCLEAN;
	}
	if (found->leaks > 0)
		log_warn("lun",
			 "%s: in %s %llu clusters are in use for nothing; `ringsan image check "
			 "--repair` gives them back while it is not served",
			 import->name, import->path, (unsigned long long)found->leaks);
	return 0;
}

static int check_whole(const struct qcow2_import *import, struct qcow2_check *found, char *why,
		       size_t why_bytes)
{
	uint64_t began_ns = clock_now_ns();
	uint64_t bytes = 0;
	uint64_t say_ns = began_ns + SAY_AGAIN_NS;
	const struct told_file told = {
		.file = {.read = told_read, .size_bytes = import->file->size_bytes},
		.import = import,
		.bytes = &bytes,
		.say_ns = &say_ns,
	};
	const struct qcow2_check_spec spec = {.file = &told.file, .memory_bytes = MEMORY_BYTES};
	int res = qcow2_check(&spec, found, why, why_bytes);

	if (res != 0)
		return res;
	log_info("lun", "%s: %s was checked, as it is new here: %llu clusters in %llu ms",
		 import->name, import->path, (unsigned long long)found->clusters,
		 (unsigned long long)((clock_now_ns() - began_ns) / CLOCK_NS_PER_MS));
	return judge(import, found, why, why_bytes);
}

static int check_alone(const struct qcow2_import *import, char *why, size_t why_bytes)
{
	struct qcow2_check *found = malloc(sizeof(*found));
	int res = -ENOMEM;

	(void)snprintf(why, why_bytes, "no memory to check it");
	if (found)
		res = check_whole(import, found, why, why_bytes);
	free(found);
	return res;
}

/* -- Dirty -- */

static int repair_by(const struct qcow2_import *import, struct qcow2_repair *repair, char *why,
		     size_t why_bytes)
{
	char first[LUN_WHY_MAX] = "";
	int res = qcow2_repair(repair, first, sizeof(first));

	if (res != 0) {
		log_error("lun", "%s: %s: %s", import->name, import->path, first);
		(void)snprintf(why, why_bytes,
			       "its refcounts are out of date and cannot be counted anew; see "
			       "`ringsan image check --repair`");
		return res;
	}
	log_info("lun", "%s: %s was not closed by another program: %llu refcounts counted anew",
		 import->name, import->path, (unsigned long long)repair->refcounts);
	return 0;
}

/* Cut short it stays dirty, and is counted again. */
static int read_to_repair(const struct qcow2_file *file, void *buffer, size_t length,
			  uint64_t offset)
{
	const struct qcow2_descriptor *of = (const void *)file; /* Its first member. */

	return is_stopping() ? -ECANCELED : files_read_at(of->fd, buffer, length, offset);
}

static int repair_alone(const struct qcow2_import *import, char *why, size_t why_bytes)
{
	int fd CLEANUP(files_close) = files_open_again(import->fd, O_RDWR);
	struct qcow2_repair *repair = calloc(1, sizeof(*repair));
	struct qcow2_descriptor file;
	int res = -ENOMEM;

	if (repair)
		res = fd < 0 ? fd : qcow2_descriptor_make(fd, &file);
	if (res != 0) {
		(void)snprintf(why, why_bytes, "its refcounts cannot be counted anew: %s",
			       files_error(res));
	} else {
		file.writable.file.read = read_to_repair;
		repair->writable = &file.writable;
		repair->memory_bytes = MEMORY_BYTES;
		res = repair_by(import, repair, why, why_bytes);
	}
	free(repair);
	return res;
}

/* What is something else, or corrupt, opening refuses, and says why. */
static bool can_be_written(const struct qcow2_header *header)
{
	return header->version == 3 && header->refcount_order == 4 && header->snapshot_count == 0 &&
	       (header->incompatible & QCOW2_INCOMPATIBLE_CORRUPT) == 0 &&
	       (header->autoclear & QCOW2_AUTOCLEAR_BITMAPS) == 0;
}

int qcow2_import(const struct qcow2_import *import, char *why, size_t why_bytes)
{
	struct qcow2_header header;
	int res = qcow2_header_read(import->file, &header, why, why_bytes);
	bool dirty = (header.incompatible & QCOW2_INCOMPATIBLE_DIRTY) != 0;

	if (res != 0 || !can_be_written(&header))
		return res;
	if (!dirty && identity_is_on(import->fd))
		return 0;
	(void)pthread_mutex_lock(&one_at_a_time);
	res = dirty ? repair_alone(import, why, why_bytes) : check_alone(import, why, why_bytes);
	if (res != 0 && is_stopping())
		(void)snprintf(why, why_bytes,
			       "the server ends, and it was not checked to its end");
	(void)pthread_mutex_unlock(&one_at_a_time);
	return res;
}

int qcow2_import_check(const struct qcow2_import *import, char *why, size_t why_bytes)
{
	struct qcow2_header header;
	int res = qcow2_header_read(import->file, &header, why, why_bytes);

	if (res != 0)
		return res;
	if (!can_be_written(&header) || (header.incompatible & QCOW2_INCOMPATIBLE_DIRTY) != 0) {
		(void)snprintf(why, why_bytes,
			       "its header says that it cannot be written as it is");
		return -ENOTSUP;
	}
	(void)pthread_mutex_lock(&one_at_a_time);
	res = check_alone(import, why, why_bytes);
	(void)pthread_mutex_unlock(&one_at_a_time);
	return res;
}
