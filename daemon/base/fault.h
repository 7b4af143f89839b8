/*
 * A fault: an error as data, on its way to a peer or to the log. It is what
 * AMQP calls a reply code and text, with who said it and whether the same may
 * work later.
 *
 * Three kinds of errors never share a channel: a negative errno is our own
 * failure, forwarded up; a positive enum is a condition that the direct caller
 * handles; a fault is for the other side.
 */
#pragma once

#include "proto/span.h"

#define FAULT_TEXT_MAX 255u

enum fault_origin {
	FAULT_MUXD,  /* muxd found it */
	FAULT_BROKER /* the broker said so */
};

struct fault {
	uint16_t code;	   /* AMQP reply code, see daemon/amqp/reply.h; 0: no fault */
	uint16_t class_id; /* the method that is blamed, or 0 */
	uint16_t method_id;
	enum fault_origin origin;
	bool retryable; /* the same may work later */
	uint8_t text_len;
	char text[FAULT_TEXT_MAX + 1]; /* text_len bytes and a NUL */
};

#define FAULT_NONE ((struct fault){0})

/* A fault of muxd's own, its text cut at FAULT_TEXT_MAX. */
struct fault fault_make(uint16_t code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same, marked retryable. */
struct fault fault_make_retryable(uint16_t code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* What a broker said. */
struct fault fault_from_broker(uint16_t code, struct span text, uint16_t class_id, uint16_t method_id);

bool fault_equal(const struct fault *a, const struct fault *b);

static inline bool fault_is_set(const struct fault *fault)
{
	return fault->code != 0;
}

static inline struct span fault_text(const struct fault *fault)
{
	return span_make(fault->text, fault->text_len);
}
