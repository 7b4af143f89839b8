/*
 * The flight recorder: what a session asked for last, so that an operator can
 * tell which process, call and argument was behind a close. It is a ring of
 * RECORDER_ENTRIES entries and of RECORDER_BYTES bytes of what goes to the
 * broker: methods, and the properties of publishes, each cut. Never bodies. It
 * becomes text only when somebody looks (daemon/amqp/describe.h).
 *
 * It costs little: both rings begin small and grow while the session has
 * memory for them, and a publish or settling that is like one of the last few
 * entries only counts there. Alike are publishes on one channel with the same
 * exchange, key and flags, the same properties set, and as many bytes of
 * headers; the entry keeps the properties of the first.
 *
 * An entry is named by its serial number, which requests and publishes keep to
 * tell how they ended; 0 is no entry, and one that was overwritten is not
 * found.
 */
#pragma once

#include "daemon/mux/state.h"

#define RECORDER_ENTRIES 64u
#define RECORDER_BYTES 4096u

/* Frees it. */
void recorder_deinit(struct session *session);

/* A request whose method frame is this one. Its serial, or 0. */
uint32_t recorder_request(struct session *session, struct mux_channel_id channel, struct span frame);

/* The same by the method; where it cannot be encoded, by its name alone. */
uint32_t recorder_method(struct session *session, struct mux_channel_id channel,
			 const struct amqc_method *method);

/* One that was answered (code 0) or refused at once. */
void recorder_at_once(struct session *session, struct mux_channel_id channel,
		      const struct amqc_method *method, uint16_t code);

/* An accepted publish; properties are those it has. Its serial, or 0. */
uint32_t recorder_publish(struct session *session, struct mux_channel_id channel,
			  const struct publish *publish, const struct amqc_properties *properties);

/* One that was refused; with that code the last one was refused too: only counted. */
void recorder_publish_refused(struct session *session, struct mux_channel_id channel,
			      const struct mux_publish *publish, uint16_t code);

void recorder_settle(struct session *session, struct mux_channel_id channel, enum settle_kind kind,
		     uint64_t first, uint64_t last);

/* One request or publish of the entry has ended, perhaps by an error; code 0: one without a code. */
void recorder_end(struct session *session, uint32_t serial, bool refused, uint16_t code);

/* Logs all of it at level notice, a line for each entry: who was behind a close. */
void recorder_log(const struct session *session);
