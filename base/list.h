/*
 * Intrusive circular doubly linked list. A node is in at most one list; list_remove leaves it
 * self-linked, so that list_is_linked tells. No allocation, no thread safety.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_node {
	struct list_node *next, *prev;
};

static inline void list_init(struct list_node *list)
{
	list->next = list;
	list->prev = list;
}

static inline bool list_is_empty(const struct list_node *list)
{
	return list->next == list;
}

/* For a node: true while it is in a list. The node must have been list_init'ed once. */
static inline bool list_is_linked(const struct list_node *node)
{
	return node->next != node;
}

static inline void list_append(struct list_node *list, struct list_node *node)
{
	node->prev = list->prev;
	node->next = list;
	list->prev->next = node;
	list->prev = node;
}

static inline void list_prepend(struct list_node *list, struct list_node *node)
{
	list_append(list->next, node);
}

static inline void list_remove(struct list_node *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

/* The first node, or NULL. */
static inline struct list_node *list_first(const struct list_node *list)
{
	return list_is_empty(list) ? NULL : list->next;
}

/* Take the first node out. The list is not empty. */
static inline struct list_node *list_take_first(struct list_node *list)
{
	struct list_node *node = list->next;

	list_remove(node);
	return node;
}

/* Move all of `from` to the end of `to`. */
static inline void list_splice(struct list_node *to, struct list_node *from)
{
	if (list_is_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

/* Walk the list; the current node may be removed from inside. */
/* NOLINTBEGIN(bugprone-macro-parentheses): `node` is declared, and a declared name takes none. */
#define LIST_FOREACH(node, list)                                                               \
	for (struct list_node *node = (list)->next, *node##_next = node->next; node != (list); \
	     node = node##_next, node##_next = node->next)
/* NOLINTEND(bugprone-macro-parentheses) */

#endif
