#include "daemon/mux/window.h"

#define TARGET_USEC 250u /* excess delay that is aimed at, */
#define TARGET_BULK_USEC 2000u
#define TARGET_PART_OF_BASE 4u /* or this part of the base if that is more: far brokers' delays vary more */
#define FAR_ABOVE 8u	       /* times the target: the path stands still */
#define PATIENCE_TARGETS 32u   /* without an answer */
#define GROW_PART 8u
#define GROW_PAUSE_USEC 15000u /* so it doubles in some 100 ms */
#define LANE_MESSAGES 256u
#define NEAR_USEC 5000u
#define ASK_FROM_BYTES (WINDOW_BYTES_BASE / 2) /* with less unconfirmed there is no queue to speak of */
#define ASK_PAUSE_USEC 2000u
#define EPOCH_USEC (5 * USEC_PER_SEC)
#define REMEASURE_ANSWERS 2u
#define IDLE_USEC USEC_PER_SEC /* after that, what was found out is out of date */
#define RATE_SHORTEST_USEC 1000u
#define RATE_SMOOTHING 4u

void window_init(struct window *window, uint64_t most_bytes, bool adaptive)
{
	*window =
	    (struct window){.adaptive = adaptive, .prompt = true, .most = most_bytes, .size = most_bytes};
	window_reset(window);
}

static uint64_t clamp(const struct window *window, bool prompt, uint64_t size)
{
	uint64_t least = prompt ? WINDOW_BYTES_MIN : WINDOW_BYTES_MIN_BULK;

	if (size < least)
		size = least;
	return size < window->most ? size : window->most;
}

/* What was measured is out of date, or of another connection: begins with little, for a base. */
static void forget(struct window *window)
{
	window->size = clamp(window, window->prompt, WINDOW_BYTES_START);
	window->other_size = clamp(window, !window->prompt, WINDOW_BYTES_START);
	window->starting = true;
	window->delay_count = 0;
	window->remeasuring = REMEASURE_ANSWERS;
	window->base_usec[0] = UINT64_MAX;
	window->base_usec[1] = UINT64_MAX;
	window->epoch_end = MONO_NEVER;
	window->rate = 0;
	window->rate_since = MONO_NEVER;
}

void window_reset(struct window *window)
{
	if (!window->adaptive)
		return;
	forget(window);
	window->full = false;
	window->asked = false;
	window->ask_next = (struct mono){0};
}

void window_set_most(struct window *window, uint64_t most_bytes, bool adaptive)
{
	bool was_adaptive = window->adaptive;

	window->most = most_bytes;
	window->adaptive = adaptive;
	if (!adaptive) {
		window->size = most_bytes;
		window->other_size = most_bytes;
		window->remeasuring = 0;
	} else if (!was_adaptive) {
		window_reset(window);
	} else {
		window->size = clamp(window, window->prompt, window->size);
		window->other_size = clamp(window, !window->prompt, window->other_size);
	}
}

/* ------------------------------------------------------------------ what was measured */

static uint64_t base_usec(const struct window *window)
{
	return window->base_usec[0] < window->base_usec[1] ? window->base_usec[0] : window->base_usec[1];
}

static uint64_t target_usec(const struct window *window)
{
	uint64_t part = base_usec(window) / TARGET_PART_OF_BASE;
	uint64_t target = window->prompt ? TARGET_USEC : TARGET_BULK_USEC;

	return part > target ? part : target;
}

static void note_delay(struct window *window, uint64_t delay_usec)
{
	if (delay_usec < window->base_usec[0])
		window->base_usec[0] = delay_usec;
	window->delays_usec[window->delay_count++ % WINDOW_FILTER] = delay_usec;
}

/* By the middle one of the last three. */
static uint64_t excess_usec(const struct window *window)
{
	const uint64_t *d = window->delays_usec;
	uint64_t low = d[0] < d[1] ? d[0] : d[1], high = d[0] < d[1] ? d[1] : d[0];
	uint64_t middle = d[2] < low ? low : d[2] < high ? d[2] : high;

	return middle > base_usec(window) ? middle - base_usec(window) : 0;
}

static void note_rate(struct window *window, struct mono now, uint64_t confirmed_bytes)
{
	uint64_t usec, rate;

	if (mono_is_never(window->rate_since)) {
		window->rate_since = now;
		window->rate_from = confirmed_bytes;
		return;
	}
	usec = mono_since_usec(now, window->rate_since);
	if (usec < RATE_SHORTEST_USEC)
		return;
	rate = (confirmed_bytes - window->rate_from) * USEC_PER_SEC / usec;
	if (window->rate == 0)
		window->rate = rate;
	window->rate = (window->rate * (RATE_SMOOTHING - 1) + rate) / RATE_SMOOTHING;
	window->rate_since = now;
	window->rate_from = confirmed_bytes;
}

/* The base is that of the epochs before as well, until this one's was measured with little unconfirmed. */
static void turn_epoch(struct window *window, struct mono now)
{
	if (mono_is_never(window->epoch_end)) {
		window->epoch_end = mono_add_usec(now, EPOCH_USEC);
		return;
	}
	if (mono_before(now, window->epoch_end))
		return;
	window->epoch_end = mono_add_usec(now, EPOCH_USEC);
	window->base_usec[1] = window->base_usec[0];
	window->base_usec[0] = UINT64_MAX;
	window->remeasuring = REMEASURE_ANSWERS;
}

uint64_t window_lane_messages(const struct window *window)
{
	uint64_t base = base_usec(window);

	if (!window->adaptive || !window->prompt)
		return UINT64_MAX;
	return base == UINT64_MAX ? LANE_MESSAGES : LANE_MESSAGES * (1 + base / NEAR_USEC);
}

/* ------------------------------------------------------------------ control */

static void grow(struct window *window, struct mono now)
{
	if (!window->full || mono_before(now, window->grow_next))
		return;
	window->grow_next = mono_add_usec(now, GROW_PAUSE_USEC);
	if (window->starting && base_usec(window) > NEAR_USEC)
		window->size = clamp(window, window->prompt, window->size * 2);
	else
		window->size = clamp(window, window->prompt, window->size + window->size / GROW_PART);
}

static void shrink(struct window *window, uint64_t to_bytes)
{
	window->starting = false;
	window->size = clamp(window, window->prompt, to_bytes);
	/* Its effect is to be seen before the next step. */
	window->delay_count = 0;
}

static void control(struct window *window, struct mono now)
{
	uint64_t excess = excess_usec(window), target = target_usec(window);
	uint64_t queued;

	if (window->delay_count < WINDOW_FILTER)
		return;
	if (excess <= target) {
		grow(window, now);
	} else if (excess > FAR_ABOVE * target) {
		shrink(window, window->size / 2);
	} else if (excess > 2 * target) {
		queued = window->rate * (excess - target) / USEC_PER_SEC;
		if (queued > window->size / 2)
			queued = window->size / 2;
		shrink(window, window->size - queued);
	}
}

static uint64_t patience_usec(const struct window *window)
{
	uint64_t base = base_usec(window);

	return (base == UINT64_MAX ? USEC_PER_SEC : base) + PATIENCE_TARGETS * target_usec(window);
}

void window_set_prompt(struct window *window, bool prompt)
{
	uint64_t size = window->size;

	if (window->prompt == prompt)
		return;
	window->prompt = prompt;
	if (!window->adaptive)
		return;
	window->size = window->other_size;
	window->other_size = size;
	window->delay_count = 0;
}

bool window_turn(struct window *window, struct mono now, uint64_t unconfirmed_bytes)
{
	if (!window->adaptive)
		return false;
	if (window->asked) {
		if (mono_before(now, window->overdue_at))
			return false;
		shrink(window, window->size / 2);
		window->overdue_at = mono_add_usec(now, patience_usec(window));
		return false;
	}
	if (unconfirmed_bytes < ASK_FROM_BYTES || mono_before(now, window->ask_next))
		return false;
	if (mono_since_usec(now, window->ask_next) > IDLE_USEC)
		forget(window);
	return true;
}

void window_asked(struct window *window, struct mono now)
{
	window->asked = true;
	window->asked_at = now;
	window->overdue_at =
	    base_usec(window) == UINT64_MAX ? MONO_NEVER : mono_add_usec(now, patience_usec(window));
}

bool window_answered(struct window *window, struct mono now, uint64_t confirmed_bytes)
{
	uint64_t before = window_bytes(window);

	if (!window->asked)
		return false;
	window->asked = false;
	window->ask_next = mono_add_usec(now, ASK_PAUSE_USEC);
	note_delay(window, mono_since_usec(now, window->asked_at));
	note_rate(window, now, confirmed_bytes);
	if (window->remeasuring > 0) {
		window->remeasuring--;
		window->delay_count = 0;
	} else {
		control(window, now);
		turn_epoch(window, now);
	}
	window->full = false;
	return window_bytes(window) > before;
}

void window_ask_again(struct window *window)
{
	window->asked = false;
}
