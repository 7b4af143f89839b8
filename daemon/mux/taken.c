#include "daemon/mux/taken.h"

#include "daemon/mux/credit.h"
#include "daemon/mux/delivery.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/delivery.h"
#include "daemon/mux/state/session.h"

#include <stdlib.h>

#define TAKEN_MIN 16u

static void taken_do(struct session *session, const struct taken *taken)
{
	struct channel *channel;

	if (taken->cost_bytes > 0)
		credit_release(session, taken->cost_bytes);
	if (taken->tag == 0)
		return;
	channel = session->channels[taken->channel.number].channel;
	if (channel && channel->id.generation == taken->channel.generation)
		delivery_taken(channel, taken->tag);
}

static bool taken_grow(struct session *session)
{
	size_t slots = session->taken ? (session->taken_mask + 1) * 2 : TAKEN_MIN;
	struct taken *ring = malloc(slots * sizeof(*ring));

	if (!ring)
		return false;
	for (size_t i = 0; i < session->taken_count; i++)
		ring[i] = session->taken[(session->taken_first + i) & session->taken_mask];
	free(session->taken);
	session->taken = ring;
	session->taken_mask = slots - 1;
	session->taken_first = 0;
	return true;
}

void taken_add(struct session *session, const struct taken *taken)
{
	if ((!session->taken || session->taken_count > session->taken_mask) && !taken_grow(session)) {
		taken_do(session, taken);
		return;
	}
	session->taken[(session->taken_first + session->taken_count) & session->taken_mask] = *taken;
	session->taken_count++;
}

void taken_run(struct session *session, uint64_t position)
{
	while (session->taken_count > 0) {
		struct taken taken = session->taken[session->taken_first & session->taken_mask];

		if (taken.position > position)
			break;
		session->taken_first++;
		session->taken_count--;
		taken_do(session, &taken);
	}
	if (session->taken_count == 0 && session->taken) {
		free(session->taken);
		session->taken = NULL;
		session->taken_mask = 0;
		session->taken_first = 0;
	}
}
