/*
 * Comparing what shows through an overlay with what would, and pulling what differs. See
 * rebase_data.h. The overlay is served by a LUN of our own, which writes it; here its mapping is
 * looked at beside that, always ahead of what is pulled. Files that both chains have are not read.
 */
#include "target/image/rebase_data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "target/image/extent.h"
#include "target/image/interrupt.h"
#include "target/image/own_lun.h"
#include "target/image/progress.h"

#define PIECE_BYTES (UINT64_C(1) << 20)
/* What is pulled at once has whole blocks of any LUN. */
#define BLOCK_BYTES 4096u

/* What one chain shows. */
struct side {
	const struct closed_chain *chain; /* NULL: zeroes. */
	uint64_t size_bytes;
	struct extent_walk walk;
	uint8_t *piece;
	uint8_t *room;
};

struct data {
	struct image_order *order;
	struct side old, new;
	struct own_lun own;
	struct rebase_seen *seen;
	struct progress progress;
	bool is_reading; /* What failed. */
};

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* -- One side -- */

static int side_begin(struct side *side, const struct closed_chain *chain)
{
	size_t room = chain != NULL ? extent_room_bytes(chain) : 0;

	side->chain = chain;
	side->size_bytes = chain != NULL ? closed_layer_size(&chain->layers[0]) : 0;
	side->piece = malloc(PIECE_BYTES);
	side->room = malloc(room > 0 ? room : 1);
	return side->piece != NULL && side->room != NULL ? 0 : -ENOMEM;
}

static void side_end(struct side *side)
{
	free(side->piece);
	free(side->room);
}

/* What it shows from `start` on, up to `end` at most. Behind its end there are zeroes. */
static int side_find(struct side *side, uint64_t start, uint64_t end, struct extent *out)
{
	int res;

	*out = (struct extent){.start = start, .length = end - start, .zero = true};
	if (start >= side->size_bytes)
		return 0;
	extent_walk_begin(&side->walk, side->chain, start, least(end, side->size_bytes));
	res = extent_next(&side->walk, out);
	return res < 0 ? res : 0;
}

static int side_read(struct side *side, const struct extent *e, uint64_t length)
{
	if (e->data)
		return extent_read(side->chain, e, e->start, length, side->piece, side->room);
	memset(side->piece, 0, length);
	return 0;
}

/* -- Both -- */

/* The same place of the same file. */
static bool is_shared(const struct data *data, const struct extent *old, const struct extent *new)
{
	const struct stat *a = &data->old.chain->layers[old->depth].file.st;
	const struct stat *b;

	if (data->new.chain == NULL || !old->has_offset || !new->has_offset ||
	    old->offset != new->offset)
		return false;
	b = &data->new.chain->layers[new->depth].file.st;
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* In whole blocks; more than the disk has is left out there. */
static int pull(struct data *data, uint64_t start, uint64_t end)
{
	uint64_t first = start & ~(uint64_t)(BLOCK_BYTES - 1);
	uint64_t last = (end + BLOCK_BYTES - 1) & ~(uint64_t)(BLOCK_BYTES - 1);
	int res = own_lun_pull(&data->own, first, last - first, data->new.size_bytes);

	data->is_reading = false;
	data->seen->moved_bytes += data->own.pull.moved_bytes;
	return res;
}

/* Of the block in which `at` lies. */
static uint64_t block_end(uint64_t at)
{
	return (at & ~(uint64_t)(BLOCK_BYTES - 1)) + BLOCK_BYTES;
}

/* Both pieces begin at `start`. Blocks that differ go together. */
static int pull_differing(struct data *data, uint64_t start, uint64_t end)
{
	const uint8_t *old = data->old.piece;
	const uint8_t *new = data->new.piece;
	uint64_t first = start;
	int res = 0;

	for (uint64_t at = start, next; res == 0 && at < end; at = next) {
		next = least(block_end(at), end);
		if (memcmp(old + (at - start), new + (at - start), next - at) != 0)
			continue;
		if (at > first)
			res = pull(data, first, at);
		first = next;
	}
	return res == 0 && end > first ? pull(data, first, end) : res;
}

/* What the new side has for the beginning of what the old side shows, a piece at most. */
static int take_piece(struct data *data, const struct extent *old, uint64_t *end)
{
	struct extent new;
	int res;

	data->is_reading = true;
	res = side_find(&data->new, old->start, old->start + old->length, &new);
	*end = old->start + new.length;
	if (res != 0 || (!old->data && !new.data) || is_shared(data, old, &new))
		return res;
	new.length = least(new.length, PIECE_BYTES);
	*end = old->start + new.length;
	res = side_read(&data->old, old, new.length);
	if (res == 0)
		res = side_read(&data->new, &new, new.length);
	return res == 0 ? pull_differing(data, old->start, *end) : res;
}

/* An extent of the old side, all of it. */
static int take_extent(struct data *data, struct extent old)
{
	int res = 0;

	/* The overlay's own stays. */
	while (res == 0 && old.length > 0 && !(old.present && old.depth == 0)) {
		uint64_t end;

		progress_show(&data->progress, old.start, data->old.size_bytes);
		res = interrupted() ? -EINTR : take_piece(data, &old, &end);
		if (res != 0)
			break;
		old.offset += end - old.start;
		old.length -= end - old.start;
		old.start = end;
	}
	return res;
}

static int take_all(struct data *data)
{
	uint64_t size = data->old.size_bytes;
	int res = 0;

	progress_begin(data->order, &data->progress);
	for (uint64_t at = 0; res == 0 && at < size;) {
		struct extent old;

		data->is_reading = true;
		res = side_find(&data->old, at, size, &old);
		at += old.length;
		if (res == 0)
			res = take_extent(data, old);
	}
	progress_end(&data->progress);
	data->is_reading = data->is_reading && res != 0;
	return res == 0 ? own_lun_flush(&data->own) : res;
}

/* -- All -- */

static int refuse(struct data *data, const char *path, int res)
{
	if (res == -EINTR)
		return image_refuse(data->order, res, NULL, "interrupted; %s is what it was", path);
	if (data->is_reading)
		return image_refuse(data->order, res, "'ringsan image check' says more",
				    "what is below %s cannot be read: %s", path, files_error(res));
	return image_refuse(data->order, res, NULL, "%s cannot be written: %s", path,
			    files_error(res));
}

/* Looked at without locks: the LUN has them. */
static int compare(struct data *data, const char *path, const struct closed_chain *below)
{
	struct closed_chain *chain;
	int res = closed_chain_open(data->order, path, closed_format_names[CLOSED_QCOW2],
				    CLOSED_LOOK, &chain);

	if (res != 0)
		return res;
	(void)snprintf(data->seen->backing_name, sizeof(data->seen->backing_name), "%s",
		       chain->layers[0].plain.header.backing_name);
	res = side_begin(&data->old, chain);
	data->seen->size_bytes = data->old.size_bytes;
	if (res == 0)
		res = side_begin(&data->new, below);
	if (res == 0)
		res = take_all(data);
	side_end(&data->new);
	side_end(&data->old);
	closed_chain_close(chain);
	return res == 0 ? 0 : refuse(data, path, res);
}

int rebase_data(struct image_order *order, const char *path, const struct closed_chain *below,
		struct rebase_seen *seen)
{
	struct data *data = calloc(1, sizeof(*data));
	int res;

	if (data == NULL)
		return image_refuse(order, -ENOMEM, NULL, "memory is short");
	data->order = order;
	data->seen = seen;
	res = own_lun_open(order, path, &data->own);
	if (res == 0) {
		int closed;

		res = compare(data, path, below);
		closed = own_lun_close(&data->own);
		if (res == 0 && closed != 0)
			res = refuse(data, path, closed);
	}
	free(data);
	return res;
}
