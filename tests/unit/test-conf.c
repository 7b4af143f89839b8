#include "daemon/base/clock.h"
#include "daemon/conf/conf.h"
#include "daemon/conf/keys.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define SECRET "hunter2"

/* ------------------------------------------------------------------ helpers */

struct loaded {
	int result;
	struct conf *conf;
	char errors[8192];   /* one line each, the path cut off */
	char warnings[2048]; /* likewise */
};

static void join(char *out, size_t size, const struct conf_errors *errors, const char *path)
{
	size_t used = 0;

	out[0] = 0;
	for (size_t i = 0; i < errors->count; i++) {
		const char *text = errors->texts[i];

		ck_assert_msg(!strstr(text, SECRET), "shows a password: %s", text);
		if (path && strncmp(text, path, strlen(path)) == 0)
			text += strlen(path) + 1;
		used += (size_t)snprintf(out + used, size - used, "%s\n", text);
		ck_assert_uint_lt(used, size);
	}
}

static struct loaded load(const struct conf_source *source)
{
	struct conf_errors errors = CONF_ERRORS_INIT;
	struct loaded loaded = {0};

	loaded.result = conf_load(source, &loaded.conf, &errors);
	ck_assert_int_eq(loaded.result == 0, loaded.conf != NULL);
	ck_assert_int_eq(loaded.result == 0, errors.count == 0);
	join(loaded.errors, sizeof(loaded.errors), &errors, source->path);
	if (loaded.conf)
		join(loaded.warnings, sizeof(loaded.warnings), &loaded.conf->warnings, source->path);
	conf_errors_deinit(&errors);
	return loaded;
}

/* A file of its own in the working directory, readable by its owner. */
static void write_file(char *path, const void *bytes, size_t len, unsigned int mode)
{
	int fd;

	memcpy(path, "./test-conf-XXXXXX", sizeof("./test-conf-XXXXXX"));
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, len), (ssize_t)len);
	ck_assert_int_eq(fchmod(fd, mode), 0);
	close(fd);
}

static struct loaded load_bytes(const void *bytes, size_t len, unsigned int mode)
{
	char path[32];
	struct loaded loaded;

	write_file(path, bytes, len, mode);
	loaded = load(&(struct conf_source){.path = path});
	unlink(path);
	return loaded;
}

static struct loaded load_text(const char *text)
{
	return load_bytes(text, strlen(text), 0600);
}

static void unload(struct loaded *loaded)
{
	conf_free(loaded->conf);
}

/* ------------------------------------------------------------------ files that are right */

START_TEST(conf__without_file_or_uri_is_a_broker_on_this_host)
{
	struct loaded l = load(&(struct conf_source){0});

	ck_assert_int_eq(l.result, 0);
	ck_assert_uint_eq(l.conf->upstream_count, 1);
	ck_assert_str_eq(l.conf->upstreams[0].name, "default");
	ck_assert_str_eq(l.conf->upstreams[0].endpoints[0].host, "localhost");
	ck_assert_str_eq(l.conf->upstreams[0].endpoints[0].user, "guest");
	ck_assert_str_eq(l.conf->upstreams[0].endpoints[0].password, "guest");
	unload(&l);
}
END_TEST

START_TEST(conf__what_a_file_leaves_out_has_its_default)
{
	struct loaded l = load_text("upstream default { uri = amqp://127.0.0.1 }\n");
	const struct conf_upstream *u;

	ck_assert_msg(l.result == 0, "%s", l.errors);
	ck_assert_ptr_null(l.conf->socket);
	ck_assert_str_eq(l.conf->socket_group, "");
	ck_assert_uint_eq(l.conf->socket_mode, 0660);
	ck_assert_int_eq(l.conf->log_level, LOG_LEVEL_INFO);
	ck_assert_uint_eq(l.conf->drain_timeout_usec, 30 * USEC_PER_SEC);
	ck_assert_uint_eq(l.conf->request_timeout_usec, 30 * USEC_PER_SEC);
	ck_assert_uint_eq(l.conf->publish_timeout_usec, 300 * USEC_PER_SEC);
	ck_assert_uint_eq(l.conf->limits.total_memory_bytes, 512u << 20);
	ck_assert_uint_eq(l.conf->limits.session_memory_bytes, 64u << 20);
	ck_assert_uint_eq(l.conf->limits.message_max_bytes, 16u << 20);
	ck_assert_uint_eq(l.conf->limits.sessions, 16384);
	ck_assert_uint_eq(l.conf->limits.sessions_per_uid, 8192);
	ck_assert_uint_eq(l.conf->limits.channels_per_session, 2047);
	ck_assert_uint_eq(l.conf->limits.prefetch, 256);
	ck_assert_uint_eq(l.conf->access_count, 0);
	u = &l.conf->upstreams[0];
	ck_assert_str_eq(u->password_file, "");
	ck_assert_uint_eq(u->sasl, CONF_SASL_PLAIN);
	ck_assert(!u->plain_without_tls);
	ck_assert_uint_eq(u->heartbeat_usec, 20 * USEC_PER_SEC);
	ck_assert_uint_eq(u->connect_timeout_usec, 10 * USEC_PER_SEC);
	ck_assert_uint_eq(u->reconnect_min_usec, 200 * USEC_PER_MSEC);
	ck_assert_uint_eq(u->reconnect_max_usec, 30 * USEC_PER_SEC);
	ck_assert_uint_eq(u->warm_lanes, 4);
	ck_assert_uint_eq(u->unconfirmed_messages, 4096);
	ck_assert_uint_eq(u->unconfirmed_bytes, 64u << 20);
	ck_assert_str_eq(u->generated_queue_prefix, "muxd.gen-");
	ck_assert_str_eq(u->tls_ca, "");
	ck_assert_uint_eq(u->tls_verify, CONF_TLS_VERIFY_FULL);
	unload(&l);
}
END_TEST

static const char everything[] =
    "socket = \"/run/m.sock\"\n"
    "socket-group = mux\n"
    "socket-mode = 0600\n"
    "log-level = debug\n"
    "drain-timeout = 0\n"
    "request-timeout = 1ms\n"
    "publish-timeout = 8760h\n"
    "upstream first {\n"
    "  uri = { \"amqp://app@broker1/one\", \"amqp://app@[fe80::1%25eth0]:99\" }\n"
    "  password-file = /etc/muxd/password\n"
    "  sasl = plain\n"
    "  plain-without-tls = yes\n"
    "  heartbeat = 5s\n"
    "  connect-timeout = 3s\n"
    "  reconnect-min = 1s\n"
    "  reconnect-max = 2s\n"
    "  warm-lanes = 0\n"
    "  unconfirmed-messages = 1\n"
    "  unconfirmed-bytes = 1M\n"
    "  generated-queue-prefix = \"x.gen.\"\n"
    "  tls-ca = /ca\n"
    "  tls-cert = /cert\n"
    "  tls-key = /key\n"
    "  tls-verify = none\n"
    "}\n"
    "upstream second { uri = \"amqp://localhost\" }\n"
    "limits { total-memory = 1G session-memory = 256K message-max = 128K sessions = 5\n"
    "  sessions-per-uid = 4 channels-per-session = 3 prefetch = 2 }\n"
    "access web {\n"
    "  user = { \"www-data\", 1000, \"100000-165535\" }\n"
    "  group = \"\"\n"
    "  upstream = second\n"
    "  configure = \"^web\\\\.\"\n"
    "  write = '.*'\n"
    "  read = \"^a\\\\x00b$\"\n"
    "  control = true\n"
    "  session-memory = 128K message-max = 64K sessions-per-uid = 3 channels-per-session = 2 prefetch = 1\n"
    "}\n"
    "access rest { group = staff }\n";

START_TEST(conf__globals_are_read)
{
	struct loaded l = load_text(everything);

	ck_assert_msg(l.result == 0, "%s", l.errors);
	ck_assert_str_eq(l.conf->socket, "/run/m.sock");
	ck_assert_str_eq(l.conf->socket_group, "mux");
	ck_assert_uint_eq(l.conf->socket_mode, 0600);
	ck_assert_int_eq(l.conf->log_level, LOG_LEVEL_DEBUG);
	ck_assert_uint_eq(l.conf->drain_timeout_usec, 0);
	ck_assert_uint_eq(l.conf->request_timeout_usec, 1000);
	ck_assert_uint_eq(l.conf->publish_timeout_usec, 8760 * 3600 * USEC_PER_SEC);
	ck_assert_uint_eq(l.conf->limits.total_memory_bytes, 1u << 30);
	ck_assert_uint_eq(l.conf->limits.session_memory_bytes, 256u << 10);
	ck_assert_uint_eq(l.conf->limits.message_max_bytes, 128u << 10);
	ck_assert_uint_eq(l.conf->limits.sessions, 5);
	ck_assert_uint_eq(l.conf->limits.sessions_per_uid, 4);
	ck_assert_uint_eq(l.conf->limits.channels_per_session, 3);
	ck_assert_uint_eq(l.conf->limits.prefetch, 2);
	unload(&l);
}
END_TEST

START_TEST(conf__upstreams_are_read)
{
	struct loaded l = load_text(everything);
	const struct conf_upstream *u;

	ck_assert_msg(l.result == 0, "%s", l.errors);
	ck_assert_uint_eq(l.conf->upstream_count, 2);
	ck_assert_str_eq(l.conf->upstreams[1].name, "second");
	u = &l.conf->upstreams[0];
	ck_assert_str_eq(u->name, "first");
	ck_assert_uint_eq(u->line, 8);
	ck_assert_uint_eq(u->endpoint_count, 2);
	ck_assert_str_eq(u->endpoints[0].host, "broker1");
	ck_assert_uint_eq(u->endpoints[0].port, 5672);
	ck_assert_str_eq(u->endpoints[0].user, "app");
	ck_assert_ptr_null(u->endpoints[0].password);
	ck_assert_str_eq(u->endpoints[0].vhost, "one");
	ck_assert_uint_eq(u->endpoints[0].line, 9);
	ck_assert_str_eq(u->endpoints[1].host, "fe80::1%eth0");
	ck_assert_uint_eq(u->endpoints[1].port, 99);
	ck_assert_str_eq(u->password_file, "/etc/muxd/password");
	ck_assert(u->plain_without_tls);
	ck_assert_uint_eq(u->heartbeat_usec, 5 * USEC_PER_SEC);
	ck_assert_uint_eq(u->connect_timeout_usec, 3 * USEC_PER_SEC);
	ck_assert_uint_eq(u->reconnect_min_usec, USEC_PER_SEC);
	ck_assert_uint_eq(u->reconnect_max_usec, 2 * USEC_PER_SEC);
	ck_assert_uint_eq(u->warm_lanes, 0);
	ck_assert_uint_eq(u->unconfirmed_messages, 1);
	ck_assert_uint_eq(u->unconfirmed_bytes, 1u << 20);
	ck_assert_str_eq(u->generated_queue_prefix, "x.gen.");
	ck_assert_str_eq(u->tls_ca, "/ca");
	ck_assert_str_eq(u->tls_cert, "/cert");
	ck_assert_str_eq(u->tls_key, "/key");
	ck_assert_uint_eq(u->tls_verify, CONF_TLS_VERIFY_NONE);
	unload(&l);
}
END_TEST

START_TEST(conf__access_sections_keep_their_order)
{
	struct loaded l = load_text(everything);
	const struct conf_access *a;

	ck_assert_msg(l.result == 0, "%s", l.errors);
	ck_assert_uint_eq(l.conf->access_count, 2);
	ck_assert_str_eq(l.conf->accesses[1].name, "rest");
	ck_assert_str_eq(l.conf->accesses[1].groups.items[0].name, "staff");
	ck_assert_str_eq(l.conf->accesses[1].write, "");
	a = &l.conf->accesses[0];
	ck_assert_str_eq(a->name, "web");
	ck_assert_uint_eq(a->users.count, 3);
	ck_assert_str_eq(a->users.items[0].name, "www-data");
	ck_assert_ptr_null(a->users.items[1].name);
	ck_assert_uint_eq(a->users.items[1].first, 1000);
	ck_assert_uint_eq(a->users.items[1].last, 1000);
	ck_assert_uint_eq(a->users.items[2].first, 100000);
	ck_assert_uint_eq(a->users.items[2].last, 165535);
	ck_assert_uint_eq(a->groups.count, 0);
	ck_assert_uint_eq(a->upstreams.count, 1);
	ck_assert_str_eq(a->configure, "^web\\.");
	ck_assert_str_eq(a->write, ".*");
	ck_assert_str_eq(a->read, "^a\\x00b$");
	ck_assert(a->control);
	ck_assert_uint_eq(a->limits.session_memory_bytes, 128u << 10);
	ck_assert_uint_eq(a->limits.message_max_bytes, 64u << 10);
	ck_assert_uint_eq(a->limits.sessions_per_uid, 3);
	ck_assert_uint_eq(a->limits.channels_per_session, 2);
	ck_assert_uint_eq(a->limits.prefetch, 1);
	unload(&l);
}
END_TEST

START_TEST(conf__example_that_is_shipped_is_accepted)
{
	const char *srcdir = getenv("srcdir");
	char path[4096];
	struct loaded l;

	snprintf(path, sizeof(path), "%s/daemon/muxd.conf.example", srcdir ? srcdir : ".");
	l = load(&(struct conf_source){.path = path});
	ck_assert_msg(l.result == 0, "%s", l.errors);
	ck_assert_str_eq(l.warnings, "");
	unload(&l);
}
END_TEST

static char *read_source(const char *name)
{
	const char *srcdir = getenv("srcdir");
	char path[4096];
	char *text = calloc(1, 1u << 17);
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", srcdir ? srcdir : ".", name);
	file = fopen(path, "r");
	ck_assert_msg(file != NULL, "%s", path);
	ck_assert_uint_gt(fread(text, 1, (1u << 17) - 1, file), 0);
	fclose(file);
	return text;
}

START_TEST(conf__every_key_is_in_the_manual)
{
	const struct key *const tables[] = {keys_global, keys_upstream, keys_limits, keys_access};
	char *manual = read_source("daemon/muxd.conf.5");
	char entry[128];

	for (int i = 0; i < COUNT(tables); i++) {
		for (const struct key *key = tables[i]; key->name; key++) {
			snprintf(entry, sizeof(entry), "\n.It Ic %s Pq ", key->name);
			ck_assert_msg(strstr(manual, entry) != NULL, "%s is not explained", key->name);
		}
	}
	free(manual);
}
END_TEST

/* Found by fuzzing. */
START_TEST(conf__no_error_shows_control_characters_of_a_name)
{
	struct loaded l = load_text("upstream \"a\033[2J\" { uri = amqp://192.0.2.1 }\n"
				    "access \"b\033[2J\" { upstream = \"c\033\" }\n");

	ck_assert_int_eq(l.result, -EINVAL);
	ck_assert_ptr_nonnull(strstr(l.errors, "the user is missing"));
	ck_assert_ptr_nonnull(strstr(l.errors, "there is no upstream"));
	ck_assert_ptr_null(strchr(l.errors, '\033'));
	l = load_text("upstream a { uri = { \"amqp://localhost\"\033 } }\n");
	ck_assert_int_eq(l.result, -EINVAL);
	ck_assert_ptr_nonnull(strstr(l.errors, "unexpected"));
	ck_assert_ptr_null(strchr(l.errors, '\033'));
}
END_TEST

START_TEST(conf__example_names_what_the_manual_has)
{
	const struct key *const tables[] = {keys_global, keys_upstream, keys_limits};
	char *example = read_source("daemon/muxd.conf.example");

	for (int i = 0; i < COUNT(tables); i++)
		for (const struct key *key = tables[i]; key->name; key++)
			ck_assert_msg(strstr(example, key->name) || strncmp(key->name, "tls-", 4) == 0 ||
					  strcmp(key->name, "sasl") == 0,
				      "%s is not there", key->name);
	free(example);
}
END_TEST

/* ------------------------------------------------------------------ files that are wrong */

#define GOOD "upstream default { uri = \"amqp://localhost\" }\n"

struct wrong {
	const char *text;
	const char *errors; /* all of them */
};

static const struct wrong wrongs[] = {
    /* keys and sections nobody knows */
    {"sockte = x\n" GOOD, "1: unknown key or section \"sockte\"\n"},
    {GOOD "\nupstrem x { }\n", "3: unknown key or section \"upstrem\"\n"},
    {"upstream u {\n uri = amqp://localhost\n hartbeat = 5s\n}\n",
     "3: unknown key or section \"hartbeat\" in upstream \"u\"\n"},
    {GOOD "limits {\n prefetsch = 1\n}\n", "3: unknown key or section \"prefetsch\" in limits\n"},
    {GOOD "access a {\n total-memory = 1G\n}\n",
     "3: unknown key or section \"total-memory\" in access \"a\"\n"},
    /* comments do not shift the lines */
    {"# a\n/* b\n c */ /* d */\n// e\n" GOOD "x = 1 # f\n", "6: unknown key or section \"x\"\n"},
    /* the file ends inside something */
    {"upstream u {\n uri = amqp://localhost\n",
     "3: the file ends inside upstream \"u\", which begins on line 1\n"},
    {"upstream u {\n uri = amqp://localhost",
     "2: the file ends inside upstream \"u\", which begins on line 1\n"},
    {"upstream u {\n uri = { amqp://localhost,\n",
     "3: the file ends inside upstream \"u\", which begins on line 1\n"},
    {GOOD "\nlimits {", "3: the file ends inside limits, which begins on line 3\n"},
    {GOOD "socket =", "2: the file ends in the middle of a section, a list or a value\n"},
    {GOOD "upstream", "2: the file ends in the middle of a section, a list or a value\n"},
    {GOOD "socket = \"/run\n\n", "2: a string that begins here has no end\n"},
    {GOOD "socket = '/run\n\n", "2: a string that begins here has no end\n"},
    {GOOD "/* socket\n\n", "2: a comment that begins here has no end\n"},
    /* syntax */
    {GOOD "}\n", "2: unexpected closing brace\n"},
    {GOOD "socket /run/x\n", "2: missing equal sign after option 'socket'\n"},
    {"upstream { uri = x }\n", "1: missing title for section 'upstream'\n"},
    {GOOD GOOD, "2: found duplicate title 'default'\n"},
    {"upstream u { uri = { \"amqp://u:" SECRET "@h\" \"amqp://u:" SECRET "@h\" } }\n",
     "1: unexpected text in upstream \"u\"\n"},
    {"\"amqp://u:" SECRET "@h\" = 1\n", "1: unknown key or section \"...\"\n"},
    {GOOD "log-level = \"\\9\"\n", "2: bad escape sequence '\\9'\n"},
    /* values, all of them at once */
    {"socket = run/x\nlog-level = loud\nsocket-mode = 999\ndrain-timeout = 5\n" GOOD,
     "1: socket: \"run/x\" must be an absolute path\n"
     "3: socket-mode: \"999\" is not a mode such as 0660\n"
     "2: log-level: \"loud\" is not one of: error warning notice info debug\n"
     "4: drain-timeout: \"5\" is not a duration such as 200ms, 20s, 5m or 1h\n"},
    {"request-timeout = 0\npublish-timeout = 99999999999999999999h\nsocket-mode = 7777\n" GOOD,
     "3: socket-mode: \"7777\" has bits that a socket has not\n"
     "1: request-timeout: \"0\" is not from 1ms to 8760h\n"
     "2: publish-timeout: \"99999999999999999999h\" is not from 1ms to 8760h\n"},
    {"socket = \"/"
     "0123456789012345678901234567890123456789012345678901234567890123456789"
     "012345678901234567890123456789012345678\"\n" GOOD,
     "1: socket: \"/0123456789012345678901234567890123456789012345678901234567890123456789"
     "01234...\" is longer than a Unix socket's path can be (107 bytes)\n"},
    {"upstream u {\n uri = amqp://localhost\n sasl = kerberos\n plain-without-tls = maybe\n"
     " heartbeat = 0s\n connect-timeout = x\n reconnect-min = -1s\n reconnect-max = 0\n"
     " warm-lanes = 2048\n unconfirmed-messages = 4K\n unconfirmed-bytes = 64m\n"
     " generated-queue-prefix = \"amq.gen-\"\n tls-ca = ca\n tls-verify = some\n"
     " password-file = secret\n}\n",
     "15: upstream \"u\": password-file: \"secret\" must be an absolute path\n"
     "3: upstream \"u\": sasl: \"kerberos\" is not one of: plain external\n"
     "4: upstream \"u\": plain-without-tls: \"maybe\" is neither true nor false\n"
     "5: upstream \"u\": heartbeat: \"0s\" is not from 1s to 65535s\n"
     "6: upstream \"u\": connect-timeout: \"x\" is not a duration such as 200ms, 20s, 5m or 1h\n"
     "7: upstream \"u\": reconnect-min: \"-1s\" is not a duration such as 200ms, 20s, 5m or 1h\n"
     "8: upstream \"u\": reconnect-max: \"0\" is not from 1ms to 8760h\n"
     "9: upstream \"u\": warm-lanes: \"2048\" is not from 0 to 2047\n"
     "10: upstream \"u\": unconfirmed-messages: \"4K\" is not a whole number\n"
     "11: upstream \"u\": unconfirmed-bytes: \"64m\" is not a size such as 512, 16K, 64M or 1G\n"
     "12: upstream \"u\": generated-queue-prefix: \"amq.gen-\" must not begin with \"amq.\", which "
     "brokers reserve\n"
     "13: upstream \"u\": tls-ca: \"ca\" must be an absolute path\n"
     "14: upstream \"u\": tls-verify: \"some\" is not one of: full ca none\n"},
    {GOOD
     "limits { total-memory = 1 session-memory = 1K message-max = 1G\nsessions = 0 sessions-per-uid = 0\n"
     "channels-per-session = 65536 prefetch = 0 }\n",
     "2: limits: total-memory: \"1\" is not from 1M to 1024G\n"
     "2: limits: session-memory: \"1K\" is not from 128K to 1024G\n"
     "2: limits: message-max: \"1G\" is not from 1K to 512M\n"
     "3: limits: sessions: \"0\" is not from 1 to 1000000\n"
     "3: limits: sessions-per-uid: \"0\" is not from 1 to 1000000\n"
     "4: limits: channels-per-session: \"65536\" is not from 1 to 65535\n"
     "4: limits: prefetch: \"0\" is not from 1 to 65535\n"},
    {GOOD "access a {\n user = { 5-4, 1x, \"a b\", 4294967295, 1-2-3 }\n group = -5x:\n control = 2\n}\n",
     "3: access \"a\": user: \"5-4\" is neither a name, a number, nor a range such as 100000-165535\n"
     "3: access \"a\": user: \"1x\" is neither a name, a number, nor a range such as 100000-165535\n"
     "3: access \"a\": user: \"a b\" is no name of a user or group\n"
     "3: access \"a\": user: \"4294967295\" is neither a name, a number, nor a range such as "
     "100000-165535\n"
     "3: access \"a\": user: \"1-2-3\" is neither a name, a number, nor a range such as 100000-165535\n"
     "4: access \"a\": group: \"-5x:\" is no name of a user or group\n"
     "5: access \"a\": control: \"2\" is neither true nor false\n"},
    {GOOD "log-level = info\nlog-level = debug\nlimits { }\nlimits { }\n",
     "3: log-level: given twice, first on line 2\n5: limits: given twice, first on line 4\n"},
    {"upstream u {\n uri = amqp://localhost/a\n uri += amqp://localhost/b\n uri = amqp://localhost/c\n}\n",
     "4: upstream \"u\": uri: given twice, first on line 2\n"},
    {GOOD "access a {\n user = { 1, 2 }\n user = { 3, 4 }\n}\n",
     "4: access \"a\": user: given twice, first on line 3\n"},
    {GOOD "upstream \"a b\" { uri = amqp://localhost }\naccess \"\" { }\n",
     "2: upstream \"a b\": a name has letters, digits, \".\", \"_\" and \"-\" only\n"
     "3: access \"\": a name must have 1 to 64 characters\n"},
    /* values that do not go together */
    {"log-level = info\n", " there is no upstream section; write one, or give -u URI or MUXD_UPSTREAM\n"},
    {"\nupstream u { }\n", "2: upstream \"u\": uri is missing\n"},
    {"upstream u {\n uri = amqp://localhost\n heartbeat = 1500ms\n reconnect-min = 1m\n tls-cert = /c\n}\n",
     "1: upstream \"u\": heartbeat must be whole seconds\n"
     "1: upstream \"u\": reconnect-min is more than reconnect-max\n"
     "1: upstream \"u\": tls-cert and tls-key are only of use together\n"},
    {GOOD "limits {\n message-max = 33M\n}\n",
     "2: limits: message-max (34603008) is more than half of session-memory (67108864)\n"},
    {GOOD "limits {\n total-memory = 63M\n}\n", "2: limits: session-memory is more than total-memory\n"},
    {GOOD "access a {\n session-memory = 65M\n prefetch = 257\n upstream = { default, nix }\n}\n",
     "2: access \"a\": session-memory is more than in limits, which an access section can only lower\n"
     "2: access \"a\": prefetch is more than in limits, which an access section can only lower\n"
     "5: access \"a\": there is no upstream \"nix\"\n"},
    {GOOD "access a { session-memory = 1M }\n",
     "2: access \"a\": message-max (16777216) is more than half of session-memory (1048576)\n"},
    /* credentials */
    {"upstream u {\n uri = { amqp://broker/v,\n amqp://app@broker/v }\n}\n",
     "2: upstream \"u\": the user is missing: amqp://USER@HOST/VHOST\n"
     "3: upstream \"u\": the password is missing: use password-file\n"
     "3: upstream \"u\": the password would go unencrypted to a host that is not this one: use amqps, or "
     "set plain-without-tls = true\n"},
    {"upstream u {\n uri = amqp://app@localhost\n}\n",
     "2: upstream \"u\": the password is missing: use password-file\n"},
    {"upstream u {\n uri = amqp://app:" SECRET "@localhost\n password-file = /p\n}\n",
     "2: upstream \"u\": a password in the URI and a password-file: one of them must go\n"},
    {"upstream u {\n uri = amqp://app@localhost\n sasl = external\n password-file = /p\n}\n",
     "2: upstream \"u\": sasl = external needs amqps\n"
     "2: upstream \"u\": sasl = external takes no password\n"
     "2: upstream \"u\": sasl = external needs tls-cert and tls-key, which say who we are\n"},
    {"upstream u {\n uri = { amqp://u:" SECRET "@localhost:x, amqp://u:" SECRET "@ }\n}\n",
     "2: upstream \"u\": uri: wrong URI: the port must be a number from 1 to 65535\n"
     "2: upstream \"u\": uri: wrong URI: the host is missing\n"},
    /* variables */
    {"socket = \"/x/${MUXD_TEST_UNSET}\"\n" GOOD, "1: the environment variable MUXD_TEST_UNSET is not set\n"},
    {"socket = ${MUXD_TEST_UNSET}\n" GOOD,
     "1: the environment variable MUXD_TEST_UNSET is not set\n1: socket: \"\" must be an absolute path\n"},
    {"socket = \"/x/${CREDENTIALS_DIRECTORY}\"\n" GOOD,
     "1: the environment variable CREDENTIALS_DIRECTORY is not set: systemd sets it for the service; by "
     "hand, "
     "as root, it is /run/credentials/muxd.service while that runs\n"},
    {"socket = \"/${}\"\n" GOOD, "1: \"${...}\" holds no name of a variable\n"},
    {"socket = \"/${MUXD_TEST:x}\"\n" GOOD, "1: \"${...}\" holds no name of a variable\n"},
    {"socket = \"/${MUXD_TEST\"\n" GOOD, "1: \"${\" without its \"}\" on the same line\n"},
};

START_TEST(conf__wrong_file_is_told_all_its_errors_with_their_lines)
{
	struct loaded l = load_text(wrongs[_i].text);

	ck_assert_int_eq(l.result, -EINVAL);
	ck_assert_msg(strcmp(l.errors, wrongs[_i].errors) == 0, "%s\ngives\n%s\nand not\n%s", wrongs[_i].text,
		      l.errors, wrongs[_i].errors);
}
END_TEST

START_TEST(conf__good_file_can_be_read_after_a_bad_one)
{
	for (int i = 0; i < COUNT(wrongs); i++) {
		struct loaded bad = load_text(wrongs[i].text);
		struct loaded good = load_text(everything);

		ck_assert_int_lt(bad.result, 0);
		ck_assert_msg(good.result == 0, "after\n%s\n%s", wrongs[i].text, good.errors);
		unload(&good);
	}
}
END_TEST

START_TEST(conf__nul_byte_is_refused_instead_of_ending_the_file)
{
	static const char text[] = GOOD "log-level = info\0\nsocket = nonsense\n";
	struct loaded l = load_bytes(text, sizeof(text) - 1, 0600);

	ck_assert_int_eq(l.result, -EINVAL);
	ck_assert_str_eq(l.errors, "2: a NUL byte\n");
}
END_TEST

START_TEST(conf__file_that_cannot_be_read_says_why)
{
	struct loaded l = load(&(struct conf_source){.path = "/nonexistent/muxd.conf"});

	ck_assert_int_eq(l.result, -ENOENT);
	ck_assert_str_eq(l.errors, " No such file or directory\n");
	l = load(&(struct conf_source){.path = "/"});
	ck_assert_int_eq(l.result, -EISDIR);
	l = load(&(struct conf_source){.path = "/dev/zero"});
	ck_assert_int_eq(l.result, -EFBIG);
	ck_assert_str_eq(l.errors, " larger than 1 MiB\n");
}
END_TEST

START_TEST(conf__pipe_is_read_but_not_waited_for)
{
	struct loaded l;
	char path[32];
	int ends[2];

	ck_assert_int_eq(mkfifo("pipe.conf", 0600), 0);
	l = load(&(struct conf_source){.path = "pipe.conf"});
	(void)unlink("pipe.conf");
	ck_assert_int_eq(l.result, -ENODATA);
	ck_assert_str_eq(l.errors, " a pipe that nobody writes to\n");
	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(write(ends[1], GOOD, strlen(GOOD)), (ssize_t)strlen(GOOD));
	(void)close(ends[1]);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[0]);
	l = load(&(struct conf_source){.path = path});
	ck_assert_int_eq(l.result, 0);
	unload(&l);
	(void)close(ends[0]);
}
END_TEST

START_TEST(conf__variables_are_expanded_where_they_are_no_comment)
{
	struct loaded l;

	setenv("MUXD_TEST_DIR", "/run/there", 1);
	l = load_text(
	    "# ${MUXD_TEST_UNSET}\nsocket = \"${MUXD_TEST_DIR}/m.sock\"\n"
	    "socket-group = \"${MUXD_TEST_UNSET:-staff}\"\n"
	    "upstream u { uri = amqp://localhost\n generated-queue-prefix = 'a${MUXD_TEST_UNSET}' }\n");
	ck_assert_msg(l.result == 0, "%s", l.errors);
	ck_assert_str_eq(l.conf->socket, "/run/there/m.sock");
	ck_assert_str_eq(l.conf->socket_group, "staff");
	ck_assert_str_eq(l.conf->upstreams[0].generated_queue_prefix, "a${MUXD_TEST_UNSET}");
	unload(&l);
}
END_TEST

START_TEST(conf__file_with_a_password_must_not_be_public)
{
	static const char remote[] =
	    "upstream u { uri = amqp://app:" SECRET "@broker\n plain-without-tls = true }\n";
	static const char local[] = "upstream u {\n uri = amqp://app:" SECRET "@localhost }\n";
	static const char said[] = "a URI with a password in a file that everybody on this host can read: "
				   "chmod the file, or use password-file\n";
	char expected[256];
	struct loaded l;

	l = load_bytes(remote, sizeof(remote) - 1, 0640);
	ck_assert_msg(l.result == 0, "%s", l.errors);
	unload(&l);
	l = load_bytes(remote, sizeof(remote) - 1, 0644);
	ck_assert_int_eq(l.result, -EINVAL);
	snprintf(expected, sizeof(expected), "1: %s", said);
	ck_assert_str_eq(l.errors, expected);
	l = load_bytes(local, sizeof(local) - 1, 0644);
	ck_assert_msg(l.result == 0, "%s", l.errors);
	snprintf(expected, sizeof(expected), "2: %s", said);
	ck_assert_str_eq(l.warnings, expected);
	unload(&l);
}
END_TEST

/* ------------------------------------------------------------------ URIs */

struct uri_example {
	const char *uri;
	const char *host;
	unsigned int port;
	const char *user;
	const char *password;
	const char *vhost;
};

struct wrong_uri {
	const char *uri;
	const char *error;
};

#define PORT_ERROR "the port must be a number from 1 to 65535"
#define ESCAPE_ERROR(part) "bad percent escape in the " part " (\"%\" itself is %25; a NUL is not allowed)"

static const struct uri_example uris[] = {
    {"amqp://localhost", "localhost", 5672, "guest", "guest", "/"},
    {"AMQP://LocalHost", "LocalHost", 5672, "guest", "guest", "/"},
    {"amqp://localhost/", "localhost", 5672, "guest", "guest", ""},
    {"amqp://localhost/%2f", "localhost", 5672, "guest", "guest", "/"},
    {"amqp://localhost/v%20h", "localhost", 5672, "guest", "guest", "v h"},
    {"amqp://127.9.9.9:1/v", "127.9.9.9", 1, "guest", "guest", "v"},
    {"amqp://[::1]", "::1", 5672, "guest", "guest", "/"},
    {"amqp://[::1]:65535/v", "::1", 65535, "guest", "guest", "v"},
    {"amqp://[::ffff:127.0.0.1]", "::ffff:127.0.0.1", 5672, "guest", "guest", "/"},
    {"amqp://guest@localhost", "localhost", 5672, "guest", "guest", "/"},
    {"amqp://user:pass@localhost:10000/vhost", "localhost", 10000, "user", "pass", "vhost"},
    {"amqp://user%61:%61pass@localho%73t:10000/v%2fhost", "localhost", 10000, "usera", "apass", "v/host"},
    {"amqp://u:a:b%40%3a%25@localhost", "localhost", 5672, "u", "a:b@:%", "/"},
};

#define EIGHTY "eightyeightyeightyeightyeightyeightyeightyeightyeightyeightyeightyeightyeightyei"
#define HOST_LONG EIGHTY EIGHTY EIGHTY EIGHTY

static const struct wrong_uri wrong_uris[] = {
    {"", "the scheme must be amqp:// or amqps://"},
    {"localhost", "the scheme must be amqp:// or amqps://"},
    {"amqp:localhost", "the scheme must be amqp:// or amqps://"},
    {"amqpx://localhost", "the scheme must be amqp:// or amqps://"},
    {"http://u:" SECRET "@localhost", "the scheme must be amqp:// or amqps://"},
    {"amqp://", "the host is missing"},
    {"amqp:///vhost", "the host is missing"},
    {"amqp://:5672", "the host is missing"},
    {"amqp://u:" SECRET "@/v", "the host is missing"},
    {"amqp://localhost:", PORT_ERROR},
    {"amqp://localhost:0", PORT_ERROR},
    {"amqp://localhost:65536", PORT_ERROR},
    {"amqp://localhost:000001", PORT_ERROR},
    {"amqp://localhost:56x", PORT_ERROR},
    {"amqp://localhost:-1", PORT_ERROR},
    {"amqp://u:" SECRET "/x@localhost", PORT_ERROR},
    {"amqp://[::1]5672", PORT_ERROR},
    {"amqp://::1", "the host is missing"},
    {"amqp://[::1", "\"[\" without \"]\" around an IPv6 address"},
    {"amqp://[localhost]", "what stands in brackets is no IPv6 address"},
    {"amqp://[]", "what stands in brackets is no IPv6 address"},
    {"amqp://[fe80::1%25e%0a]", "the zone of the IPv6 address has a character that no name has"},
    {"amqp://[fe80::1%25" HOST_LONG "]", "the host is longer than 253 bytes"},
    {"amqp://local host", "the host has a character that no host name has"},
    {"amqp://local%00host", ESCAPE_ERROR("host")},
    {"amqp://localhost/%", ESCAPE_ERROR("vhost")},
    {"amqp://localhost/%2", ESCAPE_ERROR("vhost")},
    {"amqp://localhost/%2g", ESCAPE_ERROR("vhost")},
    {"amqp://%zz:" SECRET "@localhost", ESCAPE_ERROR("user name")},
    {"amqp://u:" SECRET "%@localhost", ESCAPE_ERROR("password")},
    {"amqp://u:" SECRET "%00@localhost", ESCAPE_ERROR("password")},
    {"amqp://localhost/a/b", "a slash inside the vhost must be written %2F"},
    {"amqp://u:" SECRET "@x@localhost", "more than one \"@\" (in a password write %40)"},
    {"amqp://:" SECRET "@localhost", "the user name is empty"},
    {"amqp://u:@localhost", "the password is empty"},
    {"amqp://localhost/v?heartbeat=5",
     "a query (\"?\") or fragment (\"#\") is not supported; its settings are keys of the upstream section "
     "(in a password write %3F and %23)"},
    {"amqp://localhost/v#x",
     "a query (\"?\") or fragment (\"#\") is not supported; its settings are keys of the upstream section "
     "(in a password write %3F and %23)"},
};

START_TEST(uri__is_taken_apart)
{
	const struct uri_example *example = &uris[_i];
	struct loaded l = load(&(struct conf_source){.uri_environ = example->uri});
	const struct conf_endpoint *endpoint;

	ck_assert_msg(l.result == 0, "%s: %s", example->uri, l.errors);
	endpoint = &l.conf->upstreams[0].endpoints[0];
	ck_assert_str_eq(endpoint->host, example->host);
	ck_assert_uint_eq(endpoint->port, example->port);
	ck_assert_str_eq(endpoint->user, example->user);
	ck_assert_str_eq(endpoint->password, example->password);
	ck_assert_str_eq(endpoint->vhost, example->vhost);
	ck_assert(!endpoint->tls);
	unload(&l);
}
END_TEST

START_TEST(uri__that_is_wrong_is_refused_with_its_reason)
{
	struct loaded l = load(&(struct conf_source){.uri_environ = wrong_uris[_i].uri});
	char expected[512];

	snprintf(expected, sizeof(expected), "MUXD_UPSTREAM: wrong URI: %s\n", wrong_uris[_i].error);
	ck_assert_int_eq(l.result, -EINVAL);
	ck_assert_str_eq(l.errors, expected);
}
END_TEST

START_TEST(uri__longest_vhost_has_255_bytes)
{
	char uri[512] = "amqp://localhost/";
	size_t len = strlen(uri);
	struct loaded l;

	memset(uri + len, 'v', 255);
	l = load(&(struct conf_source){.uri_environ = uri});
	ck_assert_msg(l.result == 0, "%s", l.errors);
	unload(&l);
	uri[len + 255] = 'v';
	l = load(&(struct conf_source){.uri_environ = uri});
	ck_assert_str_eq(l.errors, "MUXD_UPSTREAM: wrong URI: the vhost is longer than 255 bytes\n");
}
END_TEST

START_TEST(uri__on_the_command_line_takes_no_password)
{
	struct loaded l = load(&(struct conf_source){.uri_option = "amqp://u:" SECRET "@localhost"});

	ck_assert_int_eq(l.result, -EINVAL);
	ck_assert_ptr_nonnull(strstr(l.errors, "-u: "));
	ck_assert_ptr_nonnull(strstr(l.errors, "password-file"));
	ck_assert_ptr_nonnull(strstr(l.errors, "MUXD_UPSTREAM"));
	l = load(&(struct conf_source){.uri_option = "amqp://localhost/v"});
	ck_assert_msg(l.result == 0, "%s", l.errors);
	unload(&l);
}
END_TEST

START_TEST(uri__on_the_command_line_goes_before_the_environment)
{
	struct loaded l = load(&(struct conf_source){.uri_option = "amqp://localhost/option",
						     .uri_environ = "amqp://localhost/environ"});

	ck_assert_msg(l.result == 0, "%s", l.errors);
	ck_assert_uint_eq(l.conf->upstream_count, 1);
	ck_assert_str_eq(l.conf->upstreams[0].endpoints[0].vhost, "option");
	unload(&l);
}
END_TEST

START_TEST(uri__apart_from_the_file_replaces_only_the_uris_of_default)
{
	static const char text[] =
	    "upstream other { uri = amqp://localhost/o }\n"
	    "upstream default { heartbeat = 7s uri = {amqp://broker/a, amqp://broker/b} }\n";
	char path[32];
	struct loaded l;

	write_file(path, text, sizeof(text) - 1, 0600);
	l = load(&(struct conf_source){.path = path, .uri_environ = "amqp://localhost/e"});
	unlink(path);
	ck_assert_msg(l.result == 0, "%s", l.errors);
	ck_assert_uint_eq(l.conf->upstream_count, 2);
	ck_assert_uint_eq(l.conf->upstreams[1].endpoint_count, 1);
	ck_assert_str_eq(l.conf->upstreams[1].endpoints[0].vhost, "e");
	ck_assert_uint_eq(l.conf->upstreams[1].heartbeat_usec, 7 * USEC_PER_SEC);
	unload(&l);
}
END_TEST

/* ------------------------------------------------------------------ secrets */

static int read_secret(const char *bytes, size_t len, unsigned int mode, struct conf_secret *secret,
		       char *error, size_t size)
{
	struct conf_errors errors = CONF_ERRORS_INIT;
	char path[32];
	int r;

	write_file(path, bytes, len, mode);
	r = conf_read_password(path, secret, &errors);
	unlink(path);
	ck_assert_uint_eq(errors.count, r < 0 ? 1 : 0);
	join(error, size, &errors, path);
	conf_errors_deinit(&errors);
	return r;
}

START_TEST(secret__is_one_line_without_its_newline)
{
	static const struct {
		const char *bytes;
		size_t len;
		int result;
	} examples[] = {
	    {SECRET, 7, 0},
	    {SECRET "\n", 8, 0},
	    {SECRET "\r\n", 9, 0},
	    {"", 0, -ENODATA},
	    {"\n", 1, -ENODATA},
	    {SECRET "\n\n", 9, -EINVAL},
	    {SECRET "\nx", 9, -EINVAL},
	    {SECRET "\0", 8, -EINVAL},
	};
	struct conf_secret secret;
	char error[256];

	for (int i = 0; i < COUNT(examples); i++) {
		ck_assert_int_eq(
		    read_secret(examples[i].bytes, examples[i].len, 0600, &secret, error, sizeof(error)),
		    examples[i].result);
		if (examples[i].result == 0) {
			ck_assert_uint_eq(secret.len, 7);
			ck_assert_str_eq(secret.text, SECRET);
		}
		conf_secret_wipe(&secret);
		ck_assert_uint_eq(secret.len, 0);
		ck_assert_int_eq(secret.text[0], 0);
	}
}
END_TEST

START_TEST(secret__has_a_greatest_length)
{
	static char bytes[CONF_SECRET_MAX + 2];
	struct conf_secret secret;
	char error[256];

	memset(bytes, 'x', sizeof(bytes));
	ck_assert_int_eq(read_secret(bytes, CONF_SECRET_MAX, 0600, &secret, error, sizeof(error)), 0);
	ck_assert_uint_eq(secret.len, CONF_SECRET_MAX);
	ck_assert_int_eq(read_secret(bytes, CONF_SECRET_MAX + 1, 0600, &secret, error, sizeof(error)),
			 -EFBIG);
}
END_TEST

START_TEST(secret__in_a_file_that_others_may_use_is_refused)
{
	static const unsigned int modes[] = {0640, 0604, 0644, 0620, 0602, 0610};
	struct conf_secret secret;
	char error[256];
	char expected[256];

	for (int i = 0; i < COUNT(modes); i++) {
		snprintf(expected, sizeof(expected), " mode %04o: others may use it; chmod it to 0600\n",
			 modes[i]);
		ck_assert_int_eq(read_secret(SECRET, 7, modes[i], &secret, error, sizeof(error)), -EPERM);
		ck_assert_str_eq(error, expected);
	}
	ck_assert_int_eq(read_secret(SECRET, 7, 0400, &secret, error, sizeof(error)), 0);
}
END_TEST

START_TEST(secret__of_a_stranger_is_refused)
{
	struct conf_errors errors = CONF_ERRORS_INIT;
	struct conf_secret secret;
	char path[32];

	write_file(path, SECRET, 7, 0600);
	if (geteuid() == 0) {
		/* Only root can give a file away; for others this file stays their own. */
		ck_assert_int_eq(chown(path, 12345, 12345), 0);
		ck_assert_int_eq(conf_read_password(path, &secret, &errors), -EPERM);
		ck_assert_uint_eq(errors.count, 1);
		ck_assert_ptr_nonnull(strstr(errors.texts[0], "belongs to uid 12345"));
		conf_errors_deinit(&errors);
	}
	unlink(path);
	ck_assert_int_eq(conf_read_password(path, &secret, &errors), -ENOENT);
	conf_errors_deinit(&errors);
	ck_assert_int_eq(conf_read_password("/", &secret, &errors), -EINVAL);
	conf_errors_deinit(&errors);
}
END_TEST

START_TEST(secret__among_systemds_credentials_may_have_any_mode)
{
	struct conf_errors errors = CONF_ERRORS_INIT;
	struct conf_secret secret;
	char directory[4096];
	char path[4200], elsewhere[4200];
	char name[32];

	ck_assert_ptr_nonnull(getcwd(directory, sizeof(directory)));
	write_file(name, SECRET "\n", 8, 0444);
	snprintf(path, sizeof(path), "%s/%s", directory, name + 2);
	setenv("CREDENTIALS_DIRECTORY", directory, 1);
	ck_assert_int_eq(conf_read_password(path, &secret, &errors), 0);
	ck_assert_str_eq(secret.text, SECRET);
	snprintf(elsewhere, sizeof(elsewhere), "%s/sub", directory);
	setenv("CREDENTIALS_DIRECTORY", elsewhere, 1);
	ck_assert_int_eq(conf_read_password(path, &secret, &errors), -EPERM);
	unlink(name);
	conf_errors_deinit(&errors);
}
END_TEST

/* ------------------------------------------------------------------ TLS */

START_TEST(tls__with_less_than_full_verification_is_warned_about)
{
	struct loaded l =
	    load_text("upstream u {\n uri = amqps://app@h\n password-file = /p\n tls-verify = ca\n"
		      "}\nupstream v {\n uri = amqps://app@h\n password-file = /p\n}\n"
		      "upstream w {\n uri = amqp://localhost\n tls-ca = /ca\n}\n");

	ck_assert_msg(l.result == 0, "%s", l.errors);
	ck_assert_uint_eq(l.conf->upstreams[0].endpoints[0].port, 5671);
	ck_assert(conf_upstream_uses_tls(&l.conf->upstreams[0]));
	ck_assert(!conf_upstream_uses_tls(&l.conf->upstreams[2]));
	ck_assert_str_eq(
	    l.warnings,
	    "1: upstream \"u\": tls-verify is not full: somebody in between can pose as the broker\n"
	    "10: upstream \"w\": keys of TLS (tls-...) are of no use without an amqps:// uri: nothing is "
	    "encrypted\n");
	unload(&l);
}
END_TEST

/* What reading a file of TLS says; PATH stands for its path. */
struct pem_example {
	enum conf_file file;
	unsigned int mode;
	const char *bytes;
	int result;
	const char *error;
};

static const struct pem_example pems[] = {
    {CONF_FILE_TLS_CA, 0644, "pem", 0, ""},
    {CONF_FILE_TLS_CERT, 0664, "pem", 0, ""},
    {CONF_FILE_TLS_KEY, 0600, "pem", 0, ""},
    {CONF_FILE_TLS_CA, 0646, "pem", -EPERM,
     "the.conf:7: upstream \"u\": tls-ca: PATH: mode 0646: anybody can change it; chmod it to 0644"},
    {CONF_FILE_TLS_CERT, 0644, "", -ENODATA, "the.conf:8: upstream \"u\": tls-cert: PATH: is empty"},
    {CONF_FILE_TLS_KEY, 0640, "pem", -EPERM,
     "the.conf:9: upstream \"u\": tls-key: PATH: mode 0640: others may use it; chmod it to 0600"},
    {CONF_FILE_TLS_KEY, 0604, "pem", -EPERM,
     "the.conf:9: upstream \"u\": tls-key: PATH: mode 0604: others may use it; chmod it to 0600"},
};

static void expect_error(const struct conf_errors *errors, const char *expected, const char *path)
{
	const char *at = strstr(expected, "PATH");
	char whole[256];

	ck_assert_uint_eq(errors->count, *expected ? 1 : 0);
	if (!*expected)
		return;
	(void)snprintf(whole, sizeof(whole), "%.*s%s%s", (int)(at - expected), expected, path,
		       at + strlen("PATH"));
	ck_assert_str_eq(errors->texts[0], whole);
}

START_TEST(tls__file_that_grows_while_it_is_read_is_refused)
{
	struct conf_errors errors = CONF_ERRORS_INIT;
	char path[] = "/proc/self/status", name[] = "u"; /* of no size, with something in it */
	struct conf_upstream upstream = {.file = "the.conf", .tls_ca_line = 7, .tls_ca = path, .name = name};
	struct buf bytes;

	ck_assert_int_eq(conf_read_pem(&upstream, CONF_FILE_TLS_CA, &bytes, &errors), -EAGAIN);
	expect_error(
	    &errors,
	    "the.conf:7: upstream \"u\": tls-ca: PATH: changed while it was read, or is no file on a "
	    "disk; try again",
	    path);
	conf_errors_deinit(&errors);
	conf_bytes_wipe(&bytes);
}
END_TEST

START_TEST(tls__files_are_refused_with_the_line_that_names_them)
{
	const struct pem_example *example = &pems[_i];
	struct conf_errors errors = CONF_ERRORS_INIT;
	struct conf_upstream upstream = {
	    .file = "the.conf", .tls_ca_line = 7, .tls_cert_line = 8, .tls_key_line = 9};
	struct buf bytes;
	char path[32], name[] = "u";

	write_file(path, example->bytes, strlen(example->bytes), example->mode);
	upstream.name = name;
	upstream.tls_ca = upstream.tls_cert = upstream.tls_key = path;
	ck_assert_int_eq(conf_read_pem(&upstream, example->file, &bytes, &errors), example->result);
	unlink(path);
	expect_error(&errors, example->error, path);
	if (example->result == 0)
		ck_assert(span_equal_str(buf_span(&bytes), example->bytes));
	conf_bytes_wipe(&bytes);
	conf_errors_deinit(&errors);
}
END_TEST

START_TEST(tls__lines_of_the_keys_that_name_files_are_kept)
{
	struct loaded l =
	    load_text("upstream u {\n uri = amqps://app@h\n tls-ca = /a\n tls-cert = /b\n tls-key = /c\n"
		      " password-file = /p\n}\n");

	ck_assert_msg(l.result == 0, "%s", l.errors);
	ck_assert_uint_eq(l.conf->upstreams[0].tls_ca_line, 3);
	ck_assert_uint_eq(l.conf->upstreams[0].tls_cert_line, 4);
	ck_assert_uint_eq(l.conf->upstreams[0].tls_key_line, 5);
	ck_assert_uint_eq(l.conf->upstreams[0].password_file_line, 6);
	unload(&l);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("conf");
	TCase *tests = tcase_create("conf");
	SRunner *runner = srunner_create(suite);
	int failed;

	unsetenv("CREDENTIALS_DIRECTORY");
	unsetenv("MUXD_TEST_UNSET");
	suite_add_tcase(suite, tests);
	tcase_add_test(tests, conf__without_file_or_uri_is_a_broker_on_this_host);
	tcase_add_test(tests, conf__what_a_file_leaves_out_has_its_default);
	tcase_add_test(tests, conf__globals_are_read);
	tcase_add_test(tests, conf__upstreams_are_read);
	tcase_add_test(tests, conf__access_sections_keep_their_order);
	tcase_add_test(tests, conf__example_that_is_shipped_is_accepted);
	tcase_add_test(tests, conf__every_key_is_in_the_manual);
	tcase_add_test(tests, conf__no_error_shows_control_characters_of_a_name);
	tcase_add_test(tests, conf__example_names_what_the_manual_has);
	tcase_add_loop_test(tests, conf__wrong_file_is_told_all_its_errors_with_their_lines, 0,
			    COUNT(wrongs));
	tcase_add_test(tests, conf__good_file_can_be_read_after_a_bad_one);
	tcase_add_test(tests, conf__nul_byte_is_refused_instead_of_ending_the_file);
	tcase_add_test(tests, conf__file_that_cannot_be_read_says_why);
	tcase_add_test(tests, conf__pipe_is_read_but_not_waited_for);
	tcase_add_test(tests, conf__variables_are_expanded_where_they_are_no_comment);
	tcase_add_test(tests, conf__file_with_a_password_must_not_be_public);
	tcase_add_loop_test(tests, uri__is_taken_apart, 0, COUNT(uris));
	tcase_add_loop_test(tests, uri__that_is_wrong_is_refused_with_its_reason, 0, COUNT(wrong_uris));
	tcase_add_test(tests, uri__longest_vhost_has_255_bytes);
	tcase_add_test(tests, uri__on_the_command_line_takes_no_password);
	tcase_add_test(tests, uri__on_the_command_line_goes_before_the_environment);
	tcase_add_test(tests, uri__apart_from_the_file_replaces_only_the_uris_of_default);
	tcase_add_test(tests, secret__is_one_line_without_its_newline);
	tcase_add_test(tests, secret__has_a_greatest_length);
	tcase_add_test(tests, secret__in_a_file_that_others_may_use_is_refused);
	tcase_add_test(tests, secret__of_a_stranger_is_refused);
	tcase_add_test(tests, secret__among_systemds_credentials_may_have_any_mode);
	tcase_add_test(tests, tls__with_less_than_full_verification_is_warned_about);
	tcase_add_test(tests, tls__file_that_grows_while_it_is_read_is_refused);
	tcase_add_loop_test(tests, tls__files_are_refused_with_the_line_that_names_them, 0, COUNT(pems));
	tcase_add_test(tests, tls__lines_of_the_keys_that_name_files_are_kept);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
