/*
 * The pairing heap behind loop_timer_start. A node's `prev` is its parent when it is the first
 * child, else its left sibling. It runs nothing and knows no clock: loop.c does. Runs on the
 * loop's thread.
 */
#include "base/timers.h"

#include <assert.h>
#include <stddef.h>

/* Make the later root the first child of the earlier one. Either may be NULL. */
static struct loop_timer *meld(struct loop_timer *a, struct loop_timer *b)
{
	if (a == NULL || b == NULL)
		return a != NULL ? a : b;
	if (b->expires_ns < a->expires_ns) {
		struct loop_timer *later = a;

		a = b;
		b = later;
	}
	b->sibling = a->child;
	if (b->sibling != NULL)
		b->sibling->prev = b;
	b->prev = a;
	a->child = b;
	return a;
}

/* Cut one tree off the front of a chain of siblings. */
static struct loop_timer *cut_first(struct loop_timer **chain)
{
	struct loop_timer *tree = *chain;

	if (tree != NULL) {
		*chain = tree->sibling;
		tree->sibling = NULL;
		tree->prev = NULL;
	}
	return tree;
}

/* One heap of a chain of siblings: meld in pairs from the left, then all pairs from the right. */
static struct loop_timer *meld_chain(struct loop_timer *chain)
{
	struct loop_timer *pairs = NULL;
	struct loop_timer *root = NULL;

	while (chain != NULL) {
		struct loop_timer *left = cut_first(&chain);
		struct loop_timer *pair = meld(left, cut_first(&chain));

		pair->sibling = pairs;
		pairs = pair;
	}
	while (pairs != NULL)
		root = meld(root, cut_first(&pairs));
	return root;
}

/* Take a tree that is not the root out of its parent's chain. */
static void detach(struct loop_timer *timer)
{
	if (timer->prev->child == timer) {
		timer->prev->child = timer->sibling;
	} else {
		timer->prev->sibling = timer->sibling;
	}
	if (timer->sibling != NULL)
		timer->sibling->prev = timer->prev;
}

static void unlink_all(struct loop_timer *timer)
{
	timer->child = NULL;
	timer->sibling = NULL;
	timer->prev = NULL;
}

void timers_insert(struct timers *timers, struct loop_timer *timer)
{
	unlink_all(timer);
	timers->root = meld(timers->root, timer);
}

void timers_remove(struct timers *timers, struct loop_timer *timer)
{
	struct loop_timer *below;

	assert(timers->root != NULL);
	if (timer != timers->root)
		detach(timer);
	below = meld_chain(timer->child);
	timers->root = timer == timers->root ? below : meld(timers->root, below);
	unlink_all(timer);
}
