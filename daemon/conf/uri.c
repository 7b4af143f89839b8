/*
 * amqp://user:password@host:port/vhost, as RabbitMQ's URI specification has
 * it: parts are percent-encoded, no path means the vhost "/", a path of a
 * lone slash means the vhost with the empty name. Stricter here: the host is
 * needed, and a query is refused, because what it would set has a key in
 * muxd.conf.
 *
 * A URI may hold a password, so no error shows any of it but the part that is
 * wrong, and never what stands before an "@".
 */
#include "daemon/conf/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#define PORT_AMQP 5672
#define PORT_AMQPS 5671
#define SHORTSTR_MAX 255u
#define HOST_MAX 253u

struct uri {
	struct conf_endpoint *endpoint;
	struct conf_place place;
	struct conf_errors *errors;
	struct span rest; /* not yet taken apart */
};

static int fail(struct uri *uri, const char *reason)
{
	conf_error(uri->errors, uri->place, "wrong URI: %s", reason);
	return -EINVAL;
}

/* Where the first of these bytes is, or the length. */
static size_t find(struct span s, const char *bytes)
{
	size_t at = 0;

	while (at < s.len && !(s.data[at] && strchr(bytes, s.data[at])))
		at++;
	return at;
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* A decoded copy; what names the part. */
static int decode(struct uri *uri, struct span part, const char *what, char **ret)
{
	char *out = malloc(part.len + 1);
	size_t len = 0;

	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < part.len; i++) {
		int high, low;

		if (part.data[i] != '%') {
			out[len++] = (char)part.data[i];
			continue;
		}
		high = i + 1 < part.len ? hex_digit(part.data[i + 1]) : -1;
		low = i + 2 < part.len ? hex_digit(part.data[i + 2]) : -1;
		if (high < 0 || low < 0 || high + low == 0) {
			explicit_bzero(out, len);
			free(out);
			conf_error(uri->errors, uri->place,
				   "wrong URI: bad percent escape in the %s (\"%%\" itself is %%25; a NUL is "
				   "not allowed)",
				   what);
			return -EINVAL;
		}
		out[len++] = (char)(high * 16 + low);
		i += 2;
	}
	out[len] = 0;
	*ret = out;
	return 0;
}

static int take_scheme(struct uri *uri)
{
	static const char plain[] = "amqp://";
	static const char secure[] = "amqps://";
	const char *text = (const char *)uri->rest.data;

	if (strncasecmp(text, plain, sizeof(plain) - 1) == 0) {
		uri->endpoint->port = PORT_AMQP;
		uri->rest = span_skip(uri->rest, sizeof(plain) - 1);
	} else if (strncasecmp(text, secure, sizeof(secure) - 1) == 0) {
		uri->endpoint->tls = true;
		uri->endpoint->port = PORT_AMQPS;
		uri->rest = span_skip(uri->rest, sizeof(secure) - 1);
	} else {
		return fail(uri, "the scheme must be amqp:// or amqps://");
	}
	return 0;
}

static int take_vhost(struct uri *uri, struct span path)
{
	int r;

	if (path.len == 0) {
		uri->endpoint->vhost = strdup("/");
		return uri->endpoint->vhost ? 0 : -ENOMEM;
	}
	path = span_skip(path, 1);
	if (find(path, "/") < path.len)
		return fail(uri, "a slash inside the vhost must be written %2F");
	r = decode(uri, path, "vhost", &uri->endpoint->vhost);
	if (r < 0)
		return r;
	if (strlen(uri->endpoint->vhost) > SHORTSTR_MAX)
		return fail(uri, "the vhost is longer than 255 bytes");
	return 0;
}

static int take_credentials(struct uri *uri, struct span userinfo)
{
	size_t colon = find(userinfo, ":");
	int r = decode(uri, span_first(userinfo, colon), "user name", &uri->endpoint->user);

	if (r < 0)
		return r;
	if (uri->endpoint->user[0] == 0)
		return fail(uri, "the user name is empty");
	if (colon == userinfo.len)
		return 0;
	r = decode(uri, span_skip(userinfo, colon + 1), "password", &uri->endpoint->password);
	if (r < 0)
		return r;
	if (uri->endpoint->password[0] == 0)
		return fail(uri, "the password is empty");
	return 0;
}

static int take_port(struct uri *uri, struct span digits)
{
	unsigned long port = 0;

	if (digits.len == 0 || digits.len > 5)
		return fail(uri, "the port must be a number from 1 to 65535");
	for (size_t i = 0; i < digits.len; i++) {
		if (digits.data[i] < '0' || digits.data[i] > '9')
			return fail(uri, "the port must be a number from 1 to 65535");
		port = port * 10 + (unsigned long)(digits.data[i] - '0');
	}
	if (port == 0 || port > UINT16_MAX)
		return fail(uri, "the port must be a number from 1 to 65535");
	uri->endpoint->port = (uint16_t)port;
	return 0;
}

static int take_address_six(struct uri *uri, struct span inside)
{
	struct in6_addr address;
	char *zone;
	int r = decode(uri, inside, "host", &uri->endpoint->host);

	if (r < 0)
		return r;
	/* The zone of a link-local address is the resolver's to judge, if it can be a name. */
	zone = strchr(uri->endpoint->host, '%');
	for (const char *p = zone; p && *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f)
			return fail(uri, "the zone of the IPv6 address has a character that no name has");
	if (strlen(uri->endpoint->host) > HOST_MAX)
		return fail(uri, "the host is longer than 253 bytes");
	if (zone)
		*zone = 0;
	r = inet_pton(AF_INET6, uri->endpoint->host, &address);
	if (zone)
		*zone = '%';
	return r == 1 ? 0 : fail(uri, "what stands in brackets is no IPv6 address");
}

static int take_name(struct uri *uri, struct span name)
{
	int r;

	if (name.len == 0)
		return fail(uri, "the host is missing");
	r = decode(uri, name, "host", &uri->endpoint->host);
	if (r < 0)
		return r;
	if (strlen(uri->endpoint->host) > HOST_MAX)
		return fail(uri, "the host is longer than 253 bytes");
	for (const char *p = uri->endpoint->host; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f || strchr("/?#[]@:", *p))
			return fail(uri, "the host has a character that no host name has");
	return 0;
}

static int take_host(struct uri *uri, struct span host)
{
	size_t end;
	int r;

	if (host.len > 0 && host.data[0] == '[') {
		end = find(host, "]");
		if (end == host.len)
			return fail(uri, "\"[\" without \"]\" around an IPv6 address");
		r = take_address_six(uri, span_make(host.data + 1, end - 1));
		end++;
	} else {
		end = find(host, ":");
		r = take_name(uri, span_first(host, end));
	}
	if (r < 0 || end == host.len)
		return r;
	if (host.data[end] != ':')
		return fail(uri, "the port must be a number from 1 to 65535");
	return take_port(uri, span_skip(host, end + 1));
}

static int take_all(struct uri *uri)
{
	struct span authority;
	size_t at;
	int r = take_scheme(uri);

	if (r < 0)
		return r;
	if (find(uri->rest, "?#") < uri->rest.len)
		return fail(uri, "a query (\"?\") or fragment (\"#\") is not supported; its settings are "
				 "keys of the upstream section (in a password write %3F and %23)");
	authority = span_first(uri->rest, find(uri->rest, "/"));
	at = find(authority, "@");
	if (at < authority.len && find(span_skip(authority, at + 1), "@") < authority.len - at - 1)
		return fail(uri, "more than one \"@\" (in a password write %40)");
	r = take_vhost(uri, span_skip(uri->rest, authority.len));
	if (r == 0 && at < authority.len)
		r = take_credentials(uri, span_first(authority, at));
	if (r == 0)
		r = take_host(uri, at < authority.len ? span_skip(authority, at + 1) : authority);
	return r;
}

int conf_uri_parse(struct conf_endpoint *endpoint, const char *text, struct conf_place place,
		   struct conf_errors *errors)
{
	struct uri uri = {endpoint, place, errors, span_str(text)};
	int r;

	*endpoint = (struct conf_endpoint){0};
	r = take_all(&uri);
	if (r < 0)
		conf_endpoint_deinit(endpoint);
	endpoint->line = place.line;
	return r;
}
