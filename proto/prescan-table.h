/*
 * The table of the pre-scan, for prescan.c and for its test, which compares it
 * with the descriptors that protobuf-c makes from muxd.proto.
 */
#pragma once

#include <stdint.h>

/* The messages of muxd.proto that have message fields. */
enum prescan_kind {
	PRESCAN_KIND_NONE = 0,
	PRESCAN_KIND_LEAF, /* every message without message fields */
	PRESCAN_KIND_CLIENT_FRAME,
	PRESCAN_KIND_SERVER_FRAME,
	PRESCAN_KIND_PUBLISH,
	PRESCAN_KIND_PROPERTIES,
	PRESCAN_KIND_TABLE,
	PRESCAN_KIND_FIELD,
	PRESCAN_KIND_SETTLE,
	PRESCAN_KIND_EXCHANGE_DECLARE,
	PRESCAN_KIND_EXCHANGE_BIND,
	PRESCAN_KIND_QUEUE_DECLARE,
	PRESCAN_KIND_QUEUE_BIND,
	PRESCAN_KIND_CONSUME,
	PRESCAN_KIND_DELIVERY,
	PRESCAN_KIND_GOT,
	PRESCAN_KIND_RETURNED,
	PRESCAN_KIND_OUTCOME,
	PRESCAN_KIND_WELCOME,
	PRESCAN_KIND_STATUS,
	PRESCAN_KIND_UPSTREAM_STATUS,
	PRESCAN_KIND_SESSIONS,
	PRESCAN_KIND_CHANNELS,
	PRESCAN_KIND_RECORDER,
	PRESCAN_KIND_COUNT
};

#define PRESCAN_FIELD_NUMBER_MAX 70 /* the highest number of a message field */
#define PRESCAN_REPEATED 0x80u	    /* flag beside the kind: the field may occur many times */

/* [kind of a message][field number]: the kind of message in the field, or PRESCAN_KIND_NONE. */
extern const uint8_t prescan_table[PRESCAN_KIND_COUNT][PRESCAN_FIELD_NUMBER_MAX + 1];
