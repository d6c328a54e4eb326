/*
 * Chooses who computes CRC32C: ISA-L where this was built with its headers, the table elsewhere.
 * Pure functions, any thread. Read next: crc32c_table.c.
 */
#include "base/crc32c.h"

#if __has_include(<isa-l/crc.h>)
#include <isa-l/crc.h>

/* ISA-L counts in int. */
#define PIECE_BYTES (1u << 30)

uint32_t crc32c(uint32_t crc, const void *bytes, size_t count)
{
	/* ISA-L reads only, but its prototype lacks the const; and it leaves inverting to us. */
	unsigned char *at =
		(unsigned char *)(uintptr_t)bytes; /* NOLINT(performance-no-int-to-ptr) */

	crc = ~crc;
	while (count > 0) {
		size_t piece = count < PIECE_BYTES ? count : PIECE_BYTES;

		crc = crc32_iscsi(at, (int)piece, crc);
		at += piece;
		count -= piece;
	}
	return ~crc;
}

#else
#include "base/crc32c_table.h"

uint32_t crc32c(uint32_t crc, const void *bytes, size_t count)
{
	return crc32c_by_table(crc, bytes, count);
}
#endif
