#include "daemon/mux/backlog.h"

#include "daemon/mux/state/session.h"

#define BACKLOG_BYTES_MAX (1024u * 1024u)
/* Of a session's memory, the most that lies in its output. */
#define BACKLOG_SHARE_OF_SESSION 8u

void backlog_init(struct session *session)
{
	session->backlog_charge = CHARGE_NONE;
	list_init(&session->choked);
}

void backlog_deinit(struct session *session)
{
	charge_end(&session->backlog_charge);
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

bool backlog_written(struct session *session, uint64_t position)
{
	bool was_full = backlog_is_full(session);
	uint64_t left;

	session->written_position = position;
	left = backlog_bytes(session);
	if (session->backlog_charge.bytes > left)
		charge_lower(&session->backlog_charge, session->backlog_charge.bytes - left);
	return was_full && !backlog_is_full(session);
}
