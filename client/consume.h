/* Consumers, their credit, and settling what they got; see consume.c. */
#pragma once

#include "client/error.h"
#include "client/muxclient.h"
#include "client/outcome.h"

#include "proto/buf.h"

#include <stdbool.h>

#define CONSUMER_WINDOW_MESSAGES 512u
#define CONSUMER_WINDOW_BYTES (4u * 1024u * 1024u)
#define SETTLE_RANGES_MAX 64u /* that wait to be sent in one frame */

struct consumer {
	struct consumer *next;
	uint32_t id;
	char tag[SHORT_TEXT_MAX + 1]; /* as the broker has it; empty until it has */
	struct buf op;		      /* Consume, without tag and credit: to start it again */
	uint32_t prefetch;	      /* of the last qos before */
	bool started;		      /* muxd has answered */
	bool gone;		      /* muxd has cancelled it; its handler is still to be told */
	bool leaving;		      /* cancelled because muxd is left; it comes back with the next one */
	bool direct_reply;
	bool interrupted; /* its handler is still to be told */
	muxc_message_handler on_message;
	muxc_cancelled_handler on_cancelled;
	muxc_interrupted_handler on_interrupted;
	void *userdata;
	uint32_t window_messages;
	uint64_t window_bytes;
	uint64_t taken_messages; /* totals: handled, or dropped */
	uint64_t taken_bytes;
	uint64_t granted_messages;
	uint64_t granted_bytes;
	uint64_t received_messages; /* totals of this session */
	uint64_t received_bytes;
};

struct settles {
	int kind; /* Muxd__V1__SettleKind */
	unsigned int count;
	struct range ranges[SETTLE_RANGES_MAX];
};

struct consumer *consumer_find(struct muxc_channel *channel, uint32_t id);
void consumer_remove(struct muxc_channel *channel, uint32_t id);
void consumers_free(struct muxc_channel *channel);
/* One has come. False: muxd had no credit for it. */
bool consumer_received(struct consumer *consumer, size_t size_bytes);
/* One has come for a consumer that is not there. False: there was none that it could be of. */
bool consumer_received_late(struct muxc_channel *channel);
/* A message goes to its handler, or is dropped: credit for more. */
void consumer_took(struct muxc_channel *channel, struct consumer *consumer, size_t size_bytes);
int settle_add(struct muxc_channel *channel, int kind, uint64_t first, uint64_t last);
/* What was delivered so far goes back with its session: it is settled no more, and comes again. */
void deliveries_lost(struct muxc_channel *channel);
/* Encodes the waiting settles of a channel. -ENOMEM: they wait on. */
int settles_emit(struct muxc_channel *channel);
