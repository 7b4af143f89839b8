#!/bin/bash
# muxd reads its configuration anew, by SIGHUP and muxctl reload, while sessions work.
. "$(dirname "$0")/lib.sh"
need_ipc
start_broker
chmod 0711 "$scratch" # other users come to the socket
# reload.py writes configurations that to_tls does not see
[ -z "$OVER_TLS" ] || { BROKER_URI="amqps://127.0.0.1:$UPSTREAM_PORT/$VHOST" && export TLS_CA="$scratch/ca.pem"; }
export BROKER_URI MUXD_LOG="$scratch/muxd.log" MUXD_CONF="$scratch/muxd.conf"

# One conf for each run: reload.py writes those that follow.
start_muxd_and_wait < <("$PYTHON" "$here/reload.py" conf)
export MUXD_PID

# ------------------------------------------------- what changes, session by session

checks "$PYTHON" "$here/reload.py" scenes
check "all of it on the first connection to the broker" status_is upstreams.0.epoch 1
check_muxd_stops

# --------------------------------------------------------- upstreams come and go

start_muxd_and_wait < <("$PYTHON" "$here/reload.py" conf)
export MUXD_PID
checks "$PYTHON" "$here/reload.py" upstreams
check_muxd_stops

# ------------------------------------------------------------ a load through it

start_muxd_and_wait < <("$PYTHON" "$here/reload.py" conf)
export MUXD_PID
start_canary singer
start_canary other -r 200
checks "$PYTHON" "$here/reload.py" often
check_canary singer
check_canary other
check "with one connection to the broker" status_is upstreams.0.epoch 1
check_muxd_stops
