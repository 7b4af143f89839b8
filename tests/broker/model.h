/*
 * The inside of the broker: its objects, and the functions of messages,
 * exchanges and queues. Who owns what:
 *
 *	broker -> vhosts -> exchanges, queues        by name, in a map
 *	broker -> connections -> channels -> consumers
 *	queue -> entries that are ready              a message in a queue is an entry
 *	channel -> entries that were delivered       in its ring of unacked tags
 *	binding: owned by its source exchange, and gone with either end
 *	message: counted references, as it never changes
 *
 * An error deep in a handler empties its channel or connection at once, but
 * frees neither: the objects go in frames.c, behind the handler, or when the
 * owner frees the connection. Handlers only mark queues; these deliver at the
 * end of the frame (bk_broker_settle).
 *
 * Walks go over lists in order of creation, never over the buckets of a map,
 * so that a run depends on nothing but its input.
 */
#pragma once

#include "daemon/amqp/content.h"
#include "daemon/amqp/reply.h"
#include "daemon/base/fault.h"
#include "daemon/base/list.h"
#include "daemon/base/map.h"
#include "daemon/base/timerq.h"
#include "tests/broker/broker.h"

#define NAME_MAX_BYTES 255u
#define MESSAGE_MAX_BYTES 134217728u /* RabbitMQ's max_message_size */
#define OUTPUT_HIGH_BYTES 1048576u   /* a connection with more unsent output gets no deliveries */
#define OUTPUT_LOW_BYTES 262144u
#define REPLY_TO "amq.rabbitmq.reply-to"

/* A name of the protocol, kept. */
struct name {
	uint8_t len;
	uint8_t bytes[NAME_MAX_BYTES];
};

struct vhost {
	struct broker *broker;
	struct list node; /* in broker.vhosts */
	struct name name;
	struct map exchanges; /* struct exchange.by_name */
	struct list exchange_order;
	struct map queues; /* struct queue.by_name */
	struct list queue_order;
};

struct broker {
	struct broker_options options;
	struct name user;
	struct name password;
	struct list vhosts;
	struct list conns;   /* struct broker_conn.node, oldest first */
	struct list to_pump; /* struct queue.to_pump: may have something to deliver */
	struct list owing;   /* struct channel.owing: confirms to send at the end of the feed */
	struct list held;    /* struct held_confirm.in_broker */
	size_t held_count;
	struct map replies; /* struct channel.by_reply: addresses of direct replies */
	struct timerq timers;
	struct mono now;
	uint64_t random;
	uint64_t conn_ids;
	uint64_t route_serial;	/* marks what a message has been to already */
	struct queue **targets; /* where a message goes; scratch, owned */
	size_t target_count;
	size_t target_capacity;
	bool blocked;
	bool stopping; /* nothing is delivered any more */
	struct name block_reason;
};

/* ---- messages ---- */

struct message {
	unsigned int refs;
	uint8_t exchange_len;
	uint8_t key_len;
	bool persistent;
	bool has_ttl;
	uint64_t ttl_usec;
	size_t header_len; /* the payload of its header frame */
	size_t body_len;
	uint8_t bytes[]; /* exchange, routing key, header, body */
};

/* A message with room for its body, which is filled in later. One reference is the caller's. */
struct message *bk_message_new(struct span exchange, struct span key, struct span header, size_t body_len);
struct message *bk_message_ref(struct message *message);
void bk_message_unref(struct message *message);

static inline struct span bk_message_exchange(const struct message *m)
{
	return span_make(m->bytes, m->exchange_len);
}

static inline struct span bk_message_key(const struct message *m)
{
	return span_make(m->bytes + m->exchange_len, m->key_len);
}

static inline struct span bk_message_header(const struct message *m)
{
	return span_make(m->bytes + m->exchange_len + m->key_len, m->header_len);
}

static inline uint8_t *bk_message_body_bytes(struct message *m)
{
	return m->bytes + m->exchange_len + m->key_len + m->header_len;
}

static inline struct span bk_message_body(struct message *m)
{
	return span_make(bk_message_body_bytes(m), m->body_len);
}

/* What was settled in a transaction that is not committed. */
enum settling {
	SETTLING_NOT,
	SETTLING_ACK,
	SETTLING_REJECT,
	SETTLING_REQUEUE
};

/* A message in a queue, or delivered from it and not settled yet. */
struct entry {
	struct list node;  /* in queue.ready or queue.taken */
	struct list in_tx; /* in channel.tx_settled */
	struct message *message;
	struct queue *queue;	   /* NULL: it was deleted */
	struct consumer *consumer; /* who got it; NULL: basic.get */
	uint64_t place;		   /* its number in the queue: requeueing restores it */
	uint64_t tag;
	struct mono expires;
	bool redelivered;
	enum settling settling;
};

/* ---- exchanges ---- */

enum exchange_type {
	EXCHANGE_DIRECT,
	EXCHANGE_FANOUT,
	EXCHANGE_TOPIC,
	EXCHANGE_HEADERS
};

struct exchange {
	struct map_node by_name;
	struct list order; /* in vhost.exchange_order */
	struct vhost *vhost;
	struct name name;
	enum exchange_type type;
	bool durable;
	bool auto_delete;
	bool internal;
	struct name alternate;
	struct list bindings;	  /* struct binding.in_source, those from here */
	struct list bound_to;	  /* struct binding.in_destination, those to here */
	struct map keys;	  /* direct: struct bucket.by_key */
	struct topic_node *topic; /* topic: the root of its trie */
	uint64_t route_mark;
};

/* The bindings of one key (direct) or pattern (topic). */
struct bucket {
	struct map_node by_key;
	struct name key;
	struct list bindings; /* struct binding.in_bucket */
};

struct binding {
	struct exchange *source;
	struct queue *queue; /* the destination is one of these two */
	struct exchange *exchange;
	struct list in_source;
	struct list in_destination;
	struct list in_bucket;
	struct bucket *bucket; /* direct */
	struct name key;
	struct buf arguments; /* a table */
};

struct binding_spec {
	struct exchange *source;
	struct queue *queue;
	struct exchange *exchange;
	struct span key;
	struct span arguments;
};

struct exchange *bk_exchange_find(struct vhost *vhost, struct span name);
struct exchange *bk_exchange_new(struct vhost *vhost, struct span name, enum exchange_type type);
bool bk_exchange_type_parse(struct span text, enum exchange_type *ret);
const char *bk_exchange_type_name(enum exchange_type type);
/* Deletes it with its bindings; exchanges that only lived for these go too. */
void bk_exchange_delete(struct exchange *exchange);
/* Frees everything of a vhost. */
void bk_exchange_free_all(struct vhost *vhost);

void bk_binding_add(const struct binding_spec *spec);
void bk_binding_remove(const struct binding_spec *spec);
void bk_binding_delete(struct binding *binding);

/* Fills broker->targets with the queues the message goes to, each once, from the first one through. */
void bk_exchange_route(struct exchange *exchange, const struct message *message);
/* The default exchange: the queue of that name. */
void bk_exchange_route_default(struct vhost *vhost, const struct message *message);

/* ---- topic tries (topic.c) and header matching (headers.c) ---- */

typedef void (*topic_match_fn)(struct binding *binding, void *context);

struct topic_node *bk_topic_new(void);
void bk_topic_free(struct topic_node *root);
void bk_topic_add(struct topic_node *root, struct binding *binding);
/* Before the binding goes. */
void bk_topic_remove(struct topic_node *root, struct binding *binding);
void bk_topic_match(struct topic_node *root, struct span key, topic_match_fn match, void *context);

bool bk_headers_match(struct span arguments, struct span headers);

/* ---- queues ---- */

enum queue_kind {
	QUEUE_CLASSIC,
	QUEUE_QUORUM
};
enum queue_overflow {
	OVERFLOW_DROP_HEAD,
	OVERFLOW_REJECT
};

struct queue {
	struct map_node by_name;
	struct list order; /* in vhost.queue_order */
	struct vhost *vhost;
	struct name name;
	enum queue_kind kind;
	bool durable;
	bool auto_delete;
	struct broker_conn *owner; /* not NULL: exclusive */
	struct list in_owner;
	struct buf arguments; /* as declared */
	struct list ready;    /* struct entry.node, by place */
	struct list taken;    /* struct entry.node, delivered and not settled */
	size_t ready_count;
	size_t ready_bytes;
	size_t taken_count;
	uint64_t places;
	struct list active;  /* struct consumer.in_queue, the next to be served first */
	struct list waiting; /* those that can take no more for now */
	unsigned int consumer_count;
	bool has_exclusive_consumer;
	struct list bindings; /* struct binding.in_destination */
	struct list to_pump;
	struct timer expiry;
	bool has_ttl;
	bool may_expire; /* some entry has a time to live */
	uint64_t ttl_usec;
	uint64_t expires_usec; /* 0: never */
	uint64_t max_length;   /* UINT64_MAX: none */
	uint64_t max_bytes;
	enum queue_overflow overflow;
	uint64_t route_mark;
};

struct queue *bk_queue_find(struct vhost *vhost, struct span name);
struct queue *bk_queue_new(struct vhost *vhost, struct span name, struct span arguments);
/* Its consumers are told, its messages dropped. */
void bk_queue_delete(struct queue *queue);
/* False: it is full and rejects. Takes a reference of its own. */
bool bk_queue_push(struct queue *queue, struct message *message);
/* The next message off the queue, now the caller's, or NULL. */
struct entry *bk_queue_pop(struct queue *queue);
/* Marks the entry as handed out; the channel keeps it. */
void bk_queue_hold(struct queue *queue, struct entry *entry);
/* Drops an entry that was popped or held. */
void bk_entry_drop(struct entry *entry);
/* Puts an entry that was held back to its place; drops it if its queue is gone. */
void bk_entry_requeue(struct entry *entry);
size_t bk_queue_purge(struct queue *queue);
/* Drops what is too old. */
void bk_queue_expire(struct queue *queue);
/* Has it look for consumers at the end of the frame. */
void bk_queue_mark(struct queue *queue);
void bk_queue_pump(struct queue *queue);
/* Has been used: x-expires starts anew. */
void bk_queue_touch(struct queue *queue);
void bk_queue_add_consumer(struct queue *queue, struct consumer *consumer);
/* An auto-delete queue goes with its last consumer. */
void bk_queue_remove_consumer(struct queue *queue, struct consumer *consumer);
