/*
 * Messages: one block each, shared by the queues that hold them.
 */
#include "tests/broker/engine.h"

#include <stdlib.h>

struct message *bk_message_new(struct span exchange, struct span key, struct span header, size_t body_len)
{
	size_t size = sizeof(struct message) + exchange.len + key.len + header.len + body_len;
	struct message *message = bk_xrealloc(NULL, size);
	uint8_t *p = message->bytes;

	*message = (struct message){.refs = 1,
				    .exchange_len = (uint8_t)exchange.len,
				    .key_len = (uint8_t)key.len,
				    .header_len = header.len,
				    .body_len = body_len};
	if (exchange.len > 0)
		memcpy(p, exchange.data, exchange.len);
	if (key.len > 0)
		memcpy(p + exchange.len, key.data, key.len);
	if (header.len > 0)
		memcpy(p + exchange.len + key.len, header.data, header.len);
	return message;
}

struct message *bk_message_ref(struct message *message)
{
	message->refs++;
	return message;
}

void bk_message_unref(struct message *message)
{
	if (message && --message->refs == 0)
		free(message);
}
