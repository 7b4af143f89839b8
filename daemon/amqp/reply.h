/*
 * Reply codes (AMQP 0-9-1, section 1.1 and RabbitMQ) and what they close.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum amqc_reply {
	AMQC_REPLY_SUCCESS = 200,
	AMQC_CONTENT_TOO_LARGE = 311,
	AMQC_NO_ROUTE = 312,
	AMQC_NO_CONSUMERS = 313,
	AMQC_CONNECTION_FORCED = 320,
	AMQC_INVALID_PATH = 402,
	AMQC_ACCESS_REFUSED = 403,
	AMQC_NOT_FOUND = 404,
	AMQC_RESOURCE_LOCKED = 405,
	AMQC_PRECONDITION_FAILED = 406,
	AMQC_FRAME_ERROR = 501,
	AMQC_SYNTAX_ERROR = 502,
	AMQC_COMMAND_INVALID = 503,
	AMQC_CHANNEL_ERROR = 504,
	AMQC_UNEXPECTED_FRAME = 505,
	AMQC_RESOURCE_ERROR = 506,
	AMQC_NOT_ALLOWED = 530,
	AMQC_NOT_IMPLEMENTED = 540,
	AMQC_INTERNAL_ERROR = 541
};

/* "NOT_FOUND" and so on; "UNKNOWN" for a number that is no reply code. */
const char *amqc_reply_name(uint16_t code);

/* True if an error of this code closes the whole connection and not just a channel; false for no known code.
 */
bool amqc_reply_is_hard(uint16_t code);
