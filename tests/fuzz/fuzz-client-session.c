/*
 * libmuxclient, in loop mode, and a muxd that says what it likes: frames that
 * are well made or not, answers that are due or not, in pieces, in any order,
 * while the program has channels, consumers, publishes and calls under way.
 *
 * Whatever it says, each call ends, nothing is told of what has ended, each
 * publish has one outcome at most, publishes keep to the credit, what is kept
 * for the program has a bound, and nothing is left when all was freed.
 *
 * The input is a row of steps of the program, and of muxd (fake-muxd.h) when
 * the program waits.
 */
#include "client/chan.h"
#include "client/conn.h"
#include "client/consume.h"
#include "client/msg.h"
#include "tests/fuzz/fake-muxd.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

#define SLOTS 3u
#define STEPS_MAX 300u
#define PUBLISHES_MAX 512u
#define DEPTH_MAX 20
#define WINDOW_MESSAGES 8u
#define WINDOW_BYTES 2048u
#define OWN_EVENTS_MAX 100u
#define OUT_MAX (256u * 1024u)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A channel of the program's. */
struct slot {
	struct muxc_channel *channel; /* NULL: there is none */
	bool ended;		      /* on_closed was called */
	uint32_t consumer;
	uint64_t published, tag;
	uint8_t told[PUBLISHES_MAX / 8]; /* publishes whose outcome was told */
};

static struct world {
	struct input input;
	struct muxc *c;
	bool closed;	    /* the connection's on_closed was called */
	unsigned int depth; /* of handlers that call */
	struct slot slots[SLOTS];
	unsigned int destroyed, opened; /* channels */
	char sum;			/* of all that could be read */
} w;

static void program_step(void);

/* ------------------------------------------------------------------ what it reads */

static void walk(struct muxc_iter *iter, int depth)
{
	struct muxc_field field;
	struct muxc_iter inner;
	char sum = 0;

	while (muxc_iter_next(iter, &field) > 0) {
		for (size_t i = 0; i < field.name_len; i++)
			sum ^= field.name[i];
		if (field.value.type == MUXC_STRING || field.value.type == MUXC_BYTES)
			for (size_t i = 0; i < field.value.u.bytes.len; i++)
				sum ^= field.value.u.bytes.data[i];
		if (depth < DEPTH_MAX && muxc_iter_enter(&field.value, &inner) > 0)
			walk(&inner, depth + 1);
	}
	w.sum ^= sum;
}

static void look_at(const struct muxc_message *message)
{
	struct muxc_iter iter;
	uint64_t value;
	size_t len;

	for (int property = MUXC_CONTENT_TYPE; property <= MUXC_CLUSTER_ID; property++) {
		const char *text = muxc_message_get_text(message, property, &len);

		require(!text || text[len] == 0);
		(void)muxc_message_get_number(message, property, &value);
	}
	require(muxc_message_get_exchange(message, &len)[len] == 0);
	require(muxc_message_get_routing_key(message, &len)[len] == 0);
	require(muxc_message_get_body(message, &len) || len == 0);
	if (muxc_message_get_headers(message, &iter) > 0)
		walk(&iter, 0);
}

static void look_at_error(const struct muxc_error *error)
{
	require(memchr(error->text, 0, sizeof(error->text)) && !strchr(error->text, '\n'));
}

/* A choice of a handler's: from the end of the input, so that the steps stay what they are. */
static unsigned int handler_byte(void)
{
	struct span *rest = &w.input.rest;

	return rest->len > 0 ? rest->data[--rest->len] : 0;
}

/* Now and then a handler does what the program could do. */
static void in_handler(void)
{
	if (w.depth > 0 || handler_byte() % 8 != 7)
		return;
	w.depth++;
	program_step();
	w.depth--;
}

static void settle(struct slot *slot, uint64_t tag, unsigned int choice)
{
	if (!slot->channel)
		return;
	if (choice % 4 < 2)
		(void)muxc_ack(slot->channel, tag, choice & 8 ? MUXC_UP_TO : 0);
	else if (choice % 4 == 2)
		(void)muxc_nack(slot->channel, tag, choice & 8 ? MUXC_REQUEUE : 0);
}

/* ------------------------------------------------------------------ what it is told */

static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct slot *slot = userdata;

	require(w.c && slot->channel == channel && !slot->ended);
	look_at(message);
	slot->tag = muxc_message_get_tag(message);
	settle(slot, slot->tag, handler_byte());
	in_handler();
}

static void on_outcome(struct muxc_channel *channel, const struct muxc_outcome *outcome, void *userdata)
{
	struct slot *slot = userdata;

	require(w.c && slot->channel == channel && !slot->ended);
	require(outcome->first > 0 && outcome->first <= outcome->last && outcome->last <= slot->published);
	require(outcome->kind >= MUXC_CONFIRMED && outcome->kind <= MUXC_UNKNOWN);
	look_at_error(outcome->error);
	for (uint64_t n = outcome->first; n <= outcome->last; n++) {
		require(!(slot->told[n / 8] & 1u << n % 8));
		slot->told[n / 8] |= (uint8_t)(1u << n % 8);
	}
	in_handler();
}

static void on_return(struct muxc_channel *channel, struct muxc_message *message,
		      const struct muxc_error *error, void *userdata)
{
	struct slot *slot = userdata;

	require(w.c && slot->channel == channel && !slot->ended);
	look_at(message);
	look_at_error(error);
	in_handler();
}

static void on_channel_closed(struct muxc_channel *channel, const struct muxc_error *error, void *userdata)
{
	struct slot *slot = userdata;

	require(w.c && slot->channel == channel && !slot->ended);
	require(error->error < 0);
	look_at_error(error);
	slot->ended = true;
	in_handler();
}

static void on_cancelled(struct muxc_channel *channel, uint32_t consumer, const char *text, void *userdata)
{
	const struct slot *slot = userdata;

	require(w.c && slot->channel == channel && !slot->ended && text);
	in_handler();
}

static void on_destroy(void *userdata)
{
	w.destroyed++;
}

static void on_upstream(struct muxc *c, const struct muxc_upstream *upstream, void *userdata)
{
	require(w.c == c && !w.closed && upstream->name && upstream->text);
	require(strcmp(muxc_upstream_state_name(upstream->state), "unknown") != 0);
	in_handler();
}

static void on_going_away(struct muxc *c, uint64_t within_usec, const char *text, void *userdata)
{
	require(w.c == c && !w.closed && text);
	in_handler();
}

static void on_link(struct muxc *c, const struct muxc_link *link, void *userdata)
{
	require(w.c == c && !w.closed);
	require(link->state >= MUXC_LINK_LOST && link->state <= MUXC_LINK_BACK);
	look_at_error(link->error);
	in_handler();
}

static void on_closed(struct muxc *c, const struct muxc_error *error, void *userdata)
{
	require(w.c == c && !w.closed && error->error < 0);
	look_at_error(error);
	w.closed = true;
}

/* ------------------------------------------------------------------ what is bounded */

static void check_channel(const struct muxc_channel *channel)
{
	unsigned int messages = 0, others = 0;
	uint64_t bound = 0;

	for (const struct consumer *consumer = channel->consumers; consumer; consumer = consumer->next)
		bound += WINDOW_MESSAGES;
	for (const struct event *event = channel->events.first; event; event = event->next) {
		messages += event->type == EVENT_MESSAGE;
		others += event->type != EVENT_MESSAGE;
	}
	/* those of an earlier session that need not be settled are still to be handled */
	require(messages <= 2 * bound);
	require(others <= 2 * channel->outcomes.published + 2 * bound + 8);
}

static void check_bounds(void)
{
	unsigned int events = 0;

	if (!w.c)
		return;
	for (const struct event *event = w.c->own->events.first; event; event = event->next)
		events++;
	require(events <= OWN_EVENTS_MAX);
	require(buf_len(&w.c->out) <= OUT_MAX);
	for (size_t i = 0; i < SLOTS; i++)
		if (w.slots[i].channel)
			check_channel(w.slots[i].channel);
}

/* ------------------------------------------------------------------ what the program does */

static uint64_t timeout_of(unsigned int choice)
{
	static const uint64_t timeouts[] = {0, 1, 1000, 60000000};

	return timeouts[choice / 64];
}

static void channel_drop(struct slot *slot)
{
	muxc_channel_free(slot->channel);
	*slot = (struct slot){.channel = NULL};
}

static void all_end(void)
{
	w.c = muxc_free(w.c);
	for (size_t i = 0; i < SLOTS; i++)
		channel_drop(&w.slots[i]);
}

static void begin(void)
{
	unsigned int choice = input_byte(&w.input);
	struct muxc_options options = {
	    .size = sizeof(options),
	    .socket_path = "/muxd",
	    .flags = MUXC_LOOP | (choice & 1 ? MUXC_NO_RECONNECT : 0) | (choice & 2 ? MUXC_CONNECT_LATER : 0),
	    .on_upstream = choice & 4 ? NULL : on_upstream,
	    .on_going_away = choice & 4 ? NULL : on_going_away,
	    .on_link = choice & 8 ? NULL : on_link,
	    .on_closed = on_closed,
	    .replay_bytes = choice & 16 ? 2000 : 0,
	    .reconnect_timeout_usec = choice & 32 ? 5000000 : 0,
	};
	struct muxc_error error = MUXC_ERROR_INIT;

	w.closed = false;
	if (muxc_connect(&options, &w.c, &error) < 0) {
		look_at_error(&error);
		w.c = NULL;
	}
}

static void channel_step(struct slot *slot, unsigned int choice)
{
	struct muxc_channel_options options = {.size = sizeof(options),
					       .on_outcome = choice & 4 ? NULL : on_outcome,
					       .on_return = choice & 8 ? NULL : on_return,
					       .on_closed = choice & 16 ? NULL : on_channel_closed,
					       .on_destroy = on_destroy,
					       .userdata = slot};

	if (slot->channel) {
		if (choice & 32)
			(void)muxc_channel_close(slot->channel);
		else
			channel_drop(slot);
		return;
	}
	if (muxc_channel_open(w.c, &options, &slot->channel) == 0)
		w.opened++;
	else
		slot->channel = NULL;
}

static void publish_step(struct slot *slot, unsigned int choice)
{
	static const char body[3000];
	unsigned int flags = choice & 1 ? MUXC_NONBLOCK : 0;
	struct muxc_publication publication = {.size = sizeof(publication),
					       .routing_key = "q",
					       .body = body,
					       .body_len = choice & 2 ? 3000 : choice,
					       .flags = flags | (choice & 4 ? MUXC_MANDATORY : 0),
					       .outcome_timeout_usec = choice & 8 ? 2000000 : 0};
	uint64_t number;

	if (slot->published + 1 == PUBLISHES_MAX)
		return;
	/* its outcome may be told before the call has returned */
	slot->published++;
	if (muxc_publish_full(slot->channel, &publication, timeout_of(choice), &number, NULL) < 0)
		slot->published--;
	else
		require(number == slot->published);
}

static void consume_step(struct slot *slot, unsigned int choice)
{
	struct muxc_consumer_options options = {.size = sizeof(options),
						.queue = "q",
						.flags = choice & 1 ? MUXC_NO_ACK : 0,
						.window_messages = WINDOW_MESSAGES,
						.window_bytes = WINDOW_BYTES,
						.on_message = on_message,
						.on_cancelled = on_cancelled,
						.on_interrupted = choice & 2 ? on_cancelled : NULL,
						.userdata = slot};
	struct muxc_message *message;
	char tag[64];

	switch (choice / 4 % 4) {
	case 0:
		(void)muxc_cancel(slot->channel, slot->consumer, timeout_of(choice), NULL);
		break;
	case 1:
		if (muxc_get(slot->channel, "q", choice & 1 ? MUXC_NO_ACK : 0, &message, timeout_of(choice),
			     NULL) > 0) {
			look_at(message);
			muxc_message_unref(message);
		}
		break;
	default:
		if (muxc_consume(slot->channel, &options, &slot->consumer, timeout_of(choice), NULL) == 0)
			(void)muxc_consumer_get_tag(slot->channel, slot->consumer, tag, sizeof(tag));
	}
}

static void declare_step(struct slot *slot, unsigned int choice)
{
	struct muxc_queue queue = {.size = sizeof(queue),
				   .name = choice & 16 ? "q" : NULL,
				   .flags = choice & 32 ? MUXC_EXCLUSIVE : MUXC_AUTO_DELETE};
	struct muxc_exchange exchange = {.size = sizeof(exchange), .name = "e", .type = "fanout"};
	struct muxc_binding binding = {.size = sizeof(binding), .destination = "q", .source = "e"};
	struct muxc_queue_info info = {.size = sizeof(info)};
	uint64_t timeout = timeout_of(choice);
	struct muxc_error error = MUXC_ERROR_INIT;
	uint32_t count;

	switch (choice % 8) {
	case 0:
		(void)muxc_queue_delete(slot->channel, "q", 0, &count, timeout, &error);
		break;
	case 1:
		(void)muxc_queue_purge(slot->channel, "q", &count, timeout, &error);
		break;
	case 2:
		(void)muxc_queue_bind(slot->channel, &binding, timeout, &error);
		break;
	case 3:
		(void)muxc_exchange_declare(slot->channel, &exchange, timeout, &error);
		break;
	case 4:
		(void)muxc_exchange_bind(slot->channel, &binding, timeout, &error);
		break;
	default:
		(void)muxc_queue_declare(slot->channel, &queue, &info, timeout, &error);
	}
	look_at_error(&error);
}

static void order_step(struct slot *slot, unsigned int choice)
{
	uint64_t timeout = timeout_of(choice);

	switch (choice % 8) {
	case 0:
		(void)!muxc_tx_select(slot->channel, timeout, NULL);
		break;
	case 1:
		(void)!muxc_tx_commit(slot->channel, timeout, NULL);
		break;
	case 2:
		(void)muxc_tx_rollback(slot->channel, timeout, NULL);
		break;
	case 3:
		(void)muxc_recover(slot->channel, timeout, NULL);
		break;
	case 4:
		(void)muxc_qos_full(slot->channel, choice, choice & 32 ? MUXC_QOS_CHANNEL : 0, timeout, NULL);
		break;
	default:
		settle(slot, choice & 32 ? slot->tag : choice, choice / 8);
	}
}

static void wait_step(struct slot *slot, unsigned int choice)
{
	struct muxc_totals totals = {.size = sizeof(totals)};
	struct muxc_error error = MUXC_ERROR_INIT;
	uint64_t timeout = timeout_of(choice), number = slot->published - choice / 4 % 8;
	int kind;

	if (choice % 4 == 0)
		(void)!muxc_wait_handlers(slot->channel, timeout, &error);
	else if (choice % 4 == 1)
		(void)!muxc_wait_outcome(slot->channel, number, timeout, &kind, &error);
	else if (muxc_wait_all(slot->channel, timeout, &totals, &error) == 0)
		require(totals.published ==
			totals.confirmed + totals.returned + totals.nacked + totals.failed + totals.unknown);
	look_at_error(&error);
	if (!slot->channel)
		return;
	require(muxc_channel_get_totals(slot->channel, &totals) < 0 || totals.published == slot->published);
	(void)muxc_channel_get_error(slot->channel, &error);
}

static void ask_sessions(uint64_t timeout)
{
	struct muxc_session_list *sessions;
	struct muxc_channel_list *channels;

	if (muxc_sessions(w.c, timeout, &sessions, NULL) == 0) {
		for (size_t i = 0; i < muxc_session_list_count(sessions); i++)
			require(muxc_session_list_get(sessions, i)->program);
		muxc_session_list_free(sessions);
	}
	if (w.c && muxc_channels(w.c, timeout, &channels, NULL) == 0) {
		for (size_t i = 0; i < muxc_channel_list_count(channels); i++)
			require(muxc_channel_list_get(channels, i) != NULL);
		muxc_channel_list_free(channels);
	}
}

static void ask_status(uint64_t timeout)
{
	struct muxc_status *status;
	struct muxc_reload_result *result;

	if (muxc_status(w.c, timeout, &status, NULL) == 0) {
		require(status->version != NULL);
		for (size_t i = 0; i < status->upstreams; i++)
			require(muxc_status_get_upstream(status, i)->name);
		for (size_t i = 0; i < status->users; i++)
			require(muxc_status_get_user(status, i) != NULL);
		muxc_status_free(status);
	}
	if (w.c && muxc_reload(w.c, timeout, &result, NULL) == 0) {
		for (size_t i = 0; muxc_reload_result_get_error(result, i); i++)
			;
		for (size_t i = 0; muxc_reload_result_get_note(result, i); i++)
			;
		muxc_reload_result_free(result);
	}
}

static void admin_step(unsigned int choice)
{
	struct muxc_record_list *records;
	uint64_t timeout = timeout_of(choice);

	switch (choice % 4) {
	case 0:
		(void)muxc_ping(w.c, timeout, NULL);
		break;
	case 1:
		ask_status(timeout);
		break;
	case 2:
		ask_sessions(timeout);
		break;
	default:
		if (muxc_recorder(w.c, 7, timeout, &records, NULL) < 0)
			return;
		for (size_t i = 0; i < muxc_record_list_count(records); i++)
			require(muxc_record_list_get(records, i)->operation);
		muxc_record_list_free(records);
	}
}

static void process_step(unsigned int choice)
{
	uint64_t messages, bytes, at;
	int r;

	if (choice & 1)
		(void)muxc_wait(w.c, timeout_of(choice));
	if (choice & 2)
		(void)muxc_flush(w.c);
	r = muxc_process(w.c);
	require(w.depth == 0 || r == -EBUSY || r < 0);
	(void)muxc_get_fd(w.c);
	(void)muxc_get_events(w.c);
	(void)muxc_get_timeout(w.c, &at);
	(void)muxc_get_credit(w.c, &messages, &bytes);
	(void)muxc_get_upstream_state(w.c);
}

/* Handlers may have freed the connection or a channel in each step before. */
static void program_step(void)
{
	static void (*const steps[])(struct slot * slot, unsigned int choice) = {
	    publish_step, publish_step, consume_step, declare_step, order_step, wait_step,
	};
	unsigned int kind = input_byte(&w.input), choice = input_byte(&w.input);
	struct slot *slot = &w.slots[kind / 16 % SLOTS];

	if (!w.c)
		return;
	if (kind % 16 < 4)
		process_step(choice);
	else if (kind % 16 < 6)
		admin_step(choice);
	else if (kind % 16 < 8 || !slot->channel)
		channel_step(slot, choice);
	else if (kind % 16 < 8 + COUNT(steps))
		steps[kind % 16 - 8](slot, choice);
	else if (kind % 16 == 15 && choice < 64)
		all_end();
	else
		(void)!muxc_wait_ready(w.c, timeout_of(choice), NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	memset(&w, 0, sizeof(w));
	w.input = (struct input){span_make(data, size)};
	muxd_init(&w.input);
	for (unsigned int i = 0; i < STEPS_MAX && w.input.rest.len > 0; i++) {
		unsigned int kind = input_byte(&w.input);

		if (!w.c)
			begin();
		else if (kind < 112)
			muxd_acts();
		else if (kind < 240)
			program_step();
		else
			muxd.now_usec += (uint64_t)1000 << (kind - 240);
		check_bounds();
	}
	for (int i = 0; i < 20 && w.c; i++)
		process_step(0);
	all_end();
	require(w.destroyed == w.opened);
	muxd_deinit();
	return 0;
}
