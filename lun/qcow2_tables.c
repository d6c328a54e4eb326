/*
 * Space behind the tables of a qcow2 image; see qcow2_tables.h.
 *
 * The engine writes them in place and counts on that: a group of changes that cannot be written
 * makes the image fail. But a table of zeroes may be a hole, as qemu-img, ours and `cp --sparse`
 * make them, and then the first write to it needs space, which a full disk does not have. What the
 * engine makes itself comes from the reservation, which has space behind it.
 *
 * Control thread; it blocks. Read next: qcow2/reserve.c.
 */
#include "lun/qcow2_tables.h"

#include <errno.h>
#include <fcntl.h>

#include "base/bytes.h"

#define ENTRY_BYTES 8u
#define ENTRIES_AT_ONCE 256u

static int allocate(int fd, uint64_t offset, uint64_t length)
{
	if (length == 0 || fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) == 0)
		return 0;
	/* Without fallocate, or in a file without holes, nothing can be done, or need be. */
	return errno == ENOSPC || errno == EDQUOT ? -errno : 0;
}

static int allocate_blocks(int fd, const struct qcow2_file *file, uint64_t table, uint64_t length,
			   uint64_t block_bytes)
{
	uint8_t entries[ENTRIES_AT_ONCE * ENTRY_BYTES];
	uint64_t part;
	int res = 0;

	for (uint64_t at = 0; at < length && res == 0; at += part) {
		part = length - at < sizeof(entries) ? length - at : sizeof(entries);
		res = file->read(file, entries, part, table + at);
		for (uint64_t i = 0; i < part && res == 0; i += ENTRY_BYTES) {
			uint64_t block = get_be64(entries + i);

			res = block == 0 ? 0 : allocate(fd, block, block_bytes);
		}
	}
	return res;
}

int qcow2_tables_allocate(int fd, const struct qcow2_file *file, const struct qcow2_header *header)
{
	uint64_t cluster_bytes = UINT64_C(1) << header->cluster_bits;
	uint64_t table_bytes = header->refcount_table_clusters * cluster_bytes;
	int res = allocate(fd, header->l1_offset, (uint64_t)header->l1_entries * ENTRY_BYTES);

	if (res == 0)
		res = allocate(fd, header->refcount_table_offset, table_bytes);
	if (res == 0)
		res = allocate_blocks(fd, file, header->refcount_table_offset, table_bytes,
				      cluster_bytes);
	return res;
}
