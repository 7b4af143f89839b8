/*
 * Client frames to calls of mux: one function for each operation, found by its
 * number in the oneof. A request whose values do not fit AMQP's is answered
 * here; mux only hears its number.
 */
#include "daemon/front/ipc.h"

#define OP(name) MUXD__V1__CLIENT_FRAME__OP_##name
#define OP_COUNT (OP(DRAIN) + 1)

typedef void (*op_fn)(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes);

/* ------------------------------------------------------------------ requests */

static uint64_t timeout_usec(const Muxd__V1__ClientFrame *frame)
{
	return frame->deadline_ms * USEC_PER_MSEC;
}

/* The answer to a request that cannot be put as AMQP has it. */
static void refuse(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct fault *fault)
{
	if (session_request_local(ipc->session, frame->request))
		ipc_send_error(ipc, frame->request, (struct mux_channel_id){frame->channel, 0}, SCOPE_REQUEST,
			       fault);
}

static void request(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct amqc_method *method)
{
	session_request(ipc->session, &(struct mux_request){
					  .id = frame->request,
					  .channel = frame->channel,
					  .timeout_usec = timeout_usec(frame),
					  .method = method,
				      });
}

/* The arguments as AMQP has them; false: the request was refused. */
static bool take_arguments(struct ipc *ipc, const Muxd__V1__ClientFrame *frame,
			   const Muxd__V1__Table *arguments, struct span *ret)
{
	struct buf *tables = &ipc->front->tables;
	struct fault fault;

	*ret = SPAN_NULL;
	if (!arguments)
		return true;
	if (!table_to_amqp(tables, arguments, "arguments", &fault)) {
		refuse(ipc, frame, &fault);
		return false;
	}
	*ret = buf_span(tables);
	return true;
}

static void do_exchange_declare(struct ipc *ipc, const Muxd__V1__ClientFrame *frame,
				const struct ipc_frame *bytes)
{
	const Muxd__V1__ExchangeDeclare *op = frame->exchange_declare;
	struct amqc_method method = {.id = AMQC_EXCHANGE_DECLARE};

	method.exchange_declare = (struct amqc_exchange_declare){
	    .exchange = span_of(op->exchange),
	    .type = span_of(op->type),
	    .passive = op->passive,
	    .durable = op->durable,
	    .auto_delete = op->auto_delete,
	    .internal = op->internal,
	};
	if (take_arguments(ipc, frame, op->arguments, &method.exchange_declare.arguments))
		request(ipc, frame, &method);
}

static void do_exchange_delete(struct ipc *ipc, const Muxd__V1__ClientFrame *frame,
			       const struct ipc_frame *bytes)
{
	const Muxd__V1__ExchangeDelete *op = frame->exchange_delete;
	struct amqc_method method = {.id = AMQC_EXCHANGE_DELETE};

	method.exchange_delete.exchange = span_of(op->exchange);
	method.exchange_delete.if_unused = op->if_unused;
	request(ipc, frame, &method);
}

static void do_exchange_bind(struct ipc *ipc, const Muxd__V1__ClientFrame *frame,
			     const struct ipc_frame *bytes)
{
	const Muxd__V1__ExchangeBind *op = frame->exchange_bind;
	struct amqc_method method = {.id = AMQC_EXCHANGE_BIND};

	method.exchange_bind = (struct amqc_exchange_bind){
	    .destination = span_of(op->destination),
	    .source = span_of(op->source),
	    .routing_key = span_of(op->routing_key),
	};
	if (take_arguments(ipc, frame, op->arguments, &method.exchange_bind.arguments))
		request(ipc, frame, &method);
}

static void do_exchange_unbind(struct ipc *ipc, const Muxd__V1__ClientFrame *frame,
			       const struct ipc_frame *bytes)
{
	const Muxd__V1__ExchangeBind *op = frame->exchange_unbind;
	struct amqc_method method = {.id = AMQC_EXCHANGE_UNBIND};

	method.exchange_unbind = (struct amqc_exchange_unbind){
	    .destination = span_of(op->destination),
	    .source = span_of(op->source),
	    .routing_key = span_of(op->routing_key),
	};
	if (take_arguments(ipc, frame, op->arguments, &method.exchange_unbind.arguments))
		request(ipc, frame, &method);
}

static void do_queue_declare(struct ipc *ipc, const Muxd__V1__ClientFrame *frame,
			     const struct ipc_frame *bytes)
{
	const Muxd__V1__QueueDeclare *op = frame->queue_declare;
	struct amqc_method method = {.id = AMQC_QUEUE_DECLARE};

	method.queue_declare = (struct amqc_queue_declare){
	    .queue = span_of(op->queue),
	    .passive = op->passive,
	    .durable = op->durable,
	    .exclusive = op->exclusive,
	    .auto_delete = op->auto_delete,
	};
	if (!take_arguments(ipc, frame, op->arguments, &method.queue_declare.arguments))
		return;
	session_request(ipc->session, &(struct mux_request){
					  .id = frame->request,
					  .channel = frame->channel,
					  .timeout_usec = timeout_usec(frame),
					  .method = &method,
					  .resume = span_of(op->resume),
				      });
}

static void do_queue_bind(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	const Muxd__V1__QueueBind *op = frame->queue_bind;
	struct amqc_method method = {.id = AMQC_QUEUE_BIND};

	method.queue_bind = (struct amqc_queue_bind){
	    .queue = span_of(op->queue),
	    .exchange = span_of(op->exchange),
	    .routing_key = span_of(op->routing_key),
	};
	if (take_arguments(ipc, frame, op->arguments, &method.queue_bind.arguments))
		request(ipc, frame, &method);
}

static void do_queue_unbind(struct ipc *ipc, const Muxd__V1__ClientFrame *frame,
			    const struct ipc_frame *bytes)
{
	const Muxd__V1__QueueBind *op = frame->queue_unbind;
	struct amqc_method method = {.id = AMQC_QUEUE_UNBIND};

	method.queue_unbind = (struct amqc_queue_unbind){
	    .queue = span_of(op->queue),
	    .exchange = span_of(op->exchange),
	    .routing_key = span_of(op->routing_key),
	};
	if (take_arguments(ipc, frame, op->arguments, &method.queue_unbind.arguments))
		request(ipc, frame, &method);
}

static void do_queue_purge(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	struct amqc_method method = {.id = AMQC_QUEUE_PURGE};

	method.queue_purge.queue = span_of(frame->queue_purge->queue);
	request(ipc, frame, &method);
}

static void do_queue_delete(struct ipc *ipc, const Muxd__V1__ClientFrame *frame,
			    const struct ipc_frame *bytes)
{
	const Muxd__V1__QueueDelete *op = frame->queue_delete;
	struct amqc_method method = {.id = AMQC_QUEUE_DELETE};

	method.queue_delete.queue = span_of(op->queue);
	method.queue_delete.if_unused = op->if_unused;
	method.queue_delete.if_empty = op->if_empty;
	request(ipc, frame, &method);
}

static void do_qos(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	struct amqc_method method = {.id = AMQC_BASIC_QOS};
	struct fault fault;

	if (frame->qos->prefetch_count > UINT16_MAX) {
		fault = fault_make(502, "SYNTAX_ERROR - prefetch_count %u is above %u",
				   frame->qos->prefetch_count, UINT16_MAX);
		refuse(ipc, frame, &fault);
		return;
	}
	method.basic_qos.prefetch_count = (uint16_t)frame->qos->prefetch_count;
	method.basic_qos.global = frame->qos->global;
	request(ipc, frame, &method);
}

static void do_consume(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	const Muxd__V1__Consume *op = frame->consume;
	struct amqc_method method = {.id = AMQC_BASIC_CONSUME};

	method.basic_consume = (struct amqc_basic_consume){
	    .queue = span_of(op->queue),
	    .consumer_tag = span_of(op->consumer_tag),
	    .no_local = op->no_local,
	    .no_ack = op->no_ack,
	    .exclusive = op->exclusive,
	};
	if (!take_arguments(ipc, frame, op->arguments, &method.basic_consume.arguments))
		return;
	session_request(ipc->session, &(struct mux_request){
					  .id = frame->request,
					  .channel = frame->channel,
					  .timeout_usec = timeout_usec(frame),
					  .method = &method,
					  .consumer = op->consumer,
					  .credit_messages = op->credit_messages,
					  .credit_bytes = op->credit_bytes,
				      });
}

static void do_cancel(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	struct amqc_method method = {.id = AMQC_BASIC_CANCEL};

	session_request(ipc->session, &(struct mux_request){
					  .id = frame->request,
					  .channel = frame->channel,
					  .timeout_usec = timeout_usec(frame),
					  .method = &method,
					  .consumer = frame->cancel->consumer,
				      });
}

static void do_get(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	struct amqc_method method = {.id = AMQC_BASIC_GET};

	method.basic_get.queue = span_of(frame->get->queue);
	method.basic_get.no_ack = frame->get->no_ack;
	request(ipc, frame, &method);
}

static void do_tx_select(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	request(ipc, frame, &(struct amqc_method){.id = AMQC_TX_SELECT});
}

static void do_tx_commit(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	request(ipc, frame, &(struct amqc_method){.id = AMQC_TX_COMMIT});
}

static void do_tx_rollback(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	request(ipc, frame, &(struct amqc_method){.id = AMQC_TX_ROLLBACK});
}

static void do_recover(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	struct amqc_method method = {.id = AMQC_BASIC_RECOVER};

	method.basic_recover.requeue = frame->recover->requeue;
	request(ipc, frame, &method);
}

static void do_channel_close(struct ipc *ipc, const Muxd__V1__ClientFrame *frame,
			     const struct ipc_frame *bytes)
{
	session_close_channel(ipc->session, frame->request, frame->channel);
}

/* ------------------------------------------------------------------ what has no answer */

static void do_channel_open(struct ipc *ipc, const Muxd__V1__ClientFrame *frame,
			    const struct ipc_frame *bytes)
{
	session_open_channel(ipc->session, frame->channel, frame->channel_open->generation);
}

static void do_publish(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	const Muxd__V1__Publish *op = frame->publish;
	struct amqc_properties properties = {0};
	struct fault fault;
	struct mux_publish publish = {
	    .channel = frame->channel,
	    .timeout_usec = timeout_usec(frame),
	    .cost_bytes = (uint64_t)bytes->header.len + bytes->payload.len,
	    .exchange = span_of(op->exchange),
	    .routing_key = span_of(op->routing_key),
	    .mandatory = op->mandatory,
	    .resent = op->resent,
	    .age_ms = op->age_ms,
	    .properties = &properties,
	    .body = bytes->payload,
	};

	if (op->properties && !properties_to_amqp(&ipc->front->tables, op->properties, &properties, &fault))
		publish.invalid = &fault;
	ipc->spent_bytes += publish.cost_bytes;
	session_publish(ipc->session, &publish);
}

static bool settle_kind_of(Muxd__V1__SettleKind from, enum settle_kind *ret)
{
	switch (from) {
	case MUXD__V1__SETTLE_KIND__ACK:
		*ret = SETTLE_ACK;
		return true;
	case MUXD__V1__SETTLE_KIND__REQUEUE:
		*ret = SETTLE_REQUEUE;
		return true;
	case MUXD__V1__SETTLE_KIND__DISCARD:
		*ret = SETTLE_DISCARD;
		return true;
	default:
		return false;
	}
}

static void do_settle(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	const Muxd__V1__Settle *op = frame->settle;
	enum settle_kind kind;
	struct fault fault;

	if (!settle_kind_of(op->kind, &kind)) {
		fault = fault_make(502, "SYNTAX_ERROR - settle: there is no kind %d", (int)op->kind);
		ipc_fail(ipc, &fault);
		return;
	}
	for (size_t i = 0; i < op->n_tags && !session_is_ended(ipc->session); i++)
		session_settle(ipc->session, frame->channel, kind, op->tags[i]->first, op->tags[i]->last);
}

static void do_consumer_credit(struct ipc *ipc, const Muxd__V1__ClientFrame *frame,
			       const struct ipc_frame *bytes)
{
	const Muxd__V1__ConsumerCredit *op = frame->consumer_credit;

	session_consumer_credit(ipc->session, frame->channel, op->consumer, op->messages, op->bytes);
}

static void do_get_credit(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	session_get_credit(ipc->session, frame->get_credit->bytes);
}

static void do_want(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	session_want(ipc->session, frame->want->messages, frame->want->bytes);
}

static void do_hello(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	struct fault fault = fault_make(503, "COMMAND_INVALID - a second Hello");

	ipc_fail(ipc, &fault);
}

/* ------------------------------------------------------------------ to muxd itself */

static void do_ping(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	if (session_request_local(ipc->session, frame->request))
		ipc_send_done(ipc, frame->request);
}

static void do_status(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	if (session_request_local(ipc->session, frame->request))
		ipc_ask(ipc, &(struct question){.request = frame->request, .kind = QUESTION_STATUS});
}

static void do_sessions(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	struct question question = {
	    .request = frame->request, .kind = QUESTION_SESSIONS, .session = frame->sessions->after};

	if (session_request_local(ipc->session, frame->request))
		ipc_ask(ipc, &question);
}

static void do_channels(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	struct question question = {.request = frame->request,
				    .kind = QUESTION_CHANNELS,
				    .session = frame->channels->after_session,
				    .channel = frame->channels->after_channel};

	if (session_request_local(ipc->session, frame->request))
		ipc_ask(ipc, &question);
}

static void do_recorder(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	struct question question = {
	    .request = frame->request, .kind = QUESTION_RECORDER, .session = frame->recorder->session};

	if (session_request_local(ipc->session, frame->request))
		ipc_ask(ipc, &question);
}

static void do_reload(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	if (session_request_local(ipc->session, frame->request))
		ipc_command(ipc, frame->request, FRONT_RELOAD);
}

static void do_drain(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	if (session_request_local(ipc->session, frame->request))
		ipc_command(ipc, frame->request, FRONT_DRAIN);
}

/* ------------------------------------------------------------------ the table */

static const op_fn operations[OP_COUNT] = {
    [OP(PUBLISH)] = do_publish,
    [OP(SETTLE)] = do_settle,
    [OP(CONSUMER_CREDIT)] = do_consumer_credit,
    [OP(GET_CREDIT)] = do_get_credit,
    [OP(WANT)] = do_want,
    [OP(HELLO)] = do_hello,
    [OP(CHANNEL_OPEN)] = do_channel_open,
    [OP(CHANNEL_CLOSE)] = do_channel_close,
    [OP(EXCHANGE_DECLARE)] = do_exchange_declare,
    [OP(EXCHANGE_DELETE)] = do_exchange_delete,
    [OP(EXCHANGE_BIND)] = do_exchange_bind,
    [OP(EXCHANGE_UNBIND)] = do_exchange_unbind,
    [OP(QUEUE_DECLARE)] = do_queue_declare,
    [OP(QUEUE_BIND)] = do_queue_bind,
    [OP(QUEUE_UNBIND)] = do_queue_unbind,
    [OP(QUEUE_PURGE)] = do_queue_purge,
    [OP(QUEUE_DELETE)] = do_queue_delete,
    [OP(QOS)] = do_qos,
    [OP(CONSUME)] = do_consume,
    [OP(CANCEL)] = do_cancel,
    [OP(GET)] = do_get,
    [OP(TX_SELECT)] = do_tx_select,
    [OP(TX_COMMIT)] = do_tx_commit,
    [OP(TX_ROLLBACK)] = do_tx_rollback,
    [OP(RECOVER)] = do_recover,
    [OP(PING)] = do_ping,
    [OP(STATUS)] = do_status,
    [OP(SESSIONS)] = do_sessions,
    [OP(CHANNELS)] = do_channels,
    [OP(RECORDER)] = do_recorder,
    [OP(RELOAD)] = do_reload,
    [OP(DRAIN)] = do_drain,
};

/*
 * A question counts until it is answered, an answer until the socket has taken it. Else a peer that asks for
 * what is answered at once, or refused, and never reads would have muxd write
 * as fast as it can, and keep it all. Who has read up to requests_max is never
 * over it: the one at the mark is unread, and so is what is behind.
 */
static bool has_too_many_answers(const struct ipc *ipc)
{
	return ipc->question_count >= SESSION_REQUESTS_MAX ||
	       (ipc->answers.mark >= ipc->written && ipc->answers.behind > SESSION_REQUESTS_MAX);
}

void ipc_dispatch(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	unsigned int op = (unsigned int)frame->op_case;
	struct fault fault;

	if (op >= OP_COUNT || !operations[op]) {
		fault =
		    fault_make(540, "NOT_IMPLEMENTED - the header holds no operation that this muxd knows");
		ipc_fail(ipc, &fault);
		return;
	}
	if (bytes->payload.len > 0 && op != OP(PUBLISH)) {
		fault =
		    fault_make(501, "FRAME_ERROR - a payload of %zu bytes with an operation that has none",
			       bytes->payload.len);
		ipc_fail(ipc, &fault);
		return;
	}
	if (frame->request != 0 && has_too_many_answers(ipc)) {
		fault = fault_make(506, "RESOURCE_ERROR - more than %u unanswered requests",
				   SESSION_REQUESTS_MAX);
		ipc_fail(ipc, &fault);
		return;
	}
	operations[op](ipc, frame, bytes);
}
