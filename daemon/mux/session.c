/*
 * Sessions: their beginning and end, their channels, credit and settling. What
 * they ask of the broker is in operations.c.
 *
 * A breach of the protocol ends the session: it is marked, the front is told,
 * and nothing it sends counts from then on. The front ends it for good.
 */
#include "daemon/mux/session.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/share.h"
#include "daemon/mux/state/upstream.h"

#include "daemon/amqp/reply.h"
#include "daemon/mux/backlog.h"
#include "daemon/mux/channel.h"
#include "daemon/mux/consumer.h"
#include "daemon/mux/credit.h"
#include "daemon/mux/delivery.h"
#include "daemon/mux/flow.h"
#include "daemon/mux/handout.h"
#include "daemon/mux/party.h"
#include "daemon/mux/publish.h"
#include "daemon/mux/queues.h"
#include "daemon/mux/recorder.h"
#include "daemon/mux/request.h"
#include "daemon/mux/taken.h"
#include "daemon/mux/topology.h"
#include "daemon/mux/tx.h"
#include "daemon/mux/user.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define WHY_BYTES 80u
/* So many groups are part of what a session is; more are charged. */
#define GROUPS_FREE 256u

static int copy_creds(struct mux_creds *to, const struct mux_creds *from)
{
	uint32_t *groups = NULL;

	*to = *from;
	if (from->group_count > 0) {
		groups = malloc(from->group_count * sizeof(*groups));
		if (!groups)
			return -ENOMEM;
		memcpy(groups, from->groups, from->group_count * sizeof(*groups));
	}
	to->groups = groups;
	return 0;
}

/* What it has of its user's. */
static int join(struct session *session, struct mux *mux, const struct session_options *options)
{
	int r;

	if (!user_ref_take(&session->user, mux, options->creds.uid))
		return -ENOMEM;
	/* Who comes, publishes and goes, again and again while the broker is away, would fill the memory. */
	if (account_free(&session->user.user->orphaned) == 0)
		r = -ENOBUFS;
	else
		r = copy_creds(&session->creds, &options->creds);
	if (r < 0)
		user_ref_end(&session->user);
	return r;
}

static bool pay_groups(struct session *session)
{
	size_t count = session->creds.group_count;

	session->groups_charge = CHARGE_NONE;
	return count <= GROUPS_FREE ||
	       charge_take(&session->groups_charge, &session->memory, count * sizeof(*session->creds.groups));
}

static void free_groups(struct session *session)
{
	free((uint32_t *)(uintptr_t)session->creds.groups);
}

int session_new(struct mux *mux, const struct session_options *options, struct session **ret)
{
	struct session *session;
	int r;

	if (mux->session_count >= mux->options.limits.sessions)
		return -EUSERS;
	session = calloc(1, sizeof(*session));
	r = session ? join(session, mux, options) : -ENOMEM;
	if (r < 0) {
		free(session);
		return r;
	}
	session->mux = mux;
	session->upstream = options->upstream;
	session->ops = options->ops;
	session->context = options->context;
	session->since = mux->now;
	session->program_len = (uint8_t)span_first(options->program, PROGRAM_MAX).len;
	if (session->program_len > 0)
		memcpy(session->program, options->program.data, session->program_len);
	session->get_credit = options->get_bytes;
	session->memory = ACCOUNT_INIT(&session->user.user->memory, 0);
	session->slots_charge = CHARGE_NONE;
	session_set_limits(session, &options->limits);
	if (!pay_groups(session)) {
		user_ref_end(&session->user);
		free_groups(session);
		free(session);
		return -EDQUOT;
	}
	list_init(&session->leaving);
	list_init(&session->requests);
	list_init(&session->owned);
	list_init(&session->holdings);
	credit_init(session);
	backlog_init(session);
	party_init(&session->party, session->upstream);
	session->id = ++mux->last_session;
	list_append(&mux->sessions, &session->node);
	mux->session_count++;
	session->upstream->session_count++;
	session->user.user->sessions++;
	*ret = session;
	return 0;
}

void session_end(struct session *session)
{
	struct mux *mux = session->mux;

	session->ended = true;
	while (!list_empty(&session->leaving))
		channel_abandon(container_of(session->leaving.next, struct channel, node));
	for (uint32_t number = 1; number < session->channel_slots; number++) {
		if (session->channels[number].channel)
			channel_abandon(session->channels[number].channel);
	}
	queues_session_ends(session);
	topology_session_ends(session);
	credit_deinit(session);
	backlog_deinit(session);
	recorder_deinit(session);
	party_deinit(&session->party);
	charge_end(&session->slots_charge);
	charge_end(&session->groups_charge);
	list_unlink(&session->node);
	mux->session_count--;
	session->upstream->session_count--;
	session->user.user->sessions--;
	user_ref_end(&session->user);
	free(session->channels);
	free(session->taken);
	free_groups(session);
	free(session);
}

uint64_t session_id(const struct session *session)
{
	return session->id;
}

const struct mux_creds *session_creds(const struct session *session)
{
	return &session->creds;
}

struct upstream *session_upstream(const struct session *session)
{
	return session->upstream;
}

bool session_is_ended(const struct session *session)
{
	return session->ended;
}

void session_fail(struct session *session, const struct fault *fault)
{
	if (session->ended)
		return;
	session->ended = true;
	session->ops->ended(session->context, fault);
}

/* ------------------------------------------------------------------ channels */

struct channel *session_channel(const struct session *session, uint32_t number)
{
	return number < session->channel_slots ? session->channels[number].channel : NULL;
}

uint32_t session_generation(const struct session *session, uint32_t number)
{
	return number < session->channel_slots ? session->channels[number].generation : 0;
}

static bool make_slot(struct session *session, uint32_t number)
{
	uint32_t slots = session->channel_slots ? session->channel_slots : 4;
	struct channel_slot *channels;

	if (number < session->channel_slots)
		return true;
	while (slots <= number)
		slots *= 2;
	channels = realloc(session->channels, slots * sizeof(*channels));
	if (!channels)
		return false;
	charge_force(&session->slots_charge, &session->memory,
		     (slots - session->channel_slots) * sizeof(*channels));
	memset(channels + session->channel_slots, 0, (slots - session->channel_slots) * sizeof(*channels));
	session->channels = channels;
	session->channel_slots = slots;
	return true;
}

static void fail_open(struct session *session, uint16_t code, uint32_t number, const char *why)
{
	struct fault fault =
	    fault_make(code, "%s - channel %u cannot be opened: %s", amqc_reply_name(code), number, why);

	session_fail(session, &fault);
}

/* Channels that were opened though there was no memory: they have failed, and only that is told. */
#define UNPAID_CHANNELS_MAX 16u

/* Without memory it fails; or the session does, which goes on and on opening some. */
static void pay_channel(struct session *session, struct channel *channel)
{
	struct fault fault;

	if (charge_take(&channel->own_charge, &session->memory, sizeof(*channel)))
		return;
	fault = user_no_memory(session, "a channel");
	if (session->unpaid_channels >= UNPAID_CHANNELS_MAX) {
		session_fail(session, &fault);
		return;
	}
	charge_force(&channel->own_charge, &session->memory, sizeof(*channel));
	channel->unpaid = true;
	session->unpaid_channels++;
	channel_fail(channel, &fault);
}

/* Its client was told of more than it may have by now: that is no mistake of its own. */
static void refuse_channel(struct channel *channel)
{
	struct fault fault =
	    fault_make(AMQC_RESOURCE_ERROR,
		       "RESOURCE_ERROR - channels-per-session is %u since muxd's configuration "
		       "was reloaded",
		       channel->session->limits.channels);

	channel_fail(channel, &fault);
}

void session_open_channel(struct session *session, uint32_t number, uint32_t generation)
{
	struct channel *old = session_channel(session, number);
	struct channel_slot *slot;
	bool too_many;
	char why[WHY_BYTES];

	if (session->ended)
		return;
	if (number == 0 || number > session->told_channels) {
		(void)snprintf(why, sizeof(why), "numbers go from 1 to %u, which is channels-per-session",
			       session->told_channels);
		fail_open(session, AMQC_CHANNEL_ERROR, number, why);
		return;
	}
	if (old && old->state == CHANNEL_OPEN) {
		fail_open(session, AMQC_CHANNEL_ERROR, number, "it is open");
		return;
	}
	if (generation <= session_generation(session, number)) {
		fail_open(session, AMQC_CHANNEL_ERROR, number,
			  "its generation must be higher than the last one");
		return;
	}
	if (!make_slot(session, number)) {
		fail_open(session, AMQC_RESOURCE_ERROR, number, "no memory");
		return;
	}
	slot = &session->channels[number];
	if (old) {
		channel_forget(old);
		session->channel_count--;
	}
	slot->generation = generation;
	slot->channel = channel_new(session->upstream, session, (struct mux_channel_id){number, generation});
	if (!slot->channel) {
		fail_open(session, AMQC_RESOURCE_ERROR, number, "no memory");
		return;
	}
	session->channel_count++;
	too_many = number > session->limits.channels || session->channel_count > session->limits.channels;
	recorder_at_once(session, slot->channel->id, &(struct amqc_method){.id = AMQC_CHANNEL_OPEN},
			 too_many ? AMQC_RESOURCE_ERROR : 0);
	if (too_many)
		refuse_channel(slot->channel);
	else
		pay_channel(session, slot->channel);
}

void session_close_channel(struct session *session, uint32_t request, uint32_t number)
{
	struct channel *channel = session_channel(session, number);
	struct mux_channel_id id = {number, session_generation(session, number)};
	struct amqc_method method = {.id = AMQC_CHANNEL_CLOSE};

	if (!session_claim_request(session, request))
		return;
	if (!channel) {
		struct fault fault =
		    fault_make(AMQC_CHANNEL_ERROR, "CHANNEL_ERROR - channel %u is not open", number);

		recorder_at_once(session, id, &method, fault.code);
		session->ops->refuse(session->context, request, id, SCOPE_CHANNEL, &fault);
		return;
	}
	session->channels[number].channel = NULL;
	session->channel_count--;
	channel->close_record = recorder_method(session, id, &method);
	if (channel->state == CHANNEL_OPEN) {
		session->request_count++;
		channel_leave(channel, request);
		return;
	}
	recorder_end(session, channel->close_record, false, 0);
	channel_forget(channel);
	session->ops->reply(session->context, request, id,
			    &(struct amqc_method){.id = AMQC_CHANNEL_CLOSE_OK});
}

/* ------------------------------------------------------------------ requests in general */

static bool close_request_is_taken(const struct session *session, uint32_t id)
{
	const struct channel *channel;

	list_foreach (channel, &session->leaving, node) {
		if (channel->close_request == 0)
			return false;
		if (channel->close_request == id)
			return true;
	}
	return false;
}

bool session_claim_request(struct session *session, uint32_t id)
{
	struct fault fault;

	if (session->ended)
		return false;
	if (session->request_count >= SESSION_REQUESTS_MAX) {
		fault = fault_make(AMQC_RESOURCE_ERROR, "RESOURCE_ERROR - more than %u unanswered requests",
				   SESSION_REQUESTS_MAX);
	} else if (request_id_is_taken(session, id) || close_request_is_taken(session, id)) {
		fault =
		    fault_make(AMQC_COMMAND_INVALID,
			       "COMMAND_INVALID - request id %u is 0 or that of an unanswered request", id);
	} else {
		return true;
	}
	session_fail(session, &fault);
	return false;
}

bool session_request_local(struct session *session, uint32_t id)
{
	return session_claim_request(session, id);
}

/* ------------------------------------------------------------------ settling and credit */

/* Of a channel that was closed, or failed meanwhile, the broker has everything back already. */
static struct channel *settling_channel(struct session *session, uint32_t number)
{
	struct channel *channel = session_channel(session, number);
	struct fault fault;

	if (session->ended)
		return NULL;
	if (session_generation(session, number) == 0) {
		fault = fault_make(AMQC_CHANNEL_ERROR, "CHANNEL_ERROR - channel %u was never opened", number);
		session_fail(session, &fault);
	}
	return channel && channel->state == CHANNEL_OPEN ? channel : NULL;
}

void session_settle(struct session *session, uint32_t number, enum settle_kind kind, uint64_t first,
		    uint64_t last)
{
	struct channel *channel = settling_channel(session, number);
	struct fault fault;

	if (!channel)
		return;
	recorder_settle(session, channel->id, kind, first, last);
	if (!tx_settle(channel, kind, first, last, &fault))
		channel_fail(channel, &fault);
}

void session_consumer_credit(struct session *session, uint32_t number, uint32_t consumer_number,
			     uint64_t messages, uint64_t bytes)
{
	struct channel *channel = settling_channel(session, number);
	struct consumer *consumer;

	if (!channel)
		return;
	consumer = consumer_find(channel, consumer_number);
	/* It may have been cancelled meanwhile. */
	if (consumer)
		handout_credit(consumer, messages, bytes);
}

void session_get_credit(struct session *session, uint64_t bytes)
{
	if (session->ended || bytes <= session->get_credit)
		return;
	session->get_credit = bytes;
	if (session->gets_held) {
		session->gets_held = false;
		flow_release(session->upstream);
	}
}

void session_want(struct session *session, uint64_t messages, uint64_t bytes)
{
	if (!session->ended)
		credit_want(session, messages, bytes);
}

void session_credit_totals(const struct session *session, uint64_t *ret_messages, uint64_t *ret_bytes)
{
	*ret_messages = session->granted_messages;
	*ret_bytes = session->granted_bytes;
}

bool session_has_room(const struct session *session, uint64_t bytes)
{
	/* Who looks for what uses up the memory is told so much of it all the same. */
	return bytes <= account_free(&session->memory) ||
	       (bytes <= SESSION_STANDING_BYTES && session->backlog_charge.bytes == 0);
}

struct fault session_no_memory(const struct session *session, const char *what)
{
	return user_no_memory(session, what);
}

void session_was_handed(struct session *session, const struct mux_handed *handed)
{
	backlog_add(session, handed);
}

void session_written(struct session *session, uint64_t position)
{
	taken_run(session, position);
	if (!backlog_written(session, position) || session->ended)
		return;
	handout_breathe(session);
	if (session->gets_held) {
		session->gets_held = false;
		flow_release(session->upstream);
	}
}

const char *session_unread(struct session *session, uint64_t position)
{
	return backlog_unread(session, position);
}
