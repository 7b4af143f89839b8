#!/bin/bash
# What a session may do wrong: it gets a clear error, and nobody else notices anything.
. "$(dirname "$0")/lib.sh"
need_ipc
start_broker
start_muxd_and_wait < <(
  muxd_conf
  say 'limits { message-max = "1M" }'
)
start_canary canary
leased=$(status_of upstreams.0.lanes.leased) # the canary's
checks "$PYTHON" "$here/frames.py"
check "the lanes of all of them are back" wait_for 20 status_is upstreams.0.lanes.leased "$leased"
check "muxd has one connection to the broker all the same" wait_for 10 connections_are 1
check "it is the first one" status_is upstreams.0.epoch 1
check_canary canary
check_muxd_stops
