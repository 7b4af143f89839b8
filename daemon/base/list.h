/*
 * Intrusive doubly linked lists. A node is embedded in what it links; an
 * object is in a list by one node, and which list it is in is its state.
 *
 * A node that was initialised may be unlinked any number of times.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *prev;
	struct list *next;
};

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline void list_init(struct list *node)
{
	node->prev = node;
	node->next = node;
}

static inline bool list_empty(const struct list *node)
{
	return node->next == node;
}

static inline void list_unlink(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

/* Links node, which is in no list, as the last. */
static inline void list_append(struct list *head, struct list *node)
{
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}

/* Links node, which is in no list, as the first. */
static inline void list_prepend(struct list *head, struct list *node)
{
	list_append(head->next, node);
}

/* Moves all of from to the end of to. */
static inline void list_splice(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

/* The first or last entry, or NULL. */
#define list_first(head, type, member) (list_empty(head) ? NULL : container_of((head)->next, type, member))
#define list_last(head, type, member) (list_empty(head) ? NULL : container_of((head)->prev, type, member))

#define list_foreach(pos, head, member)                                                          \
	for (pos = container_of((head)->next, __typeof__(*pos), member); &pos->member != (head); \
	     pos = container_of(pos->member.next, __typeof__(*pos), member))

/* The current entry may be unlinked or freed in the body; others may not. */
#define list_foreach_safe(pos, tmp, head, member)                           \
	for (pos = container_of((head)->next, __typeof__(*pos), member),    \
	    tmp = container_of(pos->member.next, __typeof__(*pos), member); \
	     &pos->member != (head);                                        \
	     pos = tmp, tmp = container_of(tmp->member.next, __typeof__(*pos), member))
