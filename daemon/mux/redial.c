#include "daemon/mux/redial.h"

void redial_init(struct redial *redial, uint64_t min_usec, uint64_t max_usec, size_t endpoint_count)
{
	*redial = (struct redial){
	    .min_usec = min_usec ? min_usec : 1,
	    .max_usec = max_usec > min_usec ? max_usec : (min_usec ? min_usec : 1),
	    .endpoint_count = endpoint_count,
	};
}

void redial_succeeded(struct redial *redial)
{
	redial->tried = 0;
	redial->rounds = 0;
	redial->refused = false;
}

/* The longest pause after this many rounds of failure. */
static uint64_t ceiling_usec(const struct redial *redial)
{
	uint64_t ceiling = redial->min_usec;

	for (unsigned int i = 1; i < redial->rounds && ceiling < redial->max_usec; i++)
		ceiling *= 2;
	return ceiling < redial->max_usec ? ceiling : redial->max_usec;
}

uint64_t redial_failed(struct redial *redial, bool refused, uint64_t random)
{
	redial->refused = refused || (redial->refused && redial->tried > 0);
	redial->endpoint = (redial->endpoint + 1) % redial->endpoint_count;
	redial->tried++;
	if (redial->tried < redial->endpoint_count)
		return 0;
	redial->tried = 0;
	redial->rounds++;
	if (redial->refused)
		return redial->max_usec / 2 + random % (redial->max_usec / 2 + 1);
	return random % (ceiling_usec(redial) + 1);
}
