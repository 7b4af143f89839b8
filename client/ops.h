/* What the requests on queues and transactions leave in their channel. */
#pragma once

#include "client/muxclient.h"

#include "proto/span.h"

/* The name, or if it is empty that of the queue declared last on the channel. */
struct span queue_or_last(const struct muxc_channel *channel, const char *name);
/* tx select, commit, rollback or recover was done. */
void transaction_answered(struct muxc_channel *channel, uint32_t op);
