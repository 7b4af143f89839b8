/*
 * The state of the multiplexer: every struct, and who owns it. The modules
 * beside this file each have the functions of one of them. What is asked goes
 * down this list; what goes up it is that something has ended, or may go on
 * (a request's deadline, a delivery for which there is no memory):
 *
 *	mux       the whole, timers, the end of a turn, looking
 *	upstream  dialling, coming up, going down
 *	session   what front ends call; operations: its requests
 *	dispatch  frames from the broker, to the channel that leases the lane
 *	scout     a second connection, to try what might cost the first
 *	probe     what only the broker knows
 *	blame     what cost a connection, and whose it was
 *	meant     what of it a broker's last words may mean
 *	culprit   what is known of such, and of who sent it
 *	suspect   what the scout tries of a channel
 *	recovery  what is brought back on a new connection, and in which order
 *	alter     what a reload changes
 *	channel   opening, leaving, waiting for a lane; ending: by an error
 *	consumer  deliveries on their way to a session
 *	subscribe the broker's side of a consumer
 *	delivery  which of them are settled, and telling the broker
 *	queues    who owns which exclusive queue; names for unnamed ones
 *	topology  what was declared, by whom
 *	kinds     what kind of queue a name stands for
 *	clash     who of its users may not go at the same time
 *	request   a method that is answered once
 *	flow      which lane writes next, and how much
 *	hold      what must wait though it could be sent
 *	replay    publishes that are sent again, or late
 *	tx        transactions: their lane, what must wait, their end
 *	uncommitted their publishes
 *	publish   publishes, from acceptance to outcome
 *	credit    what a session may have under way
 *	backlog   how much its socket has not taken
 *	taken     what is done when it has
 *	lane      numbers, opening and closing, handing on
 *	limit     how many of them the broker lets us have
 *	party     who shares in an upstream: turns, and the unconfirmed
 *	window    how much may be unconfirmed
 *	vet       what the broker would close the connection for
 *	quirks    what it falls over, in spite of its being right
 *	recorder  what a session asked for last
 *	audited   what it declared, bound and deleted, for the log
 *	user      what the sessions of one uid share
 *
 * Ownership is a tree: mux owns upstreams and sessions; a session owns its
 * channels as long as it lives, then their upstream does (orphans), until what
 * was published has its outcome. An upstream owns its lanes; a channel and a
 * lane that it leases point at each other, and both pointers end together, in
 * lane_detach(). A request or publish is owned by the channel's queue until it
 * is sent, and by the lane from then on.
 */
#pragma once

#include "daemon/base/charge.h"
#include "daemon/base/list.h"
#include "daemon/base/log.h"
#include "daemon/base/map.h"
#include "daemon/base/pool.h"
#include "daemon/base/timerq.h"
#include "daemon/mux/assemble.h"
#include "daemon/mux/conn.h"
#include "daemon/mux/limit.h"
#include "daemon/mux/mux.h"
#include "daemon/mux/pace.h"
#include "daemon/mux/redial.h"
#include "daemon/mux/scout.h"
#include "daemon/mux/window.h"

#define PROGRAM_MAX 64u

#define BLAME_OFFENDERS_MAX 64u

/* A process whose requests cost connections. */
struct offender {
	uint32_t uid, pid;
	uint32_t count; /* of its offences; 0: an empty place */
	struct mono last;
};

/* The sessions of one uid: see user.h. */
struct user {
	struct map_node map_node; /* in mux->users */
	struct list node;	  /* in mux->user_list */
	struct mux *mux;
	uint32_t uid;
	uint32_t references;
	uint64_t want_round; /* of mux, if a session of it could not be granted then what it wants */
	uint32_t sessions;
	struct account memory;	 /* of the sessions, its share of mux->memory */
	struct account orphaned; /* of what they left behind, its share of mux->orphaned */
};

struct user_ref {
	struct user *user; /* NULL: none */
};

struct mux {
	struct mux_options options;
	uint32_t rules; /* serial number of what authorize goes by */
	struct mono now;
	struct timerq timers;
	struct pool pool; /* of publishes */
	struct account memory;
	struct account orphaned; /* of memory: publishes whose session has ended */
	struct list upstreams;	 /* struct upstream, in configured order */
	struct list sessions;	 /* struct session, by rising id */
	struct map users;	 /* struct user */
	struct list user_list;	 /* the same */
	uint32_t session_count;
	uint64_t last_session;
	struct list touched;	/* struct channel to be looked at when the turn ends */
	struct list unhurried;	/* struct channel whose acks or outcomes wait for company */
	struct timer ack_timer; /* when they go all the same */
	struct list credits;	/* struct session whose credit may have grown */
	struct list wants;	/* struct session that asked for more than there was, in turn */
	uint64_t want_round;	/* how often the line was served */
	struct buf scratch;	/* for encoding */
	struct pace pace;	/* of all sessions' messages */
	struct mono prompt;	/* when a session that is not bulk had one last */
	struct offender offenders[BLAME_OFFENDERS_MAX];
};

/* In the order in which they are made again. */
enum thing_kind {
	THING_EXCHANGE,
	THING_QUEUE,
	THING_EXCHANGE_BINDING,
	THING_QUEUE_BINDING
};
#define THING_KINDS 4u

enum entity_kind {
	ENTITY_EXCHANGE,
	ENTITY_QUEUE
};

/* Whether the broker has a queue that was declared. */
enum presence {
	PRESENT, /* it has, or nothing else is known */
	AWAITED, /* it was refused for now, and is asked for again */
	ABSENT	 /* it was refused for now */
};

/* An exchange or queue that something is known of. */
struct entity {
	struct map_node map_node; /* in topology->entities of its kind */
	struct upstream *upstream;
	enum entity_kind kind;
	struct list about;	 /* struct thing: its declarations, and bindings that lead to it */
	struct list sourced;	 /* struct thing: bindings from it */
	uint32_t consumers;	 /* ours, of a queue */
	uint32_t kept;		 /* those who look at it: it is not freed */
	enum presence presence;	 /* what depends on it waits until it is PRESENT */
	bool doomed;		 /* about to be forgotten */
	struct list doomed_node; /* in the order of that */
	uint8_t name_len;
	char name[255];
};

/* A declaration or binding, by its method's frame with channel 0. */
struct thing {
	struct map_node map_node; /* in topology->things */
	struct upstream *upstream;
	struct list node; /* in topology->kinds */
	enum thing_kind kind;
	bool auto_delete, exclusive;
	struct list holders; /* struct holder, owned */
	struct entity *about, *source;
	struct list about_node, source_node; /* in lists of the two */
	struct list due_node;		     /* in a list of struct recovery, or none */
	struct request *request;	     /* the one that makes it again; NULL: none is under way */
	size_t frame_len;
	uint8_t frame[];
};

/* A session that would have a thing now. */
struct holder {
	struct list thing_node;	  /* in thing->holders */
	struct list session_node; /* in session->holdings */
	struct thing *thing;
	struct session *session;
	struct mux_channel_id channel; /* that declared it */
	struct charge charge;	       /* on the session */
};

/* See clash.h. */
struct clashes {
	struct map by_name;  /* struct clash, owned */
	struct list changed; /* those of them that somebody makes or deletes, or is about to */
	bool await_confirms; /* somebody waits for publishes to be confirmed */
	struct timer timer;  /* somebody may have waited for long enough */
};

struct topology {
	struct map things;		/* by frame */
	struct map entities[2];		/* by name, of each kind */
	struct list kinds[THING_KINDS]; /* struct thing, owned, in the order they were first made */
};

enum recovery_phase {
	RECOVERY_NONE,	   /* everybody goes on */
	RECOVERY_TOPOLOGY, /* things are made again; nothing else goes out */
	RECOVERY_CONSUMERS /* channels with consumers get their lanes and subscribe again */
};

/* What is brought back on this connection, or waits to be. */
struct recovery {
	enum recovery_phase phase;
	struct list due;	     /* struct thing to be made again, in order */
	struct list asked;	     /* struct thing under way */
	struct list parked;	     /* struct thing that was refused for now, or depends on such a one */
	struct list channels_due;    /* struct channel whose consumers are to be subscribed again */
	struct list channels_asked;  /* under way */
	struct list channels_parked; /* refused for now */
	struct channel *maker;	     /* makes the things; NULL: none is open */
	uint32_t asked_count;	     /* requests for asked ones, and for such as were forgotten meanwhile */
	uint32_t absent;	     /* struct entity that is not PRESENT */
	struct timer timer;	     /* next try of what is parked, or the end of a phase that hangs */
	struct mono give_up;	     /* what is refused from then on is refused for good */
	uint32_t made, subscribed;   /* for the log */
	struct mono began;
	bool careful; /* one at a time: something of it cost the last connection */
};

/* What a broker lets be done with a queue's messages: see kinds.h. */
enum queue_kind {
	QUEUE_UNKNOWN,
	QUEUE_CLASSIC,
	QUEUE_QUORUM,
	QUEUE_STREAM
};

struct kinds {
	struct map by_name; /* struct known_queue, owned */
	struct list order;  /* the same, learned first at the front */
};

/* Who shares in an upstream: see party.h. */
struct party {
	struct upstream *upstream;
	struct list turn_node; /* in upstream->fresh or active */
	struct list held_node; /* in upstream->held */
	struct list ready;     /* struct lane with something to send, in turn */
	struct list held;      /* struct lane whose next publish or request must wait, in turn */
	int64_t deficit;       /* bytes it may still send in its round; below 0: it owes them */
	bool begun;	       /* a publish has begun within them */
	uint64_t renewed_at;   /* upstream->sent_bytes when its part was renewed */
	uint64_t unconfirmed_messages;
	uint64_t unconfirmed_bytes; /* as publish_window_bytes() counts */
};

#define BLAME_CULPRITS_MAX 64u

/* What cost a connection: refused when it comes again. */
struct culprit {
	uint64_t names, fingerprint; /* see culprit.c */
	struct fault fault;	     /* what the broker said */
};

/* Who is to blame for a lost connection: see blame.h. */
struct blame {
	struct fault fault;	  /* of the last loss, as it was told */
	struct channel *guilty;	  /* the only one that it can mean, until it is failed; NULL: none */
	bool found;		  /* who cost the last connection: the other suspects go on */
	struct list suspicions;	  /* struct suspicion, owned */
	struct channel *was_solo; /* it was that when the connection was lost, and had something under way */
	struct channel *solo;	  /* the one that goes on before the others of the line; NULL: none */
	struct mono solo_since;
	unsigned int silent_losses; /* in a row, each without progress */
	uint64_t tx_session;	    /* it is the one, by a transaction, if nobody else is found; 0: none */
	struct culprit culprits[BLAME_CULPRITS_MAX]; /* a ring */
	size_t culprit_next, culprit_count;
};

struct upstream {
	struct list node; /* in mux->upstreams */
	struct mux *mux;
	struct upstream_options options; /* strings and endpoints owned */
	const struct upstream_ops *ops;
	void *context;
	enum upstream_state state;
	bool dialling; /* the body was asked for a transport, or has one */
	bool closing;  /* muxd goes, or it does: no more dialling */
	bool retired;  /* the configuration has it no more: no new sessions */
	uint32_t session_count;
	struct redial redial;
	struct timer timer; /* next dial, deadline of dial and handshake, or of closing */
	struct conn conn;
	bool ending; /* the connection ended in this turn, by end and last_fault: not dealt with yet */
	enum conn_end end;
	struct fault end_fault; /* as it was told */
	uint64_t epoch, reconnects;
	struct mono opened;   /* when this epoch began */
	size_t endpoint;      /* in use or tried last */
	size_t good_endpoint; /* that let us in last */
	struct fault last_fault;
	struct fault refusal; /* of an endpoint, in this round */

	struct lane **lanes; /* by number, lane_max + 1 of them; NULL: free */
	uint16_t lane_max;
	uint16_t lane_last;    /* where the search for a free number goes on */
	uint16_t lane_highest; /* number that was opened */
	uint32_t lanes_open, lanes_leased, lanes_warm, lanes_fenced;
	uint32_t lanes_answered;  /* of the open ones, those of which the broker said so */
	struct limit limit;	  /* of open lanes */
	bool lanes_denied;	  /* the broker would not open a single one */
	uint32_t resting[2];	  /* numbers that count as open for a while, by age: see lane_release() */
	struct timer lane_timer;  /* when they do not any more, or one lane more may be tried */
	struct list warm;	  /* struct lane that nobody leases */
	struct list fresh;	  /* struct party that goes before the active ones */
	struct list active;	  /* struct party with something to send, in turn */
	struct list held;	  /* struct party with held lanes, in turn (window, blocked) */
	uint32_t taking_turns;	  /* in fresh and active */
	uint32_t held_back;	  /* in held */
	uint64_t sent_bytes;	  /* of all parties */
	uint64_t confirmed_bytes; /* of publishes that ended, as unconfirmed_bytes counts */
	struct party common;	  /* of lanes that no living session has */
	struct list waiting;	  /* struct channel without a lane that needs one, in turn */
	struct list idle;	  /* struct lane leased by a channel that would not miss it, longest first */
	struct list orphans;	  /* struct channel whose session has ended */

	struct window window;
	uint64_t unconfirmed_messages; /* sent and not answered */
	uint64_t unconfirmed_bytes;    /* of them: publish_window_bytes() */
	bool window_freed;	       /* some of them ended: who waits for the window may go on */
	bool queue_freed; /* a queue is back, or a claim to it decided: who waits for it may go on */

	struct topology topology;
	struct clashes clashes;
	struct recovery recovery;
	struct kinds kinds;
	struct scout scout;
	struct blame blame;
	struct list probes; /* struct probe, owned */
	uint32_t probe_count;
	struct map queues;	     /* struct owned_queue by name */
	struct channel *housekeeper; /* an orphan for our own requests, or NULL */
};

enum lane_state {
	LANE_OPEN,   /* channel.open was sent: may be used, whether or not answered */
	LANE_FENCED, /* handed back: nobody's until the broker has answered the barrier */
	LANE_CLOSING /* channel.close was sent; the number is free at close-ok */
};

/* Publishes sent on a lane: slot i has delivery tag first + i. */
struct confirms {
	struct publish **ring; /* owned; NULL slots are settled */
	size_t mask;	       /* slots - 1; 0 with ring NULL */
	uint64_t first, next;  /* oldest tag not settled; tag of the next publish */
};

/* Of a lane in tx mode: see tx.h and uncommitted.h. */
struct lane_tx {
	bool on;			      /* instead of confirm mode: its lessee's for good */
	struct request *end;		      /* in awaiting: nothing may be sent before its answer */
	struct request *question;	      /* in awaiting: a tx.select of ours */
	uint64_t messages, bytes;	      /* of transactions, in the window */
	uint64_t asked_messages, asked_bytes; /* of these, what the question is about */
};

struct lane {
	struct upstream *upstream;
	struct channel *channel; /* the lessee; NULL: warm, fenced or closing */
	struct list node;	 /* in warm or idle */
	struct party *party;	 /* the lessee's session's, or upstream->common */
	struct list send_node;	 /* in party->ready or held */
	bool is_ready;		 /* which of the two */
	enum lane_state state;
	uint16_t number;
	uint16_t prefetch;	 /* last basic.qos sent */
	bool answered;		 /* channel.open-ok came */
	bool consumed;		 /* a basic.consume was sent: it is closed behind its lessee */
	uint64_t delivered;	 /* delivery tags the broker has used up on it, when nobody leases it */
	struct request *barrier; /* in awaiting, while it is fenced */
	struct lane_tx tx;
	bool abandoned;	   /* publishes on it were given up before they were confirmed */
	bool close_ok_due; /* the number is free when control has been sent */
	bool served;	   /* it sent a publish since it was held last: others come first */
	struct publish
	    *sending;	      /* its body is under way: nothing else may be sent on this number meanwhile */
	struct list awaiting; /* struct request sent, in order */
	struct assemble in;
	struct buf control; /* whole frames (acks, nacks) that go before anything queued */
	struct confirms confirms;
};

enum op_kind {
	OP_REQUEST,
	OP_PUBLISH,
	OP_SETTLE /* in a channel's queue alone: see tx.h */
};

/* What a channel sends in its order. */
struct op {
	struct list node; /* in channel->queue, or lane->awaiting */
	enum op_kind kind;
	bool on_trial;		 /* the scout tries it now */
	bool cleared;		 /* the scout has tried it: it costs no connection */
	uint8_t lone_losses;	 /* connections lost in a row while it alone went on of the suspects */
	struct channel *channel; /* NULL: gone, only the lane's order needs it */
};

#define QUEUES_RESUME_LEN 32u /* hexadecimal digits */

struct request {
	struct op op;
	struct list session_node; /* in session->requests while unanswered */
	struct session *session;  /* who is answered; NULL: nobody (ours, or answered already) */
	struct mux_channel_id channel_id;
	uint32_t id;
	enum amqc_method_id method;
	struct timer timer;
	struct mux *mux;
	struct consumer *consumer; /* basic.consume, basic.cancel */
	struct owned_queue *queue; /* exclusive queue.declare, or queue.delete of an owned one */
	struct thing *thing;	   /* it makes this one again */
	struct clash *clash;	   /* what it may not meet: see clash.h; NULL: nothing */
	struct list clash_node;	   /* in clash->uses, or none */
	struct lane *clash_lane;   /* where it was sent */
	struct mono clash_since;   /* when that was */
	bool clash_changes;	   /* of one in clash->uses: it makes or deletes the queue */
	uint32_t record;	   /* in its session's recorder */
	uint64_t before;	   /* sent before the publish with this tag on its lane */
	bool sent_before;	   /* on a connection that is gone */
	bool no_ack;		   /* basic.get */
	bool unsure;		   /* it depends on what only the broker knows: see probe.h */
	bool counted_get;	   /* it is one of session->gets */
	bool ends_tx;		   /* it is one of channel->tx.ends */
	bool has_resume;
	char resume[QUEUES_RESUME_LEN]; /* of the name that it declares */
	struct charge charge;		/* on the session, while it waits */
	size_t frame_len;
	uint8_t frame[]; /* the method's frame, with channel 0 in it */
};

struct publish {
	struct op op;
	struct mono deadline;
	struct mono accepted;
	uint64_t expiration_usec; /* after that; UINT64_MAX: never */
	uint64_t number;	  /* the client's */
	uint64_t cost_bytes;	  /* of its credit */
	uint32_t block_size;	  /* of this block, for the pool */
	uint32_t method_len;	  /* bytes of the method frame */
	uint32_t head_len;	  /* of method and header frame together */
	uint32_t record;	  /* in its session's recorder */
	bool mandatory;
	bool begun_before; /* on a connection that is gone, if only in part */
	bool sent_before;  /* all of it: goes out marked */
	bool resent;	   /* by its client, who had sent it in another session: likewise */
	bool returned;
	bool settled;		      /* its outcome was told; the slot waits for the broker */
	bool dropped;		      /* it left its slot while its body was being sent */
	uint32_t exchange_at, key_at; /* where the names lie in data */
	uint32_t age_ms;	      /* when it was accepted */
	uint8_t exchange_len, key_len;
	size_t body_len;
	size_t body_sent;
	uint8_t data[]; /* method frame, header frame (channel 0 in both), body */
};

#define REPEAT_FRAME_MAX 112u

/* The names of the last publish of a channel: one more to the same needs less work. */
struct repeat {
	uint32_t record;   /* of the publish, in the session's recorder; 0: none */
	uint32_t newest;   /* record when it came */
	uint8_t frame_len; /* 0: nothing is kept */
	uint8_t exchange_len, key_len;
	bool mandatory;
	uint8_t frame[REPEAT_FRAME_MAX]; /* the method's, with channel 0 in it */
};

enum channel_state {
	CHANNEL_OPEN,
	CHANNEL_LEAVING, /* closed by its client or left by a dead one: finishes what was accepted */
	CHANNEL_FAILED	 /* ended by an error; the client has to open it again */
};

enum slot_state {
	SLOT_DONE,    /* settled, or needs nothing */
	SLOT_PENDING, /* waits in its consumer for credit */
	SLOT_OUT,     /* with the client */
	SLOT_TAKEN,   /* auto-ack: handed over, the socket has not taken it */
	SLOT_ACKED,   /* acked by the client; the broker is told at the end of the turn */
	/* On a lane in tx mode: */
	SLOT_TX,     /* settled by the client in the open transaction */
	SLOT_BACK,   /* to be given back by us when something is sent next */
	SLOT_TX_BACK /* given back by us in the open transaction */
};

/* Beside the state: one of a consumer's, that counts for qos while the client has it. */
#define SLOT_COUNTS 0x20u

/* How a message that cannot be kept leaves its slot; beside the state. */
enum slot_kind {
	SLOT_RETURNABLE = 0,
	SLOT_STREAM = 0x40, /* the broker has it anyway, and closes the connection for a nack */
	SLOT_DOUBT = 0x80   /* perhaps of a stream: settled by its client alone, or with the lane */
};

/* Deliveries on the channel's lane: the slot of lane tag first + i. */
struct deliveries {
	uint8_t *ring; /* owned; enum slot_state and slot_kind, SLOT_COUNTS */
	size_t mask;
	uint64_t first, next; /* lane tags; as in struct confirms */
	uint64_t lane_base;   /* the lane's last tag before this lease */
	uint64_t client_base; /* the client's last tag before it */
	uint64_t stale;	      /* the client's tags up to this are of connections that are gone */
	uint64_t open;	      /* slots that are not DONE: they pin the lane */
	uint64_t acked;	      /* slots that are ACKED */
	uint64_t acked_first; /* none of them is lower */
	uint64_t acked_last;  /* the highest of them */
	uint64_t unhurried;   /* of the ACKED ones, those of auto-ack consumers */
	bool streams;	      /* some are not SLOT_RETURNABLE */
	uint64_t tx;	      /* slots that are SLOT_TX or SLOT_TX_BACK */
	uint64_t back;	      /* slots that are SLOT_BACK */
	uint64_t counted;     /* slots with SLOT_COUNTS that the client has */
	bool limited;	      /* something may wait for channel->unacked_max */
};

/* Consecutive publishes of a transaction; of mandatory ones a single one. */
struct tx_run {
	uint64_t first, last; /* numbers */
	bool mandatory, returned;
	uint64_t hash; /* of a mandatory one's names and body */
	uint32_t record;
};

/* A channel's transaction: see tx.h. */
struct tx {
	bool asked, begun;
	uint32_t ends;	     /* requests that end one, or recover, and are unanswered or unsent */
	uint32_t settles;    /* OP_SETTLE in the queue */
	struct tx_run *runs; /* owned; the publishes that were sent, in order */
	size_t run_count, run_capacity;
	size_t run_returned;  /* those before it were returned, or will not be */
	struct charge charge; /* on the session, for both */
};

/* A consumer that was cancelled while messages were unsettled: see quirks.h. */
struct former_consumer {
	uint64_t epoch;
	uint64_t names; /* of its queue and tag, hashed */
	uint16_t prefetch;
};

#define FORMER_CONSUMERS_MAX 4u

struct channel {
	struct list node;	     /* in session->leaving or upstream->orphans, or neither */
	struct list lane_node;	     /* in upstream->waiting */
	struct list touched_node;    /* in mux->touched */
	struct list unhurried_node;  /* in mux->unhurried */
	struct list recovery_node;   /* in a list of upstream->recovery: its consumers are not all back yet */
	struct suspicion *suspicion; /* it may have cost the connection, and sends nothing; NULL: no */
	struct session *session;     /* NULL: nobody to tell */
	struct upstream *upstream;
	struct lane *lane; /* NULL: none leased */
	struct mux_channel_id id;
	enum channel_state state;
	struct fault fault;	    /* why it failed */
	struct list queue;	    /* struct op not yet sent */
	uint32_t requests;	    /* unanswered or unsent ones, ours included */
	uint32_t close_request;	    /* to be answered when it has left; 0: none */
	uint32_t close_record;	    /* of it, in the session's recorder */
	uint64_t published;	    /* number of the last one accepted */
	uint64_t unsettled;	    /* publishes without an outcome */
	uint64_t unsettled_bytes;   /* of credit that these cost */
	struct charge charge;	    /* for them, when the session that paid before has ended */
	struct user_ref user;	    /* who pays then */
	uint64_t unacked;	    /* deliveries with the client */
	struct timer timer;	    /* earliest deadline of a publish */
	enum outcome_kind run_kind; /* outcomes not yet told: run_first..run_last */
	uint64_t run_first, run_last;
	struct fault run_fault;
	struct list consumers; /* struct consumer */
	uint32_t consumer_count;
	uint32_t consumer_serial; /* consumers that got a tag from us */
	uint32_t turns;		  /* how often one was begun anew: no tag comes twice */
	struct former_consumer former[FORMER_CONSUMERS_MAX]; /* a ring */
	size_t former_next;
	uint32_t restoring;   /* consumers that the broker's connection does not know yet again */
	uint32_t prefetch;    /* of the consumers to come; 0: the default */
	uint32_t unacked_max; /* of all consumers together; 0: no limit */
	struct tx tx;
	struct deliveries deliveries;
	struct repeat repeat;
	uint8_t last_queue_len;
	char last_queue[255]; /* what the empty queue name means */
	enum queue_kind last_kind;
	bool allowed_known;	/* an exchange was authorized: this one was the last */
	uint32_t allowed_rules; /* by these rules; mux->rules if they still hold */
	uint8_t allowed_len;
	char allowed[255];
};

/* How far a consumer is on its way to a smaller prefetch. */
enum shrink_state {
	SHRINK_NOT,
	SHRINK_CANCELLING, /* basic.cancel was sent: what comes goes back */
	SHRINK_DRAINING	   /* cancelled; starts again when little waits */
};

struct consumer {
	struct list node;	 /* in channel->consumers */
	struct list choked_node; /* in session->choked */
	struct channel *channel;
	uint32_t number; /* the client's name for it */
	bool no_ack;
	bool broker_no_ack; /* direct reply-to cannot be acked */
	bool started;	    /* consume-ok came */
	bool suspect;	    /* the broker may fall over what it would deliver: see suspect.h */
	bool on_trial;	    /* the scout tries it now */
	bool restoring;	    /* it had come on a connection that is gone, and is to come again */
	bool cancel_asked;  /* by the client: delivers on until cancel-ok */
	bool gone;	    /* ended from our side; its tag is in use until cancel-ok */
	bool cancel_sent;   /* by us: it goes at cancel-ok */
	enum shrink_state shrinking;
	bool exclusive;				/* as basic.consume asked */
	struct entity *queue;			/* kept while it is started; NULL: not known */
	enum queue_kind kind;			/* of its queue */
	bool has_offset;			/* of a stream: it had messages */
	int64_t offset;				/* of the last one */
	bool looked;				/* at a message, for signs of a stream */
	bool in_doubt;				/* there were some */
	uint64_t largest;			/* message seen, in bytes as held */
	struct buf consume;			/* the frame of its basic.consume, owned */
	uint64_t credit_messages, credit_bytes; /* totals granted */
	uint64_t used_messages, used_bytes;
	struct list pending;   /* struct held_message that wait for credit */
	struct charge charge;  /* of pending ones */
	uint16_t prefetch;     /* for basic.qos */
	uint16_t own_prefetch; /* the most it may be */
	bool widening; /* begun anew with a larger one: the broker still knows it by its last tag, too */
	bool last_cancelled; /* that was cancelled */
	uint32_t turn;	     /* of channel->turns, when it was begun anew: part of its tag at the broker */
	uint32_t last_turn;  /* part of the one before */
	uint16_t first_prefetch; /* before that, under the tag as it was asked for */
	uint8_t tag_len;
	char tag[255]; /* as it was asked for */
};

/* A delivery that waits for its consumer's credit. */
struct held_message {
	struct list node;
	uint64_t lane_tag;
	size_t size; /* of this block, as charged */
	size_t method_len, header_len, body_len;
	uint8_t data[]; /* the payloads of method and header, and the body */
};

/* Something that is done when the session's socket has taken its bytes. */
struct taken {
	uint64_t position; /* in the output stream */
	struct mux_channel_id channel;
	uint64_t tag;	     /* auto-ack, as a client would name it; 0: none */
	uint64_t cost_bytes; /* publish credit of a returned message; 0: none */
};

struct channel_slot {
	struct channel *channel; /* NULL: never opened, or closed */
	uint32_t generation;	 /* of the last one opened; 0: none */
};

struct session {
	struct list node; /* in mux->sessions */
	struct mux *mux;
	struct upstream *upstream;
	const struct session_ops *ops;
	void *context;
	uint64_t id;
	struct mux_creds creds; /* groups owned */
	struct mono since;
	bool ended;
	uint8_t program_len;
	char program[PROGRAM_MAX];

	struct channel_slot *channels; /* owned, by number */
	uint32_t channel_slots;
	uint32_t channel_count;
	struct list leaving;  /* struct channel that the client closed and that is not finished */
	struct list requests; /* struct request unanswered */
	uint32_t request_count;
	struct list owned;    /* struct owned_queue */
	struct list holdings; /* struct holder */

	struct party party;

	struct session_limits asked_limits; /* 0: mux's */
	struct session_limits limits;	    /* the lower of both */
	uint64_t told_message_max;	    /* the most they ever were: what its client goes by */
	uint32_t told_channels;
	struct user_ref user;
	struct account memory;
	struct charge credit_charge;		    /* what the granted credit may still cost */
	uint64_t window_bytes;			    /* credit that is kept open; grows with use */
	uint64_t largest_cost;			    /* of a publish, or one that it wanted to send */
	uint64_t granted_messages, granted_bytes;   /* totals, as told */
	uint64_t used_messages, used_bytes;	    /* totals of publishes accepted */
	uint64_t released_messages, released_bytes; /* totals of those that ended */
	uint64_t want_messages, want_bytes;	    /* totals asked for */
	bool wants;				    /* it asked for more than it was granted */
	struct list credit_node;		    /* in mux->credits */
	struct list want_node;			    /* in mux->wants */

	uint64_t handed_position;  /* of the last message in its output */
	uint64_t written_position; /* what the socket took */
	struct charge backlog_charge;
	struct list choked; /* struct consumer that waits for the socket, in turn */

	uint64_t get_credit, get_used; /* bytes, totals */
	uint32_t gets;		       /* under way at the broker */
	bool gets_held;		       /* a lane waits to send another */
	struct taken *taken;	       /* owned ring */
	size_t taken_mask, taken_first, taken_count;

	uint64_t published, delivered, unacked;
	struct pace pace;	   /* of its publishes and deliveries */
	struct recorder *recorder; /* owned; NULL: nothing was asked yet */
};

enum owned_state {
	OWNED_DECLARING, /* declare is queued or sent */
	OWNED_DECLARED,
	OWNED_DELETING /* deleted, or about to be */
};

/* An exclusive queue: ours at the broker, and one session's here. */
struct owned_queue {
	struct map_node map_node; /* in upstream->queues */
	struct list node;	  /* in session->owned */
	struct session *session;  /* NULL: gone; delete it */
	struct upstream *upstream;
	enum owned_state state;
	uint32_t pending;		       /* requests about it that have not ended */
	const struct channel *declared_beside; /* while others were pending; to be compared only */
	uint8_t name_len;
	char name[255];
};

static inline struct request *op_request(struct op *op)
{
	return container_of(op, struct request, op);
}

static inline struct publish *op_publish(struct op *op)
{
	return container_of(op, struct publish, op);
}

/* What a publish takes of the window: its bytes on the wire, but for a few of each body frame, and its cost.
 */
static inline uint64_t publish_window_bytes(const struct publish *publish)
{
	return MUX_MESSAGE_COST_BYTES + publish->head_len + publish->body_len;
}

/* A line of the log about an upstream, whose name is also a field of its own. */
#define log_upstream(level, upstream, format, ...)                                                \
	log_write(level, &(const struct log_field){"MUXD_UPSTREAM", (upstream)->options.name}, 1, \
		  "upstream \"%s\": " format, (upstream)->options.name, ##__VA_ARGS__)

/* The channel is looked at when the turn ends: channel_turn(). */
static inline void channel_touch(struct channel *channel)
{
	if (list_empty(&channel->touched_node))
		list_append(&channel->upstream->mux->touched, &channel->touched_node);
}
