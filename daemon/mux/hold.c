#include "daemon/mux/hold.h"

#include "daemon/mux/publish.h"
#include "daemon/mux/queues.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/topology.h"
#include "daemon/mux/topology.h"

static bool is_absent(const struct upstream *upstream, struct span queue)
{
	const struct entity *entity = topology_queue(upstream, queue);

	return entity && entity->presence != PRESENT;
}

bool hold_op(const struct upstream *upstream, struct op *op)
{
	const struct publish *publish;
	struct amqc_method method;
	const struct span *queue;

	if (op->kind == OP_PUBLISH) {
		/* The default exchange leads to the queue that the key names. */
		publish = op_publish(op);
		return publish->exchange_len == 0 &&
		       is_absent(upstream, span_make(publish->data + publish->key_at, publish->key_len));
	}
	if (op->kind != OP_REQUEST || !request_decode(op_request(op), &method))
		return false;
	queue = queues_of_method(&method);
	return queue && is_absent(upstream, *queue);
}
