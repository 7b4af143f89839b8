/*
 * The multiplexer: the pure heart of muxd. It holds the state of every
 * upstream (one AMQP connection each) and every session (one local process
 * each), and knows neither sockets nor clocks.
 *
 *	front --> session_*()   --> mux --> upstream_output() --> up --> broker
 *	front <-- session_ops   <-- mux <-- upstream_feed()   <-- up <-- broker
 *
 * Requests are AMQP methods as the codec has them, so that a front end only
 * translates between its own encoding and struct amqc_method; mux never sees
 * protobuf.
 *
 * Time. Every function takes the time of the loop turn from mux_set_now(),
 * which the loop calls before anything else in a turn. mux_next_deadline()
 * tells when mux_run_timers() has work.
 *
 * Turns. Input may be fed in any amount; what it causes is collected, and
 * mux_turn(), once at the end of each loop turn, tells sessions what happened
 * to them in ranges and fills the upstreams' output. So a burst costs one
 * write per peer.
 *
 * Ownership. mux owns upstreams and sessions. Callbacks get a context that
 * belongs to the caller. A callback may not call back into mux: it writes into
 * its owner's buffers, or notes what to do, and returns.
 *
 * Threads: none; all of it belongs to the loop's.
 */
#pragma once

#include "daemon/amqp/content.h"
#include "daemon/base/clock.h"
#include "daemon/base/fault.h"

struct mux;
struct upstream;
struct session;
struct user;

/* ------------------------------------------------------------------ options */

/* Who a session is: what the kernel said when it connected. */
struct mux_creds {
	uint32_t uid;
	uint32_t gid;
	uint32_t pid;
	const uint32_t *groups; /* supplementary, in ascending order; copied by session_new() */
	size_t group_count;
};

/*
 * Asked before every operation on the broker, publishes included, whatever
 * front end it came by. Returns true, or false with *ret_fault set (403).
 */
typedef bool (*mux_authorize_fn)(void *context, const struct mux_creds *creds, const char *upstream,
				 const struct amqc_method *method, struct fault *ret_fault);

struct mux_limits {
	uint64_t total_memory;	 /* bytes, all sessions */
	uint64_t session_memory; /* bytes, one session */
	uint64_t message_max;	 /* bytes of a body that a session publishes */
	uint32_t sessions;
	uint32_t channels_per_session; /* also the highest channel number */
	uint32_t prefetch;	       /* of a consumer that set none */
	uint64_t request_timeout_usec;
	uint64_t publish_timeout_usec;
};

#define MUX_DIGEST_BYTES 32u

/* What became of a request that makes, changes, empties or deletes a queue, an exchange or a binding. */
struct mux_audit {
	uint64_t session;
	const struct mux_creds *creds;
	const char *upstream;
	const struct amqc_method *method; /* with the names that muxd gave */
	const struct fault *fault;	  /* NULL: it was done */
};

struct mux_options {
	struct mux_limits limits;
	mux_authorize_fn authorize;				/* NULL: everything is allowed */
	void (*random)(void *context, void *out, size_t count); /* bytes for jitter and names; never NULL */
	/*
	 * Bytes from which nobody finds the ones that they were made of. False: no
	 * memory. NULL: queues that got their names here cannot be declared again in
	 * a later session.
	 */
	bool (*digest)(void *context, struct span of, uint8_t ret[MUX_DIGEST_BYTES]);
	/* The end of each such request of a session. NULL: nobody wants to know. */
	void (*audit)(void *context, const struct mux_audit *what);
	void *context; /* of the four */
};

struct upstream_endpoint {
	const char *label; /* "host:port", for status and log */
	const char *vhost;
	const char *user;
	const char *password; /* empty for EXTERNAL */
};

/* What a message costs a broker besides its bytes, in bytes: some 20 us of RabbitMQ's CPU time. */
#define MUX_MESSAGE_COST_BYTES 1024u

struct upstream_options {
	const char *name;
	const struct upstream_endpoint *endpoints; /* tried in order */
	size_t endpoint_count;
	const char *sasl;	       /* "PLAIN" or "EXTERNAL" */
	uint32_t heartbeat_sec;	       /* offered; the lower of ours and the broker's is used; 0: none */
	uint64_t connect_timeout_usec; /* for dial and handshake together */
	uint64_t reconnect_min_usec;
	uint64_t reconnect_max_usec;
	uint32_t warm_lanes;
	uint32_t unconfirmed_messages; /* the window of all sessions together, at most */
	uint64_t unconfirmed_bytes;    /* the same; a message takes MUX_MESSAGE_COST_BYTES more than it has */
	bool adaptive_window;	       /* it follows the broker's delay; else it is always the most */
	const char *queue_prefix;      /* of the names made for server-named queues */
};

/* What mux asks of the upstream's body (daemon/up/). */
struct upstream_ops {
	/* Connect to endpoint number index; answer later by upstream_dialled() or upstream_dial_failed(). */
	void (*dial)(void *context, size_t index);
	/*
	 * Drop the transport, or give up dialling, now; of upstream_output() write what the socket takes at
	 * once (there may be a last connection.close-ok in it). No feed or lost comes after it.
	 */
	void (*hang_up)(void *context);
	/* The state changed (for systemd's STATUS=). */
	void (*changed)(void *context);
	/*
	 * The same as dial and hang_up for the scout, a second connection of its own (scout.h): answered by
	 * upstream_scout_dialled() and so on. NULL, both: there can be none.
	 */
	void (*scout_dial)(void *context, size_t index);
	void (*scout_hang_up)(void *context);
};

/* ------------------------------------------------------------------ the whole */

/* Copies the options. 0 or -ENOMEM. */
int mux_new(const struct mux_options *options, struct mux **ret);

/* Ends sessions and upstreams without a word to anybody. NULL is fine. */
void mux_free(struct mux *mux);

/* authorize may answer otherwise from now on: what it has allowed is asked anew. */
void mux_rules_changed(struct mux *mux);

/* Other limits from now on. What there is stays, also what is above them. */
void mux_set_limits(struct mux *mux, const struct mux_limits *limits);

void mux_set_now(struct mux *mux, struct mono now);
struct mono mux_next_deadline(const struct mux *mux);
void mux_run_timers(struct mux *mux);

/* The end of a loop turn; see the head of this file. */
void mux_turn(struct mux *mux);

/*
 * How long the loop does well to wait before it looks for input again, because
 * all that flows is bulk (see pace.h); mostly 0.
 */
uint64_t mux_pause_usec(const struct mux *mux);

/* Memory charged to sessions, and its limit, in bytes. */
uint64_t mux_memory_used(const struct mux *mux);
uint64_t mux_memory_limit(const struct mux *mux);
uint32_t mux_session_count(const struct mux *mux);
uint32_t mux_channel_count(const struct mux *mux); /* of all sessions; looks at each */

/* ------------------------------------------------------------------ upstreams */

enum upstream_state {
	UPSTREAM_CONNECTING,
	UPSTREAM_UP,
	UPSTREAM_BACKOFF,
	UPSTREAM_BLOCKED,
	UPSTREAM_FAILED
};

/* "connecting", "up", ... as surface.md and muxctl have them. */
const char *upstream_state_name(enum upstream_state state);

struct upstream_info {
	const char *name;
	enum upstream_state state;
	const char *endpoint; /* label of the one in use, or tried last */
	const char *broker;   /* "RabbitMQ 3.10.8", or "" */
	uint64_t epoch;	      /* connections that came up so far */
	uint64_t reconnects;
	const char *last_error; /* "" if none */
	uint32_t lanes_max;
	uint32_t lanes_open; /* all that are not free: opening, warm, leased, handed back, closing */
	uint32_t lanes_leased;
	uint32_t lanes_warm;
	uint64_t unconfirmed;
	uint64_t unconfirmed_bytes;
	uint64_t window_bytes; /* how many of them there may be */
	uint32_t waiting;      /* channels without a lane */
	uint32_t held;	       /* sessions that the window holds back */
	uint32_t probes;       /* what the scout is asked for */
	uint32_t orphans;      /* channels of sessions that have ended */
	bool recovering;
	uint32_t sessions;
	bool listed;  /* false: a reload has removed the endpoint in use */
	bool retired; /* by upstream_retire() */
	const char *queue_prefix;
};

/* Copies the options. The first is the default. Does nothing before upstream_start(). 0, -EEXIST, -ENOMEM. */
int upstream_new(struct mux *mux, const struct upstream_options *options, const struct upstream_ops *ops,
		 void *context, struct upstream **ret);
void upstream_start(struct upstream *upstream);

/*
 * A reload, in three steps, of which only the first can fail:
 *
 *	upstream_change_new()   copies the new options (which are of the same name)
 *	upstream_alter()        they hold from now on, but for name and
 *	                        queue_prefix, which stay. Frees the change. Returns
 *	                        the index that the endpoint in use, or tried last,
 *	                        has from now on: endpoint_count if it is none of them
 *	upstream_try_anew()     when the body knows the endpoints as well: who is
 *	                        not connected dials at once, from the first one on
 *
 * A connection goes on as it is, whatever changed: the next one has it all.
 */
struct upstream_change;
int upstream_change_new(const struct upstream_options *options, struct upstream_change **ret)
    __attribute__((warn_unused_result));
struct upstream_change *upstream_change_free(struct upstream_change *change); /* NULL is fine; returns NULL */
size_t upstream_alter(struct upstream *upstream, struct upstream_change *change);
void upstream_try_anew(struct upstream *upstream);

/*
 * The configuration has it no more: it takes no new sessions, and its name is
 * free for another one. Those that it has go on. When they have ended, and
 * upstream_close() is done, it can be freed.
 */
void upstream_retire(struct upstream *upstream);

/* Frees it; its sessions have ended. What is left of them is given up. */
void upstream_free(struct upstream *upstream);

/* It comes behind all others: called for each, in their order, this puts them into it. */
void upstream_put_last(struct upstream *upstream);

/* By name; empty: the default. NULL if there is none. */
struct upstream *mux_find_upstream(struct mux *mux, struct span name);
struct upstream *mux_first_upstream(struct mux *mux);
struct upstream *mux_next_upstream(struct upstream *upstream);

/* The strings are valid until the upstream's state changes. */
void upstream_get_info(const struct upstream *upstream, struct upstream_info *ret);

/* Counts what upstream_get_info() leaves out, because it takes time: waiting, orphans. */
void upstream_get_waiting(const struct upstream *upstream, struct upstream_info *ret);

/* Events of the transport. */
void upstream_dialled(struct upstream *upstream);
void upstream_dial_failed(struct upstream *upstream, const char *reason);
void upstream_lost(struct upstream *upstream, const char *reason);

/*
 * Bytes from the broker. Returns how many were consumed; the rest, the
 * beginning of a frame, comes again at the front of the next call. May call
 * hang_up (the transport is gone then, and all bytes count as consumed).
 */
size_t upstream_feed(struct upstream *upstream, struct span bytes);

/* What to write to the broker; the body consumes what the socket took. */
struct buf *upstream_output(struct upstream *upstream);

/* Fills the output from what is queued, as far as it is wanted there. Call when the output ran low. */
void upstream_pump(struct upstream *upstream);

/* The same for the scout. All its output is there after mux_turn(): it needs no pump. */
void upstream_scout_dialled(struct upstream *upstream);
void upstream_scout_dial_failed(struct upstream *upstream, const char *reason);
void upstream_scout_lost(struct upstream *upstream, const char *reason);
size_t upstream_scout_feed(struct upstream *upstream, struct span bytes);
struct buf *upstream_scout_output(struct upstream *upstream);

/*
 * Orderly end: connection.close, then hang_up when the broker has answered or
 * at the deadline. upstream_is_closed() tells when that is done.
 */
void upstream_close(struct upstream *upstream, uint64_t timeout_usec);
bool upstream_is_closed(const struct upstream *upstream);

/* True if nothing is left to do for sessions that have ended: every publish of theirs has its outcome. */
bool upstream_is_drained(const struct upstream *upstream);

/* ------------------------------------------------------------------ sessions */

enum outcome_kind {
	OUTCOME_CONFIRMED,
	OUTCOME_RETURNED,
	OUTCOME_NACKED,
	OUTCOME_NOT_SENT,
	OUTCOME_UNKNOWN
};

/* How much an error ends. */
enum fault_scope {
	SCOPE_REQUEST,
	SCOPE_CHANNEL,
	SCOPE_SESSION
};

struct mux_channel_id {
	uint32_t number;
	uint32_t generation;
};

struct mux_content {
	const struct amqc_properties *properties;
	struct span body;
};

/*
 * What mux tells a front end. All views are valid during the call only.
 */

/* Where handed over content went. */
struct mux_handed {
	/*
	 * The position in the session's output stream behind it: the count of all bytes ever queued for the
	 * socket. session_written() reports how far the socket took them.
	 */
	uint64_t position;
	uint64_t cost_bytes; /* of the client's credit: header and payload */
};

struct session_ops {
	/* A request's reply: declare-ok, get-empty, ...; queue.declare-ok has the name in full. */
	void (*reply)(void *context, uint32_t request, struct mux_channel_id channel,
		      const struct amqc_method *reply);
	/* The same for a queue.declare whose name was made here, with what declares it again. */
	void (*named)(void *context, uint32_t request, struct mux_channel_id channel,
		      const struct amqc_method *reply, struct span resume);
	/* A request's other end. */
	void (*refuse)(void *context, uint32_t request, struct mux_channel_id channel, enum fault_scope scope,
		       const struct fault *fault);
	/*
	 * The reply to basic.get that has a message. tag 0: needs no ack. got and
	 * deliver return position 0 if the front's protocol cannot express the message
	 * (headers too deep or too many: PROTOCOL.md, "Frames"): nothing was
	 * written, the message goes back, and the get (502, SCOPE_REQUEST), or the
	 * consumer (consumer_cancelled) ends.
	 */
	struct mux_handed (*got)(void *context, uint32_t request, struct mux_channel_id channel, uint64_t tag,
				 const struct amqc_basic_get_ok *method, const struct mux_content *content);
	struct mux_handed (*deliver)(void *context, struct mux_channel_id channel, uint32_t consumer,
				     uint64_t tag, const struct amqc_basic_deliver *method,
				     const struct mux_content *content);
	struct mux_handed (*returned)(void *context, struct mux_channel_id channel, uint64_t number,
				      const struct amqc_basic_return *method,
				      const struct mux_content *content);
	/* Publishes first..last ended so; fault is NULL, or the reason of NACKED, NOT_SENT and UNKNOWN. */
	void (*outcome)(void *context, struct mux_channel_id channel, enum outcome_kind kind, uint64_t first,
			uint64_t last, const struct fault *fault);
	/* The channel ended by an error; every request and publish of it was answered before. */
	void (*channel_ended)(void *context, struct mux_channel_id channel, const struct fault *fault);
	void (*consumer_cancelled)(void *context, struct mux_channel_id channel, uint32_t consumer,
				   struct span text);
	/* The publish credit, in totals since the session began. */
	void (*credit)(void *context, uint64_t messages, uint64_t bytes);
	/* A direct reply-to consumer goes on, but addresses that were given out before are void. */
	void (*consumer_interrupted)(void *context, struct mux_channel_id channel, uint32_t consumer,
				     struct span text);
	void (*upstream_changed)(void *context);
	/* The session ends by an error: tell the peer, close, and call session_end() (not from here). */
	void (*ended)(void *context, const struct fault *fault);
};

/* The standing credit: what a session may use before it was told anything (PROTOCOL.md, "Credit"). */
#define SESSION_STANDING_MESSAGES 64u
#define SESSION_STANDING_BYTES 16384u
#define SESSION_REQUESTS_MAX 256u /* unanswered ones, once it was told */

/* What one session may have. 0, or more than mux's own limits: these. */
struct session_limits {
	uint64_t memory;      /* bytes */
	uint64_t message_max; /* bytes of a body that it publishes */
	uint32_t channels;    /* also the highest number */
	uint32_t prefetch;    /* of a consumer that sets none */
};

struct session_options {
	struct upstream *upstream;
	struct mux_creds creds;
	struct span program; /* cut at 64 bytes */
	uint64_t get_bytes;  /* first credit for got bodies */
	struct session_limits limits;
	const struct session_ops *ops; /* outlives the session */
	void *context;
};

/*
 * Whether a process may have no session now, because its requests have cost
 * connections to the broker (blame.h); *ret_fault says how long.
 */
bool mux_is_quarantined(struct mux *mux, const struct mux_creds *creds, struct fault *ret_fault);

/*
 * 0; -ENOMEM; -ENOBUFS when what the uid's ended sessions published, and the
 * broker has not confirmed, fills its share of the memory; -EUSERS when there are as many sessions as the
 * limits allow (nothing was made, and the front tells its peer); -EDQUOT when there is no room for its
 * groups.
 */
int session_new(struct mux *mux, const struct session_options *options, struct session **ret);

/*
 * The peer is gone. Its channels are closed, unacked messages go back, what it
 * published whole is still sent and confirmed. No callback comes after this.
 * Frees the session: the pointer is dead.
 */
void session_end(struct session *session);

/*
 * Other limits from now on. What the session has stays. Its client goes by what
 * it was told at first: a channel or a message within that, and above what is
 * allowed now, ends with its channel, and not with the session.
 */
void session_set_limits(struct session *session, const struct session_limits *limits);

uint64_t session_id(const struct session *session);
const struct mux_creds *session_creds(const struct session *session);
struct upstream *session_upstream(const struct session *session);

/*
 * Everything below may end the session by ops.ended (a breach of the protocol:
 * wrong numbers, overrun credit); session_is_ended() is true from then on, the
 * front stops reading, and calls do nothing.
 */
bool session_is_ended(const struct session *session);

/* Ends the session by an error that the front found. */
void session_fail(struct session *session, const struct fault *fault);

void session_open_channel(struct session *session, uint32_t number, uint32_t generation);
void session_close_channel(struct session *session, uint32_t request, uint32_t number);

struct mux_request {
	uint32_t id; /* not 0, and not one that is unanswered: else the session ends */
	uint32_t channel;
	uint64_t timeout_usec;		  /* 0: the limits' */
	const struct amqc_method *method; /* a client's method of exchange, queue or basic, without no_wait */
	/* basic.consume and basic.cancel name the consumer by number; the tag of cancel is filled in. */
	uint32_t consumer;
	uint64_t credit_messages; /* basic.consume: the first totals */
	uint64_t credit_bytes;
	struct span resume; /* queue.declare: what ops.named gave for the name */
};

void session_request(struct session *session, const struct mux_request *request);

/* For a request that the front answers itself, at once (ping, status): false: it was wrong, the session
 * ended. */
bool session_request_local(struct session *session, uint32_t id);

struct mux_publish {
	uint32_t channel;
	uint64_t timeout_usec; /* 0: the limits' */
	uint64_t cost_bytes;   /* of the publish credit */
	struct span exchange;
	struct span routing_key;
	bool mandatory;
	bool resent;	 /* it may be at the broker from an earlier session: goes out marked (replay.h) */
	uint32_t age_ms; /* of its expiration, used up in earlier sessions */
	const struct amqc_properties *properties;
	struct span body;
	/*
	 * Not NULL: the front could not translate the publish (a value out of
	 * range); exchange to body are not looked at. It counts, in number and
	 * credit, and its channel ends by this fault.
	 */
	const struct fault *invalid;
};

/* Copies what it keeps. */
void session_publish(struct session *session, const struct mux_publish *publish);

enum settle_kind {
	SETTLE_ACK,
	SETTLE_REQUEUE,
	SETTLE_DISCARD
};

/* Tags first..last of the channel; first 0: from the oldest on; both 0: all. */
void session_settle(struct session *session, uint32_t channel, enum settle_kind kind, uint64_t first,
		    uint64_t last);

/* Totals; lower ones than before are ignored. */
void session_consumer_credit(struct session *session, uint32_t channel, uint32_t consumer, uint64_t messages,
			     uint64_t bytes);
void session_get_credit(struct session *session, uint64_t bytes);
void session_want(struct session *session, uint64_t messages, uint64_t bytes);

/* The publish credit as it is now, for Welcome. */
void session_credit_totals(const struct session *session, uint64_t *ret_messages, uint64_t *ret_bytes);

/*
 * Memory for what the front itself says to the session, until its socket has
 * taken it: whether there is any (for something short there always is), what there is to say if not, and that
 * so much of it is used.
 */
bool session_has_room(const struct session *session, uint64_t bytes);
struct fault session_no_memory(const struct session *session, const char *what);
void session_was_handed(struct session *session, const struct mux_handed *handed);

/* The socket has taken the output stream up to position. */
void session_written(struct session *session, uint64_t position);

/*
 * The socket has taken no more for a while, and the output goes up to position.
 * NULL, or why the session must end: it leaves unread more than may be kept for
 * it.
 */
const char *session_unread(struct session *session, uint64_t position);

/* ------------------------------------------------------------------ looking */

struct session_info {
	uint64_t id;
	uint32_t pid;
	uint32_t uid;
	uint32_t gid;
	struct span program;
	const char *upstream;
	uint64_t age_usec;
	uint32_t channels;
	uint32_t consumers;
	uint64_t unconfirmed;
	uint64_t unacked;
	uint64_t published;
	uint64_t delivered;
	uint64_t memory_used;
	uint64_t memory_limit;
	uint32_t requests;	       /* unanswered */
	bool wants;		       /* more publish credit than it has */
	const struct session *session; /* for who looks on; good while nothing changes */
};

struct channel_info {
	uint64_t session;
	struct mux_channel_id id;
	uint16_t lane; /* 0: none */
	uint32_t consumers;
	uint32_t prefetch;
	uint64_t unconfirmed;
	uint64_t unacked;
	const struct session *owner; /* as session above */
};

/*
 * The session with the lowest id above after; false: no more. It is looked for
 * among all: who wants the ones behind it, too, looks on from there, while
 * nothing has changed.
 */
bool mux_next_session(const struct mux *mux, uint64_t after, struct session_info *ret);
bool mux_look_on(const struct mux *mux, struct session_info *info);

/* The channel behind (session, channel), in order of both; likewise. */
bool mux_next_channel(const struct mux *mux, uint64_t session, uint32_t channel, struct channel_info *ret);
bool mux_look_on_channels(const struct mux *mux, struct channel_info *info);

struct user_info {
	uint32_t uid;
	uint32_t sessions;
	uint64_t memory_used;  /* of what sessions left behind as well */
	uint64_t memory_limit; /* what it could have now */
};

/* Who has sessions, or left publishes behind, in no order. NULL: the first; NULL when there are no more. */
const struct user *mux_next_user(const struct mux *mux, const struct user *after, struct user_info *ret);

/* NULL: there is none with that id. */
struct session *mux_find_session(const struct mux *mux, uint64_t id);

enum record_end {
	RECORD_UNANSWERED,
	RECORD_ANSWERED,
	RECORD_REFUSED
};

#define RECORD_TEXT_MAX 512u

/* What the flight recorder has of a request, or of several that are alike. */
struct record_info {
	uint32_t serial;
	uint64_t age_usec; /* since the last of them */
	struct mux_channel_id channel;
	uint32_t count;
	uint32_t unanswered;
	enum record_end end; /* the worst: one was refused; else some are unanswered */
	uint16_t code;	     /* the last one was refused with; 0: a nack */
	char operation[RECORD_TEXT_MAX];
};

/* The entry behind the one with the serial after, oldest first; 0: the first one. False: no more. */
bool session_next_record(const struct session *session, uint32_t after, struct record_info *ret);
