#!/bin/bash
# Lanes, the channels of the shared connection, and how they go from one process to the next.
. "$(dirname "$0")/lib.sh"
need_ipc
start_broker
checks "$PYTHON" "$here/lanes.py" "$BROKER_PORT" "$VHOST"

# ------------------------------------------------------------------ handed on

start_muxd_and_wait < <(muxd_conf "$BROKER_URI" 'warm-lanes = 2')
lanes_settle() { status_is upstreams.0.lanes.leased 0; }

muxctl declare queue "$name" >/dev/null
publish() { for _ in $(seq 30); do muxctl publish -r "$name" x || return 1; done; }
check "thirty processes publish one after another" publish
check "all lanes come back" wait_for 10 lanes_settle
check "three lanes served them" wait_for 10 status_is upstreams.0.lanes.open 3
check "each message came once" test "$(muxctl purge "$name" | grep -o "[0-9]*")" = 30
muxctl delete queue "$name" >/dev/null
check_not "a process that makes a mistake is told" muxctl publish -e no-such-exchange x
check "and the next one is not" muxctl publish -r x x
check "all over one connection" status_is upstreams.0.epoch 1
check_muxd_stops
