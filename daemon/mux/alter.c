#include "daemon/mux/alter.h"

#include "daemon/mux/credit.h"
#include "daemon/mux/scout.h"
#include "daemon/mux/session.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/upstream.h"

#include <errno.h>
#include <stdlib.h>

struct upstream_change {
	struct upstream_options options; /* owned */
};

/* ------------------------------------------------------------------ options */

static char *copy_string(const char *text, bool *failed)
{
	char *copy = strdup(text ? text : "");

	*failed |= !copy;
	return copy;
}

/* Strings of options are owned; const is for everybody else. */
static void free_string(const char *text)
{
	free((char *)(uintptr_t)text);
}

static struct upstream_endpoint *endpoints_of(const struct upstream_options *options)
{
	return (struct upstream_endpoint *)(uintptr_t)options->endpoints;
}

static void endpoint_deinit(struct upstream_endpoint *endpoint)
{
	char *password = (char *)(uintptr_t)endpoint->password;

	if (password)
		explicit_bzero(password, strlen(password));
	free(password);
	free_string(endpoint->label);
	free_string(endpoint->vhost);
	free_string(endpoint->user);
}

void options_free(struct upstream_options *options)
{
	/* The one more is there as well; it is empty, mostly. */
	for (size_t i = 0; options->endpoints && i <= options->endpoint_count; i++)
		endpoint_deinit(&endpoints_of(options)[i]);
	free(endpoints_of(options));
	free_string(options->name);
	free_string(options->sasl);
	free_string(options->queue_prefix);
}

int options_copy(struct upstream_options *to, const struct upstream_options *from)
{
	struct upstream_endpoint *endpoints = calloc(from->endpoint_count + 1, sizeof(*endpoints));
	bool failed = !endpoints;

	*to = *from;
	to->endpoints = endpoints;
	for (size_t i = 0; endpoints && i < from->endpoint_count; i++) {
		endpoints[i].label = copy_string(from->endpoints[i].label, &failed);
		endpoints[i].vhost = copy_string(from->endpoints[i].vhost, &failed);
		endpoints[i].user = copy_string(from->endpoints[i].user, &failed);
		endpoints[i].password = copy_string(from->endpoints[i].password, &failed);
	}
	to->name = copy_string(from->name, &failed);
	to->sasl = copy_string(from->sasl, &failed);
	to->queue_prefix = copy_string(from->queue_prefix, &failed);
	if (!failed)
		return 0;
	options_free(to);
	return -ENOMEM;
}

/* ------------------------------------------------------------------ the change */

int upstream_change_new(const struct upstream_options *options, struct upstream_change **ret)
{
	struct upstream_change *change = calloc(1, sizeof(*change));

	if (!change)
		return -ENOMEM;
	if (options_copy(&change->options, options) < 0) {
		free(change);
		return -ENOMEM;
	}
	*ret = change;
	return 0;
}

struct upstream_change *upstream_change_free(struct upstream_change *change)
{
	if (change)
		options_free(&change->options);
	free(change);
	return NULL;
}

static bool same_string(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

/* Who is connected to the one need not be moved for the other. */
static bool same_place(const struct upstream_endpoint *a, const struct upstream_endpoint *b)
{
	return same_string(a->label, b->label) && same_string(a->vhost, b->vhost) &&
	       same_string(a->user, b->user);
}

/* The index of an endpoint among others; their count: it is not one of them. */
static size_t find_place(const struct upstream_options *among, const struct upstream_endpoint *endpoint)
{
	size_t i = 0;

	while (i < among->endpoint_count && !same_place(&among->endpoints[i], endpoint))
		i++;
	return i;
}

static void swap_strings(const char **a, const char **b)
{
	const char *tmp = *a;

	*a = *b;
	*b = tmp;
}

/* What only a new upstream has: its name, and that of its queues, which sessions may hold. */
static void keep_names(struct upstream_options *to, struct upstream_options *from)
{
	swap_strings(&to->name, &from->name);
	swap_strings(&to->queue_prefix, &from->queue_prefix);
}

static void set_redial(struct upstream *upstream)
{
	const struct upstream_options *options = &upstream->options;
	struct redial *redial = &upstream->redial;

	redial_init(redial, options->reconnect_min_usec, options->reconnect_max_usec,
		    options->endpoint_count);
	/* Where the next failure goes on from; behind the last one is the first. */
	redial->endpoint =
	    upstream->endpoint < options->endpoint_count ? upstream->endpoint : options->endpoint_count - 1;
}

size_t upstream_alter(struct upstream *upstream, struct upstream_change *change)
{
	struct upstream_options *options = &upstream->options;
	size_t in_use = find_place(&change->options, &options->endpoints[upstream->endpoint]);
	size_t good = find_place(&change->options, &options->endpoints[upstream->good_endpoint]);
	struct upstream_options old = *options;

	if (in_use == change->options.endpoint_count) {
		endpoints_of(&change->options)[in_use] = old.endpoints[upstream->endpoint];
		endpoints_of(&old)[upstream->endpoint] = (struct upstream_endpoint){0};
	}
	/* Of two that are gone, the one in use is as good. */
	upstream->good_endpoint = good < change->options.endpoint_count ? good : in_use;
	upstream->endpoint = in_use;
	*options = change->options;
	keep_names(options, &old);
	options_free(&old);
	free(change);
	window_set_most(&upstream->window, options->unconfirmed_bytes, options->adaptive_window);
	upstream->window_freed = true;
	set_redial(upstream);
	scout_begin_anew(&upstream->scout);
	return in_use;
}

void upstream_put_last(struct upstream *upstream)
{
	list_unlink(&upstream->node);
	list_append(&upstream->mux->upstreams, &upstream->node);
}

void upstream_retire(struct upstream *upstream)
{
	upstream->retired = true;
	upstream_put_last(upstream);
}

/* ------------------------------------------------------------------ limits */

static uint64_t lower_of(uint64_t whole, uint64_t own)
{
	return own > 0 && own < whole ? own : whole;
}

static uint64_t at_least(uint64_t value, uint64_t least)
{
	return value > least ? value : least;
}

void session_apply_limits(struct session *session)
{
	const struct mux_limits *whole = &session->mux->options.limits;
	const struct session_limits *own = &session->asked_limits;
	struct session_limits *limits = &session->limits;

	*limits = (struct session_limits){
	    .memory = lower_of(whole->session_memory, own->memory),
	    .message_max = lower_of(whole->message_max, own->message_max),
	    .channels = (uint32_t)lower_of(whole->channels_per_session, own->channels),
	    .prefetch = (uint32_t)lower_of(whole->prefetch, own->prefetch),
	};
	session->told_message_max = at_least(limits->message_max, session->told_message_max);
	session->told_channels = (uint32_t)at_least(limits->channels, session->told_channels);
	session->memory.limit = limits->memory;
	/* One that was told of larger messages may send one: it is refused, but must not wait for ever. */
	if (session->told_message_max > limits->message_max)
		session->memory.limit = at_least(limits->memory, CREDIT_MOST_FOR(session->told_message_max));
}

void session_set_limits(struct session *session, const struct session_limits *limits)
{
	session->asked_limits = *limits;
	session_apply_limits(session);
}

void mux_rules_changed(struct mux *mux)
{
	mux->rules++;
}

void mux_set_limits(struct mux *mux, const struct mux_limits *limits)
{
	struct session *session;

	mux->options.limits = *limits;
	mux->memory.limit = limits->total_memory;
	mux->orphaned.limit = limits->total_memory / 2;
	list_foreach (session, &mux->sessions, node)
		session_apply_limits(session);
}
