/*
 * A broker that says what it likes while a connection begins: muxd's answers
 * are start-ok, tune-ok, open and close-ok, in this order and whole, within
 * what both sides allow; nothing reaches the lanes before the connection is
 * open; and the result does not depend on how the bytes were cut.
 *
 * The first byte of the input chooses our options and whether the rest is raw
 * bytes or a row of pieces, each the payload of a frame that is well made.
 */
#include "daemon/mux/conn.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

#include <ctype.h>

#define FRAME_MAX 131072u

struct talk {
	struct conn conn;
	struct timerq timers;
	unsigned int opened, ended, frames;
	enum conn_end end;
};

static void on_opened(void *context)
{
	struct talk *talk = context;

	require(talk->opened++ == 0 && talk->ended == 0);
}

static void on_frame(void *context, const struct amqc_frame *frame)
{
	struct talk *talk = context;

	require(talk->opened == 1 && talk->ended == 0 && frame->channel != 0);
	talk->frames++;
}

static void on_blocked(void *context, bool blocked, struct span reason)
{
	struct talk *talk = context;

	require(talk->opened == 1 && talk->ended == 0);
}

static void on_ended(void *context, enum conn_end end, const struct fault *fault)
{
	struct talk *talk = context;

	require(talk->ended++ == 0);
	require(end == CONN_END_CLOSED || fault->origin == FAULT_BROKER || fault->text[0] != 0);
	talk->end = end;
}

static const struct conn_ops conn_ops = {on_opened, on_frame, on_blocked, on_ended};

static struct handshake_options options_of(unsigned int choice)
{
	static char long_vhost[300];

	memset(long_vhost, 'v', sizeof(long_vhost) - 1);
	return (struct handshake_options){
	    .sasl = choice & 1 ? "EXTERNAL" : "PLAIN",
	    .user = "user",
	    .password = "pass",
	    .vhost = choice & 2 ? (choice & 4 ? long_vhost : "") : "/",
	    .connection_name = "name",
	    .channel_max = choice & 8 ? 7 : 65535,
	    .frame_max = choice & 16 ? AMQC_FRAME_SIZE_MIN : FRAME_MAX,
	    .heartbeat_sec = choice & 32 ? 20 : 0,
	};
}

/* ------------------------------------------------------------------ what muxd has said */

static bool within(uint32_t chosen, uint32_t ours)
{
	return chosen <= ours;
}

static void check_said(const struct talk *talk, const struct handshake_options *options,
		       const struct amqc_method *method, unsigned int *step)
{
	const struct handshake *handshake = &talk->conn.handshake;

	switch (method->id) {
	case AMQC_CONNECTION_START_OK:
		require((*step)++ == 0);
		require(span_equal_str(method->connection_start_ok.mechanism, options->sasl));
		require((method->connection_start_ok.response.len == 0) == (options->sasl[0] == 'E'));
		return;
	case AMQC_CONNECTION_TUNE_OK:
		require((*step)++ == 1);
		require(method->connection_tune_ok.channel_max == handshake->channel_max);
		require(method->connection_tune_ok.frame_max == handshake->frame_max);
		require(within(method->connection_tune_ok.channel_max, options->channel_max));
		require(within(method->connection_tune_ok.frame_max, options->frame_max));
		require(within(method->connection_tune_ok.heartbeat, options->heartbeat_sec));
		require(handshake->channel_max > 0 && handshake->frame_max >= AMQC_FRAME_SIZE_MIN);
		return;
	case AMQC_CONNECTION_OPEN:
		require((*step)++ == 2);
		require(span_equal_str(method->connection_open.virtual_host, options->vhost));
		return;
	default:
		require(method->id == AMQC_CONNECTION_CLOSE_OK && talk->ended == 1);
	}
}

static void check_output(struct talk *talk, const struct handshake_options *options)
{
	struct span out = buf_span(&talk->conn.out);
	struct amqc_method method;
	struct amqc_frame frame;
	unsigned int step = 0;
	size_t size;

	require(span_equal(span_first(out, AMQC_PROTOCOL_HEADER_LEN),
			   span_make(AMQC_PROTOCOL_HEADER, AMQC_PROTOCOL_HEADER_LEN)));
	out = span_skip(out, AMQC_PROTOCOL_HEADER_LEN);
	while (out.len > 0) {
		require(amqc_frame_peek(out, FRAME_MAX, &frame, &size) == AMQC_OK);
		require(frame.channel == 0 && frame.type == AMQC_FRAME_METHOD);
		require(amqc_method_decode(frame.payload, &method) == AMQC_OK);
		check_said(talk, options, &method, &step);
		out = span_skip(out, size);
	}
	require(talk->opened == 0 || step == 3);
	for (const char *c = talk->conn.handshake.broker; *c; c++)
		require(isprint((unsigned char)*c));
}

/* ------------------------------------------------------------------ the broker */

/* Frames on channel 0, but where the piece says otherwise. */
static void make_frames(struct input *input, struct buf *out)
{
	while (input->rest.len > 0) {
		uint8_t kind = input_byte(input);
		uint8_t type = kind < 224 ? AMQC_FRAME_METHOD : (uint8_t)(1 + kind % 9);
		struct span payload;
		size_t mark = amqc_frame_begin(out, type, kind < 192 ? 0 : kind % 4);

		payload = kind % 2 ? span_first(input->rest, 256u + input_byte(input)) : input_bytes(input);
		if (kind % 2)
			input->rest = span_skip(input->rest, payload.len);
		buf_append_span(out, payload);
		amqc_frame_end(out, mark);
	}
}

static void talk_begin(struct talk *talk, const struct handshake_options *options)
{
	*talk = (struct talk){.opened = 0};
	talk->timers = TIMERQ_INIT;
	conn_init(&talk->conn, &talk->timers, &conn_ops, talk);
	conn_begin(&talk->conn, options, (struct mono){1});
}

static void talk_end(struct talk *talk)
{
	conn_deinit(&talk->conn);
}

/* All of it, in pieces of so many bytes. */
static void feed(struct talk *talk, struct span bytes, size_t piece)
{
	size_t end = 0;

	while (bytes.len > 0 && talk->ended == 0) {
		size_t took;

		end = end + piece < bytes.len ? end + piece : bytes.len;
		took = conn_feed(&talk->conn, span_first(bytes, end), (struct mono){1});
		require(took <= end);
		if (took == 0 && end == bytes.len)
			return;
		bytes = span_skip(bytes, took);
		end -= took;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {span_make(data, size)};
	uint8_t choice = input_byte(&input);
	struct handshake_options options = options_of(choice);
	struct buf bytes = BUF_INIT;
	struct talk whole, cut;

	if (choice & 128)
		buf_append_span(&bytes, input.rest);
	else
		make_frames(&input, &bytes);
	talk_begin(&whole, &options);
	talk_begin(&cut, &options);
	feed(&whole, buf_span(&bytes), buf_len(&bytes));
	feed(&cut, buf_span(&bytes), 1u + choice % 16);
	check_output(&whole, &options);
	require(span_equal(buf_span(&whole.conn.out), buf_span(&cut.conn.out)));
	require(whole.conn.state == cut.conn.state && whole.opened == cut.opened);
	require(whole.ended == cut.ended && whole.end == cut.end && whole.frames == cut.frames);
	talk_end(&whole);
	talk_end(&cut);
	buf_deinit(&bytes);
	return 0;
}
