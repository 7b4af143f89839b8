#include "daemon/mux/handshake.h"

#include "daemon/amqp/reply.h"
#include "daemon/base/log.h"

#include <stdio.h>

/* What start-ok has besides its table and response, rounded up. */
#define START_OK_MORE 64u

/* What we can do with, told in start-ok, so that the broker makes use of it. */
static const char *const capabilities[] = {
    "publisher_confirms",	    "exchange_exchange_bindings", "basic.nack",
    "consumer_cancel_notify",	    "connection.blocked",	  "consumer_priorities",
    "authentication_failure_close", "per_consumer_qos",		  "direct_reply_to",
};

const char *handshake_state_text(enum handshake_state state)
{
	switch (state) {
	case HANDSHAKE_WAIT_START:
		return "before connection.start";
	case HANDSHAKE_WAIT_TUNE:
		return "after the credentials were sent";
	case HANDSHAKE_WAIT_OPEN_OK:
		return "while the vhost was being opened";
	case HANDSHAKE_DONE:
		break;
	}
	return "after the handshake";
}

void handshake_begin(struct handshake *handshake, const struct handshake_options *options, struct buf *out)
{
	*handshake = (struct handshake){.state = HANDSHAKE_WAIT_START, .options = *options};
	buf_append(out, AMQC_PROTOCOL_HEADER, AMQC_PROTOCOL_HEADER_LEN);
}

static enum handshake_result broken(struct fault *ret_fault, const char *what)
{
	*ret_fault =
	    fault_make_retryable(AMQC_COMMAND_INVALID, "broker's handshake makes no sense: %s", what);
	return HANDSHAKE_BROKEN;
}

static bool capability(struct span capabilities_table, const char *name)
{
	struct amqc_field field;

	return amqc_table_find(capabilities_table, name, &field) && field.type == 't' && field.value.boolean;
}

/* Takes what matters from the server's properties; all of it is optional, and of any type. */
static void read_server(struct handshake *handshake, struct span properties)
{
	struct amqc_field product, version, field;
	char name[48] = "unknown broker", number[32] = "";

	if (amqc_table_find(properties, "product", &product) && product.type == 'S')
		log_clean(name, sizeof(name), product.value.bytes);
	if (amqc_table_find(properties, "version", &version) && version.type == 'S')
		log_clean(number, sizeof(number), version.value.bytes);
	snprintf(handshake->broker, sizeof(handshake->broker), "%s%s%s", name, number[0] ? " " : "", number);
	if (!amqc_table_find(properties, "capabilities", &field) || field.type != 'F')
		return;
	handshake->consumer_cancel_notify = capability(field.value.bytes, "consumer_cancel_notify");
	handshake->basic_nack = capability(field.value.bytes, "basic.nack");
	handshake->publisher_confirms = capability(field.value.bytes, "publisher_confirms");
}

static bool mechanism_offered(struct span mechanisms, const char *wanted)
{
	struct span rest = mechanisms;

	while (rest.len > 0) {
		const uint8_t *blank = memchr(rest.data, ' ', rest.len);
		size_t len = blank ? (size_t)(blank - rest.data) : rest.len;

		if (span_equal_str(span_first(rest, len), wanted))
			return true;
		rest = span_skip(rest, len + 1);
	}
	return false;
}

static void append_client_properties(struct buf *table, const struct handshake_options *options)
{
	struct span name = SPAN_LITERAL("capabilities");
	size_t mark;

	amqc_field_append_str(table, "product", SPAN_LITERAL("muxd"));
	amqc_field_append_str(table, "connection_name", span_str(options->connection_name));
	mark = amqc_field_begin(table, &name, 'F');
	for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++)
		amqc_field_append_bool(table, capabilities[i], true);
	amqc_table_end(table, mark);
}

static enum handshake_result answer_start(struct handshake *handshake,
					  const struct amqc_connection_start *start, struct buf *out,
					  struct fault *ret_fault)
{
	const struct handshake_options *options = &handshake->options;
	struct buf table = BUF_INIT, response = BUF_INIT;
	struct amqc_method reply = {.id = AMQC_CONNECTION_START_OK};

	if (!mechanism_offered(start->mechanisms, options->sasl)) {
		char offered[64];

		*ret_fault =
		    fault_make(AMQC_ACCESS_REFUSED, "broker offers no SASL mechanism %s, but: %s",
			       options->sasl, log_clean(offered, sizeof(offered), start->mechanisms));
		return HANDSHAKE_REFUSED;
	}
	read_server(handshake, start->server_properties);
	append_client_properties(&table, options);
	if (strcmp(options->sasl, "PLAIN") == 0) {
		/* Blocks that grow leave copies behind. */
		if (buf_reserve(&response, strlen(options->user) + strlen(options->password) + 2))
			buf_append_u8(&response, 0);
		buf_append_span(&response, span_str(options->user));
		buf_append_u8(&response, 0);
		buf_append_span(&response, span_str(options->password));
	}
	reply.connection_start_ok.client_properties = buf_span(&table);
	reply.connection_start_ok.mechanism = span_str(options->sasl);
	reply.connection_start_ok.response = buf_span(&response);
	reply.connection_start_ok.locale = SPAN_LITERAL("en_US");
	if (buf_failed(&table) || buf_failed(&response))
		out->failed = true; /* before any of it is there */
	if (buf_reserve(out, buf_len(&table) + buf_len(&response) + START_OK_MORE))
		(void)amqc_method_append(out, 0, &reply); /* nothing in it can be too long */
	if (response.data)
		explicit_bzero(response.data, response.capacity);
	buf_deinit(&response);
	buf_deinit(&table);
	handshake->state = HANDSHAKE_WAIT_TUNE;
	return HANDSHAKE_GOES_ON;
}

/* In tune, 0 means "no limit" (specification, connection.tune). */
static uint32_t lower_of(uint32_t ours, uint32_t theirs)
{
	return theirs != 0 && theirs < ours ? theirs : ours;
}

static enum handshake_result answer_tune(struct handshake *handshake, const struct amqc_connection_tune *tune,
					 struct buf *out, struct fault *ret_fault)
{
	const struct handshake_options *options = &handshake->options;
	struct amqc_method reply = {.id = AMQC_CONNECTION_TUNE_OK};
	struct amqc_method open = {.id = AMQC_CONNECTION_OPEN};

	if (tune->frame_max != 0 && tune->frame_max < AMQC_FRAME_SIZE_MIN)
		return broken(ret_fault, "frame_max below 4096");
	handshake->channel_max = (uint16_t)lower_of(options->channel_max, tune->channel_max);
	handshake->frame_max = lower_of(options->frame_max, tune->frame_max);
	/* 0 on either side turns heartbeats off on that side's wish; we want them if we asked for them. */
	handshake->heartbeat_sec = (uint16_t)lower_of(options->heartbeat_sec, tune->heartbeat);
	reply.connection_tune_ok.channel_max = handshake->channel_max;
	reply.connection_tune_ok.frame_max = handshake->frame_max;
	reply.connection_tune_ok.heartbeat = handshake->heartbeat_sec;
	open.connection_open.virtual_host = span_str(options->vhost);
	(void)amqc_method_append(out, 0, &reply);
	if (amqc_method_append(out, 0, &open) != AMQC_OK) {
		*ret_fault = fault_make(AMQC_NOT_ALLOWED, "vhost name is longer than 255 bytes");
		return HANDSHAKE_REFUSED;
	}
	handshake->state = HANDSHAKE_WAIT_OPEN_OK;
	return HANDSHAKE_GOES_ON;
}

/* What the broker's words leave out, for who has to mend it; NULL: nothing. */
static const char *remedy(const struct handshake *handshake, unsigned int code)
{
	const struct handshake_options *options = &handshake->options;
	bool logged_in = handshake->state == HANDSHAKE_WAIT_OPEN_OK;

	/* RabbitMQ puts the vhost's name into its text, unquoted: one that is empty cannot be seen. */
	if (logged_in && options->vhost[0] == '\0')
		return "the vhost is \"\" as the URI ends in \"/\"; without that it is \"/\"";
	if (logged_in || code != AMQC_ACCESS_REFUSED)
		return NULL;
	return strcmp(options->sasl, "EXTERNAL") == 0
		   ? "look at tls-cert, and at the user whom the broker takes it for"
		   : "look at the user in uri, and at the password there or in password-file";
}

static void add_remedy(struct fault *fault, const char *text)
{
	struct fault named = fault_make(fault->code, "%.150s (%s)", fault->text, text);

	memcpy(fault->text, named.text, sizeof(named.text));
	fault->text_len = named.text_len;
}

/* The broker closes instead of going on: 403 for credentials, 530 for the vhost, 320 while it shuts down. */
static enum handshake_result closed_by_broker(const struct handshake *handshake,
					      const struct amqc_connection_close *close, struct buf *out,
					      struct fault *ret_fault)
{
	struct amqc_method reply = {.id = AMQC_CONNECTION_CLOSE_OK};
	const char *text = remedy(handshake, close->reply_code);

	(void)amqc_method_append(out, 0, &reply);
	*ret_fault =
	    fault_from_broker(close->reply_code, close->reply_text, close->class_id, close->method_id);
	ret_fault->retryable = true;
	if (text)
		add_remedy(ret_fault, text);
	switch (close->reply_code) {
	case AMQC_ACCESS_REFUSED:
	case AMQC_INVALID_PATH:
	case AMQC_NOT_ALLOWED:
		return HANDSHAKE_REFUSED;
	default:
		return HANDSHAKE_BROKEN;
	}
}

enum handshake_result handshake_method(struct handshake *handshake, const struct amqc_method *method,
				       struct buf *out, struct fault *ret_fault)
{
	const char *name = amqc_method_name(method->id);

	if (method->id == AMQC_CONNECTION_CLOSE)
		return closed_by_broker(handshake, &method->connection_close, out, ret_fault);
	switch (handshake->state) {
	case HANDSHAKE_WAIT_START:
		if (method->id == AMQC_CONNECTION_START)
			return answer_start(handshake, &method->connection_start, out, ret_fault);
		break;
	case HANDSHAKE_WAIT_TUNE:
		if (method->id == AMQC_CONNECTION_TUNE)
			return answer_tune(handshake, &method->connection_tune, out, ret_fault);
		break;
	case HANDSHAKE_WAIT_OPEN_OK:
		if (method->id == AMQC_CONNECTION_OPEN_OK) {
			handshake->state = HANDSHAKE_DONE;
			return HANDSHAKE_COMPLETE;
		}
		break;
	case HANDSHAKE_DONE:
		break;
	}
	return broken(ret_fault, name ? name : "an unknown method");
}
