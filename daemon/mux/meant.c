#include "daemon/mux/meant.h"

#include "daemon/amqp/reply.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/blame.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/topology.h"
#include "daemon/mux/state/upstream.h"

/* The first request of the lane's lessee that has no answer. */
static struct request *first_request(const struct lane *lane)
{
	struct request *request;

	list_foreach (request, &lane->awaiting, op.node) {
		if (request->op.channel == lane->channel)
			return request;
	}
	return NULL;
}

static bool has_publishes(const struct lane *lane)
{
	return lane->confirms.first != lane->confirms.next || lane->tx.messages > 0;
}

struct request *meant_request(const struct lane *lane, const struct fault *fault)
{
	struct request *request;

	list_foreach (request, &lane->awaiting, op.node) {
		if (request->op.channel == lane->channel && request_is_named(request, fault))
			return request;
	}
	return NULL;
}

bool meant_may_be_another(const struct upstream *upstream, const struct request *request,
			  const struct fault *fault)
{
	for (uint32_t number = 1; number <= upstream->lane_max; number++) {
		const struct lane *lane = upstream->lanes[number];
		const struct request *other;

		if (!lane)
			continue;
		list_foreach (other, &lane->awaiting, op.node) {
			if (other->op.channel != request->op.channel && request_is_named(other, fault))
				return true;
		}
	}
	return false;
}

bool meant_is_alone(const struct lane *lane)
{
	const struct upstream *upstream = lane->upstream;

	for (uint32_t number = 1; number <= upstream->lane_max; number++) {
		const struct lane *other = upstream->lanes[number];

		if (other && other != lane && !list_empty(&other->awaiting))
			return false;
	}
	return true;
}

bool meant_has_any(const struct lane *lane)
{
	return first_request(lane) || has_publishes(lane);
}

bool meant_lane(const struct lane *lane, const struct fault *fault)
{
	if (fault->class_id == 0)
		return meant_has_any(lane);
	if (AMQC_CLASS_ID(AMQC_BASIC_PUBLISH) == fault->class_id &&
	    AMQC_METHOD_ID(AMQC_BASIC_PUBLISH) == fault->method_id)
		return has_publishes(lane);
	return meant_request(lane, fault) != NULL;
}

bool meant_is_ours(const struct channel *channel)
{
	const struct upstream *upstream = channel->upstream;

	return channel == upstream->recovery.maker || channel == upstream->housekeeper;
}

bool meant_has_transaction(const struct lane *lane)
{
	return lane->tx.messages > 0 || lane->tx.end;
}

/* Every lane that may be meant; the only one, if it is one. */
static struct lane *find_meant(const struct upstream *upstream, const struct fault *fault,
			       uint32_t *ret_count)
{
	struct lane *found = NULL;

	*ret_count = 0;
	for (uint32_t number = 1; number <= upstream->lane_max; number++) {
		struct lane *lane = upstream->lanes[number];

		if (lane && lane->channel && !meant_is_ours(lane->channel) && meant_lane(lane, fault)) {
			found = lane;
			++*ret_count;
		}
	}
	return found;
}

struct fault meant_of(const struct upstream *upstream, uint32_t *ret_count, struct lane **ret_lane)
{
	struct fault meant = upstream->blame.fault;

	if (meant.origin == FAULT_BROKER) {
		*ret_lane = find_meant(upstream, &meant, ret_count);
		if (*ret_count > 0)
			return meant;
	}
	meant.class_id = 0;
	meant.method_id = 0;
	*ret_lane = find_meant(upstream, &meant, ret_count);
	return meant;
}

uint64_t meant_transaction(const struct upstream *upstream, const struct fault *meant)
{
	const struct session *session = NULL;

	if (meant->origin != FAULT_BROKER)
		return 0;
	for (uint32_t number = 1; number <= upstream->lane_max; number++) {
		const struct lane *lane = upstream->lanes[number];

		if (!lane)
			continue;
		if (!lane->channel || meant_is_ours(lane->channel)) {
			if (!list_empty(&lane->awaiting))
				return 0;
		} else if (meant_has_transaction(lane) && meant_lane(lane, meant)) {
			if (session || !lane->channel->session)
				return 0;
			session = lane->channel->session;
		}
	}
	return session ? session->id : 0;
}
