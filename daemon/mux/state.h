/*
 * The state of the multiplexer by name, and who owns it. The structs stand in
 * state/, by what belongs together; the modules beside this file each have the
 * functions of one of them. What is asked goes down this list; what goes up it
 * is that something has ended, or may go on (a request's deadline, a delivery
 * for which there is no memory):
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

#include "daemon/mux/mux.h"

/* state/mux.h */
struct mux;

/* state/share.h */
struct user;
struct user_ref;
struct party;

/* state/blame.h */
struct offender;
struct culprit;
struct blame;

/* state/upstream.h */
struct upstream;

/* state/topology.h */
struct entity;
struct thing;
struct holder;
struct topology;
struct recovery;

/* state/queues.h */
struct kinds;
struct clashes;
struct owned_queue;

/* state/session.h */
struct channel_slot;
struct session;

/* state/channel.h */
struct tx_run;
struct tx;
struct former_consumer;
struct channel;

/* state/op.h */
struct op;
struct request;
struct publish;
struct repeat;

/* state/delivery.h */
struct deliveries;
struct taken;

/* state/consumer.h */
struct consumer;
struct held_message;

/* state/lane.h */
struct confirms;
struct lane_tx;
struct lane;
