#include "tests/unit/mux-rig.h"

#include "tests/rig/setup.h"

#include <stdio.h>
#include <stdlib.h>

/* ------------------------------------------------------------------ what mux asks of the body */

static void on_dial(void *context, size_t index)
{
	struct rig *rig = context;

	rig->dials++;
	rig->dialled = index;
}

static void on_hang_up(void *context)
{
	struct rig *rig = context;

	rig->hang_ups++;
	buf_truncate(&rig->last_words, 0);
	buf_append_span(&rig->last_words, buf_span(upstream_output(rig->upstream)));
}

static void on_changed(void *context)
{
	struct rig *rig = context;

	rig->changes++;
}

static void on_scout_dial(void *context, size_t index)
{
	struct rig *rig = context;

	rig->scout_dials++;
}

static void on_scout_hang_up(void *context)
{
	struct rig *rig = context;

	rig->scout_hang_ups++;
}

static const struct upstream_ops upstream_ops = {
    .dial = on_dial, .hang_up = on_hang_up, .changed = on_changed};
static const struct upstream_ops scouting_ops = {.dial = on_dial,
						 .hang_up = on_hang_up,
						 .changed = on_changed,
						 .scout_dial = on_scout_dial,
						 .scout_hang_up = on_scout_hang_up};

static void hand_random(void *context, void *out, size_t count)
{
	struct rig *rig = context;
	uint8_t *bytes = out;

	for (size_t i = 0; i < count; i++)
		bytes[i] = (uint8_t)(rig->random++ * 37u);
}

static bool may(void *context, const struct mux_creds *creds, const char *upstream,
		const struct amqc_method *method, struct fault *ret_fault)
{
	struct rig *rig = context;

	if (!rig->authorize || rig->authorize(method))
		return true;
	*ret_fault = fault_make(AMQC_ACCESS_REFUSED, "ACCESS_REFUSED - the test says so");
	return false;
}

/* ------------------------------------------------------------------ what sessions hear */

static void keep_text(char *to, size_t size, struct span text)
{
	snprintf(to, size, "%.*s", (int)text.len, text.len ? (const char *)text.data : "");
}

static struct mux_handed hear(struct ear *ear, const struct heard *heard)
{
	struct rig_session *session = container_of(ear, struct rig_session, ear);
	struct rig_event *event = &session->events[session->event_count++];
	const struct amqc_method *reply = heard->reply;

	ck_assert_uint_lt(session->event_count, RIG_EVENTS_MAX);
	ck_assert_ptr_nonnull(session->session);
	event->kind = heard->kind;
	event->channel = heard->channel;
	event->request = heard->request;
	event->consumer = heard->consumer;
	event->reply = reply ? reply->id : (enum amqc_method_id)0;
	event->code = heard->fault ? heard->fault->code : 0;
	event->retryable = heard->fault && heard->fault->retryable;
	event->scope = heard->scope;
	event->outcome = heard->outcome;
	event->first = heard->first;
	event->last = heard->last;
	event->tag = heard->tag;
	if (reply && reply->id == AMQC_QUEUE_DECLARE_OK)
		keep_text(event->queue, sizeof(event->queue), reply->queue_declare_ok.queue);
	keep_text(event->resume, sizeof(event->resume), heard->resume);
	snprintf(event->text, sizeof(event->text), "%s", heard->fault ? heard->fault->text : "");
	session->position += 10;
	if (!heard->content)
		return (struct mux_handed){session->position, 0};
	event->body_len = heard->content->body.len;
	session->position += event->body_len + 1;
	return (struct mux_handed){session->position, event->body_len + 1};
}

/* ------------------------------------------------------------------ beginning and end */

void rig_init(struct rig *rig)
{
	*rig = (struct rig){.now = {1000 * USEC_PER_SEC}, .last_words = BUF_INIT};
	rig->options = setup_mux();
	rig->options.limits.sessions = RIG_SESSIONS_MAX;
	rig->options.limits.prefetch = 32;
	rig->options.authorize = may;
	rig->options.random = hand_random;
	rig->options.digest = setup_digest;
	rig->options.context = rig;
	rig->upstream_options = setup_upstream();
}

void rig_start(struct rig *rig)
{
	ck_assert_int_eq(mux_new(&rig->options, &rig->mux), 0);
	mux_set_now(rig->mux, rig->now);
	ck_assert_int_eq(upstream_new(rig->mux, &rig->upstream_options,
				      rig->has_scout ? &scouting_ops : &upstream_ops, rig, &rig->upstream),
			 0);
	remote_init(&rig->remote, rig->upstream, false);
	upstream_start(rig->upstream);
}

void rig_free(struct rig *rig)
{
	for (size_t i = 0; i < rig->session_count; i++)
		rig_end(&rig->sessions[i]);
	mux_free(rig->mux);
	remote_deinit(&rig->remote);
	buf_deinit(&rig->last_words);
}

void rig_connect(struct rig *rig, uint16_t channel_max, uint32_t frame_max)
{
	struct rig_frame frame;

	remote_dialled(&rig->remote);
	ck_assert_uint_eq(buf_len(upstream_output(rig->upstream)), AMQC_PROTOCOL_HEADER_LEN);
	remote_say_start(&rig->remote, NULL, NULL);
	rig_turn(rig);
	rig_expect(rig, AMQC_CONNECTION_START_OK, &frame);
	remote_say_tune(&rig->remote, channel_max, frame_max, rig->heartbeat_sec);
	rig_turn(rig);
	rig_expect(rig, AMQC_CONNECTION_TUNE_OK, &frame);
	rig_expect(rig, AMQC_CONNECTION_OPEN, &frame);
	rig_say_id(rig, 0, AMQC_CONNECTION_OPEN_OK);
	rig_turn(rig);
}

void rig_up(struct rig *rig)
{
	rig_init(rig);
	rig_start(rig);
	rig_connect(rig, 100, 131072);
}

/* ------------------------------------------------------------------ turns and frames */

void rig_turn(struct rig *rig)
{
	mux_turn(rig->mux);
	while (buf_len(upstream_output(rig->upstream)) > 0) {
		remote_collect(&rig->remote, SIZE_MAX);
		upstream_pump(rig->upstream);
	}
}

void rig_pass(struct rig *rig, uint64_t usec)
{
	rig->now = mono_add_usec(rig->now, usec);
	mux_set_now(rig->mux, rig->now);
	mux_run_timers(rig->mux);
	rig_turn(rig);
}

bool rig_next(struct rig *rig, struct rig_frame *ret)
{
	struct amqc_frame frame;

	do {
		if (!remote_next(&rig->remote, UINT32_MAX, &frame)) {
			ck_assert_uint_eq(buf_len(&rig->remote.heard), 0);
			return false;
		}
	} while (frame.type == AMQC_FRAME_HEARTBEAT);
	ret->type = frame.type;
	ret->lane = frame.channel;
	ret->payload = frame.payload;
	if (frame.type == AMQC_FRAME_METHOD)
		ck_assert_int_eq(amqc_method_decode(frame.payload, &ret->method), AMQC_OK);
	else
		return true;
	ck_assert_uint_lt(ret->lane, 256);
	if (ret->method.id == AMQC_CHANNEL_OPEN)
		rig->published[ret->lane] = 0;
	if (ret->method.id == AMQC_BASIC_PUBLISH)
		rig->published[ret->lane]++;
	return true;
}

uint16_t rig_expect(struct rig *rig, enum amqc_method_id id, struct rig_frame *ret)
{
	ck_assert_msg(rig_next(rig, ret), "nothing was sent, and not %s", amqc_method_name(id));
	ck_assert_msg(ret->type == AMQC_FRAME_METHOD && ret->method.id == id, "%s was sent, and not %s",
		      ret->type == AMQC_FRAME_METHOD ? amqc_method_name(ret->method.id) : "content",
		      amqc_method_name(id));
	return ret->lane;
}

void rig_expect_silence(struct rig *rig)
{
	struct rig_frame frame;

	if (rig_next(rig, &frame))
		ck_abort_msg("%s was sent",
			     frame.type == AMQC_FRAME_METHOD ? amqc_method_name(frame.method.id) : "content");
}

void rig_say(struct rig *rig, uint16_t lane, const struct amqc_method *method)
{
	remote_say(&rig->remote, lane, method);
	ck_assert_uint_eq(buf_len(&rig->remote.left), 0);
}

void rig_say_id(struct rig *rig, uint16_t lane, enum amqc_method_id id)
{
	rig_say(rig, lane, &(struct amqc_method){.id = id});
}

void rig_say_content(struct rig *rig, uint16_t lane, const struct amqc_method *method, struct span body)
{
	remote_say_content(&rig->remote, lane, method, body, 131072);
	ck_assert_uint_eq(buf_len(&rig->remote.left), 0);
}

void rig_ack(struct rig *rig, uint16_t lane, uint64_t tag, bool multiple)
{
	remote_ack(&rig->remote, lane, tag, multiple);
	ck_assert_uint_eq(buf_len(&rig->remote.left), 0);
}

void rig_deliver(struct rig *rig, uint16_t lane, const char *consumer_tag, uint64_t tag, const char *body)
{
	remote_deliver(&rig->remote, lane, consumer_tag, tag, span_str(body));
	ck_assert_uint_eq(buf_len(&rig->remote.left), 0);
}

void rig_close_lane(struct rig *rig, uint16_t lane, uint16_t code, const char *text)
{
	remote_close_lane(&rig->remote, lane, code, text);
	ck_assert_uint_eq(buf_len(&rig->remote.left), 0);
}

uint16_t rig_open_lane(struct rig *rig)
{
	struct rig_frame frame;
	uint16_t lane = rig_expect(rig, AMQC_CHANNEL_OPEN, &frame);

	ck_assert_uint_eq(rig_expect(rig, AMQC_CONFIRM_SELECT, &frame), lane);
	rig_say_id(rig, lane, AMQC_CHANNEL_OPEN_OK);
	rig_say_id(rig, lane, AMQC_CONFIRM_SELECT_OK);
	return lane;
}

static void answer(struct rig *rig, const struct rig_frame *frame)
{
	struct amqc_method reply;

	if (remote_reply_to(&frame->method, &reply))
		rig_say(rig, frame->lane, &reply);
}

void rig_serve(struct rig *rig)
{
	rig_serve_but(rig, NULL);
}

void rig_serve_but(struct rig *rig, bool (*handled)(const struct rig_frame *frame))
{
	bool any = true;

	while (any) {
		struct rig_frame frame;

		any = false;
		rig_turn(rig);
		while (rig_next(rig, &frame)) {
			any = true;
			if (handled && handled(&frame))
				continue;
			if (frame.type == AMQC_FRAME_METHOD && frame.method.id != AMQC_BASIC_PUBLISH)
				answer(rig, &frame);
			else if (frame.type == AMQC_FRAME_METHOD)
				rig_ack(rig, frame.lane, rig->published[frame.lane], true);
		}
	}
}

void rig_lose(struct rig *rig)
{
	remote_lost(&rig->remote, "the test cuts it");
}

/* ------------------------------------------------------------------ sessions */

struct rig_session *rig_session(struct rig *rig)
{
	return rig_session_of(rig, 7);
}

struct rig_session *rig_session_of(struct rig *rig, uint32_t pid)
{
	struct rig_session *session = &rig->sessions[rig->session_count++];
	struct session_options options = {.upstream = rig->upstream,
					  .creds = {.uid = 1000, .gid = 1000, .pid = pid},
					  .program = SPAN_LITERAL("test"),
					  .get_bytes = 1u << 20,
					  .ops = &hear_ops,
					  .context = &session->ear};

	ck_assert_uint_le(rig->session_count, RIG_SESSIONS_MAX);
	session->ear.hear = hear;
	ck_assert_int_eq(session_new(rig->mux, &options, &session->session), 0);
	return session;
}

struct rig_session *rig_ready(struct rig *rig, uint32_t channels)
{
	struct rig_session *session = rig_session(rig);

	for (uint32_t number = 1; number <= channels; number++)
		session_open_channel(session->session, number, 1);
	session_want(session->session, 100, 1000000);
	rig_turn(rig);
	return session;
}

void rig_end(struct rig_session *session)
{
	struct session *old = session->session;

	session->session = NULL; /* no event may come any more */
	if (old)
		session_end(old);
}

const struct rig_event *rig_event(struct rig_session *session)
{
	static const struct rig_event nothing = {.kind = RIG_NOTHING};

	while (session->event_next < session->event_count) {
		const struct rig_event *event = &session->events[session->event_next++];

		if (event->kind != RIG_CREDIT && event->kind != RIG_UPSTREAM)
			return event;
	}
	return &nothing;
}

const struct rig_event *rig_event_of(struct rig_session *session, enum rig_kind kind)
{
	const struct rig_event *event = rig_event(session);

	ck_assert_int_eq(event->kind, kind);
	return event;
}

void rig_expect_no_event(struct rig_session *session)
{
	rig_event_of(session, RIG_NOTHING);
}

const struct rig_event *rig_last(const struct rig_session *session, enum rig_kind kind)
{
	for (size_t i = session->event_count; i-- > 0;) {
		if (session->events[i].kind == kind)
			return &session->events[i];
	}
	return NULL;
}

/* ------------------------------------------------------------------ requests */

uint32_t rig_request(struct rig_session *session, uint32_t channel, const struct amqc_method *method,
		     uint64_t timeout_usec)
{
	struct mux_request request = {.id = ++session->last_request,
				      .channel = channel,
				      .timeout_usec = timeout_usec,
				      .method = method};

	session_request(session->session, &request);
	return request.id;
}

uint32_t rig_declare(struct rig_session *session, uint32_t channel, const char *queue, bool exclusive)
{
	struct amqc_method method = {.id = AMQC_QUEUE_DECLARE};

	method.queue_declare.queue = span_str(queue);
	method.queue_declare.exclusive = exclusive;
	return rig_request(session, channel, &method, 0);
}

uint32_t rig_consume(struct rig_session *session, uint32_t channel, uint32_t consumer, const char *queue,
		     const char *tag, uint64_t credit)
{
	struct amqc_method method = {.id = AMQC_BASIC_CONSUME};
	struct mux_request request = {.id = ++session->last_request,
				      .channel = channel,
				      .method = &method,
				      .consumer = consumer,
				      .credit_messages = credit,
				      .credit_bytes = credit * 1000000};

	method.basic_consume.queue = span_str(queue);
	method.basic_consume.consumer_tag = span_str(tag);
	session_request(session->session, &request);
	return request.id;
}

uint32_t rig_cancel(struct rig_session *session, uint32_t channel, uint32_t consumer, uint64_t timeout_usec)
{
	struct amqc_method method = {.id = AMQC_BASIC_CANCEL};
	struct mux_request request = {.id = ++session->last_request,
				      .channel = channel,
				      .timeout_usec = timeout_usec,
				      .method = &method,
				      .consumer = consumer};

	session_request(session->session, &request);
	return request.id;
}

uint32_t rig_get(struct rig_session *session, uint32_t channel, const char *queue)
{
	struct amqc_method method = {.id = AMQC_BASIC_GET};

	method.basic_get.queue = span_str(queue);
	return rig_request(session, channel, &method, 0);
}

void rig_publish(struct rig_session *session, uint32_t channel, const char *key, struct span body)
{
	struct amqc_properties properties = {0};
	struct mux_publish publish = {.channel = channel,
				      .cost_bytes = 10 + body.len,
				      .routing_key = span_str(key),
				      .properties = &properties,
				      .body = body};

	session_publish(session->session, &publish);
}
