/*
 * How many bytes may lie in the kernel, sent or not, ahead of what is written
 * next. What lies there can no longer be overtaken; TCP puts there all that a
 * slow link's queue takes, tens of milliseconds of it.
 *
 * A link has a queue when its round trips take longer than the shortest one
 * did. Then what is under way is bounded to what keeps the link busy (its rate
 * times the shortest round trip) and a little more. Without such a queue
 * nothing is bounded.
 *
 * The little more is some segments at least: a receiver answers the second of
 * two full segments at once, and what is less only after its delayed-ack time,
 * 40 ms (RFC 1122, 4.2.3.2). To wait for that answer would be 33 KB in 40 ms
 * where a segment is 64 KiB (loopback), and would itself look like a queue.
 *
 * The figures are TCP_INFO's, tcp(7); a kernel or socket without them: no bound.
 */
#pragma once

#include "daemon/base/clock.h"

#include <stddef.h>

struct ahead {
	struct mono look_next;	   /* at TCP_INFO, not before */
	struct mono bounded_until; /* it had a queue */
	uint64_t limit;		   /* bytes under way, while it is bounded */
};

/* What TCP_INFO says of a connection. */
struct ahead_path {
	uint64_t rtt_usec; /* smoothed */
	uint64_t min_rtt_usec;
	uint64_t rate; /* bytes a second */
	uint64_t segment_bytes;
};

void ahead_note(struct ahead *ahead, struct mono now, const struct ahead_path *path);

/* After that, room is looked for again. */
#define AHEAD_RETRY_USEC 1000u

/* Bytes that may be written to the socket now; SIZE_MAX: any. */
size_t ahead_room(struct ahead *ahead, int fd, struct mono now);
