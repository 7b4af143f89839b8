#!/bin/bash
# Several upstreams, two virtual hosts of a broker and a broker of its own: what happens to one is not felt on another.
. "$(dirname "$0")/lib.sh"
command -v "$PYTHON" >/dev/null || skip_all "$PYTHON is missing"
start_broker
case $BROKER in
testbroker) second=one ;;
rabbitmq) second=$VHOST.second && add_vhost "$second" ;;
esac
# the second one is reached through a relay, that can be stopped
start_relay pass "$BROKER_PORT"
start_dialog other 'listening *' "$builddir/tests/broker/testbroker"
other_port=${greeting#listening }
start_muxd_and_wait < <(
  muxd_conf
  say 'upstream "second" {'
  say "  uri = { \"amqp://127.0.0.1:$relay_port/$second\" }"
  say '  heartbeat = "1s"'
  say '  reconnect-min = "50ms"'
  say '  reconnect-max = "200ms"'
  say '}'
  say 'upstream "other" {'
  say "  uri = { \"amqp://127.0.0.1:$other_port\" }"
  say '}'
)

second_is_away() { test "$(status_of upstreams.1.state)" != up; }
second_is() { status_is upstreams.1.state "$1"; }
on_second() { muxctl --upstream second --timeout 10s "$@"; }
other_is() { status_is upstreams.2.state "$1"; }
other_has() { [ "$(muxctl --json --upstream other declare queue flooded --passive | sed -n 's/.*"messages": \([0-9]*\).*/\1/p')" -ge "$1" ]; }

# UPSTREAM: small messages and large ones until it is stopped or its broker takes no more; a queue that keeps few.
start_flood() {
  start "$PYTHON" -c '
import sys
small, large = b"x" * 100 + b"\n", b"y" * 60000 + b"\n"
while True:
    sys.stdout.buffer.write(small * 500 + large * 20)' </dev/null >"$scratch/flood.in" 2>/dev/null
  flood=$started
  start "$builddir/client/muxctl" --upstream "$1" publish -r flooded -l <"$scratch/flood.in" >/dev/null 2>&1
  flooder=$started
}
stop_flood() {
  stop "$flooder" KILL
  stop "$flood" KILL
}
mkfifo "$scratch/flood.in"
exec {flood_in}<>"$scratch/flood.in" # or each end would wait for the other to be opened

has_ended() { [ -n "$(canary_value first "$1" gap_ms)" ]; }
# PHASE: the canary's largest gap in it, which has just ended, is near that of its first phase.
is_steady() {
  local alone gap
  wait_for 10 has_ended "$1" || return 1
  alone=$(canary_value first first gap_ms) gap=$(canary_value first "$1" gap_ms)
  say "alone $alone ms, $1 $gap ms"
  awk -v a="$alone" -v g="$gap" 'BEGIN { exit !(g <= a + 300) }'
}
# WHAT SCENE: what a scene costs the canary it costs it each time; what else the machine does, it does not.
sings_beside() {
  local number
  for number in 1 2 3; do
    canary_phase first "$2-$number"
    "$2"
    canary_phase first "behind-$2-$number"
    is_steady "$2-$number" && break
  done
  check "the canary sings on beside $1" is_steady "$2-$number"
}

check "both upstreams come up" wait_for 20 second_is up
check "the broker counts two connections" wait_for 5 connections_are 2
check "and the third upstream comes up" wait_for 20 other_is up
start_canary first
"$PYTHON" -c 'import time; time.sleep(4)' # what the canary does alone, to compare with
canary_phase first beside
start_canary second -u second
check_canary second
check "a queue of one virtual host is not seen on the other" \
  test "$(muxctl declare queue only-here >/dev/null && on_second declare queue only-here --passive 2>&1 | grep -c 404)" = 1
check "an upstream that is not configured is refused by name" \
  test "$(muxctl --upstream third ping 2>&1 | grep -c third)" -ge 1

# ----------------------------------------------------------- the second one stops

freezes() {
  kill -STOP "$relay_pid"
  check "a frozen broker is noticed by its heartbeats" wait_for 20 second_is_away
  kill -CONT "$relay_pid"
  check "and the upstream comes back" wait_for 20 second_is up
}
sings_beside "a frozen one" freezes

goes_away() {
  stop "$relay_pid"
  check "a broker that goes away is noticed" wait_for 20 second_is_away
  start_relay pass "$BROKER_PORT" "$relay_port"
  check "and the upstream comes back again" wait_for 20 second_is up
  check "it works" on_second declare queue "" --exclusive
  check "the broker counts two connections again" wait_for 5 connections_are 2
}
sings_beside "one that goes away" goes_away

# ------------------------------------------------------------ another one is flooded

muxctl --upstream other declare queue flooded -a x-max-length=1000 >/dev/null
flooder=
is_flooded() {
  [ -z "$flooder" ] || stop_flood
  start_flood other
  check "the third upstream is flooded" wait_for 20 other_has 1000
  "$PYTHON" -c 'import time; time.sleep(2)'
}
sings_beside "one that is flooded" is_flooded

is_blocked() {
  tell other "block low on memory" >/dev/null
  check "its broker raises an alarm in the flood" wait_for 20 other_is blocked
  "$PYTHON" -c 'import time; time.sleep(2)'
  check "which is not that of the first upstream" upstream_is up
  tell other unblock >/dev/null
  check "the alarm is over" wait_for 20 other_is up
}
sings_beside "one that is blocked, with a flood before it" is_blocked

freezes_in_a_flood() {
  kill -STOP "${dialog_pid[other]}"
  "$PYTHON" -c 'import time; time.sleep(2)'
  kill -CONT "${dialog_pid[other]}"
}
sings_beside "one that is frozen, with a flood before it" freezes_in_a_flood
stop_flood

check_canary first
check "the first upstream's connection is its first one" status_is upstreams.0.epoch 1
check "the second one's is not" test "$(status_of upstreams.1.epoch)" -ge 3
check_muxd_stops
