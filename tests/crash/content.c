/*
 * What an image has to begin with. See content.h.
 */
#include "tests/crash/content.h"

#include <assert.h>
#include <isa-l/igzip_lib.h>
#include <string.h>

#include "base/bytes.h"

#define SECTOR_BYTES 512u

struct packing {
	struct qcow2_geometry geometry;
	uint8_t *bytes;
	uint8_t *refcounts; /* The one block for all of it. */
	uint64_t l2_offset;
	uint64_t at; /* The next free byte of the file. */
	uint64_t room_bytes;
};

static void refer(struct packing *packing, uint64_t offset)
{
	uint32_t cluster = (uint32_t)(offset >> packing->geometry.cluster_bits) %
			   packing->geometry.refcount_block_entries;
	uint64_t count = qcow2_refcount_get(packing->refcounts, cluster, 4);

	qcow2_refcount_set(packing->refcounts, cluster, 4, count + 1);
}

/* How many bytes it comes to. */
static uint64_t deflate(struct packing *packing, const uint8_t *guest)
{
	static struct isal_zstream stream; /* Too large for a stack. */

	isal_deflate_stateless_init(&stream);
	stream.next_in = (uint8_t *)(uintptr_t)guest;
	stream.avail_in = packing->geometry.cluster_bytes;
	stream.next_out = packing->bytes + packing->at;
	stream.avail_out = (uint32_t)(packing->room_bytes - packing->at);
	stream.end_of_stream = 1;
	if (isal_deflate_stateless(&stream) != COMP_OK)
		assert(!"there is no room for a compressed cluster");
	return stream.total_out;
}

static uint64_t round_up(uint64_t value, uint64_t unit)
{
	return (value + unit - 1) / unit * unit;
}

static void put_entry(struct packing *packing, uint32_t index, uint64_t entry)
{
	put_be64(packing->bytes + packing->l2_offset + (size_t)index * 8, entry);
}

static void add_data(struct packing *packing, uint32_t index, const uint8_t *guest)
{
	uint32_t cluster_bytes = packing->geometry.cluster_bytes;

	packing->at = round_up(packing->at, cluster_bytes);
	assert(packing->at + cluster_bytes <= packing->room_bytes);
	memcpy(packing->bytes + packing->at, guest, cluster_bytes);
	refer(packing, packing->at);
	put_entry(packing, index, QCOW2_COPIED | packing->at);
	packing->at += cluster_bytes;
}

static void add_compressed(struct packing *packing, uint32_t index, const uint8_t *guest)
{
	uint32_t shift = 62 - (packing->geometry.cluster_bits - 8);
	uint64_t begin = packing->at;
	uint64_t length = deflate(packing, guest);
	uint64_t last = begin + length - 1;
	uint64_t sectors = last / SECTOR_BYTES - begin / SECTOR_BYTES;

	assert(length < packing->geometry.cluster_bytes);
	/* Each of the host clusters that its sectors lie in. */
	refer(packing, begin);
	if (begin >> packing->geometry.cluster_bits != last >> packing->geometry.cluster_bits)
		refer(packing, last);
	put_entry(packing, index, QCOW2_COMPRESSED | sectors << shift | begin);
	packing->at += length;
}

static void add_zeroes(struct packing *packing, uint32_t index, const uint8_t *guest)
{
	(void)guest;
	put_entry(packing, index, QCOW2_ZERO);
}

static void add_nothing(struct packing *packing, uint32_t index, const uint8_t *guest)
{
	(void)packing;
	(void)index;
	(void)guest;
}

typedef void add_fn(struct packing *packing, uint32_t index, const uint8_t *guest);

static add_fn *const adds[] = {
	[CONTENT_NOTHING] = add_nothing,
	[CONTENT_DATA] = add_data,
	[CONTENT_COMPRESSED] = add_compressed,
	[CONTENT_ZEROES] = add_zeroes,
};

/* Far behind: with a refcount block of its own, which counts itself. */
static void begin_at(struct packing *packing, const struct qcow2_header *header, uint64_t at)
{
	uint64_t block = (at >> header->cluster_bits) / packing->geometry.refcount_block_entries;

	assert(at + packing->geometry.cluster_bytes < packing->room_bytes);
	put_be64(packing->bytes + header->refcount_table_offset + block * 8, at);
	packing->refcounts = packing->bytes + at;
	refer(packing, at);
	packing->at = at + packing->geometry.cluster_bytes;
}

uint64_t content_add(const struct qcow2_layout *layout, const struct content *content)
{
	const struct qcow2_header *header = &layout->header;
	struct packing packing = {.bytes = content->bytes, .room_bytes = content->room_bytes};
	uint32_t clusters;

	qcow2_geometry_of(header, &packing.geometry);
	clusters = (uint32_t)(header->size_bytes >> packing.geometry.cluster_bits);
	if (clusters > packing.geometry.l2_entries)
		clusters = packing.geometry.l2_entries;
	assert(!packing.geometry.extended);
	packing.refcounts =
		content->bytes + get_be64(content->bytes + header->refcount_table_offset);
	packing.at = round_up(layout->file_bytes, packing.geometry.cluster_bytes);
	if (content->at)
		begin_at(&packing, header, content->at);
	packing.l2_offset = packing.at;
	packing.at += packing.geometry.cluster_bytes;
	refer(&packing, packing.l2_offset);
	put_be64(content->bytes + header->l1_offset, QCOW2_COPIED | packing.l2_offset);
	for (uint32_t i = 0; i < clusters; i++)
		adds[content->kinds[i]](
			&packing, i, content->guest + (size_t)i * packing.geometry.cluster_bytes);
	return round_up(packing.at, packing.geometry.cluster_bytes);
}
