/*
 * Options of a connection: defaults, where the socket is, and the greeting.
 */
#include "config.h"

#include "client/options.h"
#include "client/conn.h"
#include "client/error.h"
#include "client/receive.h"
#include "client/replay.h"
#include "client/wire.h"

#include "proto/buf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SOCKET_DEFAULT "/run/muxd/muxd.sock"
#define VERSION_MIN 1u
#define VERSION_MAX 1u
#define PROGRAM_MAX 64u /* bytes that muxd keeps */
#define DISPATCHERS_DEFAULT 8u

/* Field numbers of muxd.v1.Hello. */
enum hello_field {
	HELLO_VERSION_MIN = 1,
	HELLO_VERSION_MAX = 2,
	HELLO_PROGRAM = 4,
	HELLO_UPSTREAM = 5,
	HELLO_GET_BYTES = 6
};

static uint64_t or_default(uint64_t value, uint64_t value_default)
{
	return value ? value : value_default;
}

int options_read(struct muxc *c, const struct muxc_options *options, struct muxc_error *ret_error)
{
	if (options->flags &
	    ~(unsigned int)(MUXC_LOOP | MUXC_NO_RECONNECT | MUXC_CONNECT_LATER | MUXC_REATTACH))
		return error_set(ret_error, -EINVAL, "unknown flags in struct muxc_options: %#x",
				 options->flags);
	c->loop = options->flags & MUXC_LOOP;
	if (c->loop && options->execute)
		return error_set(ret_error, -EINVAL,
				 "with MUXC_LOOP muxc_process() runs the handlers, not execute");
	c->link.reconnects = !(options->flags & MUXC_NO_RECONNECT);
	c->link.later = options->flags & MUXC_CONNECT_LATER;
	c->link.connect_timeout_usec = or_default(options->connect_timeout_usec, 10 * USEC_PER_SEC);
	c->link.timeout_usec = options->reconnect_timeout_usec;
	c->kept_max = or_default(options->replay_bytes, REPLAY_BYTES);
	c->connect_deadline_usec = deadline_after(c->link.connect_timeout_usec);
	c->request_timeout_usec = or_default(options->request_timeout_usec, 30 * USEC_PER_SEC);
	c->outcome_timeout_usec = options->outcome_timeout_usec;
	c->linger_usec = or_default(options->linger_usec, USEC_PER_SEC);
	c->execute = options->execute;
	c->executor = options->executor;
	c->dispatchers_max = options->dispatch_threads ? options->dispatch_threads : DISPATCHERS_DEFAULT;
	c->on_upstream = options->on_upstream;
	c->on_going_away = options->on_going_away;
	c->on_closed = options->on_closed;
	c->on_link = options->on_link;
	c->userdata = options->userdata;
	return 0;
}

int options_socket_path(const struct muxc_options *options, char *buffer, size_t size,
			struct muxc_error *ret_error)
{
	const char *path = options->socket_path, *runtime;
	int len;

	if (!path || !*path)
		path = getenv("MUXD_SOCKET");
	if (path && *path) {
		len = snprintf(buffer, size, "%s", path);
	} else {
		runtime = getenv("XDG_RUNTIME_DIR");
		len = runtime && *runtime ? snprintf(buffer, size, "%s/muxd.sock", runtime) : 0;
		if (len <= 0 || (size_t)len >= size || access(buffer, F_OK) < 0)
			len = snprintf(buffer, size, "%s", SOCKET_DEFAULT);
	}
	if (len < 0 || (size_t)len >= size)
		return error_set(
		    ret_error, -ENAMETOOLONG,
		    "the path of muxd's socket is longer than the %zu bytes a socket address holds",
		    size - 1);
	return 0;
}

void options_make_hello(struct muxc *c, const struct muxc_options *options)
{
	const char *program = options->program ? options->program : program_invocation_short_name;
	struct buf *op = &c->link.hello;

	wire_put_number(op, HELLO_VERSION_MIN, VERSION_MIN);
	wire_put_number(op, HELLO_VERSION_MAX, VERSION_MAX);
	wire_put_bytes(op, HELLO_PROGRAM, span_first(span_str(program), PROGRAM_MAX));
	if (options->upstream && *options->upstream)
		wire_put_bytes(op, HELLO_UPSTREAM, span_str(options->upstream));
	wire_put_number(op, HELLO_GET_BYTES, GET_WINDOW_BYTES);
}
