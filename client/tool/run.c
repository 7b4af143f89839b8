/*
 * The body is handed over as a file in memory: a command that does not read
 * it, or leaves a child behind that holds stdin open, blocks nobody.
 *
 * Variables of our own name that were inherited are not passed on. A value
 * that cannot be a variable, with a zero byte in it or too large for execve(2),
 * is left out.
 */
#include "client/tool/json.h"
#include "client/tool/run.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PREFIX "MUXCTL_"
#define VALUE_MAX 65536u /* execve(2) takes up to 128 KiB each */

/* The environment of a command; what is made here is owned, the rest environ's. */
struct env {
	char **vars;
	size_t count;
	size_t own_first;
	size_t capacity;
	bool failed;
};

/* False, and failed: there is no memory; then the variable is still the caller's. */
static bool env_add(struct env *env, char *var)
{
	size_t capacity = env->capacity ? env->capacity * 2 : 64;
	char **grown;

	if (env->count + 2 > env->capacity) {
		grown = realloc(env->vars, capacity * sizeof(*grown));
		if (!grown) {
			env->failed = true;
			return false;
		}
		env->vars = grown;
		env->capacity = capacity;
	}
	env->vars[env->count++] = var;
	env->vars[env->count] = NULL;
	return true;
}

static bool env_has(const struct env *env, const char *name, size_t len)
{
	size_t i;

	for (i = env->own_first; i < env->count; i++) {
		if (strncmp(env->vars[i], name, len) == 0 && env->vars[i][len] == '=')
			return true;
	}
	return false;
}

/* kind and name make MUXCTL_KIND_NAME, upper-case, anything odd an underscore; the first of a name counts. */
static void env_put(struct env *env, const char *kind, const char *name, size_t name_len, const char *value,
		    size_t len)
{
	size_t prefix_len = strlen(PREFIX) + strlen(kind), i;
	char *var, c;

	if (len > VALUE_MAX || memchr(value, '\0', len))
		return;
	var = malloc(prefix_len + name_len + len + 2);
	if (!var) {
		env->failed = true;
		return;
	}
	(void)snprintf(var, prefix_len + 1, PREFIX "%s", kind);
	for (i = 0; i < name_len; i++) {
		c = name[i];
		var[prefix_len + i] = isascii(c) && isalnum(c) ? (char)toupper(c) : '_';
	}
	i += prefix_len;
	if (env_has(env, var, i)) {
		free(var);
		return;
	}
	var[i] = '=';
	memcpy(var + i + 1, value, len);
	var[i + 1 + len] = '\0';
	if (!env_add(env, var))
		free(var);
}

static void env_put_text(struct env *env, const char *name, const char *value)
{
	env_put(env, "", name, strlen(name), value, strlen(value));
}

static void env_put_header(struct env *env, const struct muxc_field *field)
{
	const struct muxc_value *value = &field->value;
	char *text;

	if (value->type == MUXC_STRING || value->type == MUXC_BYTES) {
		env_put(env, "HEADER_", field->name, field->name_len,
			value->u.bytes.data ? value->u.bytes.data : "", value->u.bytes.len);
		return;
	}
	text = json_value_text(value);
	if (text)
		env_put(env, "HEADER_", field->name, field->name_len, text, strlen(text));
	else
		env->failed = true;
	free(text);
}

static void env_put_headers(struct env *env, struct muxc_iter iter)
{
	struct muxc_iter all = iter;
	struct muxc_field field;
	json_t *json;
	char *text;

	while (muxc_iter_next(&iter, &field) > 0)
		env_put_header(env, &field);
	json = json_fields(all);
	text = json_dumps(json, JSON_COMPACT);
	if (text)
		env_put_text(env, "HEADERS", text);
	else
		env->failed = true;
	free(text);
	json_decref(json);
}

static void env_put_properties(struct env *env, const struct muxc_message *message)
{
	struct muxc_iter iter;
	const char *text, *name;
	uint64_t number;
	char digits[24];
	size_t len;
	int i;

	for (i = MUXC_CONTENT_TYPE; i <= MUXC_CLUSTER_ID; i++) {
		name = muxc_property_name(i);
		text = i == MUXC_HEADERS ? NULL : muxc_message_get_text(message, i, &len);
		if (text)
			env_put(env, "", name, strlen(name), text, len);
		else if (muxc_message_get_number(message, i, &number) > 0) {
			(void)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)number);
			env_put_text(env, name, digits);
		}
	}
	if (muxc_message_get_headers(message, &iter) > 0)
		env_put_headers(env, iter);
}

static void env_build(struct env *env, const char *queue, const struct muxc_message *message)
{
	const char *text;
	size_t i, len;

	for (i = 0; environ[i]; i++) {
		if (strncmp(environ[i], PREFIX, strlen(PREFIX)) != 0)
			(void)env_add(env, environ[i]);
	}
	env->own_first = env->count;
	env_put_text(env, "QUEUE", queue);
	text = muxc_message_get_exchange(message, &len);
	env_put(env, "", "EXCHANGE", strlen("EXCHANGE"), text ? text : "", len);
	text = muxc_message_get_routing_key(message, &len);
	env_put(env, "", "ROUTING_KEY", strlen("ROUTING_KEY"), text ? text : "", len);
	env_put_text(env, "REDELIVERED", muxc_message_is_redelivered(message) ? "1" : "0");
	env_put_properties(env, message);
}

static void env_free(struct env *env)
{
	size_t i;

	for (i = env->own_first; i < env->count; i++)
		free(env->vars[i]);
	free(env->vars);
}

/* A descriptor to read the body from, or a negative errno. */
static int body_open(const struct muxc_message *message)
{
	const char *body;
	size_t len, done;
	ssize_t n;
	int fd;

	body = muxc_message_get_body(message, &len);
	fd = memfd_create("message", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (done = 0; done < len; done += (size_t)n) {
		n = write(fd, body + done, len - done);
		if (n < 0) {
			n = -errno;
			(void)close(fd);
			return (int)n;
		}
	}
	(void)lseek(fd, 0, SEEK_SET);
	return fd;
}

/* The command begins with the signals as they were when muxctl began. */
static int spawn(char *const *argv, char **vars, int fd, pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, restored;
	int r;

	(void)sigemptyset(&none);
	(void)sigemptyset(&restored);
	(void)sigaddset(&restored, SIGPIPE);
	r = posix_spawn_file_actions_init(&actions);
	if (r)
		return -r;
	r = posix_spawnattr_init(&attributes);
	if (r) {
		(void)posix_spawn_file_actions_destroy(&actions);
		return -r;
	}
	(void)posix_spawnattr_setsigmask(&attributes, &none);
	(void)posix_spawnattr_setsigdefault(&attributes, &restored);
	(void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	r = posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO);
	if (r == 0)
		r = posix_spawnp(ret_pid, argv[0], &actions, &attributes, argv, vars);
	(void)posix_spawnattr_destroy(&attributes);
	(void)posix_spawn_file_actions_destroy(&actions);
	return -r;
}

int run_start(char *const *argv, const char *queue, const struct muxc_message *message, pid_t *ret_pid)
{
	struct env env = {0};
	int fd, r = -ENOMEM;

	fd = body_open(message);
	if (fd < 0)
		return fd;
	env_build(&env, queue, message);
	if (!env.failed)
		r = spawn(argv, env.vars, fd, ret_pid);
	env_free(&env);
	(void)close(fd);
	return r;
}
