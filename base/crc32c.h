/*
 * CRC32C (Castagnoli), the digest of RFC 7143 section 13.1. Any thread.
 *
 * ISA-L computes it where its headers were found when this was built, a table elsewhere.
 */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/*
 * Go on with a digest: `crc` is 0 to begin, or what an earlier call answered for the bytes before
 * these. The answer is finished (inverted), so that the one for the last piece is the digest. It
 * goes on the wire least significant byte first: put_le32 (RFC 7143 appendix A.4).
 */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t count);

#endif
