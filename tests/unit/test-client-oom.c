/*
 * libmuxclient without memory: see oom-world.h. A new scenario is a function
 * here and a line in `scenarios`.
 */
#include "tests/unit/oom-world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_USEC 5000000u
#define UNTOUCHED 4711u

/* --------------------------------------------------------------- connection */

static void connecting(struct world *w)
{
	if (!can(w, world_connect(w)))
		return;
	if (!can(w, muxc_wait_ready(w->c, WAIT_USEC, &w->error)))
		return;
	ck_assert_uint_eq(muxc_get_session(w->c), 7);
	if (await(w, &w->upstreams, 1))
		ck_assert_int_eq(muxc_get_upstream_state(w->c), MUXC_UPSTREAM_UP);
}

static void pinging(struct world *w)
{
	(void)can(w, muxc_ping(w->c, WAIT_USEC, &w->error));
	(void)can(w, muxc_flush(w->c));
}

static void going_away(struct world *w)
{
	if (can(w, muxc_queue_purge(w->channel, "upstream", NULL, WAIT_USEC, &w->error)) &&
	    await(w, &w->upstreams, 2))
		ck_assert_int_eq(muxc_get_upstream_state(w->c), MUXC_UPSTREAM_BLOCKED);
	if (can(w, muxc_queue_purge(w->channel, "away", NULL, WAIT_USEC, &w->error)))
		(void)await(w, &w->going_away, 1);
}

static void losing_muxd(struct world *w)
{
	struct muxc_consumer_options options = {
	    .size = sizeof(options), .queue = "some", .on_message = on_world_message, .userdata = w};
	int i;

	w->expected_end = -ECONNRESET;
	(void)could(w, muxc_consume(w->channel, &options, NULL, WAIT_USEC, &w->error), -ECONNRESET);
	for (i = 0; i < 6; i++)
		(void)world_publish(w, i % 2 ? "hold" : "confirm", "body", 4);
	(void)could(w, muxc_queue_purge(w->channel, "hang-up", NULL, WAIT_USEC, &w->error), -ECONNRESET);
	if (!alive(w))
		(void)await(w, &w->closed, 1);
}

/* Lost and back; false: it could not be lost, or has ended. */
static bool lose(struct world *w)
{
	int before = w->back, r;

	r = muxc_queue_purge(w->channel, "hang-up", NULL, WAIT_USEC, &w->error);
	ck_assert_int_lt(r, 0);
	(void)could(w, r, -ECONNRESET);
	return r == -ECONNRESET && await(w, &w->back, before + 1);
}

static bool consume_two(struct world *w)
{
	struct muxc_consumer_options options = {
	    .size = sizeof(options), .queue = "some", .on_message = on_world_message, .userdata = w};

	if (!can(w, muxc_qos(w->channel, 10, WAIT_USEC, &w->error)) ||
	    !can(w, muxc_consume(w->channel, &options, NULL, WAIT_USEC, &w->error)))
		return false;
	options.queue = "amq.rabbitmq.reply-to";
	options.on_interrupted = on_world_interrupted;
	return can(w, muxc_qos(w->channel, 20, WAIT_USEC, &w->error)) &&
	       can(w, muxc_consume(w->channel, &options, NULL, WAIT_USEC, &w->error));
}

static void coming_back_with_consumers(struct world *w)
{
	if (!consume_two(w) || !lose(w) || !await(w, &w->interrupted, 1))
		return;
	(void)can(w, muxc_ping(w->c, WAIT_USEC, &w->error));
	(void)lose(w);
}

static void coming_back_with_publishes(struct world *w)
{
	int i;

	for (i = 0; i < 12; i++)
		(void)world_publish(w, i % 3 ? "hold" : "confirm", "body", 4);
	if (!lose(w))
		return;
	(void)world_publish(w, "release", "body", 4);
	(void)can(w, muxc_wait_all(w->channel, WAIT_USEC, NULL, &w->error));
}

static void coming_back_with_declarations(struct world *w)
{
	struct muxc_exchange exchange = {.size = sizeof(exchange), .name = "e", .type = "topic"};
	struct muxc_queue queue = {.size = sizeof(queue), .name = "q"};
	struct muxc_binding binding = {
	    .size = sizeof(binding), .destination = "q", .source = "e", .routing_key = "k"};

	if (!can(w, muxc_exchange_declare(w->channel, &exchange, WAIT_USEC, &w->error)) ||
	    !can(w, muxc_queue_declare(w->channel, &queue, NULL, WAIT_USEC, &w->error)) ||
	    !can(w, muxc_queue_bind(w->channel, &binding, WAIT_USEC, &w->error)))
		return;
	if (lose(w))
		(void)can(w, muxc_ping(w->c, WAIT_USEC, &w->error));
}

static void coming_back_in_transactions(struct world *w)
{
	if (!can(w, muxc_tx_select(w->channel, WAIT_USEC, &w->error)) || !lose(w))
		return;
	(void)can(w, muxc_tx_commit(w->channel, WAIT_USEC, &w->error));
}

static void leaving(struct world *w)
{
	(void)world_publish(w, "confirm", "body", 4);
	if (!can(w, muxc_queue_purge(w->channel, "away", NULL, WAIT_USEC, &w->error)))
		return;
	(void)await(w, &w->back, 1);
}

static void freeing(struct world *w)
{
	(void)world_publish(w, "hold", "body", 4);
	w->channel = muxc_channel_free(w->channel);
	ck_assert_int_eq(w->destroyed, 1);
	w->c = muxc_free(w->c);
}

/* ----------------------------------------------------------------- channels */

static void channels_opening(struct world *w)
{
	struct muxc_channel *channels[6] = {NULL};
	int i, r;

	for (i = 0; i < 6; i++) {
		r = muxc_channel_open(w->c, NULL, &channels[i]);
		if (!can(w, r))
			ck_assert_ptr_null(channels[i]);
	}
	if (channels[0])
		(void)can(w, muxc_channel_close(channels[0]));
	(void)can(w, muxc_ping(w->c, WAIT_USEC, &w->error));
	for (i = 0; i < 6; i++)
		muxc_channel_free(channels[i]);
	(void)can(w, muxc_ping(w->c, WAIT_USEC, &w->error));
}

/* The channel was freed, and what it published is refused behind that. */
static void channel_freed_before_outcomes(struct world *w)
{
	struct muxc_channel *channel = w->channel;
	int i;

	for (i = 0; i < 4; i++)
		(void)world_publish(w, "hold", "body", 4);
	(void)world_publish(w, "release", "body", 4);
	w->channel = muxc_channel_free(channel);
	(void)can(w, muxc_ping(w->c, WAIT_USEC, &w->error));
	(void)can(w, muxc_ping(w->c, WAIT_USEC, &w->error));
}

static void channel_ended_by_muxd(struct world *w)
{
	int r;

	(void)world_publish(w, "hold", "body", 4);
	r = muxc_queue_purge(w->channel, "end", NULL, WAIT_USEC, &w->error);
	ck_assert_int_lt(r, 0);
	(void)could(w, r, -ENOENT);
	if (r != -ENOENT)
		return;
	(void)could(w, muxc_queue_purge(w->channel, "any", NULL, WAIT_USEC, &w->error), -ENOENT);
	if (await(w, &w->channel_closed, 1))
		ck_assert_int_eq(w->told_count, (int)w->published);
}

static void channel_refused(struct world *w)
{
	struct muxc_queue queue = {.size = sizeof(queue), .name = "refused"};
	struct muxc_error error = MUXC_ERROR_INIT;
	int r;

	r = muxc_queue_declare(w->channel, &queue, NULL, WAIT_USEC, &error);
	(void)could(w, r, -ENOENT);
	ck_assert_int_lt(r, 0);
	if (r == -ENOENT && await(w, &w->channel_closed, 1))
		(void)could(w, muxc_channel_get_error(w->channel, &w->error), -ENOENT);
}

/* --------------------------------------------------------------- publishing */

static void publishing(struct world *w)
{
	struct muxc_totals totals = {.size = sizeof(totals)};
	uint64_t number;
	int i, kind;

	for (i = 0; i < 3; i++) {
		number = world_publish(w, "key", "body", 4);
		kind = UNTOUCHED;
		if (number && can(w, muxc_wait_outcome(w->channel, number, WAIT_USEC, &kind, &w->error)))
			ck_assert_int_eq(kind, alive(w) ? MUXC_CONFIRMED : kind);
		else
			ck_assert_int_eq(kind, UNTOUCHED);
	}
	if (can(w, muxc_wait_all(w->channel, WAIT_USEC, &totals, &w->error))) {
		ck_assert_uint_eq(totals.published, w->published);
		ck_assert_uint_eq(totals.confirmed + totals.unknown, w->published);
	}
	if (alive(w))
		(void)await(w, &w->told_count, (int)w->published);
}

/* Larger than the credit, than what is copied, than the buffers that are kept. */
static void publishing_large(struct world *w)
{
	static const size_t sizes[] = {8192, 40000, 300000, 5000};
	char *body = malloc(300000);
	size_t i;

	ck_assert_ptr_nonnull(body);
	memset(body, 'x', 300000);
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		(void)world_publish(w, "key", body, sizes[i]);
	free(body);
	(void)can(w, muxc_wait_all(w->channel, WAIT_USEC, NULL, &w->error));
}

static void publishing_without_waiting(struct world *w)
{
	struct muxc_publication publication = {
	    .size = sizeof(publication), .routing_key = "key", .flags = MUXC_NONBLOCK};
	static const char body[40000];
	uint64_t number = UNTOUCHED;

	publication.body = body;
	publication.body_len = sizeof(body);
	if (!could(w, muxc_publish_full(w->channel, &publication, 0, &number, &w->error), -EAGAIN))
		ck_assert_uint_eq(number, UNTOUCHED);
	else
		w->published++;
	(void)can(w, muxc_ping(w->c, WAIT_USEC, &w->error));
	if (could(w, muxc_publish_full(w->channel, &publication, 0, NULL, &w->error), -EAGAIN))
		w->published++;
}

static int message_fill(struct muxc_message *message)
{
	struct muxc_table *headers = NULL;
	int property, r;

	r = muxc_table_new(&headers);
	if (r == 0)
		r = muxc_table_set_string(headers, "name", "value", MUXC_STRLEN);
	if (r == 0)
		r = muxc_message_set_headers(message, headers);
	muxc_table_free(headers);
	for (property = 1; r == 0 && property <= MUXC_CLUSTER_ID; property++) {
		if (property == MUXC_HEADERS)
			continue;
		r = muxc_message_set_text(message, property, "text", MUXC_STRLEN);
		if (r == -EINVAL)
			r = muxc_message_set_number(message, property, 2);
	}
	return r;
}

static void publishing_with_properties(struct world *w)
{
	struct muxc_message *message = NULL;
	uint64_t number = 0;

	if (!can(w, muxc_message_new(&message))) {
		ck_assert_ptr_null(message);
		return;
	}
	(void)muxc_message_set_body(message, "body", 4);
	if (can(w, message_fill(message)))
		ck_assert_str_eq(muxc_message_get_text(message, MUXC_APP_ID, NULL), "text");
	if (can(w, muxc_publish(w->channel, "", "key", message, 0, &number)))
		w->published = number;
	muxc_message_unref(message);
	(void)can(w, muxc_wait_all(w->channel, WAIT_USEC, NULL, &w->error));
}

/* What each publish is to end as; unknown is always allowed once the connection has ended. */
static void check_told(struct world *w, const int *kinds, int count)
{
	int i;

	if (!await(w, &w->told_count, count))
		return;
	for (i = 1; i <= count; i++)
		ck_assert_msg(w->told[i] == kinds[i] || (w->told[i] == MUXC_UNKNOWN && !alive(w)),
			      "publish %d was told as %d", i, w->told[i]);
}

static void outcomes_by_handler(struct world *w)
{
	static const char *const keys[] = {"a", "nack", "nack", "return", "b", "nack", "c", "return"};
	static const int ends[] = {MUXC_CONFIRMED, MUXC_NACKED, MUXC_NACKED,	MUXC_RETURNED,
				   MUXC_CONFIRMED, MUXC_NACKED, MUXC_CONFIRMED, MUXC_RETURNED};
	int kinds[TOLD_MAX + 1] = {0}, i;
	uint64_t number;

	for (i = 0; i < 8; i++) {
		number = world_publish(w, keys[i], "body", 4);
		kinds[number] = ends[i];
	}
	check_told(w, kinds, (int)w->published);
	if (unhurt(w))
		ck_assert_int_eq(w->returned, 2);
}

/* Held ones are refused newest first, every second one was confirmed meanwhile. */
static void outcomes_by_waiting(struct world *w)
{
	int kinds[TOLD_MAX + 1] = {0}, kind, r, i;
	struct muxc_totals totals = {.size = sizeof(totals)};
	uint64_t number;
	bool released;

	for (i = 0; i < 40; i++) {
		number = world_publish(w, i % 2 ? "hold" : "key", "body", 4);
		kinds[number] = i % 2 ? MUXC_NACKED : MUXC_CONFIRMED;
	}
	number = world_publish(w, "release", "body", 4);
	kinds[number] = MUXC_CONFIRMED;
	released = number > 0;
	for (number = 1; number <= w->published && released; number++) {
		kind = UNTOUCHED;
		r = muxc_wait_outcome(w->channel, number, WAIT_USEC, &kind, &w->error);
		if (!could(w, r, -ENODATA))
			ck_assert_int_eq(kind, UNTOUCHED);
		else
			ck_assert_msg(kind == kinds[number] || (kind == MUXC_UNKNOWN && !alive(w)),
				      "publish %d ended as %d", (int)number, kind);
	}
	if (!released)
		return;
	r = muxc_wait_all(w->channel, WAIT_USEC, &totals, &w->error);
	if (r == 0 && totals.nacked > 0)
		ck_assert_int_eq(w->error.error, -ETIMEDOUT);
	(void)can(w, r);
}

/* ---------------------------------------------------------------- consuming */

static bool consume(struct world *w, const char *queue, const char *tag, uint32_t window)
{
	struct muxc_consumer_options options = {
	    .size = sizeof(options),
	    .queue = queue,
	    .tag = tag,
	    .window_messages = window,
	    .on_message = on_world_message,
	    .on_cancelled = on_world_cancelled,
	    .on_interrupted = on_world_interrupted,
	    .userdata = w,
	};
	uint32_t consumer = UNTOUCHED;
	char buffer[64];

	if (!can(w, muxc_consume(w->channel, &options, &consumer, WAIT_USEC, &w->error))) {
		ck_assert_uint_eq(consumer, UNTOUCHED);
		return false;
	}
	ck_assert_uint_eq(consumer, 1);
	if (can(w, muxc_consumer_get_tag(w->channel, consumer, buffer, sizeof(buffer))))
		ck_assert_str_eq(buffer, "tag-1");
	return true;
}

static void consuming(struct world *w)
{
	if (!consume(w, "some", "tag-1", 0))
		return;
	if (!await(w, &w->messages, 5))
		return;
	(void)can(w, muxc_cancel(w->channel, 1, WAIT_USEC, &w->error));
}

static void waiting_for_handlers(struct world *w)
{
	if (!consume(w, "some", NULL, 0) || !can(w, muxc_ping(w->c, WAIT_USEC, &w->error)))
		return;
	if (can(w, muxc_wait_handlers(w->channel, WAIT_USEC, &w->error)) && unhurt(w))
		ck_assert_int_eq(w->messages, 5);
}

/* Credit is granted again, and every second message settled in another way. */
static void consuming_much(struct world *w)
{
	if (consume(w, "many", NULL, 8))
		(void)await(w, &w->messages, 200);
	(void)can(w, muxc_ping(w->c, WAIT_USEC, &w->error));
}

/* Messages have come and were not handled: they go back. */
static void cancelling(struct world *w)
{
	if (!consume(w, "some", NULL, 0))
		return;
	(void)can(w, muxc_ping(w->c, WAIT_USEC, &w->error));
	(void)can(w, muxc_cancel(w->channel, 1, WAIT_USEC, &w->error));
	(void)can(w, muxc_ping(w->c, WAIT_USEC, &w->error));
}

static void consumer_events(struct world *w)
{
	if (!consume(w, "none", NULL, 0))
		return;
	if (can(w, muxc_queue_purge(w->channel, "interrupt", NULL, WAIT_USEC, &w->error)))
		(void)await(w, &w->interrupted, 1);
	if (can(w, muxc_queue_purge(w->channel, "cancel", NULL, WAIT_USEC, &w->error)))
		(void)await(w, &w->cancelled, 1);
}

static void consumer_refused(struct world *w)
{
	struct muxc_consumer_options options = {
	    .size = sizeof(options), .queue = "refused", .on_message = on_world_message, .userdata = w};
	int r = muxc_consume(w->channel, &options, NULL, WAIT_USEC, &w->error);

	ck_assert_int_lt(r, 0);
	(void)could(w, r, -EACCES);
}

/* The answers come when nobody waits any more: they are undone. */
static void abandoned(struct world *w)
{
	struct muxc_consumer_options options = {
	    .size = sizeof(options), .queue = "slow", .on_message = on_world_message, .userdata = w};
	struct muxc_message *message = NULL;

	(void)could(w, muxc_consume(w->channel, &options, NULL, 1000, &w->error), -ETIMEDOUT);
	(void)can(w, muxc_ping(w->c, WAIT_USEC, &w->error));
	(void)could(w, muxc_get(w->channel, "slow", 0, &message, 1000, &w->error), -ETIMEDOUT);
	ck_assert_ptr_null(message);
	(void)can(w, muxc_ping(w->c, WAIT_USEC, &w->error));
	(void)can(w, muxc_ping(w->c, WAIT_USEC, &w->error));
}

static void check_headers(const struct muxc_message *message)
{
	struct muxc_value value;
	struct muxc_iter iter;

	ck_assert_int_eq(muxc_message_get_headers(message, &iter), 1);
	ck_assert_int_eq(muxc_iter_find(&iter, "answer", MUXC_STRLEN, &value), 1);
	ck_assert_int_eq((int)value.u.integer, 42);
}

static void getting(struct world *w)
{
	struct muxc_message *message = NULL;
	int r;

	r = muxc_get(w->channel, "full", 0, &message, WAIT_USEC, &w->error);
	if (can(w, r)) {
		ck_assert_int_eq(r, 1);
		ck_assert_uint_eq(muxc_message_get_remaining(message), 3);
		check_headers(message);
		(void)can(w, muxc_ack(w->channel, muxc_message_get_tag(message), MUXC_UP_TO));
	} else {
		ck_assert_ptr_null(message);
	}
	message = muxc_message_unref(message);
	(void)can(w, muxc_get(w->channel, "empty", MUXC_NO_ACK, &message, WAIT_USEC, &w->error));
	ck_assert_ptr_null(message);
	(void)can(w, muxc_recover(w->channel, WAIT_USEC, &w->error));
}

static void limiting(struct world *w)
{
	(void)can(w, muxc_qos(w->channel, 10, WAIT_USEC, &w->error));
	(void)can(w, muxc_qos_full(w->channel, 10, MUXC_QOS_CHANNEL, WAIT_USEC, &w->error));
}

static void transacting(struct world *w)
{
	(void)can(w, muxc_tx_select(w->channel, WAIT_USEC, &w->error));
	(void)can(w, muxc_tx_commit(w->channel, WAIT_USEC, &w->error));
	(void)can(w, muxc_tx_rollback(w->channel, WAIT_USEC, &w->error));
}

/* ----------------------------------------------------------------- topology */

static void declaring(struct world *w)
{
	struct muxc_queue queue = {.size = sizeof(queue), .flags = MUXC_DURABLE};
	struct muxc_queue_info info = {.size = sizeof(info), .messages = UNTOUCHED};
	uint32_t messages = UNTOUCHED;

	if (can(w, muxc_queue_declare(w->channel, &queue, &info, WAIT_USEC, &w->error))) {
		ck_assert_uint_eq(info.messages, 4);
		ck_assert_str_eq(info.name, "muxd.gen-1");
	} else {
		ck_assert_uint_eq(info.messages, UNTOUCHED);
		ck_assert_str_eq(info.name, "");
	}
	if (can(w, muxc_queue_purge(w->channel, "q", &messages, WAIT_USEC, &w->error)))
		ck_assert_uint_eq(messages, 5);
	else
		ck_assert_uint_eq(messages, UNTOUCHED);
	(void)can(w, muxc_queue_delete(w->channel, "q", MUXC_IF_EMPTY, &messages, WAIT_USEC, &w->error));
}

static void binding(struct world *w)
{
	struct muxc_exchange exchange = {.size = sizeof(exchange), .name = "e", .type = "topic"};
	struct muxc_binding binding = {
	    .size = sizeof(binding), .destination = "q", .source = "e", .routing_key = "k"};
	struct muxc_table *arguments = NULL;

	(void)can(w, muxc_table_new(&arguments));
	if (arguments)
		(void)can(w, muxc_table_set_int32(arguments, "x-n", 5));
	exchange.arguments = binding.arguments = arguments;
	(void)can(w, muxc_exchange_declare(w->channel, &exchange, WAIT_USEC, &w->error));
	(void)can(w, muxc_queue_bind(w->channel, &binding, WAIT_USEC, &w->error));
	(void)can(w, muxc_queue_unbind(w->channel, &binding, WAIT_USEC, &w->error));
	(void)can(w, muxc_exchange_bind(w->channel, &binding, WAIT_USEC, &w->error));
	(void)can(w, muxc_exchange_unbind(w->channel, &binding, WAIT_USEC, &w->error));
	(void)can(w, muxc_exchange_delete(w->channel, "e", 0, WAIT_USEC, &w->error));
	muxc_table_free(arguments);
}

/* ---------------------------------------------------------- tables, messages */

static size_t table_count(const struct muxc_table *table)
{
	struct muxc_field field;
	struct muxc_iter iter;
	size_t count = 0;

	muxc_table_iter(table, &iter);
	while (muxc_iter_next(&iter, &field) > 0)
		count++;
	return count;
}

/* A field that could not be set leaves the table as it was. */
static void table_try(struct world *w, const struct muxc_table *table, size_t *count, int r)
{
	*count += can(w, r);
	ck_assert_uint_eq(table_count(table), *count);
}

static void tables_fill(struct world *w, struct muxc_table *t, const struct muxc_table *nested)
{
	char name[256];
	size_t n = 0;

	memset(name, 'n', 255);
	name[255] = '\0';
	table_try(w, t, &n, muxc_table_set_bool(t, "a", 1));
	table_try(w, t, &n, muxc_table_set_int8(t, "b", -1));
	table_try(w, t, &n, muxc_table_set_uint8(t, "c", 1));
	table_try(w, t, &n, muxc_table_set_int16(t, "d", -1));
	table_try(w, t, &n, muxc_table_set_uint16(t, "e", 1));
	table_try(w, t, &n, muxc_table_set_int32(t, "f", -1));
	table_try(w, t, &n, muxc_table_set_uint32(t, "g", 1));
	table_try(w, t, &n, muxc_table_set_int64(t, "h", -1));
	table_try(w, t, &n, muxc_table_set_uint64(t, "i", 1));
	table_try(w, t, &n, muxc_table_set_float(t, "j", 1));
	table_try(w, t, &n, muxc_table_set_double(t, "k", 1));
	table_try(w, t, &n, muxc_table_set_decimal(t, "l", 2, 314));
	table_try(w, t, &n, muxc_table_set_string(t, "m", name, MUXC_STRLEN));
	table_try(w, t, &n, muxc_table_set_bytes(t, "n", name, 100));
	table_try(w, t, &n, muxc_table_set_array(t, "o", nested));
	table_try(w, t, &n, muxc_table_set_time(t, "p", 1));
	table_try(w, t, &n, muxc_table_set_table(t, "q", nested));
	table_try(w, t, &n, muxc_table_set_void(t, name));
}

static void tables(struct world *w)
{
	struct muxc_table *table = NULL, *nested = NULL;
	struct muxc_value value;
	struct muxc_iter iter;

	if (can(w, muxc_table_new(&nested)) && can(w, muxc_table_new(&table))) {
		(void)can(w, muxc_table_set_int32(nested, NULL, 1));
		tables_fill(w, table, nested);
		/* Set once more: the old value, or the new one. */
		(void)can(w, muxc_table_set_int32(table, "f", 7));
		muxc_table_iter(table, &iter);
		if (muxc_iter_find(&iter, "f", MUXC_STRLEN, &value) == 1)
			ck_assert(value.u.integer == -1 || value.u.integer == 7);
		ck_assert_int_ge(muxc_table_unset(table, "a", MUXC_STRLEN), 0);
	}
	muxc_table_free(table);
	muxc_table_free(nested);
}

static void messages(struct world *w)
{
	struct muxc_message *message = NULL;
	const char *text;

	if (!can(w, muxc_message_new(&message)))
		return;
	if (can(w, muxc_message_set_text(message, MUXC_TYPE, "one", MUXC_STRLEN))) {
		/* A failed second call leaves the first one's. */
		text = can(w, muxc_message_set_text(message, MUXC_TYPE, "two", MUXC_STRLEN)) ? "two" : "one";
		ck_assert_str_eq(muxc_message_get_text(message, MUXC_TYPE, NULL), text);
	} else {
		ck_assert_ptr_null(muxc_message_get_text(message, MUXC_TYPE, NULL));
	}
	(void)can(w, message_fill(message));
	(void)can(w, muxc_message_unset(message, MUXC_TYPE));
	muxc_message_unref(muxc_message_ref(message));
	muxc_message_unref(message);
}

/* -------------------------------------------------------------- admin calls */

static void status(struct world *w)
{
	const struct muxc_upstream_status *upstream;
	struct muxc_status *status = NULL;

	if (!can(w, muxc_status(w->c, WAIT_USEC, &status, &w->error))) {
		ck_assert_ptr_null(status);
		return;
	}
	upstream = muxc_status_get_upstream(status, 0);
	ck_assert_str_eq(status->version, "1.2.3");
	ck_assert_str_eq(upstream->name, "default");
	ck_assert_str_eq(upstream->broker, "broker 9");
	ck_assert_str_eq(upstream->last_error, "");
	muxc_status_free(status);
}

static void lists(struct world *w)
{
	struct muxc_session_list *sessions = NULL;
	struct muxc_channel_list *channels = NULL;
	struct muxc_record_list *records = NULL;
	struct muxc_reload_result *result = NULL;

	if (can(w, muxc_sessions(w->c, WAIT_USEC, &sessions, &w->error))) {
		ck_assert_uint_eq(muxc_session_list_count(sessions), 3);
		ck_assert_str_eq(muxc_session_list_get(sessions, 2)->program, "program");
	}
	if (can(w, muxc_channels(w->c, WAIT_USEC, &channels, &w->error)))
		ck_assert_uint_eq(muxc_channel_list_get(channels, 2)->channel, 3);
	if (can(w, muxc_recorder(w->c, 7, WAIT_USEC, &records, &w->error)))
		ck_assert_str_eq(muxc_record_list_get(records, 0)->operation, "basic.get");
	if (can(w, muxc_reload(w->c, WAIT_USEC, &result, &w->error))) {
		ck_assert_int_eq(muxc_reload_result_is_done(result), 0);
		ck_assert_str_eq(muxc_reload_result_get_error(result, 0), "muxd.conf:3: wrong");
		ck_assert_ptr_null(muxc_reload_result_get_error(result, 1));
		ck_assert_ptr_null(muxc_reload_result_get_note(result, 0));
	}
	muxc_session_list_free(sessions);
	muxc_channel_list_free(channels);
	muxc_record_list_free(records);
	muxc_reload_result_free(result);
}

/* ------------------------------------------------------------------ running */

static const struct scenario scenarios[] = {
    {"connecting", connecting, true, false},
    {"pinging", pinging, false, false},
    {"going away", going_away, false, false},
    {"losing muxd", losing_muxd, false, false},
    {"freeing", freeing, false, false},
    {"opening channels", channels_opening, false, false},
    {"a channel freed before its outcomes", channel_freed_before_outcomes, false, false},
    {"a channel that muxd ends", channel_ended_by_muxd, false, false},
    {"a refused declare", channel_refused, false, false},
    {"publishing", publishing, false, false},
    {"publishing large messages", publishing_large, false, false},
    {"publishing without waiting", publishing_without_waiting, false, false},
    {"publishing with properties", publishing_with_properties, false, false},
    {"outcomes by handler", outcomes_by_handler, false, false},
    {"outcomes by waiting", outcomes_by_waiting, false, false},
    {"consuming", consuming, false, false},
    {"waiting for handlers", waiting_for_handlers, false, false},
    {"consuming much", consuming_much, false, false},
    {"cancelling", cancelling, false, false},
    {"events of a consumer", consumer_events, false, false},
    {"a refused consumer", consumer_refused, false, false},
    {"late answers", abandoned, false, false},
    {"getting", getting, false, false},
    {"qos", limiting, false, false},
    {"transactions", transacting, false, false},
    {"queues", declaring, false, false},
    {"exchanges and bindings", binding, false, false},
    {"tables", tables, false, false},
    {"messages", messages, false, false},
    {"status", status, false, false},
    {"lists", lists, false, false},
    {"coming back with consumers", coming_back_with_consumers, false, true},
    {"coming back with publishes", coming_back_with_publishes, false, true},
    {"coming back with declarations", coming_back_with_declarations, false, true},
    {"coming back in transactions", coming_back_in_transactions, false, true},
    {"leaving", leaving, false, true},
};

#define SCENARIOS ((int)(sizeof(scenarios) / sizeof(scenarios[0])))

static void run(int index, bool loop, enum failing_what what, bool all_from)
{
	const struct scenario *scenario = &scenarios[index];
	unsigned long failures = scenario_run(scenario, loop, what, all_from);

	printf("oom: %s%s%s%s: %lu failures\n", scenario->name, loop ? "" : ", threads",
	       what == FAILING_SYSTEM ? ", of system calls" : "", all_from ? ", all from one on" : "",
	       failures);
	ck_assert_uint_gt(failures, 0);
}

START_TEST(oom__each_allocation_may_fail_in_loop_mode)
{
	run(_i, true, FAILING_MEMORY, false);
}
END_TEST

START_TEST(oom__all_allocations_from_one_on_may_fail_in_loop_mode)
{
	run(_i, true, FAILING_MEMORY, true);
}
END_TEST

START_TEST(oom__each_allocation_may_fail_with_threads)
{
	run(_i, false, FAILING_MEMORY, false);
}
END_TEST

START_TEST(oom__all_allocations_from_one_on_may_fail_with_threads)
{
	run(_i, false, FAILING_MEMORY, true);
}
END_TEST

/* Connecting is the first, opening channels the sixth: what makes descriptors, threads, conditions. */
START_TEST(oom__each_system_call_may_fail)
{
	run(_i ? 5 : 0, true, FAILING_SYSTEM, false);
	run(_i ? 5 : 0, false, FAILING_SYSTEM, false);
	run(_i ? 5 : 0, false, FAILING_SYSTEM, true);
}
END_TEST

static void add(Suite *suite, const char *name, const TTest *test, int count)
{
	TCase *tests = tcase_create(name);

	tcase_set_timeout(tests, 120);
	tcase_add_loop_test(tests, test, 0, count);
	suite_add_tcase(suite, tests);
}

int main(void)
{
	Suite *suite = suite_create("client-oom");
	SRunner *runner = srunner_create(suite);
	int failed;

	add(suite, "loop", oom__each_allocation_may_fail_in_loop_mode, SCENARIOS);
	add(suite, "loop-all", oom__all_allocations_from_one_on_may_fail_in_loop_mode, SCENARIOS);
	add(suite, "threads", oom__each_allocation_may_fail_with_threads, SCENARIOS);
	add(suite, "threads-all", oom__all_allocations_from_one_on_may_fail_with_threads, SCENARIOS);
	add(suite, "system", oom__each_system_call_may_fail, 2);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
