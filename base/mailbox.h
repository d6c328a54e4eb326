/*
 * A loop's messages: a stack that any thread pushes onto without a lock and that the loop takes
 * whole. The head also says whether the loop sleeps, in the same word, so that there is no window
 * between looking for messages and going to sleep. Private to base/. Read next: loop_post in
 * loop.c.
 */
#ifndef BASE_MAILBOX_H
#define BASE_MAILBOX_H

#include "base/loop.h"

struct mailbox {
	_Atomic(struct loop_msg *) head; /* The last message posted; NULL; or `asleep` below. */
	struct loop_msg asleep;          /* Its address is the mark; it is never run. */
};

static inline void mailbox_init(struct mailbox *box)
{
	atomic_init(&box->head, NULL);
}

/* Any thread. True when the owner sleeps and the caller has to wake it; told to one caller only. */
static inline bool mailbox_post(struct mailbox *box, struct loop_msg *msg)
{
	struct loop_msg *head = atomic_load_explicit(&box->head, memory_order_relaxed);

	do {
		msg->next = head == &box->asleep ? NULL : head;
	} while (!atomic_compare_exchange_weak_explicit(
		&box->head, &head, msg, memory_order_release, memory_order_relaxed));
	return head == &box->asleep;
}

/* The owner. Mark it asleep; false when there are messages, and it must not sleep. */
static inline bool mailbox_try_sleep(struct mailbox *box)
{
	struct loop_msg *none = NULL;

	return atomic_compare_exchange_strong_explicit(&box->head, &none, &box->asleep,
						       memory_order_release, memory_order_relaxed);
}

/* The owner. It is awake again, and gets all messages, the oldest first. */
static inline struct loop_msg *mailbox_take(struct mailbox *box)
{
	struct loop_msg *newest;
	struct loop_msg *oldest = NULL;

	/* A look that costs no bus lock: a turn without messages is the rule. */
	if (atomic_load_explicit(&box->head, memory_order_relaxed) == NULL)
		return NULL;
	newest = atomic_exchange_explicit(&box->head, NULL, memory_order_acquire);
	if (newest == &box->asleep)
		return NULL;
	while (newest != NULL) {
		struct loop_msg *older = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = older;
	}
	return oldest;
}

#endif
