#!/bin/bash
# Clients that are killed in the middle of a large message, beside a canary.
#
#   BROKER=rabbitmq tests/integration/kill.sh [TIMES]     default 20
. "$(dirname "$0")/lib.sh"
times=${1:-20}
need_ipc
start_broker
start_muxd_and_wait < <(muxd_conf)

leased=$(status_of upstreams.0.lanes.leased)
memory=$(status_of memory.used)
epoch=$(status_of upstreams.0.epoch)

start_canary canary
"$PYTHON" -c 'import time; time.sleep(5)' # what the canary does alone, to compare with
canary_phase canary killing
checks timeout 250 "$PYTHON" "$here/kill.py" "$times"
check_canary canary

at_least() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a >= b) }' || { echo "$1 is less than $2" && return 1; }; }

alone=$(canary_value canary first gap_ms)
most=$(awk -v gap="$alone" 'BEGIN { print (2 * gap > 200) ? 2 * gap : 200 }')
check "the canary's traffic was steady: 200 rounds a second or more" at_least "$(canary_value canary killing rate)" 200
check "its largest gap is at most $most ms (alone: $alone ms)" at_least "$most" "$(canary_value canary killing gap_ms)"
check "the epoch is the same" status_is upstreams.0.epoch "$epoch"
check "the broker counts one connection" connections_are 1
check "all sessions are gone" wait_for 20 status_is sessions 1
check "the lanes are back" wait_for 20 status_is upstreams.0.lanes.leased "$leased"
check "the memory is back" wait_for 20 status_is memory.used "$memory"
check "nothing is unconfirmed" status_is upstreams.0.unconfirmed 0
check_muxd_stops
