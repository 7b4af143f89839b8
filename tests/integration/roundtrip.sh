#!/bin/bash
# A broker 250 ms away: who comes, publishes one message and waits for its confirm does so in one round trip.
#
#   BROKER=rabbitmq tests/integration/roundtrip.sh [PROCESSES]     default 5 in a row; with a
#   number, on a quiet machine, the milliseconds are judged as well
. "$(dirname "$0")/lib.sh"
need_ipc
start_broker
start_far "$BROKER_PORT" 250
path=${BROKER_URI#"amqp://127.0.0.1:$BROKER_PORT"}
warm() { status_is upstreams.0.lanes.warm 4; }
measure() { # WHICH [strict]
  timeout 100 "$PYTHON" "$here/roundtrip.py" "$bare_port" "$VHOST" "$processes" 4 "$@" >"$scratch/measured" 2>&1
}
measured() { cat "$scratch/measured" && return "$1"; }

processes=${1:-5}
muxd_port=$far_port bare_port=$far_port
# who measures a bare round trip speaks no TLS
[ -z "$OVER_TLS" ] || { OVER_TLS='' start_far "$BROKER_PORT" 250 && bare_port=$far_port; }
for which in not-last not-last last; do
  start_muxd_and_wait < <(muxd_conf "amqp://127.0.0.1:$muxd_port$path" 'warm-lanes = 4' 'heartbeat = "10s"')
  check "lanes are warmed ahead" wait_for 10 warm
  measure "$which" ${1:+strict}
  status=$?
  [ "$status" = 75 ] && ! grep -q '^FAILED' "$scratch/measured" || break
  say "the machine was busy:" && cat "$scratch/measured"
  check_muxd_stops
done
checks measured "$status"
check "over one connection" status_is upstreams.0.epoch 1
check_muxd_stops
