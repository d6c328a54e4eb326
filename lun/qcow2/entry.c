/*
 * Geometry, entries of tables and refcounts: numbers to values and back. Pure; any thread. Bits are
 * those of qcow2, "Host cluster management", "Cluster mapping" and "Extended L2 Entries".
 *
 * Read next: check.c, which judges whole tables.
 */
#include "lun/qcow2/format.h"

#include <assert.h>
#include <errno.h>

#include "base/bytes.h"

#define SLICE_BYTES 4096u
#define SECTOR_BITS 9u
#define SECTOR_BYTES (1u << SECTOR_BITS)
#define ALL_SUBCLUSTERS UINT32_MAX
/* Bits 1 to 8 and 56 to 61 of a standard cluster descriptor. */
#define L2_RESERVED (~(QCOW2_COPIED | QCOW2_COMPRESSED | QCOW2_OFFSET_MASK | QCOW2_ZERO))
#define L1_RESERVED (~(QCOW2_COPIED | QCOW2_OFFSET_MASK))
#define REFCOUNT_TABLE_RESERVED UINT64_C(0x1ff)

void qcow2_geometry_of(const struct qcow2_header *header, struct qcow2_geometry *out)
{
	bool extended = (header->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2) != 0;
	uint32_t cluster_bytes = UINT32_C(1) << header->cluster_bits;
	uint32_t entry_bits = extended ? 4 : 3;
	uint32_t slice_bytes = cluster_bytes < SLICE_BYTES ? cluster_bytes : SLICE_BYTES;

	*out = (struct qcow2_geometry){
		.cluster_bits = header->cluster_bits,
		.cluster_bytes = cluster_bytes,
		.subcluster_bits = extended ? header->cluster_bits - 5 : header->cluster_bits,
		.extended = extended,
		.zero_flag = header->version >= 3 && !extended,
		.l2_entry_bytes = UINT32_C(1) << entry_bits,
		.l2_entries = cluster_bytes >> entry_bits,
		.l1_shift = 2 * header->cluster_bits - entry_bits,
		.refcount_order = header->refcount_order,
		.refcount_block_entries = cluster_bytes * 8 >> header->refcount_order,
		.slice_bytes = slice_bytes,
		.slice_entries = slice_bytes >> entry_bits,
	};
}

static bool is_aligned(uint64_t offset, const struct qcow2_geometry *geometry)
{
	return (offset & (geometry->cluster_bytes - 1)) == 0;
}

int qcow2_l1_decode(uint64_t entry, const struct qcow2_geometry *geometry, uint64_t *offset)
{
	*offset = entry & QCOW2_OFFSET_MASK;
	if ((entry & L1_RESERVED) != 0 || !is_aligned(*offset, geometry))
		return -EINVAL;
	return *offset == 0 && entry != 0 ? -EINVAL : 0;
}

int qcow2_refcount_table_decode(uint64_t entry, const struct qcow2_geometry *geometry,
				uint64_t *offset)
{
	*offset = entry;
	return (entry & REFCOUNT_TABLE_RESERVED) == 0 && is_aligned(entry, geometry) ? 0 : -EINVAL;
}

/* "Compressed Clusters Descriptor": offset below bit x, additional sectors above. They are bounded
 * by their bits: together at most two clusters. */
static int decode_compressed(uint64_t raw, uint64_t bitmap, const struct qcow2_geometry *geometry,
			     struct qcow2_l2_entry *out)
{
	uint32_t x = 62 - (geometry->cluster_bits - 8);
	uint64_t offset = raw & ((UINT64_C(1) << x) - 1);
	uint64_t more = (raw & (QCOW2_COMPRESSED - 1)) >> x;

	if ((raw & QCOW2_COPIED) != 0 || bitmap != 0 || offset == 0 || offset >> 56 != 0)
		return -EINVAL;
	out->compressed = true;
	out->host_offset = offset;
	out->deflated_bytes = (uint32_t)((more + 1) * SECTOR_BYTES - (offset & (SECTOR_BYTES - 1)));
	return 0;
}

static int decode_standard(uint64_t raw, const struct qcow2_geometry *geometry,
			   struct qcow2_l2_entry *out)
{
	if ((raw & QCOW2_ZERO) != 0) {
		if (!geometry->zero_flag)
			return -EINVAL;
		out->zero = ALL_SUBCLUSTERS;
	} else if (out->host_offset != 0) {
		out->allocated = ALL_SUBCLUSTERS;
	}
	return 0;
}

static int decode_extended(uint64_t raw, uint64_t bitmap, struct qcow2_l2_entry *out)
{
	out->allocated = (uint32_t)bitmap;
	out->zero = (uint32_t)(bitmap >> 32);
	if ((raw & QCOW2_ZERO) != 0 || (out->allocated & out->zero) != 0)
		return -EINVAL;
	return out->allocated != 0 && out->host_offset == 0 ? -EINVAL : 0;
}

int qcow2_l2_decode(uint64_t raw, uint64_t bitmap, const struct qcow2_geometry *geometry,
		    struct qcow2_l2_entry *out)
{
	*out = (struct qcow2_l2_entry){0};
	if ((raw & QCOW2_COMPRESSED) != 0)
		return decode_compressed(raw, bitmap, geometry, out);
	out->host_offset = raw & QCOW2_OFFSET_MASK;
	out->copied = (raw & QCOW2_COPIED) != 0;
	/* COPIED without a cluster is for external data files, which we refuse. */
	if ((raw & L2_RESERVED) != 0 || !is_aligned(out->host_offset, geometry) ||
	    (out->copied && out->host_offset == 0))
		return -EINVAL;
	if (geometry->extended)
		return decode_extended(raw, bitmap, out);
	return decode_standard(raw, geometry, out);
}

void qcow2_l2_encode(const struct qcow2_l2_entry *entry, const struct qcow2_geometry *geometry,
		     uint64_t *raw, uint64_t *bitmap)
{
	assert(!entry->compressed && (entry->allocated & entry->zero) == 0);
	*raw = entry->host_offset | (entry->copied ? QCOW2_COPIED : 0);
	*bitmap = 0;
	if (geometry->extended) {
		*bitmap = (uint64_t)entry->zero << 32 | entry->allocated;
	} else {
		assert(entry->zero == 0 || (entry->zero == ALL_SUBCLUSTERS && geometry->zero_flag));
		assert(entry->zero != 0 ||
		       entry->allocated == (entry->host_offset != 0 ? ALL_SUBCLUSTERS : 0));
		*raw |= entry->zero != 0 ? QCOW2_ZERO : 0;
	}
}

enum qcow2_state qcow2_l2_state(const struct qcow2_l2_entry *entry, unsigned subcluster,
				unsigned *count)
{
	uint32_t bit = UINT32_C(1) << subcluster;
	enum qcow2_state state = QCOW2_UNALLOCATED;
	uint32_t others = entry->allocated | entry->zero; /* What is in another state. */

	assert(subcluster < QCOW2_SUBCLUSTERS);
	if (entry->compressed) {
		state = QCOW2_DEFLATED;
	} else if ((entry->allocated & bit) != 0) {
		state = QCOW2_ALLOCATED;
		others = ~entry->allocated;
	} else if ((entry->zero & bit) != 0) {
		state = QCOW2_READS_ZERO;
		others = ~entry->zero;
	}
	others >>= subcluster;
	*count = others != 0 ? (unsigned)__builtin_ctz(others) : QCOW2_SUBCLUSTERS - subcluster;
	return state;
}

/* -- Refcounts: "Refcount block entry" -- */

static uint32_t bits_mask(uint32_t refcount_order)
{
	return (1u << (1u << refcount_order)) - 1;
}

/* Those of less than a byte: bit 0 is the least significant one of its byte. */
static uint64_t get_bits(const uint8_t *block, uint32_t index, uint32_t refcount_order)
{
	uint32_t bit = index << refcount_order;
	uint32_t mask = bits_mask(refcount_order);

	return (uint32_t)block[bit / 8] >> bit % 8 & mask;
}

static void set_bits(uint8_t *block, uint32_t index, uint32_t refcount_order, uint64_t value)
{
	uint32_t bit = index << refcount_order;
	uint32_t mask = bits_mask(refcount_order);

	assert(value <= mask);
	block[bit / 8] = (uint8_t)((block[bit / 8] & ~(mask << bit % 8)) | value << bit % 8);
}

uint64_t qcow2_refcount_get(const void *block, uint32_t index, uint32_t refcount_order)
{
	const uint8_t *at = (const uint8_t *)block + ((size_t)index << refcount_order) / 8;

	switch (refcount_order) {
	case 3:
		return *at;
	case 4:
		return get_be16(at);
	case 5:
		return get_be32(at);
	case 6:
		return get_be64(at);
	default:
		return get_bits(block, index, refcount_order);
	}
}

void qcow2_refcount_set(void *block, uint32_t index, uint32_t refcount_order, uint64_t value)
{
	uint8_t *at = (uint8_t *)block + ((size_t)index << refcount_order) / 8;

	assert(refcount_order == 6 || value >> (1u << refcount_order) == 0);
	switch (refcount_order) {
	case 3:
		*at = (uint8_t)value;
		break;
	case 4:
		put_be16(at, (uint16_t)value);
		break;
	case 5:
		put_be32(at, (uint32_t)value);
		break;
	case 6:
		put_be64(at, value);
		break;
	default:
		set_bits(block, index, refcount_order, value);
	}
}
