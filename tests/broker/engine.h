/*
 * The inside of the broker, second half: connections, channels, consumers and
 * what they do. The first half, with who owns what, is model.h.
 */
#pragma once

#include "tests/broker/model.h"

/* ---- connections, channels, consumers ---- */

enum conn_state {
	CONN_HEADER, /* waits for the protocol header */
	CONN_START,  /* for start-ok */
	CONN_TUNE,   /* for tune-ok */
	CONN_OPEN,   /* for open */
	CONN_RUNNING,
	CONN_CLOSING, /* we sent close and wait for close-ok */
	CONN_CLOSED
};

struct broker_conn {
	struct broker *broker;
	struct list node; /* in broker.conns */
	uint64_t id;
	void *user;
	enum conn_state state;
	struct buf in;
	struct buf out;
	uint16_t channel_max;
	uint32_t frame_max;
	uint16_t heartbeat_sec;
	bool cap_auth_close;
	bool cap_cancel_notify;
	bool cap_blocked;
	bool blocked; /* not read: it published under an alarm */
	bool stalled; /* too much unsent output for deliveries */
	struct vhost *vhost;
	struct channel **channels; /* by number; owned */
	size_t channel_capacity;
	size_t channel_count;
	struct list exclusive_queues; /* struct queue.in_owner */
	struct timer beat;	      /* sends heartbeats */
	struct timer silence;	      /* the peer is dead, or the handshake too slow */
	struct mono last_input;
	struct mono last_output;
	uint32_t current_method; /* for the errors it may raise */
	struct fault reason;
};

struct consumer {
	struct map_node by_tag;
	struct list order; /* in channel.consumer_order */
	struct list in_queue;
	struct queue *queue;	 /* NULL: cancelled */
	struct channel *channel; /* NULL: cancelled */
	struct name tag;
	bool no_ack;
	bool exclusive;
	bool waiting; /* in queue.waiting, else in queue.active */
	int64_t priority;
	unsigned int prefetch; /* 0: no limit */
	size_t unacked;	       /* cancelled with some of these, it stays until they are settled */
};

enum channel_mode {
	MODE_PLAIN,
	MODE_CONFIRM,
	MODE_TX
};
enum content_state {
	CONTENT_NONE,
	CONTENT_HEADER,
	CONTENT_BODY
};

/* A publish that is being read. */
struct incoming {
	enum content_state state;
	struct name exchange;
	struct name key;
	bool mandatory;
	bool bad;		 /* its properties cannot be decoded */
	bool too_long;		 /* more body came than was announced */
	struct message *message; /* NULL: larger than is allowed */
	uint64_t body_size;
	uint64_t filled;
};

/* Delivered and not settled, by tag: a ring that covers base <= tag < end. */
struct ring {
	struct entry **slots; /* owned; a power of two */
	size_t capacity;
	uint64_t base;
	uint64_t end;
	size_t count;
};

struct channel {
	struct broker_conn *conn;
	uint16_t number;
	bool closing; /* we sent channel.close and wait for close-ok */
	enum channel_mode mode;
	struct incoming incoming;
	struct ring unacked;
	unsigned int prefetch;	      /* of consumers to come */
	unsigned int global_prefetch; /* of all of them together; 0: no limit */
	size_t global_unacked;
	struct map consumers;
	struct list consumer_order;
	struct name last_queue;
	uint64_t publish_tag;	/* of the last publish */
	uint64_t confirmed_tag; /* up to here confirms were sent */
	uint64_t settled_tag;	/* up to here they may be sent */
	struct list owing;
	struct list held; /* struct held_confirm.in_channel */
	bool committing;  /* commit-ok goes out at the end of the feed; nothing may come before that */
	struct list tx_publishes; /* struct tx_publish.node */
	struct list tx_settled;	  /* struct entry.in_tx */
	bool has_reply_consumer;
	struct name reply_tag;
	struct map_node by_reply;
	struct name reply_address;
};

struct held_confirm {
	struct list in_broker;
	struct list in_channel;
	struct channel *channel;
	uint64_t tag;
	bool nack; /* the queue refused it */
};

struct tx_publish {
	struct list node;
	struct message *message;
	bool mandatory;
};

/* connection.c, frames.c, handshake.c */
void bk_conn_touch(struct broker_conn *conn);
void bk_conn_append(struct broker_conn *conn, uint16_t channel, const struct amqc_method *method);
void bk_conn_frame(struct broker_conn *conn, const struct amqc_frame *frame);
/* A frame that is none, at the front of input. */
void bk_conn_bad_frame(struct broker_conn *conn, struct span input, enum amqc_result result);
void bk_conn_protocol(struct broker_conn *conn, struct span header);
void bk_conn_handshake(struct broker_conn *conn, const struct amqc_method *method);
/* Starts the heartbeats. */
void bk_conn_arm(struct broker_conn *conn);
/* Ends the connection at once; no output is added. */
void bk_conn_shut(struct broker_conn *conn, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* connection.close, and then only close-ok is waited for. The text gets the code's name in front. */
void bk_conn_fail(struct broker_conn *conn, uint16_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void bk_conn_fail_plain(struct broker_conn *conn, const struct fault *fault);
/* Empties its channels and deletes its exclusive queues. */
void bk_conn_release(struct broker_conn *conn);
/* The alarm: stop reading it, tell it; and go on with what was kept. */
void bk_conn_block(struct broker_conn *conn);
void bk_conn_resume(struct broker_conn *conn);

/* channel.c */
struct channel *bk_channel_new(struct broker_conn *conn, uint16_t number);
void bk_channel_free(struct channel *channel);
/* Consumers end, unsettled messages go back; the object stays. */
void bk_channel_release(struct channel *channel);
void bk_channel_method(struct channel *channel, const struct amqc_method *method);
void bk_channel_content(struct channel *channel, const struct amqc_frame *frame);
void bk_channel_reply(struct channel *channel, const struct amqc_method *method);
/* An error: closes the channel or the connection, as the code says. Always false. */
bool bk_channel_fail(struct channel *channel, uint16_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* May the queue be used from here (exclusive)? False: the channel was closed. */
struct queue *bk_channel_queue(struct channel *channel, struct span name);
struct queue *bk_channel_queue_or_null(struct channel *channel, struct span name);
bool bk_channel_check_owner(struct channel *channel, const struct queue *queue);
/* 405. Always false. */
bool bk_channel_fail_locked(struct channel *channel, const struct queue *queue);
struct span bk_channel_resolve_queue(struct channel *channel, struct span name);

/* trap.c: true if the method ran into one, and the connection ended. */
bool bk_trap(struct channel *channel, const struct amqc_method *m);
/* The same for a message that is about to be routed, or delivered on the channel. */
bool bk_trap_routes(struct channel *channel, const struct message *message);
bool bk_trap_delivers(struct channel *channel, const struct message *message);

/* confirm.c */
void bk_channel_confirm(struct channel *channel, uint64_t tag, bool nack);
void bk_channel_flush_confirms(struct channel *channel);
/* It says something at the end of the feed. */
void bk_channel_owes(struct channel *channel);
void bk_channel_drop_confirms(struct channel *channel);

/* declare.c: queue.*; bind.c: exchange.*, and binding */
bool bk_exchange_declare(struct channel *channel, const struct amqc_exchange_declare *m);
bool bk_exchange_remove(struct channel *channel, const struct amqc_exchange_delete *m);
bool bk_exchange_bind(struct channel *channel, const struct amqc_exchange_bind *m, bool add);
bool bk_queue_declare(struct channel *channel, const struct amqc_queue_declare *m);
bool bk_queue_bind(struct channel *channel, const struct amqc_queue_bind *m, bool add);
bool bk_queue_remove(struct channel *channel, const struct amqc_queue_delete *m);
bool bk_queue_clear(struct channel *channel, const struct amqc_queue_purge *m);

/* arguments.c */
bool bk_arguments_check(struct channel *channel, struct span queue, struct span arguments);
bool bk_arguments_equivalent(struct channel *channel, const struct queue *queue, struct span arguments);
void bk_arguments_apply(struct queue *queue);
bool bk_argument_equivalent(struct channel *channel, const char *kind, struct span name, const char *key,
			    const struct amqc_field *received, const struct amqc_field *current);
/* True for a field of any integer type. */
bool bk_field_integer(const struct amqc_field *field, int64_t *ret);
const char *bk_field_type_name(char type);

/* publish.c */
bool bk_publish_begin(struct channel *channel, const struct amqc_basic_publish *m);
bool bk_publish_end(struct channel *channel);
void bk_publish_discard(struct channel *channel);
/* Routes and queues. True: some queue refused it. */
bool bk_publish_deliver(struct channel *channel, struct message *message, bool mandatory);
void bk_content_append(struct channel *channel, const struct amqc_method *method, struct message *message);

/* consume.c */
bool bk_basic_consume(struct channel *channel, const struct amqc_basic_consume *m);
bool bk_basic_cancel(struct channel *channel, const struct amqc_basic_cancel *m);
bool bk_basic_get(struct channel *channel, const struct amqc_basic_get *m);
bool bk_basic_qos(struct channel *channel, const struct amqc_basic_qos *m);
bool bk_consumer_may_take(struct consumer *consumer);
void bk_consumer_deliver(struct consumer *consumer, struct entry *entry);
/* Takes it off its queue and channel. */
void bk_consumer_cancel(struct consumer *consumer);
/* Its queue is gone. */
void bk_consumer_lose_queue(struct consumer *consumer);
void bk_consumer_wake(struct consumer *consumer);
void bk_channel_wake_consumers(struct channel *channel);

/* settle.c */
bool bk_basic_settle(struct channel *channel, uint64_t tag, bool multiple, enum settling how);
bool bk_basic_recover(struct channel *channel);
void bk_channel_settle_entry(struct channel *channel, struct entry *entry, enum settling how);
void bk_channel_requeue_all(struct channel *channel);
uint64_t bk_ring_put(struct ring *ring, struct entry *entry);
/* The tag that the next one will get. */
uint64_t bk_ring_next(const struct ring *ring);
struct entry *bk_ring_get(const struct ring *ring, uint64_t tag);
void bk_ring_clear(struct ring *ring, uint64_t tag);
void bk_ring_deinit(struct ring *ring);

/* reply.c: direct reply-to */
bool bk_reply_consume(struct channel *channel, const struct amqc_basic_consume *m);
bool bk_reply_cancel(struct channel *channel, struct span tag);
void bk_reply_release(struct channel *channel);
/* Delivers to the channel of that address, if it is there. */
void bk_reply_deliver(struct broker *broker, struct message *message);
struct channel *bk_reply_find(struct broker *broker, struct span address);
bool bk_reply_is_pseudo_queue(struct span name);

/* tx.c */
bool bk_tx_select(struct channel *channel);
bool bk_tx_commit(struct channel *channel);
bool bk_tx_rollback(struct channel *channel);
void bk_tx_committed(struct channel *channel); /* the end of the feed */
void bk_tx_add_publish(struct channel *channel, struct message *message, bool mandatory);
void bk_tx_add_settle(struct channel *channel, struct entry *entry, enum settling how);
void bk_tx_release(struct channel *channel);

/* names.c */
void bk_name_set(struct name *name, struct span bytes);
/* The same without CR and LF, as RabbitMQ takes names of queues and exchanges. */
void bk_name_set_stripped(struct name *name, struct span bytes);
static inline struct span bk_name_span(const struct name *name)
{
	return span_make(name->bytes, name->len);
}
/* prefix and 22 random letters, from the broker's seed. */
void bk_name_generate(struct broker *broker, const char *prefix, struct name *ret);
/* RabbitMQ takes no short string that is not UTF-8, but in basic.publish. */
bool bk_method_is_utf8(const struct amqc_method *method);
bool bk_method_is_finite(const struct amqc_method *method);
bool bk_table_is_finite(struct span table);

/* broker.c */
void *bk_xcalloc(size_t size);
void *bk_xrealloc(void *block, size_t size);
void bk_broker_settle(struct broker *broker);
struct vhost *bk_broker_vhost(struct broker *broker, struct span name);
void bk_broker_set_timer(struct broker *broker, struct timer *timer, struct mono when);
void bk_map_put(struct map *map, struct map_node *node, struct span key);

#define SPAN_ARG(s) (int)(s).len, (const char *)((s).data ? (s).data : (const uint8_t *)"")
