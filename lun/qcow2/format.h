/*
 * The qcow2 format as values: header and extensions, entries of the L1 table, of L2 tables
 * (standard and extended) and of the refcount table. Pure functions over bounded bytes: no I/O, no
 * memory, any thread. Numbers of the format are checked here and nowhere else; what comes out may
 * be used without further checks, but for what only the rest of the file can tell (check.h).
 *
 * Clauses are those of qemu's docs/interop/qcow2 ("qcow2"). Read next: format.c (header), entry.c
 * (geometry and entries), then check.h.
 */
#ifndef LUN_QCOW2_FORMAT_H
#define LUN_QCOW2_FORMAT_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QCOW2_CLUSTER_BITS_MIN 9u
#define QCOW2_CLUSTER_BITS_MAX 21u
#define QCOW2_SUBCLUSTERS 32u
/* Ours, below the format's: 64 TiB, and qemu's bounds of the tables. */
#define QCOW2_SIZE_MAX (UINT64_C(64) << 40)
#define QCOW2_L1_BYTES_MAX (UINT32_C(32) << 20)
#define QCOW2_REFCOUNT_TABLE_BYTES_MAX (UINT32_C(8) << 20)
#define QCOW2_BACKING_NAME_MAX 1023u
#define QCOW2_SNAPSHOTS_MAX 65536u
#define QCOW2_BITMAPS_MAX 65535u
#define QCOW2_BITMAP_DIRECTORY_BYTES_MAX (UINT32_C(64) << 20)
/* What qcow2_header_parse wants to see, if the file has as much: header, extensions and the backing
 * file's name lie in the first cluster. */
#define QCOW2_HEADER_READ_BYTES(cluster_bits) ((size_t)1 << (cluster_bits))
/* The start of a file that tells how large its clusters are. */
#define QCOW2_PEEK_BYTES 24u

/* Bits of the three sets of features. */
enum {
	QCOW2_INCOMPATIBLE_DIRTY = 1 << 0,
	QCOW2_INCOMPATIBLE_CORRUPT = 1 << 1,
	QCOW2_INCOMPATIBLE_DATA_FILE = 1 << 2,
	QCOW2_INCOMPATIBLE_COMPRESSION = 1 << 3,
	QCOW2_INCOMPATIBLE_EXTENDED_L2 = 1 << 4,
	QCOW2_COMPATIBLE_LAZY_REFCOUNTS = 1 << 0,
	QCOW2_AUTOCLEAR_BITMAPS = 1 << 0,
	QCOW2_AUTOCLEAR_RAW_DATA = 1 << 1,
};

enum qcow2_compression {
	QCOW2_ZLIB,
	QCOW2_ZSTD,
};

/* A header that holds together: offsets are aligned, tables within their bounds and large enough
 * for the size; nothing overlaps the header. Version 2 is shown as version 3 would be. */
struct qcow2_header {
	uint32_t version; /* 2 or 3. */
	uint32_t cluster_bits;
	uint64_t size_bytes; /* Of the guest's disk. A multiple of 512. */
	uint64_t l1_offset;
	uint32_t l1_entries; /* In the file; at least as many as the size needs. */
	uint64_t refcount_table_offset;
	uint32_t refcount_table_clusters;
	uint32_t refcount_order; /* Bits of a refcount: 1 << this. 0 to 6. */
	uint32_t snapshot_count;
	uint64_t snapshots_offset;
	uint64_t incompatible, compatible, autoclear;
	enum qcow2_compression compression;
	uint32_t header_bytes;
	uint32_t extensions_end; /* Offset behind the end of the header extensions. */
	char backing_name[QCOW2_BACKING_NAME_MAX + 1]; /* "": none. As it stands in the file. */
	char backing_format[16];                       /* "": not told. */
	/* Stored bitmaps, where the autoclear feature says that they are consistent; else zeroes.
	 */
	uint32_t bitmap_count;
	uint64_t bitmap_directory_offset, bitmap_directory_bytes;
};

/* The cluster_bits of a file that begins with QCOW2_PEEK_BYTES `bytes`: how much of it to read for
 * qcow2_header_parse. -EINVAL: it is no qcow2, or has another size of clusters than there are. */
int MUST_CHECK qcow2_header_peek(const void *bytes, uint32_t *cluster_bits);
/*
 * Read a header from the first `length` bytes of a file of file_bytes. Negative errno and one
 * sentence in `why` (saying what is wrong, in the words of the format): -EINVAL for what is no
 * qcow2 or contradicts itself, -ENOTSUP for what it may contain but we refuse (encryption, external
 * data files, unknown incompatible features). `dirty` and `corrupt` are for the caller to judge.
 */
int MUST_CHECK qcow2_header_parse(const void *bytes, size_t length, uint64_t file_bytes,
				  struct qcow2_header *out, char *why, size_t why_bytes);
/* What is wrong with a backing file's name that is to be opened from where the image lies, or NULL:
 * it is one name of a file, no path, no protocol ("json:", "nbd://"), and fit for a log. */
const char *qcow2_backing_name_wrong(const char *name);
/*
 * Make the first cluster of a file that we write: version 3, with the extensions for the backing
 * format and the names of features, zeroes behind. -EINVAL: it does not fit into `length` bytes.
 */
int MUST_CHECK qcow2_header_encode(const struct qcow2_header *header, void *bytes, size_t length);

/* What follows from the header: sizes and shifts. */
struct qcow2_geometry {
	uint32_t cluster_bits;
	uint32_t cluster_bytes;
	uint32_t subcluster_bits; /* cluster_bits where the image has no extended L2. */
	bool extended;
	bool zero_flag;          /* A standard L2 entry may say QCOW2_ZERO: version 3. */
	uint32_t l2_entry_bytes; /* 8, or 16 extended. */
	uint32_t l2_entries;     /* Of a table, one cluster. */
	uint32_t l1_shift;       /* Guest offset to index of the L1 table. */
	uint32_t refcount_order;
	uint32_t refcount_block_entries; /* Of a refcount block, one cluster. */
	/* The part of an L2 table or refcount block that is read, cached and written at once: 4
	 * KiB, or a cluster where that is smaller. */
	uint32_t slice_bytes;
	uint32_t slice_entries; /* L2 entries of a slice. */
};

void qcow2_geometry_of(const struct qcow2_header *header, struct qcow2_geometry *out);

/* -- Entries, as 64-bit numbers in the CPU's order -- */

#define QCOW2_COPIED (UINT64_C(1) << 63)     /* L1, L2: the refcount is exactly 1. */
#define QCOW2_COMPRESSED (UINT64_C(1) << 62) /* L2. */
#define QCOW2_ZERO UINT64_C(1)               /* L2, standard, version 3: reads as zeroes. */
#define QCOW2_OFFSET_MASK UINT64_C(0x00fffffffffffe00)

/* Where an L1 table's entry points to, or a refcount table's, which knows no COPIED; 0: nowhere.
 * -EINVAL: reserved bits, not aligned, COPIED without a table. */
int MUST_CHECK qcow2_l1_decode(uint64_t entry, const struct qcow2_geometry *geometry,
			       uint64_t *offset);
int MUST_CHECK qcow2_refcount_table_decode(uint64_t entry, const struct qcow2_geometry *geometry,
					   uint64_t *offset);

enum qcow2_state {
	QCOW2_UNALLOCATED, /* The backing file shows, or zeroes. */
	QCOW2_ALLOCATED,   /* Data in the host cluster. */
	QCOW2_READS_ZERO,  /* Zeroes, whatever lies below; it may have a host cluster all the same.
			    */
	QCOW2_DEFLATED,    /* A compressed cluster, whole. */
};

/* An L2 entry. Of a standard one, each bit of `allocated` and `zero` says the same. */
struct qcow2_l2_entry {
	uint64_t host_offset; /* Of the cluster, or of the compressed data; 0: none. */
	bool copied;
	bool compressed;
	uint32_t allocated; /* Bit for each subcluster. No bit is in both. */
	uint32_t zero;
	uint32_t
		deflated_bytes; /* Of compressed data, at most: up to the end of the last sector. */
};

/* `raw` is the entry, `bitmap` the second half of an extended one, else 0. -EINVAL: reserved bits,
 * not aligned, both states for one subcluster, bits without a cluster. */
int MUST_CHECK qcow2_l2_decode(uint64_t raw, uint64_t bitmap, const struct qcow2_geometry *geometry,
			       struct qcow2_l2_entry *out);
/* Not for compressed ones, which we never write. A standard entry is all of one state. */
void qcow2_l2_encode(const struct qcow2_l2_entry *entry, const struct qcow2_geometry *geometry,
		     uint64_t *raw, uint64_t *bitmap);
/* The state from `subcluster` on, and in *count for how many it is the same; up to all 32 also
 * where the image has no subclusters. */
enum qcow2_state qcow2_l2_state(const struct qcow2_l2_entry *entry, unsigned subcluster,
				unsigned *count);

/* Refcount `index` of a block (or slice of one), for any refcount_order. */
uint64_t qcow2_refcount_get(const void *block, uint32_t index, uint32_t refcount_order);
void qcow2_refcount_set(void *block, uint32_t index, uint32_t refcount_order, uint64_t value);

#endif
