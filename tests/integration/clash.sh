#!/bin/bash
# Processes that make, use and delete one queue at the same moment, beside a canary.
#
#   BROKER=rabbitmq tests/integration/clash.sh [ROUNDS]      default 20
. "$(dirname "$0")/lib.sh"
need_ipc
start_broker
start_muxd_and_wait < <(muxd_conf)
kinds="classic quorum stream"
[ "$BROKER" = rabbitmq ] || kinds="classic"
start_canary canary
canary_phase canary clash
# shellcheck disable=SC2086
checks timeout 550 "$PYTHON" "$here/clash.py" "${1:-20}" $kinds
check_canary canary
check "the connection is the first one" status_is upstreams.0.epoch 1
check "no session is left over" wait_for 5 status_is sessions 1
check_muxd_stops
