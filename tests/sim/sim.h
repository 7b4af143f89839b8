/*
 * A simulation of the multiplexer: the real mux (daemon/mux/) between clients
 * made here and the broker engine of tests/broker/, under a virtual clock. A
 * seed decides everything: options, operations, and faults.
 *
 *	client.c, ops.c --> mux --> link.c, bytes --> broker engine
 *	events.c, handover.c <-- mux <-- link.c, bytes <-- broker engine
 *	                            wire*.c look at the bytes
 *
 * What each side knows is kept apart, and the invariants compare:
 *
 *	struct message    a publish: what its client was told of it (events.c), and what the
 *	                  broker was told and said (wire.c)
 *	struct copy       a message in a queue: delivered on the wire, handed to a client,
 *	                  settled by the client, settled on the wire
 *	struct call       a request, answered once
 *
 * A run has three parts: storm (operations and faults), calm (no more faults;
 * everything must end), audit (all sessions gone, what is left in the queues).
 * The first violation ends the run.
 *
 * All structs of a run live in its arena and end with it; nothing is freed
 * singly, so that the history is complete.
 */
#pragma once

#include "daemon/amqp/method.h"
#include "daemon/amqp/reply.h"
#include "daemon/mux/mux.h"
#include "tests/broker/broker.h"
#include "tests/sim/cover.h"
#include "tests/unit/random.h"

#define CLIENTS_MAX 4u
#define CHANNELS_MAX 4u	  /* numbers that a client uses in the storm */
#define QUEUES_MAX 512u	  /* names ever used in a run */
#define BINDINGS_MAX 512u /* bind requests ever made */
#define EXCHANGES 4u
#define LANES_MAX 32u	   /* channel_max of the broker is lower */
#define PUBLISH_HEADER 40u /* what a publish costs beside its body, as if there were a header */
#define BODY_MAX 102400u

/* ------------------------------------------------------------------ history */

/* A queue's name, and what is known of its life. */
struct queue {
	char name[80];
	bool shared;	     /* durable, everybody's; others come and go with sessions and connections */
	bool wiped;	     /* it was purged or deleted, at some time */
	uint64_t deleted;    /* the last event that may have deleted it */
	uint64_t deleted_ok; /* of a delete that was answered, when nobody declared it */
	uint64_t declared;   /* when the last declare ended; NEVER_ENDS: perhaps it has not */
};
#define NEVER_ENDS UINT64_MAX

struct exchange {
	const char *name;
	bool durable;
	uint64_t deleted; /* as of a queue */
};

/* A bind request, or the unbind of one. */
struct binding {
	struct exchange *exchange;
	char key[80];
	struct queue *queue;
	uint64_t unbound; /* the last event that may have undone it */
};

enum decision {
	DECIDED_NOTHING,
	DECIDED_ACK,
	DECIDED_REQUEUE,
	DECIDED_DISCARD
};

/* A message handed to a client. */
struct handout {
	struct handout *next; /* in its channel */
	struct chan *chan;
	struct copy *copy;
	uint64_t tag; /* 0: needs no ack */
	enum decision decision;
	uint64_t epoch;
	bool stale;	/* the broker closed its lane */
	bool taken;	/* the socket took it */
	bool seen;	/* the client has read it */
	char *reply_to; /* an address to answer to; or NULL */
};

/* A message in a queue. */
struct copy {
	struct copy *next; /* of the same message */
	struct message *message;
	const struct queue *queue;
	bool marked;		 /* as sent again: a copy of its own */
	struct handout *handout; /* of the last delivery on the wire; NULL: not handed over yet */
	struct wire_lane *lane;	 /* where that was */
	uint64_t lane_tag;
	const struct wire_consumer *consumer; /* who got it there */
	uint64_t epoch;			      /* of that delivery; 0: never delivered */
	uint64_t delivered;		      /* the event of that */
	bool out;			      /* delivered on the wire, not settled there */
	bool acked;			      /* told on the wire, in that epoch */
	bool uncertain;	  /* settled on the wire, but perhaps too late: the broker closed the lane */
	bool dropped;	  /* discarded on the wire, or given without acks: it cannot come back */
	bool redelivered; /* what the wire said */
	bool audited;	  /* seen in the end */
};

struct message {
	uint32_t index;
	struct chan *chan;
	uint64_t number;
	uint64_t accepted; /* the event of its publish */
	uint64_t cost;
	uint32_t size;
	bool mandatory, persistent;
	char exchange[16];
	char key[80];
	struct mono born, deadline;
	bool expires;
	uint32_t expiration_msec; /* as it was published, if it expires */
	bool resent;		  /* its client says that it sent it in another session */
	uint32_t age_msec;	  /* so long before */
	uint64_t epoch;		  /* when it was accepted */
	struct copy *copies;
	bool asks;		       /* it has the name of the pseudo queue as reply-to */
	const struct message *answers; /* the one that had the address */
	/* what the client was told */
	bool ended;
	enum outcome_kind kind;
	bool returned;
	/* the wire */
	bool sent; /* all of it, at least once */
	bool wire_returned, wire_acked, wire_nacked;
	unsigned int times_sent, times_marked;
	bool under_way;	     /* sent, and neither answered nor given back with its lane */
	bool in_doubt;	     /* the broker may have it: all of it was written, and there was no answer */
	uint32_t wire_bytes; /* what it takes of the window */
	uint64_t sent_epoch; /* of the last time */
};

struct call {
	struct call *next; /* in its session */
	uint32_t id;
	enum amqc_method_id method;
	struct chan *chan;    /* NULL: a channel that was never opened */
	struct mono asked;    /* when */
	struct mono latest;   /* its deadline; never for channel.close */
	const char *name;     /* queue; a declare without name learns it from the reply */
	struct call *name_of; /* the declare whose queue is meant by an empty name */
	struct consumer_record *consumer;
	struct queue *queue;	   /* of declare, delete and bind; a declare without name learns it */
	struct exchange *exchange; /* of declare and delete */
	struct binding *binding;
	uint64_t event; /* when it was asked */
	uint64_t done;	/* when it was answered or refused */
	bool no_ack, passive, auto_delete;
	bool in_doubt;	      /* it may be done in the end, or not */
	bool ended, answered; /* ended in whatever way; by its reply */
};

/* A consumer of a client. */
struct consumer_record {
	struct consumer_record *next; /* in its channel */
	uint32_t number;
	struct call *consume;
	bool no_ack;
	bool exclusive;
	uint32_t prefetch; /* as its client may expect; the most, if it did not ask for it */
	bool prefetch_asked;
	bool ended; /* cancelled by either side, or refused, as mux said */
	uint64_t credit_messages, credit_bytes;
	uint64_t used_messages, used_bytes;
	uint64_t seen;	      /* read by the client */
	uint8_t look;	      /* the state that look.c saw last */
	uint64_t began;	      /* the epoch in which it was answered */
	uint64_t interrupted; /* the last one whose end it was told of */
	uint64_t sent_then;   /* chan->sent_count at that */
};

/* One generation of a channel. */
struct chan {
	struct chan *next; /* in its session */
	struct life *life;
	struct mux_channel_id id;
	struct message **messages; /* by number - 1 */
	size_t message_count, message_capacity;
	size_t open_messages; /* without an outcome */
	size_t first_open;    /* place of the first of them, or before it */
	bool early_unknown;   /* some ended unknown before their deadline: the channel must end */
	struct handout *handouts, **handouts_end;
	struct consumer_record *consumers;
	uint32_t prefetch; /* of the consumers to come; 0: mux's default */
	bool bounded;	   /* there was a limit for all of them together */
	struct call *last_declare;
	uint64_t last_tag;
	uint64_t opened_epoch, opened_closes; /* epoch and lanes_closed when it was opened */
	uint64_t last_sent;		      /* number of the last publish seen on the wire, in sent_epoch */
	uint64_t sent_epoch;
	uint64_t sent_count; /* publishes seen on the wire, each time */
	bool close_sent;     /* the client asked to close it */
	bool close_done;
	bool failed;	  /* mux said so */
	bool failed_seen; /* and the client has read it */
	bool trapped;	  /* it ran into one of the broker's traps */
	bool pure;	  /* nothing was done on it that could fail: only publishes to the default exchange */
	uint8_t look;	  /* the state that look.c saw last */
};

/* What waits in the socket for the client to read it. */
struct event {
	struct event *next;
	uint64_t position; /* of the session's output, behind it */
	struct handout *handout;
	struct chan *failed;
	struct call *ended;
	struct consumer_record *consumer; /* of the handout, or cancelled */
	uint64_t credit_messages, credit_bytes;
};

/* Whether a party waits with nothing under way, and what others have begun to send since. */
struct share {
	bool waits;
	struct mono since;
	uint64_t passed_bytes;
};

/* A session. */
struct life {
	struct life *next; /* of the same client, older */
	struct client *client;
	struct session *session; /* NULL when it is over */
	uint32_t serial;
	bool ended;	    /* by an error, as mux said */
	bool breached;	    /* on purpose, so that it ends */
	unsigned int traps; /* that it ran into */
	uint64_t position;  /* bytes written to its socket, as a front would */
	struct event *events, **events_end;
	struct event *taken; /* the first one that the socket has not taken, or NULL */
	struct call *calls;
	struct chan *chans;
	uint32_t calls_open;
	bool own; /* it has declared a queue of its own */
	uint32_t next_call;
	uint64_t granted_messages, granted_bytes; /* as mux said */
	uint64_t known_messages, known_bytes;	  /* as the client has read */
	uint64_t spent_messages, spent_bytes;
	uint64_t get_credit, get_used;
	unsigned int gets_over;		     /* got when that credit was used up: they were under way */
	struct chan *open[CHANNELS_MAX + 1]; /* the latest generation of each number */
	uint32_t generation[CHANNELS_MAX + 1];
	struct share share;
};

struct client {
	struct world *world;
	unsigned int index;
	struct life *life;	/* the latest; its session may be over */
	struct mono deaf_until; /* it does not read */
};

/* ------------------------------------------------------------------ link and wire */

/* One direction of the connection. */
struct pipe {
	struct buf bytes;
	struct mono next; /* when some of them arrive */
};

#define ZOMBIES_MAX 4u

/* A connection that is gone, of which the broker does not know. */
struct zombie {
	struct broker_conn *conn; /* NULL: none */
	struct mono until;
};

/* Some of mux's output that the socket has not taken, and when it was written. */
struct batch {
	struct batch *next;
	size_t bytes;
	struct mono made;
};

/* The connection between mux and the broker. */
struct link {
	struct broker_conn *conn; /* NULL: none */
	struct pipe up, down;	  /* to and from the broker */
	struct buf in;		  /* arrived at mux, and not consumed */
	struct batch *batches, **batches_end;
	size_t batch_bytes; /* of all of them */
	bool dialling;
	size_t endpoint;
	struct mono dial_done;
	struct mono down_until[2]; /* the endpoints: no dial succeeds */
	struct mono frozen_until;  /* nothing moves */
	struct mono buried;	   /* when the broker learned last that one is gone */
	struct mono heard;	   /* when mux got something last */
	bool close_expected;	   /* the broker was told to close */
	bool dead;		   /* the broker has restarted: nothing comes any more */
	struct zombie zombies[ZOMBIES_MAX];
};

/* A channel of the scout's. */
struct scout_lane {
	bool confirms;		 /* what is published there is there to stay */
	struct message *message; /* that was */
};

/* The scout's connection. */
struct scout_link {
	struct broker_conn *conn; /* NULL: none */
	bool dialling;
	bool was_cut; /* in this run, by us */
	struct scout_lane lanes[LANES_MAX + 1];
};

struct wire_consumer {
	struct wire_consumer *next;
	char tag[80];
	struct queue *queue;
	uint16_t prefetch; /* of the lane when it began */
	bool cancelled;	   /* by mux or by the broker */
	bool replies;	   /* direct ones, which are not counted, nor acknowledged */
};

struct wire_get {
	struct wire_get *next;
	struct queue *queue;
	bool no_ack;
};

struct delivered {
	struct copy *copy;
	struct wire_consumer *consumer; /* NULL: it was got */
	bool settled;			/* on the wire, or it needs no ack */
};

/* A lane as the bytes show it. */
struct wire_lane {
	bool open;	       /* channel.open was sent, and the end is not confirmed */
	bool closing;	       /* channel.close was sent */
	bool closed_by_broker; /* and close-ok not sent yet */
	struct message **sent; /* by delivery tag - 1 */
	size_t sent_count, sent_capacity;
	size_t sent_first;	      /* all before have their answer */
	bool publishing;	      /* method seen, header not */
	struct message *body_of;      /* header seen, body not all */
	uint64_t body_left;	      /* bytes */
	size_t method_bytes;	      /* of the publish seen last */
	char exchange[16], key[80];   /* of it */
	struct delivered **delivered; /* by delivery tag - 1 */
	size_t delivered_count, delivered_capacity;
	size_t delivered_first; /* all before are settled */
	struct wire_consumer *consumers;
	uint16_t prefetch; /* basic.qos */
	struct wire_get *gets, **gets_end;
	/* announced by the broker, its header not seen */
	enum amqc_method_id content;
	struct wire_consumer *content_consumer;
	uint64_t content_tag;
	struct queue *content_queue;
	bool content_redelivered, content_no_ack;
};

struct wire {
	struct buf up, down; /* bytes that do not make a frame yet */
	struct mono made;    /* when mux wrote what is being looked at */
	uint64_t under_way_messages, under_way_bytes;
	bool running;	      /* open-ok was seen */
	bool published;	      /* something was, since then */
	bool blocked;	      /* so said the broker, and mux was told */
	size_t blocked_slack; /* bytes of mux's output from before that */
	bool header_seen;
	/* What was delivered on the lane that the broker closed last. */
	struct delivered *const *blamed;
	size_t blamed_count;
	struct wire_lane lanes[LANES_MAX + 1];
};

/* ------------------------------------------------------------------ the run */

/* What a seed is up to: chances are of 1000 each turn. */
struct plan {
	unsigned int turns;
	unsigned int cut, stall, freeze, dial_fails, kill, breach, block, restart, close_all, wipe;
	unsigned int endpoint, throttle, outside, deaf, ack_timeout;
	unsigned int traps;	  /* of operations */
	unsigned int delay_msec;  /* the most that bytes take */
	unsigned int chunk;	  /* the most that arrive at a time */
	unsigned int body_max;	  /* bytes */
	bool bulky;		  /* many bodies are large */
	unsigned int slow_reader; /* of 1000: a client does not read in this turn */
	unsigned int inexpressible;
	unsigned int asking; /* of operations: questions, and replies to them */
	bool prepared;	     /* queues and exchanges are there from the beginning */
	bool overtake;	     /* answers to basic.consume and basic.cancel come late */
	bool shuffle;	     /* frames of different channels come in another order */
	bool few_lanes;	     /* fewer than channels: some wait until others go */
	bool small_memory;   /* of a session */
	bool short_deadlines;
	bool wrong_password;  /* at the second endpoint */
	bool adaptive;	      /* the window */
	uint32_t reader_usec; /* that the broker takes for a KiB that it reads */
	uint16_t heartbeat_sec;
	bool abrupt_end; /* mux_free() in the middle of things */
};

struct arena_block;

/* How much there was of a run. */
struct run_size {
	uint32_t sessions, operations, faults;
};

/* States as look.c saw them last. */
struct look {
	uint64_t window; /* bytes */
	struct share common;
	uint8_t upstream, recovery;
	uint8_t lanes[LANES_MAX + 1];
};

struct world {
	uint64_t seed;
	bool verbose;
	bool failed;
	struct random random;	  /* the scheduler's */
	struct random mux_random; /* handed to mux */
	struct plan plan;
	struct mono now;
	bool calm;
	struct mono calm_since; /* since when the upstream is up without faults */
	uint64_t events;	/* counts what happens, for order */
	struct mono came_up;	/* when the last connection did */
	uint64_t epoch;
	uint64_t lanes_closed; /* by the broker */
	struct arena_block *blocks;
	struct mux *mux;
	struct upstream *upstream;
	struct broker *broker;
	bool blocked, long_alarm;
	bool throttled; /* the broker holds back confirms */
	bool closing;	/* the upstream is being closed in order */
	struct link link;
	struct scout_link scout;
	struct wire wire;
	struct client clients[CLIENTS_MAX];
	unsigned int client_count;
	uint32_t last_serial;
	struct message **messages;
	size_t message_count, message_capacity;
	struct queue queues[QUEUES_MAX];
	size_t queue_count;
	struct exchange exchanges[EXCHANGES];
	struct binding bindings[BINDINGS_MAX];
	size_t binding_count;
	uint64_t restarted; /* the event of the broker's last restart */
	bool passing;	    /* somebody has declared the queues that are not durable */
	bool auditing;	    /* all sessions are gone but one that looks what is left */
	struct cover *cover;
	uint32_t prefetch;				  /* mux's default */
	uint32_t unconfirmed_messages, unconfirmed_bytes; /* the window */
	struct run_size size;
	struct look look;
};

/* world.c: true if every invariant held. */
bool world_run(uint64_t seed, bool verbose, struct cover *cover, struct run_size *ret_size);
/* Counts something that happened; of a fault also that there was one more. */
void happened(struct world *world, enum cover_event event);
void *world_alloc(struct world *world, size_t size);
/* Doubles an array of pointers in the arena if it is full. */
void *world_grow(struct world *world, void *array, size_t count, size_t *capacity);
bool chance(struct world *world, unsigned int of_1000);
uint32_t below(struct world *world, uint32_t bound);
void world_turn(struct world *world);

/* faults.c */
void faults_plan(struct world *world);
void faults_turn(struct world *world);
void faults_broker(struct world *world);
/* The calm begins. */
void faults_end(struct world *world);

/* traps.c */
void traps_dial(struct world *world);
void traps_hang_up(struct world *world);
void traps_move(struct world *world);
bool traps_are_quiet(const struct world *world);
void traps_spring(struct client *client, struct chan *chan);
/* Whether the broker's reason for closing a connection is one of them. */
bool traps_explain(struct span reason);
/* An error that a channel hears. */
void traps_check(struct world *world, const struct chan *chan, const struct fault *fault);
bool traps_end_session(const struct life *life, const struct fault *fault);

/* check.c */
void violate(struct world *world, const char *invariant, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void trace(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
void check_turn(struct world *world);
void check_calm(struct world *world);
void check_no_sessions(struct world *world);
void check_audit(struct world *world);
/* The copy of a message in a queue; made if it is new. */
struct copy *copy_of(struct world *world, struct message *message, const struct queue *queue, bool marked);
/* Copies that cannot be told from each other: of a message that was sent again more than once. */
bool copy_is_blurred(const struct copy *copy);
/* Whether it says that it was sent again. */
bool is_marked(const struct amqc_properties *properties);
/* Fills with what the body of a message must be. */
void body_fill(const struct message *message, uint8_t *body);
/* The message that the properties name, if exchange, key and body are its own; or a violation and NULL. */
struct message *message_of(struct world *world, const struct amqc_properties *properties, struct span body);
struct message *message_named(struct world *world, const struct amqc_properties *properties);

/* topology.c */
void topology_begin(struct world *world);
struct queue *queue_named(struct world *world, struct span name);
struct exchange *exchange_named(struct world *world, struct span name);
/* Of a bind request. */
struct binding *binding_new(struct world *world, const struct amqc_method *method);
/* What clients may expect to have, the broker has. */
void topology_check(struct world *world, const char *when);
/* And has no more; consumers too. */
void topology_check_all(struct world *world);
/* A request begins or ends. */
void topology_asked(struct world *world, struct call *call);
void topology_answered(struct world *world, struct call *call);
/* An error of the broker ended a channel. */
void topology_refused(struct world *world, const struct fault *fault);
void topology_shrank(struct world *world);
/* An unbind is asked for, or sent. */
void topology_unbound(struct world *world, const struct amqc_queue_unbind *unbind);

/* link.c */
void link_init(struct world *world);
void link_deinit(struct world *world);
/* Bytes arrive, and dials end. */
void link_move(struct world *world);
/* The socket takes some of mux's output. */
void link_take(struct world *world);
bool link_is_quiet(const struct world *world);
void link_cut(struct world *world, const char *why);
void link_freeze(struct world *world, uint64_t usec);
struct mono link_deadline(const struct world *world);
/* The broker learns of connections that are gone: those that are due, or all. */
void link_bury(struct world *world, bool all);
bool link_had_zombies(const struct world *world, struct mono since);
extern const struct upstream_ops link_ops;

/* wire.c */
void wire_begin(struct world *world);
void wire_end(struct world *world);
void wire_up(struct world *world, struct span bytes);
void wire_down(struct world *world, struct span bytes);
/* wire_up.c, wire_down.c: one frame. */
void wire_up_frame(struct world *world, const struct amqc_frame *frame);
void wire_down_frame(struct world *world, const struct amqc_frame *frame);
void wire_lane_reset(struct wire_lane *lane);
struct wire_consumer *wire_consumer(const struct wire_lane *lane, struct span tag);
void wire_cancel(struct wire_lane *lane, struct span tag);
void wire_copy_text(char *out, size_t size, struct span text);
/* How many of the bytes that arrived end the frame that has begun; all, if it does not end in them. */
size_t wire_rest(const struct world *world, struct span arrived);

/* overtake.c: the frames, some answers behind later ones of the same channel. */
void overtake(struct world *world, struct buf *out, struct span frames);

/* replies.c */
/* Operations: a question, and a reply to one that came. */
void replies_ask(struct client *client, struct chan *chan);
void replies_answer(struct client *client, struct chan *chan);
/* Credit for all that wait in mux. */
void replies_let_through(struct life *life);
bool replies_is_queue(struct span queue);
bool replies_is_for(const struct consumer_record *consumer);
void replies_note(struct world *world, struct handout *handout, const struct amqc_properties *properties);
bool replies_may_come(const struct message *message, const struct chan *chan);
void replies_came(struct world *world, const struct message *message);
void replies_interrupted(struct world *world, struct consumer_record *consumer);
void replies_check(struct world *world, const struct consumer_record *consumer);

/* doubt.c */
/* A publish that takes so many bytes begins on the wire; all of it was seen there. */
void doubt_sent(struct world *world, struct message *message, uint64_t bytes);
void doubt_whole(struct message *message);
void doubt_answered(struct world *world, struct message *message);
/* Those of a lane that is about to close, or was closed. */
void doubt_give_back(struct world *world, const struct wire_lane *lane);
/* The connection is lost; mux's output is still what it was. */
void doubt_lost(struct world *world);

/* expiry.c */
/* Gives some an expiration. */
void expiry_pick(struct world *world, struct message *message);
/* Whether mux had it for longer than it lives. */
bool expiry_is_over(const struct message *message, struct mono when);
/* It is sent now, with these properties. */
void expiry_check_sent(struct world *world, const struct message *message,
		       const struct amqc_properties *properties);
/* It ended for that reason. */
void expiry_check_end(struct world *world, const struct message *message, const struct fault *fault);

/* look.c */
void look_turn(struct world *world);
void look_upstream(struct world *world, enum upstream_state state);
/* Something is still to be brought back on this connection. */
bool look_is_recovering(const struct world *world);
/* What is to be brought back has no lane yet. */
bool look_waits_for_lane(const struct world *world);
/* Nobody leases the lane, and it is open. */
bool look_is_resting(const struct world *world, uint16_t lane);
bool look_is_shrinking(const struct consumer_record *consumer);

/* shares.c */
void shares_turn(struct world *world);
/* A publish that takes so many bytes begins on the wire. */
void shares_sent(struct world *world, const struct message *message, uint64_t bytes);
/* Nothing is under way. */
void shares_rest(struct world *world);

/* client.c */
void client_begin(struct client *client);
void client_end(struct client *client);
void client_deafen(struct client *client);
void client_read(struct client *client, bool everything);
bool client_is_idle(const struct client *client);
struct chan *client_open(struct client *client, uint32_t number);
struct call *client_call(struct client *client, struct chan *chan, struct amqc_method *method,
			 struct mux_request *request);
void client_publish(struct client *client, struct chan *chan, struct message *message);
struct message *client_message(struct client *client, struct chan *chan);
void client_settle(struct client *client, struct chan *chan, enum settle_kind kind, uint64_t first,
		   uint64_t last);
/* number, no_ack, exclusive and the first credit are those of the record. */
void client_consume(struct client *client, struct chan *chan, struct consumer_record *consumer,
		    const char *queue);

/* ops.c */
/* A message to be published, within credit; to the address, or NULL: anywhere. NULL: there is no credit. */
struct message *ops_message(struct client *client, struct chan *chan, const char *address);
/* Declares what everybody uses. */
void ops_prepare(struct client *client);
void ops_one(struct client *client);
void ops_breach(struct client *client);
/* Ends the session, sometimes with last words. */
void ops_exit(struct client *client);

/* events.c; the first ones for handover.c */
struct event *events_append(struct life *life);
struct world *events_hear(struct life *life, const char *what);
struct chan *events_chan(struct life *life, struct mux_channel_id id);
struct call *events_end_call(struct life *life, uint32_t id, struct mux_channel_id channel);
struct consumer_record *events_consumer(struct chan *chan, uint32_t number);
extern const struct session_ops events_ops;

/* handover.c: what session_ops asks for messages */
struct mux_handed handover_got(void *context, uint32_t request, struct mux_channel_id channel, uint64_t tag,
			       const struct amqc_basic_get_ok *method, const struct mux_content *content);
struct mux_handed handover_deliver(void *context, struct mux_channel_id channel, uint32_t number,
				   uint64_t tag, const struct amqc_basic_deliver *method,
				   const struct mux_content *content);
struct mux_handed handover_returned(void *context, struct mux_channel_id channel, uint64_t number,
				    const struct amqc_basic_return *method,
				    const struct mux_content *content);
