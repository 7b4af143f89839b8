#include "tests/fuzz/fake-muxd.h"

#include "proto/frame.h"
#include "tests/fuzz/client-redirect.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

#define FAKE_FD 100000 /* no descriptor has such a number */
#define IDLE_MAX 10000u
#define STANDING_MESSAGES 64u
#define STANDING_BYTES 16384u
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct fake_muxd muxd;

/* ------------------------------------------------------------------ the session */

static void session_deinit(void)
{
	buf_deinit(&muxd.said);
	buf_deinit(&muxd.heard);
	buf_deinit(&muxd.last);
	muxd.fd = -1;
}

static void session_begin(int fd)
{
	session_deinit();
	muxd.fd = fd;
	muxd.gone = false;
	muxd.piece = SIZE_MAX;
	muxd.room = SIZE_MAX;
	muxd.said = muxd.heard = muxd.last = BUF_INIT;
	muxd.asked_count = 0;
	memset(muxd.generations, 0, sizeof(muxd.generations));
	memset(muxd.published, 0, sizeof(muxd.published));
	memset(muxd.tags, 0, sizeof(muxd.tags));
	memset(muxd.consumers, 0, sizeof(muxd.consumers));
	muxd.credit_messages = STANDING_MESSAGES;
	muxd.credit_bytes = STANDING_BYTES;
	muxd.spent_messages = muxd.spent_bytes = 0;
}

void muxd_init(struct input *input)
{
	muxd = (struct fake_muxd){.input = input, .now_usec = 1000000000, .listens = true, .fd = -1};
	muxd.said = muxd.heard = muxd.last = BUF_INIT;
}

void muxd_deinit(void)
{
	require(muxd.descriptors == 0);
	session_deinit();
}

/* ------------------------------------------------------------------ what the library says */

static void hear_request(const Muxd__V1__ClientFrame *frame)
{
	require(frame->request > 0);
	for (unsigned int i = 0; i < muxd.asked_count; i++)
		require(muxd.asked[i].id != frame->request);
	if (muxd.asked_count < MUXD_ASKED_MAX)
		muxd.asked[muxd.asked_count++] =
		    (struct asked){frame->request, (int)frame->op_case, frame->channel};
}

static void hear_frame(const Muxd__V1__ClientFrame *frame, size_t cost_bytes)
{
	uint32_t channel = frame->channel < MUXD_CHANNELS ? frame->channel : 0;

	switch (frame->op_case) {
	case MUXD__V1__CLIENT_FRAME__OP_PUBLISH:
		muxd.spent_messages++;
		muxd.spent_bytes += cost_bytes;
		require(muxd.spent_messages <= muxd.credit_messages && muxd.spent_bytes <= muxd.credit_bytes);
		muxd.published[channel]++;
		break;
	case MUXD__V1__CLIENT_FRAME__OP_CHANNEL_OPEN:
		require(channel == 0 || frame->channel_open->generation > muxd.generations[channel]);
		muxd.generations[channel] = frame->channel_open->generation;
		muxd.published[channel] = muxd.tags[channel] = 0;
		break;
	case MUXD__V1__CLIENT_FRAME__OP_CONSUME:
		muxd.consumers[channel] = frame->consume->consumer;
		break;
	default:
		require(frame->op_case != MUXD__V1__CLIENT_FRAME__OP__NOT_SET);
	}
	if (frame->has_request)
		hear_request(frame);
}

/* Whatever muxd does, the library sends whole frames that can be unpacked. */
static void hear(void)
{
	struct ipc_frame bytes;
	enum ipc_frame_result result;
	size_t size;

	while ((result = ipc_frame_parse(buf_span(&muxd.heard), IPC_PAYLOAD_MAX, &bytes, &size)) ==
	       IPC_FRAME_OK) {
		Muxd__V1__ClientFrame *frame =
		    muxd__v1__client_frame__unpack(NULL, bytes.header.len, bytes.header.data);

		require(frame != NULL);
		hear_frame(frame, bytes.header.len + bytes.payload.len);
		muxd__v1__client_frame__free_unpacked(frame, NULL);
		buf_consume(&muxd.heard, size);
	}
	require(result == IPC_FRAME_INCOMPLETE);
}

/* ------------------------------------------------------------------ what muxd says */

static void say_bytes(struct span header, struct span payload)
{
	struct buf frame = BUF_INIT;

	if (muxd.fd < 0 || muxd.gone)
		return;
	ipc_frame_prefix(&frame, header.len, payload.len);
	buf_append_span(&frame, header);
	buf_append_span(&frame, payload);
	buf_append_span(&muxd.said, buf_span(&frame));
	buf_deinit(&muxd.last);
	muxd.last = frame;
}

static void say(const Muxd__V1__ServerFrame *frame, struct span payload)
{
	size_t len = muxd__v1__server_frame__get_packed_size(frame);
	uint8_t *header = malloc(len ? len : 1);

	require(header != NULL);
	(void)muxd__v1__server_frame__pack(frame, header);
	say_bytes(span_make(header, len), payload);
	free(header);
}

static ProtobufCBinaryData text_from(struct input *input)
{
	struct span bytes = input_bytes(input);

	return (ProtobufCBinaryData){bytes.len, (uint8_t *)(uintptr_t)bytes.data};
}

static ProtobufCBinaryData text_of(const char *text)
{
	return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

/* Small numbers, those that were used, and all the others. */
static uint64_t number(struct input *input, uint64_t near)
{
	unsigned int choice = input_byte(input);

	if (choice < 160)
		return near;
	if (choice < 200)
		return near + choice - 180;
	return choice < 240 ? choice - 200 : UINT64_MAX - (255 - choice) * (uint64_t)input_u32(input);
}

/* An answer to something that was asked, mostly; of the channel that it was about. */
static void address_request(Muxd__V1__ServerFrame *frame, unsigned int index)
{
	frame->has_request = true;
	if (muxd.asked_count == 0) {
		frame->request = (uint32_t)number(muxd.input, index);
		return;
	}
	index %= muxd.asked_count;
	frame->request = muxd.asked[index].id;
	frame->channel = muxd.asked[index].channel;
	frame->has_channel = frame->channel > 0;
	muxd.asked[index] = muxd.asked[--muxd.asked_count];
}

static uint32_t address_channel(Muxd__V1__ServerFrame *frame, unsigned int choice)
{
	uint32_t channel = 1 + choice % (MUXD_CHANNELS - 1);

	frame->has_channel = frame->has_generation = true;
	frame->channel = channel;
	frame->generation = muxd.generations[channel];
	if (choice > 240)
		frame->generation -= 1;
	if (choice == 240)
		frame->channel = input_u32(muxd.input);
	return channel;
}

static void say_answer(unsigned int index)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Done done = MUXD__V1__DONE__INIT;
	Muxd__V1__Counted counted = MUXD__V1__COUNTED__INIT;
	Muxd__V1__Consuming consuming = MUXD__V1__CONSUMING__INIT;
	Muxd__V1__QueueDeclared declared = MUXD__V1__QUEUE_DECLARED__INIT;
	Muxd__V1__GotNothing nothing = MUXD__V1__GOT_NOTHING__INIT;
	int op;

	if (muxd.asked_count == 0)
		return;
	op = muxd.asked[index % muxd.asked_count].op;
	address_request(&frame, index);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_DONE;
	frame.done = &done;
	if (op == MUXD__V1__CLIENT_FRAME__OP_QUEUE_DECLARE) {
		declared.has_queue = declared.has_resume = true;
		declared.queue = declared.resume = text_of("muxd.gen-a");
		frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_QUEUE_DECLARED;
		frame.queue_declared = &declared;
	} else if (op == MUXD__V1__CLIENT_FRAME__OP_CONSUME) {
		consuming.has_consumer_tag = true;
		consuming.consumer_tag = text_of("tag");
		frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_CONSUMING;
		frame.consuming = &consuming;
	} else if (op == MUXD__V1__CLIENT_FRAME__OP_GET) {
		frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_GOT_NOTHING;
		frame.got_nothing = &nothing;
	} else if (op == MUXD__V1__CLIENT_FRAME__OP_QUEUE_PURGE ||
		   op == MUXD__V1__CLIENT_FRAME__OP_QUEUE_DELETE) {
		frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_COUNTED;
		frame.counted = &counted;
	}
	say(&frame, SPAN_NULL);
}

static void say_answer_any(struct input *input)
{
	say_answer(input_byte(input));
}

/* All that is due. */
static void say_answers(struct input *input)
{
	while (muxd.asked_count > 0)
		say_answer(0);
}

static void note_credit(uint64_t messages, uint64_t bytes)
{
	if (messages > muxd.credit_messages)
		muxd.credit_messages = messages;
	if (bytes > muxd.credit_bytes)
		muxd.credit_bytes = bytes;
}

static void say_welcome(struct input *input)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Welcome welcome = MUXD__V1__WELCOME__INIT;
	Muxd__V1__Credit credit = MUXD__V1__CREDIT__INIT;
	Muxd__V1__UpstreamChanged upstream = MUXD__V1__UPSTREAM_CHANGED__INIT;
	unsigned int choice = input_byte(input);

	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_WELCOME;
	frame.welcome = &welcome;
	welcome.has_session = welcome.has_channels_max = welcome.has_requests_max = true;
	welcome.session = 7;
	welcome.channels_max = choice & 1 ? 3 : (uint32_t)number(input, 100);
	welcome.requests_max = choice & 2 ? 3 : (uint32_t)number(input, 100);
	welcome.has_message_max = choice & 4;
	welcome.message_max = number(input, 4096);
	credit.has_messages = credit.has_bytes = true;
	credit.messages = number(input, 100);
	credit.bytes = number(input, 100000);
	if (!(choice & 8)) {
		welcome.credit = &credit;
		note_credit(credit.messages, credit.bytes);
	}
	if (choice & 16)
		welcome.upstream = &upstream;
	say(&frame, SPAN_NULL);
}

static void say_credit(struct input *input)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Credit credit = MUXD__V1__CREDIT__INIT;

	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_CREDIT;
	frame.credit = &credit;
	credit.has_messages = credit.has_bytes = true;
	credit.messages = number(input, muxd.spent_messages + 10);
	credit.bytes = number(input, muxd.spent_bytes + 5000);
	note_credit(credit.messages, credit.bytes);
	say(&frame, SPAN_NULL);
}

/* A table of a few fields; the fields of an array or a table in it are the others. */
struct table {
	Muxd__V1__Table table, inner;
	Muxd__V1__Field fields[3], inner_fields[2];
	Muxd__V1__Field *row[3], *inner_row[2];
};

static void put_field(struct input *input, Muxd__V1__Field *field, struct table *of)
{
	static const Muxd__V1__Field__ValueCase cases[] = {
	    MUXD__V1__FIELD__VALUE_BOOLEAN,    MUXD__V1__FIELD__VALUE_INT8,
	    MUXD__V1__FIELD__VALUE_UINT32,     MUXD__V1__FIELD__VALUE_INT64,
	    MUXD__V1__FIELD__VALUE_UINT64,     MUXD__V1__FIELD__VALUE_FLOAT32,
	    MUXD__V1__FIELD__VALUE_FLOAT64,    MUXD__V1__FIELD__VALUE_STRING,
	    MUXD__V1__FIELD__VALUE_BYTE_ARRAY, MUXD__V1__FIELD__VALUE_TIMESTAMP,
	    MUXD__V1__FIELD__VALUE_VOID,       MUXD__V1__FIELD__VALUE_TABLE,
	    MUXD__V1__FIELD__VALUE_ARRAY,      MUXD__V1__FIELD__VALUE__NOT_SET,
	};

	muxd__v1__field__init(field);
	field->has_name = true;
	field->name = text_of("name");
	field->value_case = cases[input_below(input, COUNT(cases))];
	if (field->value_case == MUXD__V1__FIELD__VALUE_TABLE ||
	    field->value_case == MUXD__V1__FIELD__VALUE_ARRAY) {
		if (of)
			field->table = &of->inner;
		else
			field->value_case = MUXD__V1__FIELD__VALUE__NOT_SET;
	} else if (field->value_case == MUXD__V1__FIELD__VALUE_STRING ||
		   field->value_case == MUXD__V1__FIELD__VALUE_BYTE_ARRAY) {
		field->string = text_from(input);
	} else {
		field->uint64 = number(input, 1);
	}
}

static void put_table(struct input *input, struct table *to)
{
	muxd__v1__table__init(&to->table);
	muxd__v1__table__init(&to->inner);
	for (size_t i = 0; i < COUNT(to->inner_fields); i++) {
		put_field(input, &to->inner_fields[i], NULL);
		to->inner_row[i] = &to->inner_fields[i];
	}
	for (size_t i = 0; i < COUNT(to->fields); i++) {
		put_field(input, &to->fields[i], to);
		to->row[i] = &to->fields[i];
	}
	to->inner.fields = to->inner_row;
	to->inner.n_fields = COUNT(to->inner_fields);
	to->table.fields = to->row;
	to->table.n_fields = COUNT(to->fields);
}

static void put_properties(struct input *input, Muxd__V1__Properties *properties, struct table *headers)
{
	if (input_below(input, 2)) {
		put_table(input, headers);
		properties->headers = &headers->table;
	}
	properties->has_content_type = properties->has_timestamp = true;
	properties->content_type = text_from(input);
	properties->timestamp = number(input, 1);
	properties->has_priority = true;
	properties->priority = (uint32_t)number(input, 5);
}

static void say_delivery(struct input *input)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Delivery delivery = MUXD__V1__DELIVERY__INIT;
	Muxd__V1__Properties properties = MUXD__V1__PROPERTIES__INIT;
	struct table headers;
	uint32_t channel = address_channel(&frame, input_byte(input));

	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_DELIVERY;
	frame.delivery = &delivery;
	delivery.has_consumer = delivery.has_tag = true;
	delivery.consumer = (uint32_t)number(input, muxd.consumers[channel]);
	delivery.tag = number(input, ++muxd.tags[channel]);
	delivery.has_routing_key = true;
	delivery.routing_key = text_of("key");
	if (input_below(input, 4) == 1) {
		put_properties(input, &properties, &headers);
		delivery.properties = &properties;
	}
	say(&frame, input_bytes(input));
}

static void say_got(struct input *input)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Got got = MUXD__V1__GOT__INIT;

	address_request(&frame, input_byte(input));
	frame.has_generation = true;
	frame.generation = frame.channel < MUXD_CHANNELS ? muxd.generations[frame.channel] : 1;
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_GOT;
	frame.got = &got;
	got.has_tag = true;
	got.tag = number(input, ++muxd.tags[frame.channel % MUXD_CHANNELS]);
	say(&frame, input_bytes(input));
}

static void say_returned(struct input *input)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Returned returned = MUXD__V1__RETURNED__INIT;
	uint32_t channel = address_channel(&frame, input_byte(input));

	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_RETURNED;
	frame.returned = &returned;
	returned.has_number = returned.has_code = returned.has_text = true;
	returned.number = number(input, muxd.published[channel]);
	returned.code = (uint32_t)number(input, 312);
	returned.text = text_from(input);
	say(&frame, input_bytes(input));
}

static void put_error(struct input *input, Muxd__V1__Error *error)
{
	static const uint32_t codes[] = {404, 403, 405, 406, 311, 320, 408, 506, 530, 540, 541, 0};
	unsigned int choice = input_byte(input);

	error->has_scope = error->has_code = error->has_text = error->has_retryable = true;
	error->scope = (Muxd__V1__Scope)(choice % 4);
	error->code = codes[input_below(input, COUNT(codes))];
	error->text = text_from(input);
	error->retryable = choice & 8;
}

static void say_error(struct input *input)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Error error = MUXD__V1__ERROR__INIT;
	unsigned int choice = input_byte(input);

	if (choice % 4 < 2)
		address_request(&frame, choice / 4);
	else if (choice % 4 == 2)
		address_channel(&frame, choice);
	put_error(input, &error);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_ERROR;
	frame.error = &error;
	say(&frame, SPAN_NULL);
}

static void say_outcome(struct input *input)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Outcome outcome = MUXD__V1__OUTCOME__INIT;
	Muxd__V1__Error error = MUXD__V1__ERROR__INIT;
	Muxd__V1__Range ranges[2] = {MUXD__V1__RANGE__INIT, MUXD__V1__RANGE__INIT};
	Muxd__V1__Range *row[2] = {&ranges[0], &ranges[1]};
	unsigned int choice = input_byte(input);
	uint32_t channel = address_channel(&frame, choice);

	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_OUTCOME;
	frame.outcome = &outcome;
	outcome.has_kind = true;
	outcome.kind = (Muxd__V1__OutcomeKind)(choice / 4 % 6);
	outcome.numbers = row;
	outcome.n_numbers = 1 + input_below(input, 2);
	for (size_t i = 0; i < 2; i++) {
		ranges[i].has_first = ranges[i].has_last = true;
		ranges[i].first = number(input, muxd.published[channel] - 1 + i);
		ranges[i].last = number(input, ranges[i].first);
	}
	if (choice & 1 && choice / 4 % 6 > 1) {
		put_error(input, &error);
		outcome.error = &error;
	}
	say(&frame, SPAN_NULL);
}

static void say_consumer(struct input *input)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__ConsumerCancelled cancelled = MUXD__V1__CONSUMER_CANCELLED__INIT;
	Muxd__V1__ConsumerInterrupted interrupted = MUXD__V1__CONSUMER_INTERRUPTED__INIT;
	unsigned int choice = input_byte(input);
	uint32_t channel = address_channel(&frame, choice);

	cancelled.has_consumer = interrupted.has_consumer = true;
	cancelled.consumer = interrupted.consumer = (uint32_t)number(input, muxd.consumers[channel]);
	if (choice & 4) {
		frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_CONSUMER_CANCELLED;
		frame.consumer_cancelled = &cancelled;
	} else {
		frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_CONSUMER_INTERRUPTED;
		frame.consumer_interrupted = &interrupted;
	}
	say(&frame, SPAN_NULL);
}

static void say_state(struct input *input)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__UpstreamChanged changed = MUXD__V1__UPSTREAM_CHANGED__INIT;
	Muxd__V1__GoAway away = MUXD__V1__GO_AWAY__INIT;
	unsigned int choice = input_byte(input);

	if (choice & 1) {
		frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_GO_AWAY;
		frame.go_away = &away;
		away.has_deadline_ms = true;
		away.deadline_ms = (uint32_t)number(input, 500);
		away.has_text = choice & 2;
		away.text = text_of("stopping");
	} else {
		frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_UPSTREAM_CHANGED;
		frame.upstream_changed = &changed;
		changed.has_state = true;
		changed.state = (Muxd__V1__UpstreamState)(choice / 2 % 8);
		changed.has_name = choice & 32;
		changed.name = text_of("default");
	}
	say(&frame, SPAN_NULL);
}

/* A head that is right, and behind it any operation with any body. */
static void say_any(struct input *input)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	unsigned int choice = input_byte(input);
	unsigned int op = input_byte(input) % 128;
	uint8_t head[64], tag[2] = {(uint8_t)(0x80 | (op << 3 & 0x7f) | 2), (uint8_t)(op >> 4)};
	struct buf header = BUF_INIT;
	struct span body;
	size_t len;

	if (choice & 1)
		address_request(&frame, choice / 4);
	if (choice & 2)
		address_channel(&frame, choice);
	len = muxd__v1__server_frame__pack(&frame, head);
	require(len <= sizeof(head));
	body = input_bytes(input);
	if (body.len > 127)
		body = span_first(body, 127);
	buf_append(&header, head, len);
	buf_append(&header, tag, 2);
	buf_append_u8(&header, (uint8_t)body.len);
	buf_append_span(&header, body);
	say_bytes(buf_span(&header), choice & 4 ? input_bytes(input) : SPAN_NULL);
	buf_deinit(&header);
}

static void say_again(struct input *input)
{
	unsigned int count = input_byte(input);

	for (unsigned int i = 0; i < count && muxd.fd >= 0 && !muxd.gone; i++)
		buf_append_span(&muxd.said, buf_span(&muxd.last));
}

/* ------------------------------------------------------------------ what muxd does */

static void act_on_socket(struct input *input)
{
	unsigned int choice = input_byte(input);

	switch (choice % 6) {
	case 0:
		muxd.gone = true;
		break;
	case 1:
		muxd.listens = !muxd.listens;
		break;
	case 2:
		muxd.piece = 1 + choice / 6;
		break;
	case 3:
		muxd.room = choice / 6 * 10;
		break;
	case 4:
		muxd.room = muxd.piece = SIZE_MAX;
		break;
	default:
		if (muxd.fd >= 0 && !muxd.gone)
			buf_append_span(&muxd.said, input_bytes(input));
	}
}

void muxd_acts(void)
{
	static void (*const acts[])(struct input * input) = {
	    say_welcome, say_credit,  say_delivery,   say_delivery, say_got,	   say_returned,
	    say_error,	 say_outcome, say_outcome,    say_consumer, say_state,	   say_any,
	    say_any,	 say_again,   say_answer_any, say_answers,  act_on_socket,
	};

	muxd.idle = 0;
	acts[input_below(muxd.input, COUNT(acts))](muxd.input);
}

/* ------------------------------------------------------------------ the library's calls */

static bool can_read(int fd)
{
	return fd != muxd.fd || muxd.gone || buf_len(&muxd.said) > 0;
}

static short ready(const struct pollfd *fd)
{
	short events = 0;

	if (can_read(fd->fd))
		events |= POLLIN;
	if (fd->fd != muxd.fd || muxd.room > 0)
		events |= POLLOUT;
	return (short)(events & fd->events);
}

int fake_socket(int domain, int type, int protocol)
{
	muxd.descriptors++;
	return FAKE_FD + ++muxd.last_fd;
}

int fake_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	return 0;
}

int fake_connect(int fd, const struct sockaddr *address, socklen_t len)
{
	if (muxd.listens) {
		session_begin(fd);
		return 0;
	}
	errno = ECONNREFUSED;
	return -1;
}

int fake_shutdown(int fd, int how)
{
	if (fd == muxd.fd)
		session_deinit();
	return 0;
}

int fake_close(int fd)
{
	require(fd > FAKE_FD && muxd.descriptors > 0);
	muxd.descriptors--;
	return fake_shutdown(fd, SHUT_RDWR);
}

ssize_t fake_recv(int fd, void *data, size_t size, int flags)
{
	struct span bytes;

	require(fd > FAKE_FD && size > 0);
	if (!can_read(fd)) {
		errno = EAGAIN;
		return -1;
	}
	if (fd != muxd.fd)
		return 0;
	bytes = span_first(buf_span(&muxd.said), size < muxd.piece ? size : muxd.piece);
	if (bytes.len > 0) {
		memcpy(data, bytes.data, bytes.len);
		muxd.idle = 0; /* however little it is, there is an end to it */
	}
	buf_consume(&muxd.said, bytes.len);
	return (ssize_t)bytes.len;
}

ssize_t fake_send(int fd, const void *data, size_t size, int flags)
{
	require(fd > FAKE_FD && size > 0 && flags & MSG_NOSIGNAL);
	if (fd != muxd.fd || muxd.gone) {
		errno = EPIPE;
		return -1;
	}
	if (muxd.room == 0) {
		errno = EAGAIN;
		return -1;
	}
	if (muxd.room != SIZE_MAX) {
		size = size < muxd.room ? size : muxd.room;
		muxd.room -= size;
	}
	buf_append(&muxd.heard, data, size);
	hear();
	return (ssize_t)size;
}

ssize_t fake_sendmsg(int fd, const struct msghdr *message, int flags)
{
	ssize_t sum = 0;

	for (size_t i = 0; i < message->msg_iovlen; i++) {
		const struct iovec *part = &message->msg_iov[i];
		ssize_t n = part->iov_len > 0 ? fake_send(fd, part->iov_base, part->iov_len, flags) : 0;

		if (n < 0)
			return sum > 0 ? sum : n;
		sum += n;
		if ((size_t)n < part->iov_len)
			break;
	}
	return sum;
}

int fake_poll(struct pollfd *fds, nfds_t count, int timeout_msec)
{
	require(count == 1 && timeout_msec == 0);
	fds->revents = fds->fd < 0 ? 0 : ready(fds);
	return fds->revents != 0;
}

/* Whoever waits for ever has the whole of the input, and then its own deadline. */
int fake_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
	require(count == 1 && timeout && ++muxd.idle < IDLE_MAX);
	while (fake_poll(fds, count, 0) == 0 && muxd.input->rest.len > 0) {
		if (input_below(muxd.input, 4) == 1)
			break;
		muxd_acts();
	}
	if (fds->revents)
		return 1;
	muxd.now_usec += (uint64_t)timeout->tv_sec * 1000000 + (uint64_t)timeout->tv_nsec / 1000;
	return 0;
}

int fake_clock_gettime(clockid_t clock, struct timespec *ret)
{
	ret->tv_sec = (time_t)(muxd.now_usec / 1000000);
	ret->tv_nsec = (long)(muxd.now_usec % 1000000 * 1000);
	return 0;
}
