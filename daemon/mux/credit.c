#include "daemon/mux/credit.h"

#include "daemon/amqp/reply.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/share.h"

/* Credit that is kept open for a session in full swing. */
#define WINDOW_BYTES_MAX (1024u * 1024u)
/* It is more for one whose messages are large: for so many of the largest, within a share of its memory. */
#define WINDOW_LARGEST_MESSAGES 4u
#define WINDOW_SHARE_OF_SESSION 4u
/* Messages that may be under way for each KiB of the window: small ones cost more than their bytes. */
#define WINDOW_MESSAGES(bytes) ((bytes) / (SESSION_STANDING_BYTES / SESSION_STANDING_MESSAGES))

void credit_init(struct session *session)
{
	list_init(&session->credit_node);
	list_init(&session->want_node);
	session->window_bytes = SESSION_STANDING_BYTES;
	session->granted_messages = SESSION_STANDING_MESSAGES;
	session->granted_bytes = SESSION_STANDING_BYTES;
	session->credit_charge = CHARGE_NONE;
	/* The standing credit is used before anybody could refuse it. */
	charge_force(&session->credit_charge, &session->memory, SESSION_STANDING_BYTES);
}

void credit_deinit(struct session *session)
{
	list_unlink(&session->credit_node);
	list_unlink(&session->want_node);
	charge_end(&session->credit_charge);
}

static void credit_touch(struct session *session)
{
	if (list_empty(&session->credit_node))
		list_append(&session->mux->credits, &session->credit_node);
}

/* The window may become large enough for a few of the session's largest messages. */
static void note_cost(struct session *session, uint64_t cost_bytes)
{
	if (cost_bytes > session->largest_cost)
		session->largest_cost = cost_bytes;
}

static uint64_t window_max(const struct session *session)
{
	uint64_t wanted = session->largest_cost * WINDOW_LARGEST_MESSAGES;
	uint64_t most = session->memory.limit / WINDOW_SHARE_OF_SESSION;

	if (wanted > most)
		wanted = most;
	return wanted > WINDOW_BYTES_MAX ? wanted : WINDOW_BYTES_MAX;
}

/* A session that has used more than half of its window since it was last told is in full swing. */
static void grow_window(struct session *session)
{
	uint64_t left = session->granted_bytes - session->used_bytes;
	uint64_t left_messages = session->granted_messages - session->used_messages;

	if (left > session->window_bytes / 2 && left_messages > WINDOW_MESSAGES(session->window_bytes) / 2)
		return;
	if (session->window_bytes < window_max(session))
		session->window_bytes *= 2;
}

bool credit_use(struct session *session, uint64_t cost_bytes)
{
	if (session->used_messages >= session->granted_messages ||
	    cost_bytes > session->granted_bytes - session->used_bytes)
		return false;
	session->used_messages++;
	session->used_bytes += cost_bytes;
	note_cost(session, cost_bytes);
	credit_touch(session);
	return true;
}

void credit_release(struct session *session, uint64_t cost_bytes)
{
	session->released_messages++;
	session->released_bytes += cost_bytes;
	charge_lower(&session->credit_charge, cost_bytes);
	credit_touch(session);
}

/* What the window leaves open behind what has ended. */
static uint64_t window_end_bytes(const struct session *session)
{
	return session->released_bytes + session->window_bytes;
}

static uint64_t window_end_messages(const struct session *session)
{
	return session->released_messages + WINDOW_MESSAGES(session->window_bytes);
}

/* True if no window of this size would ever let through what the session wants next. */
static bool wants_more_than_window(const struct session *session)
{
	return session->wants && session->want_bytes - session->used_bytes > session->window_bytes;
}

static void join_line(struct session *session)
{
	if (wants_more_than_window(session) && list_empty(&session->want_node))
		list_append(&session->mux->wants, &session->want_node);
}

void credit_want(struct session *session, uint64_t messages, uint64_t bytes)
{
	/* One message at a time: more is of no use to anybody. */
	uint64_t most = session->used_bytes + session->told_message_max + CREDIT_HEADER_BYTES_MAX;

	if (messages <= session->granted_messages && bytes <= session->granted_bytes)
		return;
	session->wants = true;
	session->want_messages =
	    messages < session->used_messages + 1 ? messages : session->used_messages + 1;
	session->want_bytes = bytes < most ? bytes : most;
	note_cost(session, session->want_bytes - session->used_bytes);
	join_line(session);
	credit_touch(session);
}

/* Raises the totals to these if memory allows. */
static bool grant(struct session *session, uint64_t messages, uint64_t bytes)
{
	if (bytes > session->granted_bytes) {
		if (!charge_take(&session->credit_charge, &session->memory, bytes - session->granted_bytes))
			return false;
		session->granted_bytes = bytes;
	}
	if (messages > session->granted_messages)
		session->granted_messages = messages;
	return true;
}

static void tell(struct session *session)
{
	/* A step that is not enough for what it asked for leaves it waiting: it does not ask twice. */
	if (session->granted_messages >= session->want_messages &&
	    session->granted_bytes >= session->want_bytes)
		session->wants = false;
	if (!session->ended)
		session->ops->credit(session->context, session->granted_messages, session->granted_bytes);
}

/*
 * Keeps the window open behind what has ended. Small steps are saved up, even
 * if the session asks: each would cost it a frame for a message. But a large
 * message need not wait for more than it takes, and when nothing is under way
 * any more, nothing would bring the next step.
 */
static bool is_worth_telling(struct session *session)
{
	uint64_t bytes = window_end_bytes(session), messages = window_end_messages(session);
	uint64_t step = session->window_bytes / 4;

	if (bytes >= session->granted_bytes + step ||
	    messages >= session->granted_messages + WINDOW_MESSAGES(step))
		return true;
	if (!session->wants || (bytes <= session->granted_bytes && messages <= session->granted_messages))
		return false;
	return session->used_messages == session->released_messages ||
	       (session->want_bytes - session->used_bytes > step && bytes >= session->want_bytes);
}

static void refresh(struct session *session)
{
	uint64_t bytes, messages;

	grow_window(session);
	if (!is_worth_telling(session))
		return;
	bytes = window_end_bytes(session);
	messages = window_end_messages(session);
	if (grant(session, messages, bytes)) {
		tell(session);
		return;
	}
	/* Memory is short: back to the standing credit, and what is larger waits in line for its turn. */
	session->window_bytes = SESSION_STANDING_BYTES;
	join_line(session);
	bytes = window_end_bytes(session);
	messages = window_end_messages(session);
	if (bytes <= session->granted_bytes && messages <= session->granted_messages)
		return;
	if (bytes > session->granted_bytes) {
		charge_force(&session->credit_charge, &session->memory, bytes - session->granted_bytes);
		session->granted_bytes = bytes;
	}
	(void)grant(session, messages, session->granted_bytes);
	tell(session);
}

/* What it wants is larger than messages may be by now. It is only to be refused: nobody waits behind it. */
static bool is_in_vain(const struct session *session)
{
	return session->want_bytes - session->used_bytes >
	       session->limits.message_max + CREDIT_HEADER_BYTES_MAX;
}

/* True if nobody behind it in the line may have anything now. */
static bool holds_up_all(struct mux *mux, const struct session *session)
{
	uint64_t lacks = session->want_bytes - session->granted_bytes;

	if (is_in_vain(session))
		return false;
	if (account_free(&mux->memory) < lacks)
		return true;
	if (account_free(&session->user.user->memory) < lacks)
		session->user.user->want_round = mux->want_round;
	return false;
}

/*
 * total-memory was lowered so far that even alone it could not have this. Told
 * of the new message-max it will not ask again.
 */
static bool end_if_beyond_all(struct session *session)
{
	const struct mux *mux = session->mux;
	uint64_t share = session->user.user->memory.share, most = mux->memory.limit / (share + 1) * share;
	struct fault fault;

	if (!is_in_vain(session) || session->want_bytes - session->used_bytes <= most)
		return false;
	fault = fault_make_retryable(AMQC_RESOURCE_ERROR,
				     "RESOURCE_ERROR - total-memory is %llu since muxd's configuration was "
				     "reloaded: there is no room for the message-max of this session",
				     (unsigned long long)mux->memory.limit);
	list_unlink(&session->want_node);
	session_fail(session, &fault);
	return true;
}

/*
 * In the order they asked. Who is short of its own memory waits alone; who is
 * short of its user's, or of everybody's, keeps those behind it waiting, of
 * that user or of all, so that nobody is passed for ever.
 */
static void serve_wants(struct mux *mux)
{
	struct session *session, *tmp;

	mux->want_round++;
	list_foreach_safe (session, tmp, &mux->wants, want_node) {
		bool more = session->want_bytes > session->granted_bytes ||
			    session->want_messages > session->granted_messages;

		if (session->user.user->want_round == mux->want_round)
			continue;
		if (more && !grant(session, session->want_messages, session->want_bytes)) {
			if (!end_if_beyond_all(session) && holds_up_all(mux, session))
				return;
			continue;
		}
		list_unlink(&session->want_node);
		if (more)
			tell(session);
	}
}

void credit_turn(struct mux *mux)
{
	struct session *session;

	while ((session = list_first(&mux->credits, struct session, credit_node))) {
		list_unlink(&session->credit_node);
		refresh(session);
	}
	serve_wants(mux);
}
