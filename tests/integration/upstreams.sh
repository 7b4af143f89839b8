#!/bin/bash
# Two upstreams, two virtual hosts of a broker: what happens to one is not felt on the other.
. "$(dirname "$0")/lib.sh"
command -v "$PYTHON" >/dev/null || skip_all "$PYTHON is missing"
start_broker
case $BROKER in
testbroker) second=one ;;
rabbitmq) second=$VHOST.second && add_vhost "$second" ;;
esac
# the second one is reached through a relay, that can be stopped
start_relay pass "$BROKER_PORT"
start_muxd_and_wait < <(
  muxd_conf
  say 'upstream "second" {'
  say "  uri = { \"amqp://127.0.0.1:$relay_port/$second\" }"
  say '  heartbeat = "1s"'
  say '  reconnect-min = "50ms"'
  say '  reconnect-max = "200ms"'
  say '}'
)

second_is_away() { test "$(status_of upstreams.1.state)" != up; }
second_is() { status_is upstreams.1.state "$1"; }
on_second() { muxctl --upstream second --timeout 10s "$@"; }

check "both upstreams come up" wait_for 20 second_is up
check "the broker counts two connections" wait_for 5 connections_are 2
start_canary first
start_canary second -u second
check_canary second
check "a queue of one virtual host is not seen on the other" \
  test "$(muxctl declare queue only-here >/dev/null && on_second declare queue only-here --passive 2>&1 | grep -c 404)" = 1
check "an upstream that is not configured is refused by name" \
  test "$(muxctl --upstream third ping 2>&1 | grep -c third)" -ge 1

# ----------------------------------------------------------- the second one stops

canary_phase first frozen
kill -STOP "$relay_pid"
check "a frozen broker is noticed by its heartbeats" wait_for 20 second_is_away
kill -CONT "$relay_pid"
check "and the upstream comes back" wait_for 20 second_is up

canary_phase first cut
stop "$relay_pid"
check "a broker that goes away is noticed" wait_for 20 second_is_away
start_relay pass "$BROKER_PORT" "$relay_port"
check "and the upstream comes back again" wait_for 20 second_is up
check "it works" on_second declare queue "" --exclusive
check "the broker counts two connections again" wait_for 5 connections_are 2

check_canary first
check "the first upstream's connection is its first one" status_is upstreams.0.epoch 1
check "the second one's is not" test "$(status_of upstreams.1.epoch)" -ge 3
check_muxd_stops
