#include "tests/rig/setup.h"

struct mux_options setup_mux(void)
{
	return (struct mux_options){.limits = {.total_memory = 64u << 20,
					       .session_memory = 16u << 20,
					       .message_max = 4u << 20,
					       .sessions = 8,
					       .channels_per_session = 16,
					       .prefetch = 10,
					       .request_timeout_usec = 30 * USEC_PER_SEC,
					       .publish_timeout_usec = 300 * USEC_PER_SEC}};
}

struct upstream_options setup_upstream(void)
{
	static const struct upstream_endpoint endpoints[] = {{"one:5672", "/", "guest", "guest"},
							     {"two:5672", "/", "guest", "guest"}};

	return (struct upstream_options){.name = "default",
					 .endpoints = endpoints,
					 .endpoint_count = 1,
					 .sasl = "PLAIN",
					 .connect_timeout_usec = 10 * USEC_PER_SEC,
					 .reconnect_min_usec = 200 * USEC_PER_MSEC,
					 .reconnect_max_usec = 30 * USEC_PER_SEC,
					 .unconfirmed_messages = 4096,
					 .unconfirmed_bytes = 64u << 20,
					 .queue_prefix = "muxd.gen-"};
}

static void ignore_dial(void *context, size_t index)
{
}

static void ignore(void *context)
{
}

const struct upstream_ops setup_no_body = {.dial = ignore_dial, .hang_up = ignore, .changed = ignore};

void setup_no_chance(void *context, void *out, size_t count)
{
	memset(out, 7, count);
}

bool setup_digest(void *context, struct span of, uint8_t ret[MUX_DIGEST_BYTES])
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < MUX_DIGEST_BYTES; i++) {
		for (size_t j = 0; j < of.len; j++)
			hash = (hash ^ of.data[j]) * 16777619u;
		ret[i] = (uint8_t)(hash >> 16);
	}
	return true;
}
