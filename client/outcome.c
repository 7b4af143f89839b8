/*
 * Outcomes of publishes. Most end as confirmed and in order, so they are kept
 * as a number (`base`: all up to here have ended) and a few ranges beyond it.
 * What did not end as confirmed is an exception; the last EXCEPTIONS_MAX ranges
 * of those are remembered for who asks later.
 */
#include "config.h"

#include "client/outcome.h"
#include "client/chan.h"
#include "client/conn.h"
#include "client/error.h"
#include "client/events.h"
#include "client/replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const outcome_names[] = {
    [MUXC_CONFIRMED] = "confirmed", [MUXC_RETURNED] = "returned", [MUXC_NACKED] = "nacked",
    [MUXC_FAILED] = "failed",	    [MUXC_UNKNOWN] = "unknown",
};

const char *muxc_outcome_name(int kind)
{
	return kind >= MUXC_CONFIRMED && kind <= MUXC_UNKNOWN ? outcome_names[kind] : "unknown";
}

void outcomes_deinit(struct outcomes *outcomes)
{
	size_t i;

	for (i = 0; i < outcomes->exceptions_count; i++)
		free(outcomes->exceptions[(outcomes->exceptions_start + i) % outcomes->exceptions_capacity]
			 .error);
	free(outcomes->exceptions);
	free(outcomes->settled);
	memset(outcomes, 0, sizeof(*outcomes));
}

/* --------------------------------------------------------------- exceptions */

static struct exception *exception_at(const struct outcomes *outcomes, size_t i)
{
	return &outcomes->exceptions[(outcomes->exceptions_start + i) % outcomes->exceptions_capacity];
}

static bool same_error(const struct muxc_error *a, const struct muxc_error *b)
{
	if (!a)
		return b->kind == MUXC_ERROR_NONE;
	return a->kind == b->kind && a->code == b->code && strcmp(a->text, b->text) == 0;
}

/* The newest one, if it can go on with this range. */
static struct exception *exception_joining(const struct outcomes *outcomes, struct range range, int kind,
					   const struct muxc_error *error)
{
	struct exception *last;

	if (outcomes->exceptions_count == 0)
		return NULL;
	last = exception_at(outcomes, outcomes->exceptions_count - 1);
	return last->kind == kind && last->range.last + 1 == range.first && same_error(last->error, error)
		   ? last
		   : NULL;
}

/* Room for one more; when the ring is as large as it gets, by forgetting the oldest later. */
static int exceptions_reserve(struct outcomes *outcomes)
{
	size_t capacity = outcomes->exceptions_capacity ? outcomes->exceptions_capacity * 2 : 8;
	struct exception *grown;

	if (outcomes->exceptions_count < outcomes->exceptions_capacity ||
	    outcomes->exceptions_capacity >= EXCEPTIONS_MAX)
		return 0;
	/* Until it is as large as it gets, the ring starts at 0. */
	grown = realloc(outcomes->exceptions, capacity * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	outcomes->exceptions = grown;
	outcomes->exceptions_capacity = capacity;
	return 0;
}

static void exception_forget(struct outcomes *outcomes)
{
	struct exception *oldest = exception_at(outcomes, 0);

	if (oldest->range.last > outcomes->forgotten)
		outcomes->forgotten = oldest->range.last;
	free(oldest->error);
	outcomes->exceptions_start = (outcomes->exceptions_start + 1) % outcomes->exceptions_capacity;
	outcomes->exceptions_count--;
}

/* After exceptions_reserve(). */
static void exception_add(struct outcomes *outcomes, struct range range, int kind,
			  const struct muxc_error *error)
{
	struct exception *last = exception_joining(outcomes, range, kind, error);

	if (last) {
		last->range.last = range.last;
		return;
	}
	if (outcomes->exceptions_count == outcomes->exceptions_capacity)
		exception_forget(outcomes);
	last = exception_at(outcomes, outcomes->exceptions_count++);
	last->range = range;
	last->kind = kind;
	/* Without memory the kind is told, the reason is not. */
	last->error = error->kind == MUXC_ERROR_NONE ? NULL : error_dup(error);
}

/* ------------------------------------------------------------------- ranges */

static void settled_remove(struct outcomes *outcomes, size_t at)
{
	outcomes->settled_count--;
	memmove(&outcomes->settled[at], &outcomes->settled[at + 1],
		(outcomes->settled_count - at) * sizeof(outcomes->settled[0]));
}

static int settled_reserve(struct outcomes *outcomes)
{
	size_t capacity = outcomes->settled_capacity ? outcomes->settled_capacity * 2 : 8;
	struct range *grown;

	if (outcomes->settled_count < outcomes->settled_capacity)
		return 0;
	grown = realloc(outcomes->settled, capacity * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	outcomes->settled = grown;
	outcomes->settled_capacity = capacity;
	return 0;
}

static void settled_insert(struct outcomes *outcomes, size_t at, struct range range)
{
	memmove(&outcomes->settled[at + 1], &outcomes->settled[at],
		(outcomes->settled_count - at) * sizeof(outcomes->settled[0]));
	outcomes->settled[at] = range;
	outcomes->settled_count++;
}

/* Index of the first settled range that ends at or behind the number. */
static size_t settled_find(const struct outcomes *outcomes, uint64_t number)
{
	size_t low = 0, high = outcomes->settled_count, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (outcomes->settled[middle].last < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool settled_overlaps(const struct outcomes *outcomes, struct range range)
{
	size_t at = settled_find(outcomes, range.first);

	return range.first <= outcomes->base ||
	       (at < outcomes->settled_count && outcomes->settled[at].first <= range.last);
}

/* What overlaps nothing; after settled_reserve(). */
static void settled_add(struct outcomes *outcomes, struct range range)
{
	size_t at = settled_find(outcomes, range.first);
	struct range *next = at < outcomes->settled_count ? &outcomes->settled[at] : NULL;
	struct range *previous = at > 0 ? &outcomes->settled[at - 1] : NULL;

	if (range.first == outcomes->base + 1) {
		outcomes->base = range.last;
		if (next && next->first == range.last + 1) {
			outcomes->base = next->last;
			settled_remove(outcomes, at);
		}
	} else if (previous && previous->last + 1 == range.first) {
		previous->last = range.last;
		if (next && next->first == range.last + 1) {
			previous->last = next->last;
			settled_remove(outcomes, at);
		}
	} else if (next && next->first == range.last + 1) {
		next->first = range.first;
	} else {
		settled_insert(outcomes, at, range);
	}
}

/* ----------------------------------------------------------------- settling */

static void count_in(struct outcomes *outcomes, struct range range, int kind, const struct muxc_error *error)
{
	outcomes->counts[kind] += range.last - range.first + 1;
	if (kind == MUXC_CONFIRMED || outcomes->has_failure)
		return;
	outcomes->has_failure = true;
	outcomes->first_failure = *error;
}

/* What can fail comes first: an outcome is kept and told, or neither. */
int outcomes_settle(struct muxc_channel *channel, struct range range, int kind,
		    const struct muxc_error *error)
{
	struct outcomes *outcomes = &channel->outcomes;
	struct notice notice = {
	    .event = {NULL, EVENT_OUTCOME}, .first = range.first, .last = range.last, .kind = kind};
	int r = 0;

	if (range.first == 0 || range.last < range.first || range.last > outcomes->published ||
	    settled_overlaps(outcomes, range))
		return -EPROTO;
	if (range.first != outcomes->base + 1)
		r = settled_reserve(outcomes);
	if (r == 0 && kind != MUXC_CONFIRMED)
		r = exceptions_reserve(outcomes);
	notice.error = *error;
	if (r == 0)
		r = notice_push(channel, &notice);
	if (r < 0)
		return r;
	settled_add(outcomes, range);
	replay_settled(channel, range);
	count_in(outcomes, range, kind, error);
	if (kind != MUXC_CONFIRMED)
		exception_add(outcomes, range, kind, error);
	return 0;
}

void outcomes_settle_rest(struct muxc_channel *channel, int kind, const struct muxc_error *error)
{
	struct outcomes *outcomes = &channel->outcomes;
	struct range gap = {0, 0};

	if (outcomes->rest_last > 0 || outcomes->base == outcomes->published)
		return;
	outcomes->rest_last = outcomes->published;
	outcomes->rest_kind = kind;
	outcomes->rest_error = *error;
	while (outcomes_next_rest(outcomes, gap.last, &gap))
		count_in(outcomes, gap, kind, error);
}

bool outcomes_complete(const struct outcomes *outcomes, uint64_t number)
{
	return number <= outcomes->base || number <= outcomes->rest_last;
}

bool outcomes_next_rest(const struct outcomes *outcomes, uint64_t after, struct range *ret)
{
	uint64_t first = (after > outcomes->base ? after : outcomes->base) + 1;
	size_t at = settled_find(outcomes, first);

	if (at < outcomes->settled_count && outcomes->settled[at].first <= first)
		first = outcomes->settled[at++].last + 1;
	if (first > outcomes->rest_last)
		return false;
	ret->first = first;
	ret->last = at < outcomes->settled_count ? outcomes->settled[at].first - 1 : outcomes->rest_last;
	return true;
}

/* ------------------------------------------------------------------ waiting */

static bool is_rest(const struct outcomes *outcomes, uint64_t number)
{
	return number <= outcomes->rest_last && !settled_overlaps(outcomes, (struct range){number, number});
}

static bool is_settled(const struct outcomes *outcomes, uint64_t number)
{
	return number <= outcomes->rest_last || settled_overlaps(outcomes, (struct range){number, number});
}

/* The kind of a settled one, or -ENODATA. */
static int kind_of(const struct outcomes *outcomes, uint64_t number, struct muxc_error *ret_error)
{
	const struct exception *exception;
	size_t i;

	if (is_rest(outcomes, number)) {
		error_copy(ret_error, &outcomes->rest_error);
		return outcomes->rest_kind;
	}
	for (i = outcomes->exceptions_count; i > 0; i--) {
		exception = exception_at(outcomes, i - 1);
		if (number < exception->range.first || number > exception->range.last)
			continue;
		if (exception->error)
			error_copy(ret_error, exception->error);
		return exception->kind;
	}
	if (number <= outcomes->forgotten)
		return error_set(ret_error, -ENODATA,
				 "the outcome of publish %llu is not remembered any more",
				 (unsigned long long)number);
	return MUXC_CONFIRMED;
}

static int wait_settled(struct muxc_channel *channel, uint64_t number, uint64_t timeout_usec,
			struct muxc_error *ret_error)
{
	uint64_t deadline = deadline_after(timeout_usec ? timeout_usec : channel->c->request_timeout_usec);

	while (!is_settled(&channel->outcomes, number)) {
		if (channel_wait(channel, deadline) < 0 && !is_settled(&channel->outcomes, number))
			return error_set(ret_error, -ETIMEDOUT, "publish %llu has no outcome yet",
					 (unsigned long long)number);
	}
	return 0;
}

int muxc_wait_outcome(struct muxc_channel *channel, uint64_t number, uint64_t timeout_usec, int *ret_kind,
		      struct muxc_error *ret_error)
{
	int r;

	r = channel_lock(channel, ret_error);
	if (r < 0)
		return r;
	if (number == 0 || number > channel->outcomes.published)
		r = error_set(ret_error, -EINVAL, "no publish has the number %llu",
			      (unsigned long long)number);
	else
		r = wait_settled(channel, number, timeout_usec, ret_error);
	if (r == 0) {
		error_clear(ret_error);
		r = kind_of(&channel->outcomes, number, ret_error);
	}
	channel_leave(channel);
	if (r < 0)
		return r;
	if (ret_kind)
		*ret_kind = r;
	return 0;
}

/* As many counts as the program's struct has room for. */
static int totals_copy(const struct outcomes *outcomes, struct muxc_totals *ret)
{
	struct muxc_totals totals = {
	    .size = ret->size,
	    .published = outcomes->published,
	    .confirmed = outcomes->counts[MUXC_CONFIRMED],
	    .returned = outcomes->counts[MUXC_RETURNED],
	    .nacked = outcomes->counts[MUXC_NACKED],
	    .failed = outcomes->counts[MUXC_FAILED],
	    .unknown = outcomes->counts[MUXC_UNKNOWN],
	};

	if (ret->size < sizeof(size_t))
		return -EINVAL;
	memcpy(ret, &totals, ret->size < sizeof(totals) ? ret->size : sizeof(totals));
	return 0;
}

int muxc_wait_all(struct muxc_channel *channel, uint64_t timeout_usec, struct muxc_totals *ret_totals,
		  struct muxc_error *ret_error)
{
	uint64_t number;
	uint64_t deadline;
	int r;

	r = channel_lock(channel, ret_error);
	if (r < 0)
		return r;
	number = channel->outcomes.published;
	deadline = deadline_after(timeout_usec ? timeout_usec : channel->c->request_timeout_usec);
	while (!outcomes_complete(&channel->outcomes, number) && channel->state != CHANNEL_ENDED) {
		if (channel_wait(channel, deadline) < 0 && !outcomes_complete(&channel->outcomes, number)) {
			r = error_set(ret_error, -ETIMEDOUT, "%llu publishes have no outcome yet",
				      (unsigned long long)(number - channel->outcomes.base));
			break;
		}
	}
	if (r == 0) {
		error_clear(ret_error);
		if (channel->outcomes.has_failure)
			error_copy(ret_error, &channel->outcomes.first_failure);
		r = ret_totals ? totals_copy(&channel->outcomes, ret_totals) : 0;
	}
	channel_leave(channel);
	return r;
}

int muxc_channel_get_totals(struct muxc_channel *channel, struct muxc_totals *ret_totals)
{
	int r;

	if (!ret_totals)
		return -EINVAL;
	r = channel_lock(channel, NULL);
	if (r < 0)
		return r;
	r = totals_copy(&channel->outcomes, ret_totals);
	channel_leave(channel);
	return r;
}
