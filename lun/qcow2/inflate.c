/*
 * zlib (a raw deflate stream, RFC 1951) and zstd (RFC 8878). Any thread.
 */
#define ZLIB_CONST /* Its input is not written to. */
#include "lun/qcow2/inflate.h"

#include <errno.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/bytes.h"

/* Whoever wrote it may have used the largest window; with all output at one place none is made. */
#define RAW_DEFLATE (-MAX_WBITS)

/* "Decompression stops when it has produced a cluster of data", with or without an end. */
static int zlib_result(int res, const z_stream *stream)
{
	if (res == Z_MEM_ERROR)
		return -ENOMEM;
	return (res == Z_STREAM_END || res == Z_BUF_ERROR) && stream->avail_out == 0 ? 0 : -EIO;
}

static int inflate_zlib(const void *deflated, size_t deflated_bytes, void *cluster,
			size_t cluster_bytes)
{
	z_stream stream = {
		.next_in = deflated,
		.avail_in = (uInt)deflated_bytes,
		.next_out = cluster,
		.avail_out = (uInt)cluster_bytes,
	};
	int res = inflateInit2(&stream, RAW_DEFLATE);

	if (res != Z_OK)
		return zlib_result(res, &stream);
	res = inflate(&stream, Z_FINISH);
	(void)inflateEnd(&stream);
	return zlib_result(res, &stream);
}

/* The library may know formats of older days, and frames to be skipped; images have neither. */
static size_t frame_bytes(const uint8_t *in, size_t bytes)
{
	if (bytes < sizeof(uint32_t) || get_le32(in) != ZSTD_MAGICNUMBER)
		return (size_t)-ZSTD_error_prefix_unknown;
	return ZSTD_findFrameCompressedSize(in, bytes);
}

static int zstd_error(size_t res)
{
	return ZSTD_getErrorCode(res) == ZSTD_error_memory_allocation ? -ENOMEM : -EIO;
}

/* Frame by frame, each whole into its place: so the frame's own word for its window, which could
 * ask for a gigabyte, means nothing. */
static int inflate_zstd(const void *deflated, size_t deflated_bytes, void *cluster,
			size_t cluster_bytes)
{
	ZSTD_DCtx *context = ZSTD_createDCtx();
	const uint8_t *in = deflated;
	uint8_t *out = cluster;
	size_t left = cluster_bytes;
	int res = context != NULL ? 0 : -ENOMEM;

	while (res == 0 && left > 0) {
		size_t frame = frame_bytes(in, deflated_bytes);
		size_t made = ZSTD_isError(frame)
				      ? frame
				      : ZSTD_decompressDCtx(context, out, left, in, frame);

		if (ZSTD_isError(made)) {
			res = zstd_error(made);
		} else {
			in += frame;
			deflated_bytes -= frame;
			out += made;
			left -= made;
		}
	}
	(void)ZSTD_freeDCtx(context);
	return res;
}

int qcow2_inflate(enum qcow2_compression type, const void *deflated, size_t deflated_bytes,
		  void *cluster, size_t cluster_bytes)
{
	if (type == QCOW2_ZSTD)
		return inflate_zstd(deflated, deflated_bytes, cluster, cluster_bytes);
	return inflate_zlib(deflated, deflated_bytes, cluster, cluster_bytes);
}
