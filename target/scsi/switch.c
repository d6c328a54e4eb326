/*
 * The queue of switches of a logical unit or target, and the round of the one at its head.
 *
 * The queue is made with the first switch: most logical units never see one. Its lock is held for a
 * few instructions and never on the way of an I/O. Threads: any loop. Read next:
 * ../../base/group.h.
 */
#include "target/scsi/switch.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>

#include "base/aligned.h"
#include "base/group.h"
#include "target/scsi/device.h"

struct scsi_switches {
	pthread_mutex_t mutex;
	struct list_node queue;    /* The first one runs until its `done` is called. */
	bool busy;                 /* One runs, or its `done` does. */
	struct loop_round round;   /* Of the first one. */
	struct scsi_switch *first; /* What the round is about; set before it begins. */
};

static struct scsi_switches *make_queue(void)
{
	struct scsi_switches *queue = aligned_calloc(sizeof(*queue));

	if (queue == NULL)
		return NULL;
	(void)pthread_mutex_init(&queue->mutex, NULL);
	list_init(&queue->queue);
	return queue;
}

void scsi_switches_free(struct scsi_switches *queue)
{
	if (queue == NULL)
		return;
	/* One may be left of which nobody waits for the end: the loops have ended amid its round.
	 */
	(void)pthread_mutex_destroy(&queue->mutex);
	aligned_free(queue);
}

/* Where the queue of what it concerns is kept. */
static _Atomic(struct scsi_switches *) *place_of(const struct scsi_switch *change)
{
	return change->lu != NULL ? &change->lu->switches : &change->target->switches;
}

static struct scsi_switches *queue_of(const struct scsi_switch *change)
{
	return atomic_load_explicit(place_of(change), memory_order_acquire);
}

/* The queue; of two loops that make it at once one throws its own away. */
static struct scsi_switches *find_queue(const struct scsi_switch *change)
{
	struct scsi_switches *queue = queue_of(change);
	struct scsi_switches *made;

	if (queue != NULL)
		return queue;
	made = make_queue();
	if (made == NULL ||
	    atomic_compare_exchange_strong_explicit(place_of(change), &queue, made,
						    memory_order_acq_rel, memory_order_acquire))
		return made;
	scsi_switches_free(made);
	return queue;
}

static void on_begin(struct loop_msg *msg);

/* Its turn has come: it begins at the top of a turn of its own loop. */
static void call_up(struct scsi_switch *change)
{
	loop_post(change->loop, &change->msg, on_begin);
}

/* The next one begins when `done` has run; from then on the record is its owner's, to be freed or
 * started again. */
LOOP_ONLY static void finish(struct scsi_switch *change)
{
	struct scsi_switches *queue = queue_of(change);
	struct list_node *next;

	(void)pthread_mutex_lock(&queue->mutex);
	list_remove(&change->link);
	(void)pthread_mutex_unlock(&queue->mutex);
	change->done(change);
	(void)pthread_mutex_lock(&queue->mutex);
	next = list_first(&queue->queue);
	queue->busy = next != NULL;
	if (next != NULL)
		call_up(CONTAINER_OF(next, struct scsi_switch, link));
	(void)pthread_mutex_unlock(&queue->mutex);
}

static bool on_each_loop(struct loop_round *round, struct loop *loop)
{
	struct scsi_switch *change = CONTAINER_OF(round, struct scsi_switches, round)->first;
	struct list_node *nexuses = &change->target->nexuses[loop_index(loop)];

	if (change->each == NULL)
		return true;
	LIST_FOREACH (node, nexuses)
		change->each(change, CONTAINER_OF(node, struct scsi_nexus, link));
	return true;
}

static void on_round_done(struct loop_round *round)
{
	loop_role_assume();
	finish(CONTAINER_OF(round, struct scsi_switches, round)->first);
}

void scsi_switch_go_on(struct scsi_switch *change, enum scsi_switch_step step)
{
	struct scsi_switches *queue = queue_of(change);

	if (step == SCSI_SWITCH_END) {
		finish(change);
	} else if (step == SCSI_SWITCH_PUBLISH) {
		queue->first = change;
		loop_round_start(&queue->round, change->target->group, change->loop, on_each_loop,
				 on_round_done);
	}
}

static void on_begin(struct loop_msg *msg)
{
	struct scsi_switch *change = CONTAINER_OF(msg, struct scsi_switch, msg);

	loop_role_assume();
	scsi_switch_go_on(change, change->begin(change));
}

int scsi_switch_start(struct scsi_switch *change)
{
	struct scsi_switches *queue;
	bool was_busy;

	if (change->lu != NULL)
		change->target = change->lu->target;
	assert(change->target->group != NULL);
	queue = find_queue(change);
	if (queue == NULL)
		return -ENOMEM;
	(void)pthread_mutex_lock(&queue->mutex);
	was_busy = queue->busy;
	queue->busy = true;
	list_append(&queue->queue, &change->link);
	(void)pthread_mutex_unlock(&queue->mutex);
	if (!was_busy)
		call_up(change);
	return 0;
}
