#!/bin/bash
# Many processes' sessions publish at once over one connection, with few lanes and with many.
#
#   BROKER=rabbitmq tests/integration/many.sh [SESSIONS]     default 300; 5000 for the long form
. "$(dirname "$0")/lib.sh"
sessions=${1:-300}
need_ipc
ulimit -n "$(ulimit -H -n)"

# CHANNEL-MAX
run_with() {
  start_broker_with_limits "$1" 131072
  start_muxd_and_wait < <(
    muxd_conf
    say 'limits {'
    say "  sessions = $((sessions + 10))"
    say "  sessions-per-uid = $((sessions + 10))"
    say '}'
  )
  checks timeout 280 "$PYTHON" "$here/many.py" "$sessions" "$1"
  check "channel_max $1: over one connection" status_is upstreams.0.epoch 1
  check "channel_max $1: the broker counts one" connections_are 1
  check "channel_max $1: all sessions are gone" wait_for 20 status_is sessions 1
  check "channel_max $1: nothing is left of them" wait_for 20 status_is upstreams.0.lanes.leased 0
  check_muxd_stops
  [ -z "${broker_pid-}" ] || stop "$broker_pid"
}

run_with 2047
run_with 10
