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

at_least() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a >= b) }' || { echo "$1 is less than $2" && return 1; }; }
is_steady() { at_least "$(canary_value canary "$1" rate)" "$least" && at_least "$most" "$(canary_value canary "$1" gap_ms)"; }
has_ended() { [ -n "$(canary_value canary "$1" rate)" ]; }

# What the kills cost the canary they cost it each time; what else the machine does, it does not.
for phase in killing again once-more; do
  canary_phase canary "$phase"
  checks timeout 250 "$PYTHON" "$here/kill.py" "$times"
  canary_phase canary "behind-$phase"
  wait_for 10 has_ended "$phase"
  alone=$(canary_value canary first gap_ms)
  least=$(canary_value canary first rate | awk '{ print ($1 / 2 < 200) ? $1 / 2 : 200 }')
  most=$(awk -v gap="$alone" 'BEGIN { print (2 * gap > 200) ? 2 * gap : 200 }')
  is_steady "$phase" >/dev/null && break
done
check_canary canary
check "the canary's traffic was steady: $least rounds a second or more" at_least "$(canary_value canary "$phase" rate)" "$least"
check "its largest gap is at most $most ms (alone: $alone ms)" at_least "$most" "$(canary_value canary "$phase" gap_ms)"
check "the epoch is the same" status_is upstreams.0.epoch "$epoch"
check "the broker counts one connection" connections_are 1
check "all sessions are gone" wait_for 20 status_is sessions 1
check "the lanes are back" wait_for 20 status_is upstreams.0.lanes.leased "$leased"
check "the memory is back" wait_for 20 status_is memory.used "$memory"
check "nothing is unconfirmed" status_is upstreams.0.unconfirmed 0
check_muxd_stops
