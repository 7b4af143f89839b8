#include "config.h"

#include "daemon/conf/internal.h"

#include "daemon/base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define MINUTE_USEC (60 * USEC_PER_SEC)
#define MIB (1ull << 20)

/* ------------------------------------------------------------------ errors */

static char *place_text(struct conf_place place)
{
	char line[16] = "";
	char *text;
	int r;

	if (place.line > 0)
		snprintf(line, sizeof(line), ":%u", place.line);
	r = asprintf(&text, "%s%s: %s%s%s%s", place.source, line, place.section ? place.section : "",
		     place.section ? ": " : "", place.key ? place.key : "", place.key ? ": " : "");
	return r < 0 ? NULL : text;
}

void conf_error(struct conf_errors *errors, struct conf_place place, const char *format, ...)
{
	char *where = place_text(place);
	char *what = NULL;
	char *whole = NULL;
	char **texts;
	va_list args;
	int r;

	va_start(args, format);
	r = vasprintf(&what, format, args);
	va_end(args);
	if (r >= 0 && where && asprintf(&whole, "%s%s", where, what) < 0)
		whole = NULL;
	if (r >= 0)
		free(what);
	free(where);
	texts = whole ? conf_array_grow(errors->texts, errors->count, sizeof(*texts)) : NULL;
	if (!texts) {
		free(whole);
		errors->incomplete = true;
		return;
	}
	errors->texts = texts;
	errors->texts[errors->count++] = whole;
}

void conf_errors_deinit(struct conf_errors *errors)
{
	for (size_t i = 0; i < errors->count; i++)
		free(errors->texts[i]);
	free(errors->texts);
	*errors = CONF_ERRORS_INIT;
}

void *conf_array_grow(void *items, size_t count, size_t size)
{
	char *block = reallocarray(items, count + 1, size);

	if (block)
		memset(block + count * size, 0, size);
	return block;
}

/* ------------------------------------------------------------------ hosts */

bool conf_host_is_loopback(const char *host)
{
	struct in6_addr six;
	struct in_addr four;

	if (strcasecmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, &four) == 1)
		return (ntohl(four.s_addr) >> 24) == 127;
	if (inet_pton(AF_INET6, host, &six) != 1)
		return false;
	return IN6_IS_ADDR_LOOPBACK(&six) || (IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == 127);
}

/* ------------------------------------------------------------------ lifetime */

void conf_wipe_string(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

void conf_endpoint_deinit(struct conf_endpoint *endpoint)
{
	free(endpoint->host);
	free(endpoint->user);
	conf_wipe_string(endpoint->password);
	free(endpoint->vhost);
	*endpoint = (struct conf_endpoint){0};
}

int conf_upstream_init(struct conf_upstream *upstream, const char *name, unsigned int line)
{
	*upstream = (struct conf_upstream){
	    .name = strdup(name),
	    .line = line,
	    .password_file = strdup(""),
	    .sasl = CONF_SASL_PLAIN,
	    .heartbeat_usec = 20 * USEC_PER_SEC,
	    .connect_timeout_usec = 10 * USEC_PER_SEC,
	    .reconnect_min_usec = 200 * USEC_PER_MSEC,
	    .reconnect_max_usec = 30 * USEC_PER_SEC,
	    .warm_lanes = 4,
	    .unconfirmed_messages = 4096,
	    .unconfirmed_bytes = 64 * MIB,
	    .adaptive_window = true,
	    .generated_queue_prefix = strdup("muxd.gen-"),
	    .tls_ca = strdup(""),
	    .tls_cert = strdup(""),
	    .tls_key = strdup(""),
	    .tls_verify = CONF_TLS_VERIFY_FULL,
	};
	if (!upstream->name || !upstream->password_file || !upstream->generated_queue_prefix ||
	    !upstream->tls_ca || !upstream->tls_cert || !upstream->tls_key)
		return -ENOMEM;
	return 0;
}

void conf_upstream_deinit(struct conf_upstream *upstream)
{
	for (size_t i = 0; i < upstream->endpoint_count; i++)
		conf_endpoint_deinit(&upstream->endpoints[i]);
	free(upstream->endpoints);
	free(upstream->name);
	free(upstream->password_file);
	free(upstream->generated_queue_prefix);
	free(upstream->tls_ca);
	free(upstream->tls_cert);
	free(upstream->tls_key);
	*upstream = (struct conf_upstream){0};
}

static void ids_deinit(struct conf_ids *ids)
{
	for (size_t i = 0; i < ids->count; i++)
		free(ids->items[i].name);
	free(ids->items);
}

static void access_deinit(struct conf_access *access)
{
	ids_deinit(&access->users);
	ids_deinit(&access->groups);
	for (size_t i = 0; i < access->upstreams.count; i++)
		free(access->upstreams.items[i].text);
	free(access->upstreams.items);
	free(access->name);
	free(access->configure);
	free(access->write);
	free(access->read);
}

static struct conf *conf_new(void)
{
	struct conf *conf = calloc(1, sizeof(*conf));

	if (!conf)
		return NULL;
	conf->socket_group = strdup("");
	conf->socket_mode = 0660;
	conf->log_level = LOG_LEVEL_INFO;
	conf->audit = true;
	conf->drain_timeout_usec = 30 * USEC_PER_SEC;
	conf->request_timeout_usec = 30 * USEC_PER_SEC;
	conf->publish_timeout_usec = 5 * MINUTE_USEC;
	conf->limits = (struct conf_limits){
	    .total_memory_bytes = 512 * MIB,
	    .session_memory_bytes = 64 * MIB,
	    .message_max_bytes = 16 * MIB,
	    .sessions = 16384,
	    .sessions_per_uid = 8192,
	    .channels_per_session = 2047,
	    .prefetch = 256,
	};
	if (!conf->socket_group) {
		conf_free(conf);
		return NULL;
	}
	return conf;
}

void conf_free(struct conf *conf)
{
	if (!conf)
		return;
	for (size_t i = 0; i < conf->upstream_count; i++)
		conf_upstream_deinit(&conf->upstreams[i]);
	for (size_t i = 0; i < conf->access_count; i++)
		access_deinit(&conf->accesses[i]);
	free(conf->upstreams);
	free(conf->accesses);
	free(conf->path);
	free(conf->socket);
	free(conf->socket_group);
	conf_errors_deinit(&conf->warnings);
	free(conf);
}

/* ------------------------------------------------------------------ loading */

/* Guests of the loopback have no secret, but those who gave one may not know who else reads the file. */
static void check_who_reads(struct conf *conf, struct conf_errors *errors)
{
	for (size_t i = 0; i < conf->upstream_count; i++) {
		for (size_t k = 0; k < conf->upstreams[i].endpoint_count; k++) {
			const struct conf_endpoint *endpoint = &conf->upstreams[i].endpoints[k];
			bool local = endpoint->host && conf_host_is_loopback(endpoint->host);

			if (endpoint->password)
				conf_error(local ? &conf->warnings : errors,
					   (struct conf_place){.source = conf->path, .line = endpoint->line},
					   "a URI with a password in a file that everybody on this host can "
					   "read: chmod the file, or use password-file");
		}
	}
}

static int load_file(struct conf *conf, const char *path, struct conf_errors *errors)
{
	struct conf_text text;
	int r;

	conf->path = strdup(path);
	if (!conf->path)
		return -ENOMEM;
	r = conf_text_read(&text, path, errors);
	if (r < 0)
		return r;
	r = text.broken ? -EINVAL : conf_parse_text(conf, &text, errors);
	if (r == 0 && text.others_read)
		check_who_reads(conf, errors);
	conf_text_deinit(&text);
	return r;
}

/* The upstream "default", added if there is none; NULL: no memory. */
static struct conf_upstream *default_upstream(struct conf *conf)
{
	struct conf_upstream *upstreams;

	for (size_t i = 0; i < conf->upstream_count; i++)
		if (strcmp(conf->upstreams[i].name, CONF_DEFAULT_UPSTREAM) == 0)
			return &conf->upstreams[i];
	upstreams = conf_array_grow(conf->upstreams, conf->upstream_count, sizeof(*upstreams));
	if (!upstreams)
		return NULL;
	conf->upstreams = upstreams;
	upstreams += conf->upstream_count++;
	return conf_upstream_init(upstreams, CONF_DEFAULT_UPSTREAM, 0) < 0 ? NULL : upstreams;
}

static int load_uri(struct conf *conf, const char *uri, const char *source, struct conf_errors *errors)
{
	struct conf_upstream *upstream = default_upstream(conf);

	if (!upstream)
		return -ENOMEM;
	for (size_t i = 0; i < upstream->endpoint_count; i++)
		conf_endpoint_deinit(&upstream->endpoints[i]);
	free(upstream->endpoints);
	upstream->endpoint_count = 0;
	upstream->endpoints = conf_array_grow(NULL, 0, sizeof(*upstream->endpoints));
	if (!upstream->endpoints)
		return -ENOMEM;
	upstream->endpoint_count = 1;
	upstream->source = source;
	upstream->line = 0;
	return conf_uri_parse(&upstream->endpoints[0], uri, (struct conf_place){.source = source}, errors);
}

/* Anybody on the host can read the arguments of a process. */
static int load_uri_option(struct conf *conf, const char *uri, struct conf_errors *errors)
{
	int r = load_uri(conf, uri, "-u", errors);

	if (r == 0 && default_upstream(conf)->endpoints[0].password) {
		conf_error(errors, (struct conf_place){.source = "-u"},
			   "everybody on this host can see a password on the command line; put it into the "
			   "configuration (password-file, which may be a systemd credential), or the whole "
			   "URI into the environment variable MUXD_UPSTREAM");
		return -EINVAL;
	}
	return r;
}

static int load(struct conf *conf, const struct conf_source *source, struct conf_errors *errors)
{
	int r = 0;

	if (source->path)
		r = load_file(conf, source->path, errors);
	if (r < 0)
		return r;
	if (source->uri_option)
		r = load_uri_option(conf, source->uri_option, errors);
	else if (source->uri_environ)
		r = load_uri(conf, source->uri_environ, "MUXD_UPSTREAM", errors);
	else if (!source->path)
		r = load_uri(conf, "amqp://localhost", "the default", errors);
	if (r < 0 && r != -EINVAL)
		return r;
	return conf_check(conf, errors);
}

int conf_load(const struct conf_source *source, struct conf **ret, struct conf_errors *errors)
{
	struct conf *conf = conf_new();
	int r;

	if (!conf)
		return -ENOMEM;
	r = load(conf, source, errors);
	if (errors->incomplete)
		r = -ENOMEM;
	else if (r == 0 && errors->count > 0)
		r = -EINVAL;
	if (r < 0) {
		conf_free(conf);
		return r;
	}
	*ret = conf;
	return 0;
}
