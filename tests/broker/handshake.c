/*
 * The handshake: protocol header, start, tune, open. What RabbitMQ answers
 * with a closed socket alone is a closed socket here.
 */
#include "tests/broker/engine.h"

static void append_capabilities(struct buf *table)
{
	static const char *const capabilities[] = {
	    "publisher_confirms",	    "exchange_exchange_bindings", "basic.nack",
	    "consumer_cancel_notify",	    "connection.blocked",	  "consumer_priorities",
	    "authentication_failure_close", "per_consumer_qos",		  "direct_reply_to"};
	struct span name = SPAN_LITERAL("capabilities");
	size_t mark = amqc_field_begin(table, &name, 'F');

	for (unsigned int i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++)
		amqc_field_append_bool(table, capabilities[i], true);
	amqc_table_end(table, mark);
}

static void send_start(struct broker_conn *conn)
{
	struct amqc_method start = {.id = AMQC_CONNECTION_START};
	struct buf table = BUF_INIT;

	append_capabilities(&table);
	amqc_field_append_str(&table, "cluster_name", SPAN_LITERAL(BROKER_PRODUCT));
	amqc_field_append_str(&table, "product", SPAN_LITERAL(BROKER_PRODUCT));
	amqc_field_append_str(&table, "version", SPAN_LITERAL(BROKER_VERSION));
	start.connection_start = (struct amqc_connection_start){.version_major = 0,
								.version_minor = 9,
								.server_properties = buf_span(&table),
								.mechanisms = SPAN_LITERAL("PLAIN"),
								.locales = SPAN_LITERAL("en_US")};
	bk_conn_append(conn, 0, &start);
	buf_deinit(&table);
}

void bk_conn_protocol(struct broker_conn *conn, struct span header)
{
	if (span_equal(header, span_make(AMQC_PROTOCOL_HEADER, AMQC_PROTOCOL_HEADER_LEN))) {
		conn->state = CONN_START;
		send_start(conn);
		return;
	}
	buf_append(&conn->out, AMQC_PROTOCOL_HEADER, AMQC_PROTOCOL_HEADER_LEN);
	bk_conn_shut(conn, "bad protocol header");
}

static bool capability(struct span client_properties, const char *name)
{
	struct amqc_field table, field;

	return amqc_table_find(client_properties, "capabilities", &table) && table.type == 'F' &&
	       amqc_table_find(table.value.bytes, name, &field) && field.type == 't' && field.value.boolean;
}

/* The part up to a NUL, which is taken off. */
static bool take_part(struct span *rest, struct span *ret)
{
	size_t len = 0;

	while (len < rest->len && rest->data[len] != 0)
		len++;
	if (len == rest->len)
		return false;
	*ret = span_first(*rest, len);
	*rest = span_skip(*rest, len + 1);
	return true;
}

static bool login(const struct broker *broker, struct span response, struct span *ret_user)
{
	struct span identity;

	return take_part(&response, &identity) && take_part(&response, ret_user) &&
	       span_equal(*ret_user, bk_name_span(&broker->user)) &&
	       span_equal(response, bk_name_span(&broker->password));
}

static void start_ok(struct broker_conn *conn, const struct amqc_connection_start_ok *m)
{
	const struct broker_options *options = &conn->broker->options;
	struct amqc_method tune = {.id = AMQC_CONNECTION_TUNE};
	struct span user = SPAN_NULL;

	if (!span_equal_str(m->mechanism, "PLAIN")) {
		bk_conn_shut(conn, "unknown mechanism");
		return;
	}
	conn->cap_auth_close = capability(m->client_properties, "authentication_failure_close");
	conn->cap_cancel_notify = capability(m->client_properties, "consumer_cancel_notify");
	conn->cap_blocked = capability(m->client_properties, "connection.blocked");
	conn->current_method = 0;
	if (!login(conn->broker, m->response, &user)) {
		if (conn->cap_auth_close)
			bk_conn_fail(
			    conn, AMQC_ACCESS_REFUSED,
			    "Login was refused using authentication mechanism PLAIN. For details see the "
			    "broker logfile.");
		else
			bk_conn_shut(conn, "login refused");
		return;
	}
	conn->state = CONN_TUNE;
	tune.connection_tune = (struct amqc_connection_tune){.channel_max = options->channel_max,
							     .frame_max = options->frame_max,
							     .heartbeat = options->heartbeat_sec};
	bk_conn_append(conn, 0, &tune);
}

/* 0 means no limit, which is more than any. */
static bool within(uint32_t chosen, uint32_t offered)
{
	return offered == 0 || (chosen > 0 && chosen <= offered);
}

static void tune_ok(struct broker_conn *conn, const struct amqc_connection_tune_ok *m)
{
	const struct broker_options *options = &conn->broker->options;

	if (!within(m->channel_max, options->channel_max) || !within(m->frame_max, options->frame_max) ||
	    (m->frame_max > 0 && m->frame_max < AMQC_FRAME_SIZE_MIN)) {
		bk_conn_shut(conn, "bad tune-ok: channel_max %u, frame_max %u", m->channel_max, m->frame_max);
		return;
	}
	conn->channel_max = m->channel_max;
	conn->frame_max = m->frame_max > 0 ? m->frame_max : INT32_MAX;
	conn->heartbeat_sec = m->heartbeat;
	conn->state = CONN_OPEN;
}

static void open_vhost(struct broker_conn *conn, struct span name)
{
	struct amqc_method reply = {.id = AMQC_CONNECTION_OPEN_OK};

	conn->vhost = bk_broker_vhost(conn->broker, name);
	if (!conn->vhost) {
		bk_conn_fail(conn, AMQC_NOT_ALLOWED, "vhost %.*s not found", SPAN_ARG(name));
		return;
	}
	conn->state = CONN_RUNNING;
	bk_conn_append(conn, 0, &reply);
	bk_conn_arm(conn);
}

void bk_conn_handshake(struct broker_conn *conn, const struct amqc_method *method)
{
	struct amqc_method close_ok = {.id = AMQC_CONNECTION_CLOSE_OK};

	if (conn->state == CONN_START && method->id == AMQC_CONNECTION_START_OK) {
		start_ok(conn, &method->connection_start_ok);
	} else if (conn->state == CONN_TUNE && method->id == AMQC_CONNECTION_TUNE_OK) {
		tune_ok(conn, &method->connection_tune_ok);
	} else if (conn->state == CONN_OPEN && method->id == AMQC_CONNECTION_OPEN) {
		open_vhost(conn, method->connection_open.virtual_host);
	} else if (method->id == AMQC_CONNECTION_CLOSE) {
		bk_conn_append(conn, 0, &close_ok);
		bk_conn_shut(conn, "closed by the client");
	} else {
		bk_conn_shut(conn, "unexpected method in the handshake");
	}
}
