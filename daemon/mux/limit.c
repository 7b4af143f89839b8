#include "daemon/mux/limit.h"

#include "daemon/amqp/reply.h"

#define PAUSE_MIN_USEC \
	(60 * USEC_PER_SEC) /* a broker misses a dead connection in less, with usual heartbeats */
#define PAUSE_MAX_USEC (3600 * USEC_PER_SEC)
#define KEPT_USEC (3600 * USEC_PER_SEC)

/*
 * RabbitMQ names no method in this close, and we send nothing else that it
 * answers with 530; LavinMQ names channel.open.
 */
bool limit_is_meant(const struct fault *fault)
{
	return fault->code == AMQC_NOT_ALLOWED && fault->origin == FAULT_BROKER &&
	       (fault->class_id == 0 || (fault->class_id == 20 && fault->method_id == 10));
}

/* "... reached the maximum allowed user limit of (5)". 0: it says no number at its end. */
static uint32_t number_told(const struct fault *fault)
{
	size_t at = fault->text_len;
	uint32_t value = 0, scale = 1;

	if (at > 0 && fault->text[at - 1] == ')')
		at--;
	for (; at > 0 && fault->text[at - 1] >= '0' && fault->text[at - 1] <= '9' && scale <= 10000; at--) {
		value += (uint32_t)(fault->text[at - 1] - '0') * scale;
		scale *= 10;
	}
	return value;
}

void limit_learn(struct limit *limit, uint32_t opened, const struct fault *fault, struct mono now)
{
	uint32_t told = number_told(fault);

	limit->pause_usec = limit->lanes == 0 ? PAUSE_MIN_USEC : limit->pause_usec * 2;
	if (limit->pause_usec > PAUSE_MAX_USEC)
		limit->pause_usec = PAUSE_MAX_USEC;
	limit->told = told > 0 ? told : opened;
	limit->lanes = opened < limit->told ? opened : limit->told;
	/* Without any, nothing could ever be sent, nor seen that it may be. */
	if (limit->lanes == 0)
		limit->lanes = 1;
	limit->learned = now;
}

void limit_connected(struct limit *limit, struct mono now)
{
	if (limit->lanes > 0 && mono_since_usec(now, limit->learned) >= KEPT_USEC)
		*limit = (struct limit){0};
}

void limit_opened(struct limit *limit, uint32_t opened)
{
	if (limit->lanes > 0 && opened > limit->lanes)
		limit->lanes = opened;
}

uint32_t limit_most(const struct limit *limit, uint32_t most)
{
	return limit->lanes > 0 && limit->lanes < most ? limit->lanes : most;
}

struct mono limit_next_try(const struct limit *limit)
{
	return limit->lanes < limit->told ? mono_add_usec(limit->learned, limit->pause_usec) : MONO_NEVER;
}
