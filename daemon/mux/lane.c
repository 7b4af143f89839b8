#include "daemon/mux/lane.h"

#include "daemon/base/log.h"
#include "daemon/mux/publish.h"
#include "daemon/mux/request.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int lanes_begin(struct upstream *upstream, uint16_t channel_max)
{
	upstream->lanes = calloc((size_t)channel_max + 1, sizeof(struct lane *));
	if (!upstream->lanes)
		return -ENOMEM;
	upstream->lane_max = channel_max;
	upstream->lane_last = 0;
	return 0;
}

static void lane_free(struct lane *lane)
{
	struct upstream *upstream = lane->upstream;

	list_unlink(&lane->node);
	list_unlink(&lane->send_node);
	upstream->lanes[lane->number] = NULL;
	upstream->lanes_open--;
	while (!list_empty(&lane->awaiting))
		request_drop(container_of(lane->awaiting.next, struct request, op.node));
	assemble_deinit(&lane->in);
	buf_deinit(&lane->control);
	publish_sent(lane);
	confirms_deinit(lane);
	free(lane);
}

void lanes_end(struct upstream *upstream)
{
	if (!upstream->lanes)
		return;
	for (uint32_t number = 1; number <= upstream->lane_max; number++) {
		struct lane *lane = upstream->lanes[number];

		if (!lane)
			continue;
		assert(!lane->channel);
		if (lane->state == LANE_OPEN)
			upstream->lanes_warm--;
		lane_free(lane);
	}
	free(upstream->lanes);
	upstream->lanes = NULL;
	upstream->lane_max = 0;
}

/* The next number that is free, going round, so that a number rests as long as possible. 0: none. */
static uint16_t free_number(struct upstream *upstream)
{
	uint32_t number = upstream->lane_last;

	if (upstream->lanes_open >= upstream->lane_max)
		return 0;
	do {
		number = number >= upstream->lane_max ? 1 : number + 1;
	} while (upstream->lanes[number]);
	return (uint16_t)number;
}

static struct lane *lane_new(struct upstream *upstream)
{
	uint16_t number = free_number(upstream);
	struct lane *lane;

	if (number == 0)
		return NULL;
	lane = calloc(1, sizeof(*lane));
	if (!lane)
		return NULL;
	lane->upstream = upstream;
	lane->number = number;
	lane->state = LANE_OPEN;
	list_init(&lane->node);
	list_init(&lane->send_node);
	list_init(&lane->awaiting);
	assemble_init(&lane->in);
	lane->confirms.first = 1;
	lane->confirms.next = 1;
	if (!request_send_own(lane, &(struct amqc_method){.id = AMQC_CHANNEL_OPEN}) ||
	    !request_send_own(lane, &(struct amqc_method){.id = AMQC_CONFIRM_SELECT})) {
		buf_deinit(&lane->control);
		free(lane);
		return NULL;
	}
	upstream->lanes[number] = lane;
	upstream->lane_last = number;
	upstream->lanes_open++;
	lane_ready(lane);
	return lane;
}

bool lane_lease(struct upstream *upstream, struct channel *channel)
{
	struct lane *lane = list_first(&upstream->warm, struct lane, node);

	assert(!channel->lane);
	if (lane)
		upstream->lanes_warm--;
	else
		lane = lane_new(upstream);
	if (!lane)
		return false;
	list_unlink(&lane->node);
	lane->channel = channel;
	channel->lane = lane;
	upstream->lanes_leased++;
	return true;
}

void lanes_warm_up(struct upstream *upstream)
{
	while (upstream->lanes_warm < upstream->options.warm_lanes) {
		struct lane *lane = lane_new(upstream);

		if (!lane)
			return;
		list_append(&upstream->warm, &lane->node);
		upstream->lanes_warm++;
	}
}

/* The one place where a lease ends. */
void lane_detach(struct lane *lane)
{
	assert(lane->channel && lane->channel->lane == lane);
	lane->channel->lane = NULL;
	lane->channel = NULL;
	lane->upstream->lanes_leased--;
	list_unlink(&lane->node);
	lane->state = LANE_CLOSING;
}

void lane_close(struct lane *lane)
{
	struct amqc_method close = {.id = AMQC_CHANNEL_CLOSE};

	lane_detach(lane);
	close.channel_close.reply_code = 200;
	close.channel_close.reply_text = SPAN_LITERAL("done");
	lane_control(lane, &close);
}

void lane_closed_by_broker(struct lane *lane)
{
	/* Both may close at once; then the number is not free before the broker's close-ok to ours. */
	bool ours_sent = lane->state == LANE_CLOSING && !lane->close_ok_due && buf_len(&lane->control) == 0;

	if (lane->channel)
		lane_detach(lane);
	else if (lane->state == LANE_OPEN)
		lane->upstream->lanes_warm--;
	list_unlink(&lane->node);
	lane->state = LANE_CLOSING;
	lane->close_ok_due = !ours_sent;
	/* What was about to be sent is of no use to a closed channel, and must not come behind close-ok. */
	buf_truncate(&lane->control, 0);
	lane_control(lane, &(struct amqc_method){.id = AMQC_CHANNEL_CLOSE_OK});
}

void lane_close_confirmed(struct lane *lane)
{
	/* Closes crossed, and the broker still waits for our close-ok. */
	if (buf_len(&lane->control) > 0)
		lane->close_ok_due = true;
	else
		lane_release(lane);
}

void lane_release(struct lane *lane)
{
	lane_free(lane);
}

void lane_ready(struct lane *lane)
{
	if (lane->is_ready)
		return;
	list_unlink(&lane->send_node);
	list_append(&lane->upstream->ready, &lane->send_node);
	lane->is_ready = true;
}

void lane_control(struct lane *lane, const struct amqc_method *method)
{
	if (amqc_method_append(&lane->control, lane->number, method) != AMQC_OK)
		log_error("a method of muxd's own cannot be encoded: %s", amqc_method_name(method->id));
	lane_ready(lane);
}

void lane_set_idle(struct lane *lane, bool idle)
{
	bool is_idle = !list_empty(&lane->node);

	if (idle == is_idle)
		return;
	if (idle)
		list_append(&lane->upstream->idle, &lane->node);
	else
		list_unlink(&lane->node);
}
