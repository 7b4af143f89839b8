/*
 * The heap is a tree: no timer is due before its parent. Children are a list,
 * from the one that came last. Two trees become one by the later root becoming
 * a child of the earlier; a root that goes leaves its children, which are made
 * one by pairs, as that keeps the tree broad.
 */
#include "daemon/base/timerq.h"

#include <assert.h>

/* Of two roots. */
static struct timer *meld(struct timer *a, struct timer *b)
{
	struct timer *first = mono_before(b->when, a->when) ? b : a;
	struct timer *last = first == a ? b : a;

	last->next = first->child;
	if (last->next)
		last->next->back = last;
	last->back = first;
	first->child = last;
	return first;
}

/* One root of all in a list; NULL of none. */
static struct timer *meld_all(struct timer *list)
{
	struct timer *pairs = NULL, *root = NULL;

	while (list) {
		struct timer *a = list, *b = list->next;

		list = b ? b->next : NULL;
		a->next = NULL;
		a = b ? meld(a, b) : a;
		a->next = pairs;
		pairs = a;
	}
	while (pairs) {
		struct timer *pair = pairs;

		pairs = pair->next;
		pair->next = NULL;
		root = root ? meld(root, pair) : pair;
	}
	return root;
}

static void set_root(struct timerq *queue, struct timer *root)
{
	queue->root = root;
	if (root)
		root->back = root;
}

void timerq_set(struct timerq *queue, struct timer *timer, struct mono when)
{
	timerq_clear(queue, timer);
	if (mono_is_never(when))
		return;
	timer->when = when;
	timer->child = timer->next = NULL;
	set_root(queue, queue->root ? meld(queue->root, timer) : timer);
}

void timerq_clear(struct timerq *queue, struct timer *timer)
{
	struct timer *rest;

	if (!timer_is_set(timer))
		return;
	assert((timer->back == timer) == (queue->root == timer));
	rest = meld_all(timer->child);
	if (queue->root == timer) {
		set_root(queue, rest);
	} else {
		if (timer->back->child == timer)
			timer->back->child = timer->next;
		else
			timer->back->next = timer->next;
		if (timer->next)
			timer->next->back = timer->back;
		if (rest)
			set_root(queue, meld(queue->root, rest));
	}
	timer_init(timer, timer->fire);
}

struct mono timerq_next(const struct timerq *queue)
{
	return queue->root ? queue->root->when : MONO_NEVER;
}

void timerq_run(struct timerq *queue, struct mono now, unsigned int budget)
{
	for (; budget > 0 && queue->root; budget--) {
		struct timer *timer = queue->root;

		if (mono_before(now, timer->when))
			break;
		timerq_clear(queue, timer);
		timer->fire(timer, now);
	}
}
