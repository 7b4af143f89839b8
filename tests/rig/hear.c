#include "tests/rig/hear.h"

#include "daemon/amqp/method.h"
#include "tests/rig/require.h"

static struct mux_handed tell(void *context, const struct heard *heard)
{
	struct ear *ear = context;

	return ear->hear(ear, heard);
}

static void on_reply(void *context, uint32_t request, struct mux_channel_id channel,
		     const struct amqc_method *reply)
{
	(void)tell(context, &(struct heard){
				.kind = RIG_REPLY, .request = request, .channel = channel, .reply = reply});
}

static void on_named(void *context, uint32_t request, struct mux_channel_id channel,
		     const struct amqc_method *reply, struct span resume)
{
	require(reply->id == AMQC_QUEUE_DECLARE_OK && resume.len > 0);
	(void)tell(
	    context,
	    &(struct heard){
		.kind = RIG_REPLY, .request = request, .channel = channel, .reply = reply, .resume = resume});
}

static void on_refuse(void *context, uint32_t request, struct mux_channel_id channel, enum fault_scope scope,
		      const struct fault *fault)
{
	(void)tell(
	    context,
	    &(struct heard){
		.kind = RIG_REFUSED, .request = request, .channel = channel, .scope = scope, .fault = fault});
}

static struct mux_handed on_got(void *context, uint32_t request, struct mux_channel_id channel, uint64_t tag,
				const struct amqc_basic_get_ok *method, const struct mux_content *content)
{
	return tell(
	    context,
	    &(struct heard){
		.kind = RIG_GOT, .request = request, .channel = channel, .tag = tag, .content = content});
}

static struct mux_handed on_deliver(void *context, struct mux_channel_id channel, uint32_t consumer,
				    uint64_t tag, const struct amqc_basic_deliver *method,
				    const struct mux_content *content)
{
	return tell(context, &(struct heard){.kind = RIG_DELIVERED,
					     .channel = channel,
					     .consumer = consumer,
					     .tag = tag,
					     .content = content});
}

static struct mux_handed on_returned(void *context, struct mux_channel_id channel, uint64_t number,
				     const struct amqc_basic_return *method,
				     const struct mux_content *content)
{
	return tell(
	    context,
	    &(struct heard){.kind = RIG_RETURNED, .channel = channel, .first = number, .content = content});
}

static void on_outcome(void *context, struct mux_channel_id channel, enum outcome_kind kind, uint64_t first,
		       uint64_t last, const struct fault *fault)
{
	(void)tell(context, &(struct heard){.kind = RIG_OUTCOME,
					    .channel = channel,
					    .outcome = kind,
					    .first = first,
					    .last = last,
					    .fault = fault});
}

static void on_channel_ended(void *context, struct mux_channel_id channel, const struct fault *fault)
{
	(void)tell(context, &(struct heard){.kind = RIG_CHANNEL_ENDED, .channel = channel, .fault = fault});
}

static void on_consumer_cancelled(void *context, struct mux_channel_id channel, uint32_t consumer,
				  struct span text)
{
	(void)tell(context,
		   &(struct heard){.kind = RIG_CONSUMER_CANCELLED, .channel = channel, .consumer = consumer});
}

static void on_consumer_interrupted(void *context, struct mux_channel_id channel, uint32_t consumer,
				    struct span text)
{
	(void)tell(context, &(struct heard){
				.kind = RIG_CONSUMER_INTERRUPTED, .channel = channel, .consumer = consumer});
}

static void on_credit(void *context, uint64_t messages, uint64_t bytes)
{
	(void)tell(context, &(struct heard){.kind = RIG_CREDIT, .first = messages, .last = bytes});
}

static void on_upstream_changed(void *context)
{
	(void)tell(context, &(struct heard){.kind = RIG_UPSTREAM});
}

static void on_ended(void *context, const struct fault *fault)
{
	(void)tell(context, &(struct heard){.kind = RIG_ENDED, .fault = fault});
}

const struct session_ops hear_ops = {
    .reply = on_reply,
    .named = on_named,
    .refuse = on_refuse,
    .got = on_got,
    .deliver = on_deliver,
    .returned = on_returned,
    .outcome = on_outcome,
    .channel_ended = on_channel_ended,
    .consumer_cancelled = on_consumer_cancelled,
    .consumer_interrupted = on_consumer_interrupted,
    .credit = on_credit,
    .upstream_changed = on_upstream_changed,
    .ended = on_ended,
};
