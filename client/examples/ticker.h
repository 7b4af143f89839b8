/*
 * What the examples loop-*.c have in common, which is all but their loops: at
 * each tick a message is published, and a consumer of the same queue prints it.
 */
#ifndef TICKER_H
#define TICKER_H

#include <muxclient.h>

#define TICK_MSEC 50

struct ticker {
	struct muxc *c;
	struct muxc_channel *channel;
	const char *queue;
	long count;	/* of messages to be published, and printed */
	long published; /* so far */
	long printed;
	int failed;
	/* Makes the loop end: all was printed, or the connection or the channel has ended. */
	void (*stop)(void *loop);
	void *loop;
};

/*
 * The arguments are QUEUE COUNT. Connects, declares, consumes: that waits, so it
 * is done before the loop begins. 0, or the exit code, having said why.
 */
int ticker_init(struct ticker *ticker, int argc, char **argv);

/* Publishes the next message; never waits. To be called by a timer of the loop. */
void ticker_tick(struct ticker *ticker);

/* After the adapter was detached. Returns the exit code. */
int ticker_deinit(struct ticker *ticker);

#endif
