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
start_muxd_and_wait < <(muxd_conf "amqp://127.0.0.1:$far_port$path" 'warm-lanes = 4' 'heartbeat = "10s"')
warm() { status_is upstreams.0.lanes.warm 4; }
check "lanes are warmed ahead" wait_for 10 warm
# who measures a bare round trip speaks no TLS
[ -z "$OVER_TLS" ] || OVER_TLS='' start_far "$BROKER_PORT" 250
checks timeout 200 "$PYTHON" "$here/roundtrip.py" "$far_port" "$VHOST" "${1:-5}" 4 ${1:+strict}
check "over one connection" status_is upstreams.0.epoch 1
check_muxd_stops
