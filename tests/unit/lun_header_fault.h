/*
 * A disk that fails just when a closed image's header has been written: pwrite and fdatasync in the
 * place of the C library's. Included by one file of a program. Not a test.
 */
#ifndef TESTS_UNIT_LUN_HEADER_FAULT_H
#define TESTS_UNIT_LUN_HEADER_FAULT_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define HEADER_BYTES 512u

static atomic_bool headers_fail;   /* From now on. */
static atomic_bool header_is_lost; /* It was written since. */
static atomic_uint syncs_failed;   /* Told. */

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
	if (offset == 0 && length == HEADER_BYTES && atomic_load(&headers_fail))
		atomic_store(&header_is_lost, true);
	return (ssize_t)syscall(SYS_pwrite64, fd, bytes, length, offset);
}

int fdatasync(int fd)
{
	if (!atomic_load(&header_is_lost))
		return (int)syscall(SYS_fdatasync, fd);
	atomic_fetch_add(&syncs_failed, 1);
	errno = EIO;
	return -1;
}

#endif
