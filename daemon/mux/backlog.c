#include "daemon/mux/backlog.h"

#include "daemon/mux/state/session.h"

#define BACKLOG_BYTES_MAX (1024u * 1024u)
/* Of a session's memory, the most that lies in its output. */
#define BACKLOG_SHARE_OF_SESSION 8u
/* Below it no session ends for what is no message: 2047 channels that fail at once need that. */
#define EVENTS_BYTES_MIN (1024u * 1024u)

void backlog_init(struct session *session)
{
	session->backlog_charge = CHARGE_NONE;
	session->events_charge = CHARGE_NONE;
	list_init(&session->choked);
}

void backlog_deinit(struct session *session)
{
	charge_end(&session->backlog_charge);
	charge_end(&session->events_charge);
	/* Its channels may live on without it. */
	while (!list_empty(&session->choked))
		list_unlink(session->choked.next);
}

void backlog_add(struct session *session, const struct mux_handed *handed)
{
	session->handed_position = handed->position;
	/* It is there already, and at most one message more than the bound. */
	charge_force(&session->backlog_charge, &session->memory, handed->cost_bytes);
}

static uint64_t backlog_bytes(const struct session *session)
{
	return session->handed_position > session->written_position
		   ? session->handed_position - session->written_position
		   : 0;
}

bool backlog_is_full(const struct session *session)
{
	uint64_t share = session->memory.limit / BACKLOG_SHARE_OF_SESSION;

	return backlog_bytes(session) >= (share < BACKLOG_BYTES_MAX ? share : BACKLOG_BYTES_MAX);
}

static void lower_to(struct charge *charge, uint64_t bytes)
{
	if (charge->bytes > bytes)
		charge_lower(charge, charge->bytes - bytes);
}

bool backlog_written(struct session *session, uint64_t position)
{
	bool was_full = backlog_is_full(session);

	session->written_position = position;
	lower_to(&session->backlog_charge, backlog_bytes(session));
	lower_to(&session->events_charge,
		 session->unread_position > position ? session->unread_position - position : 0);
	return was_full && !backlog_is_full(session);
}

const char *backlog_unread(struct session *session, uint64_t position)
{
	uint64_t share = session->memory.limit / BACKLOG_SHARE_OF_SESSION;
	uint64_t most = share > EVENTS_BYTES_MIN ? share : EVENTS_BYTES_MIN;
	uint64_t left = position - session->written_position;
	uint64_t events = left > session->backlog_charge.bytes ? left - session->backlog_charge.bytes : 0;
	bool is_short;

	session->unread_position = position;
	charge_end(&session->events_charge);
	is_short = account_free(&session->user.user->memory) < events;
	charge_force(&session->events_charge, &session->memory, events);
	if (events > most)
		return "it leaves more unread than an eighth of session-memory";
	return is_short && events > SESSION_STANDING_BYTES
		   ? "it leaves unread what its user has no memory for"
		   : NULL;
}
