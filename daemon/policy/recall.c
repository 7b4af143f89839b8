#include "daemon/policy/recall.h"

#include "daemon/base/hash.h"

#include <string.h>

static size_t place_of(const void *pattern, struct span name)
{
	uint64_t hash = hash_more(HASH_BEGIN, span_make(&pattern, sizeof(pattern)));

	hash = hash_more(hash, name);
	return (size_t)(hash ^ (hash >> 32)) & (RECALL_NAMES - 1);
}

int recall_find(const struct recall *recall, const void *pattern, struct span name)
{
	const struct recalled *recalled = &recall->names[place_of(pattern, name)];

	if (recalled->pattern != pattern || !span_equal(span_make(recalled->name, recalled->len), name))
		return -1;
	return recalled->matches;
}

void recall_keep(struct recall *recall, const void *pattern, struct span name, bool matches)
{
	struct recalled *recalled = &recall->names[place_of(pattern, name)];

	if (name.len > RECALL_NAME_MAX)
		return;
	recalled->pattern = pattern;
	recalled->matches = matches;
	recalled->len = (uint8_t)name.len;
	if (name.len > 0)
		memcpy(recalled->name, name.data, name.len);
}
