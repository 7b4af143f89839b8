/*
 * The client's side of opening an AMQP connection (specification, section
 * 2.2.4): protocol header, start, start-ok, tune, tune-ok, open, open-ok.
 *
 * A pure function object: methods in, bytes out. It knows what it wants, takes
 * the lower of both sides' limits, and trusts nothing the broker says.
 */
#pragma once

#include "daemon/amqp/method.h"
#include "daemon/base/fault.h"

enum handshake_state {
	HANDSHAKE_WAIT_START,
	HANDSHAKE_WAIT_TUNE,
	HANDSHAKE_WAIT_OPEN_OK,
	HANDSHAKE_DONE
};

enum handshake_result {
	HANDSHAKE_GOES_ON,
	HANDSHAKE_COMPLETE,
	HANDSHAKE_REFUSED, /* the broker does not want us: credentials, vhost, mechanism */
	HANDSHAKE_BROKEN   /* what came makes no sense here */
};

struct handshake_options {
	const char *sasl; /* "PLAIN" or "EXTERNAL" */
	const char *user;
	const char *password;
	const char *vhost;
	const char *connection_name; /* shown by the broker's management */
	uint16_t channel_max;	     /* our wishes; the broker's lower ones win */
	uint32_t frame_max;
	uint16_t heartbeat_sec;
};

#define HANDSHAKE_BROKER_MAX 96u

struct handshake {
	enum handshake_state state;
	struct handshake_options options; /* the strings outlive the handshake */
	uint16_t channel_max;		  /* negotiated; never 0 */
	uint32_t frame_max;		  /* negotiated; AMQC_FRAME_SIZE_MIN or more */
	uint16_t heartbeat_sec;		  /* negotiated; 0: none */
	bool consumer_cancel_notify;	  /* capabilities that the broker told */
	bool basic_nack;
	bool publisher_confirms;
	char broker[HANDSHAKE_BROKER_MAX]; /* "RabbitMQ 3.10.8", printable */
};

/* Begins, and appends the protocol header. */
void handshake_begin(struct handshake *handshake, const struct handshake_options *options, struct buf *out);

/* A method that came on channel 0. With REFUSED and BROKEN, *ret_fault says why. */
enum handshake_result handshake_method(struct handshake *handshake, const struct amqc_method *method,
				       struct buf *out, struct fault *ret_fault);

/* Where it stands, for an error's text: "before connection.start", ... */
const char *handshake_state_text(enum handshake_state state);
