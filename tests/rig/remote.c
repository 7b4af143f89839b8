#include "tests/rig/remote.h"

#include "daemon/amqp/reply.h"
#include "tests/rig/require.h"

void remote_init(struct remote *remote, struct upstream *upstream, bool is_scout)
{
	*remote =
	    (struct remote){.upstream = upstream, .is_scout = is_scout, .heard = BUF_INIT, .left = BUF_INIT};
}

void remote_deinit(struct remote *remote)
{
	buf_deinit(&remote->heard);
	buf_deinit(&remote->left);
}

void remote_forget(struct remote *remote)
{
	remote->greeted = false;
	buf_truncate(&remote->heard, 0);
	/* Mux may be reading this: the block stays. */
	buf_truncate(&remote->left, 0);
}

void remote_dialled(struct remote *remote)
{
	remote_forget(remote);
	if (remote->is_scout)
		upstream_scout_dialled(remote->upstream);
	else
		upstream_dialled(remote->upstream);
}

void remote_dial_failed(struct remote *remote, const char *why)
{
	if (remote->is_scout)
		upstream_scout_dial_failed(remote->upstream, why);
	else
		upstream_dial_failed(remote->upstream, why);
}

void remote_lost(struct remote *remote, const char *why)
{
	remote_forget(remote);
	if (remote->is_scout)
		upstream_scout_lost(remote->upstream, why);
	else
		upstream_lost(remote->upstream, why);
}

/* ------------------------------------------------------------------ from mux */

struct buf *remote_output(const struct remote *remote)
{
	return remote->is_scout ? upstream_scout_output(remote->upstream) : upstream_output(remote->upstream);
}

void remote_collect(struct remote *remote, size_t most)
{
	struct buf *out = remote_output(remote);
	struct span taken = span_first(buf_span(out), most);

	buf_append_span(&remote->heard, taken);
	buf_consume(out, taken.len);
}

bool remote_next(struct remote *remote, uint32_t frame_max, struct amqc_frame *ret)
{
	enum amqc_result result;
	size_t size;

	if (!remote->greeted) {
		if (buf_len(&remote->heard) < AMQC_PROTOCOL_HEADER_LEN)
			return false;
		buf_consume(&remote->heard, AMQC_PROTOCOL_HEADER_LEN);
		remote->greeted = true;
	}
	result = amqc_frame_peek(buf_span(&remote->heard), frame_max, ret, &size);
	if (result == AMQC_INCOMPLETE)
		return false;
	require(result == AMQC_OK);
	/* The bytes stay where they are until more are appended. */
	buf_consume(&remote->heard, size);
	return true;
}

bool remote_reply_to(const struct amqc_method *request, struct amqc_method *ret)
{
	struct amqc_method reply = {.id = (enum amqc_method_id)((uint32_t)request->id + 1)};

	switch (request->id) {
	case AMQC_BASIC_ACK:
	case AMQC_BASIC_NACK:
	case AMQC_BASIC_REJECT:
	case AMQC_BASIC_PUBLISH:
	case AMQC_CHANNEL_CLOSE_OK:
	case AMQC_CHANNEL_FLOW_OK:
		return false;
	case AMQC_QUEUE_DECLARE:
		reply.queue_declare_ok.queue = request->queue_declare.queue;
		break;
	case AMQC_BASIC_CONSUME:
		reply.basic_consume_ok.consumer_tag = request->basic_consume.consumer_tag;
		break;
	case AMQC_BASIC_CANCEL:
		reply.basic_cancel_ok.consumer_tag = request->basic_cancel.consumer_tag;
		break;
	case AMQC_BASIC_GET:
		reply.id = AMQC_BASIC_GET_EMPTY;
		break;
	case AMQC_EXCHANGE_UNBIND:
		reply.id = AMQC_EXCHANGE_UNBIND_OK;
		break;
	default:
		break;
	}
	*ret = reply;
	return true;
}

/* ------------------------------------------------------------------ to mux */

size_t remote_feed(struct remote *remote, struct span bytes)
{
	size_t took;

	buf_append_span(&remote->left, bytes);
	took = remote->is_scout ? upstream_scout_feed(remote->upstream, buf_span(&remote->left))
				: upstream_feed(remote->upstream, buf_span(&remote->left));
	/* Mux may have hung up over it: then all is forgotten. */
	if (buf_len(&remote->left) > 0) {
		require(took <= buf_len(&remote->left));
		buf_consume(&remote->left, took);
	}
	return buf_len(&remote->left);
}

static void feed_and_free(struct remote *remote, struct buf *bytes)
{
	require(!buf_failed(bytes));
	(void)remote_feed(remote, buf_span(bytes));
	buf_deinit(bytes);
}

void remote_say(struct remote *remote, uint16_t lane, const struct amqc_method *method)
{
	struct buf bytes = BUF_INIT;

	require(amqc_method_append(&bytes, lane, method) == AMQC_OK);
	feed_and_free(remote, &bytes);
}

void remote_say_id(struct remote *remote, uint16_t lane, enum amqc_method_id id)
{
	remote_say(remote, lane, &(struct amqc_method){.id = id});
}

void remote_say_content(struct remote *remote, uint16_t lane, const struct amqc_method *method,
			struct span body, uint32_t frame_max)
{
	struct amqc_content_header header = {.class_id = AMQC_CLASS_BASIC, .body_size = body.len};
	struct buf bytes = BUF_INIT;

	require(amqc_method_append(&bytes, lane, method) == AMQC_OK);
	require(amqc_content_header_append(&bytes, lane, &header) == AMQC_OK);
	amqc_body_append(&bytes, lane, body, frame_max);
	feed_and_free(remote, &bytes);
}

void remote_say_start(struct remote *remote, const char *product, const char *version)
{
	struct amqc_method start = {.id = AMQC_CONNECTION_START};
	struct buf properties = BUF_INIT;

	if (product)
		amqc_field_append_str(&properties, "product", span_str(product));
	if (version)
		amqc_field_append_str(&properties, "version", span_str(version));
	start.connection_start = (struct amqc_connection_start){.version_minor = 9,
								.server_properties = buf_span(&properties),
								.mechanisms = SPAN_LITERAL("PLAIN"),
								.locales = SPAN_LITERAL("en_US")};
	remote_say(remote, 0, &start);
	buf_deinit(&properties);
}

void remote_say_tune(struct remote *remote, uint16_t channel_max, uint32_t frame_max, uint16_t heartbeat_sec)
{
	struct amqc_method tune = {.id = AMQC_CONNECTION_TUNE};

	tune.connection_tune = (struct amqc_connection_tune){
	    .channel_max = channel_max, .frame_max = frame_max, .heartbeat = heartbeat_sec};
	remote_say(remote, 0, &tune);
}

void remote_ack(struct remote *remote, uint16_t lane, uint64_t tag, bool multiple)
{
	struct amqc_method ack = {.id = AMQC_BASIC_ACK};

	ack.basic_ack.delivery_tag = tag;
	ack.basic_ack.multiple = multiple;
	remote_say(remote, lane, &ack);
}

void remote_deliver(struct remote *remote, uint16_t lane, const char *consumer_tag, uint64_t tag,
		    struct span body)
{
	struct amqc_method deliver = {.id = AMQC_BASIC_DELIVER};

	deliver.basic_deliver.consumer_tag = span_str(consumer_tag);
	deliver.basic_deliver.delivery_tag = tag;
	remote_say_content(remote, lane, &deliver, body, 131072);
}

void remote_close_lane(struct remote *remote, uint16_t lane, uint16_t code, const char *text)
{
	struct amqc_method close = {.id = AMQC_CHANNEL_CLOSE};

	close.channel_close.reply_code = code;
	close.channel_close.reply_text = span_str(text);
	remote_say(remote, lane, &close);
}
