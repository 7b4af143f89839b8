/*
 * Direct reply-to. Who asks consumes from the pseudo queue, and publishes with
 * its name as reply-to; the broker puts an address in its place, which belongs
 * to channel and connection. Who gets the message answers to that address.
 *
 * A reply reaches the channel that asked and no other. When the connection is
 * lost, the consumer of a channel is told so, once; its addresses are void.
 */
#include "tests/sim/sim.h"

#define REPLY_TO "amq.rabbitmq.reply-to"
#define REPLY_CONSUMER 8u

bool replies_is_queue(struct span queue)
{
	return span_equal_str(queue, REPLY_TO);
}

static bool is_address(struct span text)
{
	return text.len > sizeof(REPLY_TO) &&
	       span_equal_str(span_first(text, sizeof(REPLY_TO) - 1), REPLY_TO);
}

bool replies_is_for(const struct consumer_record *consumer)
{
	return consumer->number == REPLY_CONSUMER;
}

/* ------------------------------------------------------------------ asking and answering */

static void consume_replies(struct client *client, struct chan *chan)
{
	struct world *world = client->world;
	struct consumer_record *consumer = world_alloc(world, sizeof(*consumer));

	consumer->number = REPLY_CONSUMER;
	consumer->no_ack = true;
	/* Often none: replies wait in mux for more. */
	consumer->credit_messages = chance(world, 600) ? 0 : 1 + below(world, 6);
	consumer->credit_bytes = consumer->credit_messages == 0 ? 0 : 1 + below(world, 200000);
	client_consume(client, chan, consumer, REPLY_TO);
}

void replies_ask(struct client *client, struct chan *chan)
{
	struct consumer_record *consumer = events_consumer(chan, REPLY_CONSUMER);
	struct message *message;

	if (!consumer || consumer->ended)
		consume_replies(client, chan);
	if (client->life->ended || chan->failed)
		return;
	message = ops_message(client, chan, NULL);
	if (!message)
		return;
	/* One that is like others could not be told from them if it is returned: it has the address then. */
	message->asks = message->size > 4;
	chan->pure = false;
	client_publish(client, chan, message);
}

/* One that the session has read, and not answered. */
static struct handout *pick_question(struct world *world, const struct life *life)
{
	struct handout *found = NULL;

	for (const struct chan *chan = life->chans; chan; chan = chan->next) {
		for (struct handout *handout = chan->handouts; handout; handout = handout->next) {
			if (handout->reply_to && handout->seen && (!found || chance(world, 400)))
				found = handout;
		}
	}
	return found;
}

void replies_answer(struct client *client, struct chan *chan)
{
	struct handout *question = pick_question(client->world, client->life);
	struct message *message = question ? ops_message(client, chan, question->reply_to) : NULL;

	if (!message)
		return;
	message->answers = question->copy->message;
	if (chance(client->world, 300))
		question->reply_to = NULL; /* an address takes any number of replies */
	client_publish(client, chan, message);
}

void replies_let_through(struct life *life)
{
	for (uint32_t number = 1; number <= CHANNELS_MAX; number++) {
		struct chan *chan = life->open[number];
		struct consumer_record *consumer = chan ? events_consumer(chan, REPLY_CONSUMER) : NULL;

		if (!consumer || consumer->ended || chan->failed || chan->close_sent)
			continue;
		consumer->credit_messages = consumer->credit_bytes = UINT64_MAX / 2;
		session_consumer_credit(life->session, number, REPLY_CONSUMER, consumer->credit_messages,
					consumer->credit_bytes);
	}
}

/* ------------------------------------------------------------------ what comes */

/* A message was handed out: there may be an address in it. */
void replies_note(struct world *world, struct handout *handout, const struct amqc_properties *properties)
{
	bool asks = (properties->present & AMQC_PROP_REPLY_TO) != 0;

	if (asks != handout->copy->message->asks || (asks && !is_address(properties->reply_to)))
		violate(world, "a question has its asker's address", "m%u", handout->copy->message->index);
	if (!asks || world->failed)
		return;
	handout->reply_to = world_alloc(world, properties->reply_to.len + 1);
	memcpy(handout->reply_to, properties->reply_to.data, properties->reply_to.len);
}

/* Whether it may come to that channel from the pseudo queue. */
bool replies_may_come(const struct message *message, const struct chan *chan)
{
	return message->answers && message->answers->chan == chan;
}

void replies_came(struct world *world, const struct message *message)
{
	happened(world, CLIENT_REPLIED);
	if (message->answers->sent_epoch != world->epoch)
		violate(world, "an address ends with its connection", "m%u answers m%u of epoch %llu",
			message->index, message->answers->index,
			(unsigned long long)message->answers->sent_epoch);
}

/* ------------------------------------------------------------------ interruptions */

static bool is_asking(const struct chan *chan)
{
	for (const struct call *call = chan->life->calls; call; call = call->next) {
		if (call->chan == chan && !call->ended)
			return true;
	}
	return false;
}

void replies_interrupted(struct world *world, struct consumer_record *consumer)
{
	const struct chan *chan = consumer->consume->chan;

	if (!replies_is_for(consumer) || consumer->ended || !consumer->consume->answered)
		violate(world, "only who awaits replies is interrupted", "consumer %u", consumer->number);
	/* An address may end before its connection, with the lane, by something else that was asked for. */
	if (consumer->interrupted == world->epoch && consumer->sent_then == chan->sent_count &&
	    !is_asking(chan))
		violate(world, "an interruption is told once", "consumer %u, epoch %llu", consumer->number,
			(unsigned long long)world->epoch);
	consumer->sent_then = chan->sent_count;
	if (consumer->began < world->epoch && consumer->interrupted < consumer->began)
		violate(world, "an interruption is told at once", "consumer %u", consumer->number);
	consumer->interrupted = world->epoch;
}

/* Lost connections that it was not told of; on one it may not have been back yet when it went. */
void replies_check(struct world *world, const struct consumer_record *consumer)
{
	if (replies_is_for(consumer) && !consumer->ended && consumer->consume->answered &&
	    consumer->began < world->epoch && consumer->interrupted < consumer->began)
		violate(world, "who awaits replies is told that the connection was lost",
			"session %u, consumer %u of epoch %llu", consumer->consume->chan->life->serial,
			consumer->number, (unsigned long long)consumer->began);
}
