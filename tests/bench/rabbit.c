#include "tests/bench/rabbit.h"

#include "tests/bench/bench.h"

#include <amqp_tcp_socket.h>
#include <stdlib.h>
#include <string.h>

void rabbit_must(int status, const char *what)
{
	if (status != AMQP_STATUS_OK)
		bench_die("librabbitmq: %s: %s", what, amqp_error_string2(status));
}

void rabbit_must_reply(amqp_connection_state_t conn, const char *what)
{
	amqp_rpc_reply_t reply = amqp_get_rpc_reply(conn);

	if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
		rabbit_must(reply.library_error, what);
	if (reply.reply_type != AMQP_RESPONSE_NORMAL)
		bench_die("librabbitmq: %s: the broker refuses (method %#x)", what, reply.reply.id);
}

amqp_connection_state_t rabbit_dial(const char *url)
{
	struct amqp_connection_info info;
	amqp_connection_state_t conn = amqp_new_connection();
	amqp_socket_t *socket = conn ? amqp_tcp_socket_new(conn) : NULL;
	char *copy = strdup(url);
	amqp_rpc_reply_t reply;

	if (!socket || !copy)
		bench_die("librabbitmq: no memory");
	rabbit_must(amqp_parse_url(copy, &info), url);
	rabbit_must(amqp_socket_open(socket, info.host, info.port), "cannot connect");
	reply = amqp_login(conn, info.vhost, 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, info.user, info.password);
	if (reply.reply_type != AMQP_RESPONSE_NORMAL)
		bench_die("librabbitmq: cannot log in at %s:%d", info.host, info.port);
	free(copy);
	(void)amqp_channel_open(conn, CHANNEL);
	rabbit_must_reply(conn, "channel.open");
	return conn;
}

void rabbit_hang_up(amqp_connection_state_t conn)
{
	(void)amqp_connection_close(conn, AMQP_REPLY_SUCCESS);
	(void)amqp_destroy_connection(conn);
}
