/*
 * A connection whose allocations fail, and what must hold then:
 *
 *  - a call that fails gives -ENOMEM, which its error object also says, and
 *    leaves its outputs alone;
 *  - the connection goes on, or has ended with -ENOMEM: then every handler that
 *    the contract promises is called all the same, once;
 *  - no outcome is told that was not the one muxd gave, but as unknown;
 *  - everything can be freed, and nothing is left.
 *
 * A scenario is one function that does something with w->c and w->channel. It
 * is run with the first allocation failing, then the second, and so on until it
 * comes through without any; then the same with all that come behind failing
 * too; in loop mode and with threads. Each call of the library goes through
 * can() or could(), each wait for a handler through await().
 */
#pragma once

#include "tests/unit/failing.h"
#include "tests/unit/oom-muxd.h"

#define TOLD_MAX 64 /* publishes of w->channel in a scenario */

struct world {
	struct fake fake;
	struct oom_muxd muxd;
	bool loop;
	bool reconnects;
	struct muxc *c;
	struct muxc_channel *channel;
	struct muxc_error error; /* given to calls */
	enum failing_what what;
	uint64_t published; /* on w->channel, as far as it succeeded */
	int expected_end;   /* an errno the connection may end with, beside -ENOMEM */

	/* Under lock. */
	pthread_mutex_t lock;
	pthread_cond_t cond;
	int upstreams;
	int going_away;
	int closed;
	int channel_closed;
	int destroyed;
	int messages;
	int returned;
	int cancelled;
	int interrupted;
	int lost;
	int back;
	int told_count;
	uint8_t told[TOLD_MAX + 1]; /* kind of each outcome that was told */
};

struct scenario {
	const char *name;
	void (*run)(struct world *w);
	bool unconnected; /* begins with w->c NULL: connects itself */
	bool reconnects;  /* else with MUXC_NO_RECONNECT */
};

/*
 * What a call gave: true when it succeeded. A failure must be one of memory (or
 * of the system, if that is what fails), and the connection's own if it ended.
 */
bool can(struct world *w, int r);
/* The same for a call that is to fail with `expected` if memory does not. */
bool could(struct world *w, int r, int expected);
/* Whether the connection goes on. */
bool alive(struct world *w);
/* Lets the library work until *flag is at least `value`; false: the connection has ended before. */
bool await(struct world *w, const int *flag, int value);
/* Nothing has failed so far, so everything must be as muxd said. */
bool unhurt(struct world *w);

int world_connect(struct world *w);
/* Publishes on w->channel; the number, or 0. */
uint64_t world_publish(struct world *w, const char *key, const void *body, size_t len);
void on_world_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata);
void on_world_cancelled(struct muxc_channel *channel, uint32_t consumer, const char *text, void *userdata);
void on_world_interrupted(struct muxc_channel *channel, uint32_t consumer, const char *text, void *userdata);
/* Handlers say what happened to the world that is their userdata. */
void note(struct world *w, int *flag);

/* All of it for one scenario. Returns how many failures there were. */
unsigned long scenario_run(const struct scenario *scenario, bool loop, enum failing_what what, bool all_from);
