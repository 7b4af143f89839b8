#include "tests/fuzz/odd.h"

#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <string.h>

#define FIELDS_MAX 3u
#define NAME_LONG 256u

/* Whatever one frame points to. */
struct parts {
	Muxd__V1__Table tables[2];
	Muxd__V1__Field fields[2][FIELDS_MAX];
	Muxd__V1__Field *field_rows[2][FIELDS_MAX];
	Muxd__V1__Decimal decimal;
	Muxd__V1__Range ranges[3];
	Muxd__V1__Range *range_row[3];
	Muxd__V1__Properties properties;
};

static void pack(const Muxd__V1__ClientFrame *frame, struct buf *out)
{
	size_t len = muxd__v1__client_frame__get_packed_size(frame);
	uint8_t *room = buf_reserve(out, len);

	require(room != NULL);
	buf_commit(out, muxd__v1__client_frame__pack(frame, room));
}

static ProtobufCBinaryData bytes_from(const char *text, size_t len)
{
	return (ProtobufCBinaryData){len, (uint8_t *)(uintptr_t)text};
}

static ProtobufCBinaryData text_of(const char *text)
{
	return bytes_from(text, strlen(text));
}

/* Names that exist, that may not, that brokers and muxd reserve, and that are no names. */
static ProtobufCBinaryData name(struct input *input)
{
	static const char *const names[] = {
	    "q",
	    "q",
	    "q",
	    "r",
	    "e",
	    "",
	    "amq.direct",
	    "amq.gen-x",
	    "amq.rabbitmq.reply-to",
	    "amq.rabbitmq.reply-to.g1",
	    "muxd.gen-x",
	    "\xff\xfe",
	    "no such",
	    "e",
	    "q\n",
	    "x",
	};
	static char longest[NAME_LONG];
	unsigned int choice = input_byte(input);
	struct span own;

	memset(longest, 'n', sizeof(longest));
	if (choice < 220)
		return text_of(names[choice % (sizeof(names) / sizeof(names[0]))]);
	if (choice < 235) {
		own = input_bytes(input);
		return (ProtobufCBinaryData){own.len, (uint8_t *)(uintptr_t)own.data};
	}
	return choice < 245 ? bytes_from("q\0r", 3) : bytes_from(longest, choice < 250 ? 255 : NAME_LONG);
}

/* ------------------------------------------------------------------ tables */

static void number_field(Muxd__V1__Field *field, unsigned int choice, uint32_t value)
{
	switch (choice) {
	case 0:
		field->value_case = MUXD__V1__FIELD__VALUE_INT32;
		field->int32 = (int32_t)value;
		break;
	case 1:
		field->value_case = MUXD__V1__FIELD__VALUE_INT64;
		field->int64 = (int64_t)value << 24;
		break;
	case 2:
		field->value_case = MUXD__V1__FIELD__VALUE_UINT8;
		field->uint8 = value;
		break;
	case 3:
		field->value_case = MUXD__V1__FIELD__VALUE_INT16;
		field->int16 = (int32_t)value;
		break;
	case 4:
		field->value_case = MUXD__V1__FIELD__VALUE_FLOAT64;
		field->float64 = value > 200 ? (double)NAN : value;
		break;
	default:
		field->value_case = MUXD__V1__FIELD__VALUE_TIMESTAMP;
		field->timestamp = value;
	}
}

static void make_field(struct input *input, struct parts *parts, unsigned int level, Muxd__V1__Field *field)
{
	static const char *const keys[] = {
	    "x-queue-type",	      "x-message-ttl",	"x-max-length",	   "x-expires",
	    "x-dead-letter-exchange", "x-max-priority", "x-overflow",	   "x-match",
	    "alternate-exchange",     "x-muxd-resent",	"x-stream-offset", "CC"};
	static const char *const texts[] = {"quorum", "stream",		"classic", "all",
					    "e",      "reject-publish", "",	   "odd"};
	unsigned int choice = input_byte(input);

	muxd__v1__field__init(field);
	field->has_name = true;
	field->name = text_of(keys[input_below(input, sizeof(keys) / sizeof(keys[0]))]);
	if (choice < 110) {
		field->value_case = MUXD__V1__FIELD__VALUE_STRING;
		field->string = text_of(texts[choice % (sizeof(texts) / sizeof(texts[0]))]);
	} else if (choice < 200) {
		number_field(field, choice % 6, choice < 190 ? input_byte(input) : input_u32(input));
	} else if (choice < 210) {
		field->value_case = MUXD__V1__FIELD__VALUE_BOOLEAN;
		field->boolean = choice & 1;
	} else if (choice < 220) {
		field->value_case = MUXD__V1__FIELD__VALUE_DECIMAL;
		muxd__v1__decimal__init(&parts->decimal);
		parts->decimal.has_scale = true;
		parts->decimal.scale = input_u32(input);
		field->decimal = &parts->decimal;
	} else if (level == 0) {
		field->value_case = choice & 1 ? MUXD__V1__FIELD__VALUE_TABLE : MUXD__V1__FIELD__VALUE_ARRAY;
		field->table = &parts->tables[1];
	}
}

static Muxd__V1__Table *table(struct input *input, struct parts *parts)
{
	if (input_byte(input) < 160)
		return NULL;
	for (unsigned int level = 2; level-- > 0;) {
		muxd__v1__table__init(&parts->tables[level]);
		parts->tables[level].n_fields = input_below(input, FIELDS_MAX + 1);
		parts->tables[level].fields = parts->field_rows[level];
		for (unsigned int i = 0; i < parts->tables[level].n_fields; i++) {
			make_field(input, parts, level, &parts->fields[level][i]);
			parts->field_rows[level][i] = &parts->fields[level][i];
		}
	}
	return &parts->tables[0];
}

/* ------------------------------------------------------------------ operations */

static Muxd__V1__Properties *properties(struct input *input, struct parts *parts)
{
	static const char *const expirations[] = {"1000", "0", "abc", "-1", "", "99999999999999999999"};
	Muxd__V1__Properties *p = &parts->properties;
	unsigned int choice = input_byte(input);

	if (choice < 64)
		return NULL;
	muxd__v1__properties__init(p);
	p->headers = table(input, parts);
	p->has_delivery_mode = choice & 1;
	p->delivery_mode = choice < 240 ? 2 : 300;
	p->has_expiration = choice & 2;
	p->expiration = text_of(expirations[choice % 6]);
	p->has_user_id = choice & 4;
	p->user_id = text_of(choice & 8 ? "guest" : "root");
	p->has_reply_to = choice & 16;
	p->reply_to = text_of(choice & 8 ? "amq.rabbitmq.reply-to" : "q");
	p->has_priority = choice & 32;
	p->priority = choice;
	p->has_correlation_id = choice == 255;
	p->correlation_id = name(input);
	return p;
}

static void op_publish(struct input *input, Muxd__V1__ClientFrame *frame, struct parts *parts,
		       struct buf *out)
{
	Muxd__V1__Publish publish = MUXD__V1__PUBLISH__INIT;
	unsigned int choice = input_byte(input);

	publish.has_exchange = choice & 1;
	publish.exchange = name(input);
	publish.has_routing_key = true;
	publish.routing_key = name(input);
	publish.has_mandatory = publish.mandatory = choice & 2;
	publish.properties = properties(input, parts);
	publish.has_resent = publish.resent = choice > 220;
	publish.has_age_ms = choice > 230;
	publish.age_ms = choice > 250 ? UINT32_MAX : choice;
	frame->op_case = MUXD__V1__CLIENT_FRAME__OP_PUBLISH;
	frame->publish = &publish;
	pack(frame, out);
}

static void op_settle(struct input *input, Muxd__V1__ClientFrame *frame, struct parts *parts, struct buf *out)
{
	Muxd__V1__Settle settle = MUXD__V1__SETTLE__INIT;
	unsigned int choice = input_byte(input);

	settle.has_kind = true;
	settle.kind = (Muxd__V1__SettleKind)(choice < 250 ? choice % 3 : choice);
	settle.n_tags = choice / 8 % 4;
	settle.tags = parts->range_row;
	for (size_t i = 0; i < settle.n_tags; i++) {
		Muxd__V1__Range *range = parts->range_row[i] = &parts->ranges[i];

		muxd__v1__range__init(range);
		range->has_first = range->has_last = true;
		range->first = input_byte(input) % 8;
		range->last = range->first + input_byte(input) % 4;
		if (choice == 200)
			range->last = UINT64_MAX;
	}
	frame->op_case = MUXD__V1__CLIENT_FRAME__OP_SETTLE;
	frame->settle = &settle;
	pack(frame, out);
}

static void op_credit(struct input *input, Muxd__V1__ClientFrame *frame, struct parts *parts, struct buf *out)
{
	Muxd__V1__ConsumerCredit consumer = MUXD__V1__CONSUMER_CREDIT__INIT;
	Muxd__V1__GetCredit get = MUXD__V1__GET_CREDIT__INIT;
	Muxd__V1__Want want = MUXD__V1__WANT__INIT;
	unsigned int choice = input_byte(input);
	uint64_t amount = choice < 240 ? choice * 1000u : UINT64_MAX;

	consumer.has_consumer = consumer.has_messages = consumer.has_bytes = true;
	consumer.consumer = choice % 3;
	consumer.messages = consumer.bytes = amount;
	get.has_bytes = want.has_bytes = want.has_messages = true;
	get.bytes = want.bytes = want.messages = amount;
	if (choice & 1) {
		frame->op_case = MUXD__V1__CLIENT_FRAME__OP_CONSUMER_CREDIT;
		frame->consumer_credit = &consumer;
	} else if (choice & 2) {
		frame->op_case = MUXD__V1__CLIENT_FRAME__OP_GET_CREDIT;
		frame->get_credit = &get;
	} else {
		frame->op_case = MUXD__V1__CLIENT_FRAME__OP_WANT;
		frame->want = &want;
	}
	pack(frame, out);
}

static void op_exchange(struct input *input, Muxd__V1__ClientFrame *frame, struct parts *parts,
			struct buf *out)
{
	static const char *const types[] = {"direct", "fanout",		  "topic", "headers", "",
					    "x-odd",  "x-delayed-message"};
	Muxd__V1__ExchangeDeclare declare = MUXD__V1__EXCHANGE_DECLARE__INIT;
	Muxd__V1__ExchangeDelete drop = MUXD__V1__EXCHANGE_DELETE__INIT;
	Muxd__V1__ExchangeBind bind = MUXD__V1__EXCHANGE_BIND__INIT;
	unsigned int choice = input_byte(input);

	declare.has_exchange = drop.has_exchange = bind.has_source = bind.has_destination = true;
	declare.exchange = drop.exchange = bind.source = name(input);
	bind.destination = name(input);
	bind.has_routing_key = true;
	bind.routing_key = name(input);
	declare.has_type = choice != 77;
	declare.type = text_of(types[choice % 7]);
	declare.has_passive = declare.passive = (choice & 24) == 8;
	declare.has_durable = declare.durable = choice & 16;
	declare.has_auto_delete = declare.auto_delete = choice & 32;
	declare.has_internal = declare.internal = (choice & 96) == 64;
	declare.arguments = bind.arguments = table(input, parts);
	drop.has_if_unused = drop.if_unused = choice & 8;
	if (choice % 4 < 2) {
		frame->op_case = MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_DECLARE;
		frame->exchange_declare = &declare;
	} else if (choice % 4 == 2) {
		frame->op_case = choice & 128 ? MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_BIND
					      : MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_UNBIND;
		frame->exchange_bind = &bind;
	} else {
		frame->op_case = MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_DELETE;
		frame->exchange_delete = &drop;
	}
	pack(frame, out);
}

static void op_queue_declare(struct input *input, Muxd__V1__ClientFrame *frame, struct parts *parts,
			     struct buf *out)
{
	Muxd__V1__QueueDeclare declare = MUXD__V1__QUEUE_DECLARE__INIT;
	unsigned int choice = input_byte(input);

	declare.has_queue = true;
	declare.queue = name(input);
	declare.has_passive = declare.passive = (choice & 7) == 1;
	declare.has_durable = declare.durable = choice & 8;
	declare.has_exclusive = declare.exclusive = (choice & 48) == 16;
	declare.has_auto_delete = declare.auto_delete = (choice & 48) == 32;
	declare.arguments = table(input, parts);
	declare.has_resume = choice > 240;
	declare.resume = name(input);
	frame->op_case = MUXD__V1__CLIENT_FRAME__OP_QUEUE_DECLARE;
	frame->queue_declare = &declare;
	pack(frame, out);
}

static void op_queue(struct input *input, Muxd__V1__ClientFrame *frame, struct parts *parts, struct buf *out)
{
	Muxd__V1__QueueBind bind = MUXD__V1__QUEUE_BIND__INIT;
	Muxd__V1__QueuePurge purge = MUXD__V1__QUEUE_PURGE__INIT;
	Muxd__V1__QueueDelete drop = MUXD__V1__QUEUE_DELETE__INIT;
	unsigned int choice = input_byte(input);

	bind.has_queue = purge.has_queue = drop.has_queue = choice != 13;
	bind.queue = purge.queue = drop.queue = name(input);
	bind.has_exchange = bind.has_routing_key = true;
	bind.exchange = name(input);
	bind.routing_key = name(input);
	bind.arguments = table(input, parts);
	drop.has_if_unused = drop.if_unused = choice & 8;
	drop.has_if_empty = drop.if_empty = choice & 16;
	if (choice % 4 < 2) {
		frame->op_case = choice & 128 ? MUXD__V1__CLIENT_FRAME__OP_QUEUE_UNBIND
					      : MUXD__V1__CLIENT_FRAME__OP_QUEUE_BIND;
		frame->queue_bind = &bind;
	} else if (choice % 4 == 2) {
		frame->op_case = MUXD__V1__CLIENT_FRAME__OP_QUEUE_PURGE;
		frame->queue_purge = &purge;
	} else {
		frame->op_case = MUXD__V1__CLIENT_FRAME__OP_QUEUE_DELETE;
		frame->queue_delete = &drop;
	}
	pack(frame, out);
}

static void op_consume(struct input *input, Muxd__V1__ClientFrame *frame, struct parts *parts,
		       struct buf *out)
{
	Muxd__V1__Consume consume = MUXD__V1__CONSUME__INIT;
	unsigned int choice = input_byte(input);

	consume.has_queue = true;
	consume.queue = name(input);
	consume.has_consumer_tag = choice & 1;
	consume.consumer_tag = name(input);
	consume.has_no_ack = consume.no_ack = choice & 2;
	consume.has_exclusive = consume.exclusive = (choice & 12) == 4;
	consume.has_no_local = consume.no_local = (choice & 12) == 8;
	consume.arguments = table(input, parts);
	consume.has_consumer = consume.has_credit_messages = consume.has_credit_bytes = true;
	consume.consumer = choice >> 4 & 3;
	consume.credit_messages = choice;
	consume.credit_bytes = choice * 100u;
	frame->op_case = MUXD__V1__CLIENT_FRAME__OP_CONSUME;
	frame->consume = &consume;
	pack(frame, out);
}

static void op_channel_state(struct input *input, Muxd__V1__ClientFrame *frame, struct parts *parts,
			     struct buf *out)
{
	Muxd__V1__Qos qos = MUXD__V1__QOS__INIT;
	Muxd__V1__Cancel cancel = MUXD__V1__CANCEL__INIT;
	Muxd__V1__Get get = MUXD__V1__GET__INIT;
	Muxd__V1__Recover recover = MUXD__V1__RECOVER__INIT;
	unsigned int choice = input_byte(input);

	switch (choice % 4) {
	case 0:
		qos.has_prefetch_count = qos.has_global = true;
		qos.prefetch_count = choice < 250 ? choice / 16 : choice * 1000u;
		qos.global = choice & 4;
		frame->op_case = MUXD__V1__CLIENT_FRAME__OP_QOS;
		frame->qos = &qos;
		break;
	case 1:
		cancel.has_consumer = true;
		cancel.consumer = choice >> 4 & 3;
		frame->op_case = MUXD__V1__CLIENT_FRAME__OP_CANCEL;
		frame->cancel = &cancel;
		break;
	case 2:
		get.has_queue = true;
		get.queue = name(input);
		get.has_no_ack = get.no_ack = choice & 16;
		frame->op_case = MUXD__V1__CLIENT_FRAME__OP_GET;
		frame->get = &get;
		break;
	default:
		recover.has_requeue = true;
		recover.requeue = choice < 250;
		frame->op_case = MUXD__V1__CLIENT_FRAME__OP_RECOVER;
		frame->recover = &recover;
	}
	pack(frame, out);
}

static void op_tx(struct input *input, Muxd__V1__ClientFrame *frame, struct parts *parts, struct buf *out)
{
	Muxd__V1__TxSelect select = MUXD__V1__TX_SELECT__INIT;
	Muxd__V1__TxCommit commit = MUXD__V1__TX_COMMIT__INIT;
	Muxd__V1__TxRollback rollback = MUXD__V1__TX_ROLLBACK__INIT;
	unsigned int choice = input_byte(input);

	if (choice % 3 == 0) {
		frame->op_case = MUXD__V1__CLIENT_FRAME__OP_TX_SELECT;
		frame->tx_select = &select;
	} else if (choice % 3 == 1) {
		frame->op_case = MUXD__V1__CLIENT_FRAME__OP_TX_COMMIT;
		frame->tx_commit = &commit;
	} else {
		frame->op_case = MUXD__V1__CLIENT_FRAME__OP_TX_ROLLBACK;
		frame->tx_rollback = &rollback;
	}
	pack(frame, out);
}

static void op_query(struct input *input, Muxd__V1__ClientFrame *frame, struct parts *parts, struct buf *out)
{
	Muxd__V1__Ping ping = MUXD__V1__PING__INIT;
	Muxd__V1__StatusQuery status = MUXD__V1__STATUS_QUERY__INIT;
	Muxd__V1__SessionsQuery sessions = MUXD__V1__SESSIONS_QUERY__INIT;
	Muxd__V1__ChannelsQuery channels = MUXD__V1__CHANNELS_QUERY__INIT;
	Muxd__V1__RecorderQuery recorder = MUXD__V1__RECORDER_QUERY__INIT;
	unsigned int choice = input_byte(input);

	sessions.has_after = recorder.has_session = true;
	sessions.after = recorder.session = choice / 8;
	frame->op_case = (Muxd__V1__ClientFrame__OpCase)(MUXD__V1__CLIENT_FRAME__OP_PING + choice % 5);
	if (choice % 5 == 0)
		frame->ping = &ping;
	else if (choice % 5 == 1)
		frame->status = &status;
	else if (choice % 5 == 2)
		frame->sessions = &sessions;
	else if (choice % 5 == 3)
		frame->channels = &channels;
	else
		frame->recorder = &recorder;
	pack(frame, out);
}

static void op_channel_close(struct input *input, Muxd__V1__ClientFrame *frame, struct parts *parts,
			     struct buf *out)
{
	Muxd__V1__ChannelClose close = MUXD__V1__CHANNEL_CLOSE__INIT;

	frame->op_case = MUXD__V1__CLIENT_FRAME__OP_CHANNEL_CLOSE;
	frame->channel_close = &close;
	pack(frame, out);
}

static void op_open(struct input *input, Muxd__V1__ClientFrame *frame, struct odd_request *ret,
		    const uint32_t *generations, struct buf *out)
{
	Muxd__V1__ChannelOpen open = MUXD__V1__CHANNEL_OPEN__INIT;
	unsigned int choice = input_byte(input);

	open.has_generation = true;
	open.generation = ret->channel < ODD_CHANNELS ? generations[ret->channel] + 1 : choice;
	if (choice > 250)
		open.generation = choice % 2;
	ret->generation = open.generation;
	frame->op_case = MUXD__V1__CLIENT_FRAME__OP_CHANNEL_OPEN;
	frame->channel_open = &open;
	pack(frame, out);
}

void odd_hello(struct buf *ret_header)
{
	Muxd__V1__ClientFrame frame = MUXD__V1__CLIENT_FRAME__INIT;
	Muxd__V1__Hello hello = MUXD__V1__HELLO__INIT;

	hello.has_version_min = hello.has_version_max = true;
	hello.version_min = hello.version_max = 1;
	hello.has_get_bytes = true;
	hello.get_bytes = 4096;
	frame.op_case = MUXD__V1__CLIENT_FRAME__OP_HELLO;
	frame.hello = &hello;
	pack(&frame, ret_header);
}

struct odd_request odd_frame(struct input *input, uint32_t next_id, const uint32_t *generations,
			     struct buf *ret_header)
{
	typedef void (*op_fn)(struct input *, Muxd__V1__ClientFrame *, struct parts *, struct buf *);
	static const op_fn ops[] = {op_publish,	      op_publish,  op_publish,	     op_settle,
				    op_credit,	      op_exchange, op_queue_declare, op_queue_declare,
				    op_queue,	      op_consume,  op_consume,	     op_channel_state,
				    op_channel_state, op_tx,	   op_query,	     op_channel_close};
	Muxd__V1__ClientFrame frame = MUXD__V1__CLIENT_FRAME__INIT;
	unsigned int op = input_below(input, 17), choice = input_byte(input);
	struct odd_request made = {.id = next_id, .channel = 1 + choice % (ODD_CHANNELS - 1)};
	struct parts parts;

	if (choice > 250)
		made.channel = choice == 251 ? 0 : choice == 252 ? UINT32_MAX : choice;
	if (choice == 240)
		made.id = 0;
	if (choice == 241)
		made.id = next_id - 1;
	made.is_request = op >= 5 && op < 16;
	made.is_publish = op < 3;
	frame.has_channel = op != 14;
	frame.channel = made.channel;
	frame.has_request = made.is_request;
	frame.request = made.id;
	frame.has_deadline_ms = (choice & 15) == 3;
	frame.deadline_ms = choice == 243 ? 0 : choice;
	if (op < 16)
		ops[op](input, &frame, &parts, ret_header);
	else
		op_open(input, &frame, &made, generations, ret_header);
	if (!made.is_request)
		made.id = 0;
	return made;
}
