/*
 * The requests on queues and exchanges, and those of transactions: each encodes
 * its arguments, waits for the answer, and hands out what is in it.
 */
#include "config.h"

#include "client/ops.h"
#include "client/chan.h"
#include "client/error.h"
#include "client/request.h"
#include "client/table.h"
#include "client/wire.h"

#include "proto/muxd.pb-c.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Field numbers, by message of muxd.proto. */
enum ops_field {
	QUEUE_NAME = 1, /* QueueDeclare, QueueDelete, QueuePurge, QueueBind, Get */
	QUEUE_PASSIVE = 2,
	QUEUE_DURABLE = 3,
	QUEUE_EXCLUSIVE = 4,
	QUEUE_AUTO_DELETE = 5,
	QUEUE_ARGUMENTS = 6,
	QUEUE_DELETE_IF_UNUSED = 2,
	QUEUE_DELETE_IF_EMPTY = 3,
	EXCHANGE_NAME = 1,
	EXCHANGE_TYPE = 2,
	EXCHANGE_PASSIVE = 3,
	EXCHANGE_DURABLE = 4,
	EXCHANGE_AUTO_DELETE = 5,
	EXCHANGE_INTERNAL = 6,
	EXCHANGE_ARGUMENTS = 7,
	EXCHANGE_DELETE_IF_UNUSED = 2,
	BIND_DESTINATION = 1, /* QueueBind and ExchangeBind are alike */
	BIND_SOURCE = 2,
	BIND_ROUTING_KEY = 3,
	BIND_ARGUMENTS = 4,
	QOS_PREFETCH = 1,
	QOS_GLOBAL = 2,
	RECOVER_REQUEUE = 1,
	GET_NO_ACK = 2
};

static int bad_flags(unsigned int flags, unsigned int known, struct muxc_error *ret_error)
{
	if (flags & ~known)
		return error_set(ret_error, -EINVAL, "unknown flags: %#x", flags & ~known);
	return 0;
}

static int run(struct call *call)
{
	int r;

	r = call_end(call);
	call_free(call);
	return r;
}

static int run_counted(struct call *call, uint32_t *ret_messages)
{
	int r;

	r = call_end(call);
	if (r == 0 && ret_messages)
		*ret_messages = call->request->count;
	call_free(call);
	return r;
}

/* ------------------------------------------------------------------- queues */

struct span queue_or_last(const struct muxc_channel *channel, const char *name)
{
	return span_str(name && *name ? name : channel->last_queue);
}

static int queue_info_copy(const struct request *request, struct muxc_queue_info *ret)
{
	struct muxc_queue_info info = {.messages = request->count, .consumers = request->consumers};
	size_t size = ret->size < sizeof(info) ? ret->size : sizeof(info);

	info.size = ret->size;
	(void)snprintf(info.name, sizeof(info.name), "%s", request->name);
	memcpy(ret, &info, size);
	return 0;
}

int muxc_queue_declare(struct muxc_channel *channel, const struct muxc_queue *queue,
		       struct muxc_queue_info *ret_info, uint64_t timeout_usec, struct muxc_error *ret_error)
{
	struct call call = {.channel = channel, .timeout_usec = timeout_usec, .error = ret_error};
	struct muxc_queue copy;
	int r;

	if (!queue || (ret_info && ret_info->size <= sizeof(size_t)))
		return error_set(ret_error, -EINVAL,
				 "no struct muxc_queue was given, or struct muxc_queue_info has no size");
	r = struct_take(&copy, sizeof(copy), queue, "muxc_queue", ret_error);
	if (r < 0)
		return r;
	queue = &copy;
	if (!text_fits(queue->name, "name of the queue", ret_error))
		return -EINVAL;
	r = bad_flags(queue->flags, MUXC_PASSIVE | MUXC_DURABLE | MUXC_EXCLUSIVE | MUXC_AUTO_DELETE,
		      ret_error);
	if (r < 0)
		return r;
	r = call_begin(&call, MUXD__V1__CLIENT_FRAME__OP_QUEUE_DECLARE);
	if (r < 0)
		return r;
	wire_put_bytes(&call.op, QUEUE_NAME, span_str(queue->name));
	wire_put_nonzero(&call.op, QUEUE_PASSIVE, !!(queue->flags & MUXC_PASSIVE));
	wire_put_nonzero(&call.op, QUEUE_DURABLE, !!(queue->flags & MUXC_DURABLE));
	wire_put_nonzero(&call.op, QUEUE_EXCLUSIVE, !!(queue->flags & MUXC_EXCLUSIVE));
	wire_put_nonzero(&call.op, QUEUE_AUTO_DELETE, !!(queue->flags & MUXC_AUTO_DELETE));
	if (queue->arguments)
		wire_put_bytes(&call.op, QUEUE_ARGUMENTS, table_span(queue->arguments));
	r = call_end(&call);
	if (r == 0 && ret_info)
		r = queue_info_copy(call.request, ret_info);
	call_free(&call);
	return r;
}

int muxc_queue_delete(struct muxc_channel *channel, const char *queue, unsigned int flags,
		      uint32_t *ret_messages, uint64_t timeout_usec, struct muxc_error *ret_error)
{
	struct call call = {.channel = channel, .timeout_usec = timeout_usec, .error = ret_error};
	int r;

	if (!text_fits(queue, "name of the queue", ret_error))
		return -EINVAL;
	r = bad_flags(flags, MUXC_IF_UNUSED | MUXC_IF_EMPTY, ret_error);
	if (r < 0)
		return r;
	r = call_begin(&call, MUXD__V1__CLIENT_FRAME__OP_QUEUE_DELETE);
	if (r < 0)
		return r;
	wire_put_bytes(&call.op, QUEUE_NAME, queue_or_last(channel, queue));
	wire_put_nonzero(&call.op, QUEUE_DELETE_IF_UNUSED, !!(flags & MUXC_IF_UNUSED));
	wire_put_nonzero(&call.op, QUEUE_DELETE_IF_EMPTY, !!(flags & MUXC_IF_EMPTY));
	return run_counted(&call, ret_messages);
}

int muxc_queue_purge(struct muxc_channel *channel, const char *queue, uint32_t *ret_messages,
		     uint64_t timeout_usec, struct muxc_error *ret_error)
{
	struct call call = {.channel = channel, .timeout_usec = timeout_usec, .error = ret_error};
	int r;

	if (!text_fits(queue, "name of the queue", ret_error))
		return -EINVAL;
	r = call_begin(&call, MUXD__V1__CLIENT_FRAME__OP_QUEUE_PURGE);
	if (r < 0)
		return r;
	wire_put_bytes(&call.op, QUEUE_NAME, queue_or_last(channel, queue));
	return run_counted(&call, ret_messages);
}

/* ----------------------------------------------------------------- bindings */

static int bind_call(struct call *call, uint32_t op, const struct muxc_binding *binding)
{
	struct muxc_binding copy;
	bool of_queue =
	    op == MUXD__V1__CLIENT_FRAME__OP_QUEUE_BIND || op == MUXD__V1__CLIENT_FRAME__OP_QUEUE_UNBIND;
	int r;

	if (!binding)
		return error_set(call->error, -EINVAL, "no struct muxc_binding was given");
	r = struct_take(&copy, sizeof(copy), binding, "muxc_binding", call->error);
	if (r < 0)
		return r;
	binding = &copy;
	if (!text_fits(binding->destination, "destination", call->error) ||
	    !text_fits(binding->source, "source", call->error) ||
	    !text_fits(binding->routing_key, "routing key", call->error))
		return -EINVAL;
	r = call_begin(call, op);
	if (r < 0)
		return r;
	wire_put_bytes(&call->op, BIND_DESTINATION,
		       of_queue ? queue_or_last(call->channel, binding->destination)
				: span_str(binding->destination));
	wire_put_bytes(&call->op, BIND_SOURCE, span_str(binding->source));
	wire_put_bytes(&call->op, BIND_ROUTING_KEY, span_str(binding->routing_key));
	if (binding->arguments)
		wire_put_bytes(&call->op, BIND_ARGUMENTS, table_span(binding->arguments));
	return run(call);
}

int muxc_queue_bind(struct muxc_channel *channel, const struct muxc_binding *binding, uint64_t timeout_usec,
		    struct muxc_error *ret_error)
{
	struct call call = {.channel = channel, .timeout_usec = timeout_usec, .error = ret_error};

	return bind_call(&call, MUXD__V1__CLIENT_FRAME__OP_QUEUE_BIND, binding);
}

int muxc_queue_unbind(struct muxc_channel *channel, const struct muxc_binding *binding, uint64_t timeout_usec,
		      struct muxc_error *ret_error)
{
	struct call call = {.channel = channel, .timeout_usec = timeout_usec, .error = ret_error};

	return bind_call(&call, MUXD__V1__CLIENT_FRAME__OP_QUEUE_UNBIND, binding);
}

int muxc_exchange_bind(struct muxc_channel *channel, const struct muxc_binding *binding,
		       uint64_t timeout_usec, struct muxc_error *ret_error)
{
	struct call call = {.channel = channel, .timeout_usec = timeout_usec, .error = ret_error};

	return bind_call(&call, MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_BIND, binding);
}

int muxc_exchange_unbind(struct muxc_channel *channel, const struct muxc_binding *binding,
			 uint64_t timeout_usec, struct muxc_error *ret_error)
{
	struct call call = {.channel = channel, .timeout_usec = timeout_usec, .error = ret_error};

	return bind_call(&call, MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_UNBIND, binding);
}

/* ---------------------------------------------------------------- exchanges */

int muxc_exchange_declare(struct muxc_channel *channel, const struct muxc_exchange *exchange,
			  uint64_t timeout_usec, struct muxc_error *ret_error)
{
	struct call call = {.channel = channel, .timeout_usec = timeout_usec, .error = ret_error};
	struct muxc_exchange copy;
	int r;

	if (!exchange)
		return error_set(ret_error, -EINVAL, "no struct muxc_exchange was given");
	r = struct_take(&copy, sizeof(copy), exchange, "muxc_exchange", ret_error);
	if (r < 0)
		return r;
	exchange = &copy;
	if (!text_fits(exchange->name, "name of the exchange", ret_error) ||
	    !text_fits(exchange->type, "type of the exchange", ret_error))
		return -EINVAL;
	r = bad_flags(exchange->flags, MUXC_PASSIVE | MUXC_DURABLE | MUXC_AUTO_DELETE | MUXC_INTERNAL,
		      ret_error);
	if (r < 0)
		return r;
	r = call_begin(&call, MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_DECLARE);
	if (r < 0)
		return r;
	wire_put_bytes(&call.op, EXCHANGE_NAME, span_str(exchange->name));
	wire_put_bytes(&call.op, EXCHANGE_TYPE, span_str(exchange->type));
	wire_put_nonzero(&call.op, EXCHANGE_PASSIVE, !!(exchange->flags & MUXC_PASSIVE));
	wire_put_nonzero(&call.op, EXCHANGE_DURABLE, !!(exchange->flags & MUXC_DURABLE));
	wire_put_nonzero(&call.op, EXCHANGE_AUTO_DELETE, !!(exchange->flags & MUXC_AUTO_DELETE));
	wire_put_nonzero(&call.op, EXCHANGE_INTERNAL, !!(exchange->flags & MUXC_INTERNAL));
	if (exchange->arguments)
		wire_put_bytes(&call.op, EXCHANGE_ARGUMENTS, table_span(exchange->arguments));
	return run(&call);
}

int muxc_exchange_delete(struct muxc_channel *channel, const char *exchange, unsigned int flags,
			 uint64_t timeout_usec, struct muxc_error *ret_error)
{
	struct call call = {.channel = channel, .timeout_usec = timeout_usec, .error = ret_error};
	int r;

	if (!text_fits(exchange, "name of the exchange", ret_error))
		return -EINVAL;
	r = bad_flags(flags, MUXC_IF_UNUSED, ret_error);
	if (r < 0)
		return r;
	r = call_begin(&call, MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_DELETE);
	if (r < 0)
		return r;
	wire_put_bytes(&call.op, EXCHANGE_NAME, span_str(exchange));
	wire_put_nonzero(&call.op, EXCHANGE_DELETE_IF_UNUSED, !!(flags & MUXC_IF_UNUSED));
	return run(&call);
}

/* -------------------------------------------------------------- qos and get */

int muxc_qos_full(struct muxc_channel *channel, uint32_t prefetch, unsigned int flags, uint64_t timeout_usec,
		  struct muxc_error *ret_error)
{
	struct call call = {.channel = channel, .timeout_usec = timeout_usec, .error = ret_error};
	int r;

	if (prefetch > UINT16_MAX)
		return error_set(ret_error, -EINVAL, "a prefetch is at most %u", UINT16_MAX);
	r = bad_flags(flags, MUXC_QOS_CHANNEL, ret_error);
	if (r < 0)
		return r;
	r = call_begin(&call, MUXD__V1__CLIENT_FRAME__OP_QOS);
	if (r < 0)
		return r;
	call.request->prefetch = prefetch;
	call.request->global = flags & MUXC_QOS_CHANNEL;
	wire_put_number(&call.op, QOS_PREFETCH, prefetch);
	wire_put_nonzero(&call.op, QOS_GLOBAL, !!(flags & MUXC_QOS_CHANNEL));
	return run(&call);
}

int muxc_qos(struct muxc_channel *channel, uint32_t prefetch, uint64_t timeout_usec,
	     struct muxc_error *ret_error)
{
	return muxc_qos_full(channel, prefetch, 0, timeout_usec, ret_error);
}

int muxc_recover(struct muxc_channel *channel, uint64_t timeout_usec, struct muxc_error *ret_error)
{
	struct call call = {.channel = channel, .timeout_usec = timeout_usec, .error = ret_error};
	int r;

	r = call_begin(&call, MUXD__V1__CLIENT_FRAME__OP_RECOVER);
	if (r < 0)
		return r;
	wire_put_number(&call.op, RECOVER_REQUEUE, 1);
	return run(&call);
}

int muxc_get(struct muxc_channel *channel, const char *queue, unsigned int flags,
	     struct muxc_message **ret_message, uint64_t timeout_usec, struct muxc_error *ret_error)
{
	struct call call = {.channel = channel, .timeout_usec = timeout_usec, .error = ret_error};
	int r;

	if (!ret_message)
		return error_set(ret_error, -EINVAL, "no place for the message was given");
	if (!text_fits(queue, "name of the queue", ret_error))
		return -EINVAL;
	r = bad_flags(flags, MUXC_NO_ACK, ret_error);
	if (r < 0)
		return r;
	r = call_begin(&call, MUXD__V1__CLIENT_FRAME__OP_GET);
	if (r < 0)
		return r;
	wire_put_bytes(&call.op, QUEUE_NAME, queue_or_last(channel, queue));
	wire_put_nonzero(&call.op, GET_NO_ACK, !!(flags & MUXC_NO_ACK));
	r = call_end(&call);
	if (r == 0 && call.request->message) {
		*ret_message = call.request->message;
		call.request->message = NULL;
		r = 1;
	}
	call_free(&call);
	return r;
}

/* ------------------------------------------------------------- transactions */

void transaction_answered(struct muxc_channel *channel, uint32_t op)
{
	/* What was settled in it is in hand again. */
	if (op == MUXD__V1__CLIENT_FRAME__OP_TX_ROLLBACK)
		channel->unsettled += channel->tx_settled;
	if (op == MUXD__V1__CLIENT_FRAME__OP_RECOVER) {
		channel->unsettled = 0;
		return;
	}
	channel->tx = true;
	channel->tx_used = false;
	channel->tx_settled = 0;
}

static int tx_call(struct muxc_channel *channel, uint32_t op, uint64_t timeout_usec,
		   struct muxc_error *ret_error)
{
	struct call call = {.channel = channel, .timeout_usec = timeout_usec, .error = ret_error};
	int r;

	r = call_begin(&call, op);
	return r < 0 ? r : run(&call);
}

int muxc_tx_select(struct muxc_channel *channel, uint64_t timeout_usec, struct muxc_error *ret_error)
{
	return tx_call(channel, MUXD__V1__CLIENT_FRAME__OP_TX_SELECT, timeout_usec, ret_error);
}

int muxc_tx_commit(struct muxc_channel *channel, uint64_t timeout_usec, struct muxc_error *ret_error)
{
	return tx_call(channel, MUXD__V1__CLIENT_FRAME__OP_TX_COMMIT, timeout_usec, ret_error);
}

int muxc_tx_rollback(struct muxc_channel *channel, uint64_t timeout_usec, struct muxc_error *ret_error)
{
	return tx_call(channel, MUXD__V1__CLIENT_FRAME__OP_TX_ROLLBACK, timeout_usec, ret_error);
}
