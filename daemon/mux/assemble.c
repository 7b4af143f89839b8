#include "daemon/mux/assemble.h"

/* A block larger than this is given back after use. */
#define ASSEMBLE_KEEP_BYTES 4096u

void assemble_init(struct assemble *assemble)
{
	*assemble = (struct assemble){.state = ASSEMBLE_IDLE, .kept = BUF_INIT};
}

void assemble_deinit(struct assemble *assemble)
{
	buf_deinit(&assemble->kept);
}

void assemble_done(struct assemble *assemble)
{
	assemble->state = ASSEMBLE_IDLE;
	assemble->too_large = false;
	if (assemble->kept.capacity > ASSEMBLE_KEEP_BYTES)
		buf_deinit(&assemble->kept);
	else
		buf_truncate(&assemble->kept, 0);
}

/* The views point into kept, which moves when it grows: decode them anew, which was possible before. */
static bool redecode(struct assemble *assemble)
{
	struct span kept = buf_span(&assemble->kept);

	if (amqc_method_decode(span_first(kept, assemble->method_len), &assemble->method) != AMQC_OK)
		return false;
	return amqc_content_header_decode(
		   span_first(span_skip(kept, assemble->method_len), assemble->header_len),
		   &assemble->header) == AMQC_OK;
}

enum assemble_result assemble_method(struct assemble *assemble, struct span payload)
{
	if (assemble->state != ASSEMBLE_IDLE)
		return ASSEMBLE_FAULT;
	buf_append_span(&assemble->kept, payload);
	if (buf_failed(&assemble->kept))
		return ASSEMBLE_NO_MEMORY;
	assemble->method_len = payload.len;
	assemble->state = ASSEMBLE_WAIT_HEADER;
	return ASSEMBLE_MORE;
}

enum assemble_result assemble_header(struct assemble *assemble, struct span payload)
{
	if (assemble->state != ASSEMBLE_WAIT_HEADER)
		return ASSEMBLE_FAULT;
	if (amqc_content_header_decode(payload, &assemble->header) != AMQC_OK ||
	    assemble->header.class_id != AMQC_CLASS_BASIC)
		return ASSEMBLE_FAULT;
	buf_append_span(&assemble->kept, payload);
	if (buf_failed(&assemble->kept))
		return ASSEMBLE_NO_MEMORY;
	assemble->header_len = payload.len;
	assemble->state = ASSEMBLE_WAIT_BODY;
	if (assemble->header.body_size > 0)
		return ASSEMBLE_MORE;
	assemble->body = SPAN_NULL;
	return redecode(assemble) ? ASSEMBLE_WHOLE : ASSEMBLE_FAULT;
}

void assemble_skip_body(struct assemble *assemble)
{
	assemble->too_large = true;
	assemble->body_seen = 0;
	assemble->body = SPAN_NULL;
}

static enum assemble_result skip_body(struct assemble *assemble, struct span payload)
{
	if (payload.len > assemble->header.body_size - assemble->body_seen)
		return ASSEMBLE_FAULT;
	assemble->body_seen += payload.len;
	if (assemble->body_seen < assemble->header.body_size)
		return ASSEMBLE_MORE;
	return redecode(assemble) ? ASSEMBLE_WHOLE : ASSEMBLE_FAULT;
}

enum assemble_result assemble_body(struct assemble *assemble, struct span payload)
{
	size_t before = assemble->method_len + assemble->header_len;
	uint64_t size = assemble->header.body_size;
	size_t have;

	if (assemble->state != ASSEMBLE_WAIT_BODY)
		return ASSEMBLE_FAULT;
	if (assemble->too_large)
		return skip_body(assemble, payload);
	have = buf_len(&assemble->kept) - before;
	if (payload.len > size - have)
		return ASSEMBLE_FAULT;
	if (have == 0 && payload.len == size) {
		assemble->body = payload;
		return redecode(assemble) ? ASSEMBLE_WHOLE : ASSEMBLE_FAULT;
	}
	buf_append_span(&assemble->kept, payload);
	if (buf_failed(&assemble->kept))
		return ASSEMBLE_NO_MEMORY;
	if (have + payload.len < size)
		return ASSEMBLE_MORE;
	assemble->body = span_skip(buf_span(&assemble->kept), before);
	return redecode(assemble) ? ASSEMBLE_WHOLE : ASSEMBLE_FAULT;
}
