/*
 * The admin lines of the test broker: a table of words and what they do.
 */
#include "tests/broker/server_private.h"

#include <stdio.h>
#include <stdlib.h>

struct answer {
	char *text;
	size_t size;
};

/* False: the arguments make no sense. */
typedef bool (*command_fn)(struct server *server, const char *arguments, struct answer *answer);

static bool parse_number(const char **rest, unsigned long long *ret)
{
	char *end;

	if (**rest < '0' || **rest > '9')
		return false;
	*ret = strtoull(*rest, &end, 10);
	while (*end == ' ')
		end++;
	*rest = end;
	return true;
}

static bool do_freeze(struct server *server, const char *arguments, struct answer *answer)
{
	server_set_frozen(server, true);
	return true;
}

static bool do_thaw(struct server *server, const char *arguments, struct answer *answer)
{
	server_set_frozen(server, false);
	return true;
}

static bool do_drop(struct server *server, const char *arguments, struct answer *answer)
{
	server_close_all(server, false);
	return true;
}

static bool do_reset(struct server *server, const char *arguments, struct answer *answer)
{
	server_close_all(server, true);
	return true;
}

static bool do_garbage(struct server *server, const char *arguments, struct answer *answer)
{
	server_send_garbage(server);
	return true;
}

static bool do_delay(struct server *server, const char *arguments, struct answer *answer)
{
	unsigned long long msec;

	if (!parse_number(&arguments, &msec) || msec > 3600000)
		return false;
	server->options.delay_msec = (unsigned int)msec;
	return true;
}

static bool do_block(struct server *server, const char *arguments, struct answer *answer)
{
	broker_block(server->broker, *arguments ? arguments : "low on memory", server_now());
	return true;
}

static bool do_unblock(struct server *server, const char *arguments, struct answer *answer)
{
	broker_unblock(server->broker, server_now());
	return true;
}

static bool do_close(struct server *server, const char *arguments, struct answer *answer)
{
	unsigned long long code;

	if (!parse_number(&arguments, &code) || code == 0 || code > UINT16_MAX)
		return false;
	broker_close_all(server->broker, (uint16_t)code, arguments, server_now());
	return true;
}

static bool do_restart(struct server *server, const char *arguments, struct answer *answer)
{
	broker_restart(server->broker, server_now());
	server_close_all(server, false);
	return true;
}

static bool do_hold(struct server *server, const char *arguments, struct answer *answer)
{
	broker_set_manual_confirms(server->broker, true);
	return true;
}

static bool settle_held(struct server *server, const char *arguments, bool refuse)
{
	unsigned long long count = broker_held_confirms(server->broker);

	if (*arguments && !parse_number(&arguments, &count))
		return false;
	if (refuse)
		broker_refuse_confirms(server->broker, (size_t)count, server_now());
	else
		broker_release_confirms(server->broker, (size_t)count, server_now());
	return true;
}

static bool do_release(struct server *server, const char *arguments, struct answer *answer)
{
	return settle_held(server, arguments, false);
}

static bool do_refuse(struct server *server, const char *arguments, struct answer *answer)
{
	return settle_held(server, arguments, true);
}

static bool do_go(struct server *server, const char *arguments, struct answer *answer)
{
	broker_set_manual_confirms(server->broker, false);
	return settle_held(server, "", false);
}

static bool do_connections(struct server *server, const char *arguments, struct answer *answer)
{
	snprintf(answer->text, answer->size, "ok connections %zu", broker_connection_count(server->broker));
	return true;
}

static bool do_channels(struct server *server, const char *arguments, struct answer *answer)
{
	snprintf(answer->text, answer->size, "ok channels %zu", broker_channel_count(server->broker));
	return true;
}

static bool do_held(struct server *server, const char *arguments, struct answer *answer)
{
	snprintf(answer->text, answer->size, "ok held %zu", broker_held_confirms(server->broker));
	return true;
}

static bool do_messages(struct server *server, const char *arguments, struct answer *answer)
{
	size_t len = strcspn(arguments, " ");
	const char *vhost = arguments[len] ? arguments + len + 1 : "/";
	size_t ready, unacked;

	if (len == 0)
		return false;
	if (broker_queue_counts(server->broker, vhost, span_make(arguments, len), &ready, &unacked))
		snprintf(answer->text, answer->size, "ok messages %zu unacked %zu", ready, unacked);
	else
		snprintf(answer->text, answer->size, "error no such queue");
	return true;
}

static bool do_stop(struct server *server, const char *arguments, struct answer *answer)
{
	return true;
}

static const struct command {
	const char *word;
	command_fn run;
} commands[] = {
    {"freeze", do_freeze},     {"thaw", do_thaw},	{"drop", do_drop},
    {"reset", do_reset},       {"garbage", do_garbage}, {"delay", do_delay},
    {"block", do_block},       {"unblock", do_unblock}, {"close", do_close},
    {"restart", do_restart},   {"hold", do_hold},	{"release", do_release},
    {"refuse", do_refuse},     {"go", do_go},		{"connections", do_connections},
    {"channels", do_channels}, {"held", do_held},	{"messages", do_messages},
    {"stop", do_stop},
};

bool server_command(struct server *server, const char *line, char *ret, size_t ret_size)
{
	size_t len = strcspn(line, " ");
	struct answer answer = {ret, ret_size};

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		const struct command *command = &commands[i];

		if (strlen(command->word) != len || memcmp(command->word, line, len) != 0)
			continue;
		snprintf(ret, ret_size, "ok %s", command->word);
		if (!command->run(server, line[len] ? line + len + 1 : "", &answer))
			snprintf(ret, ret_size, "error bad arguments to %s", command->word);
		server_wake_flush(server);
		return command->run != do_stop;
	}
	snprintf(ret, ret_size, "error unknown command");
	return true;
}
