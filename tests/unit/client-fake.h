/*
 * A muxd for the tests of libmuxclient: listens on a Unix socket, accepts one
 * session, and answers in a thread of its own. What a test wants to be special
 * it does in on_frame; everything else is answered as a friendly muxd would.
 *
 * Every wait has a deadline and fails the test.
 */
#pragma once

#include "client/muxclient.h"
#include "proto/buf.h"
#include "proto/muxd.pb-c.h"

#include <check.h>
#include <pthread.h>
#include <stdbool.h>

#define FAKE_OPS 80
#define FAKE_CHANNELS 64
#define FAKE_WAIT_USEC 10000000u

struct fake;

/* In the fake's thread. True: handled, nothing more is done with the frame. */
typedef bool (*fake_handler)(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload);

struct fake {
	char directory[64];
	char path[96];
	int listen_fd;
	int fd; /* the session, -1 before it is there */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t cond;

	/* Set before fake_start(). */
	fake_handler on_frame;
	void *context;
	bool no_welcome;
	bool auto_confirm;
	uint64_t welcome_messages; /* publish credit of Welcome */
	uint64_t welcome_bytes;
	uint32_t channels_max;
	uint32_t requests_max;
	bool comes_back; /* accepts another session when one has ended */

	/* The fake's thread. */
	uint32_t generation[FAKE_CHANNELS]; /* by channel number */
	uint64_t published[FAKE_CHANNELS];  /* of the generation */

	/* Under lock. */
	unsigned int count[FAKE_OPS]; /* frames by operation */
	Muxd__V1__ClientFrame *last[FAKE_OPS];
	uint64_t published_bytes; /* header and payload, as credit counts */
	bool ended;		  /* the client has closed */
	bool stopping;
	unsigned int sessions; /* that were accepted */
};

void fake_init(struct fake *fake);
void fake_start(struct fake *fake);
/* Closes, joins, frees. */
void fake_stop(struct fake *fake);
/* Closes the session as a muxd that dies; what the client has sent before is read. */
void fake_hang_up(struct fake *fake);

/* Waits until `count` frames of the operation have come. */
void fake_expect(struct fake *fake, int op, unsigned int count);
unsigned int fake_sessions(struct fake *fake);
unsigned int fake_count(struct fake *fake, int op);
/* Waits until the client has closed. */
void fake_expect_end(struct fake *fake);

void fake_send(struct fake *fake, Muxd__V1__ServerFrame *frame, struct span payload);
/* Whatever bytes. */
void fake_send_raw(struct fake *fake, const void *data, size_t len);
void fake_welcome(struct fake *fake);
void fake_done(struct fake *fake, const Muxd__V1__ClientFrame *request);
/* name NULL: as it was asked for; resume NULL: none. */
void fake_queue_declared(struct fake *fake, const Muxd__V1__ClientFrame *request, const char *name,
			 const char *resume);
void fake_credit(struct fake *fake, uint64_t messages, uint64_t bytes);
/* It asks its clients to leave within this time. */
void fake_go_away(struct fake *fake, uint32_t deadline_ms);
void fake_outcome(struct fake *fake, uint32_t channel, int kind, uint64_t first, uint64_t last);
/* request 0: an event; channel 0: of the session. */
void fake_error(struct fake *fake, uint32_t request, uint32_t channel, int scope, uint32_t code);
void fake_error_retryable(struct fake *fake, uint32_t request, uint32_t channel, int scope, uint32_t code);
void fake_deliver(struct fake *fake, uint32_t channel, uint32_t consumer, uint64_t tag, const char *body);

/* A connection in the mode of the loop test: 0 threaded, 1 loop. */
struct muxc *fake_connect(struct fake *fake, int mode);
struct muxc *fake_connect_with(struct fake *fake, int mode, struct muxc_options *options);

/*
 * Lets the library work until *flag is at least `value`: waits in threaded
 * mode, processes in loop mode. Flags are changed by handlers.
 */
void drive_until(struct muxc *c, int mode, const int *flag, int value);
int flag_get(const int *flag);
void flag_add(int *flag, int value);

uint64_t clock_usec(void); /* CLOCK_MONOTONIC */

/* How many descriptors the process has open. */
int open_descriptors(void);

/* A frame to be filled in: an answer to request (0: an event), of a channel (0: none). */
void fake_frame(struct fake *fake, Muxd__V1__ServerFrame *frame, uint32_t request, uint32_t channel);
