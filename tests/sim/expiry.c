/*
 * Messages that expire: the time that one spends in mux counts against it. What
 * has expired is not sent, and what is sent late says what is left.
 *
 * When mux wrote a message is known to the turn (link.c), and mux counts whole
 * milliseconds.
 */
#include "tests/sim/sim.h"

#include <stdlib.h>

void expiry_pick(struct world *world, struct message *message)
{
	if (!chance(world, 150))
		return;
	message->expires = true;
	message->expiration_msec = below(world, chance(world, 400) ? 100 : 20000);
}

static uint64_t waited_usec(const struct message *message, struct mono when)
{
	return message->age_msec * USEC_PER_MSEC +
	       (mono_before(when, message->born) ? 0 : mono_since_usec(when, message->born));
}

bool expiry_is_over(const struct message *message, struct mono when)
{
	uint64_t waited = waited_usec(message, when);

	return message->expires && waited >= USEC_PER_MSEC &&
	       waited >= message->expiration_msec * USEC_PER_MSEC;
}

void expiry_check_sent(struct world *world, const struct message *message,
		       const struct amqc_properties *properties)
{
	uint64_t waited = waited_usec(message, world->wire.made), left;
	uint64_t whole = message->expiration_msec * USEC_PER_MSEC;
	char text[24] = "";

	if (!(properties->present & AMQC_PROP_EXPIRATION) != !message->expires)
		violate(world, "properties are the publisher's", "m%u: expiration", message->index);
	if (!message->expires || world->failed)
		return;
	if (expiry_is_over(message, world->wire.made)) {
		violate(world, "what has expired is not sent", "m%u lives %u ms, and is sent after %llu us",
			message->index, message->expiration_msec, (unsigned long long)waited);
		return;
	}
	wire_copy_text(text, sizeof(text), properties->expiration);
	left = strtoull(text, NULL, 10) * USEC_PER_MSEC;
	if (left + waited > whole + USEC_PER_MSEC || left + waited + USEC_PER_MSEC < whole)
		violate(world, "what is sent late says what is left of its expiration",
			"m%u lives %u ms, is sent after %llu us, and says %s ms", message->index,
			message->expiration_msec, (unsigned long long)waited, text);
	if (left < whole)
		happened(world, WIRE_LESS_LEFT);
}

void expiry_check_end(struct world *world, const struct message *message, const struct fault *fault)
{
	if (!strstr(fault->text, "expired"))
		return;
	happened(world, CLIENT_EXPIRED);
	if (!expiry_is_over(message, world->now))
		violate(world, "only what has expired is said to have", "m%u", message->index);
}
