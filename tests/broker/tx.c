/*
 * Transactions: publishes and settlings are kept until commit. A settled
 * delivery keeps its place among the unacked ones, only marked, so that
 * rollback has nothing to restore.
 *
 * RabbitMQ answers a commit when its queues have taken all of it, and closes
 * the connection for whatever comes on the channel before. Here the answer
 * comes at the end of the feed, so that a client which does not wait is seen.
 */
#include "tests/broker/engine.h"

#include <stdlib.h>

bool bk_tx_select(struct channel *channel)
{
	struct amqc_method reply = {.id = AMQC_TX_SELECT_OK};

	if (channel->mode == MODE_CONFIRM)
		return bk_channel_fail(channel, AMQC_PRECONDITION_FAILED,
				       "cannot switch from confirm to tx mode");
	channel->mode = MODE_TX;
	bk_channel_reply(channel, &reply);
	return true;
}

void bk_tx_add_publish(struct channel *channel, struct message *message, bool mandatory)
{
	struct tx_publish *publish = bk_xcalloc(sizeof(*publish));

	publish->message = bk_message_ref(message);
	publish->mandatory = mandatory;
	list_append(&channel->tx_publishes, &publish->node);
}

void bk_tx_add_settle(struct channel *channel, struct entry *entry, enum settling how)
{
	entry->settling = how;
	/* Commit goes from the last to the first: see bk_entry_requeue(). */
	list_prepend(&channel->tx_settled, &entry->in_tx);
}

static void tx_publish_free(struct tx_publish *publish)
{
	list_unlink(&publish->node);
	bk_message_unref(publish->message);
	free(publish);
}

void bk_tx_release(struct channel *channel)
{
	struct tx_publish *publish;
	struct entry *entry;

	while ((publish = list_first(&channel->tx_publishes, struct tx_publish, node)))
		tx_publish_free(publish);
	while ((entry = list_first(&channel->tx_settled, struct entry, in_tx))) {
		list_unlink(&entry->in_tx);
		entry->settling = SETTLING_NOT;
	}
}

static bool tx_check(struct channel *channel)
{
	return channel->mode == MODE_TX ||
	       bk_channel_fail(channel, AMQC_PRECONDITION_FAILED, "channel is not transactional");
}

bool bk_tx_commit(struct channel *channel)
{
	struct tx_publish *publish;
	struct entry *entry;

	if (!tx_check(channel))
		return false;
	while ((publish = list_first(&channel->tx_publishes, struct tx_publish, node))) {
		if (bk_trap_routes(channel, publish->message))
			return false;
		bk_publish_deliver(channel, publish->message, publish->mandatory);
		tx_publish_free(publish);
	}
	while ((entry = list_first(&channel->tx_settled, struct entry, in_tx))) {
		list_unlink(&entry->in_tx);
		bk_channel_settle_entry(channel, entry, entry->settling);
	}
	if (channel->global_prefetch > 0)
		bk_channel_wake_consumers(channel);
	channel->committing = true;
	bk_channel_owes(channel);
	return true;
}

void bk_tx_committed(struct channel *channel)
{
	struct amqc_method reply = {.id = AMQC_TX_COMMIT_OK};

	channel->committing = false;
	bk_channel_reply(channel, &reply);
}

bool bk_tx_rollback(struct channel *channel)
{
	struct amqc_method reply = {.id = AMQC_TX_ROLLBACK_OK};

	if (!tx_check(channel))
		return false;
	bk_tx_release(channel);
	bk_channel_reply(channel, &reply);
	return true;
}
