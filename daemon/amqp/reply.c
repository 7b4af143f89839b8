#include "daemon/amqp/reply.h"

#include <stddef.h>

struct reply {
	uint16_t code;
	bool hard;
	const char *name;
};

static const struct reply replies[] = {
    {AMQC_REPLY_SUCCESS, false, "REPLY_SUCCESS"},
    {AMQC_CONTENT_TOO_LARGE, false, "CONTENT_TOO_LARGE"},
    {AMQC_NO_ROUTE, false, "NO_ROUTE"},
    {AMQC_NO_CONSUMERS, false, "NO_CONSUMERS"},
    {AMQC_CONNECTION_FORCED, true, "CONNECTION_FORCED"},
    {AMQC_INVALID_PATH, true, "INVALID_PATH"},
    {AMQC_ACCESS_REFUSED, false, "ACCESS_REFUSED"},
    {AMQC_NOT_FOUND, false, "NOT_FOUND"},
    {AMQC_RESOURCE_LOCKED, false, "RESOURCE_LOCKED"},
    {AMQC_PRECONDITION_FAILED, false, "PRECONDITION_FAILED"},
    {AMQC_FRAME_ERROR, true, "FRAME_ERROR"},
    {AMQC_SYNTAX_ERROR, true, "SYNTAX_ERROR"},
    {AMQC_COMMAND_INVALID, true, "COMMAND_INVALID"},
    {AMQC_CHANNEL_ERROR, true, "CHANNEL_ERROR"},
    {AMQC_UNEXPECTED_FRAME, true, "UNEXPECTED_FRAME"},
    {AMQC_RESOURCE_ERROR, true, "RESOURCE_ERROR"},
    {AMQC_NOT_ALLOWED, true, "NOT_ALLOWED"},
    {AMQC_NOT_IMPLEMENTED, true, "NOT_IMPLEMENTED"},
    {AMQC_INTERNAL_ERROR, true, "INTERNAL_ERROR"},
};

static const struct reply *reply_find(uint16_t code)
{
	for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++)
		if (replies[i].code == code)
			return &replies[i];
	return NULL;
}

const char *amqc_reply_name(uint16_t code)
{
	const struct reply *reply = reply_find(code);

	return reply ? reply->name : "UNKNOWN";
}

bool amqc_reply_is_hard(uint16_t code)
{
	const struct reply *reply = reply_find(code);

	return reply && reply->hard;
}
