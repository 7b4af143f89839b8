/*
 * What muxd answers in test-client-oom: names say what is to happen.
 *
 * routing key of a publish: "nack", "return", "hold" (no outcome until
 * "release", which gives it to those held, newest first, as refused)
 * queue of a consumer: "some" (5 messages), "many" (200), "slow" (answered
 * behind the next ping), "refused"
 * queue of a get: "full", "slow", or any other: empty
 * queue of a declare: "refused" (404, closes the channel)
 * queue of a purge: "cancel", "interrupt" (consumer 1), "upstream", "away",
 * "end" (of the channel), "hang-up"
 */
#pragma once

#include "tests/unit/client-fake.h"

struct oom_muxd {
	uint64_t held[64];
	unsigned int held_count;
	uint64_t tag;
	uint32_t many_channel; /* of the consumer that gets 200, */
	uint32_t many_consumer;
	uint64_t many_sent;    /* and so many of them, as its credit allows */
	uint32_t slow_request; /* to be answered behind the next ping */
	uint32_t slow_channel;
	int slow_op;
};

bool oom_muxd_on_frame(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload);
