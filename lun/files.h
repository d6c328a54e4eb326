/*
 * Small helpers for files that must be durable and for what sysfs says of block devices. Not the
 * images' own I/O. Control thread; they block.
 *
 * Read next: raw_open.c, identity_store.c.
 */
#ifndef LUN_FILES_H
#define LUN_FILES_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest path that is handled; the kernel's own limit would not fit on the stack. */
#define FILES_PATH_MAX 2048u

/* What a negative errno means, in words. Any thread. */
const char *files_error(int res);
/* CLEANUP(files_close) closes a descriptor that is not negative. */
void files_close(int *fd);
/* The folder of a path ("." where it names none), cut at `room`. -ENAMETOOLONG. */
int MUST_CHECK files_parent(const char *path, char *out, size_t room);
/* A description of its own of an open file. The descriptor, or negative errno. */
int MUST_CHECK files_open_again(int fd, int access);
/* Make the entry of `path` in its folder durable. */
int MUST_CHECK files_sync_parent(const char *path);
/* Open what a stranger has named, with flags as of open(2): nothing outside of the folder (a
 * descriptor), and no link, is followed; nor does it wait for what is no file. The descriptor, or
 * negative errno. */
int MUST_CHECK files_open_at(int folder, const char *name, int flags);
/* Open for reading what a stranger has named as lying beside an open file: in the folder that this
 * lies in, whatever links led to it, and not outside. The descriptor, or negative errno. */
int MUST_CHECK files_open_beside(int fd, const char *name);
/* The folder that an open file lies in, whatever links led to it: a descriptor, fit for flock and
 * fsync, or negative errno. */
int MUST_CHECK files_open_folder_of(int fd);
/* All bytes or negative errno; zeroes beyond the end of the file. */
int MUST_CHECK files_read_at(int fd, void *buffer, size_t length, uint64_t offset);
/* Read a whole small text file, zero-terminated. -EFBIG where it does not fit in room - 1. */
int MUST_CHECK files_read_text(const char *path, char *out, size_t room);
/* A number in a sysfs file below a block device's folder, a partition's disk included; 0 where
 * there is none. */
uint64_t files_device_number(uint64_t device, const char *name);

/* Set and clear flags of an open file (F_SETFL). */
int MUST_CHECK files_set_flags(int fd, int set, int clear);
/* Direct I/O from here on, and what it has to be aligned to; 0: there is none. Where 0 comes after
 * the flag was set, the caller clears it. */
uint32_t MUST_CHECK files_set_direct(int fd);

/* Write a file whole and durably: a crash leaves the old one or the new one. Mode 0600. */
int MUST_CHECK files_write_text(const char *path, const char *text);
/* What tells a block device from all others, wherever it is plugged in: its WWID, serial number or
 * device-mapper UUID, with the partition. False: it has nothing of the kind. */
bool files_device_id(uint64_t device, char *out, size_t room);

#endif
