/*
 * An AMQP URI: it is refused with one error, which shows nothing that may be
 * part of a password, or taken apart into pieces that make a URI which gives
 * the same pieces.
 *
 * A "$" in the input stands for a password.
 */
#include "daemon/conf/internal.h"
#include "proto/buf.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <string.h>

#define SECRET "hunter2"

static char *expand(const uint8_t *data, size_t size)
{
	struct buf out = BUF_INIT;

	for (size_t i = 0; i < size && data[i]; i++) {
		if (data[i] == '$')
			buf_append_span(&out, span_str(SECRET));
		else
			buf_append_u8(&out, data[i]);
	}
	buf_append_u8(&out, 0);
	require(!buf_failed(&out));
	return (char *)out.data;
}

static void append_escaped(struct buf *out, const char *text)
{
	static const char digits[] = "0123456789aBcDeF";

	for (; *text; text++) {
		buf_append_u8(out, '%');
		buf_append_u8(out, (uint8_t)digits[(uint8_t)*text >> 4]);
		buf_append_u8(out, (uint8_t)digits[(uint8_t)*text & 15]);
	}
}

static void append_uri(struct buf *out, const struct conf_endpoint *endpoint)
{
	bool six = strchr(endpoint->host, ':') != NULL;
	char port[16];

	buf_append_span(out, span_str(endpoint->tls ? "AMQPS://" : "amqp://"));
	if (endpoint->user)
		append_escaped(out, endpoint->user);
	if (endpoint->password) {
		buf_append_u8(out, ':');
		append_escaped(out, endpoint->password);
	}
	if (endpoint->user)
		buf_append_u8(out, '@');
	if (six)
		buf_append_u8(out, '[');
	append_escaped(out, endpoint->host);
	if (six)
		buf_append_u8(out, ']');
	snprintf(port, sizeof(port), ":%u/", endpoint->port);
	buf_append_span(out, span_str(port));
	append_escaped(out, endpoint->vhost);
	buf_append_u8(out, 0);
	require(!buf_failed(out));
}

static bool same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static void check_again(const struct conf_endpoint *endpoint)
{
	struct conf_errors errors = CONF_ERRORS_INIT;
	struct conf_endpoint again;
	struct buf uri = BUF_INIT;

	require(endpoint->host[0] && endpoint->port > 0 && strlen(endpoint->host) <= 253);
	require(strlen(endpoint->vhost) <= 255);
	require(!endpoint->user || endpoint->user[0]);
	require(!endpoint->password || (endpoint->user && endpoint->password[0]));
	append_uri(&uri, endpoint);
	require(conf_uri_parse(&again, (const char *)uri.data, (struct conf_place){.source = "-u"},
			       &errors) == 0);
	require(same(again.host, endpoint->host) && again.port == endpoint->port);
	require(again.tls == endpoint->tls && same(again.vhost, endpoint->vhost));
	require(same(again.user, endpoint->user) && same(again.password, endpoint->password));
	conf_endpoint_deinit(&again);
	conf_errors_deinit(&errors);
	buf_deinit(&uri);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf_errors errors = CONF_ERRORS_INIT;
	struct conf_endpoint endpoint;
	char *uri = expand(data, size);
	int r = conf_uri_parse(&endpoint, uri, (struct conf_place){.source = "-u"}, &errors);

	if (r == 0) {
		require(errors.count == 0);
		check_again(&endpoint);
	} else {
		require(errors.count == 1 && !strstr(errors.texts[0], SECRET));
		require(!endpoint.host && !endpoint.user && !endpoint.password && !endpoint.vhost);
	}
	conf_endpoint_deinit(&endpoint);
	conf_errors_deinit(&errors);
	free(uri);
	return 0;
}
