#!/bin/bash
# Eight processes publish, eight consume, over one connection: share.c looks at
# every message. As a command of its own it takes share's options:
#
#   BROKER=rabbitmq tests/integration/share.sh -n 100000
. "$(dirname "$0")/lib.sh"
start_broker
start_muxd_and_wait < <(muxd_conf)

# What the broker counts meanwhile.
sample() {
  until [ -e "$scratch/shared" ]; do
    broker_connections
    sleep 0.2
  done
}
sample >"$scratch/connections" &
sampler=$!
pids+=("$sampler")

began=$EPOCHREALTIME
checks timeout 3000 "$builddir/tests/integration/share" "$@"
say "took $(echo "$EPOCHREALTIME $began" | awk '{ printf "%.1f", $1 - $2 }') s"
touch "$scratch/shared"
wait "$sampler"
check "the broker has counted one connection all the while" equal 1 "$(sort -u "$scratch/connections" | tr '\n' ' ' | sed 's/ $//')"
check "and the connection is the first one" status_is upstreams.0.epoch 1
check "no session is left over" status_is sessions 1
check_muxd_stops
