#include "daemon/translate.h"

#include "daemon/base/duration.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_BYTES_MAX 300u /* a host name has at most 253 bytes */
#define PORT_BYTES_MAX 8u
#define ERROR_BYTES_MAX 512u

struct mux_limits translate_limits(const struct conf *conf)
{
	const struct conf_limits *limits = &conf->limits;

	return (struct mux_limits){
	    .total_memory = limits->total_memory_bytes,
	    .session_memory = limits->session_memory_bytes,
	    .message_max = limits->message_max_bytes,
	    .sessions = (uint32_t)limits->sessions,
	    .channels_per_session = (uint32_t)limits->channels_per_session,
	    .prefetch = (uint32_t)limits->prefetch,
	    .request_timeout_usec = conf->request_timeout_usec,
	    .publish_timeout_usec = conf->publish_timeout_usec,
	};
}

struct front_limits translate_front_limits(const struct conf *conf)
{
	const struct conf_limits *limits = &conf->limits;

	return (struct front_limits){
	    .message_max = limits->message_max_bytes,
	    .session_memory = limits->session_memory_bytes,
	    .channels_max = (uint32_t)limits->channels_per_session,
	    .sessions_per_uid = (uint32_t)limits->sessions_per_uid,
	    .prefetch = (uint32_t)limits->prefetch,
	};
}

/* A copy that lives as long as the translation; NULL: no memory. */
static const char *keep_string(struct translated_upstream *to, const char *text)
{
	char *copy = strdup(text);

	if (copy)
		to->strings[to->string_count++] = copy;
	return copy;
}

static int translate_endpoint(const struct conf_endpoint *from, struct translated_upstream *to, size_t index)
{
	struct upstream_endpoint *endpoint = &to->endpoints[index];
	struct uplink_endpoint *uplink = &to->uplink_endpoints[index];
	bool is_v6 = strchr(from->host, ':') != NULL;
	char label[LABEL_BYTES_MAX];
	char port[PORT_BYTES_MAX];

	(void)snprintf(label, sizeof(label), is_v6 ? "[%s]:%u" : "%s:%u", from->host, from->port);
	(void)snprintf(port, sizeof(port), "%u", from->port);
	endpoint->label = keep_string(to, label);
	uplink->port = keep_string(to, port);
	uplink->host = from->host;
	uplink->tls = from->tls;
	endpoint->vhost = from->vhost;
	endpoint->user = from->user ? from->user : "";
	endpoint->password = from->password ? from->password : to->secret.text;
	return endpoint->label && uplink->port ? 0 : -ENOMEM;
}

static void translate_plain(const struct conf_upstream *from, struct upstream_options *to)
{
	to->name = from->name;
	to->endpoint_count = from->endpoint_count;
	to->sasl = from->sasl == CONF_SASL_EXTERNAL ? "EXTERNAL" : "PLAIN";
	to->heartbeat_sec = (uint32_t)(from->heartbeat_usec / USEC_PER_SEC);
	to->connect_timeout_usec = from->connect_timeout_usec;
	to->reconnect_min_usec = from->reconnect_min_usec;
	to->reconnect_max_usec = from->reconnect_max_usec;
	to->warm_lanes = (uint32_t)from->warm_lanes;
	to->unconfirmed_messages = (uint32_t)from->unconfirmed_messages;
	to->unconfirmed_bytes = from->unconfirmed_bytes;
	to->adaptive_window = from->adaptive_window;
	to->queue_prefix = from->generated_queue_prefix;
}

/* ------------------------------------------------------------------ TLS */

static enum conf_file file_of(enum tls_part part)
{
	switch (part) {
	case TLS_PART_CERT:
		return CONF_FILE_TLS_CERT;
	case TLS_PART_KEY:
		return CONF_FILE_TLS_KEY;
	case TLS_PART_CA:
	case TLS_PART_NONE:
		break;
	}
	return CONF_FILE_TLS_CA;
}

struct warned {
	const struct conf_upstream *upstream;
	struct conf_errors *warnings;
};

static void warn(void *context, enum tls_part part, const char *text)
{
	const struct warned *warned = context;

	conf_file_error(warned->upstream, file_of(part), text, warned->warnings);
}

static enum tls_verify verify_of(const struct conf_upstream *from)
{
	switch (from->tls_verify) {
	case CONF_TLS_VERIFY_CA:
		return TLS_VERIFY_CA;
	case CONF_TLS_VERIFY_NONE:
		return TLS_VERIFY_NONE;
	default:
		return TLS_VERIFY_FULL;
	}
}

static int make_context(const struct conf_upstream *from, struct tls_options *options,
			struct conf_errors *errors, struct tls_context **ret)
{
	struct tls_error error;
	int r = tls_context_new(options, &error, ret);

	if (r == -EINVAL && error.part == TLS_PART_NONE)
		translate_error(errors, "%s: upstream \"%s\": TLS: %s", from->source, from->name, error.text);
	else if (r == -EINVAL)
		conf_file_error(from, file_of(error.part), error.text, errors);
	return r;
}

static int translate_tls(const struct conf_upstream *from, struct conf_errors *errors,
			 struct translated_upstream *to)
{
	struct warned warned = {from, &to->warnings};
	struct tls_options options = {.verify = verify_of(from), .warn = warn, .context = &warned};
	struct buf ca = BUF_INIT, cert = BUF_INIT, key = BUF_INIT;
	int r;

	if (!conf_upstream_uses_tls(from))
		return 0;
	r = conf_read_pem(from, CONF_FILE_TLS_CA, &ca, errors);
	if (r == 0)
		r = conf_read_pem(from, CONF_FILE_TLS_CERT, &cert, errors);
	if (r == 0)
		r = conf_read_pem(from, CONF_FILE_TLS_KEY, &key, errors);
	options.ca = buf_span(&ca);
	options.cert = buf_span(&cert);
	options.key = buf_span(&key);
	if (r == 0)
		r = make_context(from, &options, errors, &to->tls);
	conf_bytes_wipe(&ca);
	conf_bytes_wipe(&cert);
	conf_bytes_wipe(&key);
	return r;
}

int translate_upstream(const struct conf_upstream *from, struct conf_errors *errors,
		       struct translated_upstream *ret)
{
	int tls, r = 0;

	*ret = (struct translated_upstream){0};
	translate_plain(from, &ret->options);
	if (from->password_file[0] != 0)
		r = conf_read_upstream_password(from, &ret->secret, errors);
	tls = translate_tls(from, errors, ret); /* so that what is wrong with either is listed */
	if (r < 0 || tls < 0)
		return r < 0 ? r : tls;
	ret->endpoints = calloc(from->endpoint_count, sizeof(*ret->endpoints));
	ret->uplink_endpoints = calloc(from->endpoint_count, sizeof(*ret->uplink_endpoints));
	ret->strings = calloc(from->endpoint_count * 2, sizeof(*ret->strings));
	if (!ret->endpoints || !ret->uplink_endpoints || !ret->strings)
		return -ENOMEM;
	ret->options.endpoints = ret->endpoints;
	for (size_t i = 0; i < from->endpoint_count && r == 0; i++)
		r = translate_endpoint(&from->endpoints[i], ret, i);
	return r;
}

void translated_upstream_deinit(struct translated_upstream *upstream)
{
	conf_secret_wipe(&upstream->secret);
	for (size_t i = 0; i < upstream->string_count; i++)
		free(upstream->strings[i]);
	free(upstream->strings);
	free(upstream->endpoints);
	free(upstream->uplink_endpoints);
	(void)tls_context_free(upstream->tls);
	conf_errors_deinit(&upstream->warnings);
	*upstream = (struct translated_upstream){0};
}

void translate_error(struct conf_errors *errors, const char *format, ...)
{
	char text[ERROR_BYTES_MAX], clean[ERROR_BYTES_MAX];
	char **texts = reallocarray(errors->texts, errors->count + 1, sizeof(*texts));
	va_list args;

	if (!texts) {
		errors->incomplete = true;
		return;
	}
	errors->texts = texts;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	texts[errors->count] = strdup(log_clean(clean, sizeof(clean), span_str(text)));
	if (texts[errors->count])
		errors->count++;
	else
		errors->incomplete = true;
}

/* What the name service says when it says NULL: see getpwnam(3). */
static int lookup_error(int error)
{
	switch (error) {
	case 0:
	case ENOENT:
	case ESRCH:
	case EBADF:
	case EPERM:
		return -ENOENT;
	case EINVAL: /* else it would pass for an error of the configuration */
		return -EIO;
	default:
		return -error;
	}
}

int translate_find_user(const char *name, uint32_t *ret)
{
	const struct passwd *entry;

	errno = 0;
	entry = getpwnam(name);
	if (!entry)
		return lookup_error(errno);
	*ret = entry->pw_uid;
	return 0;
}

int translate_find_group(const char *name, uint32_t *ret)
{
	const struct group *entry;

	errno = 0;
	entry = getgrnam(name);
	if (!entry)
		return lookup_error(errno);
	*ret = entry->gr_gid;
	return 0;
}

int translate_group(const struct conf *conf, struct conf_errors *errors, gid_t *ret)
{
	uint64_t number;
	uint32_t gid;
	int r;

	*ret = (gid_t)-1;
	if (!conf->socket_group[0])
		return 0;
	r = translate_find_group(conf->socket_group, &gid);
	if (r == 0) {
		*ret = gid;
		return 0;
	}
	if (number_parse(conf->socket_group, &number) == 0 && number < UINT32_MAX) {
		*ret = (gid_t)number;
		return 0;
	}
	if (r != -ENOENT) {
		translate_error(errors, "%s: socket-group: group \"%s\" cannot be looked up: %s", conf->path,
				conf->socket_group, strerror(-r));
		return r;
	}
	translate_error(errors, "%s: socket-group: there is no group \"%s\" on this host", conf->path,
			conf->socket_group);
	return -EINVAL;
}
