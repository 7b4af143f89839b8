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
	require(upstream->connect_timeout_usec > 0 && upstream->unconfirmed_messages > 0);
	require(upstream->unconfirmed_messages <= UINT32_MAX && upstream->warm_lanes <= UINT32_MAX);
	for (size_t i = 0; i < upstream->endpoint_count; i++)
		check_endpoint(upstream, &upstream->endpoints[i]);
}

static void check_conf(const struct conf *conf)
{
	const struct conf_limits *limits = &conf->limits;

	require(conf->upstream_count > 0 && conf->socket_mode <= 0777);
	require(conf->log_level >= LOG_LEVEL_ERROR && conf->log_level <= LOG_LEVEL_DEBUG);
	require(conf->request_timeout_usec > 0 && conf->publish_timeout_usec > 0);
	require(limits->message_max_bytes > 0 && limits->sessions > 0 && limits->channels_per_session > 0);
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	char path[64];
	size_t errors;

	if (fd < 0)
		fd = memfd_create("conf", MFD_CLOEXEC);
	require(fd >= 0 && fchmod(fd, 0600) == 0);
	require(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	errors = load(path);
	require(load(path) == errors);
	return 0;
}
