/*
 * Reads the header of a publish, the frame that comes most, as it usually is:
 * each field once, none that is unknown, no headers. What protobuf-c does for
 * any message takes ten times as long, a third of all that muxd does for a
 * publish; it still reads everything else.
 */
#pragma once

#include "proto/muxd.pb-c.h"
#include "proto/span.h"

#include <stdbool.h>

/* frame is what protobuf-c would have made; it points to the others. */
struct unpacked_publish {
	Muxd__V1__ClientFrame frame;
	Muxd__V1__Publish publish;
	Muxd__V1__Properties properties;
};

/*
 * True: *ret is what the pre-scan would let pass and protobuf-c unpack, but
 * that its bytes are views of the header. False: it is for these two to say
 * what the header is; *ret is undefined.
 */
bool unpack_publish(struct span header, struct unpacked_publish *ret) __attribute__((warn_unused_result));
