/*
 * The table version of crc32c, for crc32c.c and for the tests. Others use crc32c.h.
 */
#ifndef BASE_CRC32C_TABLE_H
#define BASE_CRC32C_TABLE_H

#include <stddef.h>
#include <stdint.h>

/* As crc32c(). */
uint32_t crc32c_by_table(uint32_t crc, const void *bytes, size_t count);

#endif
