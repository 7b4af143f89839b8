/*
 * What muxd sends, frame by frame. The head of each (request, channel,
 * generation, operation) is read by hand; what comes per message is handled
 * from there, everything else is pre-scanned and unpacked by protobuf-c.
 *
 * muxd's numbers of publishes, and its tags, are made the program's here. A
 * frame of another generation than the channel's present one is stale and
 * dropped. What muxd must not send ends the connection with -EPROTO.
 */
#include "config.h"

#include "client/receive.h"
#include "client/answer.h"
#include "client/chan.h"
#include "client/conn.h"
#include "client/consume.h"
#include "client/error.h"
#include "client/events.h"
#include "client/link.h"
#include "client/msg.h"
#include "client/out.h"
#include "client/outcome.h"
#include "client/publish.h"
#include "client/replay.h"
#include "client/request.h"
#include "client/restore.h"
#include "client/wire.h"

#include "proto/arena.h"
#include "proto/buf.h"
#include "proto/frame.h"
#include "proto/muxd.pb-c.h"
#include "proto/prescan.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Field numbers of what is read by hand. */
enum receive_field {
	OUTCOME_KIND = 1,
	OUTCOME_NUMBERS = 2,
	OUTCOME_ERROR = 3,
	RANGE_FIRST = 1,
	RANGE_LAST = 2,
	CREDIT_MESSAGES = 1,
	CREDIT_BYTES = 2,
	GET_CREDIT_BYTES = 1,
	RETURNED_NUMBER = 1
};

/* Fields that a later version may add are not mistaken for the operation. */
static bool is_known_op(uint32_t number)
{
	return (number >= MUXD__V1__SERVER_FRAME__EVENT_DELIVERY &&
		number <= MUXD__V1__SERVER_FRAME__EVENT_GO_AWAY) ||
	       (number >= MUXD__V1__SERVER_FRAME__EVENT_STATUS &&
		number <= MUXD__V1__SERVER_FRAME__EVENT_RELOADED);
}

static int read_head(struct received *frame)
{
	struct span in = frame->header;
	struct wire_field field;
	int r;

	while ((r = wire_next(&in, &field)) > 0) {
		if (field.type == WIRE_BYTES && is_known_op(field.number)) {
			frame->op = field.number;
			frame->body = field.bytes;
		} else if (field.number == WIRE_SERVER_REQUEST) {
			frame->request = (uint32_t)field.value;
		} else if (field.number == WIRE_SERVER_CHANNEL) {
			frame->channel = (uint32_t)field.value;
		} else if (field.number == WIRE_SERVER_GENERATION) {
			frame->generation = (uint32_t)field.value;
		}
	}
	return r;
}

/*
 * What ends the connection does so when the frame has been dealt with: its end
 * takes requests and channels away that are still looked at. The first one counts.
 */
static void set_fault(struct muxc *c, int err, const char *what)
{
	if (c->fault)
		return;
	c->fault = err;
	c->fault_text = what;
}

static void bad_frame(struct muxc *c, const char *what)
{
	set_fault(c, -EPROTO, what);
}

void receive_no_memory(struct muxc *c)
{
	set_fault(c, -ENOMEM, "");
}

static void end_by_fault(struct muxc *c)
{
	if (c->fault == -ENOMEM)
		conn_fail(c, -ENOMEM, "no memory for what muxd sent");
	else
		conn_fail(c, c->fault, "muxd sent what it must not: %s", c->fault_text);
}

Muxd__V1__ServerFrame *receive_unpack(struct muxc *c, struct span header)
{
	enum prescan_result scan = prescan(PRESCAN_SERVER_FRAME, header);
	Muxd__V1__ServerFrame *frame;

	if (scan != PRESCAN_OK) {
		bad_frame(c, prescan_strerror(scan));
		return NULL;
	}
	frame = muxd__v1__server_frame__unpack(&c->arena.allocator, header.len, header.data);
	if (!frame && c->arena.failed)
		receive_no_memory(c);
	else if (!frame)
		bad_frame(c, "a header that does not unpack");
	return frame;
}

/* ----------------------------------------------------------------- messages */

/* muxd's numbers are of its session, ours of the channel's whole life. */
static void number_message(struct muxc *c, const struct received *frame, struct muxc_message *message,
			   enum message_form form)
{
	struct muxc_channel *channel = channel_find(c, frame->channel, frame->generation);

	if (!channel || message->tag == 0)
		return;
	if (form == MESSAGE_RETURNED) {
		message->tag = replay_number(channel, message->tag);
		return;
	}
	message->tag += channel->tag_base;
	channel->unsettled++;
	if (message->tag > channel->tag_last)
		channel->tag_last = message->tag;
}

static struct muxc_message *receive_message(struct muxc *c, const struct received *frame,
					    enum message_form form)
{
	struct muxc_message *message = message_alloc(c, frame->body.len, frame->payload.len);

	if (!message) {
		receive_no_memory(c);
		return NULL;
	}
	if (form == MESSAGE_RETURNED) {
		message->error = calloc(1, sizeof(*message->error));
		if (!message->error) {
			message_drop(c, message);
			receive_no_memory(c);
			return NULL;
		}
		*message->error =
		    (struct muxc_error){.size = sizeof(struct muxc_error), .kind = MUXC_ERROR_BROKER};
		message->error->error = -EREMOTEIO;
		message->error->channel = frame->channel;
	}
	if (message_parse(message, form, frame->body, frame->payload) < 0) {
		message_drop(c, message);
		bad_frame(c, "a message that cannot be read");
		return NULL;
	}
	number_message(c, frame, message, form);
	message->event.type = form == MESSAGE_RETURNED ? EVENT_RETURNED : EVENT_MESSAGE;
	message->size_bytes = frame->header.len + frame->payload.len;
	return message;
}

/* It came for nobody: a consumer that is gone. */
static void give_back(struct muxc_channel *channel, struct muxc_message *message)
{
	if (message->tag &&
	    settle_add(channel, MUXD__V1__SETTLE_KIND__REQUEUE, message->tag, message->tag) < 0)
		receive_no_memory(channel->c);
	message_drop(channel->c, message);
}

static void on_delivery(struct muxc *c, const struct received *frame)
{
	struct muxc_channel *channel = channel_find(c, frame->channel, frame->generation);
	struct muxc_message *message;
	struct consumer *consumer;

	if (!channel || channel->closed_here)
		return;
	message = receive_message(c, frame, MESSAGE_DELIVERY);
	if (!message)
		return;
	consumer = consumer_find(channel, message->consumer);
	if (consumer ? consumer_received(consumer, message->size_bytes) : consumer_received_late(channel)) {
		if (consumer)
			event_push(channel, &message->event);
		else
			give_back(channel, message);
		return;
	}
	message_drop(c, message);
	bad_frame(c, "a message without credit for it");
}

static uint64_t returned_number(struct span in)
{
	struct wire_field field;

	while (wire_next(&in, &field) > 0) {
		if (field.type == WIRE_VARINT && field.number == RETURNED_NUMBER)
			return field.value;
	}
	return 0;
}

static void on_returned(struct muxc *c, const struct received *frame)
{
	struct muxc_channel *channel = channel_find(c, frame->channel, frame->generation);
	struct muxc_message *message;

	if (!channel)
		return;
	if (++channel->returns > channel->outcomes.published) {
		bad_frame(c, "a message back that was not published");
		return;
	}
	replay_returned(channel, replay_number(channel, returned_number(frame->body)));
	if (channel->user_freed || !channel->options.on_return)
		return;
	message = receive_message(c, frame, MESSAGE_RETURNED);
	if (message)
		event_push(channel, &message->event);
}

static void grant_get_credit(struct muxc *c, size_t taken)
{
	struct frame_head head = {.op = MUXD__V1__CLIENT_FRAME__OP_GET_CREDIT};
	struct buf op = BUF_INIT;
	uint64_t window = c->message_max > GET_WINDOW_BYTES ? c->message_max : GET_WINDOW_BYTES;

	c->got_bytes += taken;
	if (c->got_granted >= c->got_bytes + window / 2)
		return;
	c->got_granted = c->got_bytes + window;
	wire_put_number(&op, GET_CREDIT_BYTES, c->got_granted);
	if (buf_failed(&op) || out_frame(c, &head, buf_span(&op)) < 0)
		receive_no_memory(c);
	buf_deinit(&op);
}

static void on_got(struct muxc *c, const struct received *frame, struct request *request)
{
	struct muxc_message *message;

	if (request->op != MUXD__V1__CLIENT_FRAME__OP_GET || !request->channel) {
		bad_frame(c, "a message as the answer to something else");
		return;
	}
	grant_get_credit(c, frame->header.len + frame->payload.len);
	message = receive_message(c, frame, MESSAGE_GOT);
	if (!message)
		return;
	if (request->abandoned)
		give_back(request->channel, message);
	else
		request->message = message;
	request_done(c, request);
}

/* ----------------------------------------------------------------- outcomes */

static const uint8_t outcome_kinds[] = {
    [MUXD__V1__OUTCOME_KIND__CONFIRMED] = MUXC_CONFIRMED, [MUXD__V1__OUTCOME_KIND__RETURNED] = MUXC_RETURNED,
    [MUXD__V1__OUTCOME_KIND__NACKED] = MUXC_NACKED,	  [MUXD__V1__OUTCOME_KIND__NOT_SENT] = MUXC_FAILED,
    [MUXD__V1__OUTCOME_KIND__UNKNOWN] = MUXC_UNKNOWN,
};

static int read_range(struct span in, struct range *ret)
{
	struct wire_field field;
	int r;

	*ret = (struct range){0, 0};
	while ((r = wire_next(&in, &field)) > 0) {
		if (field.type == WIRE_VARINT && field.number == RANGE_FIRST)
			ret->first = field.value;
		else if (field.type == WIRE_VARINT && field.number == RANGE_LAST)
			ret->last = field.value;
	}
	return r;
}

/* The kind, and the error if there is one. */
static int read_outcome_head(struct muxc *c, const struct received *frame, struct muxc_error *error)
{
	struct span in = frame->body;
	struct wire_field field;
	uint64_t kind = MUXD__V1__OUTCOME_KIND__CONFIRMED;
	Muxd__V1__ServerFrame *whole;
	bool has_error = false;
	int r;

	while ((r = wire_next(&in, &field)) > 0) {
		if (field.type == WIRE_VARINT && field.number == OUTCOME_KIND)
			kind = field.value;
		else if (field.type == WIRE_BYTES && field.number == OUTCOME_ERROR)
			has_error = true;
	}
	if (r < 0)
		return r;
	if (kind >= sizeof(outcome_kinds))
		kind = MUXD__V1__OUTCOME_KIND__UNKNOWN;
	if (has_error) {
		whole = receive_unpack(c, frame->header);
		if (!whole)
			return -EPROTO;
		if (whole->event_case == MUXD__V1__SERVER_FRAME__EVENT_OUTCOME && whole->outcome->error)
			error_from_wire(error, whole->outcome->error, frame->channel);
	}
	return outcome_kinds[kind];
}

static void on_outcome(struct muxc *c, const struct received *frame)
{
	struct muxc_channel *channel = channel_find(c, frame->channel, frame->generation);
	struct muxc_error error = MUXC_ERROR_INIT;
	struct span in = frame->body;
	struct wire_field field;
	struct range range;
	int kind, r = 0;

	if (!channel)
		return;
	kind = read_outcome_head(c, frame, &error);
	if (kind < 0) {
		bad_frame(c, "an outcome that cannot be read");
		return;
	}
	while (r == 0 && wire_next(&in, &field) > 0) {
		if (field.number != OUTCOME_NUMBERS || field.type != WIRE_BYTES)
			continue;
		r = read_range(field.bytes, &range);
		if (r == 0)
			r = replay_outcome(channel, range, kind, &error);
	}
	if (r == -ENOMEM)
		receive_no_memory(c);
	else if (r < 0)
		bad_frame(c, "an outcome for what was not published, or a second one");
	channel_wake(channel);
	if (c->state != CONN_ENDED)
		channel_check_end(channel);
}

static void on_credit(struct muxc *c, const struct received *frame)
{
	struct span in = frame->body;
	struct wire_field field;
	uint64_t messages = 0, bytes = 0;

	while (wire_next(&in, &field) > 0) {
		if (field.type == WIRE_VARINT && field.number == CREDIT_MESSAGES)
			messages = field.value;
		else if (field.type == WIRE_VARINT && field.number == CREDIT_BYTES)
			bytes = field.value;
	}
	credit_update(c, messages, bytes);
}

/* ------------------------------------------------------------------- events */

static void set_upstream(struct muxc *c, const Muxd__V1__UpstreamChanged *upstream)
{
	struct notice notice = {.event = {NULL, EVENT_UPSTREAM}};

	c->upstream_state = (int)upstream->state;
	if (c->upstream_state < MUXC_UPSTREAM_CONNECTING || c->upstream_state > MUXC_UPSTREAM_FAILED)
		c->upstream_state = MUXC_UPSTREAM_CONNECTING;
	notice.kind = c->upstream_state;
	notice.first = upstream->epoch;
	notice.name = text_dup(binary_span(&upstream->name));
	notice.text = text_dup(binary_span(&upstream->text));
	if (notice_push(c->own, &notice) < 0)
		receive_no_memory(c);
}

static void on_welcome(struct muxc *c, const Muxd__V1__Welcome *welcome)
{
	if (c->state != CONN_GREETING || c->link.failed) {
		bad_frame(c, "a second Welcome");
		return;
	}
	c->state = CONN_READY;
	c->session = welcome->session;
	c->message_max = welcome->message_max;
	if (welcome->channels_max)
		c->channels_max = welcome->channels_max;
	if (welcome->requests_max)
		c->requests_max = welcome->requests_max;
	if (welcome->credit)
		credit_update(c, welcome->credit->messages, welcome->credit->bytes);
	credit_wake(c);
	link_welcomed(c);
	if (welcome->upstream)
		set_upstream(c, welcome->upstream);
	(void)pthread_cond_broadcast(&c->cond);
}

static void on_error(struct muxc *c, const struct received *frame, const Muxd__V1__Error *wire)
{
	struct muxc_channel *channel = channel_find(c, frame->channel, frame->generation);
	struct muxc_error error;

	error_from_wire(&error, wire, frame->channel);
	if (frame->channel == 0) {
		link_refused(c, &error);
	} else if (channel) {
		error.closes_channel = 1;
		/* One that was freed may end with what it ends. */
		channel->refs++;
		channel->end_seen = true;
		channel_doom(channel, &error);
		channel_check_end(channel);
		channel_unref(channel);
	}
}

static void on_consumer_event(struct muxc *c, const struct received *frame, enum event_type type,
			      uint32_t consumer, const ProtobufCBinaryData *text)
{
	struct muxc_channel *channel = channel_find(c, frame->channel, frame->generation);
	struct notice notice = {.event = {NULL, type}, .consumer = consumer};
	struct consumer *found;

	found = channel ? consumer_find(channel, consumer) : NULL;
	if (!found || found->gone || (type == EVENT_INTERRUPTED && found->interrupted))
		return;
	found->gone |= type == EVENT_CANCELLED;
	found->interrupted |= type == EVENT_INTERRUPTED;
	notice.text = text_dup(binary_span(text));
	if (notice_push(channel, &notice) < 0)
		receive_no_memory(c);
}

static void on_event(struct muxc *c, const struct received *frame)
{
	Muxd__V1__ServerFrame *event = receive_unpack(c, frame->header);
	struct notice notice = {.event = {NULL, EVENT_GOING_AWAY}};

	if (!event)
		return;
	switch (event->event_case) {
	case MUXD__V1__SERVER_FRAME__EVENT_WELCOME:
		on_welcome(c, event->welcome);
		return;
	case MUXD__V1__SERVER_FRAME__EVENT_ERROR:
		on_error(c, frame, event->error);
		return;
	case MUXD__V1__SERVER_FRAME__EVENT_CONSUMER_CANCELLED:
		on_consumer_event(c, frame, EVENT_CANCELLED, event->consumer_cancelled->consumer,
				  &event->consumer_cancelled->text);
		return;
	case MUXD__V1__SERVER_FRAME__EVENT_CONSUMER_INTERRUPTED:
		on_consumer_event(c, frame, EVENT_INTERRUPTED, event->consumer_interrupted->consumer,
				  &event->consumer_interrupted->text);
		return;
	case MUXD__V1__SERVER_FRAME__EVENT_UPSTREAM_CHANGED:
		set_upstream(c, event->upstream_changed);
		return;
	case MUXD__V1__SERVER_FRAME__EVENT_GO_AWAY:
		notice.first = (uint64_t)event->go_away->deadline_ms * 1000;
		notice.text = text_dup(binary_span(&event->go_away->text));
		if (notice_push(c->own, &notice) < 0)
			receive_no_memory(c);
		link_move(c, (uint64_t)event->go_away->deadline_ms * 1000);
		return;
	default:
		return; /* a later version's event */
	}
}

/* ------------------------------------------------------------------- frames */

static void on_frame(struct muxc *c, const struct ipc_frame *ipc)
{
	struct received frame = {.header = ipc->header, .payload = ipc->payload};
	struct request *request = NULL;

	if (read_head(&frame) < 0) {
		bad_frame(c, "a header that is not protobuf");
		return;
	}
	if (frame.request) {
		request = request_find(c, frame.request);
		if (!request)
			bad_frame(c, "an answer to no request");
		else if (frame.op == MUXD__V1__SERVER_FRAME__EVENT_GOT)
			on_got(c, &frame, request);
		else
			answer_received(c, &frame, request);
		return;
	}
	switch (frame.op) {
	case MUXD__V1__SERVER_FRAME__EVENT_DELIVERY:
		on_delivery(c, &frame);
		return;
	case MUXD__V1__SERVER_FRAME__EVENT_RETURNED:
		on_returned(c, &frame);
		return;
	case MUXD__V1__SERVER_FRAME__EVENT_OUTCOME:
		on_outcome(c, &frame);
		return;
	case MUXD__V1__SERVER_FRAME__EVENT_CREDIT:
		on_credit(c, &frame);
		return;
	default:
		on_event(c, &frame);
		return;
	}
}

void receive_input(struct muxc *c)
{
	struct ipc_frame frame;
	enum ipc_frame_result result;
	size_t needed;

	while (c->state != CONN_ENDED && !c->fault && !c->link.failed) {
		result = ipc_frame_parse(buf_span(&c->in), IPC_PAYLOAD_MAX, &frame, &needed);
		if (result == IPC_FRAME_INCOMPLETE)
			break;
		if (result != IPC_FRAME_OK) {
			bad_frame(c, "a frame larger than any may be");
			break;
		}
		on_frame(c, &frame);
		arena_reset(&c->arena);
		buf_consume(&c->in, needed);
	}
	if (c->fault)
		end_by_fault(c);
	if (c->in.capacity > KEEP_BYTES)
		buf_release(&c->in);
	restore_go_on(c);
}
