#!/bin/bash
# Endpoints in turn, and brokers that freeze.
. "$(dirname "$0")/lib.sh"
need_ipc
start_broker
path=${BROKER_URI#"amqp://127.0.0.1:$BROKER_PORT"}

# ------------------------------------------------------------------ endpoints

start_far "$BROKER_PORT" 0
first_pid=$far_pid first_port=$far_port
start_far "$BROKER_PORT" 0
second_pid=$far_pid second_port=$far_port
stop "$first_pid"
endpoint_is() { upstream_is up && status_is upstreams.0.endpoint "127.0.0.1:$1"; }

start_muxd < <(
  muxd_conf | sed "s|^  uri = .*|  uri = { \"amqp://127.0.0.1:$first_port$path\", \"amqp://127.0.0.1:$second_port$path\" }|"
)
check "the second endpoint is dialled when the first is not there" wait_for 20 endpoint_is "$second_port"
start_far "$BROKER_PORT" 0 0 "$first_port"
first_pid=$far_pid
stop "$second_pid"
check "and the first, when the second goes away" wait_for 20 endpoint_is "$first_port"
check "publishing works" muxctl publish -r x x
check_muxd_stops
stop "$first_pid"

# ------------------------------------------------------------------ a broker that freezes

# WHAT: two heartbeat intervals of a second
frozen() {
  start_far "$BROKER_PORT" 0 32768
  # an adaptive window does not let the socket's become full
  start_muxd_and_wait < <(muxd_conf "amqp://127.0.0.1:$far_port$path" 'heartbeat = "1s"
  adaptive-window = false')
  checks "$PYTHON" "$here/dial.py" "$1" "$far_pid" "$far_port"
  kill -CONT "$far_pid"
  check "and when it thaws, the upstream comes back" wait_for 20 upstream_is up
  check_muxd_stops
  stop "$far_pid"
}

frozen idle
frozen full
