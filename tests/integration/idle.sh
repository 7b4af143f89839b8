#!/bin/bash
# A client that does nothing for ten heartbeat intervals, with a message it has not acknowledged.
. "$(dirname "$0")/lib.sh"
need_ipc
start_broker
start_muxd_and_wait < <(muxd_conf "$BROKER_URI" 'heartbeat = "1s"')
checks "$PYTHON" "$here/idle.py"
check "the connection is the first one" status_is upstreams.0.epoch 1
check "the broker counts one connection" connections_are 1
check_muxd_stops
