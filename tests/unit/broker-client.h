/*
 * A client for the tests of the broker: it makes frames with the codec, feeds
 * them to the engine and takes the answers apart. Whatever is not as expected
 * fails the test.
 */
#pragma once

#include "daemon/amqp/content.h"
#include "daemon/amqp/reply.h"
#include "tests/broker/broker.h"

#include <check.h>
#include <stdlib.h>

#define S(literal) SPAN_LITERAL(literal)

struct world {
	struct broker *broker;
	struct mono now;
};

struct client {
	struct world *world;
	struct broker_conn *conn;
	struct buf in;		   /* output of the broker, not yet looked at */
	size_t last_size;	   /* of the frame that was looked at last */
	struct amqc_method method; /* what expect() found; views of in */
	struct span header;	   /* of the last content: the payload of its header frame */
	struct buf body;
};

struct world world_new(const struct broker_options *options);
void world_end(struct world *world);
/* Lets time pass. */
void world_wait(struct world *world, uint64_t usec);

/* Connects and says nothing yet. */
struct client client_new(struct world *world);
/* Connected to vhost "/", with channel 1 open and all capabilities. */
struct client client_open(struct world *world);
/* The whole handshake; no channel. */
void client_login(struct client *client, struct span vhost, uint16_t heartbeat_sec, bool capable);
void client_end(struct client *client);

void client_feed(struct client *client, struct span bytes);
void client_send(struct client *client, uint16_t channel, const struct amqc_method *method);
/* A publish with its content; properties may be NULL. */
void client_publish(struct client *client, uint16_t channel, const struct amqc_basic_publish *publish,
		    const struct amqc_properties *properties, struct span body);
/* The same to the default exchange, without properties. */
void client_publish_to(struct client *client, const char *queue, const char *body);

/* The next frame must be this method on that channel. */
const struct amqc_method *client_expect(struct client *client, uint16_t channel, enum amqc_method_id id);
/* The same with its content, which must have this body. */
const struct amqc_method *client_expect_content(struct client *client, uint16_t channel,
						enum amqc_method_id id, const char *body);
/* A delivery on channel 1 with this tag and body. */
void client_expect_delivery(struct client *client, uint64_t tag, const char *body, bool redelivered);
void client_expect_heartbeat(struct client *client);
void client_expect_nothing(struct client *client);
void client_expect_channel_close(struct client *client, uint16_t channel, uint16_t code, const char *text);
void client_expect_connection_close(struct client *client, uint16_t code, const char *text);
/* The socket is closed with nothing more said. */
void client_expect_end(struct client *client);

void client_declare(struct client *client, const char *queue);
void client_bind(struct client *client, const char *queue, const char *exchange, const char *key,
		 struct span arguments);
void client_consume(struct client *client, const char *queue, const char *tag, bool no_ack);
/* Messages that wait in a queue of vhost "/". */
size_t ready(struct world *world, const char *queue);
size_t unacked(struct world *world, const char *queue);

#define SEND(client, channel, ID, member, ...) \
	client_send(client, channel, &(struct amqc_method){.id = AMQC_##ID, .member = {__VA_ARGS__}})
#define CALL(client, channel, ID, member, ...) \
	(SEND(client, channel, ID, member, __VA_ARGS__), client_expect(client, channel, AMQC_##ID##_OK))

/* A table with one field. */
struct span table_integer(struct buf *buf, const char *name, int32_t value);
struct span table_text(struct buf *buf, const char *name, const char *value);

/* Runs the tests of a file, each between setup and teardown if there are. The exit status for main. */
int run_tests(const char *suite, const TTest *const *tests, size_t count, SFun setup, SFun teardown);
#define RUN_TESTS(suite, tests, setup, teardown) \
	run_tests(suite, tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)
