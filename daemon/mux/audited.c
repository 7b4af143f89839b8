#include "daemon/mux/audited.h"

#include "daemon/amqp/reply.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/upstream.h"

static bool is_due(enum amqc_method_id id)
{
	switch (id) {
	case AMQC_EXCHANGE_DECLARE:
	case AMQC_EXCHANGE_DELETE:
	case AMQC_EXCHANGE_BIND:
	case AMQC_EXCHANGE_UNBIND:
	case AMQC_QUEUE_DECLARE:
	case AMQC_QUEUE_DELETE:
	case AMQC_QUEUE_BIND:
	case AMQC_QUEUE_UNBIND:
	case AMQC_QUEUE_PURGE:
		return true;
	default:
		return false;
	}
}

/* It only looks whether the thing is there. */
static bool is_passive(const struct amqc_method *method)
{
	return (method->id == AMQC_QUEUE_DECLARE && method->queue_declare.passive) ||
	       (method->id == AMQC_EXCHANGE_DECLARE && method->exchange_declare.passive);
}

void audited_refused(const struct session *session, const struct amqc_method *method,
		     const struct fault *fault)
{
	const struct mux_options *options = &session->mux->options;
	struct mux_audit audit = {session->id, &session->creds, session->upstream->options.name, method,
				  fault};

	if (options->audit && is_due(method->id) && !is_passive(method))
		options->audit(options->context, &audit);
}

void audited_end(const struct request *request, const struct session *session, const struct fault *fault)
{
	struct amqc_method method;

	if (session->mux->options.audit && is_due(request->method) && request_decode(request, &method))
		audited_refused(session, &method, fault);
}

void audited_left(const struct request *request)
{
	struct fault fault = fault_make(AMQC_CONNECTION_FORCED, "its process left before the answer");

	if (request->session && is_due(request->method))
		audited_end(request, request->session, &fault);
}
