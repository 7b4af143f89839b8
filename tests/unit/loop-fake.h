/*
 * A connection in loop mode that does what a test wants, instead of
 * libmuxclient: each byte that comes is a call of the handler. And the four
 * loops by one name; LOOP chooses.
 */
#pragma once

#include <muxclient.h>

#include <stdbool.h>

struct muxc {
	int fd;	  /* what muxc_get_fd() gives */
	int peer; /* muxd's end */
	bool loop;
	bool blocked; /* the socket takes nothing: POLLOUT */
	uint64_t until_usec;
	int queued;    /* bytes */
	int processed; /* calls of muxc_process() */
	int handled;   /* bytes that came */
	int ended;     /* what muxc_process() gives at last */
	/* In muxc_process(), before it reads. */
	void (*on_process)(struct muxc *c, void *userdata);
	void (*on_byte)(struct muxc *c, void *userdata);
	void *userdata;
};

struct muxc *fake_new(void);
/* Closes the socket, if there is one, and makes another; of the same number if there was one. */
void fake_connect(struct muxc *c);
void fake_lose(struct muxc *c);
/* muxd sends a byte. */
void fake_send(struct muxc *c);
/* How many bytes muxd has got since. */
int fake_received(struct muxc *c);
uint64_t fake_now_usec(void);

/* ------------------------------------------------------------------ loop-*.c */

struct loop; /* of whatever library */
struct adapter;

struct loop *loop_new(void);
void loop_free(struct loop *loop);
int loop_attach(struct loop *loop, struct muxc *c, struct adapter **ret);
void loop_detach(struct adapter *adapter);
/* What the adapter's header says must be done after the connection was used elsewhere. */
void loop_used(struct adapter *adapter);
/* Calls once, in the loop, after so long; at most one is pending. */
void loop_timer(struct loop *loop, int msec, void (*call)(void *userdata), void *userdata);
/* One turn of the loop, which may sleep. */
void loop_turn(struct loop *loop);
