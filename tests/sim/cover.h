/*
 * What happened in runs, counted: how much a run is, which faults there were,
 * which states mux was in and how it went from one to another. A run counts
 * into the counters of its process, and those are added up.
 *
 * States are looked at once a turn, so what lasts less than a turn is not seen.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COVER_STATES 9u /* of a machine, at most */
#define COVER_SESSIONS 64u
#define COVER_OPERATIONS 2048u
#define COVER_FAULTS 256u

/* What is counted, by group; the faults come first. */
#define COVER_FAULT_EVENTS(X)                                                 \
	X(FAULT_CUT, "connection cut")                                        \
	X(FAULT_CUT_UNNOTICED, "connection cut, the broker notices late")     \
	X(FAULT_CUT_IN_FRAME, "connection cut in the middle of a frame")      \
	X(FAULT_SLOW_LINK, "link stalls")                                     \
	X(FAULT_FROZEN, "broker frozen, TCP alive")                           \
	X(FAULT_RESTART, "broker restarts, loses what is not durable")        \
	X(FAULT_RESTART_KEEPING, "broker goes away and comes back as it was") \
	X(FAULT_CLOSE_ALL, "operator closes all connections")                 \
	X(FAULT_ALARM, "broker raises an alarm")                              \
	X(FAULT_DIAL, "dial fails")                                           \
	X(FAULT_ENDPOINT_DOWN, "endpoint down for a while")                   \
	X(FAULT_THROTTLE, "broker holds back confirms")                       \
	X(FAULT_REFUSED, "broker refuses publishes")                          \
	X(FAULT_OUTSIDE_DELETE, "queue deleted from outside")                 \
	X(FAULT_OUTSIDE_UNBIND, "exchange deleted from outside")              \
	X(FAULT_ACK_TIMEOUT, "broker closes a channel for want of an ack")    \
	X(FAULT_EXIT, "client exits")                                         \
	X(FAULT_EXIT_PUBLISHING, "client exits, publishes under way")         \
	X(FAULT_BREACH, "client breaches the protocol")                       \
	X(FAULT_TRAP, "client runs into what costs the connection")           \
	X(FAULT_SCOUT, "scout dials")                                         \
	X(FAULT_DEAF, "client stops reading")                                 \
	X(FAULT_INEXPRESSIBLE, "message that a client's protocol cannot express")
#define COVER_OUTCOME_EVENTS(X)                \
	X(OUTCOME_SEEN_CONFIRMED, "confirmed") \
	X(OUTCOME_SEEN_RETURNED, "returned")   \
	X(OUTCOME_SEEN_NACKED, "nacked")       \
	X(OUTCOME_SEEN_NOT_SENT, "not sent")   \
	X(OUTCOME_SEEN_UNKNOWN, "unknown")
#define COVER_WIRE_EVENTS(X)                                                  \
	X(WIRE_REPLAYED, "publish replayed")                                  \
	X(WIRE_RESENT, "publish that its client sent before")                 \
	X(WIRE_LATE, "publish accepted on an earlier connection, sent first") \
	X(WIRE_LESS_LEFT, "publish sent with less of its expiration")         \
	X(WIRE_LEFT_IN_DOUBT, "lost connection with unconfirmed publishes")   \
	X(WIRE_FOR_GOOD, "publish sent for good by the scout")                \
	X(WIRE_FLOW_ASKED, "the way to the broker measured")                  \
	X(WIRE_WINDOW_GREW, "window grew")                                    \
	X(WIRE_WINDOW_SHRANK, "window shrank")                                \
	X(WIRE_OVERTAKEN, "consume-ok or cancel-ok behind later answers")     \
	X(WIRE_CONFIRM_RANGE, "confirm of several")                           \
	X(WIRE_CONFIRM_OUT_OF_ORDER, "confirm out of order")                  \
	X(WIRE_RETURN, "return")                                              \
	X(WIRE_RETURN_ALIKE, "return of one of several alike")                \
	X(WIRE_ACK_RANGE, "ack of several")                                   \
	X(WIRE_NACK, "nack")                                                  \
	X(WIRE_REDELIVERED, "redelivery")                                     \
	X(WIRE_CANCEL_NOTIFY, "consumer cancelled by the broker")             \
	X(WIRE_CLOSES_CROSS, "closes of a lane cross")                        \
	X(WIRE_MADE_AGAIN, "recovery with something to bring back")           \
	X(WIRE_PARKED, "recovery has to wait for something")                  \
	X(WIRE_LOCKED, "405, queue locked")                                   \
	X(WIRE_EXCLUSIVE_USE, "403, exclusive consumer")                      \
	X(WIRE_NO_QUEUE, "404")                                               \
	X(WIRE_INEQUIVALENT, "406")
#define COVER_CLIENT_EVENTS(X)                                              \
	X(CLIENT_ANSWERED, "request answered")                              \
	X(CLIENT_REFUSED, "request refused")                                \
	X(CLIENT_REFUSED_CHANNEL, "request refused with its channel")       \
	X(CLIENT_TIMED_OUT, "request timed out")                            \
	X(CLIENT_CHANNEL_FAILED, "channel ended by an error of the broker") \
	X(CLIENT_IN_DOUBT, "request whose outcome is unknown")              \
	X(CLIENT_INTERRUPTED, "consumer interrupted")                       \
	X(CLIENT_REPLIED, "direct reply")                                   \
	X(CLIENT_CANCELLED, "consumer ended")                               \
	X(CLIENT_STALE_ACK, "ack of an earlier connection")                 \
	X(CLIENT_WAITED, "asked for more credit")                           \
	X(CLIENT_EXPIRED, "publish expired before it could be sent")

#define COVER_ENUM(name, text) name,
enum cover_event {
	COVER_FAULT_EVENTS(COVER_ENUM) FAULT_LAST,
	COVER_OUTCOME_EVENTS(COVER_ENUM) OUTCOME_SEEN_LAST,
	COVER_WIRE_EVENTS(COVER_ENUM) WIRE_LAST,
	COVER_CLIENT_EVENTS(COVER_ENUM) COVER_EVENTS
};
#undef COVER_ENUM

enum cover_machine {
	MACHINE_UPSTREAM,
	MACHINE_RECOVERY,
	MACHINE_LANE,
	MACHINE_CHANNEL,
	MACHINE_CONSUMER,
	MACHINES
};

struct cover {
	uint64_t runs, cpu_usec;
	uint64_t events[COVER_EVENTS];
	uint64_t states[MACHINES][COVER_STATES];
	uint64_t moves[MACHINES][COVER_STATES][COVER_STATES];
	/* Runs by how many they had; the last slot is for more. */
	uint32_t sessions[COVER_SESSIONS];
	uint32_t operations[COVER_OPERATIONS];
	uint32_t faults[COVER_FAULTS];
};

/* A run is over. */
void cover_run(struct cover *cover, uint32_t sessions, uint32_t operations, uint32_t faults,
	       uint64_t cpu_usec);
void cover_add(struct cover *to, const struct cover *from);
void cover_print(const struct cover *cover);

/* A machine is in a state, and was in another when it was looked at before. */
static inline void cover_state(struct cover *cover, enum cover_machine machine, uint8_t *before,
			       unsigned int state)
{
	cover->states[machine][state]++;
	if (*before != state)
		cover->moves[machine][*before][state]++;
	*before = (uint8_t)state;
}
