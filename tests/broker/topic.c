/*
 * The bindings of a topic exchange, as a trie of words: "*" stands for one
 * word, "#" for any number of them. Words are what dots separate; the empty key
 * has none.
 *
 * Matching walks all ways through the trie that fit; its depth is bounded by
 * the number of words in a short string.
 */
#include "tests/broker/engine.h"

#include <stdlib.h>

struct topic_node {
	struct map_node by_word; /* in the parent's children */
	struct topic_node *parent;
	struct map children;
	struct name word;
	struct list bindings; /* struct binding.in_bucket: patterns that end here */
};

static struct topic_node *topic_child(const struct topic_node *node, struct span word)
{
	struct map_node *found = map_find(&node->children, word);

	return found ? container_of(found, struct topic_node, by_word) : NULL;
}

struct topic_node *bk_topic_new(void)
{
	struct topic_node *node = bk_xcalloc(sizeof(*node));

	list_init(&node->bindings);
	return node;
}

void bk_topic_free(struct topic_node *root)
{
	if (!root)
		return;
	map_deinit(&root->children);
	free(root);
}

/* Takes a word off the front of a key. False: there is none left. */
static bool word_take(struct span *rest, bool *more, struct span *ret)
{
	size_t len = 0;

	if (!*more)
		return false;
	while (len < rest->len && rest->data[len] != '.')
		len++;
	*ret = span_first(*rest, len);
	*more = len < rest->len;
	*rest = *more ? span_skip(*rest, len + 1) : SPAN_NULL;
	return true;
}

static struct topic_node *topic_find(struct topic_node *node, struct span pattern, bool make)
{
	bool more = pattern.len > 0;
	struct span word;

	while (node && word_take(&pattern, &more, &word)) {
		struct topic_node *child = topic_child(node, word);

		if (!child && make) {
			child = bk_topic_new();
			child->parent = node;
			bk_name_set(&child->word, word);
			bk_map_put(&node->children, &child->by_word, bk_name_span(&child->word));
		}
		node = child;
	}
	return node;
}

void bk_topic_add(struct topic_node *root, struct binding *binding)
{
	struct topic_node *node = topic_find(root, bk_name_span(&binding->key), true);

	list_append(&node->bindings, &binding->in_bucket);
}

void bk_topic_remove(struct topic_node *root, struct binding *binding)
{
	struct topic_node *node = topic_find(root, bk_name_span(&binding->key), false);

	list_unlink(&binding->in_bucket);
	while (node && node->parent && list_empty(&node->bindings) && node->children.count == 0) {
		struct topic_node *parent = node->parent;

		map_remove(&parent->children, &node->by_word);
		bk_topic_free(node);
		node = parent;
	}
}

struct topic_search {
	topic_match_fn match;
	void *context;
};

static void topic_report(const struct topic_node *node, const struct topic_search *search)
{
	struct binding *binding;

	list_foreach (binding, &node->bindings, in_bucket)
		search->match(binding, search->context);
}

static void topic_walk(const struct topic_node *node, struct span rest, bool more,
		       const struct topic_search *search)
{
	struct topic_node *hash = topic_child(node, SPAN_LITERAL("#"));
	struct topic_node *child;
	struct span word;

	if (hash) {
		/* It may stand for none of the words that are left, or one more each time. */
		struct span behind = rest;
		bool behind_more = more;

		do
			topic_walk(hash, behind, behind_more, search);
		while (word_take(&behind, &behind_more, &word));
	}
	if (!word_take(&rest, &more, &word)) {
		topic_report(node, search);
		return;
	}
	child = topic_child(node, SPAN_LITERAL("*"));
	if (child)
		topic_walk(child, rest, more, search);
	/* A word of a key is never a wildcard. */
	if (span_equal_str(word, "*") || span_equal_str(word, "#"))
		return;
	child = topic_child(node, word);
	if (child)
		topic_walk(child, rest, more, search);
}

void bk_topic_match(struct topic_node *root, struct span key, topic_match_fn match, void *context)
{
	struct topic_search search = {match, context};

	topic_walk(root, key, key.len > 0, &search);
}
