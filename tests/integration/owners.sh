#!/bin/bash
# Exclusive, server-named and auto-delete queues, exclusive consumers: as if each process had a connection of its own.
. "$(dirname "$0")/lib.sh"
need_ipc
start_broker
start_muxd_and_wait < <(muxd_conf)
checks timeout 120 "$PYTHON" "$here/owners.py" "$BROKER_PORT" "$VHOST"
check "the connection is the first one" status_is upstreams.0.epoch 1
check "no session is left over" wait_for 5 status_is sessions 1
check_muxd_stops
