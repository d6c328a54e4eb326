/*
 * Compressed clusters: what zlib and zstd made comes back; anything else is an error, and never
 * more than a cluster.
 */
#define ZLIB_CONST
#include "lun/qcow2/inflate.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/attr.h"

#define CLUSTER 65536u
#define ROOM (2 * CLUSTER)

static uint8_t content[CLUSTER], deflated[ROOM], out[CLUSTER + 1];

static void fill(unsigned seed)
{
	for (size_t i = 0; i < CLUSTER; i++) {
		seed = seed * 1103515245u + 12345u;
		content[i] = (uint8_t)(i % 3 ? seed >> 29 : 'x');
	}
}

/* As qemu does, or with the largest window. */
static size_t deflate_zlib(size_t bytes, int window_bits)
{
	z_stream stream = {.next_in = content,
			   .avail_in = (uInt)bytes,
			   .next_out = deflated,
			   .avail_out = ROOM};

	cr_assert_eq(deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -window_bits, 9,
				  Z_DEFAULT_STRATEGY),
		     Z_OK);
	cr_assert_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
	cr_assert_eq(deflateEnd(&stream), Z_OK);
	return stream.total_out;
}

static size_t deflate_zstd(size_t bytes)
{
	size_t made = ZSTD_compress(deflated, ROOM, content, bytes, 3);

	cr_assert(!ZSTD_isError(made));
	return made;
}

/* From the heap, so that a byte too many is seen. */
static int inflate_copy(enum qcow2_compression type, size_t bytes)
{
	uint8_t *copy = malloc(bytes + 1);
	int res;

	memcpy(copy, deflated, bytes);
	out[CLUSTER] = 0x5a;
	res = qcow2_inflate(type, copy, bytes, out, CLUSTER);
	cr_expect_eq(out[CLUSTER], 0x5a);
	free(copy);
	return res;
}

Test(qcow2_inflate, there_and_back)
{
	for (unsigned seed = 0; seed < 4; seed++) {
		size_t made;

		fill(seed);
		for (int window_bits = 9; window_bits <= 15; window_bits += 3) {
			made = deflate_zlib(CLUSTER, window_bits);
			memset(out, 0, CLUSTER);
			cr_expect_eq(inflate_copy(QCOW2_ZLIB, made), 0);
			cr_expect_eq(memcmp(out, content, CLUSTER), 0);
		}
		made = deflate_zstd(CLUSTER);
		memset(out, 0, CLUSTER);
		cr_expect_eq(inflate_copy(QCOW2_ZSTD, made), 0);
		cr_expect_eq(memcmp(out, content, CLUSTER), 0);
	}
}

/* Another compressed cluster begins in the last sector. */
Test(qcow2_inflate, what_follows_is_ignored)
{
	size_t made;

	fill(1);
	made = deflate_zlib(CLUSTER, 12);
	memset(deflated + made, 0xff, 512);
	cr_expect_eq(inflate_copy(QCOW2_ZLIB, made + 512), 0);
	made = deflate_zstd(CLUSTER);
	memset(deflated + made, 0xff, 512);
	cr_expect_eq(inflate_copy(QCOW2_ZSTD, made + 512), 0);
	cr_expect_eq(memcmp(out, content, CLUSTER), 0);
}

Test(qcow2_inflate, a_byte_less_is_an_error_anywhere)
{
	size_t made;

	fill(2);
	made = deflate_zlib(CLUSTER, 12);
	for (size_t bytes = 0; bytes < made; bytes += bytes < made - 16 ? 509 : 1) {
		int res = inflate_copy(QCOW2_ZLIB, bytes);

		/* The mark of the end may lack: what counts is that the cluster is full. */
		cr_expect(res == -EIO || memcmp(out, content, CLUSTER) == 0, "%zu", bytes);
	}
	made = deflate_zstd(CLUSTER);
	for (size_t bytes = 0; bytes < made; bytes += 509)
		cr_expect_eq(inflate_copy(QCOW2_ZSTD, bytes), -EIO, "%zu", bytes);
}

Test(qcow2_inflate, less_or_more_than_a_cluster)
{
	fill(3);
	cr_expect_eq(inflate_copy(QCOW2_ZLIB, deflate_zlib(CLUSTER - 1, 12)), -EIO);
	cr_expect_eq(inflate_copy(QCOW2_ZSTD, deflate_zstd(CLUSTER - 1)), -EIO);
	for (int type = QCOW2_ZLIB; type <= QCOW2_ZSTD; type++) {
		size_t made =
			type == QCOW2_ZLIB ? deflate_zlib(CLUSTER, 12) : deflate_zstd(CLUSTER);
		uint8_t small[4096];

		/* zlib fills what it is given; zstd's frame has to fit. */
		cr_expect_eq(qcow2_inflate((enum qcow2_compression)type, deflated, made, small,
					   sizeof(small)),
			     type == QCOW2_ZLIB ? 0 : -EIO);
	}
}

Test(qcow2_inflate, noise)
{
	unsigned seed = 7;

	for (unsigned round = 0; round < 200; round++) {
		for (size_t i = 0; i < 2048; i++) {
			seed = seed * 1103515245u + 12345u;
			deflated[i] = (uint8_t)(seed >> 24);
		}
		cr_expect_eq(inflate_copy(QCOW2_ZLIB, 2048), -EIO);
		/* And behind a frame's magic number. */
		memcpy(deflated, "\x28\xb5\x2f\xfd", 4);
		cr_expect_eq(inflate_copy(QCOW2_ZSTD, 2048), -EIO);
	}
}

/* A frame to be skipped may come before any other in zstd, not in an image. */
Test(qcow2_inflate, a_frame_to_be_skipped)
{
	static const uint8_t skipped[] = {0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0};
	size_t made;

	fill(4);
	made = deflate_zstd(CLUSTER);
	memmove(deflated + sizeof(skipped), deflated, made);
	memcpy(deflated, skipped, sizeof(skipped));
	cr_expect_eq(inflate_copy(QCOW2_ZSTD, made + sizeof(skipped)), -EIO);
}

/* A frame whose header asks for a window of 128 GiB gets none. */
Test(qcow2_inflate, a_frame_that_wants_a_large_window)
{
	/* Not a single segment, no size; window descriptor; a last raw block of one byte. */
	static const uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xd8, 0x09, 0x00, 0x00, 'x'};

	memcpy(deflated, frame, sizeof(frame));
	cr_expect_eq(inflate_copy(QCOW2_ZSTD, sizeof(frame)), -EIO);
}
