/* Whether the values of a configuration go together. */
#include "daemon/conf/internal.h"

#include "daemon/base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define GUEST "guest"
#define LABEL_MAX 96u

struct checker {
	struct conf *conf;
	struct conf_errors *errors;
	struct conf_place place; /* of the section; its label is below */
	char label[LABEL_MAX];
	bool no_memory;
};

#define problem(c, ...) conf_error((c)->errors, (c)->place, __VA_ARGS__)

static void begin(struct checker *c, const char *kind, const char *name, const char *source,
		  unsigned int line)
{
	char shown[LABEL_MAX - 16];

	snprintf(c->label, sizeof(c->label), "%s \"%s\"", kind,
		 log_clean(shown, sizeof(shown), span_str(name)));
	c->place = (struct conf_place){.source = source, .line = line, .section = c->label};
}

/* ------------------------------------------------------------------ upstreams */

static void set_guest(struct checker *c, char **field)
{
	*field = strdup(GUEST);
	if (!*field)
		c->no_memory = true;
}

/* PLAIN needs a user and a password; on the loopback they are guest's unless somebody else is named. */
static void check_plain(struct checker *c, const struct conf_upstream *upstream,
			struct conf_endpoint *endpoint)
{
	bool local = conf_host_is_loopback(endpoint->host);
	bool has_file = upstream->password_file[0] != 0;

	if (!endpoint->user && !local) {
		problem(c, "the user is missing: amqp://USER@HOST/VHOST");
		return;
	}
	if (!endpoint->user)
		set_guest(c, &endpoint->user);
	if (endpoint->password && has_file)
		problem(c, "a password in the URI and a password-file: one of them must go");
	if (!endpoint->password && !has_file) {
		if (local && endpoint->user && strcmp(endpoint->user, GUEST) == 0)
			set_guest(c, &endpoint->password);
		else
			problem(c, "the password is missing: use password-file");
	}
	if (!local && !endpoint->tls && !upstream->plain_without_tls)
		problem(c,
			"the password would go unencrypted to a host that is not this one: use amqps, or set "
			"plain-without-tls = true");
}

static void check_external(struct checker *c, const struct conf_upstream *upstream,
			   const struct conf_endpoint *endpoint)
{
	if (!endpoint->tls)
		problem(c, "sasl = external needs amqps");
	if (endpoint->password || upstream->password_file[0])
		problem(c, "sasl = external takes no password");
	if (upstream->tls_cert[0] == 0)
		problem(c, "sasl = external needs tls-cert and tls-key, which say who we are");
}

static void check_endpoint(struct checker *c, const struct conf_upstream *upstream,
			   struct conf_endpoint *endpoint)
{
	c->place.line = endpoint->line;
	if (!endpoint->host) /* its URI was wrong, which is listed */
		return;
	if (upstream->sasl == CONF_SASL_EXTERNAL)
		check_external(c, upstream, endpoint);
	else
		check_plain(c, upstream, endpoint);
}

bool conf_upstream_uses_tls(const struct conf_upstream *upstream)
{
	for (size_t i = 0; i < upstream->endpoint_count; i++)
		if (upstream->endpoints[i].tls)
			return true;
	return false;
}

static bool names_tls(const struct conf_upstream *upstream)
{
	return upstream->tls_ca[0] || upstream->tls_cert[0] || upstream->tls_key[0] ||
	       upstream->tls_verify != CONF_TLS_VERIFY_FULL;
}

static void check_tls(struct checker *c, const struct conf_upstream *upstream)
{
	if ((upstream->tls_cert[0] == 0) != (upstream->tls_key[0] == 0))
		problem(c, "tls-cert and tls-key are only of use together");
	if (!conf_upstream_uses_tls(upstream)) {
		if (names_tls(upstream) && upstream->endpoint_count > 0)
			conf_error(&c->conf->warnings, c->place,
				   "keys of TLS (tls-...) are of no use without an amqps:// uri: nothing is "
				   "encrypted");
		return;
	}
	if (upstream->tls_verify != CONF_TLS_VERIFY_FULL)
		conf_error(&c->conf->warnings, c->place,
			   "tls-verify is not full: somebody in between can pose as the broker");
}

static void check_upstream(struct checker *c, struct conf_upstream *upstream)
{
	begin(c, "upstream", upstream->name, upstream->source, upstream->line);
	if (upstream->endpoint_count == 0)
		problem(c, "uri is missing");
	if (upstream->heartbeat_usec % USEC_PER_SEC != 0)
		problem(c, "heartbeat must be whole seconds");
	if (upstream->reconnect_min_usec > upstream->reconnect_max_usec)
		problem(c, "reconnect-min is more than reconnect-max");
	check_tls(c, upstream);
	for (size_t i = 0; i < upstream->endpoint_count; i++)
		check_endpoint(c, upstream, &upstream->endpoints[i]);
}

static bool has_upstream(const struct conf *conf, const char *name)
{
	for (size_t i = 0; i < conf->upstream_count; i++)
		if (strcmp(conf->upstreams[i].name, name) == 0)
			return true;
	return false;
}

/* ------------------------------------------------------------------ limits and access */

static void check_message_max(struct checker *c, uint64_t message_max, uint64_t session_memory)
{
	if (message_max > session_memory / 2)
		problem(c, "message-max (%llu) is more than half of session-memory (%llu)",
			(unsigned long long)message_max, (unsigned long long)session_memory);
}

static void check_limits(struct checker *c)
{
	const struct conf_limits *limits = &c->conf->limits;

	c->place =
	    (struct conf_place){.source = c->conf->path, .line = c->conf->limits_line, .section = "limits"};
	check_message_max(c, limits->message_max_bytes, limits->session_memory_bytes);
	if (limits->session_memory_bytes > limits->total_memory_bytes)
		problem(c, "session-memory is more than total-memory");
}

static void check_lower(struct checker *c, const char *key, uint64_t value, uint64_t whole)
{
	if (value > whole)
		problem(c, "%s is more than in limits, which an access section can only lower", key);
}

static uint64_t or_else(uint64_t value, uint64_t inherited)
{
	return value ? value : inherited;
}

static void check_access(struct checker *c, const struct conf_access *access)
{
	const struct conf_limits *whole = &c->conf->limits;
	const struct conf_limits *own = &access->limits;

	begin(c, "access", access->name, c->conf->path, access->line);
	check_lower(c, "session-memory", own->session_memory_bytes, whole->session_memory_bytes);
	check_lower(c, "message-max", own->message_max_bytes, whole->message_max_bytes);
	check_lower(c, "sessions-per-uid", own->sessions_per_uid, whole->sessions_per_uid);
	check_lower(c, "channels-per-session", own->channels_per_session, whole->channels_per_session);
	check_lower(c, "prefetch", own->prefetch, whole->prefetch);
	if (own->message_max_bytes || own->session_memory_bytes)
		check_message_max(c, or_else(own->message_max_bytes, whole->message_max_bytes),
				  or_else(own->session_memory_bytes, whole->session_memory_bytes));
	for (size_t i = 0; i < access->upstreams.count; i++) {
		char shown[LABEL_MAX];

		if (has_upstream(c->conf, access->upstreams.items[i].text))
			continue;
		c->place.line = access->upstreams.items[i].line;
		problem(c, "there is no upstream \"%s\"",
			log_clean(shown, sizeof(shown), span_str(access->upstreams.items[i].text)));
	}
}

int conf_check(struct conf *conf, struct conf_errors *errors)
{
	struct checker c = {.conf = conf, .errors = errors};

	c.place = (struct conf_place){.source = conf->path};
	if (conf->upstream_count == 0)
		problem(&c, "there is no upstream section; write one, or give -u URI or MUXD_UPSTREAM");
	for (size_t i = 0; i < conf->upstream_count; i++)
		check_upstream(&c, &conf->upstreams[i]);
	check_limits(&c);
	for (size_t i = 0; i < conf->access_count; i++)
		check_access(&c, &conf->accesses[i]);
	return c.no_memory ? -ENOMEM : 0;
}
