/*
 * The cache of slices: 4 KiB parts of L2 tables of all images of one loop. A slice that is clean
 * may be thrown away, oldest use first; one that is dirty, or of a group on its way, stays. Not
 * here: what the entries mean (mapping.c), when slices are written (commit.c).
 *
 * Runs on the loop. Read next: mapping.c.
 */
#include "lun/qcow2/cow.h"

#include <stdlib.h>

#include "base/log.h"

#define SLICES_MIN SCARCE(4u, 16u)
#define HEADS_MIN 16u
#define SLICE_BYTES 4096u

static uint64_t slices_of(uint64_t bytes)
{
	return bytes / SLICE_BYTES < SLICES_MIN ? SLICES_MIN : bytes / SLICE_BYTES;
}

static uint64_t heads_of(uint64_t slices)
{
	uint64_t heads = HEADS_MIN;

	while (heads < slices)
		heads *= 2;
	return heads;
}

struct qcow2_share qcow2_share(uint64_t bytes, unsigned loops)
{
	uint64_t most = bytes / QCOW2_CACHE_SHARE_MIN;
	unsigned owners = most >= loops ? loops : most > 1 ? (unsigned)most : 1;

	return (struct qcow2_share){.owners = owners, .bytes = bytes / owners};
}

uint64_t qcow2_cache_memory(uint64_t bytes)
{
	uint64_t slices = slices_of(bytes);

	return slices * (SLICE_BYTES + sizeof(struct slice)) +
	       heads_of(slices) * sizeof(struct slice *);
}

int qcow2_cache_create(uint64_t bytes, struct qcow2_cache **out)
{
	uint64_t count = slices_of(bytes);
	struct qcow2_cache *cache = calloc(1, sizeof(*cache));
	int res = -ENOMEM;

	if (!cache || count > UINT32_MAX / 2)
		goto out_free;
	cache->head_count = (uint32_t)heads_of(count);
	cache->slices = calloc(count, sizeof(*cache->slices));
	cache->heads = calloc(cache->head_count, sizeof(struct slice *));
	if (!cache->slices || !cache->heads)
		goto out_free;
	res = pool_init(&cache->pool, (uint32_t)count, SLICE_BYTES, SLICE_BYTES);
	if (res != 0)
		goto out_free;
	res = copies_init(cache);
	if (res != 0)
		goto out_free;
	res = inflates_init(cache);
	if (res != 0)
		goto out_free;
	res = recovery_init(cache);
	if (res != 0)
		goto out_free;
	list_init(&cache->clean);
	list_init(&cache->images);
	list_init(&cache->no_slice);
	list_init(&cache->free_loads);
	list_init(&cache->runnable);
	list_init(&cache->ended);
	list_init(&cache->later);
	list_init(&cache->kicked);
	for (uint32_t i = 0; i < LOADS_MAX; i++)
		list_append(&cache->free_loads, &cache->loads[i].link);
	cache->loads_left = LOADS_MAX;
	*out = cache;
	return 0;
out_free:
	qcow2_cache_free(cache);
	return res;
}

void qcow2_cache_free(struct qcow2_cache *cache)
{
	if (!cache)
		return;
	copies_clear(cache);
	inflates_clear(cache);
	recovery_clear(cache);
	pool_clear(&cache->pool, true);
	free(cache->heads);
	free(cache->slices);
	free(cache);
}

/* -- Finding one -- */

/* By the image's number and not its address, so that every run is the same. */
static struct slice **chain_of(const struct qcow2 *image, uint64_t file_offset)
{
	uint64_t key = (file_offset >> 9) ^ ((uint64_t)image->id << 40);
	uint64_t mixed = key * UINT64_C(0x9e3779b97f4a7c15);

	return &image->cache->heads[mixed >> 32 & (image->cache->head_count - 1)];
}

static struct slice *slice_find(const struct qcow2 *image, uint64_t file_offset)
{
	struct slice *slice = *chain_of(image, file_offset);

	while (slice && (slice->image != image || slice->file_offset != file_offset))
		slice = slice->next;
	return slice;
}

const struct slice *slice_peek(const struct qcow2 *image, uint64_t file_offset)
{
	const struct slice *slice = slice_find(image, file_offset);

	return slice && slice->state != SLICE_LOADING ? slice : NULL;
}

static void slice_hash(struct slice *slice)
{
	struct slice **chain = chain_of(slice->image, slice->file_offset);

	slice->next = *chain;
	*chain = slice;
	slice->hashed = true;
}

static void slice_unhash(struct slice *slice)
{
	struct slice **at = chain_of(slice->image, slice->file_offset);

	if (!slice->hashed)
		return;
	while (*at != slice)
		at = &(*at)->next;
	*at = slice->next;
	slice->hashed = false;
}

/* -- Having one -- */

static void slice_free(struct slice *slice)
{
	struct qcow2_cache *cache = slice->image->cache;

	slice_unhash(slice);
	list_remove(&slice->link);
	list_remove(&slice->of_image);
	slice->state = SLICE_FREE;
	pool_release(&cache->pool, slice->bytes);
}

/* NULL: all are dirty or on their way. */
static struct slice *slice_take(struct qcow2 *image, uint64_t file_offset, uint32_t l1_index)
{
	struct qcow2_cache *cache = image->cache;
	struct list_node *oldest = list_first(&cache->clean);
	uint8_t *bytes = pool_acquire(&cache->pool);
	struct slice *slice;

	if (!bytes && oldest) {
		slice_free(CONTAINER_OF(oldest, struct slice, link));
		bytes = pool_acquire(&cache->pool);
	}
	if (!bytes)
		return NULL;
	slice = &cache->slices[pool_index(&cache->pool, bytes)];
	*slice = (struct slice){
		.image = image, .file_offset = file_offset, .bytes = bytes, .l1_index = l1_index};
	list_init(&slice->link);
	list_init(&slice->waiting);
	list_append(&image->slices, &slice->of_image);
	return slice;
}

/* Slices come back when groups end: let all images begin theirs. */
LOOP_ONLY static void wait_for_slice(struct qcow2_cache *cache, struct qcow2_request *waiter)
{
	REACHED(slice_wait);
	LIST_FOREACH (node, &cache->images) {
		struct qcow2 *image = CONTAINER_OF(node, struct qcow2, link);

		if (image->commit.changed)
			commit_want(image);
	}
	if (waiter)
		request_wait(waiter, &cache->no_slice);
}

void slice_settle(struct slice *slice)
{
	struct qcow2_cache *cache = slice->image->cache;

	assert(slice->state == SLICE_SEALED);
	if (slice->hashed) {
		list_remove(&slice->link);
		slice->state = SLICE_CLEAN;
		list_append(&cache->clean, &slice->link);
	} else {
		slice_free(slice);
	}
	request_wake_all(&cache->no_slice, 0);
}

void cache_enter(struct qcow2 *image)
{
	struct qcow2_cache *cache = image->cache;

	for (; image && !list_is_linked(&image->link); image = image->backing) {
		/* Where what is above left and came back, slices may be hashed by it. */
		if (image->id == 0)
			image->id = ++cache->next_image;
		list_append(&cache->images, &image->link);
		recover_enter(image);
	}
}

void slices_drop(struct qcow2_cache *cache, struct list_node *list)
{
	if (list_is_empty(list))
		return;
	while (!list_is_empty(list))
		slice_free(CONTAINER_OF(list_first(list), struct slice, link));
	request_wake_all(&cache->no_slice, 0);
}

static void slice_forget(struct qcow2 *image)
{
	while (!list_is_empty(&image->slices))
		slice_free(CONTAINER_OF(list_first(&image->slices), struct slice, of_image));
}

void cache_leave(struct qcow2 *image)
{
	slice_forget(image);
	inflates_forget(image);
	list_remove(&image->link);
}

bool cache_is_left(const struct qcow2 *image)
{
	return list_is_empty(&image->slices) && !list_is_linked(&image->link) &&
	       !list_is_linked(&image->kick_link);
}

/* -- Loading -- */

/* Each image has one of its own; NULL: it has its part of the others already. */
static struct load *load_find(struct qcow2 *image)
{
	struct qcow2_cache *cache = image->cache;

	if (!image->own_load.slice)
		return &image->own_load;
	if (!may_have_another(image->loads, cache->loads_left))
		return NULL;
	return CONTAINER_OF(list_first(&cache->free_loads), struct load, link);
}

static void load_take(struct load *load, struct slice *slice)
{
	struct qcow2 *image = slice->image;

	load->slice = slice;
	image->loading++;
	if (load == &image->own_load)
		return;
	list_remove(&load->link);
	image->loads++;
	image->cache->loads_left--;
}

static void load_drop(struct load *load)
{
	struct qcow2 *image = load->slice->image;

	load->slice = NULL;
	image->loading--;
	if (load == &image->own_load)
		return;
	list_append(&image->cache->free_loads, &load->link);
	image->loads--;
	image->cache->loads_left++;
}

static void on_loaded(struct qcow2_op *op, int res)
{
	struct load *load = CONTAINER_OF(op, struct load, op);
	struct slice *slice = load->slice;
	struct qcow2_cache *cache = slice->image->cache;
	struct loop *loop = slice->image->loop;

	loop_role_assume();
	load_drop(load);
	image_kick(slice->image);
	request_wake_all(&slice->waiting, res < 0 ? res : 0);
	if (res < 0) {
		log_error("qcow2", "%s: cannot read an L2 table at %" PRIu64 ": %s",
			  slice->image->name, slice->file_offset, strerror(-res));
		slice_free(slice);
	} else {
		vector_zero(op->of.iov, op->of.iov_count);
		slice->state = SLICE_CLEAN;
		list_append(&cache->clean, &slice->link);
	}
	request_wake_all(&cache->no_slice, 0);
	requests_run(cache, loop);
}

LOOP_ONLY static int begin_load(struct qcow2 *image, uint64_t file_offset, uint32_t l1_index,
				struct qcow2_request *waiter)
{
	struct qcow2_cache *cache = image->cache;
	struct load *load = load_find(image);
	struct slice *slice = load ? slice_take(image, file_offset, l1_index) : NULL;
	struct loop_rw rw;

	if (!slice) {
		wait_for_slice(cache, waiter);
		return QCOW2_WAIT;
	}
	REACHED(slice_miss);
	load_take(load, slice);
	load->iov = (struct iovec){slice->bytes, image->geometry.slice_bytes};
	slice->state = SLICE_LOADING;
	slice_hash(slice);
	if (waiter)
		request_wait(waiter, &slice->waiting);
	rw = (struct loop_rw){.iov = &load->iov, .iov_count = 1, .offset_bytes = file_offset};
	op_read(image, &load->op, image, &rw, on_loaded);
	return QCOW2_WAIT;
}

int slice_get(struct qcow2 *image, uint64_t file_offset, uint32_t l1_index,
	      struct qcow2_request *waiter, struct slice **out)
{
	struct slice *slice = slice_find(image, file_offset);

	if (!slice)
		return begin_load(image, file_offset, l1_index, waiter);
	if (slice->state == SLICE_LOADING) {
		if (waiter)
			request_wait(waiter, &slice->waiting);
		return QCOW2_WAIT;
	}
	if (slice->state == SLICE_CLEAN) {
		list_remove(&slice->link);
		list_append(&image->cache->clean, &slice->link);
	}
	*out = slice;
	return 0;
}

/* -- Changing -- */

LOOP_ONLY static void make_dirty(struct slice *slice)
{
	struct commit *commit = &slice->image->commit;

	list_remove(&slice->link);
	slice->state = SLICE_DIRTY;
	list_append(&commit->dirty, &slice->link);
	commit->dirty_count++;
	commit_note(slice->image);
}

/* What is on its way to the disk stays as it is; lookups find a copy from now on. */
LOOP_ONLY static int replace_sealed(struct slice **slice, struct qcow2_request *waiter)
{
	struct slice *old = *slice;
	struct slice *copy = slice_take(old->image, old->file_offset, old->l1_index);

	if (!copy) {
		REACHED(no_memory_for_copy);
		if (waiter)
			request_wait(waiter, &old->image->commit.waiting);
		return QCOW2_WAIT;
	}
	REACHED(slice_copied);
	(void)memcpy(copy->bytes, old->bytes, old->image->geometry.slice_bytes);
	slice_unhash(old);
	slice_hash(copy);
	make_dirty(copy);
	*slice = copy;
	return 0;
}

int slice_modify(struct slice **slice, struct qcow2_request *waiter)
{
	struct qcow2 *image = (*slice)->image;
	struct commit *commit = &image->commit;

	if ((*slice)->state == SLICE_DIRTY)
		return 0;
	/* Twice what seals a group: one is on its way, and this one is full. */
	if (commit->dirty_count >= 2 * commit_seal_count(image)) {
		REACHED(dirty_wait);
		commit_want(image);
		if (waiter)
			request_wait(waiter, &commit->waiting);
		return QCOW2_WAIT;
	}
	if ((*slice)->state == SLICE_SEALED) {
		if (PLANTED(change_while_written))
			return 0;
		return replace_sealed(slice, waiter);
	}
	assert((*slice)->state == SLICE_CLEAN);
	make_dirty(*slice);
	return 0;
}
