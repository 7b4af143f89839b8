/*
 * Content on its way in on one lane: a method that announces it, a header
 * frame, body frames until the announced size is there. A body that came in
 * one frame is handed on as it lies in the input; others are gathered.
 */
#pragma once

#include "daemon/amqp/content.h"

enum assemble_result {
	ASSEMBLE_MORE,	/* go on */
	ASSEMBLE_WHOLE, /* the content is there: assemble->method, header, body */
	ASSEMBLE_FAULT, /* frames that may not follow each other, or do not decode: the broker's fault */
	ASSEMBLE_NO_MEMORY
};

enum assemble_state {
	ASSEMBLE_IDLE,
	ASSEMBLE_WAIT_HEADER,
	ASSEMBLE_WAIT_BODY
};

struct assemble {
	enum assemble_state state;
	struct amqc_method method; /* what announced it; views of kept, or of the input while it lasts */
	struct amqc_content_header header; /* likewise */
	struct span body;
	struct buf kept; /* owned: the payloads of method and header, then the body; empty between contents */
	size_t method_len, header_len;
	bool too_large;	    /* its body is counted, not kept; ends with it */
	uint64_t body_seen; /* bytes of it that came, if it is too large */
};

void assemble_init(struct assemble *assemble);
void assemble_deinit(struct assemble *assemble);

/* The payload of a method frame whose method announces content (decoded: method). */
enum assemble_result assemble_method(struct assemble *assemble, struct span payload);
enum assemble_result assemble_header(struct assemble *assemble, struct span payload);

/* Between header and body: whoever it is for cannot have it, so its body is dropped as it comes. */
void assemble_skip_body(struct assemble *assemble);

enum assemble_result assemble_body(struct assemble *assemble, struct span payload);

/* Call when a whole content was dealt with: makes ready for the next. */
void assemble_done(struct assemble *assemble);
