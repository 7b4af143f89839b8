/*
 * A configuration file: it is taken, with every value within its bounds, or
 * refused with errors that say where and are fit to be printed; the same again
 * the same.
 */
#include "config.h"

#include "daemon/base/clock.h"
#include "daemon/conf/conf.h"
#include "tests/fuzz/fuzz.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ERROR_TEXT_MAX 4096u

static void check_errors(const struct conf_errors *errors, const char *path)
{
	require(!errors->incomplete);
	for (size_t i = 0; i < errors->count; i++) {
		const char *text = errors->texts[i];

		require(strncmp(text, path, strlen(path)) == 0 && text[strlen(path)] == ':');
		require(strlen(text) < ERROR_TEXT_MAX);
		for (; *text; text++)
			require(isprint((unsigned char)*text));
	}
}

static void check_endpoint(const struct conf_upstream *upstream, const struct conf_endpoint *endpoint)
{
	require(endpoint->host && endpoint->host[0] && endpoint->port > 0);
	require(endpoint->vhost && strlen(endpoint->vhost) <= 255);
	require(!endpoint->user || endpoint->user[0]);
	require(!endpoint->password || endpoint->password[0]);
	if (upstream->sasl == CONF_SASL_PLAIN)
		require(endpoint->user && (endpoint->password || upstream->password_file[0]));
}

static void check_upstream(const struct conf_upstream *upstream)
{
	require(upstream->name && upstream->endpoint_count > 0);
	require(upstream->sasl <= CONF_SASL_EXTERNAL && upstream->tls_verify <= CONF_TLS_VERIFY_NONE);
	require(upstream->heartbeat_usec >= USEC_PER_SEC && upstream->heartbeat_usec <= 65535 * USEC_PER_SEC);
	require(upstream->heartbeat_usec % USEC_PER_SEC == 0);
	require(upstream->reconnect_min_usec <= upstream->reconnect_max_usec);
	require(upstream->connect_timeout_usec >= USEC_PER_MSEC &&
		upstream->reconnect_min_usec >= USEC_PER_MSEC);
	require(upstream->unconfirmed_messages > 0 && upstream->unconfirmed_bytes >= 64u << 10);
	require(upstream->unconfirmed_messages <= UINT32_MAX && upstream->warm_lanes <= UINT32_MAX);
	for (size_t i = 0; i < upstream->endpoint_count; i++)
		check_endpoint(upstream, &upstream->endpoints[i]);
}

static void check_conf(const struct conf *conf)
{
	const struct conf_limits *limits = &conf->limits;

	require(conf->upstream_count > 0 && conf->socket_mode <= 0777);
	require(conf->log_level >= LOG_LEVEL_ERROR && conf->log_level <= LOG_LEVEL_DEBUG);
	require(conf->request_timeout_usec >= USEC_PER_MSEC && conf->publish_timeout_usec >= USEC_PER_MSEC);
	require(limits->total_memory_bytes >= 1u << 20 && limits->session_memory_bytes >= 128u << 10);
	require(limits->message_max_bytes >= 1u << 10 && limits->message_max_bytes <= 512u << 20);
	require(limits->sessions > 0 && limits->sessions_per_uid > 0);
	require(limits->channels_per_session > 0 && limits->prefetch > 0);
	require(limits->message_max_bytes <= limits->session_memory_bytes / 2);
	require(limits->session_memory_bytes <= limits->total_memory_bytes);
	require(limits->channels_per_session <= UINT32_MAX && limits->prefetch <= UINT16_MAX);
	for (size_t i = 0; i < conf->upstream_count; i++)
		check_upstream(&conf->upstreams[i]);
	for (size_t i = 0; i < conf->access_count; i++) {
		const struct conf_access *access = &conf->accesses[i];

		require(access->name && access->configure && access->write && access->read);
		require(access->limits.session_memory_bytes <= limits->session_memory_bytes);
		for (size_t k = 0; k < access->users.count; k++)
			require(access->users.items[k].name ||
				access->users.items[k].first <= access->users.items[k].last);
	}
}

/* How many errors there were. */
static size_t load(const char *path)
{
	struct conf_errors errors = CONF_ERRORS_INIT;
	struct conf *conf = NULL;
	int r = conf_load(&(struct conf_source){.path = path}, &conf, &errors);
	size_t count = errors.count;

	require((r == 0) == (count == 0) && (r == 0) == (conf != NULL));
	check_errors(&errors, path);
	if (conf) {
		check_errors(&conf->warnings, path);
		check_conf(conf);
	}
	conf_free(conf);
	conf_errors_deinit(&errors);
	return count;
}

/* What is around the input: nothing, or by its first byte a file that is right. */
static struct frame {
	const char *before;
	const char *behind;
} frame_of(const uint8_t *data, size_t size)
{
	static const struct frame frames[] = {
	    {"upstream \"u\" {\nuri = \"amqp://u:p@localhost\"\n", "\n}\n"},
	    {"upstream \"u\" {\nuri = \"amqp://u:p@localhost\"\n}\nlimits {\n", "\n}\n"},
	    {"upstream \"u\" {\nuri = \"amqp://u:p@localhost\"\n}\naccess \"a\" {\n", "\n}\n"},
	    {"", "\nupstream \"u\" {\nuri = \"amqp://u:p@localhost\"\n}\n"},
	};

	if (size > 0 && data[0] > 0 && data[0] <= sizeof(frames) / sizeof(frames[0]))
		return frames[data[0] - 1];
	return (struct frame){NULL, NULL};
}

/* Makes the file. */
static void write_file(int fd, const uint8_t *data, size_t size)
{
	struct frame frame = frame_of(data, size);
	size_t skip = frame.before != NULL, before = skip ? strlen(frame.before) : 0;
	size_t behind = skip ? strlen(frame.behind) : 0, len = size - skip;

	require(ftruncate(fd, 0) == 0);
	require(before == 0 || pwrite(fd, frame.before, before, 0) == (ssize_t)before);
	require(pwrite(fd, data + skip, len, (off_t)before) == (ssize_t)len);
	require(behind == 0 || pwrite(fd, frame.behind, behind, (off_t)(before + len)) == (ssize_t)behind);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	char path[64];
	size_t errors;

	if (fd < 0)
		fd = memfd_create("conf", MFD_CLOEXEC);
	require(fd >= 0 && fchmod(fd, 0600) == 0);
	write_file(fd, data, size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	errors = load(path);
	require(load(path) == errors);
	return 0;
}
