#!/bin/bash
# What went wrong in others' recovery of lost connections; see recovery.py. As
# a command of its own it takes names of its tests.
. "$(dirname "$0")/lib.sh"
need_ipc
export HEARTBEAT=1
start_broker
start_link
path=${BROKER_URI#"amqp://127.0.0.1:$BROKER_PORT"}
start_muxd_and_wait < <(
  muxd_conf "$LINK_URI" "heartbeat = \"${HEARTBEAT}s\"" 'connect-timeout = "2s"' | sed 's|"500ms"|"100ms"|'
  # others at the same broker
  say 'upstream "outside" {'
  say "  uri = { \"amqp://127.0.0.1:$BROKER_PORT$path\" }"
  say '}'
)
checks timeout 250 "$PYTHON" "$e2e/recovery.py" "$@"
check "no session is left over" wait_for 10 status_is sessions 1
check_muxd_stops
