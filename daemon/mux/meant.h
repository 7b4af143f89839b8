/*
 * What was under way when a connection was lost, and which of it the broker's
 * words may mean. To be asked while the lanes are as they were.
 */
#pragma once

#include "daemon/mux/state.h"

/* What the last loss can mean, of what was under way: a method that it names, or anything. How many lanes,
 * and the only one if it is one. */
struct fault meant_of(const struct upstream *upstream, uint32_t *ret_count, struct lane **ret_lane);

/* The lane's lessee has something under way; something that the fault may mean. */
bool meant_has_any(const struct lane *lane);
bool meant_lane(const struct lane *lane, const struct fault *fault);

/* The first of its lessee's requests that the fault names. */
struct request *meant_request(const struct lane *lane, const struct fault *fault);

/* The fault may as well mean something whose channel has left, or that is muxd's own. */
bool meant_may_be_another(const struct upstream *upstream, const struct request *request,
			  const struct fault *fault);

/* No other lane waits for an answer, not even one whose channel has left. */
bool meant_is_alone(const struct lane *lane);

/* A channel of muxd's own. */
bool meant_is_ours(const struct channel *channel);

/* Something of a transaction, of which nothing is kept: it ends with the connection. */
bool meant_has_transaction(const struct lane *lane);

/* The session of the only such lane; 0: there are more, or others whom nobody can clear. */
uint64_t meant_transaction(const struct upstream *upstream, const struct fault *meant);
