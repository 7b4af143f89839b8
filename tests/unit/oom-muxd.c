#include "tests/unit/oom-muxd.h"

#include <string.h>
#include <sys/socket.h>

#define MANY 200u
#define OP(name) MUXD__V1__CLIENT_FRAME__OP_##name
#define EVENT(name) MUXD__V1__SERVER_FRAME__EVENT_##name

static ProtobufCBinaryData bytes(const char *text)
{
	ProtobufCBinaryData data = {strlen(text), (uint8_t *)(uintptr_t)text};

	return data;
}

static bool is(ProtobufCBinaryData data, const char *text)
{
	return data.len == strlen(text) && memcmp(data.data, text, data.len) == 0;
}

/* ----------------------------------------------------------------- messages */

struct headers {
	Muxd__V1__Properties properties;
	Muxd__V1__Table table;
	Muxd__V1__Field field;
	Muxd__V1__Field *fields[1];
};

static Muxd__V1__Properties *headers_make(struct headers *headers)
{
	muxd__v1__properties__init(&headers->properties);
	muxd__v1__table__init(&headers->table);
	muxd__v1__field__init(&headers->field);
	headers->fields[0] = &headers->field;
	headers->table.n_fields = 1;
	headers->table.fields = headers->fields;
	headers->field.has_name = 1;
	headers->field.name = bytes("answer");
	headers->field.value_case = MUXD__V1__FIELD__VALUE_INT32;
	headers->field.int32 = 42;
	headers->properties.headers = &headers->table;
	headers->properties.has_content_type = 1;
	headers->properties.content_type = bytes("text/plain");
	return &headers->properties;
}

static void deliver(struct fake *fake, uint32_t channel, uint32_t consumer, unsigned int count)
{
	struct oom_muxd *muxd = fake->context;
	Muxd__V1__Delivery delivery = MUXD__V1__DELIVERY__INIT;
	Muxd__V1__ServerFrame frame;
	struct headers headers;

	delivery.has_consumer = delivery.has_tag = delivery.has_routing_key = 1;
	delivery.consumer = consumer;
	delivery.routing_key = bytes("key");
	delivery.properties = headers_make(&headers);
	for (; count > 0; count--) {
		fake_frame(fake, &frame, 0, channel);
		frame.event_case = EVENT(DELIVERY);
		frame.delivery = &delivery;
		delivery.tag = ++muxd->tag;
		fake_send(fake, &frame, span_str("body"));
	}
}

static void got(struct fake *fake, uint32_t request, uint32_t channel)
{
	struct oom_muxd *muxd = fake->context;
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Got answer = MUXD__V1__GOT__INIT;
	struct headers headers;

	fake_frame(fake, &frame, request, channel);
	frame.event_case = EVENT(GOT);
	frame.got = &answer;
	answer.has_tag = answer.has_message_count = answer.has_routing_key = 1;
	answer.tag = ++muxd->tag;
	answer.message_count = 3;
	answer.routing_key = bytes("key");
	answer.properties = headers_make(&headers);
	fake_send(fake, &frame, span_str("body"));
}

static void returned(struct fake *fake, uint32_t channel, uint64_t number)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Returned answer = MUXD__V1__RETURNED__INIT;
	struct headers headers;

	fake_frame(fake, &frame, 0, channel);
	frame.event_case = EVENT(RETURNED);
	frame.returned = &answer;
	answer.has_number = answer.has_code = answer.has_text = 1;
	answer.number = number;
	answer.code = 312;
	answer.text = bytes("NO_ROUTE");
	answer.properties = headers_make(&headers);
	fake_send(fake, &frame, span_str("body"));
}

/* ------------------------------------------------------------------- events */

static void consumer_event(struct fake *fake, uint32_t channel, bool cancelled)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__ConsumerCancelled cancel = MUXD__V1__CONSUMER_CANCELLED__INIT;
	Muxd__V1__ConsumerInterrupted interrupt = MUXD__V1__CONSUMER_INTERRUPTED__INIT;

	cancel.has_consumer = cancel.has_text = interrupt.has_consumer = interrupt.has_text = 1;
	cancel.consumer = interrupt.consumer = 1;
	cancel.text = interrupt.text = bytes("why");
	fake_frame(fake, &frame, 0, channel);
	frame.event_case = cancelled ? EVENT(CONSUMER_CANCELLED) : EVENT(CONSUMER_INTERRUPTED);
	if (cancelled)
		frame.consumer_cancelled = &cancel;
	else
		frame.consumer_interrupted = &interrupt;
	fake_send(fake, &frame, SPAN_NULL);
}

static void upstream_changed(struct fake *fake)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__UpstreamChanged upstream = MUXD__V1__UPSTREAM_CHANGED__INIT;

	fake_frame(fake, &frame, 0, 0);
	frame.event_case = EVENT(UPSTREAM_CHANGED);
	frame.upstream_changed = &upstream;
	upstream.has_name = upstream.has_state = upstream.has_text = 1;
	upstream.name = bytes("default");
	upstream.text = bytes("memory");
	upstream.state = MUXD__V1__UPSTREAM_STATE__BLOCKED;
	fake_send(fake, &frame, SPAN_NULL);
}

static void release(struct fake *fake, uint32_t channel)
{
	struct oom_muxd *muxd = fake->context;

	while (muxd->held_count > 0) {
		muxd->held_count--;
		fake_outcome(fake, channel, MUXD__V1__OUTCOME_KIND__NACKED, muxd->held[muxd->held_count],
			     muxd->held[muxd->held_count]);
	}
}

static void on_publish(struct fake *fake, const Muxd__V1__ClientFrame *frame)
{
	struct oom_muxd *muxd = fake->context;
	ProtobufCBinaryData key = frame->publish->routing_key;
	uint64_t number = fake->published[frame->channel];
	int kind = MUXD__V1__OUTCOME_KIND__CONFIRMED;

	if (is(key, "hold")) {
		ck_assert_uint_lt(muxd->held_count, 64);
		muxd->held[muxd->held_count++] = number;
		return;
	}
	if (is(key, "release"))
		release(fake, frame->channel);
	if (is(key, "nack"))
		kind = MUXD__V1__OUTCOME_KIND__NACKED;
	if (is(key, "return")) {
		kind = MUXD__V1__OUTCOME_KIND__RETURNED;
		returned(fake, frame->channel, number);
	}
	fake_outcome(fake, frame->channel, kind, number, number);
}

/* False: an ordinary purge, to be answered. */
static bool on_purge(struct fake *fake, const Muxd__V1__ClientFrame *frame)
{
	ProtobufCBinaryData queue = frame->queue_purge->queue;

	if (is(queue, "cancel") || is(queue, "interrupt"))
		consumer_event(fake, frame->channel, is(queue, "cancel"));
	if (is(queue, "upstream"))
		upstream_changed(fake);
	if (is(queue, "away"))
		fake_go_away(fake, 1500);
	if (is(queue, "end")) {
		fake_error(fake, frame->request, frame->channel, MUXD__V1__SCOPE__CHANNEL, 404);
		release(fake, frame->channel);
		fake_error(fake, 0, frame->channel, MUXD__V1__SCOPE__CHANNEL, 404);
		return true;
	}
	if (is(queue, "hang-up")) {
		(void)shutdown(fake->fd, SHUT_RDWR);
		return true;
	}
	return false;
}

/* -------------------------------------------------------------- admin calls */

static void status(struct fake *fake, uint32_t request)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Status answer = MUXD__V1__STATUS__INIT;
	Muxd__V1__UpstreamStatus upstream = MUXD__V1__UPSTREAM_STATUS__INIT, *upstreams[1] = {&upstream};
	Muxd__V1__Lanes lanes = MUXD__V1__LANES__INIT;

	fake_frame(fake, &frame, request, 0);
	frame.event_case = EVENT(STATUS);
	frame.status = &answer;
	answer.has_version = upstream.has_name = upstream.has_broker = upstream.has_endpoint = 1;
	answer.version = bytes("1.2.3");
	answer.n_upstreams = 1;
	answer.upstreams = upstreams;
	upstream.name = bytes("default");
	upstream.broker = bytes("broker 9");
	upstream.endpoint = bytes("host:5672");
	upstream.lanes = &lanes;
	fake_send(fake, &frame, SPAN_NULL);
}

static void sessions(struct fake *fake, const Muxd__V1__ClientFrame *query)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Sessions answer = MUXD__V1__SESSIONS__INIT;
	Muxd__V1__SessionInfo info = MUXD__V1__SESSION_INFO__INIT, *infos[1] = {&info};

	fake_frame(fake, &frame, query->request, 0);
	frame.event_case = EVENT(SESSIONS);
	frame.sessions = &answer;
	answer.n_sessions = 1;
	answer.sessions = infos;
	answer.has_more = info.has_id = info.has_program = 1;
	info.id = query->sessions->after + 1;
	answer.more = info.id < 3;
	info.program = bytes("program");
	fake_send(fake, &frame, SPAN_NULL);
}

static void channels(struct fake *fake, const Muxd__V1__ClientFrame *query)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Channels answer = MUXD__V1__CHANNELS__INIT;
	Muxd__V1__ChannelInfo info = MUXD__V1__CHANNEL_INFO__INIT, *infos[1] = {&info};

	fake_frame(fake, &frame, query->request, 0);
	frame.event_case = EVENT(CHANNELS);
	frame.channels = &answer;
	answer.n_channels = 1;
	answer.channels = infos;
	answer.has_more = info.has_session = info.has_channel = 1;
	info.session = 1;
	info.channel = query->channels->after_channel + 1;
	answer.more = info.channel < 3;
	fake_send(fake, &frame, SPAN_NULL);
}

static void recorder(struct fake *fake, uint32_t request)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Recorder answer = MUXD__V1__RECORDER__INIT;
	Muxd__V1__RecorderEntry entry = MUXD__V1__RECORDER_ENTRY__INIT, *entries[1] = {&entry};

	fake_frame(fake, &frame, request, 0);
	frame.event_case = EVENT(RECORDER);
	frame.recorder = &answer;
	answer.n_entries = 1;
	answer.entries = entries;
	entry.has_operation = 1;
	entry.operation = bytes("basic.get");
	fake_send(fake, &frame, SPAN_NULL);
}

static void reloaded(struct fake *fake, uint32_t request)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Reloaded answer = MUXD__V1__RELOADED__INIT;
	ProtobufCBinaryData error = bytes("muxd.conf:3: wrong");

	fake_frame(fake, &frame, request, 0);
	frame.event_case = EVENT(RELOADED);
	frame.reloaded = &answer;
	answer.n_errors = 1;
	answer.errors = &error;
	fake_send(fake, &frame, SPAN_NULL);
}

/* ---------------------------------------------------------------- all of it */

static void consuming(struct fake *fake, uint32_t request, uint32_t channel)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Consuming answer = MUXD__V1__CONSUMING__INIT;

	fake_frame(fake, &frame, request, channel);
	frame.event_case = EVENT(CONSUMING);
	frame.consuming = &answer;
	answer.has_consumer_tag = 1;
	answer.consumer_tag = bytes("tag-1");
	fake_send(fake, &frame, SPAN_NULL);
}

/* To the consumer of "many", until it has had so many. */
static void deliver_many(struct fake *fake, uint64_t total)
{
	struct oom_muxd *muxd = fake->context;

	total = total < MANY ? total : MANY;
	if (total <= muxd->many_sent)
		return;
	deliver(fake, muxd->many_channel, muxd->many_consumer, (unsigned int)(total - muxd->many_sent));
	muxd->many_sent = total;
}

static bool on_consumer_credit(struct fake *fake, const Muxd__V1__ClientFrame *frame)
{
	const struct oom_muxd *muxd = fake->context;

	if (frame->channel == muxd->many_channel && frame->consumer_credit->consumer == muxd->many_consumer)
		deliver_many(fake, frame->consumer_credit->messages);
	return true;
}

static bool on_consume(struct fake *fake, const Muxd__V1__ClientFrame *frame)
{
	ProtobufCBinaryData queue = frame->consume->queue;
	struct oom_muxd *muxd = fake->context;

	if (is(queue, "slow")) {
		muxd->slow_request = frame->request;
		muxd->slow_channel = frame->channel;
		muxd->slow_op = OP(CONSUME);
		return true;
	}
	if (is(queue, "refused")) {
		fake_error(fake, frame->request, frame->channel, MUXD__V1__SCOPE__REQUEST, 403);
		return true;
	}
	consuming(fake, frame->request, frame->channel);
	if (is(queue, "some"))
		deliver(fake, frame->channel, frame->consume->consumer, 5);
	if (is(queue, "many")) {
		muxd->many_channel = frame->channel;
		muxd->many_consumer = frame->consume->consumer;
		muxd->many_sent = 0;
		deliver_many(fake, frame->consume->credit_messages);
	}
	return true;
}

static bool on_get(struct fake *fake, const Muxd__V1__ClientFrame *frame)
{
	struct oom_muxd *muxd = fake->context;

	if (is(frame->get->queue, "slow")) {
		muxd->slow_request = frame->request;
		muxd->slow_channel = frame->channel;
		muxd->slow_op = OP(GET);
		return true;
	}
	if (!is(frame->get->queue, "full"))
		return false;
	got(fake, frame->request, frame->channel);
	return true;
}

static bool on_declare(struct fake *fake, const Muxd__V1__ClientFrame *frame)
{
	if (!is(frame->queue_declare->queue, "refused"))
		return false;
	fake_error(fake, frame->request, frame->channel, MUXD__V1__SCOPE__CHANNEL, 404);
	fake_error(fake, 0, frame->channel, MUXD__V1__SCOPE__CHANNEL, 404);
	return true;
}

static bool on_ping(struct fake *fake)
{
	struct oom_muxd *muxd = fake->context;

	if (muxd->slow_op == OP(GET))
		got(fake, muxd->slow_request, muxd->slow_channel);
	if (muxd->slow_op == OP(CONSUME))
		consuming(fake, muxd->slow_request, muxd->slow_channel);
	muxd->slow_op = 0;
	return false;
}

bool oom_muxd_on_frame(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	struct oom_muxd *muxd = fake->context;

	switch (frame->op_case) {
	case OP(HELLO):
		muxd->held_count = 0;
		muxd->tag = 0;
		return false;
	case OP(PUBLISH):
		on_publish(fake, frame);
		return true;
	case OP(WANT):
		fake_credit(fake, frame->want->messages + 100, frame->want->bytes + 1024 * 1024);
		return true;
	case OP(QUEUE_PURGE):
		return on_purge(fake, frame);
	case OP(QUEUE_DECLARE):
		return on_declare(fake, frame);
	case OP(CONSUME):
		return on_consume(fake, frame);
	case OP(CONSUMER_CREDIT):
		return on_consumer_credit(fake, frame);
	case OP(GET):
		return on_get(fake, frame);
	case OP(PING):
		return on_ping(fake);
	case OP(STATUS):
		status(fake, frame->request);
		return true;
	case OP(SESSIONS):
		sessions(fake, frame);
		return true;
	case OP(CHANNELS):
		channels(fake, frame);
		return true;
	case OP(RECORDER):
		recorder(fake, frame->request);
		return true;
	case OP(RELOAD):
		reloaded(fake, frame->request);
		return true;
	default:
		return false;
	}
}
