/*
 * How many bytes of publishes may be unconfirmed on an upstream: enough that a
 * flood keeps the broker busy, and not so many that a neighbour's message has
 * to queue behind them.
 *
 * How long a confirm takes does not tell the two apart: a durable queue
 * confirms when its disk has synced, in bursts, and that delays nobody else.
 * What hurts the neighbours is the queue in what all lanes share, the socket
 * and the broker's reader (which stops when a queue is slower than what comes).
 * So while much is unconfirmed a question goes out now and then on a lane that
 * nobody uses, and the time to its answer is the delay of just that path.
 *
 * It is controlled as delay-based congestion control does (Vegas, LEDBAT):
 *
 *	base    the least delay of the last seconds; measured anew now and then
 *		with little unconfirmed, so that it is not that of our own queue
 *	excess  the delay beyond base, the middle one of three: a process that
 *		had to wait for a CPU once is no queue
 *	excess below the target, and somebody had to wait: the window grows, but
 *		slowly: a queue that stands still for a moment, as RabbitMQ's do
 *		to collect garbage, makes all wait and the path look idle
 *	excess above it: the window shrinks by what stands in that queue, which
 *		is excess times the rate of confirms. So what a slow disk needs
 *		under way stays under way
 *	excess far above it, or no answer at all: it is halved
 *
 * Between the target and twice the target nothing changes.
 *
 * While somebody waits for single answers the target is low; while all that
 * flows is bulk it is higher, for longer queues cost less CPU time per message.
 * Each of the two has a size of its own, so that the first who comes to a flood
 * does not wait until the window has shrunk.
 *
 * Pure: time comes from outside.
 */
#pragma once

#include "daemon/base/clock.h"

#include <stdbool.h>

#define WINDOW_BYTES_BASE (32u * 1024u) /* while the base is measured */
#define WINDOW_BYTES_MIN (64u * 1024u)
#define WINDOW_BYTES_START (96u * 1024u)
#define WINDOW_BYTES_MIN_BULK (512u * 1024u)
#define WINDOW_FILTER 3u /* delays of which the middle one counts */

struct window {
	bool adaptive;
	uint64_t most;	     /* bytes, as configured */
	uint64_t size;	     /* bytes; most if not adaptive */
	uint64_t other_size; /* what it becomes when prompt changes */
	bool prompt;	     /* somebody waits for single answers */
	bool starting;	     /* it was never too large yet: doubles if the broker is far */
	bool full;	     /* somebody had to wait since the last answer */

	bool asked; /* a question is unanswered */
	struct mono asked_at;
	struct mono overdue_at; /* when its being unanswered counts (again) */
	struct mono ask_next;	/* not before */
	struct mono grow_next;	/* not before */

	struct mono epoch_end;
	uint64_t base_usec[2];	  /* least delay of this epoch and of the one before; UINT64_MAX: none */
	unsigned int remeasuring; /* answers until it ends; little may be unconfirmed meanwhile */
	uint64_t delays_usec[WINDOW_FILTER]; /* the last ones, by turns */
	unsigned int delay_count;

	struct mono rate_since;
	uint64_t rate_from; /* bytes confirmed until then */
	uint64_t rate;	    /* bytes a second, smoothed */
};

/* Of most_bytes; it is never larger. Not adaptive: it is always that. */
void window_init(struct window *window, uint64_t most_bytes, bool adaptive);

/* The same while it runs: what was measured stays. */
void window_set_most(struct window *window, uint64_t most_bytes, bool adaptive);

/* Another connection: forgets what was measured. */
void window_reset(struct window *window);

/* How much may be unconfirmed now. */
static inline uint64_t window_bytes(const struct window *window)
{
	if (window->remeasuring > 0 && window->size > WINDOW_BYTES_BASE)
		return WINDOW_BYTES_BASE;
	return window->size;
}

/*
 * How many publishes may be unconfirmed on one lane. RabbitMQ stops reading the
 * connection, so all lanes, when a channel is some 400 messages behind, without
 * any delay before that could be seen; with fewer under way it never does. What
 * is on its way to a broker far away is not behind yet.
 */
uint64_t window_lane_messages(const struct window *window);

/* A publish had to wait for it. */
static inline void window_was_full(struct window *window)
{
	window->full = true;
}

/* Whether somebody waits for single answers now. */
void window_set_prompt(struct window *window, bool prompt);

/*
 * At the end of a turn with so much unconfirmed. True: a question should go out
 * now; call window_asked() when it has. May shrink the window if an answer is
 * overdue.
 */
bool window_turn(struct window *window, struct mono now, uint64_t unconfirmed_bytes);
void window_asked(struct window *window, struct mono now);

/* The answer came. confirmed_bytes: of all publishes that ended so far. True: there may be more room. */
bool window_answered(struct window *window, struct mono now, uint64_t confirmed_bytes);

/* The answer will never come, because its lane is closed. */
void window_ask_again(struct window *window);
