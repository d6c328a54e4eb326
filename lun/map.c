/*
 * Building the answer of a LUN_MAP: spans of any size become extents in whole logical blocks, and
 * neighbours of one state become one extent. Not here: where spans come from, which is the image
 * type's own knowledge.
 *
 * Any thread: it touches nothing but the answer. Read next: raw_map.c.
 */
#include "lun/lun_internal.h"

/* Of two states, the one that promises least: one block may lie in several. */
static enum lun_extent_state map_weaker(enum lun_extent_state a, enum lun_extent_state b)
{
	if (a == LUN_MAPPED || b == LUN_MAPPED)
		return LUN_MAPPED;
	return a == LUN_DEALLOCATED ? a : b;
}

uint32_t map_extents_max(const struct lun_io *io)
{
	size_t room = io->iov[0].iov_len;

	if (room < sizeof(struct lun_map))
		return 0;
	return (uint32_t)((room - sizeof(struct lun_map)) / sizeof(struct lun_extent));
}

void map_begin(struct map_builder *builder, const struct lun_io *io)
{
	*builder = (struct map_builder){
		.map = io->iov[0].iov_base,
		.extents_max = map_extents_max(io),
		.block_bytes = io->lun->limits.logical_block_bytes,
		.at = io->offset_bytes,
		.end = io->offset_bytes + io->length_bytes,
	};
	builder->map->count = 0;
}

/* Whole blocks, up to `end`. False: no room. */
static bool map_append(struct map_builder *builder, uint64_t end, enum lun_extent_state state)
{
	struct lun_map *map = builder->map;
	struct lun_extent *last = map->count ? &map->extents[map->count - 1] : NULL;
	uint64_t begin = builder->at - builder->at % builder->block_bytes;

	if (end == begin)
		return true;
	if (last && last->state == state) {
		last->length_bytes += end - begin;
	} else if (map->count < builder->extents_max) {
		map->extents[map->count++] = (struct lun_extent){begin, end - begin, state};
	} else {
		return false;
	}
	builder->at = end;
	return true;
}

/* Add to a block that was begun. False: the span ended inside it, or there is no room. */
static bool map_finish_block(struct map_builder *builder, uint64_t end, enum lun_extent_state state)
{
	uint64_t inside = builder->at % builder->block_bytes;
	uint64_t block_end = builder->at - inside + builder->block_bytes;

	if (!inside)
		return true;
	builder->partial = map_weaker(builder->partial, state);
	if (end < block_end) {
		builder->at = end;
		return false;
	}
	return map_append(builder, block_end, builder->partial);
}

bool map_add(struct map_builder *builder, uint64_t end, enum lun_extent_state state)
{
	uint64_t stop = end < builder->end ? end : builder->end;
	uint64_t whole = stop - stop % builder->block_bytes;

	if (stop <= builder->at)
		return builder->at < builder->end;
	if (!map_finish_block(builder, stop, state))
		return builder->at == stop;
	if (!map_append(builder, whole, state))
		return false;
	builder->at = stop;
	builder->partial = state;
	return stop < builder->end;
}

void map_all(const struct lun_io *io, enum lun_extent_state state)
{
	struct map_builder builder;

	map_begin(&builder, io);
	(void)map_add(&builder, builder.end, state);
}
