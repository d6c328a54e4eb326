/*
 * The header: bytes to values and back. Pure; any thread. It holds together when it leaves here;
 * what its tables contain is check.c's.
 *
 * Read next: encode.c (the way back), entry.c.
 */
#include "lun/qcow2/format.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "lun/qcow2/header_bytes.h"

#define V2_HEADER_BYTES 72u
#define CLUSTER_BITS_MIN_EXTENDED 14u
#define REFCOUNT_ORDER_MAX 6u
#define REFCOUNT_ORDER_V2 4u
#define L1_ENTRY_BYTES 8u
#define SNAPSHOT_BYTES_MIN 40u
#define BITMAP_ENTRY_BYTES_MIN 24u
#define BITMAPS_EXTENSION_BYTES 24u
#define SECTOR_BYTES 512u

#define INCOMPATIBLE_KNOWN                                                          \
	((uint64_t)(QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_CORRUPT |         \
		    QCOW2_INCOMPATIBLE_DATA_FILE | QCOW2_INCOMPATIBLE_COMPRESSION | \
		    QCOW2_INCOMPATIBLE_EXTENDED_L2))

/* One header that is being read. */
struct parse {
	const uint8_t *bytes;
	size_t length;
	uint64_t file_bytes;
	struct qcow2_header *out;
	char *why;
	size_t why_bytes;
	uint64_t backing_offset;
	uint32_t backing_bytes;
	uint32_t extensions_seen; /* Bit for each row of extension_readers. */
};

static int PRINTF_LIKE(3, 4) refuse(const struct parse *parse, int error, const char *text, ...)
{
	va_list args;

	va_start(args, text);
	(void)vsnprintf(parse->why, parse->why_bytes, text, args);
	va_end(args);
	return error;
}

static uint32_t cluster_bytes_of(const struct qcow2_header *header)
{
	return UINT32_C(1) << header->cluster_bits;
}

int qcow2_header_peek(const void *bytes, uint32_t *cluster_bits)
{
	const uint8_t *p = bytes;

	*cluster_bits = get_be32(p + 20);
	return get_be32(p) == MAGIC && *cluster_bits >= QCOW2_CLUSTER_BITS_MIN &&
			       *cluster_bits <= QCOW2_CLUSTER_BITS_MAX
		       ? 0
		       : -EINVAL;
}

/* -- Fields -- */

static int check_start(const struct parse *parse)
{
	const struct qcow2_header *h = parse->out;

	if (h->version < 2 || h->version > 3)
		return refuse(parse, -ENOTSUP, "it has version %u of the format, known are 2 and 3",
			      h->version);
	if (h->cluster_bits < QCOW2_CLUSTER_BITS_MIN || h->cluster_bits > QCOW2_CLUSTER_BITS_MAX)
		return refuse(parse, -ENOTSUP, "cluster_bits is %u, known are %u to %u",
			      h->cluster_bits, QCOW2_CLUSTER_BITS_MIN, QCOW2_CLUSTER_BITS_MAX);
	if (parse->length < QCOW2_HEADER_READ_BYTES(h->cluster_bits) &&
	    parse->length < parse->file_bytes)
		return refuse(parse, -EINVAL, "less than its first cluster was read");
	return 0;
}

static int read_v2_fields(struct parse *parse)
{
	struct byte_reader in = byte_reader_make(parse->bytes, parse->length);
	struct qcow2_header *h = parse->out;
	uint32_t magic = byte_reader_be32(&in);
	uint32_t encryption;
	int res;

	if (magic != MAGIC)
		return refuse(parse, -EINVAL,
			      "it is no qcow2: it does not begin with \"QFI\\xfb\"");
	h->version = byte_reader_be32(&in);
	parse->backing_offset = byte_reader_be64(&in);
	parse->backing_bytes = byte_reader_be32(&in);
	h->cluster_bits = byte_reader_be32(&in);
	h->size_bytes = byte_reader_be64(&in);
	encryption = byte_reader_be32(&in);
	h->l1_entries = byte_reader_be32(&in);
	h->l1_offset = byte_reader_be64(&in);
	h->refcount_table_offset = byte_reader_be64(&in);
	h->refcount_table_clusters = byte_reader_be32(&in);
	h->snapshot_count = byte_reader_be32(&in);
	h->snapshots_offset = byte_reader_be64(&in);
	if (in.failed)
		return refuse(parse, -EINVAL, "its header is cut short");
	res = check_start(parse);
	if (res == 0 && encryption != 0)
		res = refuse(parse, -ENOTSUP, "it is encrypted, by method %u", encryption);
	return res;
}

static int read_v3_fields(struct parse *parse)
{
	struct byte_reader in = byte_reader_make(parse->bytes, parse->length);
	struct qcow2_header *h = parse->out;

	byte_reader_skip(&in, V2_HEADER_BYTES);
	h->incompatible = byte_reader_be64(&in);
	h->compatible = byte_reader_be64(&in);
	h->autoclear = byte_reader_be64(&in);
	h->refcount_order = byte_reader_be32(&in);
	h->header_bytes = byte_reader_be32(&in);
	if (in.failed)
		return refuse(parse, -EINVAL, "its header is cut short");
	if (h->header_bytes < V3_HEADER_BYTES || h->header_bytes % 8 != 0)
		return refuse(parse, -EINVAL, "header_length is %u, not a multiple of 8 from %u on",
			      h->header_bytes, V3_HEADER_BYTES);
	if (h->header_bytes > cluster_bytes_of(h) || h->header_bytes > parse->length)
		return refuse(parse, -EINVAL, "header_length is %u, beyond the first cluster",
			      h->header_bytes);
	if (h->refcount_order > REFCOUNT_ORDER_MAX)
		return refuse(parse, -EINVAL, "refcount_order is %u, the largest is %u",
			      h->refcount_order, REFCOUNT_ORDER_MAX);
	/* "A field is considered not present when header_length is less than or equal to the
	 * field's offset." */
	if (h->header_bytes > V3_HEADER_BYTES)
		h->compression = (enum qcow2_compression)parse->bytes[V3_HEADER_BYTES];
	return 0;
}

static int read_fields(struct parse *parse)
{
	int res = read_v2_fields(parse);

	if (res != 0)
		return res;
	parse->out->header_bytes = V2_HEADER_BYTES;
	parse->out->refcount_order = REFCOUNT_ORDER_V2;
	return parse->out->version >= 3 ? read_v3_fields(parse) : 0;
}

/* -- Header extensions -- */

struct extension {
	uint32_t type;
	uint32_t length;
	const uint8_t *data;
};

/* The next one from *offset on, END where the area ends without one. -EINVAL: it is longer than the
 * area. */
static int next_extension(const struct parse *parse, uint32_t *offset, struct extension *out)
{
	uint32_t cluster = cluster_bytes_of(parse->out);
	uint64_t end = parse->backing_offset != 0 && parse->backing_offset < cluster
			       ? parse->backing_offset
			       : cluster;
	struct byte_reader in;

	*out = (struct extension){.type = EXTENSION_END};
	if (end > parse->length)
		end = parse->length;
	if (*offset >= end)
		return 0;
	in = byte_reader_make(parse->bytes + *offset, (size_t)end - *offset);
	out->type = byte_reader_be32(&in);
	out->length = byte_reader_be32(&in);
	if (!in.failed && out->type == EXTENSION_END) {
		*offset += 8;
		return 0;
	}
	out->data = byte_reader_take(&in, out->length);
	if (in.failed)
		return -EINVAL;
	*offset += 8 + (out->length + 7) / 8 * 8;
	return 0;
}

static int read_backing_format(struct parse *parse, const struct extension *extension)
{
	char *format = parse->out->backing_format;

	if (extension->length >= sizeof(parse->out->backing_format) ||
	    memchr(extension->data, '\0', extension->length) != NULL)
		return refuse(parse, -EINVAL, "the format of its backing file is no name");
	memcpy(format, extension->data, extension->length);
	format[extension->length] = '\0';
	return 0;
}

static int read_nothing(struct parse *parse UNUSED, const struct extension *extension UNUSED)
{
	return 0;
}

static int read_bitmaps(struct parse *parse, const struct extension *extension)
{
	struct qcow2_header *h = parse->out;
	struct byte_reader in = byte_reader_make(extension->data, extension->length);
	uint32_t count = byte_reader_be32(&in);
	uint32_t reserved = byte_reader_be32(&in);
	uint64_t bytes = byte_reader_be64(&in);
	uint64_t offset = byte_reader_be64(&in);

	/* Without the autoclear feature they are out of date, and may point anywhere. */
	if ((h->autoclear & QCOW2_AUTOCLEAR_BITMAPS) == 0)
		return 0;
	if (extension->length != BITMAPS_EXTENSION_BYTES || reserved != 0 || count == 0)
		return refuse(parse, -EINVAL, "its bitmaps extension is malformed");
	if (count > QCOW2_BITMAPS_MAX)
		return refuse(parse, -ENOTSUP, "it has %u bitmaps, at most %u are known", count,
			      QCOW2_BITMAPS_MAX);
	if (bytes > QCOW2_BITMAP_DIRECTORY_BYTES_MAX)
		return refuse(parse, -ENOTSUP, "its bitmap directory is larger than 64 MiB");
	if (bytes < (uint64_t)count * BITMAP_ENTRY_BYTES_MIN)
		return refuse(parse, -EINVAL, "its bitmap directory is shorter than its entries");
	h->bitmap_count = count;
	h->bitmap_directory_bytes = bytes;
	h->bitmap_directory_offset = offset;
	return 0;
}

static int refuse_encryption(struct parse *parse, const struct extension *extension UNUSED)
{
	return refuse(parse, -EINVAL, "it points to an encryption header, but is not encrypted");
}

static int refuse_data_file(struct parse *parse, const struct extension *extension UNUSED)
{
	/* With the feature it has been refused already. */
	return refuse(parse, -EINVAL, "it names a data file, but has none");
}

static const struct extension_reader {
	uint32_t type;
	int (*read)(struct parse *parse, const struct extension *extension);
} extension_readers[] = {
	{(uint32_t)EXTENSION_BACKING_FORMAT, read_backing_format},
	{EXTENSION_FEATURE_NAMES, read_nothing},
	{EXTENSION_BITMAPS, read_bitmaps},
	{EXTENSION_ENCRYPTION, refuse_encryption},
	{EXTENSION_DATA_FILE, refuse_data_file},
};

static size_t find_reader(uint32_t type)
{
	size_t i = 0;

	while (i < ARRAY_SIZE(extension_readers) && extension_readers[i].type != type)
		i++;
	return i;
}

static int read_extension(struct parse *parse, const struct extension *extension)
{
	size_t row = find_reader(extension->type);

	/* "Unknown header extension, can be safely ignored" */
	if (row == ARRAY_SIZE(extension_readers))
		return 0;
	if ((parse->extensions_seen & 1u << row) != 0)
		return refuse(parse, -EINVAL, "it has the header extension 0x%08x two times",
			      extension->type);
	parse->extensions_seen |= 1u << row;
	return extension_readers[row].read(parse, extension);
}

static int read_extensions(struct parse *parse)
{
	uint32_t offset = parse->out->header_bytes;
	struct extension extension;
	int res = 0;

	do {
		if (next_extension(parse, &offset, &extension) != 0)
			return refuse(parse, -EINVAL,
				      "the header extension at %u is longer than its room", offset);
		if (extension.type != EXTENSION_END)
			res = read_extension(parse, &extension);
	} while (res == 0 && extension.type != EXTENSION_END);
	parse->out->extensions_end = offset;
	return res;
}

/* -- Features -- */

/* The name that the image gives to an incompatible feature that we do not know. */
static void name_feature(const struct parse *parse, unsigned bit, char *name, size_t name_bytes)
{
	uint32_t offset = parse->out->header_bytes;
	struct extension extension;

	(void)snprintf(name, name_bytes, "incompatible feature bit %u", bit);
	while (next_extension(parse, &offset, &extension) == 0 && extension.type != EXTENSION_END) {
		if (extension.type != EXTENSION_FEATURE_NAMES)
			continue;
		for (uint32_t i = 0; i + FEATURE_BYTES <= extension.length; i += FEATURE_BYTES) {
			const uint8_t *row = extension.data + i;

			if (row[0] == 0 && row[1] == bit)
				(void)snprintf(name, name_bytes, "%.*s", (int)FEATURE_NAME_BYTES,
					       (const char *)row + 2);
		}
	}
	/* It goes into logs. */
	for (char *p = name; *p != '\0'; p++) {
		if (*p < ' ' || *p > '~')
			*p = '?';
	}
}

/* qcow2 bits 2 and 3 of incompatible_features, 1 of autoclear_features, compression_type. */
static int check_features(const struct parse *parse)
{
	const struct qcow2_header *h = parse->out;
	uint64_t unknown = h->incompatible & ~INCOMPATIBLE_KNOWN;
	bool other = (h->incompatible & QCOW2_INCOMPATIBLE_COMPRESSION) != 0;
	char name[FEATURE_NAME_BYTES + 1];

	if (unknown != 0) {
		name_feature(parse, (unsigned)__builtin_ctzll(unknown), name, sizeof(name));
		return refuse(parse, -ENOTSUP, "it needs a feature that is not known here: %s",
			      name);
	}
	if ((h->incompatible & QCOW2_INCOMPATIBLE_DATA_FILE) != 0)
		return refuse(parse, -ENOTSUP, "its data lie in an external file");
	if ((h->autoclear & QCOW2_AUTOCLEAR_RAW_DATA) != 0)
		return refuse(parse, -EINVAL,
			      "it has a raw external data file, but no external data file");
	if (other != (h->compression != QCOW2_ZLIB))
		return refuse(parse, -EINVAL,
			      "compression_type is %u, which the compression type bit contradicts",
			      (unsigned)h->compression);
	if ((unsigned)h->compression > QCOW2_ZSTD)
		return refuse(parse, -ENOTSUP, "compression_type %u is not known",
			      (unsigned)h->compression);
	if ((h->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2) != 0 &&
	    h->cluster_bits < CLUSTER_BITS_MIN_EXTENDED)
		return refuse(parse, -EINVAL, "extended L2 entries need cluster_bits %u, it has %u",
			      CLUSTER_BITS_MIN_EXTENDED, h->cluster_bits);
	return 0;
}

/* -- Backing file -- */

static int read_backing_name(struct parse *parse)
{
	struct qcow2_header *h = parse->out;
	uint64_t end;

	if (parse->backing_offset == 0)
		return 0;
	if (parse->backing_bytes > QCOW2_BACKING_NAME_MAX)
		return refuse(parse, -EINVAL,
			      "the backing file's name has %u bytes, at most %u are allowed",
			      parse->backing_bytes, QCOW2_BACKING_NAME_MAX);
	if (!checked_add(parse->backing_offset, parse->backing_bytes, &end) ||
	    end > cluster_bytes_of(h) || end > parse->length)
		return refuse(parse, -EINVAL,
			      "the backing file's name lies outside of the first cluster");
	if (parse->backing_offset < h->extensions_end)
		return refuse(parse, -EINVAL,
			      "the backing file's name lies in the header or its extensions");
	if (memchr(parse->bytes + parse->backing_offset, '\0', parse->backing_bytes) != NULL)
		return refuse(parse, -EINVAL, "the backing file's name contains a zero byte");
	memcpy(h->backing_name, parse->bytes + parse->backing_offset, parse->backing_bytes);
	h->backing_name[parse->backing_bytes] = '\0';
	return 0;
}

const char *qcow2_backing_name_wrong(const char *name)
{
	size_t bytes = strlen(name);

	if (bytes == 0 || bytes > NAME_MAX)
		return "it has no or more than 255 bytes";
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strchr(name, '/') != NULL)
		return "it is a path";
	if (strchr(name, ':') != NULL)
		return "it has a colon, as if it named a protocol";
	for (const char *p = name; *p != '\0'; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return "it contains a control character";
	}
	return NULL;
}

/* -- Places of tables -- */

static int check_place(const struct parse *parse, const char *what, uint64_t offset, uint64_t bytes)
{
	uint32_t cluster = cluster_bytes_of(parse->out);

	if ((offset & (cluster - 1)) != 0)
		return refuse(parse, -EINVAL, "the %s is not aligned to a cluster", what);
	if (offset == 0)
		return refuse(parse, -EINVAL, "the %s lies in the header", what);
	if (!checked_range(offset, bytes, parse->file_bytes))
		return refuse(parse, -EINVAL, "the %s does not lie in the file", what);
	return 0;
}

static int check_l1(const struct parse *parse)
{
	const struct qcow2_header *h = parse->out;
	struct qcow2_geometry geometry;
	uint64_t needed;

	qcow2_geometry_of(h, &geometry);
	if (h->size_bytes > QCOW2_SIZE_MAX)
		return refuse(parse, -ENOTSUP, "its disk is larger than 64 TiB");
	if (h->size_bytes % SECTOR_BYTES != 0)
		return refuse(parse, -ENOTSUP,
			      "the size of its disk is not a multiple of 512 bytes");
	if (h->l1_entries > QCOW2_L1_BYTES_MAX / L1_ENTRY_BYTES)
		return refuse(parse, -ENOTSUP, "the L1 table is larger than 32 MiB");
	needed = (h->size_bytes + (UINT64_C(1) << geometry.l1_shift) - 1) >> geometry.l1_shift;
	if (h->l1_entries < needed)
		return refuse(parse, -EINVAL, "the L1 table has %u entries, its disk needs %llu",
			      h->l1_entries, (unsigned long long)needed);
	if (h->l1_entries == 0)
		return 0;
	return check_place(parse, "L1 table", h->l1_offset,
			   (uint64_t)h->l1_entries * L1_ENTRY_BYTES);
}

static int check_refcount_table(const struct parse *parse)
{
	const struct qcow2_header *h = parse->out;
	uint64_t bytes = (uint64_t)h->refcount_table_clusters << h->cluster_bits;
	uint64_t l1_end = h->l1_offset + (uint64_t)h->l1_entries * L1_ENTRY_BYTES;
	int res;

	if (h->refcount_table_clusters == 0)
		return refuse(parse, -EINVAL, "it has no refcount table");
	if (bytes > QCOW2_REFCOUNT_TABLE_BYTES_MAX)
		return refuse(parse, -ENOTSUP, "the refcount table is larger than 8 MiB");
	res = check_place(parse, "refcount table", h->refcount_table_offset, bytes);
	if (res != 0)
		return res;
	if (h->l1_entries > 0 && h->l1_offset < h->refcount_table_offset + bytes &&
	    h->refcount_table_offset < l1_end)
		return refuse(parse, -EINVAL, "the L1 table and the refcount table overlap");
	return 0;
}

static int check_snapshots(const struct parse *parse)
{
	const struct qcow2_header *h = parse->out;

	if (h->snapshot_count == 0)
		return 0;
	if (h->snapshot_count > QCOW2_SNAPSHOTS_MAX)
		return refuse(parse, -ENOTSUP, "it has %u snapshots, at most %u are known",
			      h->snapshot_count, QCOW2_SNAPSHOTS_MAX);
	return check_place(parse, "snapshot table", h->snapshots_offset,
			   (uint64_t)h->snapshot_count * SNAPSHOT_BYTES_MIN);
}

static int check_bitmaps(const struct parse *parse)
{
	const struct qcow2_header *h = parse->out;

	if ((h->autoclear & QCOW2_AUTOCLEAR_BITMAPS) == 0)
		return 0;
	if (h->bitmap_count == 0)
		return refuse(parse, -EINVAL, "it has bitmaps, but no bitmaps extension");
	return check_place(parse, "bitmap directory", h->bitmap_directory_offset,
			   h->bitmap_directory_bytes);
}

int qcow2_header_parse(const void *bytes, size_t length, uint64_t file_bytes,
		       struct qcow2_header *out, char *why, size_t why_bytes)
{
	static int (*const checks[])(const struct parse *parse) = {
		check_l1,
		check_refcount_table,
		check_snapshots,
		check_bitmaps,
	};
	struct parse parse = {
		.bytes = bytes,
		.length = length,
		.file_bytes = file_bytes,
		.out = out,
		.why_bytes = why_bytes,
	};
	int res;

	parse.why = why;
	memset(out, 0, sizeof(*out));
	res = read_fields(&parse);
	if (res == 0)
		res = check_features(&parse);
	if (res == 0)
		res = read_extensions(&parse);
	if (res == 0)
		res = read_backing_name(&parse);
	for (size_t i = 0; res == 0 && i < ARRAY_SIZE(checks); i++)
		res = checks[i](&parse);
	return res;
}
