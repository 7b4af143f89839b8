#include "daemon/mux/pace.h"

#define STEP_SHIFT 10u	/* a step is 1,024 us */
#define DENSE_COUNT 16u /* messages in a step; one after the other, nobody gets so many answers */
#define DENSE_STEPS 8u	/* for so long it counts as bulk */

static uint64_t step_of(struct mono now)
{
	return now.usec >> STEP_SHIFT;
}

bool pace_note(struct pace *pace, struct mono now)
{
	uint64_t step = step_of(now);

	if (step != pace->step) {
		pace->step = step;
		pace->count = 0;
	}
	if (++pace->count >= DENSE_COUNT)
		pace->dense_until = step + DENSE_STEPS;
	return step < pace->dense_until;
}

bool pace_is_dense(const struct pace *pace, struct mono now)
{
	return step_of(now) < pace->dense_until;
}
