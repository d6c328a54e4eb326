/*
 * Guest clusters whose mapping somebody is about to change: an entry from the moment a host cluster
 * was chosen until the data are written and the entry of the L2 table leads to them. Those who
 * write other subclusters join in; who cannot waits until the last holder has ended, and looks
 * everything up again (invariant 6). Reads never come here.
 *
 * Runs on the image's loop. Read next: write.c.
 */
#include "lun/qcow2/engine.h"

void busy_init(struct qcow2 *image)
{
	for (uint32_t i = 0; i < BUSY_HEADS; i++)
		list_init(&image->busy_heads[i]);
	list_init(&image->busy_unused);
	list_init(&image->busy_waiting);
}

void busy_make_room(struct qcow2 *image)
{
	for (uint32_t i = 0; i < BUSY_MAX; i++)
		list_append(&image->busy_unused, &image->busy[i].link);
}

static struct list_node *chain_of(struct qcow2 *image, uint64_t cluster)
{
	return &image->busy_heads[cluster % BUSY_HEADS];
}

struct busy *busy_find(struct qcow2 *image, uint64_t cluster)
{
	LIST_FOREACH (node, chain_of(image, cluster)) {
		struct busy *busy = CONTAINER_OF(node, struct busy, link);

		if (busy->cluster == cluster)
			return busy;
	}
	return NULL;
}

struct busy *busy_begin(struct qcow2 *image, uint64_t cluster)
{
	struct busy *busy;

	if (list_is_empty(&image->busy_unused))
		return NULL;
	busy = CONTAINER_OF(list_take_first(&image->busy_unused), struct busy, link);
	*busy = (struct busy){.cluster = cluster, .holders = 1};
	list_init(&busy->waiting);
	list_append(chain_of(image, cluster), &busy->link);
	return busy;
}

void busy_end(struct qcow2 *image, struct busy *busy)
{
	assert(busy->holders > 0);
	if (--busy->holders > 0)
		return;
	/* Nothing ever led there, but it is not what the reservation promises any more. */
	if (busy->fresh && !busy->linked && busy->spoiled)
		quarantine_free(image, cluster_of(image, busy->host_offset), 1, false);
	/* A pull of zeroes had no use for it. */
	else if (busy->fresh && !busy->linked)
		reserve_untake(image, cluster_of(image, busy->host_offset));
	list_remove(&busy->link);
	request_wake_all(&busy->waiting, 0);
	list_append(&image->busy_unused, &busy->link);
	request_wake_all(&image->busy_waiting, 0);
}
